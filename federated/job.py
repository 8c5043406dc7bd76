"""A job: one joint computation, as all its parties agree on it; what goes into a role function and what comes out.

The specification is one JSON file that every party holds. Its SHA-256 (over RFC 8785 JSON) is the job's identity: parties that hold different
specifications do not start.

    {"job": "credit-2026-11", "protocol": "scorecard", "purpose": "credit-assessment",
     "parties": {"bank": {"role": "label", "source": "loans", "columns": ["Income", "Debt", "Status"]},
                 "tax": {"role": "features", "source": "returns", "columns": ["Records", "Expenses"]},
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

from chain.canonical import dumps
from federated.errors import BadInput
from federated.session import Session

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class Party:
    """One party's part in a job: its role, and what it reads, if anything."""

    role: str
    source: str | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """An agreed computation. ``parameters`` are checked by the protocol's own ``check``."""

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
        """The specification as it is written to files."""
        parties = {
            name: {"role": each.role}
            | ({} if each.source is None else {"source": each.source})
            | ({"columns": list(each.columns)} if each.columns else {})
            for name, each in self.parties.items()
        }
        return {"job": self.name, "protocol": self.protocol, "purpose": self.purpose, "parties": parties, "parameters": dict(self.parameters)}

    @classmethod
    def from_json(cls, value: Any) -> Job:
        """Read a specification; ``spec_malformed``."""
        try:
            parties = {
                name: Party(each["role"], each.get("source"), tuple(each.get("columns", ())))
                for name, each in value["parties"].items()
                if not set(each) - {"role", "source", "columns"}
            }
            job = cls(value["job"], value["protocol"], value["purpose"], parties, value.get("parameters", {}))
            texts = [job.name, job.protocol, job.purpose, *parties, *(each.role for each in parties.values())]
            sound = all(isinstance(each, str) and 0 < len(each) <= 64 for each in texts) and isinstance(job.parameters, dict)
            # The job's name becomes a folder's, and a party's name is told apart by spaces in the receipt.
            sound = sound and all(re.fullmatch(_NAME, each) for each in (job.name, *parties))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadInput("spec_malformed", "The job's specification lacks a part or has one of the wrong form.") from error
        if not sound or len(parties) < 2 or len(parties) != len(value["parties"]) or set(value) - set(job.to_json()):
            raise BadInput("spec_malformed", "The job's specification has a part of the wrong form, or one that is unknown.")
        return job

    def owners(self) -> list[str]:
        """The parties that bring data, in the specification's order."""
        return [name for name, each in self.parties.items() if each.source is not None]

    def with_role(self, role: str) -> list[str]:
        """The names of the parties in a role, in the specification's order."""
        return [name for name, each in self.parties.items() if each.role == role]

    def only(self, role: str) -> str:
        """The one party in a role; ``spec_roles`` if there is none or more than one."""
        names = self.with_role(role)
        if len(names) != 1:
            raise BadInput("spec_roles", f"This protocol needs one party in the role {role}; the specification has {len(names)}.")
        return names[0]


@dataclass(frozen=True)
class ReadReport:
    """How a party's source was read, for that party alone: the encoding, rows, identifiers that were brought into the common form, missing values
    and numbers that were not written plainly (by column, where there are any).
    """

    encoding: str
    rows: int
    ids_changed: int
    missing: Mapping[str, int]
    numbers_recognised: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The form in this party's receipt."""
        return {
            "encoding": self.encoding,
            "rows": self.rows,
            "idsChanged": self.ids_changed,
            "missing": dict(self.missing),
            "numbersRecognised": dict(self.numbers_recognised),
        }


@dataclass(frozen=True)
class Table:
    """A party's rows. ``ids``: fixed-width bytes, unique. Columns: float64 (NaN: missing) or texts (object, None: missing), as long as ``ids``."""

    ids: NDArray[np.bytes_]
    columns: Mapping[str, NDArray[Any]]
    report: ReadReport | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64]) -> Table:
        """These rows, in this order."""
        return Table(self.ids[rows], {name: each[rows] for name, each in self.columns.items()})

    def matrix(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Numeric columns as (rows, columns); ``column_not_numeric``."""
        for name in names:
            if self.columns[name].dtype.kind != "f":
                raise BadInput("column_not_numeric", f"The column {name} has values that are no numbers.")
        return np.column_stack([self.columns[name] for name in names]) if names else np.empty((len(self), 0))


@dataclass(frozen=True)
class Outcome:
    """What a role gives back. Nothing of it is written before all parties' transcripts match.

    ``metrics`` go into this party's receipt, ``files`` (name to bytes) into its folder; the peers get a salted commitment to both.
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


RoleFunction = Callable[[Session, Table | None, Job], Awaitable[Outcome]]


def _any(_job: Job, _party: str, _settings: Mapping[str, Any]) -> None:
    """A party's own settings forbid nothing."""


@dataclass(frozen=True)
class Protocol:
    """A protocol that jobs may name. Before anything is opened ``check`` refuses bad specifications, the same at all parties, and ``admit`` what an
    owner's own settings do not allow: it is asked before the gate, so that what is refused counts no use."""

    name: str
    roles: Mapping[str, RoleFunction]
    check: Callable[[Job], None]
    admit: Callable[[Job, str, Mapping[str, Any]], None] = _any
