"""What the bundles of a metered trade rest on: the agreement, its statements by position, and when
calls were served. Pure: imports no web3, no database, no web framework.

Each party makes these bundles from its own store. So agreement, receipts and final totals are shown
in the provider's anchored log or in the buyer's, which has the receipts that it took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chain.bundle.claims import LogInclusion, VerifiedClaims, VerifiedStatement
from chain.core import schema
from chain.core.errors import Inconsistent, QiaolianError, VerificationError
from chain.ethereum.records import AgreementRecord, GrantRecord
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
from exchange.metering.model import RECEIVED_RECEIPT

CONTRACT = "TradeSettlement"

MAX_VIEW_LAG = 900
"""Blocks from a receipt's view to the anchor that shows it, when the grant was revoked in between.
A gateway's view is at most 15 s old and its log is anchored each minute; the rest is for a node
that was down. Blocks come each second."""


class TradeProof:
    """The checked agreement of a bundle, and its statements by position."""

    def __init__(self, claims: VerifiedClaims, subject: Mapping[str, Any], *more: str) -> None:
        self.agreement_id, self.lane = _subject(subject, *more)
        self.signed_agreements = claims.statements(Agreement)
        self.agreement = _agreement(self.signed_agreements, self.agreement_id)
        if self.lane >= self.agreement.lanes:
            raise Inconsistent("wrong_lane", "The agreement has no such lane.")
        self.terms = claims.struct(GrantTerms)
        by_protocol(lambda: require_grant(self.agreement, self.terms))
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
        agreement_entry = logged(claims, self, self.signed_agreements, "agreement")
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
            agreement_entry,
            *_final(claims, self),
        ]

    def inclusion(self, claims: VerifiedClaims, seq: int) -> LogInclusion:
        """The entry of a position's receipt in a party's anchored log; ``not_logged``."""
        return _inclusion(claims, self, [self.signed_receipts[seq]])

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


def _final(claims: VerifiedClaims, trade: TradeProof) -> list[str]:
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
    return [
        f"Both sides signed final totals of {settlement.units} units and {settlement.amount} fen; "
        "by them the chain paid, refunded and "
        f"closed in {claims.block(trade.state.closed_at)}, without a window.",
        logged(claims, trade, signed, "final settlement"),
    ]


def require_timely(claims: VerifiedClaims, trade: TradeProof, seq: int) -> None:
    """The receipt is logged, on a view not younger than its anchor. What was served was served in
    the periods of grant, agreement and request, on a view in which the grant was live and the
    agreement open without notice.
    """
    receipt, anchored_at = trade.receipts[seq], trade.inclusion(claims, seq).anchored_at
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


def _require_open(trade: TradeProof, receipt: UsageReceipt) -> None:
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


def viewed(claims: VerifiedClaims, trade: TradeProof, positions: Sequence[int]) -> list[str]:
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
    anchored = {receipt.seq: trade.inclusion(claims, receipt.seq).anchored_at for receipt in served}
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


def logged(
    claims: VerifiedClaims, trade: TradeProof, signed: Sequence[VerifiedStatement[Any]], what: str
) -> str:
    """Where a party's log shows a statement, which both may have signed."""
    found = _inclusion(claims, trade, signed)
    return (
        f"The {what} is entry {found.index} of {found.member}'s log, anchored in "
        f"{claims.block(found.anchored_at)}."
    )


def _inclusion(
    claims: VerifiedClaims, trade: TradeProof, signed: Sequence[VerifiedStatement[Any]]
) -> LogInclusion:
    """A statement's entry in the provider's log, or else in the buyer's: ``not_logged``,
    ``log_kind_differs``.
    """
    statement, buyer = signed[0], trade.agreement.buyer
    found = claims.log_inclusion_of(statement, (trade.agreement.provider, buyer))
    kind = type(statement.statement).__name__
    if kind == UsageReceipt.__name__ and found.member == buyer:
        kind = RECEIVED_RECEIPT
    if found.leaf["kind"] != kind:
        raise Inconsistent("log_kind_differs", f"The log calls the {kind} something else.")
    return found


def only(found: Mapping[int, Any], seq: int, what: str) -> Any:
    if seq not in found:
        raise Inconsistent(
            "profile_incomplete", f"The bundle lacks the {what} of the position it names."
        )
    return found[seq]


def by_protocol(rule: Any) -> None:
    """Run a rule of the protocol; its error makes the bundle inconsistent."""
    try:
        rule()
    except VerificationError:
        raise
    except QiaolianError as error:
        raise Inconsistent(error.code, error.sentence) from error
