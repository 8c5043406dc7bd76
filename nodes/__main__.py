"""``python -m nodes``: the node's actions without the whole command line; what ``provision`` starts as processes."""

from __future__ import annotations

import argparse
import sys

from chain.console import print_anywhere
from chain.errors import QiaolianError
from chain.printable import printable
from nodes.command import add_arguments, run


def main() -> int:
    """Run one action; a refusal is one line on standard error."""
    parser = argparse.ArgumentParser(prog="nodes")
    add_arguments(parser)
    print_anywhere()
    try:
        return run(parser.parse_args())
    except QiaolianError as error:
        print(printable(f"{error.code}: {error.sentence} {error.hint}".rstrip()), file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
