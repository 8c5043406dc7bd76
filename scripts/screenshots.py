"""Take the pictures of the README and the docs from a demo that is still running.

    ./scripts/demo --serve            # in another terminal; waits at its end
    .venv/bin/python -m scripts.screenshots

Each picture uses up one of the one-time links of ``start.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from chain.core.errors import BadInput, QiaolianError
from scripts.demo_steps import screenshots

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: its file, whose page it shows, and how high."""

    name: str
    organisation: str
    role: str
    path: str
    height: int


PICTURES = (
    Picture("console.png", "Tax bureau", "chief_data_officer", "/grants", 720),
    Picture("earnings.png", "Tax bureau", "auditor", "/earnings", 900),
    Picture("bank.png", "Bank", "clerk", "/spending", 900),
    Picture("supervisor.png", "Supervisor", "auditor", "/network", 900),
    Picture("people.png", "Tax bureau", "auditor", "/acts", 720),
)


def main() -> int:
    """Take every picture, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--start", type=Path, default=ROOT / "var/demo/start.json")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    parser.add_argument("names", nargs="*", metavar="PICTURE", help="such as console.png")
    given = parser.parse_args()
    try:
        links = _Links.load(given.start)
        for picture in PICTURES:
            if not given.names or picture.name in given.names:
                url = links.take(picture.organisation, picture.role, picture.path)
                file = given.out / picture.name
                screenshots.take(url, file, height=picture.height)
                _reduce(file)
                print(file)
    except QiaolianError as error:
        print(f"error[{error.code}]: {error.sentence} {error.hint}".rstrip(), file=sys.stderr)
        return 2
    return 0


def _reduce(file: Path) -> None:
    """Store a picture with 64 colours, as the repository keeps it."""
    with Image.open(file) as taken:
        taken.convert("RGB").quantize(64).save(file, optimize=True)


class _Links:
    """The one-time links that are left; the file remembers which."""

    def __init__(self, file: Path, urls: dict[str, list[str]]) -> None:
        self._file = file
        self._urls = urls

    @classmethod
    def load(cls, file: Path) -> _Links:
        try:
            return cls(file, json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise BadInput(
                "start_file_missing",
                f"{file} is not the start file of a running demo.",
                hint="Run ./scripts/demo --serve and wait for its last line.",
            ) from error

    def take(self, organisation: str, role: str, path: str) -> str:
        """A link that logs in this person and leads to a page."""
        left = self._urls.get(f"{organisation}/{role}", [])
        if not left:
            raise BadInput(
                "links_used_up",
                f"{organisation} has no link for {role} left.",
                hint="Start the demo again.",
            )
        url = left.pop()
        self._file.write_text(json.dumps(self._urls, indent=1), encoding="utf-8")
        return f"{url}?next={quote(path)}"


if __name__ == "__main__":
    sys.exit(main())
