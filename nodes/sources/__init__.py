"""Adapters that implement ``registry.sources.Source`` for CSV and Parquet files and tables of any SQL database.

They stream: no adapter holds more than a part of its source in memory. ``Sources`` is what a node's services find under
``context.ports["sources"]``: a mapping from the configured names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from nodes.config import NodeConfig, SourceEntry
from nodes.sources.csv_file import CsvSource
from nodes.sources.index import IndexedFile
from nodes.sources.sql_table import SqlSource
from registry.sources import Source

__all__ = ["Sources", "open_source"]

AnySource = IndexedFile | SqlSource


class Sources(Mapping[str, Source]):
    """The configured sources by name; each is opened when it is first asked for."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._open: dict[str, AnySource] = {}

    def __getitem__(self, name: str) -> Source:
        found = self._open.get(name)
        if found is None:
            entry = self._config.sources[name]
            index_dir = self._config.data / "sources"
            found = self._open.setdefault(name, open_source(name, entry, home=self._config.home, index_dir=index_dir))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._config.sources)

    def __len__(self) -> int:
        return len(self._config.sources)

    def warm(self) -> None:
        """Begin to index every file in the background."""
        for name in self:
            source = self[name]
            if isinstance(source, IndexedFile):
                source.begin()

    def close(self) -> None:
        """Close what is open."""
        for source in self._open.values():
            source.close()


def open_source(name: str, entry: SourceEntry, *, home: Path, index_dir: Path) -> AnySource:
    """The adapter for a configured source; nothing is read yet."""
    scheme, _, rest = entry.url.partition(":")
    if scheme in ("csv", "parquet"):
        path = home / unquote(rest.removeprefix("//"))
        index = index_dir / f"{name}.index"
        if scheme == "csv":
            return CsvSource(name=name, path=path, key=entry.key, index=index, encoding=entry.encoding, delimiter=entry.delimiter)
        # Imported only where it is used: it is large, and most nodes have no Parquet files.
        from nodes.sources.parquet_file import ParquetSource

        return ParquetSource(name=name, path=path, key=entry.key, index=index)
    assert entry.table is not None
    return SqlSource(name=name, url=_absolute(entry.url, home), table=entry.table, key=entry.key)


def _absolute(url: str, home: Path) -> str:
    """A relative SQLite path made absolute; other URLs as they are."""
    prefix = "sqlite:///"
    if url.startswith(prefix) and not url.startswith(prefix + "/") and not url.startswith(prefix + "file:"):
        return prefix + str((home / url.removeprefix(prefix)).resolve())
    return url
