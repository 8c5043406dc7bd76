"""Claims that a provider's node makes by itself: what is owed, when it is claimed, and what is at
risk until it is.

A round looks at the agreements for which something changed (a call, a voucher, a notice), at those
whose claim is under way, and at all others at a slow pace. Whether an agreement is open, in notice
or closed, and what each lane was paid, is proved under the node's own view of the chain; the events
taken so far only say where to look first. The proofs are asked for in bounded batches and are not
followed from block to block, so an open agreement at rest costs nothing.

Rules are in ``exchange.settlement.rules``; a claim's operation id names exactly what it claims, so
that a restart repeats nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import QiaolianError, Unavailable
from chain.ethereum.proved_records import (
    ProvedRecords,
    agreement_records,
    final_settlement_record,
    lane_record,
)
from chain.ethereum.records import AgreementRecord, LaneRecord
from chain.outbox import is_known, last_refusal, next_attempt, outcome, unfinished, worker_seen_at
from chain.statements.trade import Agreement
from exchange.agreements import service as agreements
from exchange.metering import service as metering
from exchange.metering.activity import Activity
from exchange.metering.model import SignedAcknowledgement
from exchange.settlement.claims_report import ClaimsReport, claims_at_risk, count_of
from exchange.settlement.model import ClaimCall
from exchange.settlement.rules import (
    ClaimPolicy,
    ClaimReason,
    ClaimStatus,
    LaneBalance,
    closing_window,
    decide_claim,
)
from exchange.settlement.service import claim_calls, queue_claims

log = logging.getLogger("qiaolian.claims")

MAX_AGREEMENTS_PER_ROUND = 50
LIST_SECONDS = 30
"""Between two listings of every agreement this node provides under."""
IDLE_SECONDS = 30
"""Between two checks of an agreement without changes."""
CHECK_SECONDS = 5
"""Between two checks of an open agreement with continuous calls."""
RETRY_SECONDS = 5
MAX_RETRY_SECONDS = 600
"""A claim that the chain refused is repeated after ``RETRY_SECONDS``, then after twice as long each
time, up to this.
"""


@dataclass
class _TrackedAgreement:
    """An agreement this node provides under, until it is proved closed."""

    agreement_id: bytes
    next_look: float = 0
    looked_at: float = 0
    noticed: bool = False
    """Whether notice was given; such agreements are checked first."""
    status: ClaimStatus = field(init=False)
    claimed: int = 0
    """Fen claimed on the chain at the last check."""
    sent: list[str] = field(default_factory=list)
    """The operations of the last claim."""
    counted: list[str] = field(default_factory=list)
    """Those of a claim whose refusal was counted."""
    refusals: int = 0
    retry_at: float = 0

    def __post_init__(self) -> None:
        self.status = ClaimStatus(self.agreement_id)


@dataclass(frozen=True)
class _ClaimSnapshot:
    """One agreement as found by a check."""

    agreement: Agreement
    items: dict[int, SignedAcknowledgement]
    height: int
    """The block that state and claims were proved under."""
    time: int
    """Its Unix seconds."""
    state: AgreementRecord
    settled: bool
    """Whether it was closed by final totals that both parties signed."""
    claimed: dict[int, LaneRecord]


class ClaimMonitor:
    """Claims for one node. One thread at a time calls ``round``; the rest is thread-safe."""

    def __init__(self, context: Context, policy: ClaimPolicy) -> None:
        self._context = context
        self._policy = policy
        self._tracked: dict[bytes, _TrackedAgreement] = {}
        self._closed: dict[bytes, int] = {}
        """Agreements proved closed, and the fen lost under them."""
        self._listed_at = float("-inf")
        self._alarmed: set[tuple[bytes, str]] = set()
        self._report = ClaimsReport()
        self.refusals = 0
        """Claims the chain refused since the start."""
        context.services.put(self)

    @classmethod
    def of(cls, context: Context) -> ClaimMonitor:
        """The node's own; ``claims_not_watched`` where the worker is switched off."""
        found = context.services.find(cls)
        if found is None:
            raise Unavailable(
                "claims_not_watched",
                "This node claims nothing by itself.",
                hint="Set workers.claims = true in its configuration.",
            )
        return found

    # --- What others ask --------------------------------------------------------------------------

    @property
    def report(self) -> ClaimsReport:
        """As of the last round."""
        return self._report

    def require(self) -> None:
        """Nothing owed to this organisation is at risk; raises what ``ClaimsReport.require``
        raises.
        """
        self._report.require(self._context.now())

    @property
    def has_work(self) -> bool:
        """Whether an agreement is to be looked at now."""
        now = self._context.now()
        return any(tracked.next_look <= now for tracked in list(self._tracked.values()))

    # --- A round ----------------------------------------------------------------------------------

    def round(self) -> None:
        """Check the agreements that may have changed and queue the claims that are due.

        Raises:
            QiaolianError: the cause of a failed round, e.g. ``chain_view_stale``; the next round
                tries again.
        """
        now = self._context.now()
        try:
            self._find(now)
            due = self._due(now)
            if due:
                self._look(due, now)
        except QiaolianError as error:
            self._publish(now, error.code)
            raise
        self._publish(now, "")

    def _find(self, now: float) -> None:
        """Which agreements there are, and which of them to look at now."""
        noticed = agreements.provided_in_notice(self._context)
        listed: list[bytes] = []
        if now - self._listed_at >= LIST_SECONDS:
            listed = agreements.provided(self._context)
            self._listed_at = now
        for agreement_id in listed:
            self._track(agreement_id)
        for agreement_id in Activity.of(self._context).take():
            tracked = self._track(agreement_id)
            if tracked is not None:
                soonest = 0 if tracked.noticed else tracked.looked_at + CHECK_SECONDS
                tracked.next_look = min(tracked.next_look, soonest)
        for agreement_id in noticed:
            tracked = self._track(agreement_id)
            if tracked is not None and not tracked.noticed:
                tracked.noticed, tracked.next_look = True, 0

    def _track(self, agreement_id: bytes) -> _TrackedAgreement | None:
        """The agreement among those looked at; None once it is proved closed."""
        if agreement_id in self._closed:
            return None
        return self._tracked.setdefault(agreement_id, _TrackedAgreement(agreement_id))

    def _due(self, now: float) -> list[_TrackedAgreement]:
        due = [tracked for tracked in self._tracked.values() if tracked.next_look <= now]
        due.sort(key=lambda tracked: (not tracked.noticed, tracked.next_look))
        return due[:MAX_AGREEMENTS_PER_ROUND]

    def _look(self, due: Sequence[_TrackedAgreement], now: int) -> None:
        with self._context.database.read() as session:
            pending = _pending(session)
        for tracked, seen in zip(due, self._seen(due), strict=True):
            latest = max(now, seen.time)
            tracked.looked_at = now
            if seen.state.closed_at:
                self._close(tracked, seen)
                continue
            self._judge(tracked, seen, latest)
            if tracked.status.reason is not None:
                self._claim(tracked, seen, now=now, waits=tracked.agreement_id in pending)
            tracked.next_look = _next_check(tracked, seen, now=now, latest=latest)

    def _seen(self, due: Sequence[_TrackedAgreement]) -> list[_ClaimSnapshot]:
        """Each agreement's acknowledgements, from the database, and its proved on-chain record."""
        ids = [tracked.agreement_id for tracked in due]
        terms = agreements.terms_of(self._context, ids)
        items = {
            name: {
                item.acknowledged.lane: item
                for item in metering.acknowledgements(self._context, name)
            }
            for name in ids
        }

        def lanes(records: ProvedRecords, name: bytes) -> list[int]:
            """The lanes to check, by the agreement's record."""
            return (
                list(items[name]) if _differs(items[name].values(), records.agreement(name)) else []
            )

        records = self._context.view.proved(
            (
                record
                for name in ids
                for record in (*agreement_records(name), final_settlement_record(name))
            ),
            following=lambda found: (
                lane_record(name, lane) for name in ids for lane in lanes(found, name)
            ),
            watch=False,
        )
        return [
            _ClaimSnapshot(
                terms[name],
                items[name],
                records.height,
                records.timestamp,
                records.agreement(name),
                any(records.final_settlement(name)),
                {lane: records.lane(name, lane) for lane in lanes(records, name)},
            )
            for name in ids
        ]

    # --- One agreement ----------------------------------------------------------------------------

    def _judge(self, tracked: _TrackedAgreement, seen: _ClaimSnapshot, latest: int) -> None:
        """What is owed and whether it is due."""
        balances = self._balances(tracked.agreement_id, seen)
        decision = decide_claim(
            balances, seen.state, ends_at=seen.agreement.ends_at, policy=self._policy, now=latest
        )
        before = tracked.status
        if seen.state.acknowledged > tracked.claimed or decision.reason is None:
            tracked.refusals, tracked.retry_at = 0, 0
            before = replace(before, refusal="")
        tracked.claimed = seen.state.acknowledged
        tracked.noticed = tracked.noticed or bool(seen.state.notice_at)
        tracked.status = ClaimStatus(
            agreement_id=tracked.agreement_id,
            unclaimed=decision.unclaimed,
            reason=decision.reason,
            due_since=0 if decision.reason is None else before.due_since or self._context.now(),
            window=closing_window(seen.agreement, seen.state, height=seen.height, time=seen.time),
            refusal=before.refusal,
        )

    def _balances(self, agreement_id: bytes, seen: _ClaimSnapshot) -> list[LaneBalance]:
        balances = []
        for lane, claimed in seen.claimed.items():
            balance = LaneBalance(seen.items[lane].acknowledged, claimed)
            if balance.unclaimed:
                oldest = metering.served_at(self._context, agreement_id, lane, claimed.seq + 1)
                balance = replace(balance, oldest_at=oldest or 0)
            balances.append(balance)
        return balances

    def _claim(
        self,
        tracked: _TrackedAgreement,
        seen: _ClaimSnapshot,
        *,
        now: int,
        waits: bool,
    ) -> None:
        """Queue a claim that is due, unless it is pending; a refused one after a pause."""
        owing = [
            seen.items[lane]
            for lane, claimed in seen.claimed.items()
            if LaneBalance(seen.items[lane].acknowledged, claimed).unclaimed
        ]
        calls = claim_calls(seen.agreement, owing)
        with self._context.database.read() as session:
            refused = _refused(session, tracked, calls, seen.height)
            fresh = [
                call
                for call in calls
                if not is_known(session, next_attempt(session, call.operation))
            ]
        if refused is not None:
            self._refuse(tracked, *refused, now=now)
        if not fresh or now < tracked.retry_at:
            return
        # Before a notice one claim at a time is enough; after it each voucher that arrives is
        # claimed at once.
        if waits and tracked.status.reason not in (ClaimReason.CLOSING, ClaimReason.ENDED):
            return
        tracked.sent = queue_claims(self._context, fresh)
        log.info("claiming %d fen (%s)", tracked.status.unclaimed, tracked.status.reason)

    def _refuse(
        self, tracked: _TrackedAgreement, code: str, operations: list[str], *, now: int
    ) -> None:
        """Note a refusal once, and when to try again."""
        tracked.status = replace(tracked.status, refusal=code)
        if operations == tracked.counted:
            return
        tracked.counted = operations
        tracked.retry_at = now + min(MAX_RETRY_SECONDS, RETRY_SECONDS * 2**tracked.refusals)
        tracked.refusals += 1
        self.refusals += 1

    def _close(self, tracked: _TrackedAgreement, seen: _ClaimSnapshot) -> None:
        """Account for a closed agreement: what was delivered and not claimed is lost."""
        delivered = metering.delivered(self._context, tracked.agreement_id)
        lost = max(0, delivered - seen.state.acknowledged)
        if seen.settled:
            lost = 0
        self._closed[tracked.agreement_id] = lost
        del self._tracked[tracked.agreement_id]
        if lost:
            log.warning(
                "an agreement closed and %d fen delivered under it were not claimed",
                lost,
                extra={"code": "claims_lost"},
            )

    # --- Reporting --------------------------------------------------------------------------------

    def _publish(self, now: int, failure: str) -> None:
        with self._context.database.read() as session:
            seen_at = worker_seen_at(session, self._context.transaction_address)
        self._report = ClaimsReport(
            statuses=tuple(tracked.status for tracked in self._tracked.values()),
            lost=sum(self._closed.values()),
            checked_at=self._report.checked_at if failure else now,
            outbox_seen_at=seen_at,
            failure=failure,
        )
        self._log_changes(now)

    def _log_changes(self, now: int) -> None:
        """Each alarm once, when it begins and when it ends."""
        alarms = {
            (status.agreement_id, status.refusal): status for status in self._report.at_risk(now)
        }
        for status in (alarms[alarm] for alarm in alarms.keys() - self._alarmed):
            error = claims_at_risk([status], self._report.cause(now))
            log.warning("%s", error.sentence, extra={"code": error.code})
        ended = {agreement_id for agreement_id, _ in self._alarmed} - {
            agreement_id for agreement_id, _ in alarms
        }
        if ended:
            log.info("the claims of %s are no longer at risk", count_of(len(ended)))
        self._alarmed = set(alarms)


