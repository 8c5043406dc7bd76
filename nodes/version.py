"""The program's version."""

from __future__ import annotations

from importlib import metadata


def _installed() -> str:
    try:
        return metadata.version("qiaolian")
    except metadata.PackageNotFoundError:
        return "0.0.0"


VERSION = _installed()
