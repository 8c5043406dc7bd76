"""What the bundle of a dispute must show. Pure: imports no web3, no database, no web framework.

The subject is ``{case, agreementId, lane, seq}``: one call, and what is said of it. The agreement
is shown as the struct whose hash is the id that the chain opened, with both statement keys pinned.

**claim**: a last receipt that its buyer did not acknowledge was claimed, and how the dispute went.
  Receipt and ruling are the structs whose hashes the chain stores: it took them under the
  provider's and the arbiter's signatures. So every member can make this bundle, silent parties or
  not.

**equivocation**: the provider signed two different receipts for one position.

**request**: the provider's receipt names another request than the one in the buyer's log.

**amount**: the receipt bills another amount, more units or other totals than agreement and request
  allow.

**revoked**: the call was served on a view in which the grant was revoked, or the provider voided
  the receipt.

**answer**: what the provider served again in a dispute, sealed to the contest's key, is not what
  the receipt commits to. The subject has ``sealedAnswer``, whose SHA-256 the chain stores, and
  ``contestSecret``, which belongs to the contest's key. The answer itself is not printed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chain.bundle.claims import VerifiedClaims, VerifiedStatement
from chain.core import schema
from chain.core.errors import Conflict, Inconsistent, NotAnchored
from chain.ethereum.eip712 import Statement
from chain.ethereum.records import (
    AgreementRecord,
    FlagRecord,
    GrantRecord,
    LaneRecord,
    TradeDisputeRecord,
)
from chain.statements.disputes import ContestReason, DisputeOutcome, Ruling
from chain.statements.trade import (
    Agreement,
    ReceiptVoid,
    UsageReceipt,
    UsageRequest,
)
from exchange.disputes.model import DisputeCase
from exchange.disputes.rules import (
    amount_faults,
    is_committed,
    place_key,
    served_after_revocation,
)
from exchange.disputes.sealing import unseal
from exchange.proof_profile import closing
from exchange.trade_proof import CONTRACT

DISPUTES = "TradeDisputes"


@dataclass(frozen=True)
class DisputedCall:
    """The call that a bundle is about."""

    agreement_id: bytes
    agreement: Agreement
    state: AgreementRecord
    lane: int
    seq: int
    subject: Mapping[str, Any]

    @property
    def parties(self) -> tuple[str, str]:
        """Provider and buyer."""
        return self.agreement.provider, self.agreement.buyer


def check(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    """One case about one call."""
    case, call = _subject(claims, subject)
    return [_agreement_sentence(claims, call), *_CASES[case](claims, call)]


# --- What every case shows ------------------------------------------------------------------------


def _subject(
    claims: VerifiedClaims, subject: Mapping[str, Any]
) -> tuple[DisputeCase, DisputedCall]:
    try:
        case = DisputeCase(subject["case"])
        more = ("contestSecret", "sealedAnswer") if case == DisputeCase.ANSWER else ()
        if set(subject) != {"case", "agreementId", "lane", "seq", *more}:
            raise ValueError("fields")
        agreement_id = schema.hash32(subject["agreementId"])
        lane, seq = schema.count(subject["lane"]), schema.count(subject["seq"])
    except (KeyError, ValueError) as error:
        raise Inconsistent(
            "subject_malformed", "The bundle does not say which case it shows, and of which call."
        ) from error
    agreement = claims.struct(Agreement)
    if agreement.struct_hash() != agreement_id:
        raise Inconsistent("agreement_differs", "The bundle holds another agreement.")
    words = [
        claims.storage_value(CONTRACT, "agreements", agreement_id, offset=position)
        for position in range(3)
    ]
    state = AgreementRecord.decode(*(word.value for word in words))
    if not state.opened_at:
        raise Inconsistent("agreement_not_open", "The chain does not show the agreement as opened.")
    if lane >= agreement.lanes:
        raise Inconsistent("wrong_lane", "The agreement has no such lane.")
    return case, DisputedCall(agreement_id, agreement, state, lane, seq, subject)


def _agreement_sentence(claims: VerifiedClaims, call: DisputedCall) -> str:
    agreement = call.agreement
    return (
        f"The chain opened the agreement of {agreement.provider} and {agreement.buyer} for "
        f"{agreement.purpose} at {agreement.price} fen a unit in "
        f"{claims.block(call.state.opened_at)}, under both signatures."
    )


def _signed(
    claims: VerifiedClaims, call: DisputedCall, kind: type[Statement], key: str, count: int
) -> list[VerifiedStatement[Any]]:
    """So many statements of a type, of this call and under the key that the agreement pins."""
    found = claims.statements(kind)
    if len(found) != count:
        raise Inconsistent(
            "profile_incomplete",
            f"The case needs {count} of {kind.__name__}; there are {len(found)}.",
        )
    for signed in found:
        statement: Any = signed.statement
        if (statement.agreement_id, statement.lane, statement.seq) != (
            call.agreement_id,
            call.lane,
            call.seq,
        ):
            raise Inconsistent("of_another_trade", "A statement is of another call.")
        if signed.signer != key:
            raise Inconsistent(
                "wrong_signer", "A statement is not signed by the key the agreement pins."
            )
    return found


def _signed_receipt(claims: VerifiedClaims, call: DisputedCall) -> UsageReceipt:
    receipt: UsageReceipt = _signed(claims, call, UsageReceipt, call.agreement.provider_key, 1)[
        0
    ].statement
    return receipt


def _claimed_receipt(
    claims: VerifiedClaims, call: DisputedCall
) -> tuple[UsageReceipt, TradeDisputeRecord]:
    """The receipt that was claimed, as the struct whose hash the chain stores, and its dispute."""
    receipt = claims.struct(UsageReceipt)
    if (receipt.agreement_id, receipt.lane, receipt.seq) != (
        call.agreement_id,
        call.lane,
        call.seq,
    ):
        raise Inconsistent("of_another_trade", "The receipt is of another call.")
    words = [
        claims.storage_value(DISPUTES, "disputes", receipt.struct_hash(), offset=position).value
        for position in range(5)
    ]
    record = TradeDisputeRecord.decode(*words)
    if not record.claimed_at:
        raise NotAnchored("receipt_not_claimed", "The chain does not show the receipt as claimed.")
    return receipt, record


def _signed_or_claimed(claims: VerifiedClaims, call: DisputedCall) -> UsageReceipt:
    """A receipt under the provider's signature, or one that the chain took under it."""
    if claims.structs(UsageReceipt):
        return _claimed_receipt(claims, call)[0]
    return _signed_receipt(claims, call)


