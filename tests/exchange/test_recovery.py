"""Positions lost since an old backup come back from the other side of the agreement, or nothing is
signed under it; what is shown is checked.
"""

from __future__ import annotations

import copy
import dataclasses
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chain.core.errors import Forbidden, QiaolianError
from chain.statements.members import KeyPurpose
from chain.statements.trade import UsageReceipt, UsageRequest, Voucher
from exchange.agreements import service as agreements
from exchange.closing import notice, totals
from exchange.closing import service as closing
from exchange.metering import buyer as buyer_side
from exchange.metering import peers, recovery
from exchange.metering.gateway import Gateway
from exchange.metering.model import CallStatus
from exchange.metering.recovery_store import UnrecoveredAgreementRow
from exchange.metering.store import BUYER, GATEWAY
from exchange.proof_profile import check_lane, check_trade
from exchange.reconciliation import service as reconciliation
from exchange.settlement import bundles
from registry.evidence import checkpoints, witness
from registry.evidence import recovery as log
from registry.grants import service as grants
from tests.exchange.conftest import Market, Node
from tests.support.two_verifiers import verify


@dataclass
class Backup:
    """A node's database at one moment, to be put back later."""

    node: Node
    file: Path
    height: int

    def put_back(self) -> None:
        """The database is as it was, and nothing is remembered."""
        with (
            sqlite3.connect(self.file) as old,
            sqlite3.connect(self.node.context.database.engine.url.database) as now,
        ):
            old.backup(now)
        self.node.restarted()
        self.node.context.services.drop(checkpoints.AnchorComparison)
        self.node.height = self.height
        self.node.sync()


@pytest.fixture
def backup(market: Market, tmp_path: Path) -> Iterator[Callable[[str], Backup]]:
    """Makes backups by side; each test ends with all agreements released, so that none disturbs the
    next.
    """

    def made(side: str) -> Backup:
        node, file = getattr(market, side), tmp_path / f"{side}.db"
        with (
            sqlite3.connect(node.context.database.engine.url.database) as now,
            sqlite3.connect(file) as old,
        ):
            now.backup(old)
        return Backup(node, file, node.height)

    yield made
    for node in (market.bank, market.department):
        node.peers.altered, node.peers.broken = None, False
        node.context.database.write(
            lambda session: session.execute(sa.delete(UnrecoveredAgreementRow)) and None
        )
        node.restarted()


def recover(market: Market, node: Node, agreement_id: bytes) -> recovery.AgreementRecovery:
    """What recovering a node came to for one agreement."""
    outcomes = market.run(recovery.recover_all(node.context))
    return next(outcome for outcome in outcomes if outcome.agreement_id == agreement_id)


def held(node: Node, *, log_size: int = 0) -> None:
    node.context.database.write(lambda session: recovery.hold(session, node.context, log_size))


def witnessed(market: Market, node: Node) -> int:
    """The size of a node's log, now all of it seen and copied by the supervisor."""
    checkpoints.make_checkpoint(node.context)
    size = market.run(witness.witness(market.supervisor.context, node.member))
    assert isinstance(size, int)
    return size


def take(node: Node, found: log.LostEntries) -> None:
    """Store a log's lost end, as the command does: every agreement is held from then on."""

    def change(session: Any) -> None:
        log.restore_entries(node.context, session, found)
        recovery.hold(session, node.context, found.start)

    node.context.database.write(change)


def impatient(call: Callable[[], Any]) -> str:
    """Why a call is refused at once, or has no answer."""
    patience, buyer_side.RETRY_SECONDS = buyer_side.RETRY_SECONDS, 0.0
    try:
        return refused(call)
    finally:
        buyer_side.RETRY_SECONDS = patience


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(QiaolianError) as caught:
        call()
    waits = caught.value.code in ("call_outstanding", "lane_blocked")
    return str(caught.value.context["cause"]) if waits else caught.value.code


