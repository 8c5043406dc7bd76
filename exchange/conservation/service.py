"""Checks the chain's money at a node that watches the whole network: every account, the totals and
the open agreements, proved under one block.

What the contract promises is tested; this is for the day on which the chain does not run that
contract, or runs it wrongly. A difference is logged, counted and shown until a later check no
longer finds it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from chain.context import Context
from chain.core.errors import Conflict, Unavailable
from chain.ethereum.proved_records import (
    TOTALS_RECORDS,
    ProvedRecords,
    StorageKey,
    account_records,
    agreement_records,
    trade_dispute_records,
)
from exchange.conservation import rules
from exchange.conservation.model import (
    AgreementMoney,
    Books,
    ConservationReport,
    Discrepancy,
)
from exchange.disputes import service as disputes
from exchange.disputes.model import Dispute
from exchange.supervision import service as supervision
from exchange.supervision.model import AgreementFacts
from registry.members import service as members

log = logging.getLogger("qiaolian.conservation")

MAX_AGREEMENTS = 500
"""Open agreements of one check. Of more, each check takes the next ones, and the lines over all of
them are left out.
"""


class ConservationMonitor:
    """The checks of one node. One thread at a time calls ``round``; the report is thread-safe."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._report = ConservationReport(0, 0, 0, 0, 0)
        self._seen: Counter[Discrepancy] = Counter()
        self._after = b""
        context.services.put(self)

    @classmethod
    def of(cls, context: Context) -> ConservationMonitor:
        """The node's own; ``not_network_watcher`` at a node that does not watch the network."""
        supervision.require_watcher(context)
        found = context.services.find(cls)
        if found is None:
            raise Unavailable(
                "money_unchecked",
                "This node does not check the chain's money.",
                hint="Set workers.projector = true in its configuration.",
            )
        return found

    @property
    def report(self) -> ConservationReport:
        """As of the last round."""
        return self._report

    def require(self) -> None:
        """Everything adds up: ``money_differs``."""
        found = self._report.discrepancies
        if found:
            first = found[0]
            raise Conflict(
                "money_differs",
                f"{len(found)} sums of the chain's money do not hold. The first is of "
                f"{first.line} {first.subject}: {first.stated} fen, and should be {first.counted}.",
                hint="Stop deposits and withdrawals, and compare with the clearing book.",
            )

    def round(self) -> None:
        """Check once under the view's head; a block is checked once.

        Raises:
            Unavailable: ``chain_view_stale``; the next round tries again.
        """
        everyone = members.codes(self._context)
        facts = supervision.open_agreements_after(self._context, self._after, limit=MAX_AGREEMENTS)
        total = supervision.open_agreements(self._context)
        contests = disputes.live(self._context)
        proved = self._context.view.proved(_records(everyone, facts, contests), watch=False)
        if proved.height == self._report.height:
            return
        complete = not self._after and len(facts) == total
        self._after = facts[-1].agreement_id if len(facts) == MAX_AGREEMENTS else b""
        found = rules.discrepancies(_books(proved, everyone, facts, contests, complete=complete))
        sure, self._seen = rules.confirmed(found, self._seen)
        self.publish(
            ConservationReport(
                height=proved.height,
                checked_at=self._context.now(),
                members=len(everyone),
                agreements=len(facts),
                open_agreements=total,
                discrepancies=sure,
            )
        )

    def publish(self, report: ConservationReport) -> None:
        """Replace the report; a difference that the one before did not have is logged."""
        new = set(report.discrepancies) - set(self._report.discrepancies)
        self._report = report
        for one in report.discrepancies:
            if one in new:
                log.error(
                    "the chain's money does not add up: %s %s",
                    one.line,
                    one.subject,
                    extra={"code": "money_differs", "stated": one.stated, "counted": one.counted},
                )


def _records(
    everyone: Sequence[str], facts: Sequence[AgreementFacts], contests: Sequence[Dispute]
) -> list[StorageKey]:
    return [
        *TOTALS_RECORDS,
        *(record for member in everyone for record in account_records(member)),
        *(record for one in facts for record in agreement_records(one.agreement_id)),
        *(record for one in contests for record in trade_dispute_records(one.receipt_id)),
    ]


def _books(
    proved: ProvedRecords,
    everyone: Sequence[str],
    facts: Sequence[AgreementFacts],
    contests: Sequence[Dispute],
    *,
    complete: bool,
) -> Books:
    return Books(
        totals=proved.totals(),
        accounts={member: proved.account(member) for member in everyone},
        agreements={
            one.agreement_id: AgreementMoney(
                one.provider, one.buyer, proved.agreement(one.agreement_id)
            )
            for one in facts
        },
        stakes=_stakes(proved, contests),
        complete=complete,
    )


def _stakes(proved: ProvedRecords, contests: Sequence[Dispute]) -> Counter[str]:
    """A contest bonds the buyer's stake until the dispute ends."""
    stakes: Counter[str] = Counter()
    for one in contests:
        record = proved.trade_dispute(one.receipt_id)
        if record.contested_at and not record.ended_at:
            stakes[one.agreement.buyer] += one.agreement.stake
    return stakes
