"""Comparing what gateway, buyer and chain say of each lane. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chain.words import LaneWord
from exchange.reconciliation.model import Compared, Count, Finding

NOTHING = Count(0, 0, 0)


def compare(
    agreement_id: bytes,
    gateway: Mapping[int, Count] | None,
    buyer: Mapping[int, Count] | None,
    chain: Mapping[int, LaneWord],
    contradicted: Sequence[Finding] = (),
) -> Compared:
    """Compare lane by lane; None means that side could not be asked.

    ``contradicted`` are the counts that their own proofs refute: such a lane is not compared, the finding stands for it.
    """
    found = Compared(agreement_id, findings=list(contradicted))
    refuted = {each.lane for each in contradicted}
    for side, counts in (("provider", gateway), ("buyer", buyer)):
        if counts is None:
            found.findings.append(Finding("unreachable", f"The {side}'s node did not tell its counts."))
    lanes = sorted({*(gateway or {}), *(buyer or {}), *chain})
    for lane in (each for each in lanes if each not in refuted):
        claimed = chain.get(lane, LaneWord(0, 0, 0))
        theirs = None if gateway is None else gateway.get(lane, NOTHING)
        ours = None if buyer is None else buyer.get(lane, NOTHING)
        found.lanes[lane] = {
            "gateway": None if theirs is None else _told(theirs),
            "buyer": None if ours is None else _told(ours),
            "chain": {"seq": claimed.seq, "units": claimed.units, "amount": str(claimed.amount)},
        }
        found.findings.extend(_lane(lane, theirs, ours, claimed))
    return found


def _lane(lane: int, gateway: Count | None, buyer: Count | None, chain: LaneWord) -> list[Finding]:
    found = []
    for side, count in (("gateway", gateway), ("buyer", buyer)):
        if count is not None and count.places != count.seq:
            found.append(Finding("gap", f"The {side} has {count.places} of {count.seq} places on record.", lane, 1, count.seq))
    if gateway is not None and buyer is not None:
        found.extend(_both(lane, gateway, buyer))
    if gateway is not None:
        found.extend(_claimed(lane, gateway, chain))
    return found


def _both(lane: int, gateway: Count, buyer: Count) -> list[Finding]:
    """Both sides of a lane. The gateway may be one place ahead: the answer it gave is on its way or was lost."""
    if gateway.seq == buyer.seq:
        same = (gateway.units, gateway.amount, gateway.receipt) == (buyer.units, buyer.amount, buyer.receipt)
        if same:
            return []
        return [Finding("conflict", "Gateway and buyer have other totals for the same place.", lane, 1, gateway.seq)]
    if gateway.seq == buyer.seq + 1 and buyer.outstanding:
        return [Finding("gap", "The last answer has not reached the buyer.", lane, gateway.seq, gateway.seq)]
    low, high = sorted((gateway.seq, buyer.seq))
    behind = "buyer" if gateway.seq > buyer.seq else "gateway"
    return [Finding("gap", f"The {behind} lacks places {low + 1} to {high}.", lane, low + 1, high)]


def _claimed(lane: int, gateway: Count, chain: LaneWord) -> list[Finding]:
    """The chain never pays more than was delivered and acknowledged; what it has not paid yet is only told."""
    if chain.seq > gateway.seq or chain.amount > gateway.acknowledged_amount:
        return [Finding("conflict", "The chain paid for more than the gateway's records acknowledge.", lane)]
    if chain.amount < gateway.acknowledged_amount:
        open_ = gateway.acknowledged_amount - chain.amount
        return [Finding("unclaimed", f"{open_} fen are acknowledged and not claimed.", lane, chain.seq + 1, gateway.seq)]
    return []


def _told(count: Count) -> dict[str, object]:
    return {
        "seq": count.seq,
        "units": count.units,
        "amount": str(count.amount),
        "acknowledgedSeq": count.acknowledged_seq,
        "acknowledgedAmount": str(count.acknowledged_amount),
        "served": count.served,
        "refused": count.refused,
        "voided": count.voided,
        "places": count.places,
        "outstanding": count.outstanding,
        "receipt": count.receipt,
    }
