"""The ``qiaolian`` command. Each subcommand lives in a module of its own and is imported only when
it is asked for.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence

from chain.core.console import escape_unencodable_output
from chain.core.errors import QiaolianError, Refuser
from chain.core.printable import printable

GROUPS = {
    "verify": {
        "verify": ("nodes.cli.verify", "check a bundle offline, with your own trust file"),
        "trust": ("nodes.cli.trust", "a verifier's trust file: make, change, show"),
    },
    "data and its use": {
        "asset": (
            "nodes.cli.asset",
            "the catalogue and own publications: list, search, show, publish, cancel, hold, release",
        ),
        "grant": (
            "nodes.cli.grant",
            "rights to use data: list, show, request, approve, refuse, revoke, bundle",
        ),
        "offer": ("nodes.cli.offer", "a provider's terms: list, show, make"),
        "agreement": (
            "nodes.cli.agreement",
            "metered trades: list, show, open, resume, withdraw, closing, notice, claim, close, books, bundle, lane-bundle",
        ),
        "call": ("nodes.cli.call", "metered calls: one, or a file of subjects"),
        "money": ("nodes.cli.money", "deposit, withdraw, account, claims, payments"),
    },
    "credit and property": {
        "credit": (
            "nodes.cli.credit",
            "reports, certificates, disputes: report, queries, bundle, certify, record, disputes, answer",
        ),
        "subject": (
            "nodes.cli.subject",
            "a firm's or citizen's own keys: key, consent, register, deliver-consent, status, withdraw, dispute",
        ),
        "deal": (
            "nodes.cli.deal",
            "property deals: list, show, draw, sign, step, taxes, expire, bundle",
        ),
        "unit": ("nodes.cli.unit", "the registration centre's register: enter, title, hold, lift"),
    },
    "governance and supervision": {
        "member": (
            "nodes.cli.member",
            "who is on the network: list, show, proposals, proposal, propose-..., approve, withdraw-approval",
        ),
        "key": (
            "nodes.cli.key",
            "a chief data officer's or administrator's own key file: make, replace, show, passphrase",
        ),
        "reconcile": ("nodes.cli.reconcile", "gateway, buyer and chain compared"),
        "log": ("nodes.cli.log", "evidence logs: show, anchor, forks"),
        "operation": ("nodes.cli.operation", "promised contract calls: show, wait"),
    },
    "running a node": {
        "node": (
            "scripts.node_command",
            "an organisation's node: init, peer, tokens, key, certificate, run, outbox, migrate",
        ),
        "health": (
            "nodes.cli.health",
            "how each part of a node is, and what to do about what fails",
        ),
        "network": (
            "nodes.cli.network",
            "validators of a network on this machine: up, status, down, destroy, add, vote, proxy",
        ),
        "found": (
            "nodes.cli.found",
            "a fresh chain's contracts, and its first members in the directory",
        ),
        "federated": (
            "scripts.federated_demo.command",
            "joint models: a party's daemon, its jobs, approvals and replays; their demo",
        ),
    },
    "trying it": {
        "demo": ("scripts.demo_run", "the network's main job, end to end, on real records"),
        "bench": ("scripts.bench", "measure, each figure beside a baseline of the same run"),
    },
}
"""What people find in the help: command to module and summary."""

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; errors are one line with a code and what to do next."""
    escape_unencodable_output()
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        done: int = arguments.run(arguments)
        return done
    except QiaolianError as error:
        print(printable(error_line(error)), file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {
            "chain",
            "contracts",
            "exchange",
            "federated",
            "nodes",
            "registry",
            "scripts",
        }:
            raise
        print(
            f"error[package_missing]: This command needs the package {error.name}. Install qiaolian[node,demo,federated].",
            file=sys.stderr,
        )
        return 3
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has gone; nothing is left to say it to
        return 141
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = "disk_full" if full else "system"
        about = f" ({error.filename})" if error.filename else ""
        hint = " Free some space and run it again." if full else ""
        print(printable(f"error[{code}]: {error.strerror or error}{about}.{hint}"), file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def error_line(error: QiaolianError) -> str:
    """Code, sentence, what to do next, and who refused where that is neither this command nor the
    own node.
    """
    hint = f" {error.hint}" if error.hint else ""
    elsewhere = error.refused_by.kind is not Refuser.NODE
    refused_by = f" Refused by: {error.refused_by}." if elsewhere else ""
    return f"error[{error.code}]: {error.sentence}{hint}{refused_by}"


def parse(given: Sequence[str]) -> argparse.Namespace:
    """The arguments of one subcommand; argparse ends the process at what it cannot read."""
    return parser_for(next((word for word in given if word in COMMANDS), None)).parse_args(given)


def parser_for(chosen: str | None) -> argparse.ArgumentParser:
    """The command line's parser with the options of one subcommand, whose module alone is imported."""
    parser = argparse.ArgumentParser(
        prog="qiaolian",
        description="侨链: trusted-data exchange network of a city government.",
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="COMMAND",
        help="one of those below; each has a --help of its own",
    )
    for name, (module, summary) in COMMANDS.items():
        sub = commands.add_parser(name, description=summary)
        if name == chosen:
            loaded = importlib.import_module(module)
            loaded = getattr(loaded, "GROUP", loaded)
            loaded.add_arguments(sub)
            sub.set_defaults(run=loaded.run)
    return parser


def _overview() -> str:
    """The commands by group, as argparse cannot say it."""
    lines = []
    for group, commands in GROUPS.items():
        lines += [
            f"{group}:",
            *(f"  {name:<11}{summary}" for name, (_, summary) in commands.items()),
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
