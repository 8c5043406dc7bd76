"""Requests and answers of the endpoints for disputes; fen as text, ``…At`` are heights."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from chain.core import schema
from chain.core.errors import BadInput
from chain.statements.disputes import ContestReason, DisputeOutcome, LogPosition
from chain.statements.examples import example
from chain.statements.trade import UsageReceipt
from exchange.disputes.model import (
    AnswerCheck,
    Dispute,
    DisputeCall,
    DisputeView,
    Fine,
    FineRequest,
    RulingRequest,
)
from exchange.disputes.store import EquivocationRow as StoredEquivocation
from registry.access import NonNegativeInt
from registry.members.model import SharedProposal
from registry.openapi import SIGNATURE
from registry.pages import ListAnswer, Page
from registry.reasons import reason_code
from registry.schemas import Statement


def contest_reason(name: str) -> ContestReason:
    """A reason by its name; ``unknown_reason``."""
    if name.upper() not in ContestReason.__members__:
        raise BadInput(
            "unknown_reason",
            "A contest has one of the known reasons.",
            hint="One of: " + ", ".join(reason.name.lower() for reason in ContestReason) + ".",
        )
    return ContestReason[name.upper()]


class LaneBody(BaseModel):
    """Which lane's last receipt is claimed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"lane": 0}})
    lane: NonNegativeInt = 0


class FreezeBody(BaseModel):
    """By which decision an agreement is frozen."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "2026-17"}})
    reason: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,30}$")]


class ContestBody(BaseModel):
    """Why the buyer contests."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "no_answer"}}
    )
    reason: str = Field(
        description="`no_answer`, `answer_differs`, `record_differs`, `not_requested`, "
        "`price_differs` or `right_revoked`"
    )


class EvidenceBody(BaseModel):
    """An entry of a member's log."""

    model_config = ConfigDict(extra="forbid")
    member: str
    index: NonNegativeInt


class RulingBody(BaseModel):
    """The arbiter's decision; money in fen."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "amount": 0,
                "opinion": "The answer is not what the receipt commits to.",
                "evidence": [{"member": "11440700MB2C62170M", "index": 17}],
            }
        },
    )
    amount: NonNegativeInt = Field(description="What is paid of the call: all, 0 or a part")
    opinion: Annotated[str, Field(min_length=1, max_length=10_000)]
    evidence: list[EvidenceBody]

    def request(self) -> RulingRequest:
        """As it is signed."""
        evidence = [LogPosition(item.member, item.index) for item in self.evidence]
        return RulingRequest(self.amount, self.opinion, evidence)


_SIGNED_RECEIPT: JsonDict = {"receipt": example(UsageReceipt).to_json(), "signature": SIGNATURE}


class SignedReceiptBody(BaseModel):
    """A receipt and the provider's signature of it."""

    model_config = ConfigDict(extra="forbid")
    receipt: Statement = Field(description="`UsageReceipt`; see docs/statements.md")
    signature: str

    def signed(self) -> tuple[UsageReceipt, bytes]:
        """The receipt and its signature; ``statement_malformed``, ``field_malformed``."""
        try:
            signature = schema.signature(self.signature)
        except ValueError as error:
            raise BadInput(
                "field_malformed", "A signature is not 0x hexadecimal of 65 bytes."
            ) from error
        return UsageReceipt.from_json(self.receipt), signature


class EquivocationBody(BaseModel):
    """Two receipts that a provider signed for one place of a lane."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "agreementId": "0x" + "00" * 32,
                "first": _SIGNED_RECEIPT,
                "second": _SIGNED_RECEIPT,
            }
        },
    )
    agreementId: str
    first: SignedReceiptBody
    second: SignedReceiptBody


class FineBody(BaseModel):
    """A fine for two governors to approve; fen."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"amount": 5000, "to": "11440700MB2C62170M", "reason": "2026-17"}
        },
    )
    amount: NonNegativeInt = Field(description="From 1 fen to what the bond holds")
    to: str = Field(description="The active member that gets it; not the provider")
    reason: str = Field(description="The decision's number; it counts once for an agreement")
    shareWith: list[str] = Field(
        [], description="Members that are handed it; else every governor whose node this one knows"
    )

    def request(self) -> FineRequest:
        """What is decided: ``reason_missing``, ``reason_malformed``."""
        return FineRequest(self.amount, self.to, reason_code(self.reason))


class FineProposal(BaseModel):
    """The proposal that governors approve, and the members whose nodes it did not reach."""

    proposalId: str
    notReached: list[str]

    @classmethod
    def of(cls, shared: SharedProposal) -> Self:
        """As the API shows it."""
        return cls(
            proposalId="0x" + shared.proposal.proposal_id.hex(),
            notReached=list(shared.not_reached),
        )


class FineRow(BaseModel):
    """A fine that was taken out of a provider's bond; fen as text."""

    agreementId: str
    provider: str
    reason: str
    taken: str
    height: int

    @classmethod
    def of(cls, fine: Fine) -> Self:
        """As the API shows it."""
        return cls(
            agreementId="0x" + fine.agreement_id.hex(),
            provider=fine.provider,
            reason=fine.reason,
            taken=str(fine.taken),
            height=fine.height,
        )


class FineList(ListAnswer):
    """A page of fines."""

    fines: list[FineRow]

    @classmethod
    def of(cls, page: Page[Fine]) -> Self:
        """As the API shows it."""
        return cls(fines=list(map(FineRow.of, page.rows)), next=page.next)


