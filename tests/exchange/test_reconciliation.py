"""The supervisor's comparison: each way in which gateway, buyer and chain can part is made to
happen, and is found where it is.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.core.errors import Forbidden, Unavailable
from chain.ethereum.records import LaneRecord
from chain.statements.trade import ReceiptVoid, UsageReceipt, UsageRequest
from exchange.agreements import service as agreements
from exchange.closing import notice
from exchange.metering import buyer as buyer_side
from exchange.metering import service as metering
from exchange.metering.store import BUYER, GATEWAY
from exchange.reconciliation import service as reconciliation
from exchange.reconciliation.api import AgreementComparison, ReconciliationReport
from exchange.reconciliation.model import Comparison, LaneCount
from exchange.reconciliation.rules import compare, read
from exchange.settlement.store import ClaimedLaneRow
from nodes.cli.reconcile import exit_code
from registry.pages import PageRequest
from tests.exchange.conftest import Market, Node

NAME = b"\x11" * 32
LANE = LaneCount(
    seq=5,
    units=5,
    amount=250,
    acknowledged_seq=4,
    acknowledged_amount=200,
    served=5,
    positions=5,
    receipt="0x05",
)
PAID = LaneRecord(seq=4, units=4, amount=200)


def compared(
    gateway: LaneCount | None, buyer: LaneCount | None, chain: LaneRecord = PAID
) -> Comparison:
    """A comparison of one lane."""
    return compare(
        NAME,
        None if gateway is None else {0: gateway},
        None if buyer is None else {0: buyer},
        {0: chain},
    )


def kinds(found: Comparison) -> list[tuple[str, int | None, int | None]]:
    return [(finding.kind, finding.from_seq, finding.to_seq) for finding in found.findings]


def test_three_equal_counts_have_no_finding() -> None:
    assert (kinds(compared(LANE, LANE)), compared(LANE, LANE).agree) == ([], True)


@pytest.mark.parametrize(
    ("changed", "side", "finding"),
    [
        ({"positions": 3}, "gateway", ("gap", 1, 5)),
        ({"positions": 4}, "buyer", ("gap", 1, 5)),
        ({"seq": 3, "positions": 3}, "buyer", ("gap", 4, 5)),
        (
            {"seq": 2, "positions": 2, "acknowledged_seq": 1, "acknowledged_amount": 200},
            "gateway",
            ("gap", 3, 5),
        ),
        ({"seq": 4, "positions": 5, "outstanding": 1}, "buyer", ("gap", 5, 5)),
        ({"amount": 300}, "buyer", ("conflict", 1, 5)),
        ({"units": 6}, "gateway", ("conflict", 1, 5)),
        ({"receipt": "0x06"}, "buyer", ("conflict", 1, 5)),
    ],
)
def test_a_difference_between_gateway_and_buyer_names_its_positions(
    changed: dict[str, Any], side: str, finding: tuple[str, int, int]
) -> None:
    other = dataclasses.replace(LANE, **changed)
    found = compared(other, LANE) if side == "gateway" else compared(LANE, other)
    assert finding in kinds(found)
    assert not found.agree


def test_a_chain_that_paid_for_more_than_was_acknowledged_is_a_conflict() -> None:
    for chain in (dataclasses.replace(PAID, seq=6), dataclasses.replace(PAID, amount=201)):
        found = compared(LANE, LANE, chain)
        assert ([finding.kind for finding in found.findings], found.agree) == (["conflict"], False)


def test_unclaimed_money_is_reported_and_is_no_contradiction() -> None:
    found = compared(LANE, LANE, LaneRecord(seq=2, units=2, amount=100))
    assert (kinds(found), found.agree) == ([("unclaimed", 3, 5)], True)
    assert "100 fen" in found.findings[0].sentence


def test_what_was_not_claimed_when_an_agreement_closed_is_lost_and_no_contradiction() -> None:
    found = compare(
        NAME, {0: LANE}, {0: LANE}, {0: LaneRecord(seq=2, units=2, amount=100)}, closed=True
    )
    assert (kinds(found), found.agree) == ([("lost", 3, 5)], True)
    assert (
        "150 fen are lost: 250 fen were delivered, 200 acknowledged, and 100 claimed"
        in found.findings[0].sentence
    )


def test_what_both_parties_waived_in_a_final_settlement_is_not_lost() -> None:
    chain = {0: LaneRecord(seq=2, units=2, amount=100)}
    assert kinds(compare(NAME, {0: LANE}, {0: LANE}, chain, closed=True, agreed=True)) == []


def test_a_buyers_counts_tell_what_is_lost_where_the_provider_does_not_answer() -> None:
    found = compare(NAME, None, {0: LANE}, {0: PAID}, closed=True)
    assert [kind for kind, _, _ in kinds(found)] == ["unreachable", "lost"]
    assert "50 fen are lost" in found.findings[-1].sentence


@pytest.mark.parametrize(
    ("lost", "agree", "code"), [("0", True, 0), ("50", True, 5), ("50", False, 1), ("0", False, 1)]
)
def test_lost_money_has_an_exit_code_of_its_own_and_a_contradiction_goes_before_it(
    lost: str, agree: bool, code: int
) -> None:
    assert (
        exit_code([{"agree": True, "money": None}, {"agree": agree, "money": {"lost": lost}}])
        == code
    )


def test_a_lane_only_one_side_knows_is_a_gap_over_all_of_it() -> None:
    found = compare(NAME, {0: LANE}, {}, {0: PAID})
    assert ("gap", 1, 5) in kinds(found)


def test_a_side_that_cannot_be_asked_is_named_and_the_rest_is_compared() -> None:
    found = compared(None, LANE)
    assert ([finding.kind for finding in found.findings], found.agree) == (["unreachable"], False)
    assert (
        compared(LANE, None, dataclasses.replace(PAID, amount=999)).findings[-1].kind == "conflict"
    )


# --- Over real nodes ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agreement_id(market: Market) -> bytes:
    """Two lanes of a trade with a refusal, everything acknowledged and claimed."""
    market.offer()
    found: bytes = market.open(market.grant(), cap=10_000)
    for number in range(5):
        market.call(found, number)
    market.call(found, 999)
    market.run(notice.acknowledge_all(market.bank.context, found))
    market.claim(found)
    return found


def report(market: Market, agreement_id: bytes) -> dict[str, Any]:
    """The supervisor's report, and in it the agreement's part."""
    found = market.run(reconciliation.report(market.supervisor.context, PageRequest(200)))
    whole = ReconciliationReport.of(found).model_dump()
    part = next(
        agreement
        for agreement in whole["agreements"]
        if agreement["agreementId"] == "0x" + agreement_id.hex()
    )
    return {**whole, "part": part, "kinds": [finding["kind"] for finding in part["findings"]]}


@pytest.fixture
def changed(market: Market, agreement_id: bytes) -> Iterator[Callable[..., None]]:
    """Changes rows of one side's database, and puts them back."""
    removed: list[tuple[Any, sa.Table, list[Mapping[str, Any]]]] = []

    def change(node: Node, table: sa.Table, statement: Any) -> None:
        where = table.c.agreement_id == agreement_id
        with node.context.database.read() as session:
            rows = [dict(row._mapping) for row in session.execute(sa.select(table).where(where))]
        removed.append((node, table, rows))
        node.context.database.write(
            lambda session: session.execute(statement.where(where)) and None
        )

    yield change
    for node, table, rows in reversed(removed):

        def restore(session: Any, table: sa.Table = table, rows: Any = rows) -> None:
            session.execute(sa.delete(table).where(table.c.agreement_id == agreement_id))
            session.execute(sa.insert(table), rows)

        node.context.database.write(restore)


