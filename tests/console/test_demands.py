"""Demands: a bank posts, a department fetches and answers; hostile nodes and bad input."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import QiaolianError
from chain.statements.assets import AssetRecord
from chain.statements.examples import example
from chain.statements.members import Role
from nodes.console.accounts.model import PersonRole
from registry.assets import store as assets
from registry.demands import api, service
from registry.demands.model import Demand
from registry.demands.rules import MAX_OPEN, read_demand
from registry.members import store as members
from registry.pages import PageRequest
from tests.support.console import MEMBER, TestConsole, running_console
from tests.support.node import LocalNode, LocalPeers, application

OTHER = "11440700MB2C62171K"
ASSET = b"\x05" * 32
ALL = PageRequest(200)
WANTED = {
    "title": "餐饮企业用水量",
    "text": "用于估算营业收入。\n按月。",
    "purpose": "credit-assessment",
    "columns": ("month", "立方米"),
}
HOSTILE = "<script>alert(1)</script>𠮷"


class Endpoints:
    """The endpoints of one node, as peers reach them."""

    request = LocalNode.request

    def __init__(self, app: FastAPI) -> None:
        self.app = app


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[TestConsole]:
    (tmp_path / "bank").mkdir()
    with running_console(tmp_path / "bank", roles=Role.BANK) as console:
        known_to(console, OTHER, Role.DEPARTMENT)
        yield console


@pytest.fixture
def department(tmp_path: Path, bank: TestConsole) -> Iterator[TestConsole]:
    """A department that reaches the bank's node; the bank is called ``MEMBER``, it ``OTHER``."""
    (tmp_path / "department").mkdir()
    with running_console(tmp_path / "department") as console:
        app = application(bank.context, [api.router], lambda *_: frozenset({"department"}))
        nodes: Any = {MEMBER: Endpoints(app)}
        console.app.state.context = console.context = replace(
            console.context, member=OTHER, peers=LocalPeers(OTHER, nodes)
        )
        known_to(console, MEMBER, Role.BANK)
        yield console


def known_to(console: TestConsole, member: str, role: Role) -> None:
    """A member in the node's lists, and the department's asset in its catalogue."""
    record = replace(example(AssetRecord), holder=OTHER, name="water-use")

    def change(session: Session) -> None:
        members.admit(session, member, name=f"某单位{HOSTILE}", roles=int(role), height=1)
        assets.save_record(session, ASSET, record, 1)

    console.context.database.write(change)


def posted(console: TestConsole, **changes: Any) -> Demand:
    return service.post(console.context, **{**WANTED, **changes}).demand


def code_of(action: Any) -> str:
    with pytest.raises(QiaolianError) as caught:
        action()
    return caught.value.code


def fetched(context: Context) -> dict[str, QiaolianError]:
    return asyncio.run(service.fetch_all(context))


def test_a_demand_is_fetched_answered_and_ended(bank: TestConsole, department: TestConsole) -> None:
    demand = posted(bank)
    assert fetched(department.context) == {}
    (found,) = service.received(department.context, ALL).rows
    assert (found.bank, found.demand, found.answered_with) == (MEMBER, demand, None)
    asyncio.run(service.answer(department.context, MEMBER, demand.demand_id, ASSET, "按月"))
    (answered,) = service.find(bank.context, demand.demand_id).answers
    assert (answered.department, answered.asset_id, answered.note) == (OTHER, ASSET, "按月")
    assert fetched(department.context) == {}
    assert service.received(department.context, ALL).rows[0].answered_with == ASSET
    service.withdraw(bank.context, demand.demand_id)
    fetched(department.context)
    assert service.received(department.context, ALL).rows == []
    assert code_of(
        lambda: service.take_answer(bank.context, OTHER, demand.demand_id, ASSET, "")
    ) == ("demand_closed")


def test_a_bank_that_does_not_answer_loses_nothing(
    bank: TestConsole, department: TestConsole
) -> None:
    posted(bank)
    fetched(department.context)
    peers = department.context.peers
    assert isinstance(peers, LocalPeers)
    peers.down.add(MEMBER)
    assert [error.code for error in fetched(department.context).values()] == ["peer_unreachable"]
    assert len(service.received(department.context, ALL).rows) == 1


@pytest.mark.parametrize(
    "altered",
    [
        lambda _: {},
        lambda _: {"demands": 5, "next": None},
        lambda _: [],
        lambda answer: {**answer, "next": 7},
    ],
)
def test_a_node_that_shows_no_list_is_reported(
    bank: TestConsole, department: TestConsole, altered: Any
) -> None:
    posted(bank)
    peers = department.context.peers
    assert isinstance(peers, LocalPeers)
    peers.altered = altered
    (error,) = fetched(department.context).values()
    assert error.code == "peer_answer_unreadable"