def _receipt_sentence(call: DisputedCall, receipt: UsageReceipt) -> str:
    return (
        f"{call.agreement.provider} signed a receipt of {receipt.units} units for "
        f"{receipt.amount} fen for position {call.seq} of lane {call.lane}."
    )


def _not_shown() -> Inconsistent:
    return Inconsistent("case_not_shown", "What the bundle holds does not show the case it names.")


# --- claim ----------------------------------------------------------------------------------------


def _claim(claims: VerifiedClaims, call: DisputedCall) -> list[str]:
    receipt, record = _claimed_receipt(claims, call)
    paid, ending = _ending(claims, call, receipt, record)
    return [
        _claim_sentence(claims, call, receipt, record),
        *_contest_sentences(claims, call, record),
        *ending,
        *_paid(claims, call, receipt, paid),
        closing(claims, call.state),
    ]


def _claim_sentence(
    claims: VerifiedClaims, call: DisputedCall, receipt: UsageReceipt, record: TradeDisputeRecord
) -> str:
    provider, buyer = call.parties
    return (
        f"{provider} claimed {receipt.amount} fen for position {call.seq} of lane {call.lane}, "
        f"which {buyer} had not acknowledged; the chain took the claim in "
        f"{claims.block(record.claimed_at)}, with {buyer}'s signature of the request and "
        f"{provider}'s of the receipt."
    )


def _contest_sentences(
    claims: VerifiedClaims, call: DisputedCall, record: TradeDisputeRecord
) -> list[str]:
    provider, buyer = call.parties
    sentences = []
    if record.contested_at:
        sentences.append(
            f"{buyer} contested it in {claims.block(record.contested_at)}, "
            f"for the reason {_reason(record.reason)}."
        )
    if record.answered_at:
        sentences.append(
            f"{provider} served an answer again in {claims.block(record.answered_at)}; its SHA-256 "
            f"is 0x{record.sealed_answer.hex()}."
        )
    return sentences


def _reason(number: int) -> str:
    try:
        return ContestReason(number).name.lower()
    except ValueError as error:
        raise Inconsistent(
            "dispute_unreadable", "The chain's record of the dispute is of an unknown form."
        ) from error


