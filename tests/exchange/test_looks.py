"""Who looked at a subject's record: the account, each look's proof, and the check that finds what a
provider leaves out.
"""

from __future__ import annotations

import secrets
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from chain.core.canonical import dumps, loads
from chain.core.errors import NotFound, QiaolianError
from exchange.looks import export, service
from exchange.looks.model import Gap, LaneAccount
from exchange.looks.rules import account_findings, buyer_findings, lane_findings
from exchange.metering.look_model import Position
from exchange.metering.store import BUYER, GATEWAY
from registry.pages import PageRequest
from tests.exchange.conftest import Market
from tests.support.two_verifiers import verify

ALL = PageRequest(200)


@pytest.fixture
def number() -> int:
    """A subject of the source that few other tests ask for."""
    return secrets.randbelow(15) + 20


def code(number: int) -> str:
    return f"92440700MA4W{number:06d}"


def positions(market: Market, node: Any, number: int) -> set[Position]:
    return {look.position for look in service.looks_at(node.context, code(number), ALL).rows}


def look(market: Market, agreement_id: bytes, number: int) -> Position:
    made = market.call(agreement_id, number)
    return Position(agreement_id, made.lane, made.seq)


def test_both_sides_list_a_look_with_its_purpose_and_columns(
    market: Market, agreement_id: bytes, number: int
) -> None:
    position = look(market, agreement_id, number)
    for node in (market.department, market.bank):
        rows = service.looks_at(node.context, code(number), ALL).rows
        found = next(row for row in rows if row.position == position)
        assert found.query.columns == ("seniority", "age")
        assert found.query.purpose == "statistics"
        assert (found.status, found.reason) == ("served", "")
        assert len(found.receipt) == 32


def test_nobody_elses_looks_are_listed(market: Market, agreement_id: bytes, number: int) -> None:
    position = look(market, agreement_id, number)
    for other in (code(3), code(number)[:-1], "%", ""):
        rows = service.looks_at(market.department.context, other, ALL).rows
        assert position not in {row.position for row in rows}


def test_a_refused_look_is_listed_with_its_reason(
    market: Market, agreement_id: bytes, number: int
) -> None:
    market.call(agreement_id, number, columns=("job",))
    row = service.looks_at(market.department.context, code(number), ALL).rows[0]
    assert (row.status, row.reason) == ("refused", "column_not_granted")


def test_the_proof_of_a_look_holds_in_both_verifiers(
    market: Market, agreement_id: bytes, number: int
) -> None:
    position = look(market, agreement_id, number)
    market.anchor()
    data = export.bundle(market.department.context, position, subject=code(number))
    report = verify(data, market.trust)
    assert report.profile == "look"
    text = "\n".join(report.proved)
    assert f'"{code(number)}"' in text
    assert '"seniority", "age"' in text
    assert market.bank.member in text


def test_a_proof_that_opens_another_query_is_refused(
    market: Market, agreement_id: bytes, number: int
) -> None:
    position = look(market, agreement_id, number)
    market.anchor()
    value = loads(export.bundle(market.department.context, position))
    disclosed = next(one for one in value["disclosures"] if "subject" in one["record"])
    disclosed["record"]["subject"] = code(1)
    with pytest.raises(QiaolianError):
        verify(dumps(value), market.trust)


def test_a_proof_without_the_query_is_refused(
    market: Market, agreement_id: bytes, number: int
) -> None:
    position = look(market, agreement_id, number)
    market.anchor()
    value = loads(export.bundle(market.department.context, position))
    value["disclosures"] = []
    with pytest.raises(QiaolianError):
        verify(dumps(value), market.trust)


def test_the_proof_of_anothers_look_is_not_given(
    market: Market, agreement_id: bytes, number: int
) -> None:
    position = look(market, agreement_id, number)
    with pytest.raises(NotFound, match="no such call"):
        export.bundle(market.department.context, position, subject=code(1))
    missing = Position(agreement_id, position.lane, position.seq + 50)
    with pytest.raises(NotFound):
        export.bundle(market.department.context, missing)


def test_the_buyers_node_gives_the_same_proof_for_its_own_looks_alone(
    market: Market, agreement_id: bytes, number: int
) -> None:
    position = look(market, agreement_id, number)
    market.anchor()
    bank = market.bank.context
    data = market.run(export.fetch(bank, position, subject=code(number)))
    assert data == export.bundle(market.department.context, position)
    assert verify(data, market.trust).profile == "look"
    for wrong in (position, Position(agreement_id, position.lane, position.seq + 50)):
        with pytest.raises(NotFound) as refused:
            market.run(export.fetch(bank, wrong, subject=code(1)))
        assert refused.value.code == "look_unknown"
    path = f"/v1/peer/looks/0x{agreement_id.hex()}/{position.lane}/{position.seq}/bundle"
    stranger = market.settlement_bank.context.peers
    with pytest.raises(QiaolianError) as kept:
        market.run(stranger.get(market.department.member, path))
    assert kept.value.code == "not_party"


def test_a_complete_account_has_no_finding(
    market: Market, agreement_id: bytes, number: int
) -> None:
    look(market, agreement_id, number)
    found = market.run(service.check(market.department.context, code(number)))
    assert [one for one in found.findings if one.gap is not Gap.SUBJECT_NOT_RECORDED] == []
    assert found.looks >= 1
    assert found.height > 0


