"""The font of PDF files: Noto Sans SC (SIL Open Font License 1.1), with the characters in use.

The font comes from the npm registry at set-up (``static/package-lock.json``) as some hundred
slices, each with a range of characters. A document reads the few slices that it needs, and one
small font is made of their glyphs.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from fontTools.merge import Merger
from fontTools.merge import Options as MergeOptions
from fontTools.subset import Options as SubsetOptions
from fontTools.subset import Subsetter
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

from chain.core.errors import Unavailable
from nodes.console.assets_files import STATIC

FOLDER = STATIC / "node_modules" / "@fontsource-variable" / "noto-sans-sc"
REGULAR, BOLD = 400, 700
CACHED_SLICES = 48
"""Uncompressed slices held in memory, some 100 kB each."""

_UNUSED_TABLES = ["BASE", "GDEF", "GPOS", "GSUB", "VORG", "vhea", "vmtx"]


def shown_text(text: str) -> str:
    """The text with the code point in place of each character that the font lacks."""
    return "".join(
        character if _is_printable(character) else f"〔U+{ord(character):04X}〕"
        for character in text
        if character == "\n" or character.isprintable()
    )


def font_of(characters: Iterable[str], weight: int) -> bytes:
    """A TrueType font with the glyphs of these characters; ``pdf_font_missing``."""
    wanted: dict[str, set[int]] = {}
    for character in {*characters, " "}:
        name = _slice_of(ord(character))
        if name is not None:
            wanted.setdefault(name, set()).add(ord(character))
    parts = [_cut(name, points, weight) for name, points in sorted(wanted.items())]
    if len(parts) == 1:
        return parts[0].getvalue()
    return _saved(Merger(MergeOptions(drop_tables=["STAT"])).merge(parts)).getvalue()


def _cut(name: str, points: set[int], weight: int) -> io.BytesIO:
    """A slice's glyphs of these code points, in one weight."""
    font = TTFont(io.BytesIO(_slice(name)))
    options = SubsetOptions(layout_features=[], hinting=False, notdef_outline=True)
    options.drop_tables += _UNUSED_TABLES
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=points)
    subsetter.subset(font)
    instancer.instantiateVariableFont(font, {"wght": weight}, inplace=True)
    return _saved(font)


def _saved(font: TTFont) -> io.BytesIO:
    out = io.BytesIO()
    font.save(out)
    out.seek(0)
    return out


@functools.lru_cache(CACHED_SLICES)
def _slice(name: str) -> bytes:
    """A slice without its compression, which costs more than all the rest."""
    font = TTFont(_present(FOLDER / "files" / f"noto-sans-sc-{name}-wght-normal.woff2"))
    font.flavor = None
    return _saved(font).getvalue()


@functools.lru_cache(8_192)
def _slice_of(point: int) -> str | None:
    """The slice that has a code point."""
    for name, ranges in _ranges().items():
        if any(first <= point <= last for first, last in ranges):
            return name
    return None


def _is_printable(character: str) -> bool:
    return character == "\n" or _slice_of(ord(character)) is not None


@functools.cache
def _ranges() -> Mapping[str, list[tuple[int, int]]]:
    """Ranges of code points by slice, the most frequent first."""
    listed = json.loads(_present(FOLDER / "unicode.json").read_text(encoding="utf-8"))
    names = {name.strip("[]"): _parsed(ranges) for name, ranges in listed.items()}
    return dict(reversed(names.items()))


def _parsed(ranges: str) -> list[tuple[int, int]]:
    found = []
    for part in ranges.split(","):
        first, _, last = part.strip().removeprefix("U+").partition("-")
        found.append((int(first, 16), int(last or first, 16)))
    return found


def _present(path: Path) -> Path:
    if not path.is_file():
        raise Unavailable(
            "pdf_font_missing",
            "The font of PDF files is not installed at this node.",
            hint="Whoever runs the node repeats the set-up; it installs the font.",
        )
    return path