def test_a_demand_that_is_none_is_left_out_and_the_list_is_bounded(
    bank: TestConsole, department: TestConsole
) -> None:
    demand = posted(bank)
    peers = department.context.peers
    assert isinstance(peers, LocalPeers)
    many = [{**demand.to_json(), "demandId": f"{n:032x}"} for n in range(300)]
    peers.altered = lambda answer: {
        "demands": [{**demand.to_json(), "title": "\u202e"}, None, *many],
        "next": answer["next"],
    }
    assert fetched(department.context) == {}
    rows = service.received(department.context, PageRequest(200)).rows
    assert len(rows) == MAX_OPEN - 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("demandId", "../../etc"),
        ("demandId", 5),
        ("title", ""),
        ("title", "x" * 101),
        ("title", "two\nlines"),
        ("title", "hidden\u200b"),
        ("text", " "),
        ("text", "x" * 2_001),
        ("text", "a\u202eb"),
        ("purpose", "anything"),
        ("purpose", None),
        ("columns", ["x"] * 51),
        ("columns", [""]),
        ("columns", [5]),
        ("columns", None),
        ("postedAt", -1),
        ("postedAt", True),
        ("postedAt", "now"),
    ],
)
def test_a_demand_that_is_not_well_formed_is_refused(field: str, value: Any) -> None:
    demand = Demand("0" * 32, "t", "x", "statistics", ("a",), 5)
    assert read_demand(demand.to_json()) == demand
    assert code_of(lambda: read_demand({**demand.to_json(), field: value})) in (
        "demand_malformed",
        "purpose_unknown",
    )


def test_a_key_posts_a_demand_once(bank: TestConsole) -> None:
    first = posted(bank, idempotency_key="k")
    assert posted(bank, idempotency_key="k").demand_id == first.demand_id
    assert len(service.own(bank.context, ALL).rows) == 1
    reused = lambda: posted(bank, idempotency_key="k", title="another")  # noqa: E731
    assert code_of(reused) == "demand_key_reused"


def test_open_demands_are_bounded(bank: TestConsole) -> None:
    for number in range(MAX_OPEN):
        posted(bank, title=f"{number}")
    assert code_of(lambda: posted(bank)) == "demand_limit"


def test_only_the_holder_answers_with_an_asset(bank: TestConsole, department: TestConsole) -> None:
    demand = posted(bank)
    stranger = "11440700MB2C62172H"
    assert code_of(
        lambda: service.take_answer(bank.context, stranger, demand.demand_id, ASSET, "")
    ) == ("asset_of_others")
    unknown = lambda: service.take_answer(  # noqa: E731
        bank.context, OTHER, demand.demand_id, b"\x09" * 32, ""
    )
    assert code_of(unknown) == "asset_unknown"
    assert code_of(lambda: service.take_answer(bank.context, OTHER, "0" * 32, ASSET, "")) == (
        "demand_unknown"
    )
    fetched(department.context)
    not_there = service.answer(department.context, MEMBER, "0" * 32, ASSET, "")
    assert code_of(lambda: asyncio.run(not_there)) == "demand_unknown"


def test_the_pages_of_both_sides(bank: TestConsole, department: TestConsole) -> None:
    buyer = bank.person(PersonRole.CLERK)
    form = {"title": HOSTILE, "text": HOSTILE, "purpose": "statistics", "columns": f"{HOSTILE}\n"}
    fields = {**buyer.hidden("/demands"), **form}
    places = {buyer.post("/demands", fields).headers["location"] for _ in range(2)}
    assert len(places) == 1
    (place,) = places
    assert "<script>alert" not in buyer.page(place)
    fetched(department.context)
    clerk = department.person(PersonRole.CLERK)
    page = f"/demands/{MEMBER}/{place.rsplit('/', 1)[1]}"
    assert page in clerk.page("/demands")
    assert "<script>alert" not in clerk.page("/demands")
    assert "<script>alert" not in clerk.page(page)
    answer = clerk.send(page, f"{page}/answer", {"asset": "0x" + ASSET.hex(), "note": HOSTILE})
    assert answer.headers["location"] == page, answer.text
    assert "<script>alert" not in buyer.page(place)
    assert "water-use" in buyer.page(place)
    assert buyer.send(place, f"{place}/withdrawal", {}).status_code == 303
    auditor = bank.person(PersonRole.AUDITOR)
    assert auditor.post("/demands", {**auditor.hidden("/demands"), **form}).status_code == 403
    assert clerk.post("/demands", {**clerk.hidden("/demands"), **form}).status_code == 403


def test_a_department_posts_no_demand(department: TestConsole) -> None:
    app = application(department.context, [api.router], lambda *_: frozenset())
    answer = asyncio.run(
        Endpoints(app).request(  # type: ignore[misc]
            "POST",
            "/v1/demands",
            {**WANTED, "columns": list(WANTED["columns"])},
            {"x-local": "clerk"},
        )
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "demand_role")
