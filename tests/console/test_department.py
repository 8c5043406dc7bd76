"""A department's pages: who used what, earnings, disputes of records, its own assets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain.core.zone import day_start
from chain.statements.credit import CreditDispute
from chain.statements.examples import example
from chain.statements.members import Role
from exchange.usage import service as usage
from exchange.usage.model import CountedCall, Counts
from nodes.console.accounts.model import PersonRole
from nodes.sources import Sources
from registry.assets import publication
from registry.assets.model import Description, OwnVersion, Publication
from registry.credit import disputes, store
from registry.credit.model import Dispute
from registry.sources import ConfiguredSources
from tests.console.test_agreements import stored
from tests.console.test_pages import add_asset
from tests.support.console import TestConsole, running_console

HOSTILE = "=1+1<script>alert(1)</script>𠮷"
OTHER = "11440700MB2C62171K"
RECORDS = "id,age,area\nA1,31,south\nB2,42,north\n"


@pytest.fixture
def department(tmp_path: Path) -> Iterator[TestConsole]:
    (tmp_path / "people.csv").write_text(RECORDS, encoding="utf-8")
    with running_console(tmp_path) as console:
        config = console.config.model_copy(
            update={"sources": {"people": _entry(tmp_path / "people.csv")}}
        )
        sources = Sources(config)
        console.context.services.put(ConfiguredSources(sources, sources.uploads))
        yield console


def _entry(path: Path) -> Any:
    from nodes.config import SourceEntry

    return SourceEntry(url=f"csv://{path}", key="id")


def used(console: TestConsole, *columns: str, served: int = 3, refused: int = 1) -> str:
    """Calls under an agreement; its id."""
    counts = Counts(served=served, refused=refused, units=served, amount=50 * served)
    call = CountedCall(
        b"\x07" * 32, b"\x00" * 31 + b"\x01", OTHER, columns, console.context.now(), counts
    )
    console.context.database.write(lambda session: usage.record(session, [call]))
    return "0x" + "07" * 32


def published(console: TestConsole) -> OwnVersion:
    return publication.publish(
        console.context,
        Publication(
            name="people",
            source="people",
            description=Description("人员", "People", "Test records", 3),
            masking={"age": "range:10", "area": "keep"},
            purposes={"statistics": False},
        ),
    )


def test_usage_shows_who_used_what_and_leads_to_receipts(department: TestConsole) -> None:
    asset = add_asset(department, 1)
    agreement = used(department, "age", HOSTILE)
    auditor = department.person(PersonRole.AUDITOR)
    assert f"/usage/{asset}?" in auditor.page("/usage")
    shown = auditor.page(f"/usage/{asset}")
    assert f"/usage/agreements/{agreement}?" in shown
    assert "1.50" in shown
    assert "<script>alert" not in shown
    assert "data-chart" in shown
    assert "data-chart" in auditor.page(f"/usage/{asset}?by=month")
    assert "Nobody called" in auditor.page(f"/usage/{asset}?since=2000-01-01&until=2000-01-31")
    assert "Nobody called" in auditor.page(f"/usage/agreements/{agreement}")
    assert auditor.get(f"/usage/{asset}?since=nonsense").status_code == 422


def test_the_export_of_usage_runs_no_formula(department: TestConsole) -> None:
    asset = add_asset(department, 1)
    used(department, HOSTILE)
    auditor = department.person(PersonRole.AUDITOR)
    answer = auditor.get(f"/usage/{asset}/export.csv")
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert rows[1][3] == "'" + HOSTILE
    assert rows[1][4:] == ["3", "1", "0", "3", "150"]
    assert rows[1][0] == f"{_date(department)}"


def _date(console: TestConsole) -> str:
    from nodes.console.usage.views import date_of

    return date_of(day_start(console.context.now()))


def test_earnings_add_up_by_agreement_and_month(department: TestConsole) -> None:
    add_asset(department, 1)
    used(department, "age")
    used(department, "area", served=1, refused=0)
    auditor = department.person(PersonRole.AUDITOR)
    shown = auditor.page("/earnings")
    assert "2.00" in shown
    assert "data-chart" in shown
    rows = list(csv.reader(io.StringIO(auditor.get("/earnings.csv").text.removeprefix("\ufeff"))))
    assert rows[1][4:] == ["4", "200"]


def test_only_the_provider_claims_and_only_a_clerk(department: TestConsole) -> None:
    agreement = stored(department)
    clerk = department.person(PersonRole.CLERK)
    answer = clerk.send("/publish", f"/earnings/{agreement}/claim", {})
    assert (answer.status_code, "not_provider" in answer.text) == (403, True)
    auditor = department.person(PersonRole.AUDITOR)
    fields = auditor.hidden("/earnings")
    assert auditor.post(f"/earnings/{agreement}/claim", fields).status_code == 403


@pytest.mark.parametrize("path", ["/usage", "/earnings", "/record-disputes"])
def test_pages_of_departments_are_closed_elsewhere(tmp_path: Path, path: str) -> None:
    with running_console(tmp_path, roles=Role.BANK) as bank:
        answer = bank.person(PersonRole.CLERK).get(path)
        assert (answer.status_code, "page_of_another_role" in answer.text) == (403, True)


def test_an_own_asset_shows_versions_source_and_incidents(department: TestConsole) -> None:
    own = published(department)
    _catalogued(department, own)
    officer = department.person(PersonRole.CHIEF_DATA_OFFICER)
    page = f"/assets/0x{own.asset_id.hex()}"
    shown = officer.page(page)
    assert "range:10" in shown
    assert "can be read" in shown
    assert "Take the asset off the network" in shown
    department.config.path(Path("people.csv")).unlink()
    assert "missing or cannot be read" in officer.page(page)
    answer = officer.send(page, f"{page}/cancellation", {"reason": "source-replaced"})
    assert "/operations/asset-cancel/" in answer.headers["location"]
    clerk = department.person(PersonRole.CLERK)
    assert "Take the asset off" not in clerk.page(page)
    fields = {**clerk.hidden("/publish"), "reason": "source-replaced"}
    assert clerk.post(f"{page}/cancellation", fields).status_code == 403


def _catalogued(console: TestConsole, own: OwnVersion) -> None:
    from registry.assets import store as assets

    record = own.require_record()
    console.context.database.write(
        lambda session: assets.save_record(session, own.asset_id, record, 5)
    )


def disputed(console: TestConsole, own: OwnVersion) -> str:
    """A dispute of one record; its id."""
    commitment = disputes.subject_record(console.context, {"code": "A1"}, own.asset_id).commitment
    statement = replace(
        example(CreditDispute),
        department=console.context.member,
        asset_id=own.asset_id,
        record=commitment,
    )
    made = Dispute(
        statement=statement,
        signature=b"\x01" * 65,
        subject="A1",
        claim={"column": "age", "should": HOSTILE},
        old_record={"id": "A1", "age": 31, "area": "south"},
        opened_at=7,
    )
    console.context.database.write(lambda session: store.save_dispute(session, made))
    return "0x" + made.dispute_id.hex()


def test_a_disputed_record_is_repaired_in_a_new_version(department: TestConsole) -> None:
    own = published(department)
    dispute = disputed(department, own)
    clerk = department.person(PersonRole.CLERK)
    page = f"/record-disputes/{dispute}"
    shown = clerk.page(page)
    assert "<script>alert" not in shown
    fields = {"answer": "repair", "columns": ["id", "age", "area"], "cells": ["A1", "32", "south"]}
    answer = clerk.send(page, f"{page}/answer", fields)
    assert "/operations/repair/" in answer.headers["location"], answer.text
    found = disputes.find_dispute(department.context, bytes.fromhex(dispute[2:]))
    assert found.repair is not None
    assert found.repair.upheld
    assert found.repair.asset_version == 2
    assert "the record was repaired" in clerk.page(page)
    answer = clerk.send("/publish", f"{page}/answer", fields)
    assert (answer.status_code, "already_answered" in answer.text) == (409, True)


def test_a_record_that_stands_makes_no_version(department: TestConsole) -> None:
    own = published(department)
    dispute = disputed(department, own)
    clerk = department.person(PersonRole.CLERK)
    page = f"/record-disputes/{dispute}"
    answer = clerk.send(page, f"{page}/answer", {"answer": "confirm"})
    assert answer.status_code == 303, answer.text
    found = disputes.find_dispute(department.context, bytes.fromhex(dispute[2:]))
    assert found.repair is not None
    assert (found.repair.upheld, found.repair.asset_version) == (False, 1)


def test_a_repair_that_does_not_fit_is_refused(department: TestConsole) -> None:
    own = published(department)
    dispute = disputed(department, own)
    clerk = department.person(PersonRole.CLERK)
    page = f"/record-disputes/{dispute}"
    for columns, cells in (
        (["id", "age", "area"], ["A1", "many", "south"]),
        (["id", "age"], ["A1", "32"]),
        (["id", "age", "area"], ["A9", "32", "south"]),
    ):
        fields = {"answer": "repair", "columns": columns, "cells": cells}
        answer = clerk.send(page, f"{page}/answer", fields)
        assert answer.status_code in (404, 409, 422), (cells, answer.headers)
    found = disputes.find_dispute(department.context, bytes.fromhex(dispute[2:]))
    assert found.repair is None
