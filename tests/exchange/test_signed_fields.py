"""Everything that a trade's parties sign, with one field changed after signing: the fields come from
the types. Refused by the node that gets it and by the real contract, with the right code. And a
voucher of another lane, agreement, chain or contract, mirrored signatures, and claims that meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chain.core.crypto import address_of, recover, sign_digest
from chain.core.errors import QiaolianError
from chain.ethereum.eip712 import Domain, Statement
from chain.ethereum.ledger.abi import Reverted
from chain.statements.catalogue import STATEMENTS
from chain.statements.disputes import ContestReason, LogPosition, Ruling
from chain.statements.examples import example
from chain.statements.members import KeyPurpose
from chain.statements.trade import UsageRequest, Voucher
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.closing import notice
from exchange.disputes import service
from exchange.metering import records as calls
from exchange.metering import service as metering
from exchange.settlement import service as settlement
from scripts.statement_pages import VECTOR_DOMAIN, VECTOR_KEY
from tests.exchange.conftest import Market, Node
from tests.exchange.test_disputes import BOND, PRICE, STAKE, WINDOW_BLOCKS, WINDOW_SECONDS
from tests.support.changed_fields import changed, other_values
from tests.support.waiting import wait_for

ORDER = int("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)


def mirrored(signature: bytes) -> bytes:
    """The other signature of the same key over the same digest, with a high s."""
    high = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + high.to_bytes(32, "big") + bytes([27 + 28 - signature[64]])


@pytest.mark.parametrize("kind", STATEMENTS.values(), ids=list(STATEMENTS))
def test_a_signature_covers_every_field_of_its_type(kind: type[Statement]) -> None:
    original = example(kind)
    signature, signer = (
        sign_digest(VECTOR_KEY, original.digest(VECTOR_DOMAIN)),
        address_of(VECTOR_KEY),
    )
    assert recover(original.digest(VECTOR_DOMAIN), signature) == signer
    seen = set()
    for name, other in changed(original):
        assert recover(other.digest(VECTOR_DOMAIN), signature) != signer, name
        seen.add(name)
    assert seen == set(original.to_json()), "every field was changed"
    for domain in (
        Domain(VECTOR_DOMAIN.chain_id + 1, VECTOR_DOMAIN.contract),
        Domain(VECTOR_DOMAIN.chain_id, "0x" + "34" * 20),
    ):
        assert recover(original.digest(domain), signature) != signer


# --- The contract ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claimable:
    """An open agreement with one call that nobody acknowledged: what its claim takes."""

    agreement_id: bytes
    arguments: Sequence[Any]


@pytest.fixture(scope="module")
def granted(market: Market) -> bytes:
    market.deposit(market.department.member, 10_000, "for bonds")
    market.offer(
        bond=BOND,
        stake=STAKE,
        close_window_blocks=WINDOW_BLOCKS,
        close_window_seconds=WINDOW_SECONDS,
    )
    market.settle()
    return market.grant()


@pytest.fixture(scope="module")
def claimable(market: Market, granted: bytes) -> Claimable:
    agreement_id = market.open(granted, cap=1000, lanes=2, arbiter=market.supervisor.member)
    market.call(agreement_id)
    call = calls.call_at(market.department.context, AgreementSide.PROVIDER, agreement_id, 0, 1)
    assert call is not None
    agreement = agreements.load(market.department.context, agreement_id).agreement
    return Claimable(
        agreement_id,
        (
            agreement,
            call.request,
            call.request_signature,
            call.receipt,
            call.receipt_signature,
        ),
    )


def tried(market: Market, node: Node, contract: str, function: str, *arguments: Any) -> str:
    """The code with which the contract refuses a call from a node; empty if it takes it."""
    ledger = market.operator.context.ledger
    address, data = ledger.encode(contract, function, *arguments)
    try:
        ledger.simulate(address, data, sender=node.context.transaction_address)
    except Reverted as reverted:
        return reverted.code
    return ""


def claim_with(market: Market, claimable: Claimable, place: int, value: Any) -> str:
    arguments = list(claimable.arguments)
    arguments[place] = value
    return tried(market, market.department, "TradeDisputes", "claimReceipt", *arguments)


NOT_CLAIMABLE = {"version", "outcome", "units", "amount", "totalUnits", "totalAmount"}


def test_a_claim_with_one_field_changed_is_refused(market: Market, claimable: Claimable) -> None:
    agreement, request, request_signature, receipt, receipt_signature = claimable.arguments
    assert claim_with(market, claimable, 0, agreement) == ""
    for name, other in changed(agreement):
        expected = "not_provider" if name == "provider" else "other_receipt"
        assert claim_with(market, claimable, 0, other) == expected, name
    for name, other in changed(request):
        assert claim_with(market, claimable, 1, other) == "other_receipt", name
    for name, other in changed(receipt):
        named = name in ("agreementId", "lane", "seq", "request")
        expected = "other_receipt" if named else "wrong_signer"
        expected = "not_claimable" if name in NOT_CLAIMABLE else expected
        assert claim_with(market, claimable, 3, other) == expected, name
    for place, signature in ((2, request_signature), (4, receipt_signature)):
        assert "signature_s" in claim_with(market, claimable, place, mirrored(signature))
        assert claim_with(market, claimable, place, signature[:-1]).endswith("signature_length")
    assert claim_with(market, claimable, 2, receipt_signature) == "wrong_signer"


def test_a_voucher_for_anything_else_is_refused(market: Market, claimable: Claimable) -> None:
    """By the contract and by the provider's node: another lane, agreement, chain or contract, every
    field changed, a mirrored signature.
    """
    context = market.bank.context
    agreement, _, _, receipt, _ = claimable.arguments
    voucher = Voucher(
        version=1,
        agreement_id=claimable.agreement_id,
        lane=0,
        seq=1,
        acknowledged_units=1,
        acknowledged_amount=PRICE,
        receipt=receipt.struct_hash(),
    )
    signature = context.sign(voucher)
    signer = market.bank.organisation.signers

    def claimed(other: Voucher, signed: bytes) -> str:
        arguments = agreement, [other], [signed]
        return tried(market, market.department, "TradeSettlement", "claimVouchers", *arguments)

    def taken(other: Voucher, signed: bytes) -> str:
        try:
            market.run(
                metering.accept_voucher(
                    market.department.context, market.bank.member, other, signed
                )
            )
        except QiaolianError as refused:
            return refused.code
        return ""

    assert claimed(voucher, signature) == ""
    for name, other in changed(voucher):
        at_contract = "wrong_version" if name == "version" else "wrong_signer"
        assert claimed(other, signature) == at_contract, name
        at_node = {"agreementId": "unknown_agreement"}.get(name, "wrong_signer")
        assert taken(other, signature) == at_node, name
    own = context.domain("TradeSettlement")
    key = signer[KeyPurpose.STATEMENT]
    for domain in (
        Domain(own.chain_id + 1, own.contract),
        Domain(own.chain_id, context.domain("TradeDisputes").contract),
    ):
        foreign = key.sign(voucher, domain)
        assert (claimed(voucher, foreign), taken(voucher, foreign)) == (
            "wrong_signer",
            "wrong_signer",
        )
    assert "signature_s" in claimed(voucher, mirrored(signature))
    assert taken(voucher, mirrored(signature)) == "signature_malformed"
    for changes, code in (
        ({"lane": 2}, "wrong_lane"),
        ({"agreement_id": b"\1" * 32}, "other_agreement"),
        ({"acknowledged_amount": 1001}, "over_cap"),
        ({"acknowledged_units": 2**53 - 1, "acknowledged_amount": 2**53 - 1}, "over_cap"),
        ({"seq": 0, "acknowledged_units": 0, "acknowledged_amount": 0}, "voucher_not_higher"),
    ):
        other = replace(voucher, **changes)
        assert claimed(other, context.sign(other)) == code


def test_totals_beyond_their_type_are_refused(market: Market, claimable: Claimable) -> None:
    """A receipt whose totals would wrap around is not signed, sent or claimed."""
    receipt, signature = claimable.arguments[3:5]
    huge = replace(receipt, total_units=2**64 - 1)
    assert claim_with(market, claimable, 3, huge) == "not_claimable"
    with pytest.raises(QiaolianError) as unreadable:
        type(receipt).from_json({**receipt.to_json(), "totalUnits": 2**53})
    assert unreadable.value.code == "statement_malformed"
    with pytest.raises(QiaolianError) as beyond:
        claim_with(market, claimable, 3, replace(receipt, total_units=2**64))
    assert beyond.value.code in ("call_malformed", "statement_malformed")
    assert signature


# --- The provider's node --------------------------------------------------------------------------


def test_a_request_with_one_field_changed_takes_no_position(market: Market, granted: bytes) -> None:
    """The gateway answers each with an error, and its lane stays as it is."""
    bank, department = market.bank, market.department
    agreement_id = market.open(granted, cap=1000, arbiter=market.supervisor.member)
    market.call(agreement_id)
    body = next(body for path, body in reversed(bank.peers.sent) if path == "/v1/peer/calls")
    (sent,) = body["requests"]

    def refused(**changes: Any) -> str:
        altered = {"requests": [{**sent, **changes}]}
        answer = market.run(bank.peers.post(department.member, "/v1/peer/calls", altered))
        code: str = answer["answers"][0]["error"]["code"]
        return code

    expected = {"agreementId": "unknown_agreement"}
    for name, value in other_values(UsageRequest, sent["request"]).items():
        code = refused(request={**sent["request"], name: value})
        assert code == expected.get(name, "wrong_signer"), name
    mirror = mirrored(bytes.fromhex(sent["signature"][2:]))
    assert refused(signature="0x" + mirror.hex()) == "signature_malformed"
    stored = calls.lane_calls(department.context, AgreementSide.PROVIDER, agreement_id, 0)
    assert [call.seq for call in stored] == [1]


# --- A ruling -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answered(market: Market, granted: bytes) -> bytes:
    """A dispute that waits for its arbiter."""
    agreement_id = market.open(granted, cap=1000, arbiter=market.supervisor.member)
    market.call(agreement_id)
    claim = service.claim(market.department.context, agreement_id, 0)
    market.department.done(claim.operation)
    market.settle()
    with pytest.raises(QiaolianError) as pending:
        notice.close(market.bank.context, agreement_id)
    assert pending.value.code in ("no_notice", "claim_pending")
    contest = service.contest(market.bank.context, claim.receipt_id, ContestReason.NO_ANSWER)
    market.bank.done(contest.operation)
    market.settle()
    answer = service.answer(market.department.context, claim.receipt_id)
    market.department.done(answer.operation)
    market.settle()
    return claim.receipt_id


def test_a_ruling_with_one_field_changed_is_refused(market: Market, answered: bytes) -> None:
    dispute = service.find(market.supervisor.context, answered)
    ruling = Ruling(
        version=1,
        agreement_id=dispute.receipt.agreement_id,
        receipt=answered,
        outcome=2,
        amount=20,
        opinion=b"\2" * 32,
        deadline=market.supervisor.context.now() + 10_000_000,
        evidence=(LogPosition(market.bank.member, 1), LogPosition(market.bank.member, 2)),
    )
    signature = market.supervisor.context.sign(ruling)

    def ruled(other: Ruling, signed: bytes) -> str:
        arguments = dispute.agreement, dispute.receipt, other, signed
        return tried(market, market.operator, "TradeDisputes", "rule", *arguments)

    assert ruled(ruling, signature) == ""
    expected = {
        "version": "wrong_version",
        "agreementId": "ruling_mismatch",
        "receipt": "ruling_mismatch",
        "outcome": "ruling_mismatch",
    }
    for name, other in changed(ruling):
        code = ruled(other, signature)
        assert code == expected.get(name, code), name
        assert code in (*expected.values(), "wrong_signer", "not_member_key"), name
    assert "signature_s" in ruled(ruling, mirrored(signature))
    for stranger in (market.bank, market.department, market.operator):
        assert ruled(ruling, stranger.context.sign(ruling)) == "wrong_signer"


# --- Claims that meet -----------------------------------------------------------------------------


def test_two_claims_of_one_call_in_one_block_pay_once(market: Market, granted: bytes) -> None:
    """The receipt is claimed and, in the same block, the buyer's acknowledgement. The call is paid
    once, and the dispute ends as acknowledged.
    """
    agreement_id = market.open(granted, cap=1000, arbiter=market.supervisor.member)
    market.call(agreement_id)
    market.call(agreement_id, 2)
    department, rpc = market.department, market.department.context.ledger.rpc
    rpc.call("evm_setAutomine", False)
    try:
        claim = service.claim(department.context, agreement_id, 0)
        operations = settlement.claim(department.context, agreement_id).operations
        department.outbox.wake()
        wait_for(lambda: int(rpc.call("txpool_status")["pending"], 16) >= 2, "both claims")
    finally:
        rpc.call("evm_setAutomine", True)
        rpc.call("evm_mine")
    for operation in (claim.operation, *operations):
        department.done(operation)
    market.settle()
    state = agreements.proved_state(department.context, agreement_id)
    assert (state.acknowledged, state.pending) == (PRICE, 1)
    market.mine(WINDOW_BLOCKS + 1, WINDOW_SECONDS + 1)
    market.operator.done(service.end(market.operator.context, claim.receipt_id).operation)
    market.settle()
    state = agreements.proved_state(department.context, agreement_id)
    assert (state.acknowledged, state.pending) == (2 * PRICE, 0)