def test_the_report_says_what_it_covered_and_that_all_agree(
    market: Market, agreement_id: bytes
) -> None:
    found = report(market, agreement_id)
    assert (found["kinds"], found["countersAgree"], found["conserved"]) == ([], True, True)
    assert found["covered"] == {"agreements": 1, "lanes": 1, "positions": 6}
    lane = found["part"]["lanes"]["0"]
    assert [lane[side]["seq"] for side in ("gateway", "buyer")] == [6, 6]
    assert (lane["gateway"]["served"], lane["gateway"]["refused"], lane["chain"]["amount"]) == (
        5,
        1,
        "250",
    )


def test_a_call_missing_in_the_gateways_database_is_a_gap(
    market: Market, agreement_id: bytes, changed: Callable[..., None]
) -> None:
    changed(market.department, GATEWAY, sa.delete(GATEWAY).where(GATEWAY.c.seq == 3))
    found = report(market, agreement_id)
    assert (found["kinds"], found["countersAgree"]) == (["gap"], False)
    assert "gateway has 5 of 6 positions" in found["part"]["findings"][0]["sentence"]


def test_a_buyer_that_lost_its_last_calls_is_behind_by_them(
    market: Market, agreement_id: bytes, changed: Callable[..., None]
) -> None:
    changed(market.bank, BUYER, sa.delete(BUYER).where(BUYER.c.seq > 4))
    (finding,) = report(market, agreement_id)["part"]["findings"]
    assert (finding["kind"], finding["fromSeq"], finding["toSeq"]) == ("gap", 5, 6)


