"""The ``qiaolian`` command: parse one subcommand, run it, print its error as one line."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence

from chain.core.console import escape_unencodable_output
from chain.core.errors import QiaolianError, Refuser
from chain.core.printable import printable
from nodes.cli.commands import COMMANDS, GROUPS


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
            f"error[package_missing]: This command needs the package {error.name}. Install "
            "qiaolian[node,network,demo,federated].",
            file=sys.stderr,
        )
        return 3
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads the output any more
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
    return parser_for(
        next((argument for argument in given if argument in COMMANDS), None)
    ).parse_args(given)


def parser_for(chosen: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the chosen subcommand has its options, and only its
    module is loaded.
    """
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
    for name, entry in COMMANDS.items():
        subparser = commands.add_parser(name, description=entry.summary)
        if name == chosen:
            command = entry.load()
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
    return parser


def _overview() -> str:
    """List the commands by group, which argparse does not."""
    lines = []
    for group, commands in GROUPS.items():
        lines += [
            f"{group}:",
            *(f"  {name:<11}{entry.summary}" for name, entry in commands.items()),
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
