"""Lists in pages: concurrent changes neither repeat nor hide a row, and no list is read whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from chain.context import Context
from chain.core.database import Base, Database
from chain.statements.assets import AssetRecord
from chain.statements.credit import CreditDispute, CreditQuery
from chain.statements.examples import example
from chain.statements.grants import GrantTerms
from chain.statements.members import Role
from chain.statements.property import DealTerms
from chain.statements.trade import Agreement, MeteredUnit
from exchange.agreements import offers
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.agreements.store import AgreementRow, OfferRow
from exchange.columns import Fen
from exchange.metering import records
from exchange.metering import service as metering
from exchange.metering.store import BuyerCallRow, GatewayCallRow
from exchange.settlement import service as settlement
from exchange.settlement.store import PaymentRow
from nodes import operations
from nodes.console.acts import service as acts
from nodes.console.acts.model import ActFilter
from nodes.console.acts.store import ConsoleAct
from nodes.routers import load_tables, routers
from nodes.webhooks import service as webhooks
from nodes.webhooks.store import WebhookDeliveryRow, WebhookEventRow, WebhookRow
from registry.assets import catalogue, incidents, publication
from registry.assets.incident_store import AssetIncident
from registry.assets.store import CatalogueAsset, OwnAsset
from registry.credit import disputes, queries
from registry.credit.store import AnchoredQueryRow, CreditQueryRow, DisputeRow
from registry.evidence import witness
from registry.evidence.witness_store import ForkRow
from registry.grants import service as grants
from registry.grants.model import GrantSide
from registry.grants.store import GrantRow
from registry.members import service as members
from registry.members.store import MemberKeyRow, MemberRow, ProposalRow
from registry.pages import Page, PageRequest, page_by_id, page_by_rank
from registry.property import deals
from registry.property.store import DealRow

MEMBER, OTHER = "11440700QL0000001A", "11440700QL0000002B"
ROWS, LIMIT = 11, 3
FAR = 2**62
OFFER = {
    "assetVersion": 1,
    "unit": "call",
    "price": 1,
    "maxCap": 1,
    "maxUnits": 0,
    "maxPerCall": 1,
    "maxLanes": 1,
    "maxSeconds": 1,
    "bond": 0,
    "bondFromEarnings": False,
    "stake": 0,
    "closeWindowBlocks": 1,
    "closeWindowSeconds": 1,
    "shares": [],
}


AGREEMENT = replace(example(Agreement), unit=int(MeteredUnit.CALL)).to_json()


def hashed(number: int) -> bytes:
    """An id: in another order than the numbers."""
    return hashlib.sha256(str(number).encode()).digest()


def hexed(number: int) -> str:
    return "0x" + hashed(number).hex()


@dataclass(frozen=True)
class List:
    """A list of a node's API: what its rows are made of, and which part of a shown row names it."""

    rows: Callable[[Context, PageRequest], Page[Any]]
    table: type[Base]
    name: str | Callable[[Any], Any]
    values: Callable[[int], dict[str, Any]]
    early: Mapping[str, Any] = field(default_factory=dict)
    """Values that sort a row where no row was before, on the far side."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    """What happens to every row between two pages."""
    roles: Role = field(default_factory=lambda: Role(0))


def _offer(number: int) -> dict[str, Any]:
    shown_to = [[], [MEMBER], [OTHER]][number % 3]
    return {**OFFER, "assetId": hexed(number), "buyers": shown_to}


def grant_terms(number: int) -> dict[str, Any]:
    return replace(example(GrantTerms), nonce=hashed(number)).to_json()


LISTS = {
    "grants": List(
        grants.listing,
        GrantRow,
        lambda row: row.terms.nonce,
        lambda number: {"grant_id": hashed(number), "terms": grant_terms(number)},
        {"added": 1},
        {"requested_at": 7, "approved_at": 9},
    ),
    "grants in a state": List(
        lambda context, page: grants.listing(context, page, state="approved"),
        GrantRow,
        lambda row: row.terms.nonce,
        lambda number: {
            "grant_id": hashed(number),
            "approved_at": number + 1,
            "terms": grant_terms(number),
        },
        {"added": 1},
    ),
    "grants of one side": List(
        lambda context, page: grants.listing(context, page, side=GrantSide.RECEIVED),
        GrantRow,
        lambda row: row.terms.nonce,
        lambda number: {
            "grant_id": hashed(number),
            "grantee": MEMBER,
            "terms": grant_terms(number),
        },
        {"added": 1},
    ),
    "versions of an asset": List(
        lambda context, page: publication.own_versions(context, page, asset_id=bytes(32)),
        OwnAsset,
        lambda row: row.version.asset_version,
        lambda number: {
            "asset_id": bytes(32),
            "asset_version": number,
            "asset_metadata": {"titleZh": "", "titleEn": ""},
        },
        {"asset_version": -1},
    ),
    "deals": List(
        deals.listing,
        DealRow,
        lambda row: row.deal.terms.nonce,
        lambda number: {
            "deal_id": hashed(number),
            "terms": replace(example(DealTerms), nonce=hashed(number)).to_json(),
            "operation": "",
            "opened_at": 0,
        },
        {"added": 1},
        {"opened_at": 12},
    ),
    "own queries": List(
        queries.list_queries,
        CreditQueryRow,
        lambda row: row.query_id,
        lambda number: {
            "query_hash": hashed(number),
            "statement": example(CreditQuery).to_json(),
        },
        {"added": 1},
    ),
    "anchored queries": List(
        queries.list_queries,
        AnchoredQueryRow,
        lambda row: row.query_id,
        lambda number: {"query_hash": hashed(number), "height": number // 4},
        {"height": -1},
        roles=Role.SUPERVISOR,
    ),
    "disputes": List(
        disputes.list_disputes,
        DisputeRow,
        lambda row: row.signature,
        lambda number: {
            "dispute_id": hashed(number),
            "raised_at": number // 4,
            "dispute": example(CreditDispute).to_json(),
            "signature": hashed(number),
        },
        {"raised_at": -1},
        {"opened_at": 9},
    ),
    "assets": List(
        catalogue.search,
        CatalogueAsset,
        lambda row: row.asset_id,
        lambda number: {
            "asset_id": hashed(number),
            "registered_at": number // 4,
            "record": example(AssetRecord).to_json(),
        },
        {"registered_at": -1},
        {"changed_at": 99},
    ),
    "publications": List(
        publication.own_versions,
        OwnAsset,
        lambda row: (row.version.asset_id, row.version.asset_version),
        lambda number: {
            "asset_id": hashed(number // 4),
            "asset_version": number,
            "asset_metadata": {"titleZh": "", "titleEn": ""},
        },
        {"asset_version": -1},
        {"operation": "asset/2"},
    ),
    "incidents": List(
        incidents.listing,
        AssetIncident,
        lambda row: row.position,
        lambda number: {"id": number + 100, "columns": '["从业年限"]', "position": number},
        {"id": 1},
        {"last_at": 99},
    ),
    "members": List(
        members.listing,
        MemberRow,
        lambda row: row.member,
        lambda number: {"member": hexed(number)[2:20]},
        changed={"admitted_at": 99},
    ),
    "keys": List(
        lambda context, page: members.keys(context, MEMBER, page),
        MemberKeyRow,
        lambda row: row.fingerprint,
        lambda number: {"fingerprint": hashed(number), "member": MEMBER, "purpose": 1},
        changed={"ended_at": 99},
    ),
    "proposals": List(
        members.proposals,
        ProposalRow,
        lambda row: row.proposal_id,
        lambda number: {"proposal_id": hashed(number), "deadline": number // 4, "nonce": "1"},
        {"deadline": 0},
        {"executed_at": 9},
    ),
    "forks": List(
        witness.forks,
        ForkRow,
        lambda row: row.found_at,
        lambda number: {"id": number + 100, "found_at": number},
        {"id": 1},
    ),
    "payments": List(
        settlement.payments,
        PaymentRow,
        lambda row: (row.height, row.log_index),
        lambda number: {"height": number // 4, "log_index": number},
        {"height": -1},
    ),
    "payments of an agreement": List(
        lambda context, page: settlement.payments(context, page, bytes(32)),
        PaymentRow,
        lambda row: (row.height, row.log_index),
        lambda number: {"height": number // 4, "log_index": number, "agreement_id": bytes(32)},
        {"height": -1},
    ),
    "agreements": List(
        agreements.listing,
        AgreementRow,
        lambda row: row.agreement_id,
        lambda number: {
            "agreement_id": hashed(number),
            "side": "buyer",
            "state": "signed",
            "agreement": AGREEMENT,
        },
        {"added": 1},
        {"opened_at": 9, "state": "open"},
    ),
    "agreements in a state": List(
        lambda context, page: agreements.listing(context, page, state="open", own=False),
        AgreementRow,
        lambda row: row.agreement_id,
        lambda number: {
            "agreement_id": hashed(number),
            "side": "observer",
            "state": "open",
            "agreement": AGREEMENT,
        },
        {"added": 1},
        {"opened_at": 9},
    ),
    "agreements of a side": List(
        lambda context, page: agreements.listing(context, page, side=AgreementSide.PROVIDER),
        AgreementRow,
        lambda row: row.agreement_id,
        lambda number: {
            "agreement_id": hashed(number),
            "side": "provider",
            "state": "open",
            "agreement": AGREEMENT,
        },
        {"added": 1},
        {"notice_at": 9, "state": "notice"},
    ),
    "calls of a lane": List(
        lambda context, page: records.gateway_calls(context, page, bytes(32), 1),
        GatewayCallRow,
        lambda row: row.seq,
        lambda number: {
            "agreement_id": bytes(32),
            "lane": 1,
            "seq": number,
            "status": "served",
            "request": "{}",
            "receipt": "{}",
        },
        {"seq": -1},
        {"status": "void"},
    ),
    "agreements to reconcile": List(
        lambda context, page: agreements.opened(context, page).map(lambda found: {"id": found}),
        AgreementRow,
        "id",
        lambda number: {"agreement_id": hashed(number), "opened_at": number},
        {"added": 1},
    ),
    "offers": List(
        offers.offers,
        OfferRow,
        lambda row: row.asset_id,
        lambda number: {"asset_id": hashed(number), "offer": _offer(number)},
        changed={"changed_at": 99},
    ),
    "calls under an agreement": List(
        lambda context, page: metering.calls(context, page, agreement_id=bytes(32)),
        BuyerCallRow,
        lambda row: (row.lane, row.seq),
        lambda number: {
            "agreement_id": bytes(32),
            "lane": number % 3,
            "seq": number,
            "asked_at": number // 4,
            "status": "asked",
        },
        {"asked_at": -1},
        {"status": "served"},
    ),
    "acts of a kind": List(
        lambda context, page: acts.listing(context, ActFilter(kind="view"), page),
        ConsoleAct,
        lambda row: row.id,
        lambda number: {"id": number + 100, "kind": "view"},
        {"id": 1},
        {"outcome": "done"},
    ),
    "acts on a kind of object": List(
        lambda context, page: acts.listing(context, ActFilter(object="asset"), page),
        ConsoleAct,
        lambda row: row.id,
        lambda number: {"id": number + 100, "object": "asset"},
        {"id": 1},
        {"outcome": "done"},
    ),
    "deliveries of a webhook": List(
        lambda context, page: webhooks.deliveries(context, "1", page),
        WebhookDeliveryRow,
        lambda row: row.id,
        lambda number: {
            "id": number + 100,
            "webhook_id": "1",
            "event_id": str(number),
            "state": "delivered",
        },
        {"id": 1},
        {"attempts": 2},
    ),
    "calls": List(
        metering.calls,
        BuyerCallRow,
        lambda row: (row.agreement_id, row.lane, row.seq),
        lambda number: {
            "agreement_id": hashed(number % 2),
            "lane": number % 3,
            "seq": number,
            "asked_at": number // 4,
            "status": "asked",
        },
        {"asked_at": -1},
        {"status": "served"},
    ),
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    load_tables()
    found = Database(f"sqlite:///{tmp_path / 'node.db'}")
    Base.metadata.create_all(found.engine)
    yield found
    found.close()


def node(database: Database, roles: Role = Role(0)) -> Context:
    """A node with nothing but its database: lists ask for no more."""
    return Context(MEMBER, roles, database, *cast(Any, (None, None, None, {}, None, "")))


def made(table: type[Base], values: Mapping[str, Any], number: int) -> Base:
    """A row of a table: what is not given is made up."""
    blank: dict[type, Any] = {
        int: 1,
        bool: False,
        object: {},
        dict: {},
        bytes: hashed(number),
        str: f"{number}",
    }
    given = dict(values)
    for attribute in sa.inspect(table).column_attrs:
        column = attribute.columns[0]
        if attribute.key not in given and not column.nullable and column.default is None:
            is_money = isinstance(column.type, Fen)
            given[attribute.key] = 0 if is_money else blank[column.type.python_type]
    return table(**given)


def add(database: Database, shown: List, numbers: Sequence[int], **values: Any) -> None:
    rows = [made(shown.table, {**shown.values(number), **values}, number) for number in numbers]
    if shown.table is WebhookDeliveryRow:
        rows.append(made(WebhookRow, {"id": "1"}, 0))
        events = [str(number) for number in numbers]
        rows += [made(WebhookEventRow, {"id": event}, 0) for event in events]
    if shown.table is MemberKeyRow:
        rows.append(made(MemberRow, {"member": MEMBER}, 0))
    database.write(lambda session: [session.merge(row) for row in rows] and None)


def named(shown: List, rows: Sequence[Any]) -> list[Any]:
    return [row[shown.name] if isinstance(shown.name, str) else shown.name(row) for row in rows]


@pytest.mark.parametrize("shown", LISTS.values(), ids=LISTS.keys())
def test_no_row_is_repeated_and_none_lost_while_others_are_added_and_change(
    database: Database, shown: List
) -> None:
    add(database, shown, range(ROWS))
    context = node(database, shown.roles)
    expected = named(shown, shown.rows(context, PageRequest(200)).rows)
    assert len(expected) == len(set(expected)) == ROWS
    seen: list[Any] = []
    page = shown.rows(context, PageRequest(LIMIT))
    for number in range(1000, 1100):
        seen += named(shown, page.rows)
        if page.next is None:
            break
        add(database, shown, [number])
        add(database, shown, [number + 1000], **shown.early)
        if shown.changed:
            change = sa.update(shown.table).values(**shown.changed)
            database.write(lambda session, change=change: session.execute(change) and None)
        page = shown.rows(context, PageRequest(LIMIT, page.next))
    assert page.next is None
    assert [name for name in seen if name in expected] == expected
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("shown", LISTS.values(), ids=LISTS.keys())
def test_a_page_is_found_by_an_index_and_not_by_reading_and_sorting_the_list(
    database: Database, shown: List
) -> None:
    add(database, shown, range(ROWS))
    context = node(database, shown.roles)
    cursor = shown.rows(context, PageRequest(LIMIT)).next or ""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if f"FROM {shown.table.__tablename__}" in statement:
            asked.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    shown.rows(context, PageRequest(LIMIT, cursor))
    sa.event.remove(database.engine, "before_cursor_execute", note)
    assert asked
    with database.engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [str(row[-1]) for row in plan]
            assert any(step.startswith("SEARCH") for step in steps), (statement, steps)
            assert not [step for step in steps if step.startswith("SCAN")], (statement, steps)
            assert "USE TEMP B-TREE FOR ORDER BY" not in steps, (statement, steps)


def test_a_buyer_is_shown_no_trace_of_offers_made_to_others(database: Database) -> None:
    shown = LISTS["offers"]
    add(database, shown, range(30))
    context, cursor, seen = node(database), "", []
    while True:
        page = offers.offers(context, PageRequest(4, cursor), buyer=OTHER)
        seen += [row.asset_id for row in page.rows]
        if page.next is None:
            break
        assert len(page.rows) == 4
        cursor = page.next
        (last,) = {row.asset_id for row in page.rows[-1:]}
        assert PageRequest(4, cursor) == PageRequest(4, _cursor_after(database, last))
    assert sorted(seen) == sorted(hashed(number) for number in range(30) if number % 3 != 1)


def _cursor_after(database: Database, asset_id: bytes) -> str:
    """The cursor that the provider's own list gives after a row."""
    context, cursor = node(database), ""
    while True:
        page = offers.offers(context, PageRequest(1, cursor))
        assert page.next is not None
        if page.rows[0].asset_id == asset_id:
            return page.next
        cursor = page.next