def _ending(
    claims: VerifiedClaims, call: DisputedCall, receipt: UsageReceipt, record: TradeDisputeRecord
) -> tuple[int, list[str]]:
    """What the dispute itself paid in fen, and how it ended."""
    ruling = claims.struct(Ruling) if any(record.ruling) else None
    if ruling is not None and ruling.struct_hash() != record.ruling:
        raise Inconsistent("ruling_differs", "The bundle holds another ruling than the chain's.")
    if not record.ended_at:
        return 0, ["The dispute is open."]
    block, outcome = claims.block(record.ended_at), record.outcome
    if outcome == DisputeOutcome.RULED and ruling is not None:
        return ruling.amount, _ruling_sentences(block, call, receipt, ruling)
    texts = {
        DisputeOutcome.PAID_UNCONTESTED: (
            f"{call.agreement.buyer} neither acknowledged nor contested it in time: the dispute "
            f"ended in {block}, and {receipt.amount} fen were paid."
        ),
        DisputeOutcome.ACKNOWLEDGED: (
            f"{call.agreement.buyer} acknowledged the call: the dispute ended in {block}, and the "
            "acknowledgement counts."
        ),
        DisputeOutcome.UNPAID_UNANSWERED: (
            f"{call.agreement.provider} did not serve the answer again in time: the dispute ended "
            f"in {block}, and the call is unpaid."
        ),
        DisputeOutcome.UNPAID_UNRULED: (
            f"{call.agreement.arbiter} did not rule in time: the dispute ended in {block}, and the "
            "call is unpaid."
        ),
        DisputeOutcome.UNPAID_OVER_CAP: (
            f"The agreement's caps left no room for the call: the dispute ended in {block}, and "
            "the call is unpaid."
        ),
    }
    if outcome not in texts:
        raise Inconsistent(
            "dispute_unreadable", "The chain's record of the dispute is of an unknown form."
        )
    paid = receipt.amount if outcome == DisputeOutcome.PAID_UNCONTESTED else 0
    stake = [_stake_returned(call)] if record.contested_at else []
    return paid, [texts[DisputeOutcome(outcome)], *stake]


def _ruling_sentences(
    block: str, call: DisputedCall, receipt: UsageReceipt, ruling: Ruling
) -> list[str]:
    provider, buyer = call.parties
    evidence = ", ".join(f"{item.member}/{item.index}" for item in ruling.evidence)
    ruled = (
        f"{call.agreement.arbiter} ruled in {block} that {ruling.amount} of {receipt.amount} fen "
        f"are paid, citing the log entries {evidence}; the chain took the ruling under its "
        "signature."
    )
    if ruling.amount == receipt.amount:
        return [ruled, f"The stake of {call.agreement.stake} fen of {buyer} went to {provider}."]
    if ruling.amount:
        return [ruled, _stake_returned(call)]
    return [
        ruled,
        f"The stake of {call.agreement.stake} fen went back to {buyer}, and as much of the bond of "
        f"{provider} as was held.",
    ]


def _stake_returned(call: DisputedCall) -> str:
    return f"The stake of {call.agreement.stake} fen went back to {call.agreement.buyer}."


def _paid(
    claims: VerifiedClaims, call: DisputedCall, receipt: UsageReceipt, paid: int
) -> list[str]:
    """The chain's lane is at what the dispute paid or beyond."""
    value = claims.storage_value(CONTRACT, "lanes", call.agreement_id, call.lane).value
    lane = LaneRecord.decode(value)
    reached = receipt.total_amount - receipt.amount + paid
    if paid and (lane.seq < receipt.seq or lane.amount < reached):
        raise Inconsistent("claim_differs", "The chain's lane does not reach what was paid.")
    return [f"The chain's lane is at {lane.amount} fen up to position {lane.seq}."]


# --- equivocation ---------------------------------------------------------------------------------


def _equivocation(claims: VerifiedClaims, call: DisputedCall) -> list[str]:
    provider, buyer = call.parties
    signed = _signed(claims, call, UsageReceipt, call.agreement.provider_key, 2)
    receipts: Sequence[UsageReceipt] = [one.statement for one in signed]
    ordered = sorted(receipts, key=lambda receipt: receipt.struct_hash())
    stored = claims.storage_value(
        DISPUTES, "equivocations", call.agreement_id, place_key(call.lane, call.seq)
    ).value
    flag = FlagRecord.decode(claims.storage_value(DISPUTES, "flags", provider).value)
    sentences = [_receipt_sentence(call, receipt) for receipt in ordered]
    sentences.append("They differ: two receipts for one position are an offence of the provider.")
    if not stored:
        claims.limits.append(
            "The chain has not been shown two receipts for this position: nobody is paid for it "
            "until somebody does."
        )
        return sentences
    if not flag.count:
        raise Inconsistent("dispute_unreadable", "The chain does not flag the provider.")
    return [
        *sentences,
        f"The chain was shown two receipts for this position: {call.state.bond_taken} fen of the "
        f"bond were taken in all, and {buyer} got what this offence took.",
        f"{provider} is flagged for {flag.count} such positions, the first in "
        f"{claims.block(flag.first_at)}.",
    ]


