"""The clearing book by day, and its closing."""

from __future__ import annotations

from typing import Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from chain.context import Context
from exchange.clearing import model, service
from registry.access import Principal, get_context, page_request, require_local
from registry.pages import ListAnswer, PageRequest

router = APIRouter(tags=["clearing"])
Readers = Depends(require_local("clerk", "system", "officer", "auditor", "administrator"))
Clerks = Depends(require_local("clerk", "system"))


class SumsAnswer(BaseModel):
    """Sums by kind; fen as text."""

    deposited: str
    paid: str
    refunded: str
    withdrawn: str
    entries: int

    @classmethod
    def of(cls, totals: model.DayTotals) -> Self:
        """As the API shows it."""
        return cls(
            deposited=str(totals.amount(model.MovementKind.DEPOSITED)),
            paid=str(totals.amount(model.MovementKind.PAID)),
            refunded=str(totals.amount(model.MovementKind.REFUNDED)),
            withdrawn=str(totals.amount(model.MovementKind.WITHDRAWN)),
            entries=totals.entries,
        )


class DayAnswer(BaseModel):
    """A day of the book; fen as text, times in Unix seconds."""

    day: str
    state: str = Field(description="`running`, `open` (it can be closed) or `closed`")
    openingBalance: str
    sums: SumsAnswer
    closingBalance: str
    closedAt: int | None
    height: int | None = Field(description="The last block in the book when the day was closed")
    digest: str | None = Field(description="The entry of this node's log that commits to the day")

    @classmethod
    def of(cls, found: model.BookDay) -> Self:
        """As the API shows it."""
        closing = found.closing
        return cls(
            day=found.day,
            state=found.state.value,
            openingBalance=str(found.opening),
            sums=SumsAnswer.of(found.totals),
            closingBalance=str(found.closing_balance),
            closedAt=None if closing is None else closing.closed_at,
            height=None if closing is None else closing.height,
            digest=None if closing is None else "0x" + closing.digest.hex(),
        )


class DayList(BaseModel):
    """Days, the latest first."""

    days: list[DayAnswer]


class EntryRow(BaseModel):
    """An entry of the book; fen as text."""

    height: int
    logIndex: int
    at: int
    kind: str = Field(description="`deposited`, `paid`, `refunded` or `withdrawn`")
    member: str
    agreementId: str | None
    amount: str

    @classmethod
    def of(cls, entry: model.Movement) -> Self:
        """As the API shows it."""
        return cls(
            height=entry.height,
            logIndex=entry.log_index,
            at=entry.at,
            kind=entry.kind.value,
            member=entry.member,
            agreementId=None if entry.agreement_id is None else "0x" + entry.agreement_id.hex(),
            amount=str(entry.amount),
        )


class EntryList(ListAnswer):
    """A page of a day's entries."""

    entries: list[EntryRow]


@router.get(
    "/v1/clearing/days",
    summary="The clearing book by day, the latest first (operator, supervisor)",
    response_model=DayList,
)
def days(
    before: str = "", context: Context = Depends(get_context), _caller: Principal = Readers
) -> DayList:
    return DayList(days=[DayAnswer.of(found) for found in service.days(context, before=before)])


@router.get(
    "/v1/clearing/days/{day}",
    summary="One day of the clearing book (operator, supervisor)",
    response_model=DayAnswer,
)
def one_day(
    day: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> DayAnswer:
    return DayAnswer.of(service.day(context, day))


@router.get(
    "/v1/clearing/days/{day}/entries",
    summary="The entries of a day, the latest first (operator, supervisor)",
    response_model=EntryList,
)
def entries(
    day: str,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> EntryList:
    found = service.entries(context, day, page)
    return EntryList(entries=[EntryRow.of(entry) for entry in found.rows], next=found.next)


@router.post(
    "/v1/clearing/days/{day}/closing",
    summary="Close a day of the clearing book (operator)",
    response_model=DayAnswer,
)
def close(
    day: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> DayAnswer:
    service.close_day(context, day)
    return DayAnswer.of(service.day(context, day))
