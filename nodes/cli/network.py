"""``qiaolian network``: the validators of a network on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from chain.core.crypto import require_address
from chain.core.errors import BadInput, Conflict, NotFound
from chain.engine.network import Network
from chain.engine.validators import ValidatorHome
from chain.ethereum.deployment import Deployment

DEFAULT = Path("var/network")
VOTE_USAGE = (
    "Give --admit ADDRESS or --remove ADDRESS, and --organisation NAME or --home DIRECTORY."
)
ORGANISATIONS = ("operator", "supervisor", "bank", "department")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    parser.add_argument(
        "action", choices=["up", "status", "down", "destroy", "add", "vote", "proxy", "inspect"]
    )
    parser.add_argument(
        "--dir", type=Path, default=DEFAULT, help="directory of the network (default var/network)"
    )
    parser.add_argument(
        "--validators",
        type=int,
        choices=[1, 4],
        help="how many, when the network is made (default 4)",
    )
    parser.add_argument(
        "--organisations", help="their organisations, separated by commas, instead of --validators"
    )
    parser.add_argument(
        "--organisation",
        help="with add: whose the new validator is; with vote: whose validator votes",
    )
    parser.add_argument(
        "--home",
        type=Path,
        help="with vote: the directory of the validator that votes, where it is not in --dir",
    )
    parser.add_argument("--rpc", help="with proxy and inspect: the validator's RPC address")
    parser.add_argument(
        "--deployment",
        type=Path,
        default=Path("deployment.json"),
        help="with proxy and inspect: the network's deployment file",
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:9545",
        metavar="HOST:PORT",
        help="with proxy: where it listens",
    )
    voted = parser.add_mutually_exclusive_group()
    voted.add_argument("--admit", metavar="ADDRESS", help="with vote: the validator to be voted in")
    voted.add_argument(
        "--remove", metavar="ADDRESS", help="with vote: the validator to be voted out"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; the exit code."""
    if arguments.action == "up":
        network = up(
            arguments.dir,
            _organisations(arguments.validators, arguments.organisations),
            say=lambda text: print(f"  … {text}", flush=True),
        )
        print(
            f"Chain {network.chain_id} runs with "
            f"{len(network.validators)} validators; block {network.height()}."
        )
        return _print_status(network)
    if arguments.action == "vote":
        return _vote(arguments)
    if arguments.action == "proxy":
        return _proxy(arguments)
    if arguments.action == "inspect":
        return _inspect(arguments)
    network = Network.load(arguments.dir)
    if arguments.action == "add":
        return _add(network, arguments)
    if arguments.action == "status":
        return _print_status(network)
    if arguments.action == "down":
        network.stop()
        print("All validators ended; their data stays.")
    else:
        network.destroy()
        print("The network and its data are gone.")
    return 0


def up(
    directory: Path, organisations: Sequence[str] | None = None, *, say: Callable[[str], None]
) -> Network:
    """The running network of a directory: made when there is none, its validators started as far as
    they are down.

    Raises:
        Conflict: ``network_other`` when the network that is there has another number of validators
            than asked for.
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
        raise BadInput(
            "validator_count",
            f"{len(given)} organisations were named for {count} validators.",
            hint="Give one option.",
        )
    return given


def _add(network: Network, arguments: argparse.Namespace) -> int:
    if not arguments.organisation:
        raise BadInput(
            "organisation_name", "Whose is the new validator?", hint="Give --organisation NAME."
        )
    added = network.add(arguments.organisation)
    print(
        f"The validator of {added.organisation} copies the chain; its address is {added.address}."
    )
    print(
        "It seals once more than half of the validators have voted: qiaolian network vote "
        f"--organisation NAME --admit {added.address}"
    )
    return 0


def _proxy(arguments: argparse.Namespace) -> int:
    # The server's libraries take longer to load than the other actions need.
    from chain.engine.proxy import serve

    deployment = Deployment.load(arguments.deployment)
    host, _, port = arguments.listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise BadInput(
            "address_malformed",
            f"{arguments.listen} is no address.",
            hint="Give --listen HOST:PORT.",
        )
    url = arguments.rpc or Network.load(arguments.dir).rpc_urls[0]
    print(
        f"The proxy listens at {arguments.listen} and passes members' transactions to {url}.",
        flush=True,
    )
    serve(url, deployment, host=host, port=int(port))
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    """The contracts of a deployment file as a chain node has them."""
    from chain.ethereum.inspection import inspect

    deployment = Deployment.load(arguments.deployment)
    found = inspect(arguments.rpc or Network.load(arguments.dir).rpc_urls[0], deployment)
    print(f"Chain {found.chain_id} is the deployment's; block {found.height}.")
    for contract in found.contracts:
        state = "closed to new business" if contract.closed else "open"
        size = f"{contract.code_bytes:,} bytes of code"
        print(f"  {contract.name:<16} {contract.address}  {size}, {state}")
    return 0


def _vote(arguments: argparse.Namespace) -> int:
    """One validator's vote, over its admin socket, which only the owner of its
    directory may open.
    """
    given = arguments.admit or arguments.remove
    if given is None or (arguments.organisation is None) == (arguments.home is None):
        raise BadInput(
            "vote_incomplete", "A vote needs a voter and what it votes for.", hint=VOTE_USAGE
        )
    address = require_address(given.lower())
    home = (
        ValidatorHome.of_directory(arguments.home)
        if arguments.home
        else Network.load(arguments.dir).home_of(arguments.organisation)
    )
    home.vote(address, admit=arguments.admit is not None)
    change = "in" if arguments.admit else "out"
    print(
        f"The validator votes {address} {change}, in the next block it proposes. More than half "
        f"of the {len(home.council())} validators have to."
    )
    print(
        "Then every node gets the change in its configuration (chain.validator_changes); qiaolian "
        "network status names the block."
    )
    return 0


def _print_status(network: Network) -> int:
    """One line a validator; 0 when all run."""
    rows = network.status()
    council = network.council()
    for row in rows:
        height = "does not answer" if row["height"] is None else f"block {row['height']}"
        state = "down" if row["pid"] is None else f"{height}, pid {row['pid']}"
        outside = "" if council is None or row["address"] in council else ", not in the council"
        print(f"  {row['organisation']:<14} {row['address']}  {row['rpc']}  {state}{outside}")
    if (since := network.council_since()) is not None and since > 1:
        print(f"These validators seal since block {since}: {', '.join(council or ())}")
    return 0 if all(row["pid"] for row in rows) else 1
