"""Style sheets and scripts, served by the node itself.

Each is named by its content, so that a browser keeps it for ever and never shows an old one. The
libraries come from the npm registry at set-up, checked against ``static/package-lock.json``; a
console without them still works: forms are plain forms, and every chart has a table beside it.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).parent / "static"
PREFIX = "/static/"

FILES = {
    "console.css": "console.css",
    "console.js": "console.js",
    "charts.js": "charts.js",
    "wallet.js": "wallet.js",
    "icon.svg": "icon.svg",
    "htmx.js": "node_modules/htmx.org/dist/htmx.min.js",
    "echarts.js": "node_modules/echarts/dist/echarts.min.js",
}
"""Name in the URL and path of every file that is served; no other file is."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

ICON_PATH = f"{PREFIX}icon.svg"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file's content, media type and version (of its SHA-256)."""

    content: bytes
    media_type: str
    version: str


@functools.cache
def static_file(name: str) -> StaticFile | None:
    """The file of this name; None where there is none."""
    if name not in FILES:
        return None
    path = STATIC / FILES[name]
    try:
        content = path.read_bytes()
    except OSError:
        return None
    version = hashlib.sha256(content).hexdigest()[:16]
    return StaticFile(content, _TYPES[Path(name).suffix], version)


@functools.cache
def versioned_path(name: str) -> str:
    """The URL path of a file with its version; empty where the file is missing."""
    found = static_file(name)
    return "" if found is None else f"{PREFIX}{name}?v={found.version}"
