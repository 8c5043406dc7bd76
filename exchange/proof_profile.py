"""What the bundles of a metered trade must show. Pure: imports no web3, no database, no web
framework.

**trade** proves one call: agreement signed by both sides under a grant, the buyer's request, the
  provider's receipt in its anchored log, the buyer's signature that names this receipt with its
  totals, the claim and the payout on the chain. The contract takes a claim with the buyer's
  signature alone, so that the chain's lane itself shows that what was claimed was acknowledged.

**lane** proves the calls of one lane, from position 1 to the last one shown without gaps: each
  receipt continues the one before it, each request acknowledges exactly what was delivered before
  it, and no more was claimed on the chain. No bundle can prove that a lane has no later positions;
  what the chain records of them is reported.

**When a call was served** is the provider's statement: the receipt names the block of its view. The
  log's anchor bounds it from above. A served receipt that the log shows only after the grant's
  revocation is reported as such; one that it shows more than ``MAX_VIEW_LAG`` blocks after its
  view, with the revocation between, is refused: both parties together could have dated it back.

If both sides closed the agreement cooperatively, both profiles show the final totals under both
signatures, and that the chain closed by these totals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.bundle.claims import VerifiedClaims, VerifiedStatement
from chain.core import schema
from chain.core.errors import Inconsistent, QiaolianError, VerificationError
from chain.ethereum.records import AgreementRecord, GrantRecord, LaneRecord
from chain.statements.grants import GrantTerms
from chain.statements.members import KeyPurpose
from chain.statements.trade import (
    Agreement,
    FinalSettlement,
    ReceiptVoid,
    UsageOutcome,
    UsageReceipt,
    UsageRequest,
    Voucher,
)
from exchange.agreements.rules import require_grant
from exchange.metering.model import REQUEST_DOMAIN, RESPONSE_DOMAIN, LaneState
from exchange.metering.rules import (
    require_acknowledged,
    require_receipt,
    state_after,
    state_after_void,
)
from exchange.settlement.rules import split

CONTRACT = "TradeSettlement"
CHAIN_CLOSED = (
    "What was asked and what was answered is not all opened: "
    "what stays closed is only committed to."
)
MAX_VIEW_LAG = 900
"""Blocks from a receipt's view to the anchor that shows it, when the grant was revoked in between.
A gateway's view is at most 15 s old and its log is anchored each minute; the rest is for a node
that was down. Blocks come each second."""


def check_trade(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    """One named call from agreement to payout: subject {agreementId, lane, seq}."""
    trade = _TradeProof(claims, subject, "seq")
    seq = subject["seq"]
    _require_acknowledgement(claims, trade, seq)
    request, receipt, sentences = _answered(claims, trade, seq)
    sentences += _disclosed(claims, request, receipt)
    acknowledged = _acknowledged(trade, receipt)
    if receipt.outcome == UsageOutcome.REFUSED:
        seen = (
            "The buyer acknowledged this refusal."
            if acknowledged
            else "The buyer has not acknowledged this refusal: it is the provider's word."
        )
        return [
            *trade.sentences,
            *sentences,
            f"The call was refused ({receipt.reason}) and costs nothing.",
            seen,
        ]
    if not acknowledged:
        raise Inconsistent("not_acknowledged", "No signature of the buyer acknowledges the call.")
    sentences.append(
        "The buyer's next signature names this receipt and "
        f"acknowledges {receipt.total_amount} fen up to it."
    )
    return [
        *trade.sentences,
        *sentences,
        *_claimed(claims, trade, receipt),
        *_paid(claims, trade, receipt),
    ]


@dataclass(frozen=True)
class CallProof:
    """One call as a bundle proves it, and the sentences on it."""

    agreement: Agreement
    request: UsageRequest
    receipt: UsageReceipt
    sentences: list[str]


def check_call(claims: VerifiedClaims, subject: Mapping[str, Any]) -> CallProof:
    """One named call up to its receipt, acknowledged or not: subject {agreementId, lane, seq}. The
    bundle holds nothing else of the lane.
    """
    trade = _TradeProof(claims, subject, "seq")
    seq = subject["seq"]
    others = {*trade.requests, *trade.receipts} - {seq}
    if others or trade.voids or trade.vouchers:
        raise Inconsistent(
            "element_unused", "The bundle carries statements of other positions than its call's."
        )
    request, receipt, sentences = _answered(claims, trade, seq)
    return CallProof(trade.agreement, request, receipt, [*trade.sentences, *sentences])


def _answered(
    claims: VerifiedClaims, trade: _TradeProof, seq: int
) -> tuple[UsageRequest, UsageReceipt, list[str]]:
    """A position's request and receipt, which answers it in time, and the sentences on them."""
    request = _only(trade.requests, seq, "request")
    receipt = _only(trade.receipts, seq, "receipt")
    before = LaneState(
        seq - 1, request.acknowledged_units, request.acknowledged_amount, request.previous_receipt
    )
    _by_protocol(
        lambda: require_receipt(trade.agreement, before, request, request.struct_hash(), receipt)
    )
    _require_timely(claims, trade, seq)
    sentences = [
        (
            f"The receipt of position {seq} of lane {trade.lane} answers the "
            f"buyer's request, for {receipt.units} units."
        ),
        _logged(claims, trade.signed_receipts[seq], "receipt"),
        *_viewed(claims, trade, [seq]),
    ]
    return request, receipt, sentences


