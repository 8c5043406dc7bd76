"""Output of command-line programs on any console."""

from __future__ import annotations

import io
import sys


def escape_unencodable_output() -> None:
    """Let standard output and error escape what the console cannot show instead of raising.

    A console in GBK or ASCII cannot show every character of an answer. An exception there would
    come after the act, such as a paid call, and hide its result.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
