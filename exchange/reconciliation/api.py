"""Counts for the other party and the supervisor, and the supervisor's report."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.core.errors import Forbidden
from chain.ethereum.proved_records import member_record
from chain.statements.members import Role
from exchange.reconciliation import service
from registry.access import (
    Principal,
    get_context,
    hex_bytes,
    page_request,
    require_local,
    require_member,
)
from registry.pages import PageRequest

router = APIRouter(tags=["reconciliation"])
Readers = Depends(require_local("clerk", "auditor", "administrator", "system"))


class LaneCounts(BaseModel):
    """A node's counts of a lane with its proofs, and how many calls ended in each
    status; in fen.
    """

    model_config = ConfigDict(extra="allow")
    seq: int
    units: int
    amount: int
    outstanding: int
    request: dict[str, Any]


class Counters(BaseModel):
    """A node's counts of an agreement, by lane."""

    side: str
    lanes: dict[str, LaneCounts]


class FindingRow(BaseModel):
    """Where the counts differ."""

    kind: str = Field(description="`gap`, `conflict`, `unreachable`, `unclaimed` or `lost`")
    sentence: str
    lane: int | None
    fromSeq: int | None
    toSeq: int | None


class SharePaid(BaseModel):
    """One member's part of the split; fen as text."""

    member: str
    basisPoints: int
    due: str
    paid: str


class AgreementMoneyAnswer(BaseModel):
    """What became of an agreement's money; fen as text."""

    earned: str
    acknowledged: str
    claimed: str
    paid: str
    unclaimed: str
    lost: str
    closed: bool
    agreed: bool
    parts: list[SharePaid]


class LaneComparison(BaseModel):
    """A lane by gateway, buyer and chain; null for a node that did not answer."""

    gateway: dict[str, Any] | None
    buyer: dict[str, Any] | None
    chain: dict[str, Any]


class AgreementComparison(BaseModel):
    """One agreement compared."""

    agreementId: str
    agree: bool
    lanes: dict[str, LaneComparison]
    findings: list[FindingRow]
    money: AgreementMoneyAnswer | None


class Coverage(BaseModel):
    """What was compared."""

    agreements: int
    lanes: int
    positions: int


class ReconciliationReport(BaseModel):
    """A page of agreements compared, and the totals; fen as text, ``at`` in Unix seconds."""

    height: int
    projectedHeight: int | None
    at: int
    agreements: list[AgreementComparison]
    next: str | None = Field(description="The `cursor` of the following page; null at the end.")
    covered: Coverage
    lost: str
    countersAgree: bool
    conserved: bool


@router.get(
    "/v1/peer/agreements/{agreement_id}/counters",
    summary="This node's counts of an agreement",
    response_model=Counters,
    response_model_exclude_unset=True,
)
def counters(
    agreement_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    member = context.view.proved([member_record(caller.member)]).member(caller.member)
    return service.counters(
        context, hex_bytes(agreement_id), caller.member, supervisor=member.has_role(Role.SUPERVISOR)
    )


@router.get(
    "/v1/reconciliation",
    summary="Compare gateway, buyer and chain, agreement by "
    "agreement, the newest first (supervisor)",
    response_model=ReconciliationReport,
)
async def report(
    state: str | None = None,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> dict[str, Any]:
    if not context.roles & Role.SUPERVISOR:
        raise Forbidden(
            "not_supervisor", "The report over everybody's agreements is the supervisor's."
        )
    return await service.report(context, page, state=state)


@router.get(
    "/v1/agreements/{agreement_id}/reconciliation",
    summary="Compare gateway, buyer and chain of one agreement",
    response_model=AgreementComparison,
)
async def one(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> dict[str, Any]:
    return service.shown(await service.reconcile(context, hex_bytes(agreement_id)))
