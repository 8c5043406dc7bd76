"""Two parties with folders, sources and an intersection job between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federated.gate import FolderGate
from federated.job import Job
from federated.party import ListenAddress, PartyConfig, PartySource

BANK = [f"91440300{number:010d}" for number in range(40)]
TAX = [f"91440300{number:010d}" for number in range(25, 60)]
COMMON = sorted(set(BANK) & set(TAX))

MakeJob = Callable[..., Job]
Approve = Callable[[Job], None]


def _make_job(**parameters: Any) -> Job:
    parties = {
        "bank": {"role": "receiver", "source": "loans"},
        "tax": {"role": "sender", "source": "returns"},
    }
    spec = {
        "job": "common",
        "protocol": "intersection",
        "purpose": "credit-assessment",
        "parties": parties,
    }
    return Job.from_json({**spec, "parameters": {"method": "ecdh", **parameters}})


@pytest.fixture
def make_job() -> MakeJob:
    """An intersection's specification, ECDH by default: small and quick."""
    return _make_job


@pytest.fixture
def common() -> list[str]:
    """The identifiers that both parties hold."""
    return COMMON


@pytest.fixture
def parties(tmp_path: Path) -> dict[str, PartyConfig]:
    """The bank and the tax bureau, each with a folder and a source; no certificates, no approvals."""
    made = {}
    for name, source, ids in (("bank", "loans", BANK), ("tax", "returns", TAX)):
        home = tmp_path / name
        home.mkdir()
        (home / f"{source}.csv").write_text("code\n" + "\n".join(ids) + "\n")
        entry = PartySource(path=Path(f"{source}.csv"), key="code")
        made[name] = PartyConfig(
            name=name, listen=ListenAddress(port=1), sources={source: entry}, home=home
        )
    return made


@pytest.fixture
def approve(parties: dict[str, PartyConfig]) -> Approve:
    """Both data officers say yes to a job, as often as it may be tried."""

    def allow(job: Job) -> None:
        for config in parties.values():
            FolderGate(config.home / "approvals").approve(
                job, uses=1000, not_after=2**40, by="officer"
            )

    return allow
