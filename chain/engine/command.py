"""``qiaolian network``: the validators of a network on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from chain.engine.network import Network
from chain.errors import BadInput, Conflict, NotFound

DEFAULT = Path("var/network")
ORGANISATIONS = ("operator", "supervisor", "bank", "department")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    parser.add_argument("action", choices=["up", "status", "down", "destroy"])
    parser.add_argument("--dir", type=Path, default=DEFAULT, help="directory of the network (default var/network)")
    parser.add_argument("--validators", type=int, choices=[1, 4], help="how many, when the network is made (default 4)")
    parser.add_argument("--organisations", help="their organisations, separated by commas, instead of --validators")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; the exit code."""
    if arguments.action == "up":
        network = up(
            arguments.dir,
            _organisations(arguments.validators, arguments.organisations),
            say=lambda text: print(f"  … {text}", flush=True),
        )
        print(f"Chain {network.chain_id} runs with {len(network.validators)} validators; block {network.height()}.")
        return _print_status(network)
    network = Network.load(arguments.dir)
    if arguments.action == "status":
        return _print_status(network)
    if arguments.action == "down":
        network.stop()
        print("All validators ended; their data stays.")
    else:
        network.destroy()
        print("The network and its data are gone.")
    return 0


def up(directory: Path, organisations: Sequence[str] | None = None, *, say: Callable[[str], None]) -> Network:
    """The running network of a directory: made when there is none, its validators started as far as they are down.

    Raises:
        Conflict: ``network_other`` when the network that is there has another number of validators than asked for.
    """
    try:
        network = Network.load(directory)
    except NotFound:
        names = organisations or ORGANISATIONS
        say(f"making keys and a genesis for {len(names)} validators")
        network = Network.create(directory, names)
    found = len(network.validators)
    if organisations is not None and len(organisations) != found:
        raise Conflict(
            "network_other",
            f"The network in {directory} has {found} validators, not {len(organisations)}.",
            hint="Start it without --validators, or give another --dir.",
        )
    network.start(say=say)
    return network


def _organisations(count: int | None, names: str | None) -> list[str] | None:
    if names is None:
        return None if count is None else list(ORGANISATIONS[:count])
    given = [name.strip() for name in names.split(",")]
    if count is not None and count != len(given):
        raise BadInput("validator_count", f"{len(given)} organisations were named for {count} validators.", hint="Give one option.")
    return given


def _print_status(network: Network) -> int:
    """One line a validator; 0 when all run."""
    rows = network.status()
    for each in rows:
        height = "does not answer" if each["height"] is None else f"block {each['height']}"
        state = "down" if each["pid"] is None else f"{height}, pid {each['pid']}"
        print(f"  {each['organisation']:<14} {each['address']}  {each['rpc']}  {state}")
    return 0 if all(each["pid"] for each in rows) else 1
