"""A job: one joint computation as all its parties agree on it, with the input and output of role
functions.

The specification is one JSON file that every party holds. Its SHA-256 (over RFC 8785 JSON)
identifies the job: parties with different specifications do not start.

    {"job": "credit-2026-11", "protocol": "scorecard", "purpose": "credit-assessment",
     "parties": {"bank": {"role": "label", "source": "loans",
                          "columns": ["Income", "Debt", "Status"]},
                 "tax": {"role": "features", "source": "returns",
                         "columns": ["Records", "Expenses"]},
                 "dealer": {"role": "dealer"}},
     "parameters": {"label": "Status", "bad": "bad", "good": "good"}}
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.core.canonical import dumps
from federated.errors import BadInput
from federated.session import Session

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class Party:
    """One party of a job: its role, and the source and columns it reads, if any."""

    role: str
    source: str | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """An agreed computation. The protocol's ``check`` validates ``parameters``."""

    name: str
    protocol: str
    purpose: str
    parties: Mapping[str, Party]
    parameters: Mapping[str, Any]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the specification in canonical JSON."""
        return hashlib.sha256(dumps(self.to_json())).digest()

    def to_json(self) -> dict[str, Any]:
        """Return the specification as it is written to files."""
        parties = {
            name: {"role": party.role}
            | ({} if party.source is None else {"source": party.source})
            | ({"columns": list(party.columns)} if party.columns else {})
            for name, party in self.parties.items()
        }
        return {
            "job": self.name,
            "protocol": self.protocol,
            "purpose": self.purpose,
            "parties": parties,
            "parameters": dict(self.parameters),
        }

    @classmethod
    def from_json(cls, value: Any) -> Job:
        """Read a specification; ``spec_malformed``."""
        try:
            parties = {
                name: Party(party["role"], party.get("source"), tuple(party.get("columns", ())))
                for name, party in value["parties"].items()
                if not set(party) - {"role", "source", "columns"}
            }
            job = cls(
                value["job"],
                value["protocol"],
                value["purpose"],
                parties,
                value.get("parameters", {}),
            )
            texts = [
                job.name,
                job.protocol,
                job.purpose,
                *parties,
                *(party.role for party in parties.values()),
            ]
            sound = all(
                isinstance(text, str) and 0 < len(text) <= 64 for text in texts
            ) and isinstance(job.parameters, dict)
            # Jobs name folders, and spaces separate the names of parties in the receipt.
            sound = sound and all(re.fullmatch(_NAME, label) for label in (job.name, *parties))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadInput(
                "spec_malformed",
                "The job's specification lacks a field, or has one of the wrong type.",
            ) from error
        if (
            not sound
            or len(parties) < 2
            or len(parties) != len(value["parties"])
            or set(value) - set(job.to_json())
        ):
            raise BadInput(
                "spec_malformed",
                "The job's specification has a field of the wrong type, or an unknown one.",
            )
        return job

    def owners(self) -> list[str]:
        """Return the parties that bring data, in the order of the specification."""
        return [name for name, party in self.parties.items() if party.source is not None]

    def with_role(self, role: str) -> list[str]:
        """Return the names of the parties with this role, in the order of the specification."""
        return [name for name, party in self.parties.items() if party.role == role]

    def only(self, role: str) -> str:
        """Return the one party with this role; ``spec_roles`` if there is none or more than one."""
        names = self.with_role(role)
        if len(names) != 1:
            raise BadInput(
                "spec_roles",
                f"This protocol needs one party in the role {role}; "
                f"the specification has {len(names)}.",
            )
        return names[0]


@dataclass(frozen=True)
class ReadReport:
    """How a party's source was read; it stays with that party.

    ``encoding``, ``rows``, identifiers that were normalised, and by column, where there are any,
    missing values and numbers that were not written plainly.
    """

    encoding: str
    rows: int
    ids_changed: int
    missing: Mapping[str, int]
    numbers_recognised: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the form in this party's receipt."""
        return {
            "encoding": self.encoding,
            "rows": self.rows,
            "idsChanged": self.ids_changed,
            "missing": dict(self.missing),
            "numbersRecognised": dict(self.numbers_recognised),
        }


@dataclass(frozen=True)
class Table:
    """A party's rows.

    ``ids``: fixed-width bytes, unique. ``columns``: float64 (NaN: missing) or texts (object, None:
    missing), as long as ``ids``.
    """

    ids: NDArray[np.bytes_]
    columns: Mapping[str, NDArray[Any]]
    report: ReadReport | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64]) -> Table:
        """Return these rows, in this order. For -1 all columns are missing."""
        table = self.with_missing_row() if (rows < 0).any() else self
        return Table(
            table.ids[rows], {name: values[rows] for name, values in table.columns.items()}
        )

    def with_missing_row(self) -> Table:
        """Return the table with one row more, at the end, whose columns are all missing."""
        return Table(
            np.append(self.ids, b""),
            {
                name: np.append(values, np.array([None], values.dtype))
                for name, values in self.columns.items()
            },
        )

    def matrix(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return numeric columns as (rows, columns); ``column_not_numeric``."""
        for name in names:
            if self.columns[name].dtype.kind != "f":
                raise BadInput(
                    "column_not_numeric", f"The column {name} has values that are not numbers."
                )
        return (
            np.column_stack([self.columns[name] for name in names])
            if names
            else np.empty((len(self), 0))
        )


@dataclass(frozen=True)
class JobResult:
    """The result of a role function. Nothing is written before all parties' transcripts match.

    ``metrics`` go into this party's receipt, ``files`` (name to bytes) into its folder; the peers
    receive a salted commitment to both.
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


RoleFunction = Callable[[Session, Table | None, Job], Awaitable[JobResult]]


def _any(_job: Job, _party: str, _settings: Mapping[str, Any]) -> None:
    """Allow every job."""


@dataclass(frozen=True)
class Protocol:
    """A protocol that jobs may name.

    Before a source is opened ``check`` refuses malformed specifications, equally at all parties,
    and ``admit`` refuses what an owner's settings do not allow. ``admit`` runs before the gate, so
    that a refused job counts no use.
    """

    name: str
    roles: Mapping[str, RoleFunction]
    check: Callable[[Job], None]
    admit: Callable[[Job, str, Mapping[str, Any]], None] = _any
