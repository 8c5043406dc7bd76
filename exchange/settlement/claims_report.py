"""What is owed to this organisation and not claimed yet, as of the last round of claims."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from chain.core.errors import Unavailable
from exchange.settlement.rules import ClaimStatus, at_risk
from registry.pages import Page, PageRequest, page_by_id

UNCHECKED_SECONDS = 30
"""Agreements that could not be checked for this long raise an alarm."""
OUTBOX_SECONDS = 15
"""An outbox worker that has not reported for this long is not running."""


@dataclass(frozen=True)
class ClaimsReport:
    """The claims of this node as of its last round."""

    statuses: tuple[ClaimStatus, ...] = ()
    """Of the agreements that are not closed."""
    lost: int = 0
    """Fen delivered and not claimed under agreements that closed, as checked since the start."""
    checked_at: int | None = None
    """Unix seconds of the last completed round."""
    outbox_seen_at: float | None = None
    failure: str = ""
    """Code with which the last round failed."""

    @property
    def unclaimed(self) -> int:
        """Fen acknowledged and not on the chain."""
        return sum(status.unclaimed for status in self.statuses)

    @property
    def seconds_left(self) -> int | None:
        """Until the first window with unclaimed money ends, as of the last check; else None."""
        return min(
            (status.window.left for status in self.statuses if status.window and status.unclaimed),
            default=None,
        )

    def at_risk(self, now: int) -> list[ClaimStatus]:
        """The agreements whose money may be lost unless someone acts."""
        return [status for status in self.statuses if at_risk(status, now)]

    def outbox_runs(self, now: int) -> bool:
        """Whether the outbox's worker has reported lately."""
        return self.outbox_seen_at is not None and now - self.outbox_seen_at <= OUTBOX_SECONDS

    def require(self, now: int) -> None:
        """Nothing owed to this organisation is at risk.

        Raises:
            Unavailable: ``claims_at_risk``, ``claims_unchecked``, ``claims_outbox_stopped``; the
                sentence gives the fen and until when.
        """
        risky = self.at_risk(now)
        if risky:
            raise claims_at_risk(risky, self.cause(now))
        if (
            self.unclaimed
            and self.checked_at is not None
            and now - self.checked_at > UNCHECKED_SECONDS
        ):
            raise Unavailable(
                "claims_unchecked",
                f"{self.unclaimed} fen are not claimed, and their agreements "
                f"were last looked at {now - self.checked_at} s ago.",
                hint=f"The last look failed with {self.failure or 'no answer'}: "
                "check the chain nodes and the database.",
            )
        if self.statuses and not self.outbox_runs(now):
            raise Unavailable(
                "claims_outbox_stopped",
                f"The outbox does not run; {self.unclaimed} fen wait "
                f"to be claimed under {count_of(len(self.statuses))}.",
                hint="Start it: qiaolian node outbox --config node.toml",
            )

    def cause(self, now: int) -> str:
        """What keeps due claims from the chain, and what to do."""
        if not self.outbox_runs(now):
            return "The outbox does not run: start qiaolian node outbox."
        if self.failure:
            return f"The last look failed with {self.failure}: check the chain nodes."
        return (
            "Check that the chain makes blocks and takes this node's transactions; "
            "qiaolian money claims shows each agreement."
        )


def owing(report: ClaimsReport, page: PageRequest) -> Page[ClaimStatus]:
    """The agreements with money that is owed to this organisation and not claimed yet;
    ``cursor_malformed``.
    """
    statuses = [status for status in report.statuses if status.unclaimed]
    return page_by_id(statuses, lambda status: status.agreement_id, page)


def claims_at_risk(risky: Sequence[ClaimStatus], hint: str) -> Unavailable:
    """The error that money may be lost: how much, until when, and what the chain refused."""
    fen = sum(status.unclaimed for status in risky)
    sentence = f"{fen} fen under {count_of(len(risky))} are acknowledged and not claimed"
    windows = [status.window for status in risky if status.window is not None]
    if windows:
        first = min(windows, key=lambda window: window.left)
        until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(first.ends_at))
        sentence += (
            f"; they can be lost after {until}, in {first.blocks} blocks and {first.seconds} s"
        )
    refusals = sorted({status.refusal for status in risky if status.refusal})
    if refusals:
        sentence += f"; the chain refused the claim ({', '.join(refusals)})"
    return Unavailable("claims_at_risk", sentence + ".", hint=hint)


def count_of(count: int) -> str:
    """A number of agreements in words."""
    return "1 agreement" if count == 1 else f"{count} agreements"
