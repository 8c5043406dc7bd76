"""``qiaolian verifier --out FILE``: write the bundle verifier as one HTML file, for people who
check a bundle in a browser without a network.

The file is a second implementation of ``qiaolian verify`` (``chain/bundle/browser``, ADR 32). Its
SHA-256 is printed, to compare with the one that the release names.
"""

from __future__ import annotations

import argparse
import hashlib
from importlib import resources
from pathlib import Path

from chain.core.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the file and print its SHA-256.

    Raises:
        BadInput: ``file_unwritable``.
    """
    data = resources.files("chain.bundle").joinpath("browser", "verifier.html").read_bytes()
    try:
        arguments.out.write_bytes(data)
    except OSError as error:
        raise BadInput(
            "file_unwritable",
            f"The file cannot be written: {error.strerror}.",
            hint="Name a file in a folder that exists and that you may write to.",
        ) from error
    print(f"{hashlib.sha256(data).hexdigest()}  {arguments.out}")
    return 0