# --- request, amount, revoked ---------------------------------------------------------------------


def _request(claims: VerifiedClaims, call: DisputedCall) -> list[str]:
    receipt, buyer = _signed_receipt(claims, call), call.agreement.buyer
    (signed,) = _signed(claims, call, UsageRequest, call.agreement.buyer_key, 1)
    if receipt.request == signed.statement.struct_hash():
        raise _not_shown()
    entry = claims.log_inclusion(signed)
    claims.limits.append(
        f"That {buyer} signed no other request for this position is not shown: its log shows this "
        "one."
    )
    return [
        _receipt_sentence(call, receipt),
        f"The request of {buyer} for this position is entry {entry.index} of its log, anchored in "
        f"{claims.block(entry.anchored_at)}; the receipt names another one.",
    ]


def _amount(claims: VerifiedClaims, call: DisputedCall) -> list[str]:
    agreement, receipt = call.agreement, _signed_receipt(claims, call)
    request: UsageRequest = _signed(claims, call, UsageRequest, agreement.buyer_key, 1)[0].statement
    if receipt.request != request.struct_hash():
        raise Inconsistent("receipt_of_other", "The receipt answers another request.")
    found = amount_faults(agreement, request, receipt)
    if not found:
        raise _not_shown()
    return [
        _receipt_sentence(call, receipt),
        f"It answers the request that {agreement.buyer} signed.",
        *found,
    ]


def _revoked(claims: VerifiedClaims, call: DisputedCall) -> list[str]:
    agreement, receipt = call.agreement, _signed_or_claimed(claims, call)
    grant = GrantRecord.decode(
        claims.storage_value("GrantRegistry", "grants", agreement.grant_id).value
    )
    found = []
    if served_after_revocation(receipt, grant):
        found.append(
            f"It names a view of {claims.block(receipt.view_height)}; the grant had been revoked "
            f"in {claims.block(grant.revoked_at)}."
        )
    for signed in claims.statements(ReceiptVoid):
        void: ReceiptVoid = signed.statement
        if signed.signer != agreement.provider_key or void.receipt != receipt.struct_hash():
            raise Inconsistent("void_of_other", "A void names another receipt than the call's.")
        found.append(f"{agreement.provider} voided it: {void.reason}.")
    if not found:
        raise _not_shown()
    return [_receipt_sentence(call, receipt), *found]


# --- answer ---------------------------------------------------------------------------------------


def _answer(claims: VerifiedClaims, call: DisputedCall) -> list[str]:
    receipt, record = _claimed_receipt(claims, call)
    sealed, secret = _opening(call.subject)
    if not record.answered_at or hashlib.sha256(sealed).digest() != record.sealed_answer:
        raise Inconsistent(
            "sealed_answer_differs", "The chain has the SHA-256 of another sealed answer."
        )
    if X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() != (
        record.contest_key
    ):
        raise Inconsistent("contest_key_differs", "The key is not that of the contest.")
    return [
        _claim_sentence(claims, call, receipt, record),
        *_contest_sentences(claims, call, record),
        _opened_sentence(receipt, sealed, secret),
    ]


def _opening(subject: Mapping[str, Any]) -> tuple[bytes, bytes]:
    try:
        sealed = schema.hex_bytes(subject["sealedAnswer"], None)
        return sealed, schema.hex_bytes(subject["contestSecret"], 32)
    except ValueError as error:
        raise Inconsistent(
            "subject_malformed", "The sealed answer or the contest's key is malformed."
        ) from error


def _opened_sentence(receipt: UsageReceipt, sealed: bytes, secret: bytes) -> str:
    try:
        answer = unseal(sealed, secret, receipt_id=receipt.struct_hash())
    except Conflict:
        return "What was served cannot be opened with the contest's key: it is no answer."
    if is_committed(answer, receipt.response_commitment):
        raise _not_shown()
    return "What was served opens with the contest's key, and is not what the receipt commits to."


_CASES: Mapping[DisputeCase, Callable[[VerifiedClaims, DisputedCall], list[str]]] = {
    DisputeCase.CLAIM: _claim,
    DisputeCase.EQUIVOCATION: _equivocation,
    DisputeCase.REQUEST: _request,
    DisputeCase.AMOUNT: _amount,
    DisputeCase.REVOKED: _revoked,
    DisputeCase.ANSWER: _answer,
}