def test_pages_of_what_is_held_in_memory_lose_and_repeat_nothing() -> None:
    ids = [hashed(number) for number in range(10)]
    first = page_by_id(ids, lambda row: row, PageRequest(4))
    more = [*ids, bytes(32), b"\xff" * 32]
    second = page_by_id(more, lambda row: row, PageRequest(4, first.next or ""))
    third = page_by_id(more, lambda row: row, PageRequest(4, second.next or ""))
    assert [*first.rows, *second.rows, *third.rows] == [*sorted(ids), b"\xff" * 32]
    assert third.next is None


def test_pages_by_rank_begin_with_the_highest_and_lose_nothing() -> None:
    rows = [(number % 4, hashed(number)) for number in range(10)]
    seen: list[tuple[int, bytes]] = []
    page = page_by_rank(rows, lambda row: row, PageRequest(3))
    while page.next is not None:
        seen += page.rows
        page = page_by_rank(reversed(rows), lambda row: row, PageRequest(3, page.next))
    assert [*seen, *page.rows] == sorted(rows, key=lambda row: (-row[0], row[1]))


def test_every_list_of_the_interface_comes_in_pages() -> None:
    app = FastAPI()
    for router in (*routers(), operations.router):
        app.include_router(router)
    described = app.openapi()
    schemas = described["components"]["schemas"]
    unpaged = []
    for path, methods in described["paths"].items():
        schema = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        name = schema.get("application/json", {}).get("schema", {}).get("$ref", "").split("/")[-1]
        answer = schemas.get(name, {}).get("properties", {})
        listed = {key for key, value in answer.items() if "$ref" in value.get("items", {})}
        parameters = {
            parameter["name"] for parameter in methods.get("get", {}).get("parameters", [])
        }
        if listed and not ({"limit", "cursor"} <= parameters and "next" in answer):
            unpaged.append((path, sorted(listed)))
    # Bounded by what they are: a member's first 200 keys, a deal's seven steps and its taxes, the
    # findings on one agreement; positions after a number, as many as one answer holds; the days and
    # months of ten years, the columns of an asset; a report's parts and a bank's open agreements
    # for one purpose; 31 days of the clearing book, 24 hours, the 100 largest flows, a record's
    # sources and 50 that follow; the members of a day and the sums that differ, which an operator
    # compares as a whole, and those of a check of the chain's money, which reads 500 agreements;
    # the payouts that were asked for; a statement's lines, at most 20,000; the rules of some years.
    assert dict(unpaged) == {
        "/v1/members/{member}": ["keys"],
        "/v1/usage/{asset_id}": ["columns", "days", "months"],
        "/v1/earnings/months": ["months"],
        "/v1/deals/{deal_id}": ["course", "steps"],
        "/v1/deals/{deal_id}/taxes": ["lines"],
        "/v1/deals/{deal_id}/taxes/sources": ["lines"],
        "/v1/reports/sources": ["sources"],
        "/v1/reports/{query_id}": ["parts"],
        "/v1/agreements/{agreement_id}/reconciliation": ["findings"],
        "/v1/peer/agreements/{agreement_id}/positions": ["positions"],
        "/v1/clearing/days": ["days"],
        "/v1/clearing/days/{day}/positions": ["positions"],
        "/v1/clearing/comparison": ["differences"],
        "/v1/conservation": ["discrepancies"],
        "/v1/account-statement": ["lines", "payouts"],
        "/v1/split-rules": ["rules"],
        "/v1/peer/split-rules": ["rules"],
        "/v1/peer/payouts": ["confirmations"],
        "/v1/network/flows": ["flows"],
        "/v1/network/hours": ["hours"],
        "/v1/trace": ["following", "found", "source"],
    }
