"""What was released over a source, so that releases together reveal no fewer rows than one may.

Model: every released number is a count or a sum over a *set* of rows. The sets released so far
divide the rows into *atoms*: rows that were always in or out together. Whatever anyone computes
from released numbers is a function of counts and sums over atoms. So one rule stops set
differences, trackers and every other combination of queries, however many (Denning, Denning,
Schwartz, ACM TODS 1979; Chin, Özsoyoğlu, IEEE TSE 1982): **no atom of what was released may have
fewer than ``min_rows`` rows.** A set is released only if its intersection with each atom, and the
rest of that atom, are empty or large enough. Rows in no release yet are not an atom: nothing is
known of them.

The submitter sees what is withheld, so the decision must reveal nothing: sets are selected by
columns that the policy calls known, and which rows have a value is known too, or all have one
(``policy``). The decision follows from these and from earlier releases alone.

Sums of a column skip rows without a value, so each column has its own atoms, among the rows that
have a value. A set must pass both.

A record is for one source and one period of the policy, and private to the owner. Within a period
neither rows nor the bounds of values may change: two sums over a row that counts differently would
reveal the change. A release is recorded before it is sent, and stays, whatever becomes of the run.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.analysis.policy import ColumnRule
from federated.errors import Conflict
from federated.horizontal.files import write_atomically
from federated.job import Table

Rows = NDArray[np.int64]
ROWS = ""
"""The family of sets that counts are over; a column's family has its name."""


@dataclass
class Partition:
    """Rows by atom: 0 for those in no release yet, -1 for those that have no value."""

    labels: NDArray[np.int32]
    _sizes: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._sizes = np.bincount(self.labels[self.labels >= 0], minlength=1)

    @classmethod
    def fresh(cls, holds: NDArray[np.bool_]) -> Partition:
        """Return the partition before any release, over the rows that have a value."""
        return cls(np.where(holds, 0, -1).astype(np.int32))

    def admits(self, rows: Rows, least: int) -> bool:
        """Return whether a release over these rows leaves no atom smaller than ``least``."""
        atoms, inside = self._intersected(rows)
        outside = np.where(atoms == 0, 0, self._sizes[atoms] - inside)
        enough = (inside >= least) & ((outside == 0) | (outside >= least))
        return bool(len(atoms)) and bool(enough.all())

    def cut(self, rows: Rows) -> None:
        """Record the release of a sum over these rows."""
        atoms, inside = self._intersected(rows)
        divided = (atoms == 0) | (inside < self._sizes[atoms])
        parents = atoms[divided]
        moved = rows[np.isin(self.labels[rows], parents)]
        self.labels[moved] = len(self._sizes) + np.searchsorted(parents, self.labels[moved])
        self._sizes[parents] -= inside[divided]
        self._sizes = np.append(self._sizes, inside[divided])

    def smallest(self) -> int:
        """Return the size of the smallest released atom; 0 if nothing was released."""
        sizes = self._sizes[1:][self._sizes[1:] > 0]
        return int(sizes.min()) if len(sizes) else 0

    def _intersected(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the atoms that intersect these rows, and the sizes of the intersections."""
        labels = self.labels[rows]
        atoms, inside = np.unique(labels[labels >= 0], return_counts=True)
        return atoms.astype(np.int64), inside.astype(np.int64)


@dataclass
class Released:
    """All releases of a period.

    ``runs``: the analyses; ``digests``: of the rows; ``families``: a partition for each family.
    """

    runs: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    families: dict[str, Partition] = field(default_factory=dict)

    def begin(self, job: str, digests: Mapping[str, str], *, max_runs: int) -> None:
        """Count one analysis; Conflict ``rows_changed``, ``releases_spent``."""
        if any(self.digests.get(name, digest) != digest for name, digest in digests.items()):
            hint = "Start a new period once enough has changed that a difference reveals nothing."
            raise Conflict(
                "rows_changed",
                "The source, or a column's bounds, changed since the first release of this period.",
                hint=hint,
            )
        if len(self.runs) >= max_runs:
            raise Conflict(
                "releases_spent",
                f"All {max_runs} analyses of this source in this period are used.",
            )
        self.runs.append(job)
        self.digests.update(digests)

    def release(
        self,
        rows: Rows,
        column: str | None,
        holds: Mapping[str, NDArray[np.bool_]],
        least: int,
    ) -> bool:
        """Release a count or a sum over these rows, if it may be released; return whether it was.

        ``holds``: for each column, which rows have a value.
        """
        counted = self.family(ROWS, np.ones(len(next(iter(holds.values()))), np.bool_))
        summed = None if column is None else self.family(column, holds[column])
        if not counted.admits(rows, least) or (
            summed is not None and not summed.admits(rows, least)
        ):
            return False
        counted.cut(rows)
        if summed is not None:
            summed.cut(rows)
        return True

    def family(self, name: str, holds: NDArray[np.bool_]) -> Partition:
        """Return the partition of a family."""
        if name not in self.families:
            self.families[name] = Partition.fresh(holds)
        return self.families[name]

    def to_bytes(self) -> bytes:
        """Return the stored form."""
        out, names = io.BytesIO(), sorted(self.families)
        about = {"version": 1, "runs": self.runs, "digests": self.digests, "families": names}
        arrays = {f"family{index}": self.families[name].labels for index, name in enumerate(names)}
        np.savez(out, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Released:
        """Read the stored form; Conflict ``releases_damaged``."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                about = json.loads(stored["about"].tobytes())
                labels = {
                    name: stored[f"family{index}"] for index, name in enumerate(about["families"])
                }
            forms = {(label.dtype, label.ndim) for label in labels.values()}
            valid = about["version"] == 1 and forms <= {(np.dtype(np.int32), 1)}
            if not valid or len({len(label) for label in labels.values()}) > 1:
                raise ValueError("not a record of releases")
            return cls(
                list(about["runs"]),
                dict(about["digests"]),
                {name: Partition(label) for name, label in labels.items()},
            )
        except Exception as error:
            raise Conflict(
                "releases_damaged",
                "The record of releases cannot be read.",
                hint="Restore it; do not start a new one.",
            ) from error


class ReleaseFile:
    """The record of one source and period.

    Several processes may use it at once: each change is made under a lock.
    """

    def __init__(self, home: Path, source: str, period: str) -> None:
        self._path = home / "releases" / f"{source}.{period}.npz"

    def read(self) -> Released:
        """Return what was released; nothing if there is no record yet."""
        try:
            return Released.from_bytes(self._path.read_bytes())
        except FileNotFoundError:
            return Released()

    @contextmanager
    def changed(self) -> Iterator[Released]:
        """Yield the record, and write it back if the block succeeds."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            released = self.read()
            yield released
            write_atomically(self._path, released.to_bytes())
        finally:
            os.close(handle)


def digests_of(table: Table, rules: Mapping[str, ColumnRule]) -> dict[str, str]:
    """Return digests of what must stay the same within a period, for the owner alone.

    SHA-256 of the identifiers (under ``""``) and of each column; the bounds of its values.
    """
    digests = {ROWS: hashlib.sha256(np.ascontiguousarray(table.ids).tobytes()).hexdigest()}
    for name, rule in rules.items():
        digests[f"column {name}"] = _digest(table.columns[name])
        digests[f"bounds {name}"] = f"{rule.low} {rule.high} {rule.decimals}"
    return digests


def _digest(column: NDArray[Any]) -> str:
    if column.dtype.kind == "f":
        return hashlib.sha256(column.astype("<f8").tobytes()).hexdigest()
    return hashlib.sha256(json.dumps(column.tolist(), ensure_ascii=False).encode()).hexdigest()
