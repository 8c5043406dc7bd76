"""Reads the counts of each lane by gateway and buyer, and compares them with the chain. Pure.

A side proves its count by the other side's signatures under this agreement and lane:

1. the last request, by the buyer's key, has the last position, or the next one while unanswered;
2. the receipt or void of the last position, by the provider's key, matches the count;
3. a request acknowledges exactly the totals before its own position; a closing voucher, if there is
   one, those of the position it names.

A count that is malformed or not proved by its signatures is a finding of its lane; the other lanes
are still compared.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from chain.core import schema
from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, QiaolianError
from chain.ethereum.eip712 import ZERO32, Domain
from chain.ethereum.proved_records import (
    ProvedRecords,
    StorageKey,
    agreement_records,
    final_settlement_record,
    grant_record,
    lane_record,
    paid_to_record,
)
from chain.ethereum.records import AgreementRecord, GrantRecord, LaneRecord
from chain.statements.trade import Agreement, ReceiptVoid, UsageReceipt, UsageRequest, Voucher
from exchange.reconciliation.model import (
    AgreementMoney,
    Comparison,
    LaneComparison,
    LaneCount,
    ReconciliationFinding,
    SharePayment,
)
from exchange.settlement.rules import split

EMPTY_COUNT = LaneCount(0, 0, 0)
ANSWER_SECONDS = 3 * 86_400
"""How long a member has to answer for a finding."""
_SIDES = {"gateway": "provider", "buyer": "buyer"}
_LANE = re.compile(r"0|[1-9][0-9]{0,2}")
_SIGNATURE = re.compile(r"0x[0-9a-f]{130}")
_MAX_INTEGER = 2**128
Proof = TypeVar("Proof", UsageRequest, UsageReceipt, ReceiptVoid, Voucher)


# --- What the chain has ---------------------------------------------------------------------------


def compared_records(agreement: Agreement, lanes: Iterable[int]) -> tuple[StorageKey, ...]:
    """The chain's records of an agreement, of the lanes known to be used, and of what it paid."""
    agreement_id = agreement.struct_hash()
    return (
        *agreement_records(agreement_id),
        grant_record(agreement.grant_id),
        final_settlement_record(agreement_id),
        *(paid_to_record(agreement_id, share.member) for share in agreement.shares),
        *(lane_record(agreement_id, lane) for lane in lanes),
    )


def omitted_lanes(
    agreement: Agreement, known: Collection[int], records: ProvedRecords
) -> list[StorageKey]:
    """The records of every lane, if those of the known lanes do not add up to the agreement's
    total: both sides may omit a lane, and events may be behind.
    """
    agreement_id = agreement.struct_hash()
    paid = sum(records.lane(agreement_id, lane).amount for lane in known)
    if paid == records.agreement(agreement_id).acknowledged:
        return []
    return [lane_record(agreement_id, lane) for lane in range(agreement.lanes)]


def claimed_lanes(
    agreement: Agreement, shown: Collection[int], records: ProvedRecords
) -> dict[int, LaneRecord]:
    """The chain's records of the lanes a side shows and of every other lane it has paid for."""
    agreement_id = agreement.struct_hash()
    proved = (
        (lane, records.lane(agreement_id, lane))
        for lane in range(agreement.lanes)
        if lane_record(agreement_id, lane) in records.values
    )
    return {lane: record for lane, record in proved if lane in shown or record.seq}


# --- Counts of one side ---------------------------------------------------------------------------


def read(
    side: str, agreement: Agreement, reported: Mapping[str, Any], domain: Domain
) -> tuple[dict[int, LaneCount], list[ReconciliationFinding]]:
    """A side's proved counts by lane, and the findings of the others."""
    counts: dict[int, LaneCount] = {}
    found: list[ReconciliationFinding] = []
    foreign = [
        name for name in reported if _LANE.fullmatch(name) is None or int(name) >= agreement.lanes
    ]
    if foreign:
        found.append(
            ReconciliationFinding(
                "conflict", f"The {side} counts lanes that the agreement does not have.", side=side
            )
        )
    for lane in sorted(int(name) for name in set(reported).difference(foreign)):
        try:
            counts[lane] = count_of(agreement, lane, reported[str(lane)], domain)
        except QiaolianError:
            found.append(
                ReconciliationFinding(
                    "conflict",
                    f"The {side}'s count of the lane is not borne out by the signatures it shows.",
                    lane,
                    side=side,
                )
            )
    return counts, found


