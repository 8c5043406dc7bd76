"""The ``qiaolian`` command. Each subcommand lives in a module of its own and is imported only when it is asked for."""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence

from chain.errors import QiaolianError

COMMANDS = {
    "verify": ("scripts.verify", "check a bundle offline, with your own trust file"),
    "network": ("chain.engine.command", "validators of a network on this machine: up, status, down, destroy"),
    "node": ("nodes.command", "an organisation's node: init, run, outbox, migrate"),
    "federated": ("federated.command", "joint models: a party's daemon, its jobs, approvals and replays"),
    "demo": ("scripts.demo_run", "the network's main job, end to end, on real records"),
    "bench": ("scripts.bench", "measure, each figure beside a baseline of the same run"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; errors are one line with a code and what to do next."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="qiaolian", description="侨链: trusted-data exchange network of a city government.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((each for each in given if each in COMMANDS), None)
    try:
        for name, (module, summary) in COMMANDS.items():
            sub = commands.add_parser(name, help=summary, description=summary)
            if name == chosen:
                loaded = importlib.import_module(module)
                loaded.add_arguments(sub)
                sub.set_defaults(run=loaded.run)
        arguments = parser.parse_args(given)
        done: int = arguments.run(arguments)
        return done
    except QiaolianError as error:
        hint = f" {error.hint}" if error.hint else ""
        print(f"error[{error.code}]: {error.sentence}{hint}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {"chain", "contracts", "exchange", "federated", "nodes", "registry", "scripts"}:
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
        print(f"error[{code}]: {error.strerror or error}{about}.{' Free some space and run it again.' if full else ''}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
