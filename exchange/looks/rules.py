"""Rules of the check that an account of looks is complete: values in, findings out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from exchange.looks.model import Finding, Gap, LaneAccount
from exchange.metering.look_model import Position


def lane_findings(lane: LaneAccount) -> list[Finding]:
    """What a lane's own counts show: each receipt continues the one before it, so the stored calls
    must be 1 to the last, and the chain is never claimed beyond it.
    """
    found = [
        (Gap.POSITION_MISSING, lane.last - lane.calls),
        (Gap.BEHIND_CHAIN, lane.claimed - lane.last),
        (Gap.SUBJECT_NOT_RECORDED, lane.unnamed),
    ]
    return [
        Finding(gap, lane.buyer, lane.agreement_id, lane.lane, count)
        for gap, count in found
        if count > 0
    ]


def buyer_findings(
    buyer: str, ours: Collection[Position], theirs: Collection[Position] | None
) -> list[Finding]:
    """What a buyer's own account shows beside this gateway's; None is a buyer that was silent."""
    if theirs is None:
        return [Finding(Gap.BUYER_SILENT, buyer, None, None, 0)]
    found = [
        (Gap.BUYER_NAMES_MORE, len(set(theirs) - set(ours))),
        (Gap.BUYER_NAMES_LESS, len(set(ours) - set(theirs))),
    ]
    return [Finding(gap, buyer, None, None, count) for gap, count in found if count]


def log_findings(member: str, *, missing: int) -> list[Finding]:
    """Receipts that the provider's own log does not hold."""
    return [Finding(Gap.NOT_IN_LOG, member, None, None, missing)] if missing else []


def account_findings(
    lanes: Sequence[LaneAccount],
    ours: Mapping[str, Collection[Position]],
    theirs: Mapping[str, Collection[Position] | None],
    *,
    provider: str,
    missing_in_log: int,
) -> list[Finding]:
    """Every reason why an account is not complete.

    Args:
        ours: by buyer, this gateway's delivered calls for the subject.
        theirs: by buyer, the same as the buyer's node lists them; None where it was silent.
        provider: this gateway's member.
    """
    return [
        *(finding for lane in lanes for finding in lane_findings(lane)),
        *log_findings(provider, missing=missing_in_log),
        *(
            finding
            for buyer, listed in theirs.items()
            for finding in buyer_findings(buyer, ours.get(buyer, ()), listed)
        ),
    ]