@pytest.mark.parametrize("side", ["department", "bank"])
def test_a_count_that_its_own_receipt_contradicts_is_a_conflict_of_that_side(
    market: Market, agreement_id: bytes, changed: Callable[..., None], side: str
) -> None:
    table = GATEWAY if side == "department" else BUYER
    changed(getattr(market, side), table, sa.update(table).values(amount=999))
    found = report(market, agreement_id)
    assert "conflict" in found["kinds"]
    assert "unreachable" not in found["kinds"]
    assert ("provider" if side == "department" else "buyer") in found["part"]["findings"][0][
        "sentence"
    ]
    assert found["countersAgree"] is False


def test_a_receipt_that_the_provider_did_not_sign_bears_nothing_out(
    market: Market, agreement_id: bytes, changed: Callable[..., None]
) -> None:
    changed(
        market.bank,
        BUYER,
        sa.update(BUYER).values(
            receipt_signature=market.bank.context.signers[4].sign_digest(b"\1" * 32)
        ),
    )
    assert report(market, agreement_id)["kinds"] == ["conflict"]


def test_an_unreachable_side_is_distinguished_from_a_contradicting_one(
    market: Market, agreement_id: bytes
) -> None:
    market.supervisor.peers.broken = True
    try:
        found = report(market, agreement_id)
    finally:
        market.supervisor.peers.broken = False
    assert found["kinds"] == ["unreachable", "unreachable"]


def test_counts_are_for_the_parties_and_supervisors(market: Market, agreement_id: bytes) -> None:
    with pytest.raises(Forbidden) as refused:
        reconciliation.counters(
            market.department.context, agreement_id, market.operator.member, supervisor=False
        )
    assert refused.value.code == "not_party"
    assert (
        reconciliation.counters(
            market.department.context, agreement_id, market.bank.member, supervisor=False
        ).side
        == "provider"
    )


def test_an_answer_in_transit_is_a_gap_of_one_position_until_it_arrives(
    market: Market, agreement_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buyer_side, "RETRY_SECONDS", 0.0)
    market.bank.peers.lost = 1
    with pytest.raises(Unavailable):
        market.call(agreement_id, 2, key="late")
    (finding,) = [
        item for item in report(market, agreement_id)["part"]["findings"] if item["kind"] == "gap"
    ]
    assert (finding["fromSeq"], finding["toSeq"]) == (7, 7)
    monkeypatch.undo()
    assert market.call(agreement_id, 2, key="late").seq == 7
    assert "gap" not in report(market, agreement_id)["kinds"]
    assert market.run(metering.close_lanes(market.bank.context, agreement_id))


# --- Nodes that lie -------------------------------------------------------------------------------


def counters(market: Market, agreement_id: bytes) -> dict[str, Any]:
    """What the provider's node truthfully reports of an agreement's lanes, to be edited."""
    return reconciliation.counters(
        market.department.context, agreement_id, market.supervisor.member, supervisor=True
    ).lanes_json()


@pytest.fixture
def other_answers(market: Market, agreement_id: bytes) -> Iterator[Callable[..., None]]:
    """Makes nodes answer the supervisor with other counts of one agreement: ``tell({member:
    lanes})``.
    """
    line, get = market.supervisor.peers, market.supervisor.peers.get

    def answer_with(lies: Mapping[str, Any], *, of: bytes = agreement_id) -> None:
        async def asked(member: str, path: str) -> Any:
            if member in lies and of.hex() in path:
                return copy.deepcopy({"lanes": lies[member]})
            return await get(member, path)

        line.get = asked

    yield answer_with
    del line.get