def check_lane(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    """Every call of one lane: subject {agreementId, lane}."""
    trade = _TradeProof(claims, subject)
    last = max(trade.requests, default=0)
    if not last:
        raise Inconsistent("profile_incomplete", "The bundle shows no position of the lane.")
    # Compared by number first: a range up to a stranger's position would not fit into memory.
    if len(trade.requests) != last or not trade.requests.keys() == trade.receipts.keys() == set(
        range(1, last + 1)
    ):
        raise Inconsistent(
            "lane_has_holes", "Positions of the lane are missing, or lack a request or receipt."
        )
    voids = {item.seq: item for item in trade.voids}
    if len(voids) != len(trade.voids):
        raise Inconsistent("position_twice", "Two voids name one position.")
    state, refused = LaneState(), 0
    for seq in range(1, last + 1):
        request, receipt = trade.requests[seq], trade.receipts[seq]
        _by_protocol(lambda state=state, request=request: require_acknowledged(state, request))
        request_hash, receipt_hash = request.struct_hash(), receipt.struct_hash()
        _by_protocol(
            lambda state=state, request=request, request_hash=request_hash, receipt=receipt: (
                require_receipt(trade.agreement, state, request, request_hash, receipt)
            )
        )
        _require_timely(claims, trade, seq)
        refused += receipt.outcome == UsageOutcome.REFUSED
        before, state = state, state_after(receipt, receipt_hash)
        void = voids.pop(seq, None)
        if void is not None:
            if void.receipt != receipt_hash:
                raise Inconsistent(
                    "void_of_other", "A void names another receipt than its position's."
                )
            state = state_after_void(before, receipt_hash, request_hash)
    if voids:
        raise Inconsistent("void_of_other", "A void names a position the lane does not have.")
    if last - refused > trade.terms.max_uses:
        raise Inconsistent(
            "grant_used_up", "The lane has more served calls than the grant allows in all."
        )
    sentences = [
        *trade.sentences,
        (
            f"Lane {trade.lane} is shown from position 1 to {last}, none missing between: "
            f"{last - refused} served, {refused} refused."
        ),
        (
            f"{len(trade.voids)} of them were voided; {state.units} units "
            f"for {state.amount} fen were delivered in all."
        ),
        "Every receipt is in the provider's anchored log and continues the one before it.",
        *_viewed(claims, trade, range(1, last + 1)),
        _acknowledged_positions(trade, last),
    ]
    return sentences + _lane_claims(claims, trade, state)


def _acknowledged_positions(trade: _TradeProof, last: int) -> str:
    if trade.vouchers:
        return f"The buyer acknowledged every position up to {last}."
    return f"The buyer acknowledged every position up to {last - 1}, the last one not."


# --- Shared by both profiles ----------------------------------------------------------------------


class _TradeProof:
    """The checked agreement of a bundle, and its statements by position."""

    def __init__(self, claims: VerifiedClaims, subject: Mapping[str, Any], *more: str) -> None:
        self.agreement_id, self.lane = _subject(subject, *more)
        self.signed_agreements = claims.statements(Agreement)
        self.agreement = _agreement(self.signed_agreements, self.agreement_id)
        if self.lane >= self.agreement.lanes:
            raise Inconsistent("wrong_lane", "The agreement has no such lane.")
        self.terms = claims.struct(GrantTerms)
        _by_protocol(lambda: require_grant(self.agreement, self.terms))
        self.grant = GrantRecord.decode(
            claims.storage_value("GrantRegistry", "grants", self.agreement.grant_id).value
        )
        if not self.grant.approved_at:
            raise Inconsistent("grant_not_approved", "The chain shows no approval of the grant.")
        proved = [
            claims.storage_value(CONTRACT, "agreements", self.agreement_id, offset=position)
            for position in range(3)
        ]
        self.state = AgreementRecord.decode(*(record.value for record in proved))
        if not self.state.opened_at or self.state.opened != self.agreement.cap:
            raise Inconsistent(
                "agreement_not_open",
                "The chain does not show the agreement as opened with its cap.",
            )
        provider = next(
            signed
            for signed in self.signed_agreements
            if signed.signer == self.agreement.provider_key
        )
        logged = _logged(claims, provider, "agreement")
        self.signed_receipts = self._receipts(claims)
        self.receipts = {seq: signed.statement for seq, signed in self.signed_receipts.items()}
        self.requests = self._requests(claims)
        self.voids = self._of_lane(claims, ReceiptVoid, self.agreement.provider_key)
        self.vouchers = self._of_lane(claims, Voucher, self.agreement.buyer_key)
        self.sentences = [
            f"{self.agreement.provider} and {self.agreement.buyer} both signed the agreement for "
            f"{self.agreement.purpose} "
            f"at {self.agreement.price} fen a unit; it opened in "
            f"{claims.block(self.state.opened_at)}.",
            logged,
            *_final(claims, self),
        ]

    def _receipts(self, claims: VerifiedClaims) -> dict[int, VerifiedStatement[UsageReceipt]]:
        signed = [
            verified
            for verified in claims.statements(UsageReceipt)
            if self._mine(verified, self.agreement.provider_key)
        ]
        found = {verified.statement.seq: verified for verified in signed}
        if len(found) != len(signed):
            raise Inconsistent("position_twice", "Two receipts name one position.")
        return found

    def _requests(self, claims: VerifiedClaims) -> dict[int, UsageRequest]:
        made = self._of_lane(claims, UsageRequest, self.agreement.buyer_key)
        found = {item.seq: item for item in made}
        if len(found) != len(made):
            raise Inconsistent("position_twice", "Two requests name one position.")
        return found

    def _of_lane(self, claims: VerifiedClaims, kind: type[Any], key: str) -> list[Any]:
        return [signed.statement for signed in claims.statements(kind) if self._mine(signed, key)]

    def _mine(self, signed: VerifiedStatement[Any], key: str) -> bool:
        """True, or an error: the bundle may not contain statements of another trade."""
        statement = signed.statement
        if (statement.agreement_id, statement.lane) != (self.agreement_id, self.lane):
            raise Inconsistent("of_another_trade", "A statement is of another agreement or lane.")
        if signed.signer != key:
            raise Inconsistent(
                "wrong_signer", "A statement is not signed by the key the agreement pins."
            )
        return True


def _subject(subject: Mapping[str, Any], *more: str) -> tuple[bytes, int]:
    try:
        if set(subject) != {"agreementId", "lane", *more}:
            raise ValueError("fields")
        for name in more:
            schema.count(subject[name])
        return schema.hash32(subject["agreementId"]), schema.count(subject["lane"])
    except ValueError as error:
        raise Inconsistent(
            "subject_malformed",
            "The bundle does not say which agreement, lane and position it is about.",
        ) from error


def _agreement(signed: Sequence[VerifiedStatement[Agreement]], agreement_id: bytes) -> Agreement:
    """The one agreement, signed by both of its pinned keys, which are the parties'
    statement keys.
    """
    if len(signed) != 2 or any(
        verified.statement.struct_hash() != agreement_id for verified in signed
    ):
        raise Inconsistent(
            "agreement_differs",
            "The bundle does not hold the agreement twice, once signed by each side.",
        )
    agreement = signed[0].statement
    signers = {verified.signer: verified for verified in signed}
    for member, key in (
        (agreement.provider, agreement.provider_key),
        (agreement.buyer, agreement.buyer_key),
    ):
        found = signers.get(key)
        if found is None or found.member != member or found.purpose != KeyPurpose.STATEMENT:
            raise Inconsistent(
                "wrong_signer", f"The agreement is not signed by {member}'s statement key."
            )
    return agreement


def _require_acknowledgement(claims: VerifiedClaims, trade: _TradeProof, seq: int) -> None:
    """Besides the call itself, the bundle contains only its acknowledgement: the next request,
    with its receipt if that is needed to date it, or the closing voucher.
    """
    if trade.voids:
        raise Inconsistent("call_voided", "The bundle holds a void: a voided call is owed nothing.")
    if {*trade.requests, *trade.receipts} - {seq, seq + 1} or any(
        voucher.seq != seq for voucher in trade.vouchers
    ):
        raise Inconsistent(
            "element_unused",
            "The bundle carries statements of other positions than its call's and the next one's.",
        )
    following = trade.receipts.get(seq + 1)
    if following is not None:
        if following.request != _only(trade.requests, seq + 1, "next request").struct_hash():
            raise Inconsistent(
                "receipt_of_other", "The receipt of the next position answers another request."
            )
        claims.log_inclusion(trade.signed_receipts[seq + 1])


def _acknowledged(trade: _TradeProof, receipt: UsageReceipt) -> bool:
    """Whether the bundle holds the buyer's next signature. It must name this receipt with its
    totals: neither another receipt for the position nor a voided one.
    """
    acknowledgements = [
        (request.previous_receipt, request.acknowledged_units, request.acknowledged_amount)
        for seq, request in trade.requests.items()
        if seq > receipt.seq
    ]
    acknowledgements += [
        (voucher.receipt, voucher.acknowledged_units, voucher.acknowledged_amount)
        for voucher in trade.vouchers
    ]
    for named, *totals in acknowledgements:
        if named != receipt.struct_hash():
            raise Inconsistent(
                "acknowledgement_differs", "The buyer acknowledged another receipt of the position."
            )
        if totals != [receipt.total_units, receipt.total_amount]:
            raise Inconsistent(
                "acknowledgement_differs",
                "The buyer acknowledged other totals than the receipt's, as after a void.",
            )
    return bool(acknowledgements)


def _claimed(claims: VerifiedClaims, trade: _TradeProof, receipt: UsageReceipt) -> list[str]:
    """The chain's lane stands at the call or beyond it."""
    record = LaneRecord.decode(
        claims.storage_value(CONTRACT, "lanes", trade.agreement_id, trade.lane).value
    )
    if trade.agreement.price == 0:
        if record.amount:
            raise Inconsistent("claim_differs", "The chain shows a claim on a free agreement.")
        return ["The agreement is free: there is nothing to claim."]
    if (
        record.seq < receipt.seq
        or record.units < receipt.total_units
        or record.amount < receipt.total_amount
    ):
        raise Inconsistent(
            "claim_differs", "The chain's lane does not reach the call: it was not claimed."
        )
    return [
        (
            f"The chain's lane stands at {record.amount} fen up to position {record.seq}, which "
            "takes the buyer's signature: the call was claimed."
        )
    ]


def _paid(claims: VerifiedClaims, trade: _TradeProof, receipt: UsageReceipt) -> list[str]:
    """What each share got is the split of what was claimed; nothing is paid beyond it."""
    state, due = (
        trade.state,
        split(trade.state.acknowledged, {s.member: s.basis_points for s in trade.agreement.shares}),
    )
    if trade.agreement.price == 0:
        return []
    if state.acknowledged < receipt.total_amount or state.acknowledged > state.opened:
        raise Inconsistent(
            "payout_differs",
            "The agreement's record shows less than the call, or more than its cap.",
        )
    sentences = []
    for member, amount in due.items():
        paid = claims.storage_value(CONTRACT, "paidTo", trade.agreement_id, member)
        if paid.value != amount:
            raise Inconsistent(
                "payout_differs", f"The chain does not show {member}'s part of the split."
            )
        sentences.append(f"{member} was paid {amount} fen.")
    if state.paid != sum(due.values()):
        raise Inconsistent(
            "payout_differs", "The parts of the split do not add up to what was paid."
        )
    return [*sentences, _closing(claims, state)]


def _lane_claims(claims: VerifiedClaims, trade: _TradeProof, state: LaneState) -> list[str]:
    for voucher in trade.vouchers:
        acknowledged = (
            voucher.seq,
            voucher.acknowledged_units,
            voucher.acknowledged_amount,
            voucher.receipt,
        )
        if acknowledged != (state.seq, state.units, state.amount, state.receipt):
            raise Inconsistent("voucher_differs", "The closing voucher is not of the lane's state.")
    record = LaneRecord.decode(
        claims.storage_value(CONTRACT, "lanes", trade.agreement_id, trade.lane).value
    )
    if record.amount > state.amount or record.units > state.units:
        raise Inconsistent("claim_differs", "The chain paid for more than was delivered.")
    claims.limits.append(_later_positions(trade, state, record))
    left_out = (
        [
            (
                "The chain has been paid up to position "
                f"{record.seq}: positions {state.seq + 1} to "
                f"{record.seq} are not in this bundle, and cost nothing."
            )
        ]
        if record.seq > state.seq
        else []
    )
    return [
        (
            f"The chain's lane stands at {record.amount} of "
            f"{state.amount} fen, never more than delivered."
        ),
        *left_out,
        _closing(claims, trade.state),
    ]


def _final(claims: VerifiedClaims, trade: _TradeProof) -> list[str]:
    """The final totals, if the bundle holds them: signed by both sides, logged by the provider, and
    what the chain closed by.
    """
    signed = claims.statements(FinalSettlement)
    if not signed:
        return []
    agreement = trade.agreement
    settlement = signed[0].statement
    keys = {agreement.provider_key, agreement.buyer_key}
    if (
        len(signed) != 2
        or any(one.statement != settlement for one in signed)
        or {one.signer for one in signed} != keys
    ):
        raise Inconsistent(
            "final_settlement_differs",
            "The bundle does not hold the final totals twice, once signed by each side.",
        )
    if settlement.agreement_id != trade.agreement_id:
        raise Inconsistent("of_another_trade", "The final totals are of another agreement.")
    recorded = claims.storage_value(CONTRACT, "finalSettlements", trade.agreement_id).value
    if recorded != int.from_bytes(settlement.struct_hash(), "big") or not trade.state.closed_at:
        raise Inconsistent(
            "final_settlement_differs",
            "The chain did not close the agreement by these final totals.",
        )
    provider = next(one for one in signed if one.signer == agreement.provider_key)
    return [
        f"Both sides signed final totals of {settlement.units} units and {settlement.amount} fen; "
        "by them the chain paid, refunded and "
        f"closed in {claims.block(trade.state.closed_at)}, without a window.",
        _logged(claims, provider, "final settlement"),
    ]


def _later_positions(trade: _TradeProof, state: LaneState, record: LaneRecord) -> str:
    """The limit of every lane bundle: it cannot prove that the lane has no later positions."""
    last = max(state.seq, record.seq)
    why = (
        "the chain keeps no count of free calls"
        if trade.agreement.price == 0
        else "the chain knows a position only once it is claimed"
    )
    return (
        f"Nothing shows whether the lane has positions after {last}: "
        f"{why}. The other party may hold later receipts."
    )


def _closing(claims: VerifiedClaims, state: AgreementRecord) -> str:
    if state.refunded + state.paid > state.opened or (state.closed_at and state.locked):
        raise Inconsistent("payout_differs", "The agreement's amounts do not add up.")
    if state.closed_at:
        block = claims.block(state.closed_at)
        return (
            f"Of {state.opened} fen opened, {state.paid} were paid "
            f"and {state.refunded} refunded when it closed in {block}."
        )
    return (
        f"Of {state.opened} fen opened, {state.paid} were paid "
        f"so far and {state.locked} are locked."
    )


def _require_timely(claims: VerifiedClaims, trade: _TradeProof, seq: int) -> None:
    """The receipt is logged, on a view not younger than its anchor. What was served was served in
    the periods of grant, agreement and request, on a view in which the grant was live and the
    agreement open without notice.
    """
    receipt, anchored_at = (
        trade.receipts[seq],
        claims.log_inclusion(trade.signed_receipts[seq]).anchored_at,
    )
    claims.require_block(receipt.view_height, receipt.view_block)
    if receipt.view_height > anchored_at:
        raise Inconsistent(
            "view_ahead",
            "The receipt names a view of the chain that is younger than its own anchor.",
        )
    if receipt.outcome != UsageOutcome.SERVED:
        return
    if not trade.grant.live_at(receipt.view_height):
        raise Inconsistent(
            "served_without_grant", "The call was served on a view in which the grant was not live."
        )
    _require_open(trade, receipt)
    if (
        0 < trade.grant.revoked_at <= anchored_at
        and anchored_at - receipt.view_height > MAX_VIEW_LAG
    ):
        raise Inconsistent(
            "served_before_revocation_not_shown",
            f"The receipt of position {seq} names a view of block "
            f"{receipt.view_height}, but the log "
            f"shows it only by block {anchored_at}, "
            f"after the grant was revoked in block {trade.grant.revoked_at}: both parties "
            "together could have dated it back.",
        )


def _require_open(trade: _TradeProof, receipt: UsageReceipt) -> None:
    agreement, state, terms = trade.agreement, trade.state, trade.terms
    ended = min(filter(None, (state.notice_at, state.closed_at)), default=0)
    if receipt.view_height < state.opened_at or 0 < ended <= receipt.view_height:
        raise Inconsistent(
            "served_while_closed",
            "The call was served on a view in which the agreement was not open, or was in notice.",
        )
    starts, ends = (
        max(agreement.starts_at, terms.not_before),
        min(agreement.ends_at, terms.not_after),
    )
    if not starts <= receipt.issued_at <= min(ends, trade.requests[receipt.seq].expiry):
        raise Inconsistent(
            "served_outside_period",
            "The call was served at a time that agreement, grant or request do not cover.",
        )
    if receipt.total_amount > agreement.cap or 0 < agreement.max_units < receipt.total_units:
        raise Inconsistent("cap_reached", "The lane's totals are beyond the agreement's cap.")


def _viewed(claims: VerifiedClaims, trade: _TradeProof, positions: Sequence[int]) -> list[str]:
    """The time range of the served calls, as far as it is proved, and which of them were logged
    only after the grant's revocation.
    """
    served = [
        trade.receipts[seq]
        for seq in positions
        if trade.receipts[seq].outcome == UsageOutcome.SERVED
    ]
    if not served:
        return []
    first, last = (
        min(receipt.view_height for receipt in served),
        max(receipt.view_height for receipt in served),
    )
    anchored = {
        receipt.seq: claims.log_inclusion(trade.signed_receipts[receipt.seq]).anchored_at
        for receipt in served
    }
    views = (
        f"a view of {claims.block(first)}"
        if first == last
        else f"views of {claims.block(first)} to {claims.block(last)}"
    )
    sentences = [
        (
            f"What was served was served on {views}, by the provider's receipts; the log shows "
            f"them by {claims.block(max(anchored.values()))}."
        )
    ]
    revoked_at = trade.grant.revoked_at
    if not revoked_at:
        return sentences
    late = [receipt.seq for receipt in served if anchored[receipt.seq] >= revoked_at]
    sentences.append(f"The grant was revoked in {claims.block(revoked_at)}, after these views.")
    if late:
        claims.limits.append(
            f"The log shows the receipts of {_positions(late)} only after the grant's revocation: "
            "only the two parties claim that those calls were served before."
        )
    return sentences


def _positions(seqs: Sequence[int]) -> str:
    if len(seqs) == 1:
        return f"position {seqs[0]}"
    return f"{len(seqs)} positions, {seqs[0]} to {seqs[-1]},"


def _logged(claims: VerifiedClaims, signed: VerifiedStatement[Any], what: str) -> str:
    found = claims.log_inclusion(signed)
    if found.leaf["kind"] != type(signed.statement).__name__:
        raise Inconsistent("log_kind_differs", f"The log calls the {what} something else.")
    return (
        f"The {what} is entry {found.index} of {found.member}'s log, anchored in "
        f"{claims.block(found.anchored_at)}."
    )


def _disclosed(claims: VerifiedClaims, request: UsageRequest, receipt: UsageReceipt) -> list[str]:
    sentences = []
    if claims.is_disclosed(request.request_commitment, REQUEST_DOMAIN):
        claims.disclosed(request.request_commitment, REQUEST_DOMAIN)
        sentences.append("What was asked is shown and is what the request committed to.")
    if claims.is_disclosed(receipt.response_commitment, RESPONSE_DOMAIN):
        claims.disclosed(receipt.response_commitment, RESPONSE_DOMAIN)
        sentences.append("What was answered is shown and is what the receipt committed to.")
    if len(sentences) < 2:
        claims.limits.append(CHAIN_CLOSED)
    return sentences


def _only(found: Mapping[int, Any], seq: int, what: str) -> Any:
    if seq not in found:
        raise Inconsistent(
            "profile_incomplete", f"The bundle lacks the {what} of the position it names."
        )
    return found[seq]


def _by_protocol(rule: Any) -> None:
    """Run a rule of the protocol; its error makes the bundle inconsistent."""
    try:
        rule()
    except VerificationError:
        raise
    except QiaolianError as error:
        raise Inconsistent(error.code, error.sentence) from error