# --- What comes back ------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["bank", "department"])
def test_lost_calls_are_recovered_and_the_lane_continues_after_them(
    market: Market, agreement_id: bytes, backup: Any, side: str
) -> None:
    market.call(agreement_id)
    old, node = backup(side), getattr(market, side)
    for number in (2, 999, 4):
        market.call(agreement_id, number)
    old.put_back()
    found = recover(market, node, agreement_id)
    assert (found.positions, found.refusal) == (3, None)
    assert recover(market, node, agreement_id).positions == 0
    node.restarted()
    assert market.call(agreement_id, 5).seq == 5
    assert market.run(reconciliation.reconcile(market.supervisor.context, agreement_id)).agree
    assert (
        market.run(Gateway.of(market.department.context).trade(agreement_id)).totals.amount == 200
    )


def test_a_provider_that_lost_places_serves_none_after_them_and_halts_no_buyer(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    market.call(agreement_id)
    old = backup("department")
    market.call(agreement_id, 2)
    old.put_back()
    assert impatient(lambda: market.call(agreement_id, 3, key="gap")) == "sequence_gap"
    assert (
        market.run(Gateway.of(market.department.context).trade(agreement_id)).lanes[0].state.seq
        == 1
    )
    recover(market, market.department, agreement_id)
    market.department.restarted()
    assert market.call(agreement_id, 3, key="gap").seq == 3


def test_a_history_of_several_pages_comes_back_whole(
    market: Market, agreement_id: bytes, backup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "MAX_POSITIONS", 2)
    old = backup("bank")
    for number in range(4):
        market.call(agreement_id, number)
    old.put_back()
    assert recover(market, market.bank, agreement_id).positions == 4
    assert market.call(agreement_id, 5).seq == 5


def test_a_call_that_was_under_way_gets_its_answer_by_asking_again(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    market.call(agreement_id)
    under_way(market, agreement_id, key="under-way")
    old = backup("bank")
    asked = market.call(agreement_id, 3, key="under-way")
    old.put_back()
    assert recover(market, market.bank, agreement_id).positions == 0
    again = market.call(agreement_id, 3, key="under-way")
    assert (again.seq, again.content) == (asked.seq, asked.content) == (2, asked.content)


def test_a_call_that_was_under_way_and_has_been_followed_keeps_its_key(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    under_way(market, agreement_id, key="followed")
    old = backup("bank")
    market.call(agreement_id, 4)
    old.put_back()
    assert recover(market, market.bank, agreement_id).positions == 2
    again = market.call(agreement_id, 3, key="followed")
    assert (again.seq, again.status, again.content) == (1, CallStatus.SERVED, None), (
        "answers of lost calls are gone; the key never buys twice"
    )


def under_way(market: Market, agreement_id: bytes, *, key: str) -> None:
    """A call whose answer is lost: the bank's node has asked and knows no more."""
    market.bank.peers.lost = 1
    assert impatient(lambda: market.call(agreement_id, 3, key=key)) == "peer_timeout"
    market.bank.restarted()


def test_an_agreement_opened_since_the_backup_comes_back_with_its_signatures(
    market: Market, grant_id: bytes, backup: Any
) -> None:
    both = backup("bank"), backup("department")
    for old in both:
        agreement_id = market.open(grant_id, cap=1000)
        market.call(agreement_id)
        old.put_back()
        assert agreements.load(old.node.context, agreement_id).terms is None
        assert recover(market, old.node, agreement_id).refusal is None
        signed = agreements.load(old.node.context, agreement_id)
        assert signed.provider_signature
        assert signed.buyer_signature
        old.node.restarted()
        assert market.call(agreement_id, 2).seq == 2


@pytest.mark.parametrize("side", ["bank", "department"])
def test_a_grants_scope_comes_back_from_its_other_side(
    market: Market, backup: Any, side: str
) -> None:
    old, node = backup(side), getattr(market, side)
    granted = market.grant(purpose="statistics")
    agreement_id = market.open(granted, cap=1000)
    old.put_back()
    assert grants.load(node.context, granted).columns == ()
    assert recover(market, node, agreement_id).refusal is None
    assert grants.load(node.context, granted).columns == ("age", "seniority")
    assert market.call(agreement_id).status == CallStatus.SERVED


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (lambda a: {**a, "scope": {"columns": ["seniority", "age", "job"]}}, "scope_differs"),
        (lambda a: {**a, "salt": "0x" + "00" * 32}, "scope_differs"),
        (lambda a: {**a, "scope": 5}, "scope_malformed"),
        (lambda a: {}, "scope_malformed"),
    ],
)
def test_a_scope_that_was_not_granted_is_refused(
    market: Market, backup: Any, changed: Callable[[Any], Any], code: str
) -> None:
    old = backup("department")
    granted = market.grant(purpose="statistics")
    agreement_id = market.open(granted, cap=1000)
    old.put_back()
    market.department.peers.altered = lambda answer: (
        changed(answer) if "scope" in answer else answer
    )
    assert recover(market, market.department, agreement_id).refusal.code == code
    assert grants.load(market.department.context, granted).columns == ()


def test_a_closing_voucher_comes_back_and_can_be_claimed(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    market.call(agreement_id)
    old = backup("department")
    market.call(agreement_id, 2)
    market.run(notice.acknowledge_all(market.bank.context, agreement_id))
    old.put_back()
    recover(market, market.department, agreement_id)
    market.claim(agreement_id)
    assert agreements.proved_state(market.department.context, agreement_id).paid == 100


def test_a_bundle_of_recovered_calls_verifies_from_its_bytes(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    node = market.department
    witnessed(market, node)
    market.call(agreement_id)
    old = backup("department")
    for number in (2, 999):
        market.call(agreement_id, number)
    market.anchor()
    size = witnessed(market, node)
    market.call(agreement_id, 4)
    old.put_back()
    assert refused(lambda: checkpoints.make_checkpoint(node.context)) == "log_behind_chain"
    found = market.run(log.find_lost_entries(node.context))
    assert found is not None
    take(node, found)
    assert (found.size, recover(market, node, agreement_id).positions) == (size, 3)
    market.run(notice.acknowledge_all(market.bank.context, agreement_id))
    market.claim(agreement_id)
    market.anchor()
    assert witnessed(market, node) > size, (
        "entries that no witness had seen are appended again; the log only grew"
    )
    supervisor = market.supervisor
    trust = dataclasses.replace(
        market.trust,
        witnesses={supervisor.member: supervisor.context.log_signer.public_key},
        required_witnesses=1,
    )
    checkers = {"trade": check_trade, "lane": check_lane}
    for made in (
        bundles.trade_bundle(node.context, agreement_id, 0, 2),
        bundles.lane_bundle(node.context, agreement_id, 0),
    ):
        assert verify(made, trust, checkers).proved
    assert market.run(reconciliation.reconcile(market.supervisor.context, agreement_id)).agree


# --- What is held ---------------------------------------------------------------------------------


def test_nothing_is_signed_under_an_agreement_until_its_calls_are_recovered(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    old = backup("bank"), backup("department")
    market.call(agreement_id)
    for item in old:
        item.put_back()
        held(item.node)
    for node in (market.bank, market.department):
        assert impatient(lambda: market.call(agreement_id, 2)) == "agreement_unrecovered"
        node.peers.broken = True
        assert recover(market, node, agreement_id).refusal.code == "peer_unreachable"
        node.peers.broken = False
        node.context.database.write(
            lambda session: session.execute(sa.delete(UnrecoveredAgreementRow)) and None
        )


def test_a_buyer_is_not_halted_by_a_provider_that_recovers(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    market.call(agreement_id)
    held(market.department)
    market.department.restarted()
    assert impatient(lambda: market.call(agreement_id, 2, key="waits")) == "agreement_unrecovered"
    assert recover(market, market.department, agreement_id).refusal is None
    market.department.restarted()
    assert market.call(agreement_id, 2, key="waits").seq == 2


@pytest.mark.parametrize("side", ["bank", "department"])
def test_a_side_that_hides_the_last_places_is_told_by_the_log(
    market: Market, agreement_id: bytes, backup: Any, side: str
) -> None:
    node = getattr(market, side)
    market.call(agreement_id)
    witnessed(market, node)
    old = backup(side)
    for number in (2, 3):
        market.call(agreement_id, number)
    witnessed(market, node)
    old.put_back()
    found = market.run(log.find_lost_entries(node.context))
    assert found is not None
    take(node, found)

    def shortened(answer: Any) -> Any:
        return {**answer, "positions": answer["positions"][:1]} if "positions" in answer else answer

    node.peers.altered = shortened
    hidden = recover(market, node, agreement_id)
    assert (hidden.positions, hidden.refusal.code) == (1, "positions_missing")
    with node.context.database.read() as session:
        assert session.get(UnrecoveredAgreementRow, agreement_id).code == "positions_missing"
    node.restarted()
    assert impatient(lambda: market.call(agreement_id, 4)) == "agreement_unrecovered"
    node.peers.altered = None
    assert recover(market, node, agreement_id).refusal is None
    node.restarted()
    assert market.call(agreement_id, 5).seq == (4 if side == "bank" else 5), (
        "what the provider did not answer was asked again first"
    )


# --- What is refused ------------------------------------------------------------------------------


def edited(
    market: Market, index: dict[str, Any], name: str, kind: Any, signer: Any, **changes: Any
) -> None:
    """One field of a position changed and signed again by that node."""
    statement = kind.from_json({**index[name]["statement"], **changes})
    signature = signer.context.signers[KeyPurpose.STATEMENT].sign_digest(
        statement.digest(signer.context.domain("TradeSettlement"))
    )
    index[name] = {"statement": statement.to_json(), "signature": "0x" + signature.hex()}


def request(market: Market, positions: list[Any], at: int, **changes: Any) -> None:
    edited(market, positions[at], "request", UsageRequest, market.bank, **changes)


def receipt(market: Market, positions: list[Any], at: int, **changes: Any) -> None:
    edited(market, positions[at], "receipt", UsageReceipt, market.department, **changes)


FORGERIES = [
    pytest.param(lambda m, p: p.pop(0), "sequence_gap", id="a position left out"),
    pytest.param(lambda m, p: p.reverse(), "sequence_gap", id="another order"),
    pytest.param(
        lambda m, p: p.insert(1, copy.deepcopy(p[0])), "position_taken", id="a position twice"
    ),
    pytest.param(
        lambda m, p: p[0]["request"].update(signature=p[1]["request"]["signature"]),
        "answer_wrong_signer",
        id="a request nobody signed",
    ),
    pytest.param(
        lambda m, p: edited(m, p[0], "request", UsageRequest, m.operator),
        "answer_wrong_signer",
        id="a request of another's",
    ),
    pytest.param(
        lambda m, p: edited(m, p[0], "receipt", UsageReceipt, m.bank),
        "answer_wrong_signer",
        id="a receipt of the buyer's own",
    ),
    pytest.param(
        lambda m, p: request(m, p, 1, acknowledgedAmount="0"),
        "acknowledgement_differs",
        id="an acknowledgement of less",
    ),
    pytest.param(
        lambda m, p: request(m, p, 0, agreementId="0x" + "00" * 32),
        "receipt_of_other",
        id="a request of another agreement",
    ),
    pytest.param(
        lambda m, p: receipt(m, p, 1, amount="5"), "receipt_wrong_amount", id="another amount"
    ),
    pytest.param(
        lambda m, p: receipt(m, p, 1, totalAmount="5000"), "receipt_wrong_totals", id="other totals"
    ),
    pytest.param(
        lambda m, p: receipt(m, p, 1, previousReceipt="0x" + "00" * 32),
        "receipt_wrong_totals",
        id="a chain that does not hold",
    ),
    pytest.param(
        lambda m, p: receipt(m, p, 1, request="0x" + "00" * 32),
        "receipt_of_other",
        id="a receipt of another request",
    ),
    pytest.param(
        lambda m, p: p[1].update(receipt=None),
        "receipt_missing",
        id="a position without its receipt",
    ),
    pytest.param(
        lambda m, p: p[1].update(request=None),
        "receipt_of_other",
        id="a position without its request",
    ),
    pytest.param(
        lambda m, p: p[1].update(receipt={"statement": 5, "signature": "0x"}),
        "history_malformed",
        id="no statement",
    ),
    pytest.param(
        lambda m, p: p[1]["receipt"].update(signature=7), "history_malformed", id="no signature"
    ),
    pytest.param(lambda m, p: p.append(5), "history_malformed", id="no position"),
]


@pytest.mark.parametrize("side", ["bank", "department"])
@pytest.mark.parametrize(("forge", "code"), FORGERIES)
def test_a_forged_history_is_refused_and_not_stored(
    market: Market,
    agreement_id: bytes,
    backup: Any,
    side: str,
    forge: Callable[..., Any],
    code: str,
) -> None:
    node, table = getattr(market, side), BUYER if side == "bank" else GATEWAY
    old = backup(side)
    for number in range(3):
        market.call(agreement_id, number)
    old.put_back()

    def lie(answer: Any) -> Any:
        if answer.get("positions"):
            forge(market, answer["positions"])
        return answer

    node.peers.altered = lie
    found = recover(market, node, agreement_id)
    assert (found.positions, found.refusal.code) == (0, code)
    with node.context.database.read() as session:
        assert (
            session.execute(sa.select(table).where(table.c.agreement_id == agreement_id)).all()
            == []
        )


@pytest.mark.parametrize("answer", [[], {}, {"positions": 5}, {"positions": [{}] * 201}])
def test_an_answer_that_is_no_history_is_refused(
    market: Market, agreement_id: bytes, backup: Any, answer: Any
) -> None:
    market.bank.peers.altered = lambda _: answer
    assert recover(market, market.bank, agreement_id).refusal.code == "history_malformed"


def test_a_history_shorter_than_what_the_chain_paid_for_is_refused(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    old = backup("department")
    for number in range(3):
        market.call(agreement_id, number)
    market.claim(agreement_id)
    old.put_back()
    market.department.peers.altered = lambda answer: (
        {**answer, "positions": answer["positions"][:1]} if "positions" in answer else answer
    )
    assert recover(market, market.department, agreement_id).refusal.code == "lane_history_short"


def test_a_second_request_for_a_place_asked_for_before_the_backup_is_refused(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    under_way(market, agreement_id, key="second")

    def lie(answer: Any) -> Any:
        for index in answer.get("positions", [])[:1]:
            request(market, [index], 0, expiry=2**40)
            asked = UsageRequest.from_json(index["request"]["statement"])
            receipt(market, [index], 0, request="0x" + asked.struct_hash().hex())
        return answer

    market.bank.peers.altered = lie
    assert recover(market, market.bank, agreement_id).refusal.code == "position_taken"


def test_a_voucher_that_matches_no_position_is_refused(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    market.call(agreement_id)
    market.run(notice.acknowledge_all(market.bank.context, agreement_id))

    def lie(answer: Any) -> Any:
        if answer.get("voucher"):
            edited(market, answer, "voucher", Voucher, market.bank, acknowledgedAmount="4000")
        return answer

    market.department.peers.altered = lie
    assert (
        recover(market, market.department, agreement_id).refusal.code == "acknowledgement_differs"
    )


def test_a_voided_place_comes_back_to_its_buyer_and_not_to_a_provider_that_lost_its_receipt(
    market: Market, backup: Any
) -> None:
    own = market.grant()
    agreement_id = market.open(own, cap=1000)
    old = backup("bank"), backup("department")
    under_way(market, agreement_id, key="voided")
    market.revoke(own)
    assert market.call(agreement_id, 3, key="voided").status == CallStatus.VOID
    old[0].put_back()
    found = recover(market, market.bank, agreement_id)
    assert (found.positions, found.refusal) == (1, None)
    old[1].put_back()
    assert recover(market, market.department, agreement_id).refusal.code == "receipt_missing"


def test_histories_are_shown_to_the_parties_alone(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    for node in (market.supervisor, market.operator):
        for path in ("positions?lane=0&after=0", "signed"):
            with pytest.raises(Forbidden) as caught:
                market.run(
                    node.peers.get(
                        market.department.member,
                        f"/v1/peer/agreements/0x{agreement_id.hex()}/{path}",
                    )
                )
            assert caught.value.code == "not_party"
        granted = agreements.load(market.department.context, agreement_id).agreement.grant_id
        with pytest.raises(Forbidden) as caught:
            market.run(
                node.peers.get(market.department.member, f"/v1/peer/grants/0x{granted.hex()}/scope")
            )
        assert caught.value.code == "grant_of_others"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (lambda a: a["agreement"].update(cap="2000"), "other_agreement"),
        (lambda a: a["terms"].update(maxUses=5), "other_grant"),
        (lambda a: a.update(providerSignature=a["buyerSignature"]), "wrong_signer"),
        (lambda a: a.update(buyerSignature=a["providerSignature"]), "wrong_signer"),
        (lambda a: a.update(buyerSignature=5), "field_malformed"),
    ],
)
def test_a_forged_agreement_is_refused(
    market: Market, grant_id: bytes, backup: Any, changed: Callable[[Any], Any], code: str
) -> None:
    old = backup("bank")
    agreement_id = market.open(grant_id, cap=1000)
    old.put_back()
    market.bank.peers.altered = lambda answer: (
        changed(answer) or answer if "agreement" in answer else answer
    )
    assert recover(market, market.bank, agreement_id).refusal.code == code


# --- Final totals ---------------------------------------------------------------------------------


def test_a_provider_put_back_to_before_its_final_signature_serves_nothing_more(
    market: Market, agreement_id: bytes, backup: Any
) -> None:
    node = market.department
    witnessed(market, node)
    market.call(agreement_id)
    old = backup("department")
    market.department.context.ledger.rpc.call("evm_setAutomine", False)
    try:
        market.run(closing.end(market.bank.context, agreement_id))
        witnessed(market, node)
        signed = totals.view(market.bank.context, agreement_id)
        old.put_back()
        found = market.run(log.find_lost_entries(node.context))
        assert found is not None
        take(node, found)
        market.department.peers.broken = True
        assert recover(market, node, agreement_id).refusal.code == "peer_unreachable"
        market.department.peers.broken = False
        market.department.peers.altered = lambda answer: (
            {**answer, "providerSignature": None} if "buyerSignature" in answer else answer
        )
        assert recover(market, node, agreement_id).refusal.code == "positions_missing", (
            "its own log says that it signed"
        )
        market.department.peers.altered = lambda answer: (
            {**answer, "providerSignature": answer["buyerSignature"]}
            if "buyerSignature" in answer
            else answer
        )
        assert recover(market, node, agreement_id).refusal.code == "answer_wrong_signer"
        market.department.peers.altered = None
        assert recover(market, node, agreement_id).refusal is None
        assert (
            totals.view(node.context, agreement_id).provider_signature == signed.provider_signature
        )
        assert market.run(Gateway.of(node.context).trade(agreement_id)).final, (
            "nothing is served under totals that bind"
        )
    finally:
        market.department.context.ledger.rpc.call("evm_setAutomine", True)
        market.department.context.ledger.rpc.call("anvil_mine", "0x1")
    market.bank.done(f"final/{agreement_id.hex()}/{signed.settlement.struct_hash().hex()[:16]}")
    market.settle()
    assert totals.view(node.context, agreement_id).state == "settled"