def count_of(agreement: Agreement, lane: int, reported: Any, domain: Domain) -> LaneCount:
    """One lane's count, proved by the signatures presented with it.

    Raises:
        BadInput: ``counts_malformed``, ``statement_malformed``, ``signature_malformed``; Conflict:
            ``answer_wrong_signer``, ``proof_of_other``, ``counts_differ``.
    """
    if not isinstance(reported, dict):
        raise _malformed()
    shown = _ReportedLane(agreement, agreement.struct_hash(), lane, reported, domain)
    seq, units, amount, outstanding = (
        shown.number(name) for name in ("seq", "units", "amount", "outstanding")
    )
    request = shown.proof(UsageRequest, "request", agreement.buyer_key)
    if outstanding > 1 or request.seq != seq + outstanding:
        raise _differs("The last request is of another position than the last one counted.")
    receipt = _last(shown, request, seq=seq, totals=(units, amount), outstanding=bool(outstanding))
    acknowledged = (request.seq - 1, request.acknowledged_amount)
    if "voucher" in reported:
        voucher = shown.proof(Voucher, "voucher", agreement.buyer_key)
        acknowledged_totals = (
            voucher.acknowledged_units,
            voucher.acknowledged_amount,
            voucher.receipt,
        )
        if voucher.seq == seq and acknowledged_totals != (units, amount, receipt):
            raise _differs("The closing voucher acknowledges other totals.")
        acknowledged = max(acknowledged, (voucher.seq, voucher.acknowledged_amount))
    served, refused, voided = (
        shown.number(name, 0) for name in ("served", "refused", "void_count")
    )
    return LaneCount(
        seq=seq,
        units=units,
        amount=amount,
        acknowledged_seq=acknowledged[0],
        acknowledged_amount=acknowledged[1],
        served=served,
        refused=refused,
        voided=voided,
        positions=served + refused + voided,
        outstanding=outstanding,
        receipt="0x" + receipt.hex() if seq else "",
        receipt_height=_delivered_at(shown) if seq else 0,
    )


def _delivered_at(shown: _ReportedLane) -> int:
    """The block that the provider saw when it delivered the last position, by a receipt that was
    checked before; 0 without a delivery.
    """
    if "receipt" not in shown.reported:
        return 0
    receipt = UsageReceipt.from_json(shown.reported["receipt"]["receipt"])
    return receipt.view_height if receipt.units else 0


def _last(
    shown: _ReportedLane,
    request: UsageRequest,
    *,
    seq: int,
    totals: tuple[int, int],
    outstanding: bool,
) -> bytes:
    """The struct hash of the last position's receipt, checked against the totals. A void has no
    totals; the last request has them.
    """
    provider, receipt_hash, acknowledged = shown.agreement.provider_key, ZERO32, totals
    if seq and "receipt" in shown.reported:
        receipt = shown.proof(UsageReceipt, "receipt", provider)
        receipt_hash = receipt.struct_hash()
        if (receipt.seq, receipt.total_units, receipt.total_amount) != (seq, *totals):
            raise _differs("The last receipt is of another position or of other totals.")
        if not outstanding:
            acknowledged = (totals[0] - receipt.units, totals[1] - receipt.amount)
            if receipt.request != request.struct_hash():
                raise _differs("The last receipt answers another request.")
    elif seq:
        void = shown.proof(ReceiptVoid, "void", provider)
        receipt_hash = void.receipt
        if void.seq != seq:
            raise _differs("The last void is of another position.")
    if (request.acknowledged_units, request.acknowledged_amount) != acknowledged:
        raise _differs("The last request acknowledges other totals.")
    if outstanding and request.previous_receipt != receipt_hash:
        raise _differs("The last request acknowledges another receipt.")
    return receipt_hash


