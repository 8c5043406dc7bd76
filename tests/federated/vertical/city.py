"""A bank and up to three departments with made-up people, whose outcome depends on all of their
columns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from federated.channel import Buffer, Channel
from federated.errors import BadInput, PeerFault, QiaolianError
from federated.job import Job, JobResult, Table
from federated.local import run_local
from federated.session import Session
from federated.vertical.protocol import SCORECARD

DEPARTMENTS = {"tax": ("records", "expenses"), "estate": ("home", "assets"), "social": ("age",)}
PARAMETERS: dict[str, Any] = {
    "label": "status",
    "bad": "bad",
    "good": "good",
    "min_rows": 20,
    "bins": 5,
    "iterations": 12,
}


def people(seed: int = 7, count: int = 600) -> dict[str, Table]:
    """Each party's rows, in an order of its own; the departments hold some people more, and the
    bank some more.
    """
    numbers = np.random.default_rng(seed)
    records, expenses = (
        numbers.choice(["yes", "no"], count, p=[0.3, 0.7]).astype(object),
        numbers.normal(50, 15, count),
    )
    home, assets = (
        numbers.choice(["own", "rent", "kin"], count).astype(object),
        numbers.lognormal(3, 1, count),
    )
    age, income, debt = (
        numbers.uniform(20, 70, count),
        numbers.normal(100, 30, count),
        numbers.normal(20, 8, count),
    )
    assets[numbers.random(count) < 0.1] = np.nan
    log_odds = (
        2 * (records == "yes")
        + 0.03 * (expenses - 50)
        + (home == "rent")
        - 0.03 * (age - 45)
        - 0.02 * (income - 100)
        - 1
    )
    bad = numbers.random(count) < 1 / (1 + np.exp(-log_odds))
    columns: dict[str, Any] = {
        "records": records,
        "expenses": expenses,
        "home": home,
        "assets": assets,
        "age": age,
        "income": income,
        "debt": debt,
        "status": np.array(["bad" if outcome else "good" for outcome in bad], object),
        "late": (np.arange(count) % 4 == 0).astype(np.float64),
    }
    ids = np.array([b"91440703%08d" % index for index in range(count)])
    held = {**DEPARTMENTS, "bank": ("income", "debt", "status", "late")}
    made = {}
    for index, (party, names) in enumerate(held.items()):
        rows = np.random.default_rng(seed + index).permutation(
            np.arange(8 * index, count - 8 * (3 - index))
        )
        made[party] = Table(ids[rows], {name: columns[name][rows] for name in names})
    return made


def common_ids(tables: Mapping[str, Table]) -> set[bytes]:
    """The identifiers that all of these parties hold."""
    return set.intersection(*(set(table.ids.tolist()) for table in tables.values()))


def scorecard_of(departments: int = 3, **parameters: Any) -> Job:
    """A training with the first so many departments."""
    names = list(DEPARTMENTS)[:departments]
    parties: dict[str, Any] = {
        name: {"role": "features", "source": "rows", "columns": list(DEPARTMENTS[name])}
        for name in names
    }
    own = ["income", "debt", "status"] + (
        ["late"] if parameters.get("test_column") == "late" else []
    )
    parties["bank"] = {"role": "label", "source": "rows", "columns": own}
    parties["dealer"] = {"role": "dealer"}
    spec = {
        "job": "credit",
        "protocol": "scorecard",
        "purpose": "credit-assessment",
        "parties": parties,
    }
    return Job.from_json({**spec, "parameters": {**PARAMETERS, **parameters}})


class Recorder:
    """All frames of a party's channels, with the peer, the direction and the kind."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, str, str, bytes]] = []

    def sent(self, peer: str, kind: str, frame: Sequence[Buffer]) -> None:
        self.frames.append((peer, "sent", kind, b"".join(frame)))

    def received(self, peer: str, kind: str, frame: memoryview) -> None:
        self.frames.append((peer, "received", kind, bytes(frame)))


