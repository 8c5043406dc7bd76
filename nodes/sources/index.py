"""The position of each key's record in a file: built in one streaming pass, stored beside the
node's data, renewed when the file changes.

An index is a SQLite file keyed by a digest of the key under a random salt, so identifiers do not
lie around a second time; the record that is found is compared with the key asked for. It belongs to
one size, modification time and setting of its file. Building sorts on disk, so memory stays bounded
whatever the file's size.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import secrets
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from chain.core.errors import BadInput, QiaolianError, Unavailable
from registry.sources import Record, SourceColumn, SourceSchema

_BATCH = 5_000
_FORMAT = 2
LOOKUP_WAIT_SECONDS = 3.0
SCHEMA_WAIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A record's key, its position (offset and length, or row group and row) and its line or row
    number.
    """

    key: str
    position: int
    extent: int
    line: int


@dataclass(frozen=True, slots=True)
class FileStamp:
    """The state of a file that an index was built from, and how the file was read."""

    size: int
    modified_at: int
    """In nanoseconds."""
    path: str
    key: str
    settings: tuple[tuple[str, str], ...]
    """What besides the file decides how it is read."""

    def to_json(self) -> dict[str, str | int]:
        """As the index stores it."""
        return {
            "format": _FORMAT,
            "size": self.size,
            "mtime": self.modified_at,
            "path": self.path,
            "key": self.key,
            **dict(self.settings),
        }