@dataclass(frozen=True)
class _ReportedLane:
    """A lane's count as a side shows it."""

    agreement: Agreement
    agreement_id: bytes
    lane: int
    reported: Mapping[str, Any]
    domain: Domain

    def number(self, name: str, default: int | None = None) -> int:
        """A whole number of 0 or more."""
        value = self.reported.get(name, default)
        if type(value) is not int or not 0 <= value < _MAX_INTEGER:
            raise _malformed()
        return value

    def proof(self, kind: type[Proof], name: str, key: str) -> Proof:
        """A statement of this very lane under the key that the agreement pins."""
        shown = self.reported.get(name)
        signature = shown.get("signature") if isinstance(shown, dict) else None
        if (
            not isinstance(shown, dict)
            or not isinstance(signature, str)
            or _SIGNATURE.fullmatch(signature) is None
        ):
            raise _malformed()
        statement = kind.from_json(shown.get(name))
        if recover(statement.digest(self.domain), schema.signature(signature)) != key:
            raise Conflict(
                "answer_wrong_signer",
                "A count's proof is not signed by the key the agreement pins.",
            )
        if (statement.version, statement.agreement_id, statement.lane) != (
            1,
            self.agreement_id,
            self.lane,
        ):
            raise Conflict("proof_of_other", "A count's proof is of another agreement or lane.")
        return statement


def _malformed() -> BadInput:
    return BadInput("counts_malformed", "A lane's count lacks a part or has one of the wrong form.")


def _differs(sentence: str) -> Conflict:
    return Conflict("counts_differ", sentence)


# --- The three compared ---------------------------------------------------------------------------


def compare(
    agreement_id: bytes,
    gateway: Mapping[int, LaneCount] | None,
    buyer: Mapping[int, LaneCount] | None,
    chain: Mapping[int, LaneRecord],
    contradicted: Sequence[ReconciliationFinding] = (),
    *,
    closed: bool = False,
    agreed: bool = False,
) -> Comparison:
    """Compare lane by lane; None means that side could not be reached. Unclaimed money of a closed
    agreement is lost, unless both parties agreed on its final totals.

    ``contradicted`` are counts that their own proofs refute: such a lane has a finding already and
    is not compared.
    """
    found = Comparison(agreement_id, findings=list(contradicted))
    refuted = {item.lane for item in contradicted}
    for side, counts in (("provider", gateway), ("buyer", buyer)):
        if counts is None:
            found.findings.append(
                ReconciliationFinding(
                    "unreachable", f"The {side}'s node did not report its counts.", side=side
                )
            )
    lanes = sorted({*(gateway or {}), *(buyer or {}), *chain})
    for lane in (number for number in lanes if number not in refuted):
        claimed = chain.get(lane, LaneRecord(0, 0, 0))
        theirs = None if gateway is None else gateway.get(lane, EMPTY_COUNT)
        ours = None if buyer is None else buyer.get(lane, EMPTY_COUNT)
        found.lanes[lane] = LaneComparison(theirs, ours, claimed)
        found.findings.extend(_lane(lane, theirs, ours, claimed))
        if closed and not agreed:
            found.findings.extend(_lost(lane, theirs, ours, claimed))
    if closed:
        found.findings = [finding for finding in found.findings if finding.kind != "unclaimed"]
    return found


def rights_findings(
    agreement: Agreement, gateway: Mapping[int, LaneCount] | None, grant: GrantRecord
) -> list[ReconciliationFinding]:
    """Where the provider's own signatures show that it charged another price than agreed, or
    delivered after it had seen the grant's revocation.
    """
    found = []
    for lane, count in sorted((gateway or {}).items()):
        due = count.units * agreement.price
        if count.amount != due:
            sentence = f"{count.units} units cost {due} fen, and {count.amount} fen were charged."
            found.append(
                ReconciliationFinding("price", sentence, lane, 1, count.seq, side="provider")
            )
        if grant.revoked_at and count.receipt_height >= grant.revoked_at:
            sentence = (
                f"The grant was revoked in block {grant.revoked_at}; the provider delivered "
                f"position {count.seq} having seen block {count.receipt_height}."
            )
            found.append(
                ReconciliationFinding(
                    "revoked_use", sentence, lane, count.seq, count.seq, side="provider"
                )
            )
    return found


def _lost(
    lane: int, gateway: LaneCount | None, buyer: LaneCount | None, chain: LaneRecord
) -> list[ReconciliationFinding]:
    """Money delivered on a lane and not claimed when the agreement closed, by the gateway's count,
    else by the buyer's.
    """
    counts = [count for count in (gateway, buyer) if count is not None]
    if not counts or counts[0].amount <= chain.amount:
        return []
    earned, acknowledged = counts[0].amount, max(count.acknowledged_amount for count in counts)
    sentence = (
        f"{earned - chain.amount} fen are lost: {earned} fen were "
        f"delivered, {acknowledged} acknowledged, "
        f"and {chain.amount} claimed before the agreement closed."
    )
    return [ReconciliationFinding("lost", sentence, lane, chain.seq + 1, counts[0].seq)]