def _pending(session: Session) -> set[bytes]:
    """The agreements that have a claim on its way."""
    return {bytes.fromhex(operation.split("/")[1]) for operation in unfinished(session, "claim/")}


def _refused(
    session: Session, tracked: _TrackedAgreement, calls: Sequence[ClaimCall], height: int
) -> tuple[str, list[str]] | None:
    """The code with which the chain refused the last claim, and its operations. A refusal in a
    block after the proof is ignored for now.
    """
    sent = [
        (operation, outcome(session, operation))
        for operation in tracked.sent
        if is_known(session, operation)
    ]
    found = [(operation, ended) for operation, ended in sent if ended.code]
    if not found:
        last = [(call.operation, last_refusal(session, call.operation)) for call in calls]
        found = [(operation, ended) for operation, ended in last if ended is not None]
    covered = [(operation, ended) for operation, ended in found if (ended.height or 0) <= height]
    if not covered:
        return None
    return covered[0][1].code or "reverted", [operation for operation, _ in covered]


def _differs(items: Iterable[SignedAcknowledgement], state: AgreementRecord) -> bool:
    """Whether the lanes must be checked: the chain's sum differs from the acknowledged."""
    return sum(item.acknowledged.amount for item in items) != state.acknowledged


def _next_check(
    tracked: _TrackedAgreement, seen: _ClaimSnapshot, *, now: int, latest: int
) -> float:
    """Immediately while a claim is pending or a notice is not proved yet, else at a slow pace and
    at the agreement's end.
    """
    if tracked.status.reason is not None or (tracked.noticed and not seen.state.notice_at):
        return now
    ends_in = seen.agreement.ends_at + 1 - latest
    return now + (min(IDLE_SECONDS, ends_in) if ends_in > 0 else IDLE_SECONDS)
