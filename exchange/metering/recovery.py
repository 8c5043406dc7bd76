"""Recovers lost calls of all agreements from their other sides.

Each side stores what the other signed, so either can present a lane call by call (``history``): the
request under the buyer's key and the receipt under the provider's, each naming the one before it.

The other side could present too little, so that a position is signed twice. This node's evidence
log, which is recovered first, names all it signed: every entry of a request, receipt or void must
match a stored call. While an entry is unmatched, or a party does not answer or fails a check,
nothing is signed under the agreements it may belong to (``agreement_unrecovered``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, QiaolianError, Unavailable
from exchange.agreements import recovery as agreement_recovery
from exchange.agreements.model import AgreementSide
from exchange.closing import totals
from exchange.closing.recovery import recover_final
from exchange.metering import recovery_store
from exchange.metering.digests import settlement_digest
from exchange.metering.history import LaneRecovery
from exchange.metering.recovery_store import UnrecoveredAgreementRow
from registry import fanout
from registry.evidence.log import entries_since
from registry.grants import service as grants

AGREEMENT_SECONDS = 300.0
"""Time limit for one agreement's recovery; a later recovery continues from what was stored."""
_SIGNED_BY: dict[AgreementSide, tuple[str, ...]] = {
    AgreementSide.BUYER: ("UsageRequest",),
    AgreementSide.PROVIDER: ("UsageReceipt", "ReceiptVoid", "FinalSettlement"),
}


def require_recovered(session: Session, agreement_id: bytes) -> None:
    """Nothing is signed under an agreement that may lack calls: ``agreement_unrecovered``."""
    row = recovery_store.find(session, agreement_id)
    if row is not None:
        raise Unavailable(
            "agreement_unrecovered",
            "Positions of this agreement may have been lost; nothing is signed under it.",
            hint="Stop the node and run `qiaolian node recover` again, or "
            "give notice and open a new agreement.",
            cause=row.code,
        )


def held(context: Context, agreement_ids: Sequence[bytes]) -> dict[bytes, str]:
    """Which of some agreements are held, with the error code of their last recovery."""
    with context.database.read() as session:
        found = recovery_store.some(session, agreement_ids)
        return {row.agreement_id: row.code for row in found}


def hold(session: Session, context: Context, log_size: int) -> None:
    """Hold every agreement of this member until its calls are recovered, in the transaction that
    restores the log's entries.
    """
    for agreement_id in agreement_recovery.of_member(session, context.member):
        if recovery_store.find(session, agreement_id) is None:
            row = UnrecoveredAgreementRow(
                agreement_id=agreement_id, log_size=log_size, code="not_asked"
            )
            recovery_store.add(session, row)


@dataclass(frozen=True)
class AgreementRecovery:
    """The result of recovering one agreement."""

    agreement_id: bytes
    positions: int
    """Number of recovered calls."""
    refusal: QiaolianError | None = None
    """Why it remains held."""


async def recover_all(context: Context) -> list[AgreementRecovery]:
    """Recover the lost calls of each of this member's agreements from its other side, and release
    the complete ones.
    """
    own = await context.database.aread(
        lambda session: agreement_recovery.of_member(session, context.member)
    )
    reported = await fanout.for_each(
        own, lambda agreement_id: _recover(context, agreement_id), seconds=AGREEMENT_SECONDS
    )
    outcomes = [
        AgreementRecovery(agreement_id, 0, outcome)
        if isinstance(outcome, QiaolianError)
        else outcome
        for agreement_id, outcome in reported.items()
    ]
    return await context.database.awrite(lambda session: _released(session, context, outcomes))


async def _recover(context: Context, agreement_id: bytes) -> AgreementRecovery:
    taken = 0
    try:
        signed = await agreement_recovery.recover(context, agreement_id)
        await grants.recover_scope(context, signed.agreement.grant_id)
        for lane in range(signed.agreement.lanes):
            taken += await LaneRecovery(context, signed, lane).recover()
        await recover_final(context, signed)
    except QiaolianError as error:
        return AgreementRecovery(agreement_id, taken, error)
    return AgreementRecovery(agreement_id, taken)


def _released(
    session: Session, context: Context, outcomes: Sequence[AgreementRecovery]
) -> list[AgreementRecovery]:
    """Release recovered agreements; a side with an unmatched entry holds all of its."""
    sides = {
        outcome.agreement_id: agreement_recovery.side_of(
            session, context.member, outcome.agreement_id
        )
        for outcome in outcomes
    }
    held = {row.agreement_id: row for row in recovery_store.everything(session)}
    unmatched = (
        {side: _unmatched(session, context, side, held.values()) for side in _SIGNED_BY}
        if held
        else {}
    )
    reported = []
    for outcome in outcomes:
        row, count = held.get(outcome.agreement_id), unmatched.get(sides[outcome.agreement_id], 0)
        if row is not None and outcome.refusal is None and count:
            outcome = AgreementRecovery(outcome.agreement_id, outcome.positions, _missing(count))
        if row is not None and outcome.refusal is None:
            recovery_store.remove(session, row)
        elif row is not None and outcome.refusal is not None:
            row.code = outcome.refusal.code[:63]
        reported.append(outcome)
    return reported


def _missing(count: int) -> Conflict:
    return Conflict(
        "positions_missing",
        f"This node's log names {count} requests or receipts of its own that no party has shown; "
        "they may belong to any of its agreements.",
        hint="Recover again when every party answers; else give notice and open a new agreement.",
        count=count,
    )


def _unmatched(
    session: Session,
    context: Context,
    side: AgreementSide,
    held: Iterable[UnrecoveredAgreementRow],
) -> int:
    """Number of statements in the log since the backup that match no stored call."""
    start = min(row.log_size for row in held)
    recorded = {
        digest for kind, digest in entries_since(session, start) if kind in _SIGNED_BY[side]
    }
    if not recorded:
        return 0
    if side == AgreementSide.BUYER:
        known = recovery_store.request_hashes(session)
    else:
        known = recovery_store.receipt_hashes(session) | set(totals.settlement_hashes(session))
    digest = settlement_digest(context)
    return len(recorded - {digest(struct_hash) for struct_hash in known})