class DisputeCallAnswer(BaseModel):
    """The dispute, and the contract call that was queued."""

    receiptId: str
    operation: str

    @classmethod
    def of(cls, call: DisputeCall) -> Self:
        """As the API shows it."""
        return cls(receiptId="0x" + call.receipt_id.hex(), operation=call.operation)


class FreezeAnswer(BaseModel):
    """The agreement, and the contract call that was queued."""

    agreementId: str
    operation: str

    @classmethod
    def of(cls, call: DisputeCall) -> Self:
        """As the API shows it."""
        return cls(agreementId="0x" + call.receipt_id.hex(), operation=call.operation)


class CallDisputeRow(BaseModel):
    """A dispute of a list."""

    receiptId: str
    agreementId: str
    lane: int
    seq: int
    amount: str
    provider: str
    buyer: str
    arbiter: str
    role: str = Field(description="This organisation: `provider`, `buyer`, `arbiter`, `observer`")
    step: str = Field(description="`claimed`, `contested`, `answered` or `ended`")
    reason: str | None
    outcome: str | None = Field(description="How it ended; null while it is open")
    paid: str
    stake: str
    claimedAt: int
    contestedAt: int | None
    answeredAt: int | None
    endedAt: int | None

    @classmethod
    def of(cls, dispute: Dispute) -> Self:
        """As the API shows it."""
        return cls(**_fields(dispute))


class CallDisputeList(ListAnswer):
    """A page of disputes."""

    disputes: list[CallDisputeRow]

    @classmethod
    def of(cls, page: Page[Dispute]) -> Self:
        """As the API shows it."""
        return cls(disputes=[CallDisputeRow.of(dispute) for dispute in page.rows], next=page.next)


class CallDisputeDetail(CallDisputeRow):
    """One dispute with its deadline."""

    receipt: Statement = Field(description="`UsageReceipt`; see docs/statements.md")
    deadlineBlock: int | None = Field(description="The step is open up to this block or time")
    deadlineTime: int | None = Field(description="Unix seconds")
    over: bool = Field(description="Whether anyone can end it now")
    bondHeld: str
    opened: bool = Field(description="Whether this buyer shows the answer to the arbiter")
    wrong: str | None = Field(
        description="The reason for a contest that this buyer's own records show"
    )

    @classmethod
    def of_one(cls, shown: DisputeView) -> Self:
        """As the API shows it."""
        deadline, dispute = shown.deadline, shown.dispute
        return cls(
            **_fields(dispute),
            receipt=dispute.receipt.to_json(),
            deadlineBlock=None if deadline is None else deadline.block,
            deadlineTime=None if deadline is None else deadline.time,
            over=deadline is not None and deadline.over,
            bondHeld=str(shown.bond_held),
            opened=dispute.opened,
            wrong=None if shown.wrong is None else shown.wrong.name.lower(),
        )


class AnswerCheckAnswer(BaseModel):
    """The answer that the provider served again."""

    matches: bool = Field(description="Whether it is what the receipt commits to")
    content: Any

    @classmethod
    def of(cls, check: AnswerCheck) -> Self:
        """As the API shows it."""
        return cls(matches=check.matches, content=check.content)


class SealedAnswer(BaseModel):
    """A contested call's answer, sealed to the contest's key; 0x hex."""

    sealedAnswer: str


class ContestOpening(BaseModel):
    """The key of a contest, for the arbiter."""

    contestSecret: str


class OpenedAnswer(BaseModel):
    """That the arbiter may read the answer from now on."""

    receiptId: str


class EquivocationRow(BaseModel):
    """A place for which a provider signed two receipts; fen as text."""

    agreementId: str
    provider: str
    lane: int
    seq: int
    taken: str = Field(description="What went from the bond to the buyer")
    height: int

    @classmethod
    def of(cls, row: StoredEquivocation) -> Self:
        """As the API shows it."""
        return cls(
            agreementId="0x" + row.agreement_id.hex(),
            provider=row.provider,
            lane=row.lane,
            seq=row.seq,
            taken=str(row.taken),
            height=row.height,
        )


class EquivocationList(ListAnswer):
    """A page of proved equivocations."""

    equivocations: list[EquivocationRow]

    @classmethod
    def of(cls, page: Page[StoredEquivocation]) -> Self:
        """As the API shows it."""
        return cls(equivocations=[EquivocationRow.of(row) for row in page.rows], next=page.next)


def _fields(dispute: Dispute) -> dict[str, Any]:
    receipt, agreement = dispute.receipt, dispute.agreement
    ended = dispute.outcome != DisputeOutcome.OPEN
    return {
        "receiptId": "0x" + dispute.receipt_id.hex(),
        "agreementId": "0x" + receipt.agreement_id.hex(),
        "lane": receipt.lane,
        "seq": receipt.seq,
        "amount": str(receipt.amount),
        "provider": agreement.provider,
        "buyer": agreement.buyer,
        "arbiter": agreement.arbiter,
        "role": dispute.role,
        "step": dispute.step,
        "reason": None if dispute.reason is None else dispute.reason.name.lower(),
        "outcome": dispute.outcome.name.lower() if ended else None,
        "paid": str(dispute.paid),
        "stake": str(agreement.stake),
        "claimedAt": dispute.claimed_at,
        "contestedAt": dispute.contested_at,
        "answeredAt": dispute.answered_at,
        "endedAt": dispute.ended_at,
    }
