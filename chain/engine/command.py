"""``qiaolian network``: validators of a network on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from chain.engine.network import Network
from chain.errors import NotFound

DEFAULT = Path("var/network")
ORGANISATIONS = ("operator", "supervisor", "bank", "department")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    parser.add_argument("action", choices=["up", "status", "down", "destroy"])
    parser.add_argument("--dir", type=Path, default=DEFAULT, help="directory of the network (default var/network)")
    parser.add_argument(
        "--validators", type=int, choices=[1, 4], default=4, help="how many, when it is made (default 4)"
    )
    parser.add_argument("--organisations", help="their organisations, separated by commas")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action."""
    if arguments.action == "up":
        return _up(arguments)
    network = Network.load(arguments.dir)
    if arguments.action == "status":
        for each in network.status():
            state = f"block {each['height']}" if each["pid"] else "down"
            print(f"{each['organisation']:<14} {each['address']}  {each['rpc']}  {state}")
        return 0 if all(each["pid"] for each in network.status()) else 1
    if arguments.action == "down":
        network.stop()
        print("All validators ended; their data stays.")
    else:
        network.destroy()
        print("The network and its data are gone.")
    return 0


def _up(arguments: argparse.Namespace) -> int:
    try:
        network = Network.load(arguments.dir)
    except NotFound:
        names = arguments.organisations.split(",") if arguments.organisations else ORGANISATIONS[: arguments.validators]
        network = Network.create(arguments.dir, list(names))
    network.start(say=lambda text: print(f"  … {text}", flush=True))
    print(f"Chain {network.chain_id} runs with {len(network.validators)} validators; block {network.height()}.")
    for each in network.status():
        print(f"  {each['organisation']:<14} {each['rpc']}")
    return 0