def altered(market: Market, number: int, table: sa.Table, change: Any) -> set[Gap]:
    """What the check finds once the provider or buyer has altered its own database."""
    node = market.department if table is GATEWAY else market.bank
    with node.context.database.engine.connect() as connection:
        transaction = connection.begin()
        saved = [dict(row._mapping) for row in connection.execute(sa.select(table))]
        connection.execute(change)
        transaction.commit()
    try:
        found = market.run(service.check(market.department.context, code(number)))
    finally:
        with node.context.database.engine.begin() as connection:
            connection.execute(sa.delete(table))
            connection.execute(sa.insert(table), saved)
    return {finding.gap for finding in found.findings}


def at(table: sa.Table, position: Position) -> sa.ColumnElement[bool]:
    return sa.and_(
        table.c.agreement_id == position.agreement_id,
        table.c.lane == position.lane,
        table.c.seq == position.seq,
    )


def test_a_provider_that_deletes_a_look_is_found_out(
    market: Market, agreement_id: bytes, number: int
) -> None:
    position = look(market, agreement_id, number)
    look(market, agreement_id, number)
    gaps = altered(market, number, GATEWAY, sa.delete(GATEWAY).where(at(GATEWAY, position)))
    assert {Gap.POSITION_MISSING, Gap.BUYER_NAMES_MORE} <= gaps


def test_a_provider_that_hides_whose_look_it_was_is_found_out(
    market: Market, agreement_id: bytes, number: int
) -> None:
    position = look(market, agreement_id, number)
    hidden = sa.update(GATEWAY).where(at(GATEWAY, position)).values(subject=None)
    assert {Gap.SUBJECT_NOT_RECORDED, Gap.BUYER_NAMES_MORE} <= altered(
        market, number, GATEWAY, hidden
    )
    moved = sa.update(GATEWAY).where(at(GATEWAY, position)).values(subject=code(1))
    assert Gap.BUYER_NAMES_MORE in altered(market, number, GATEWAY, moved)


def test_a_buyer_that_hides_a_look_is_found_out(
    market: Market, agreement_id: bytes, number: int
) -> None:
    position = look(market, agreement_id, number)
    hidden = sa.update(BUYER).where(at(BUYER, position)).values(subject=None)
    assert Gap.BUYER_NAMES_LESS in altered(market, number, BUYER, hidden)


def test_a_buyer_that_does_not_answer_is_named(
    market: Market, agreement_id: bytes, number: int
) -> None:
    look(market, agreement_id, number)
    peers = market.department.peers
    peers.down.add(market.bank.member)
    try:
        found = market.run(service.check(market.department.context, code(number)))
    finally:
        peers.down.discard(market.bank.member)
    silent = [finding.buyer for finding in found.findings if finding.gap is Gap.BUYER_SILENT]
    assert silent == [market.bank.member]


@pytest.mark.parametrize(
    "answer",
    [None, [], {"positions": None}, {"positions": [{}]}, {"positions": [{"agreementId": "0x1"}]}],
)
def test_a_malformed_answer_counts_as_none(
    market: Market, agreement_id: bytes, number: int, answer: Any
) -> None:
    look(market, agreement_id, number)
    peers = market.department.peers
    peers.altered = lambda _value: answer
    try:
        found = market.run(service.check(market.department.context, code(number)))
    finally:
        peers.altered = None
    assert Gap.BUYER_SILENT in {finding.gap for finding in found.findings}


def test_a_buyer_lists_its_calls_to_their_provider_alone(
    market: Market, agreement_id: bytes, number: int
) -> None:
    position = look(market, agreement_id, number)
    body = {"subject": code(number)}
    asked = market.bank.answer("POST", "/v1/peer/looks", body, {"x-member": market.operator.member})
    assert market.run(asked) == {"positions": []}
    asked = market.bank.answer(
        "POST", "/v1/peer/looks", body, {"x-member": market.department.member}
    )
    listed = market.run(asked)["positions"]
    assert position.seq in {one["seq"] for one in listed if one["lane"] == position.lane}


def test_the_account_is_for_the_counter_and_not_for_strangers_or_peers(market: Market) -> None:
    node, body = market.department, {"subject": code(1)}
    for path in ("/v1/looks", "/v1/looks/check"):
        for headers in ({}, {"x-member": market.bank.member}, {"x-local": "system"}):
            with pytest.raises(QiaolianError):
                market.run(node.answer("POST", path, body, headers))
    with pytest.raises(QiaolianError):
        market.run(node.answer("POST", "/v1/looks", {"subject": ""}, {"x-local": "clerk"}))
    assert "looks" in market.run(node.answer("POST", "/v1/looks", body, {"x-local": "clerk"}))


# --- Rules ----------------------------------------------------------------------------------------


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 5))
def test_a_lane_is_complete_only_without_gap_claim_beyond_or_unnamed_call(
    calls: int, last: int, claimed: int, unnamed: int
) -> None:
    lane = LaneAccount(b"a" * 32, "B", 0, min(calls, last), last, unnamed, claimed)
    complete = lane.calls == last and claimed <= last and not unnamed
    assert (lane_findings(lane) == []) == complete


_POSITIONS = st.sets(
    st.builds(Position, st.just(b"a" * 32), st.integers(0, 2), st.integers(1, 5)), max_size=6
)


@given(_POSITIONS, _POSITIONS)
def test_two_accounts_agree_only_if_they_name_the_same_calls(
    ours: set[Position], theirs: set[Position]
) -> None:
    assert (buyer_findings("B", ours, theirs) == []) == (ours == theirs)
    found = account_findings([], {"B": ours}, {"B": None}, provider="P", missing_in_log=1)
    assert {finding.gap for finding in found} == {Gap.BUYER_SILENT, Gap.NOT_IN_LOG}
