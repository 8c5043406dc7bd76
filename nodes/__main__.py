"""``python -m nodes``: the node's actions without the whole command line; what ``provision`` starts
as processes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from chain.core.console import escape_unencodable_output
from chain.core.errors import QiaolianError
from chain.core.printable import printable
from nodes.cli.node import add_arguments, run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one action; a refusal is one line on standard error."""
    parser = argparse.ArgumentParser(prog="nodes")
    add_arguments(parser)
    escape_unencodable_output()
    try:
        return run(parser.parse_args(argv))
    except QiaolianError as error:
        print(printable(f"{error.code}: {error.sentence} {error.hint}".rstrip()), file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
