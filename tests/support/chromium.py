"""Unpacks the registry's Chromium into ``.tools/chromium``, for machines where Debian's package cannot
be installed: ``python -m tests.support.chromium``.

The package has the browser, its graphics libraries, the system libraries it needs and a font, each
packed with Brotli. It draws pages for tests; its command line takes no pictures. npm has checked the package against ``tests/console/chromium/package-lock.json``.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import brotli

from tests.support.real_parts import ROOT

PACKED = ROOT / "tests/console/chromium/node_modules/@sparticuz/chromium/bin"
TARGET = ROOT / ".tools/chromium"
LAUNCHER = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="$here/lib:$here${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_FILE="$here/fonts.conf"
exec "$here/headless-shell" "$@"
"""
FONTS = '<?xml version="1.0"?><fontconfig><dir prefix="relative">fonts</dir></fontconfig>'
"""Where the package's own fonts are, for machines that have none."""


def unpack(packed: Path, target: Path) -> Path:
    """Unpack whole or not at all; the path of the program that starts the browser."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "headless-shell").write_bytes(_unpacked(packed / "chromium.br"))
    for name in ("al2023", "swiftshader", "fonts"):
        with tarfile.open(fileobj=io.BytesIO(_unpacked(packed / f"{name}.tar.br"))) as archive:
            archive.extractall(partial, filter="data")
    (partial / "fonts.conf").write_text(FONTS, encoding="ascii")
    (partial / "chromium").write_text(LAUNCHER, encoding="ascii")
    for program in ("headless-shell", "chromium"):
        (partial / program).chmod(0o755)
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    return target / "chromium"


def _unpacked(path: Path) -> bytes:
    data: bytes = brotli.decompress(path.read_bytes())
    return data


if __name__ == "__main__":
    print(unpack(PACKED, TARGET))
