"""Encodings of text files that a source may have; one list and one check for gateways and joint
models.
"""

from __future__ import annotations

import codecs
from pathlib import Path

AUTO = "auto"
"""UTF-8 if the whole file is, else GB18030 (which includes GBK and GB2312) if the whole file is."""
ENCODINGS = ("utf-8", "gb18030", "gbk", "gb2312", "ascii")
"""Encodings in which line ends, quotes and separators are single ASCII bytes."""
_PIECE = 1 << 20


def broken_line(path: Path, encoding: str) -> int | None:
    """The first line, from 1, that is not in the encoding; None if all are. Streams; ``OSError`` if
    the file cannot be read.
    """
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                return line + error.object[: error.start].count(b"\n")
            line += piece.count(b"\n")
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return line
    return None


def detected(path: Path) -> str | None:
    """The file's encoding as ``AUTO`` finds it; None if it is in none of them."""
    return next(
        (encoding for encoding in ("utf-8", "gb18030") if broken_line(path, encoding) is None), None
    )
