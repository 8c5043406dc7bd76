"""The states that a proposal and an agreement go through (``NEXT``), and how a proposal ends that
never opens (``end_of``). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from chain.core.errors import BadInput, Conflict
from exchange.agreements.model import PENDING, AgreementSide, AgreementStage, ProposalEnd

NEXT: Mapping[AgreementStage, frozenset[AgreementStage]] = {
    AgreementStage.PROPOSED: frozenset(
        {
            AgreementStage.SIGNED,
            AgreementStage.OPEN,
            AgreementStage.FAILED,
            AgreementStage.EXPIRED,
            AgreementStage.WITHDRAWN,
        }
    ),
    AgreementStage.SIGNED: frozenset(
        {
            AgreementStage.OPEN,
            AgreementStage.FAILED,
            AgreementStage.EXPIRED,
            AgreementStage.WITHDRAWN,
        }
    ),
    # What both signed can be opened by anyone until openBefore, whatever one side has recorded; the
    # chain decides.
    AgreementStage.FAILED: frozenset({AgreementStage.OPEN}),
    AgreementStage.WITHDRAWN: frozenset({AgreementStage.OPEN}),
    # The buyer may report later why its proposal ended.
    AgreementStage.EXPIRED: frozenset(
        {AgreementStage.OPEN, AgreementStage.FAILED, AgreementStage.WITHDRAWN}
    ),
    AgreementStage.OPEN: frozenset({AgreementStage.NOTICE, AgreementStage.CLOSED}),
    AgreementStage.NOTICE: frozenset({AgreementStage.CLOSED}),
    AgreementStage.CLOSED: frozenset(),
}
"""Which state may follow which. ``open``, ``notice`` and ``closed`` follow from the chain alone."""


def may_follow(state: AgreementStage, following: AgreementStage) -> bool:
    """Whether a state may follow another."""
    return following in NEXT[state]


def require_pending(state: AgreementStage, reason: str | None) -> None:
    """Only a proposal that has not ended is asked for, sent or withdrawn: ``proposal_ended``,
    ``agreement_open``.
    """
    if state in PENDING:
        return
    if state in (AgreementStage.OPEN, AgreementStage.NOTICE, AgreementStage.CLOSED):
        raise Conflict("agreement_open", "The agreement has been opened.", state=state.value)
    raise Conflict(
        "proposal_ended",
        f"The proposal has ended: it is {state.value} ({reason}).",
        hint="Order again under a new idempotency key.",
        state=state.value,
        reason=reason,
    )


def end_of(
    state: AgreementStage,
    side: AgreementSide,
    *,
    open_before: int,
    opened_at: int,
    height: int,
    chain_time: int,
    refusal: tuple[str, int] | None = None,
) -> ProposalEnd | None:
    """How a pending proposal has ended, by one proved view of the chain; None while it may still
    open, and once it has.

    A block later than this view has no earlier time, so past ``open_before`` no block can open what
    is not open.

    Args:
        opened_at: the proved height of the opening; 0 while there is none.
        height: block of the view.
        chain_time: timestamp of that block, in seconds.
        refusal: code and height of the chain's refusal of this node's own opening; a view below
            that height says nothing of it.
    """
    if state not in PENDING or opened_at:
        return None
    if side is AgreementSide.BUYER and refusal is not None and refusal[1] <= height:
        return ProposalEnd(
            AgreementStage.FAILED, refusal[0], f"The chain refused the opening: {refusal[0]}."
        )
    if chain_time > open_before:
        return ProposalEnd(
            AgreementStage.EXPIRED,
            "not_opened_in_time",
            "The chain's time passed openBefore and the agreement was "
            "not open; it can never be opened now.",
        )
    return None


def withdrawn() -> ProposalEnd:
    """The buyer took its proposal back."""
    return ProposalEnd(
        AgreementStage.WITHDRAWN,
        "withdrawn_by_buyer",
        "The buyer withdrew the proposal; its node does not open it. If "
        "both have signed, anyone can until openBefore.",
    )


def refused_by_provider(code: str, sentence: str) -> ProposalEnd:
    """The provider's final refusal."""
    return ProposalEnd(AgreementStage.FAILED, code, f"The provider refused to sign: {sentence}")


def reported_end(state: AgreementStage, reason: str) -> ProposalEnd:
    """What a buyer's node reports of its proposal, in this node's words.

    Raises:
        BadInput: ``end_malformed`` for anything but a failed or withdrawn proposal, or a reason
            that is no code.
    """
    if state is AgreementStage.WITHDRAWN:
        return withdrawn()
    if state is not AgreementStage.FAILED or not _is_code(reason):
        raise BadInput("end_malformed", "What the buyer reports is no end of a proposal.")
    return ProposalEnd(
        AgreementStage.FAILED, reason, f"The buyer reports that the opening was refused: {reason}."
    )


def _is_code(text: str) -> bool:
    return (
        0 < len(text) <= 64
        and text.isascii()
        and text.replace("_", "").isalnum()
        and text == text.lower()
    )