def _set(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda lanes: lanes["0"].update(fields)


def _drop(*names: str) -> Callable[[dict[str, Any]], Any]:
    return lambda lanes: [lanes["0"].pop(name, None) for name in names]


def _unproved(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda lanes: [_drop("receipt")(lanes), _set(**fields)(lanes)]


def _renamed(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda lanes: lanes.update({name: lanes.pop("0")})


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a position that is a text": _set(seq="x"),
    "no position": _set(seq=None),
    "a position that is true": _set(seq=True),
    "a position below none": _set(seq=-1),
    "an unproved position that is a text": _unproved(seq="x"),
    "an unproved position that is none": _unproved(seq=None),
    "an unproved amount": _unproved(amount=10**30),
    "a position in quarters": _set(seq=6.25),
    "units of a text": _set(units="5"),
    "an endless amount": _set(amount=10**400),
    "an amount more": _set(amount=251),
    "a position less": _set(seq=5),
    "two answers under way": _set(outstanding=2),
    "an answer under way that was given": _set(outstanding=1),
    "positions served that are a list": _set(served=[]),
    "neither receipt nor void": _drop("receipt", "void"),
    "no request": _drop("request"),
    "nothing at all": lambda lanes: lanes.update({"0": None}),
    "a receipt that is a text": _set(receipt="signed"),
    "a signature that is none": lambda lanes: lanes["0"]["receipt"].update(signature=5),
    "a signature of no point": lambda lanes: lanes["0"]["receipt"].update(
        signature="0x" + "11" * 65
    ),
    "a receipt that lacks fields": lambda lanes: lanes["0"]["receipt"].update(receipt={}),
    "a lane of 5,000 digits": _renamed("7" * 5000),
    "a lane beyond the contract's": _renamed("70000"),
    "a lane beyond the agreement's": _renamed("1"),
    "a lane under two names": _renamed("00"),
    "a lane in other digits": _renamed("\u0660"),
    "a lane below none": _renamed("-1"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("side", ["department", "bank"])
def test_a_lying_node_is_a_finding_of_its_agreement_and_the_report_stands(
    market: Market, agreement_id: bytes, other_answers: Any, lie: str, side: str
) -> None:
    lanes = counters(market, agreement_id)
    LIES[lie](lanes)
    other_answers({getattr(market, side).member: lanes})
    found = report(market, agreement_id)
    assert "conflict" in found["kinds"]
    assert ("provider" if side == "department" else "buyer") in found["part"]["findings"][0][
        "sentence"
    ]
    assert (found["countersAgree"], found["part"]["agree"], found["conserved"]) == (
        False,
        False,
        True,
    )


@pytest.mark.parametrize("lanes", [None, 5, "lanes", [], [{}]])
def test_an_answer_without_lanes_is_a_finding_of_its_agreement(
    market: Market, agreement_id: bytes, other_answers: Any, lanes: Any
) -> None:
    other_answers({market.department.member: lanes})
    assert report(market, agreement_id)["kinds"][0] == "unreachable"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(data=st.data())
def test_whatever_a_node_answers_is_read_without_an_error(
    market: Market, agreement_id: bytes, data: st.DataObject
) -> None:
    lanes, context = counters(market, agreement_id), market.supervisor.context
    at: Any = lanes
    while isinstance(at, dict) and at:
        name = data.draw(st.sampled_from(sorted(at)))
        if not isinstance(at[name], dict) or data.draw(st.booleans()):
            at[name] = data.draw(_JSON)
            break
        at = at[name]
    agreement = agreements.load(context, agreement_id).agreement
    counts, found = read("provider", agreement, lanes, context.domain("TradeSettlement"))
    compared = compare(agreement_id, counts, {}, {}, found)
    assert AgreementComparison.of(compared).model_dump_json()
    assert set(counts) <= set(range(agreement.lanes))


@pytest.mark.parametrize("events", ["taken", "not taken yet"])
def test_lanes_that_both_sides_leave_out_are_held_against_what_the_chain_paid(
    market: Market, agreement_id: bytes, other_answers: Any, events: str
) -> None:
    other_answers({market.department.member: {}, market.bank.member: {}})
    if events != "taken":
        forgotten = sa.delete(ClaimedLaneRow).where(ClaimedLaneRow.agreement_id == agreement_id)
        market.supervisor.context.database.write(
            lambda session: session.execute(forgotten) and None
        )
    found = report(market, agreement_id)
    assert (found["kinds"], found["part"]["agree"]) == (["conflict"], False)
    assert found["part"]["lanes"]["0"]["chain"]["amount"] == "250"


def test_a_buyer_that_tells_less_than_the_chain_paid_is_found_while_the_provider_is_away(
    market: Market, agreement_id: bytes, other_answers: Any
) -> None:
    other_answers({market.department.member: None})
    assert report(market, agreement_id)["kinds"] == ["unreachable"]
    other_answers({market.department.member: None, market.bank.member: {}})
    assert report(market, agreement_id)["kinds"] == ["unreachable", "conflict"]


@pytest.fixture(scope="module")
def twin_id(market: Market, agreement_id: bytes) -> bytes:
    """Another agreement of the same parties, with the same price and two lanes, used like the
    first.
    """
    first = agreements.load(market.bank.context, agreement_id).agreement
    found: bytes = market.open(first.grant_id, cap=10_000, lanes=2)
    for number in range(5):
        market.call(found, number)
    market.call(found, 999)
    market.run(notice.acknowledge_all(market.bank.context, found))
    return found


def test_counts_under_the_signatures_of_another_agreement_of_the_same_parties_are_a_finding(
    market: Market, agreement_id: bytes, twin_id: bytes, other_answers: Any
) -> None:
    lanes = counters(market, agreement_id)
    other_answers({market.department.member: lanes, market.bank.member: lanes}, of=twin_id)
    found = report(market, twin_id)
    assert (found["kinds"], found["part"]["agree"]) == (["conflict", "conflict"], False)


def test_counts_under_the_signatures_of_another_lane_are_a_finding(
    market: Market, twin_id: bytes, other_answers: Any
) -> None:
    lane = counters(market, twin_id)["0"]
    other_answers({market.department.member: {"0": lane, "1": lane}}, of=twin_id)
    (finding,) = [
        item for item in report(market, twin_id)["part"]["findings"] if item["kind"] == "conflict"
    ]
    assert finding["lane"] == 1


def test_a_count_stands_on_the_receipt_of_its_own_last_request(
    market: Market, twin_id: bytes
) -> None:
    agreement, domain = (
        agreements.load(market.bank.context, twin_id).agreement,
        market.supervisor.context.domain("TradeSettlement"),
    )
    lane = counters(market, twin_id)["0"]
    assert read("provider", agreement, {"0": lane}, domain)[1] == []
    request, receipt = (
        kind.from_json(lane[name][name])
        for kind, name in ((UsageRequest, "request"), (UsageReceipt, "receipt"))
    )

    def shown(name: str, statement: Any, node: Node) -> dict[str, Any]:
        return {
            name: {
                name: statement.to_json(),
                "signature": "0x" + node.context.sign(statement).hex(),
            }
        }

    void = ReceiptVoid(1, twin_id, 0, receipt.seq, receipt.struct_hash(), "grant_revoked", 1)
    forged = {
        "another request": shown("request", dataclasses.replace(request, expiry=7), market.bank),
        "other totals": shown(
            "receipt", dataclasses.replace(receipt, total_amount=0), market.department
        ),
        "another position": shown(
            "receipt", dataclasses.replace(receipt, seq=1), market.department
        ),
        "a void by the buyer": shown("void", void, market.bank),
        "a void of another position": shown(
            "void", dataclasses.replace(void, seq=1), market.department
        ),
    }
    for what, part in forged.items():
        told_ = {
            name: value for name, value in lane.items() if name != "receipt" or "void" not in part
        }
        assert [
            finding.lane
            for finding in read("provider", agreement, {"0": {**told_, **part}}, domain)[1]
        ] == [0], what


def test_a_request_that_never_reached_the_provider_leaves_both_in_agreement(
    market: Market, twin_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buyer_side, "RETRY_SECONDS", 0.0)
    market.bank.peers.broken = True
    try:
        with pytest.raises(Unavailable):
            market.call(twin_id, 2, key="never")
    finally:
        market.bank.peers.broken = False
    found = market.run(reconciliation.reconcile(market.supervisor.context, twin_id))
    assert found.agree, found.findings
    assert sum(lane.buyer.outstanding for lane in found.lanes.values() if lane.buyer) == 1