class RowIndex:
    """An open, finished index."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            f"file:{path}?mode=ro", uri=True, check_same_thread=False
        )
        self._lock = threading.Lock()
        self.meta: dict[str, Any] = json.loads(
            self._connection.execute("SELECT value FROM meta").fetchone()[0]
        )
        self._salt = bytes.fromhex(self.meta["salt"])
        self.columns = tuple(SourceColumn(*column) for column in self.meta["columns"])

    def find(self, key: str) -> tuple[int, int, int] | None:
        """Position, extent and line of a key's record."""
        digest = key_digest(self._salt, key)
        with self._lock:
            row = self._connection.execute(
                "SELECT position, extent, line FROM places WHERE digest = ?", (digest,)
            ).fetchone()
        return None if row is None else (row[0], row[1], row[2])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def key_digest(salt: bytes, key: str) -> bytes:
    """16 bytes that represent a key in one index."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=salt, digest_size=16).digest()


def build(
    path: Path,
    entries: Iterator[IndexEntry],
    *,
    stamp: FileStamp,
    columns: Callable[[], Iterable[SourceColumn]],
) -> None:
    """Write an index whole or not at all. ``columns`` is called after ``entries`` is exhausted,
    when types are known.

    Raises:
        BadInput: ``source_key_repeated`` when two records have the same key, ``source_empty`` when
            there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    salt = secrets.token_bytes(16)
    try:
        connection = sqlite3.connect(partial, isolation_level=None)
    except sqlite3.Error as error:
        raise _not_written() from error
    try:
        partial.chmod(0o600)
        for pragma in (
            "journal_mode=OFF",
            "synchronous=OFF",
            "cache_size=-16000",
            "temp_store=FILE",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(
            "CREATE TABLE places (digest BLOB, position INTEGER, extent INTEGER, line INTEGER)"
        )
        count = _fill(connection, entries, salt)
        if count == 0:
            raise BadInput(
                "source_empty",
                "The source has no records.",
                hint="Check the file; it may be truncated.",
            )
        _sort(connection)
        meta = {
            **stamp.to_json(),
            "salt": salt.hex(),
            "rows": count,
            "columns": [list(astuple(column)) for column in columns()],
        }
        connection.execute("CREATE TABLE meta (value TEXT)")
        connection.execute("INSERT INTO meta VALUES (?)", (json.dumps(meta),))
    except sqlite3.OperationalError as error:
        partial.unlink(missing_ok=True)
        raise _not_written() from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        connection.close()
    partial.replace(path)


def _not_written() -> Unavailable:
    return Unavailable(
        "disk_unavailable",
        "The source's index could not be written.",
        hint="Check the disk's free space.",
    )


def _fill(connection: sqlite3.Connection, entries: Iterator[IndexEntry], salt: bytes) -> int:
    count = 0
    connection.execute("BEGIN")
    while batch := list(itertools.islice(entries, _BATCH)):
        connection.executemany(
            "INSERT INTO places VALUES (?, ?, ?, ?)",
            [
                (key_digest(salt, entry.key), entry.position, entry.extent, entry.line)
                for entry in batch
            ],
        )
        count += len(batch)
    connection.execute("COMMIT")
    return count


def _sort(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("CREATE UNIQUE INDEX places_digest ON places (digest)")
    except sqlite3.IntegrityError as error:
        lines = connection.execute(
            "SELECT min(line), max(line) FROM places GROUP BY digest HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
        raise BadInput(
            "source_key_repeated",
            f"Two records of the source have the same key (lines {lines[0]} and {lines[1]}).",
            hint="One subject has one record; choose another key column or correct the file.",
            lines=list(lines),
        ) from error


class IndexedFile(ABC):
    """A file source: schema and look-ups by index, built by a background thread."""

    def __init__(self, *, name: str, path: Path, key: str, index: Path) -> None:
        self.name = name
        self.path = path
        self.key = key
        self._index_path = index
        self._index: RowIndex | None = None
        self._stamp: FileStamp | None = None
        self._lock = threading.Lock()
        self._building: threading.Thread | None = None
        self._failure: tuple[FileStamp, QiaolianError] | None = None

    def schema(self) -> SourceSchema:
        """Columns and key.

        Raises:
            BadInput: ``source_missing, source_empty, source_encoding, source_missing_column,
                source_row_broken, source_key_repeated``. Unavailable: ``source_indexing`` while the
                first pass over a large file is under way.
        """
        return SourceSchema(self.key, self._ready(SCHEMA_WAIT_SECONDS).columns)

    def rows(self) -> Iterator[Record]:
        """Every record in the file's order.

        Raises:
            BadInput: as ``schema``; ``source_malformed`` where the file is damaged. Unavailable:
                ``source_unreadable``.
        """
        index = self._ready(SCHEMA_WAIT_SECONDS)
        with self._errors_translated():
            yield from self._rows(index)

    def lookup(self, key: str) -> Record | None:
        """The record of one key, or None; raises as ``rows``."""
        index = self._ready(LOOKUP_WAIT_SECONDS)
        position = index.find(key)
        if position is None:
            return None
        with self._errors_translated():
            record = self._read(index, *position)
        return record if record.get(self.key) == key else None

    def line_of(self, position: int) -> int:
        """The row number of the record at this position, from 1."""
        return position + 1

    def begin(self) -> None:
        """Have the index built or renewed in the background, if it needs to be."""
        try:
            stamp = self._now()
        except QiaolianError:
            return
        with self._lock:
            self._begin(stamp)

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()

    @abstractmethod
    def _settings(self) -> dict[str, str]:
        """What besides the file decides how it is read."""

    @abstractmethod
    def _scan(self) -> Iterator[IndexEntry]:
        """One pass over the file."""

    @abstractmethod
    def _columns(self) -> Iterable[SourceColumn]:
        """The columns, known after a pass."""

    @abstractmethod
    def _rows(self, index: RowIndex) -> Iterator[Record]: ...

    @abstractmethod
    def _read(self, index: RowIndex, position: int, extent: int, line: int) -> Record: ...

    def _now(self) -> FileStamp:
        """The current state of the file."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise BadInput(
                "source_missing",
                f"The file of source {self.name} is missing or cannot be read.",
                hint="Check the path in the node's configuration.",
                source=self.name,
            ) from error
        return FileStamp(
            size=status.st_size,
            modified_at=status.st_mtime_ns,
            path=str(self.path),
            key=self.key,
            settings=tuple(sorted(self._settings().items())),
        )

    def _ready(self, seconds: float) -> RowIndex:
        """The index of the file as it is now."""
        stamp = self._now()
        if self._index is not None and self._stamp == stamp:
            return self._index
        deadline = time.monotonic() + seconds
        while True:
            with self._lock:
                if self._index is not None and self._stamp == stamp:
                    return self._index
                if self._failure is not None and self._failure[0] == stamp:
                    failure = self._failure[1]
                    if isinstance(failure, Unavailable):
                        self._failure = None  # it may be over: the next to ask has it tried again
                    raise failure
                thread = self._begin(stamp)
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive() or time.monotonic() > deadline:
                raise Unavailable(
                    "source_indexing",
                    f"Source {self.name} changed and is being indexed.",
                    hint="Send the same request again in a minute.",
                    source=self.name,
                )
            stamp = self._now()

    def _begin(self, stamp: FileStamp) -> threading.Thread:
        if self._building is None or not self._building.is_alive():
            self._building = threading.Thread(
                target=self._build, args=(stamp,), name=f"index-{self.name}", daemon=True
            )
            self._building.start()
        return self._building

    def _build(self, stamp: FileStamp) -> None:
        try:
            with self._errors_translated():
                index = self._stored(stamp)
                if index is None:
                    build(self._index_path, self._scan(), stamp=stamp, columns=self._columns)
                    index = RowIndex(self._index_path)
        except QiaolianError as error:
            self._failure = (stamp, error)
            return
        with self._lock:
            self._index, self._stamp = index, stamp

    @contextlib.contextmanager
    def _errors_translated(self) -> Iterator[None]:
        """Whatever a reader meets in a file becomes an error with a code: a damaged one can show
        anything.
        """
        try:
            yield
        except QiaolianError:
            raise
        except OSError as error:
            raise Unavailable(
                "source_unreadable",
                f"Source {self.name} cannot be read.",
                hint="Check the disk, and whether the file is whole.",
                source=self.name,
            ) from error
        except Exception as error:
            raise BadInput(
                "source_malformed",
                f"The file of source {self.name} is damaged, or is "
                "not of the kind it claims to be.",
                hint="Write the file again.",
                source=self.name,
            ) from error

    def _stored(self, stamp: FileStamp) -> RowIndex | None:
        if not self._index_path.exists():
            return None
        try:
            index = RowIndex(self._index_path)
        except (sqlite3.Error, ValueError, KeyError, TypeError):
            return None
        if all(index.meta.get(name) == value for name, value in stamp.to_json().items()):
            return index
        index.close()
        return None
