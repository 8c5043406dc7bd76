"""Counts for the other party and the supervisor, and the supervisor's report."""

from __future__ import annotations

from typing import Any, Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.core.errors import Forbidden
from chain.ethereum.proved_records import member_record
from chain.statements.members import Role
from exchange.reconciliation import model, runs, service
from registry.access import (
    Principal,
    get_context,
    hex_bytes,
    page_request,
    require_local,
    require_member,
)
from registry.pages import ListAnswer, PageRequest

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

    kind: str = Field(
        description="`gap`, `conflict`, `unreachable`, `price`, `revoked_use`, `unclaimed` "
        "or `lost`"
    )
    sentence: str
    lane: int | None
    fromSeq: int | None
    toSeq: int | None

    @classmethod
    def of(cls, finding: model.ReconciliationFinding) -> Self:
        """As the API shows it."""
        return cls(
            kind=finding.kind,
            sentence=finding.sentence,
            lane=finding.lane,
            fromSeq=finding.from_seq,
            toSeq=finding.to_seq,
        )


class SharePaid(BaseModel):
    """One member's part of the split; fen as text."""

    member: str
    basisPoints: int
    due: str
    paid: str

    @classmethod
    def of(cls, part: model.SharePayment) -> Self:
        """As the API shows it."""
        return cls(
            member=part.member,
            basisPoints=part.basis_points,
            due=str(part.due),
            paid=str(part.paid),
        )


class AgreementMoneyAnswer(BaseModel):
    """The status of an agreement's money; fen as text."""

    earned: str
    acknowledged: str
    claimed: str
    paid: str
    unclaimed: str
    lost: str
    closed: bool
    agreed: bool
    parts: list[SharePaid]

    @classmethod
    def of(cls, money: model.AgreementMoney) -> Self:
        """As the API shows it."""
        return cls(
            earned=str(money.earned),
            acknowledged=str(money.acknowledged),
            claimed=str(money.claimed),
            paid=str(money.paid),
            unclaimed=str(money.unclaimed),
            lost=str(money.lost),
            closed=money.closed,
            agreed=money.agreed,
            parts=[SharePaid.of(part) for part in money.parts],
        )


class LaneComparison(BaseModel):
    """A lane by gateway, buyer and chain; null for a node that did not answer."""

    gateway: dict[str, Any] | None
    buyer: dict[str, Any] | None
    chain: dict[str, Any]

    @classmethod
    def of(cls, compared: model.LaneComparison) -> Self:
        """As the API shows it."""
        chain = compared.chain
        return cls(
            gateway=None if compared.gateway is None else _counts(compared.gateway),
            buyer=None if compared.buyer is None else _counts(compared.buyer),
            chain={"seq": chain.seq, "units": chain.units, "amount": str(chain.amount)},
        )


def _counts(count: model.LaneCount) -> dict[str, Any]:
    return {
        "seq": count.seq,
        "units": count.units,
        "amount": str(count.amount),
        "acknowledgedSeq": count.acknowledged_seq,
        "acknowledgedAmount": str(count.acknowledged_amount),
        "served": count.served,
        "refused": count.refused,
        "voided": count.voided,
        "positions": count.positions,
        "outstanding": count.outstanding,
        "receipt": count.receipt,
    }


class AgreementComparison(BaseModel):
    """One agreement compared."""

    agreementId: str
    agree: bool
    lanes: dict[str, LaneComparison]
    findings: list[FindingRow]
    money: AgreementMoneyAnswer | None

    @classmethod
    def of(cls, compared: model.Comparison) -> Self:
        """As the API shows it."""
        money = compared.money
        return cls(
            agreementId="0x" + compared.agreement_id.hex(),
            agree=compared.agree,
            lanes={str(lane): LaneComparison.of(item) for lane, item in compared.lanes.items()},
            findings=[FindingRow.of(finding) for finding in compared.findings],
            money=None if money is None else AgreementMoneyAnswer.of(money),
        )


