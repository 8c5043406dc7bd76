"""Adapters that implement ``registry.sources.Source`` for CSV and Parquet files, uploaded ones
among them, and tables of any SQL database.

They stream: no adapter holds more than a part of its source in memory. ``Sources`` maps the
configured names to the adapters; services find it as ``registry.sources.ConfiguredSources``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from chain.core.errors import BadInput, QiaolianError, Unavailable
from nodes.config import NodeConfig, SourceEntry
from nodes.sources.csv_file import CsvSource
from nodes.sources.index import IndexedFile
from nodes.sources.sql_table import SqlSource, driver_missing
from nodes.sources.uploads import UploadedFiles
from registry.sources import Record, Source, SourceSchema

__all__ = ["Sources", "open_source"]

AnySource = IndexedFile | SqlSource


class Sources(Mapping[str, Source]):
    """The configured sources by name; each is opened when it is first asked for.

    A source that cannot be opened is refused with its own code and opened again at the next
    request: it never keeps the node from starting, nor the other sources from being served.
    """

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._open: dict[str, AnySource] = {}
        self._lock = threading.Lock()
        self.uploads = UploadedFiles(
            directory=config.data / "uploads",
            max_bytes=config.limits.upload_bytes,
            configured=config.sources,
            home=config.home,
            changed=self._forget,
        )
        """Uploaded files, which are sources too; they are not listed, since nothing is wrong with
        a node whose people are still correcting a file.
        """

    def __getitem__(self, name: str) -> Source:
        """The source of that name; one that cannot be opened now is opened at its first use.
        ``KeyError``: none is configured, nor uploaded.
        """
        try:
            return self.opened(name)
        except Unavailable:
            return _UnopenedSource(name, self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._config.sources)

    def __len__(self) -> int:
        return len(self._config.sources)

    def check(self, name: str) -> None:
        """Open a source, if need be, and read its columns.

        Raises:
            QiaolianError: why its assets cannot be served now, with a code and what to do.
        """
        try:
            self.opened(name).schema()
        except QiaolianError:
            raise
        except Exception as error:  # a driver can raise anything
            raise Unavailable(
                "source_failed",
                f"Source {name} failed unexpectedly ({type(error).__name__}).",
                hint="Check the source and its entry in the node's configuration.",
                source=name,
            ) from error

    def _forget(self, name: str) -> None:
        """Reopen a source at its next use, and forget its index."""
        with self._lock:
            self._open.pop(name, None)  # whoever still reads it closes it
            (self._config.data / "sources" / f"{name}.index").unlink(missing_ok=True)

    def close(self) -> None:
        """Close what is open."""
        for source in self._open.values():
            source.close()

    def opened(self, name: str) -> AnySource:
        """The source of that name, open.

        Raises:
            KeyError: no such source is configured; Unavailable: by the code of what ``open_source``
                refuses.
        """
        with self._lock:
            source = self._open.get(name)
            if source is None:
                entry = self._config.sources.get(name) or self.uploads.entry(name)
                if entry is None:
                    raise KeyError(name)
                index_dir = self._config.data / "sources"
                try:
                    source = open_source(name, entry, home=self._config.home, index_dir=index_dir)
                except (
                    BadInput
                ) as error:  # the caller's request is right, the node's configuration is not
                    raise Unavailable(
                        error.code, error.sentence, hint=error.hint, source=name
                    ) from error
                self._open[name] = source
            return source


class _UnopenedSource:
    """Stands for a source that could not be opened; opens it at each use, for the fault may be
    over.
    """

    def __init__(self, name: str, sources: Sources) -> None:
        self.name = name
        self._sources = sources

    def schema(self) -> SourceSchema:
        """The columns; raises as ``Sources.opened``."""
        return self._sources.opened(self.name).schema()

    def rows(self) -> Iterator[Record]:
        """Every record; raises as ``Sources.opened``."""
        return self._sources.opened(self.name).rows()

    def lookup(self, key: str) -> Record | None:
        """The record of one key; raises as ``Sources.opened``."""
        return self._sources.opened(self.name).lookup(key)

    def line_of(self, position: int) -> int:
        """The line of a record; raises as ``Sources.opened``."""
        return self._sources.opened(self.name).line_of(position)


def open_source(name: str, entry: SourceEntry, *, home: Path, index_dir: Path) -> AnySource:
    """The adapter for a configured source; nothing is read yet.

    Raises:
        BadInput: ``source_encoding_unknown``, ``source_url_wrong``, ``source_driver_missing``.
    """
    scheme, _, rest = entry.url.partition(":")
    if scheme in ("csv", "parquet"):
        path = home / unquote(rest.removeprefix("//"))
        index = index_dir / f"{name}.index"
        if scheme == "csv":
            return CsvSource(
                name=name,
                path=path,
                key=entry.key,
                index=index,
                encoding=entry.encoding,
                delimiter=entry.delimiter,
            )
        # Imported only where it is used: it is large, and most nodes have no Parquet files.
        try:
            from nodes.sources.parquet_file import ParquetSource
        except ModuleNotFoundError as error:
            raise driver_missing(name, error.name or "pyarrow") from error
        return ParquetSource(name=name, path=path, key=entry.key, index=index)
    assert entry.table is not None
    return SqlSource(name=name, url=_absolute(entry.url, home), table=entry.table, key=entry.key)


def _absolute(url: str, home: Path) -> str:
    """A relative SQLite path made absolute; other URLs as they are."""
    prefix = "sqlite:///"
    if (
        url.startswith(prefix)
        and not url.startswith(prefix + "/")
        and not url.startswith(prefix + "file:")
    ):
        return prefix + str((home / url.removeprefix(prefix)).resolve())
    return url
