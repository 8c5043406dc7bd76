"""Flows of data and money over the whole network, and its hours."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from chain.context import Context
from exchange.supervision import model, service
from exchange.supervision.rules import MAX_PERIOD_DAYS
from exchange.supervision.trace import MAX_QUERY_CHARACTERS, Trace, TracedRecord, trace
from registry.access import Principal, get_context, require_local

router = APIRouter(tags=["supervision"])
Readers = Depends(require_local("clerk", "system", "officer", "auditor", "administrator"))


class FlowRow(BaseModel):
    """What one member got of another's asset, as far as it was claimed; fen as text."""

    provider: str
    buyer: str
    assetId: str
    calls: int
    units: int
    amount: str

    @classmethod
    def of(cls, flow: model.Flow) -> Self:
        """As the API shows it."""
        return cls(
            provider=flow.provider,
            buyer=flow.buyer,
            assetId="0x" + flow.asset_id.hex(),
            calls=flow.calls,
            units=flow.units,
            amount=str(flow.amount),
        )


class FlowList(BaseModel):
    """The largest flows of a period, and the sums over all; fen as text."""

    firstDay: str
    lastDay: str
    calls: int
    units: int
    amount: str
    total: int = Field(description="Number of flows; `flows` has the largest of them.")
    flows: list[FlowRow]

    @classmethod
    def of(cls, found: model.Flows) -> Self:
        """As the API shows it."""
        return cls(
            firstDay=found.first_day,
            lastDay=found.last_day,
            calls=found.calls,
            units=found.units,
            amount=str(found.amount),
            total=found.total,
            flows=[FlowRow.of(flow) for flow in found.rows],
        )


class HourRow(BaseModel):
    """Activity in an hour; fen as text, ``hour`` in Unix seconds."""

    hour: int
    calls: int = Field(description="Settled on the chain")
    amount: str
    deposited: str
    paid: str
    withdrawn: str
    opened: int
    closed: int

    @classmethod
    def of(cls, counts: model.HourCounts) -> Self:
        """As the API shows it."""
        return cls(
            hour=counts.hour,
            calls=counts.calls,
            amount=str(counts.amount),
            deposited=str(counts.deposited),
            paid=str(counts.paid),
            withdrawn=str(counts.withdrawn),
            opened=counts.opened,
            closed=counts.closed,
        )


class HourList(BaseModel):
    """Hours in order."""

    hours: list[HourRow]


class FactRow(BaseModel):
    """One thing that a record says; times in Unix seconds, heights in blocks."""

    kind: str
    value: str | int


class RecordRow(BaseModel):
    """A record and what it says."""

    kind: str = Field(
        description="`member`, `asset`, `grant`, `agreement`, `deal`, `step`, `entry`, "
        "`transaction` or `event`"
    )
    id: str
    title: str
    facts: list[FactRow]

    @classmethod
    def of(cls, record: TracedRecord) -> Self:
        """As the API shows it."""
        facts = [FactRow(kind=fact.kind.value, value=fact.value) for fact in record.facts]
        return cls(kind=record.kind.value, id=record.id, title=record.title, facts=facts)


class TraceAnswer(BaseModel):
    """A record, what it rests on, and some of what rests on it."""

    query: str
    found: list[RecordRow]
    source: list[RecordRow]
    following: list[RecordRow]

    @classmethod
    def of(cls, found: Trace) -> Self:
        """As the API shows it."""
        return cls(
            query=found.query,
            found=list(map(RecordRow.of, found.found)),
            source=list(map(RecordRow.of, found.source)),
            following=list(map(RecordRow.of, found.following)),
        )


@router.get(
    "/v1/trace",
    summary="Follow a record back to its source: an id, a member's code or a log position "
    "(supervisor, operator)",
    response_model=TraceAnswer,
)
def trace_record(
    q: Annotated[str, Query(max_length=MAX_QUERY_CHARACTERS)],
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> TraceAnswer:
    return TraceAnswer.of(trace(context, q))


@router.get(
    "/v1/network/flows",
    summary="Who gave which data to whom, the largest flows first (supervisor, operator)",
    response_model=FlowList,
)
def flows(
    days: Annotated[int, Query(ge=1, le=MAX_PERIOD_DAYS, description="Up to today.")] = 30,
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> FlowList:
    return FlowList.of(service.flows(context, days=days))


@router.get(
    "/v1/network/hours",
    summary="Calls and money of the last 24 hours (supervisor, operator)",
    response_model=HourList,
)
def hours(context: Context = Depends(get_context), _caller: Principal = Readers) -> HourList:
    return HourList(hours=[HourRow.of(counts) for counts in service.hours(context)])
