"""A bank with the label and two departments with columns of the same firms, in orders of their own
and with firms the others do not have.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.boosting import BOOSTING, he
from federated.boosting.he import OU, PAILLIER, SCHEMES, Scheme, SecretKey, generated
from federated.channel import Channel
from federated.job import Job, JobResult, Table
from federated.local import run_local
from federated.session import Session

COMMON = 700
COLUMNS = {
    "bank": ("Income", "Debt"),
    "tax": ("Records", "Expenses"),
    "social": ("Seniority", "Age"),
}
LABEL = "Status"
LATER = "Later"
"""The column that says which rows are for the test, where a test brings one."""

Columns = dict[str, NDArray[Any]]
Alter = Callable[[str, int, dict[str, Any]], dict[str, Any]]
"""Gets a message's kind, its number among those of the kind, and its fields; gives the fields that
are sent.
"""


@functools.cache
def _pooled() -> Columns:
    source = np.random.default_rng(11)
    rows = COMMON
    columns: Columns = {
        name: source.normal(size=rows).round(3)
        for name in ("Income", "Debt", "Expenses", "Seniority", "Age")
    }
    columns["Records"] = np.array(["no", "yes", "some"], object)[
        source.choice(3, rows, p=[0.6, 0.25, 0.15])
    ]
    odds = (
        columns["Debt"]
        - columns["Income"]
        + 1.5 * (columns["Records"] == "yes")
        - columns["Seniority"] * (columns["Age"] > 0)
        - 0.4
    )
    bad = source.random(rows) < 1 / (1 + np.exp(-odds))
    columns["Expenses"][source.random(rows) < 0.15] = np.nan
    columns[LABEL] = np.where(bad, "bad", "good").astype(object)
    return columns


@pytest.fixture
def pooled() -> Columns:
    """All columns of the common firms."""
    return {name: column.copy() for name, column in _pooled().items()}


def _table(party: str, pooled: Columns) -> Table:
    """This party's columns, with some firms more, in an order of its own."""
    source = np.random.default_rng(len(party))
    names = [
        *COLUMNS[party],
        *(name for name in (LABEL, LATER) if party == "bank" and name in pooled),
    ]
    rows = len(pooled[LABEL])
    ids = np.array(
        [f"91440300{number:010d}" for number in range(rows)]
        + [f"91440{len(party)}99{number:010d}" for number in range(40)],
        "S18",
    )
    again = source.integers(0, rows, 40)
    columns = {name: np.concatenate([pooled[name], pooled[name][again]]) for name in names}
    return Table(ids, columns).take(source.permutation(len(ids)))


def _read(table: Table, columns: Iterable[str]) -> Table:
    """The columns that a job names, as a source is read."""
    return Table(table.ids, {name: table.columns[name] for name in columns})


MakeTables = Callable[..., dict[str, Table]]
MakeJob = Callable[..., Job]
Run = Callable[..., dict[str, JobResult]]


@pytest.fixture(scope="session")
def tables() -> MakeTables:
    """Each party's table; ``columns`` takes the place of pooled columns."""

    def make(parties: Iterable[str] = COLUMNS, **columns: NDArray[Any]) -> dict[str, Table]:
        return {party: _table(party, {**_pooled(), **columns}) for party in parties}

    return make


@pytest.fixture(scope="session")
def make_job() -> MakeJob:
    """A specification between these parties: three small trees by default."""

    def make(names: Iterable[str] = COLUMNS, **parameters: Any) -> Job:
        parties = {
            name: {
                "role": "label" if name == "bank" else "features",
                "source": "rows",
                "columns": [*COLUMNS[name], *([LABEL] if name == "bank" else [])],
            }
            for name in names
        }
        given = {
            "label": LABEL,
            "bad": "bad",
            "trees": 3,
            "max_depth": 3,
            "bins": 8,
            "alignment": {"method": "ecdh"},
            **parameters,
        }
        return Job.from_json(
            {
                "job": "forest",
                "protocol": "boosting",
                "purpose": "credit",
                "parties": parties,
                "parameters": given,
            }
        )

    return make


SMALL_KEYS = (
    dataclasses.replace(
        OU, key_bits=1024, width=132, modulus_bits=(1022, 1036), plaintext_bits=320
    ),
    dataclasses.replace(
        PAILLIER, key_bits=1024, width=260, modulus_bits=(1022, 1024), plaintext_bits=1016
    ),
)
"""The schemes at the smallest size that HEU makes Okamoto-Uchiyama keys of, for all tests that are
not about the size.
"""


@pytest.fixture(autouse=True, scope="module")
def small_keys() -> Iterator[None]:
    """Small keys, made once for each scheme: finding primes takes seconds. Tables of keys take 40 MB
    each, so that none outlives a module.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(SecretKey, "generate", _made)
        for scheme in SMALL_KEYS:
            monkeypatch.setitem(SCHEMES, scheme.name, scheme)
        yield
    he._kit.cache_clear()


@pytest.fixture
def full_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of the size that daemons use."""
    for scheme in (OU, PAILLIER):
        monkeypatch.setitem(SCHEMES, scheme.name, scheme)


_generate = SecretKey.generate


@functools.cache
def _made(scheme: Scheme) -> bytes:
    return generated(scheme.name, scheme.key_bits) if scheme in SMALL_KEYS else _generate(scheme)


class _Liar(Channel):
    """A channel whose party sends something else."""

    def __init__(self, channel: Channel, alter: Alter) -> None:
        self.__dict__.update(channel.__dict__)
        self._alter, self._counts = alter, dict[str, int]()

    async def send(self, kind: str, **fields: Any) -> None:
        number = self._counts.get(kind, 0)
        self._counts[kind] = number + 1
        await super().send(kind, **self._alter(kind, number, fields))


@pytest.fixture
def run(tables: MakeTables) -> Run:
    """Run a job between parties of this process; ``lies`` alters what a party sends."""

    def together(
        job: Job,
        given: Mapping[str, Table] | None = None,
        *,
        lies: Mapping[str, Alter] | None = None,
    ) -> dict[str, JobResult]:
        BOOSTING.check(job)
        held = {
            name: _read(table, job.parties[name].columns)
            for name, table in (given or tables(job.parties)).items()
        }

        def role(name: str) -> Callable[[Session], Any]:
            async def act(session: Session) -> JobResult:
                if name in (lies or {}):
                    channels = {
                        peer: _Liar(channel, (lies or {})[name])
                        for peer, channel in session.channels.items()
                    }
                    session = dataclasses.replace(session, channels=channels)
                return await BOOSTING.roles[job.parties[name].role](session, held[name], job)

            return act

        # Fixed seeds: which rows are tested with decides the figures of so few.
        seeds = {name: name.encode().ljust(32) for name in job.parties}
        return run_local({name: role(name) for name in job.parties}, seeds=seeds)

    return together