class RunAnswer(BaseModel):
    """A comparison of every agreement; fen as text, times in Unix seconds."""

    id: int
    state: str = Field(description="`running` or `done`")
    startedAt: int
    finishedAt: int | None
    agreements: int
    lanes: int
    positions: int
    findings: int = Field(description="Contradictions found")
    lost: str
    conserved: bool | None

    @classmethod
    def of(cls, run: model.ReconciliationRun) -> Self:
        """As the API shows it."""
        return cls(
            id=run.id,
            state=run.state.value,
            startedAt=run.started_at,
            finishedAt=run.finished_at,
            agreements=run.agreements,
            lanes=run.lanes,
            positions=run.positions,
            findings=run.findings,
            lost=str(run.lost),
            conserved=run.conserved,
        )


class RunList(ListAnswer):
    """A page of runs, the latest first."""

    runs: list[RunAnswer]


class OpenFindingRow(FindingRow):
    """A finding that is followed until it is settled; times in Unix seconds."""

    id: int
    agreementId: str
    responsible: list[str] = Field(description="The members that have to answer")
    firstSeen: int
    lastSeen: int
    dueAt: int
    settledAt: int | None

    @classmethod
    def followed(cls, item: model.OpenFinding) -> Self:
        """As the API shows it."""
        return cls(
            **FindingRow.of(item.finding).model_dump(),
            id=item.id,
            agreementId="0x" + item.agreement_id.hex(),
            responsible=list(item.responsible),
            firstSeen=item.first_seen,
            lastSeen=item.last_seen,
            dueAt=item.due_at,
            settledAt=item.settled_at,
        )


class OpenFindingList(ListAnswer):
    """A page of findings, the latest first."""

    findings: list[OpenFindingRow]


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

    @classmethod
    def of(cls, found: model.ReconciliationReport) -> Self:
        """As the API shows it."""
        covered = Coverage(
            agreements=len(found.agreements), lanes=found.lanes, positions=found.positions
        )
        return cls(
            height=found.height,
            projectedHeight=found.projected_height,
            at=found.at,
            agreements=[AgreementComparison.of(compared) for compared in found.agreements],
            next=found.next,
            covered=covered,
            lost=str(found.lost),
            countersAgree=found.counters_agree,
            conserved=found.conserved,
        )


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
) -> Counters:
    member = context.view.proved([member_record(caller.member)]).member(caller.member)
    counted = service.counters(
        context, hex_bytes(agreement_id), caller.member, supervisor=member.has_role(Role.SUPERVISOR)
    )
    lanes = {lane: LaneCounts(**shown) for lane, shown in counted.lanes_json().items()}
    return Counters(side=counted.side, lanes=lanes)


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
) -> ReconciliationReport:
    if not context.roles & Role.SUPERVISOR:
        raise Forbidden(
            "not_supervisor", "The report over everybody's agreements is the supervisor's."
        )
    return ReconciliationReport.of(await service.report(context, page, state=state))


@router.get(
    "/v1/agreements/{agreement_id}/reconciliation",
    summary="Compare gateway, buyer and chain of one agreement",
    response_model=AgreementComparison,
)
async def one(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> AgreementComparison:
    return AgreementComparison.of(await service.reconcile(context, hex_bytes(agreement_id)))


@router.post(
    "/v1/reconciliation/runs",
    status_code=202,
    summary="Start a comparison of every agreement (supervisor)",
    response_model=RunAnswer,
)
def start_run(
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "auditor", "system")),
) -> RunAnswer:
    return RunAnswer.of(runs.start(context))


@router.get(
    "/v1/reconciliation/runs",
    summary="Comparisons of every agreement, the latest first (supervisor)",
    response_model=RunList,
)
def run_list(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> RunList:
    found = runs.listing(context, page)
    return RunList(runs=list(map(RunAnswer.of, found.rows)), next=found.next)


@router.get(
    "/v1/reconciliation/findings",
    summary="Findings and who has to answer for them, the latest first (supervisor)",
    response_model=OpenFindingList,
)
def finding_list(
    settled: bool = False,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> OpenFindingList:
    found = runs.findings(context, page, settled=settled)
    rows = list(map(OpenFindingRow.followed, found.rows))
    return OpenFindingList(findings=rows, next=found.next)
