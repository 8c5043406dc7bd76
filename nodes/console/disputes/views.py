"""Disputes as the pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chain.context import Context
from chain.statements.disputes import ContestReason, DisputeOutcome
from exchange.disputes.model import Dispute, DisputeRole, DisputeStep, DisputeView
from nodes.console.i18n import N_
from nodes.console.names import asset_name, member_name

REASONS: Mapping[ContestReason, str] = {
    ContestReason.NO_ANSWER: N_("No answer came"),
    ContestReason.ANSWER_DIFFERS: N_("The answer is not what the receipt commits to"),
    ContestReason.RECORD_DIFFERS: N_("The answer departs from the published record"),
    ContestReason.NOT_REQUESTED: N_("The call was never requested"),
    ContestReason.PRICE_DIFFERS: N_("Price or units are not as agreed"),
    ContestReason.RIGHT_REVOKED: N_("The right had been revoked"),
}
STEPS: Mapping[DisputeStep, str] = {
    DisputeStep.CLAIMED: N_("the buyer may contest"),
    DisputeStep.CONTESTED: N_("the provider must serve the answer again"),
    DisputeStep.ANSWERED: N_("the arbiter decides"),
    DisputeStep.ENDED: N_("the dispute has ended"),
}
_ROLES: Mapping[DisputeRole, str] = {
    DisputeRole.PROVIDER: N_("data provider"),
    DisputeRole.BUYER: N_("data buyer"),
    DisputeRole.ARBITER: N_("arbiter"),
    DisputeRole.OBSERVER: N_("not involved"),
}
_OUTCOMES: Mapping[DisputeOutcome, str] = {
    DisputeOutcome.OPEN: "",
    DisputeOutcome.PAID_UNCONTESTED: N_("Paid: the buyer did not contest"),
    DisputeOutcome.ACKNOWLEDGED: N_("Paid: the buyer acknowledged the call"),
    DisputeOutcome.UNPAID_UNANSWERED: N_("Not paid: the provider did not serve the answer again"),
    DisputeOutcome.UNPAID_UNRULED: N_("Not paid: the arbiter did not decide in time"),
    DisputeOutcome.RULED: N_("Decided by the arbiter"),
    DisputeOutcome.UNPAID_OVER_CAP: N_("Not paid: the agreement's cap left no room"),
}


@dataclass(frozen=True, slots=True)
class DisputePage:
    """A dispute; ``role``, ``step``, ``reason`` and ``outcome`` are marked labels."""

    id: str
    agreement_id: str
    asset: str
    provider: str
    buyer: str
    arbiter: str
    lane: int
    seq: int
    amount: int
    stake: int
    paid: int
    role: str
    step: str
    reason: str
    outcome: str
    claimed_at: int
    ended: bool
    may_contest: bool
    may_answer: bool
    may_read: bool
    may_open: bool
    may_rule: bool


@dataclass(frozen=True, slots=True)
class TimePage:
    """Until when the present step may be taken."""

    time: int
    block: int
    over: bool


def dispute_page(context: Context, shown: Dispute) -> DisputePage:
    """A dispute as the pages show it."""
    agreement, receipt, role, step = shown.agreement, shown.receipt, shown.role, shown.step
    buyer, arbiter = role is DisputeRole.BUYER, role is DisputeRole.ARBITER
    return DisputePage(
        id="0x" + shown.receipt_id.hex(),
        agreement_id="0x" + receipt.agreement_id.hex(),
        asset=asset_name(context, agreement.asset_id),
        provider=member_name(context, agreement.provider),
        buyer=member_name(context, agreement.buyer),
        arbiter=member_name(context, agreement.arbiter),
        lane=receipt.lane,
        seq=receipt.seq,
        amount=receipt.amount,
        stake=agreement.stake,
        paid=shown.paid,
        role=_ROLES[role],
        step=STEPS[step],
        reason="" if shown.reason is None else REASONS[shown.reason],
        outcome=_OUTCOMES[shown.outcome],
        claimed_at=shown.claimed_at,
        ended=step is DisputeStep.ENDED,
        may_contest=buyer and step is DisputeStep.CLAIMED,
        may_answer=role is DisputeRole.PROVIDER and step is DisputeStep.CONTESTED,
        may_read=step is DisputeStep.ANSWERED and (buyer or arbiter),
        may_open=buyer and step is DisputeStep.ANSWERED and not shown.opened,
        may_rule=arbiter and step is DisputeStep.ANSWERED,
    )


def time_page(shown: DisputeView) -> TimePage | None:
    """The deadline of the present step; None once the dispute has ended."""
    deadline = shown.deadline
    return None if deadline is None else TimePage(deadline.time, deadline.block, deadline.over)
