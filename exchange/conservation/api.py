"""Whether the chain's money adds up, at the nodes that watch the whole network."""

from __future__ import annotations

from typing import Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from chain.context import Context
from exchange.conservation.model import ConservationReport, Discrepancy
from exchange.conservation.service import ConservationMonitor
from registry.access import Principal, get_context, require_local

router = APIRouter(tags=["supervision"])


class DiscrepancyRow(BaseModel):
    """A sum that does not hold; fen as text."""

    line: str = Field(
        description="`totals`, `earnings`, `account`, `members`, `agreement`, `locked` or `bonded`"
    )
    subject: str = Field(
        description="The member's code, the agreement's id, or for `members` the name of the sum"
    )
    stated: str = Field(description="What the chain states")
    counted: str = Field(description="What it should be, by the other records")

    @classmethod
    def of(cls, found: Discrepancy) -> Self:
        """As the API shows it."""
        return cls(
            line=found.line,
            subject=found.subject,
            stated=str(found.stated),
            counted=str(found.counted),
        )


class ConservationAnswer(BaseModel):
    """The latest check of all accounts and open agreements, proved under one block."""

    addsUp: bool
    height: int = Field(description="The block; 0 before the first check")
    checkedAt: int = Field(description="Unix seconds")
    members: int
    agreements: int = Field(description="Open agreements that were looked at")
    openAgreements: int
    discrepancies: list[DiscrepancyRow]

    @classmethod
    def of(cls, report: ConservationReport) -> Self:
        """As the API shows it."""
        return cls(
            addsUp=bool(report.height) and not report.discrepancies,
            height=report.height,
            checkedAt=report.checked_at,
            members=report.members,
            agreements=report.agreements,
            openAgreements=report.open_agreements,
            discrepancies=list(map(DiscrepancyRow.of, report.discrepancies)),
        )


@router.get(
    "/v1/conservation",
    summary="Whether the chain's money adds up (supervisor, operator)",
    response_model=ConservationAnswer,
)
def conservation(
    context: Context = Depends(get_context),
    _caller: Principal = Depends(
        require_local("clerk", "system", "officer", "auditor", "administrator")
    ),
) -> ConservationAnswer:
    return ConservationAnswer.of(ConservationMonitor.of(context).report)
