"""Uploaded files: each in a folder of its own in the node's data folder, read as a source.

Only the node's own user may read them. A file appears whole or not at all; replacing one leaves the
former in place until the new one is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from chain.core.errors import BadInput, NotFound, Unavailable
from nodes.bodies import BodyTooLarge
from nodes.config import SourceEntry
from nodes.sources.inspection import inspect_file, inspect_workbook
from nodes.sources.workbook import is_workbook
from registry.source_files import FileKind, FileReport, FileSettings, UploadedFile

PREFIX = "upload-"
"""How the names of sources begin that read uploaded files; none of a configuration may."""
_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{16}}")
_CONTENT, _WORKBOOK, _ABOUT = "content", "workbook", "about.json"
_CHUNK = 1 << 20
MAX_NAME_CHARACTERS = 120


@dataclass(frozen=True)
class UploadedFiles:
    """The uploaded files of one node; see ``registry.source_files.SourceFiles``."""

    directory: Path
    max_bytes: int
    configured: Mapping[str, SourceEntry]
    home: Path
    changed: Callable[[str], None]
    """Called with a source's name when its file was replaced, read again or removed."""
    clock: Callable[[], float] = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def store(
        self, file_name: str, content: BinaryIO, settings: FileSettings, *, source: str = ""
    ) -> UploadedFile:
        """See ``SourceFiles``."""
        name = source or PREFIX + secrets.token_hex(8)
        if source:
            self._require(source)
        folder, partial = self.directory / name, self.directory / f"{name}.partial"
        with self._lock:
            try:
                self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(mode=0o700)
                size, digest = self._write(partial / _CONTENT, content)
                file = UploadedFile(
                    source=name,
                    file_name=plain_file_name(file_name),
                    size=size,
                    digest=digest,
                    uploaded_at=int(self.clock()),
                    report=_inspected(partial, file_name, settings),
                )
                _write_private(partial / _ABOUT, _about(file))
                self.changed(name)
                shutil.rmtree(folder, ignore_errors=True)
                partial.replace(folder)
            except OSError as error:
                raise _not_stored() from error
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return file

    def require_size(self, size: int) -> None:
        """See ``SourceFiles``."""
        if size > self.max_bytes:
            raise BodyTooLarge(
                "upload_too_large",
                f"The file is over {self.max_bytes} bytes.",
                hint="Ask your administrator to configure it as a source of the node.",
                limit=self.max_bytes,
            )

    def configure(self, source: str, settings: FileSettings) -> UploadedFile:
        """See ``SourceFiles``."""
        file = self._require(source)
        folder = self.directory / source
        with self._lock:
            try:
                report = _inspected(folder, file.file_name, settings)
                changed = replace(file, report=report)
                partial = folder / f"{_ABOUT}.partial"
                _write_private(partial, _about(changed))
                partial.replace(folder / _ABOUT)
            except OSError as error:
                raise _not_stored() from error
            self.changed(source)
        return changed

    def find(self, source: str) -> UploadedFile | None:
        """See ``SourceFiles``."""
        if _NAME.fullmatch(source) is None:
            return None
        try:
            value = json.loads((self.directory / source / _ABOUT).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _not_stored() from error
        return UploadedFile(
            source=source,
            file_name=value["fileName"],
            size=value["size"],
            digest=value["digest"],
            uploaded_at=value["uploadedAt"],
            report=FileReport.from_json(value["report"]),
        )

    def names(self) -> Sequence[str]:
        """See ``SourceFiles``."""
        if not self.directory.is_dir():
            return ()
        return [path.name for path in self.directory.iterdir() if _NAME.fullmatch(path.name)]

    def remove(self, source: str) -> None:
        """See ``SourceFiles``."""
        if _NAME.fullmatch(source) is not None:
            self.changed(source)
            shutil.rmtree(self.directory / source, ignore_errors=True)

    def inspect(self, source: str) -> FileReport:
        """See ``SourceFiles``."""
        uploaded = self.find(source)
        if uploaded is not None:
            return uploaded.report
        entry = self.configured.get(source)
        if entry is None:
            raise BadInput(
                "source_missing",
                f"The node has no source named {source}.",
                hint="Add it to the configuration.",
            )
        scheme, _, rest = entry.url.partition(":")
        if scheme not in (FileKind.CSV, FileKind.PARQUET):
            raise BadInput(
                "source_not_a_file",
                f"Source {source} is a table of a database, not a file.",
                hint="Its faults are found when it is previewed or published.",
                source=source,
            )
        path = self.home / unquote(rest.removeprefix("//"))
        settings = FileSettings(entry.key, entry.encoding, entry.delimiter)
        try:
            return inspect_file(path, path.name, settings)
        except OSError as error:
            raise BadInput(
                "source_missing",
                f"The file of source {source} is missing or cannot be read.",
                hint="Check the path in the node's configuration.",
                source=source,
            ) from error

    def entry(self, source: str) -> SourceEntry | None:
        """How an uploaded file is read as a source; None if there is none of that name."""
        file = self.find(source)
        if file is None:
            return None
        settings, kind = file.report.settings, file.report.kind
        kind = FileKind.CSV if kind is FileKind.EXCEL else kind
        return SourceEntry(
            url=f"{kind}://{quote(str(self.directory / source / _CONTENT))}",
            key=settings.key or "key",
            encoding=settings.encoding,
            delimiter=settings.delimiter or ",",
        )

    def _require(self, source: str) -> UploadedFile:
        file = self.find(source)
        if file is None:
            raise NotFound(
                "upload_unknown",
                "The node has no such uploaded file.",
                hint="Upload the file again.",
            )
        return file

    def _write(self, path: Path, content: BinaryIO) -> tuple[int, str]:
        """Copy the content; its size and digest."""
        size, digest = 0, hashlib.sha256()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            while chunk := content.read(_CHUNK):
                size += len(chunk)
                self.require_size(size)
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return size, digest.hexdigest()


def _inspected(folder: Path, file_name: str, settings: FileSettings) -> FileReport:
    """Inspect the content of a folder. A workbook is kept beside the records that it holds."""
    content, workbook = folder / _CONTENT, folder / _WORKBOOK
    if not workbook.exists() and is_workbook(content):
        content.rename(workbook)
    if not workbook.exists():
        return inspect_file(content, file_name, settings)
    _write_private(content, b"")
    return inspect_workbook(workbook, content, file_name, settings)


def plain_file_name(name: str) -> str:
    """A file's name without its folder and without what nobody can see."""
    base = re.split(r"[/\\]", name)[-1]
    shown = "".join(character for character in base if character.isprintable())
    return shown[-MAX_NAME_CHARACTERS:] or "file"


def _about(file: UploadedFile) -> bytes:
    value: dict[str, Any] = {
        "fileName": file.file_name,
        "size": file.size,
        "digest": file.digest,
        "uploadedAt": file.uploaded_at,
        "report": file.report.to_json(),
    }
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _not_stored() -> Unavailable:
    return Unavailable(
        "disk_unavailable",
        "The file could not be stored or read.",
        hint="Check the disk's free space.",
    )