@dataclass
class Line:
    """What is done to the messages a party sends: ``act`` on the message of this number, or on the
    first of this kind.
    """

    act: Callable[[str, dict[str, Any]], Any]
    at: int = -1
    kind: str = ""
    count: int = 0

    async def pass_on(self, send: Any, kind: str, fields: dict[str, Any]) -> None:
        index, self.count = self.count, self.count + 1
        if index == self.at or (self.kind and kind == self.kind):
            self.kind = ""
            self.act(kind, fields)
        await send(kind, **fields)


@dataclass
class Run:
    """One run of all roles in this process, with whatever is to be watched or altered."""

    job: Job
    tables: Mapping[str, Table]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0
    lines: Mapping[str, Line] = field(default_factory=dict)
    watch: Mapping[str, Recorder] = field(default_factory=dict)
    protocol: Any = SCORECARD

    def outcomes(self) -> dict[str, JobResult]:
        """The outcomes by party; the first error that is not about another's is raised."""
        self.protocol.check(self.job)
        seeds = {
            name: bytes([self.seed, index]) * 16 for index, name in enumerate(self.job.parties)
        }
        ended = run_local({name: self._role(name) for name in self.job.parties}, seeds=seeds)
        errors = [error for error in ended.values() if isinstance(error, QiaolianError)]
        if errors:
            raise next((error for error in errors if error.code != "peer_gone"), errors[0])
        return ended

    def _role(self, name: str) -> Any:
        async def play(session: Session) -> JobResult | QiaolianError:
            for channel in session.channels.values():
                self._attach(name, channel)
            session = replace(session, settings=self.settings.get(name, {}))
            part = self.job.parties[name]
            table = self.tables.get(name) if part.source else None
            if table is not None:
                table = Table(table.ids, {column: table.columns[column] for column in part.columns})
            try:
                async with asyncio.timeout(300):
                    result: JobResult = await self.protocol.roles[part.role](
                        session, table, self.job
                    )
                    return result
            except QiaolianError as error:
                return error

        return play

    def _attach(self, name: str, channel: Channel) -> None:
        if name in self.watch:
            channel._observer = self.watch[name]
        if name in self.lines:
            send, line = channel.send, self.lines[name]

            async def altered(kind: str, **fields: Any) -> None:
                await line.pass_on(send, kind, fields)

            channel.send = altered  # type: ignore[method-assign]


def cut_off(_kind: str, _fields: dict[str, Any]) -> None:
    """The party is gone before this message."""
    raise PeerFault("peer_gone", "The line is cut.")


def refused(code: str, kind: type[QiaolianError] = BadInput) -> Any:
    """Expect an error of this code."""
    return pytest.raises(kind, check=lambda error: error.code == code)


def altered(
    tables: Mapping[str, Table], party: str, name: str, change: Callable[[Any], Any]
) -> dict[str, Table]:
    """The tables with one party's column changed."""
    table = tables[party]
    return {**tables, party: Table(table.ids, {**table.columns, name: change(table.columns[name])})}


def constant(tables: Mapping[str, Table], party: str, *names: str) -> dict[str, Table]:
    """The tables with one value in each of these columns of a party."""
    changed = dict(tables)
    for name in names:
        changed = altered(changed, party, name, lambda column: np.full(len(column), column[0]))
    return changed


def written_after_the_fact(tables: Mapping[str, Table]) -> dict[str, Table]:
    """Two columns of the bank and one of the tax bureau repeat the label, each but for other rows."""
    bank = tables["bank"]
    bad = dict(zip(bank.ids.tolist(), bank.columns["status"] == "bad", strict=True))
    made = dict(tables)
    for place, (party, name) in enumerate(
        (("bank", "income"), ("bank", "debt"), ("tax", "expenses"))
    ):
        statuses = [
            bad.get(person, False) != (int(person[-3:]) % 10 == place)
            for person in tables[party].ids.tolist()
        ]
        made = altered(
            made, party, name, lambda _column, statuses=statuses: np.array(statuses, np.float64)
        )
    return made