def money_of(
    agreement: Agreement,
    gateway: Mapping[int, LaneCount] | None,
    buyer: Mapping[int, LaneCount] | None,
    state: AgreementRecord,
    paid_to: Mapping[str, int],
    *,
    agreed: bool = False,
) -> AgreementMoney | None:
    """An agreement's money by the gateway's count, else by the buyer's; None without either.

    Args:
        state: the contract's totals of the agreement.
        paid_to: fen the contract has paid to each member of the split.
        agreed: whether it was closed by final totals that both parties signed.
    """
    reported = gateway if gateway is not None else buyer
    if reported is None:
        return None
    sides = [side for side in (gateway, buyer) if side is not None]
    lanes = {lane for side in sides for lane in side}
    due = split(
        state.acknowledged, {share.member: share.basis_points for share in agreement.shares}
    )
    return AgreementMoney(
        earned=sum(count.amount for count in reported.values()),
        acknowledged=sum(
            max(side.get(lane, EMPTY_COUNT).acknowledged_amount for side in sides) for lane in lanes
        ),
        claimed=state.acknowledged,
        paid=state.paid,
        closed=state.closed_at != 0,
        agreed=agreed,
        parts=tuple(
            SharePayment(
                share.member, share.basis_points, due[share.member], paid_to.get(share.member, 0)
            )
            for share in agreement.shares
        ),
    )


def _lane(
    lane: int, gateway: LaneCount | None, buyer: LaneCount | None, chain: LaneRecord
) -> list[ReconciliationFinding]:
    found = []
    for side, count in (("gateway", gateway), ("buyer", buyer)):
        if count is not None and count.positions != count.seq:
            found.append(
                ReconciliationFinding(
                    "gap",
                    f"The {side} has {count.positions} of {count.seq} positions on record.",
                    lane,
                    1,
                    count.seq,
                    side=_SIDES[side],
                )
            )
    if gateway is not None and buyer is not None:
        found.extend(_both(lane, gateway, buyer))
    if gateway is not None:
        found.extend(_claimed(lane, gateway, chain))
    elif buyer is not None and (chain.seq > buyer.seq or chain.amount > buyer.amount):
        found.append(
            ReconciliationFinding(
                "conflict", "The chain paid for more than the buyer's records have.", lane
            )
        )
    return found


def _both(lane: int, gateway: LaneCount, buyer: LaneCount) -> list[ReconciliationFinding]:
    """Compare both sides of a lane. The gateway may be one position ahead: its answer is in transit
    or was lost.
    """
    if gateway.seq == buyer.seq:
        same = (gateway.units, gateway.amount, gateway.receipt) == (
            buyer.units,
            buyer.amount,
            buyer.receipt,
        )
        if same:
            return []
        return [
            ReconciliationFinding(
                "conflict",
                "Gateway and buyer have other totals for the same position.",
                lane,
                1,
                gateway.seq,
            )
        ]
    if gateway.seq == buyer.seq + 1 and buyer.outstanding:
        return [
            ReconciliationFinding(
                "gap", "The last answer has not reached the buyer.", lane, gateway.seq, gateway.seq
            )
        ]
    low, high = sorted((gateway.seq, buyer.seq))
    behind = "buyer" if gateway.seq > buyer.seq else "gateway"
    return [
        ReconciliationFinding(
            "gap",
            f"The {behind} lacks positions {low + 1} to {high}.",
            lane,
            low + 1,
            high,
            side=_SIDES[behind],
        )
    ]


def _claimed(lane: int, gateway: LaneCount, chain: LaneRecord) -> list[ReconciliationFinding]:
    """The chain never pays more than was delivered and acknowledged; an unpaid rest is reported."""
    if chain.seq > gateway.seq or chain.amount > gateway.acknowledged_amount:
        return [
            ReconciliationFinding(
                "conflict", "The chain paid for more than the gateway's records acknowledge.", lane
            )
        ]
    if chain.amount < gateway.acknowledged_amount:
        open_ = gateway.acknowledged_amount - chain.amount
        return [
            ReconciliationFinding(
                "unclaimed",
                f"{open_} fen are acknowledged and not claimed.",
                lane,
                chain.seq + 1,
                gateway.seq,
            )
        ]
    return []
