"""The clearing book by day, and its closing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from exchange.banking.api import PayoutRow
from exchange.clearing import model, service, statements
from registry.access import (
    Principal,
    get_context,
    page_request,
    require_local,
    require_member,
)
from registry.pages import ListAnswer, PageRequest

router = APIRouter(tags=["clearing"])
Readers = Depends(require_local("clerk", "system", "officer", "auditor", "administrator"))
Persons = Depends(require_local("clerk", "officer"))
Day = Annotated[str, Query(max_length=10, description="Such as 2026-11-30.")]


class SumsAnswer(BaseModel):
    """Sums by kind; fen as text."""

    deposited: str
    paid: str
    refunded: str
    withdrawn: str
    penalties: str = Field(description="Bonds and stakes that went to the other party")
    entries: int

    @classmethod
    def of(cls, totals: model.DayTotals) -> Self:
        """As the API shows it."""
        return cls(
            deposited=str(totals.amount(model.MovementKind.DEPOSITED)),
            paid=str(totals.amount(model.MovementKind.PAID)),
            refunded=str(totals.amount(model.MovementKind.REFUNDED)),
            withdrawn=str(totals.amount(model.MovementKind.WITHDRAWN)),
            penalties=str(totals.amount(model.MovementKind.PENALTY)),
            entries=totals.entries,
        )


class DayAnswer(BaseModel):
    """A day of the book; fen as text, times in Unix seconds."""

    day: str
    state: str = Field(description="`running`, `open` (it can be closed) or `closed`")
    openingBalance: str
    sums: SumsAnswer
    closingBalance: str
    proposedBy: str = Field(description="Who approved the closing first, while a second is awaited")
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
            proposedBy=found.proposed_by,
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
    kind: str = Field(description="`deposited`, `paid`, `refunded`, `withdrawn` or `penalty`")
    member: str
    payer: str = Field(description="Of a payment or penalty; empty for any other entry")
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
            payer=entry.payer,
            agreementId=None if entry.agreement_id is None else "0x" + entry.agreement_id.hex(),
            amount=str(entry.amount),
        )


class EntryList(ListAnswer):
    """A page of a day's entries."""

    entries: list[EntryRow]


class NetPositionRow(BaseModel):
    """A member's money on a day; fen as text."""

    member: str
    opening: str
    deposited: str
    earned: str
    spent: str
    withdrawn: str
    net: str = Field(description="Earned less spent; negative for who owes")
    closing: str

    @classmethod
    def of(cls, one: model.Position) -> Self:
        """As the API shows it."""
        return cls(
            member=one.member,
            opening=str(one.opening),
            deposited=str(one.deposited),
            earned=str(one.earned),
            spent=str(one.spent),
            withdrawn=str(one.withdrawn),
            net=str(one.net),
            closing=str(one.closing),
        )


class NetPositionList(BaseModel):
    """Positions by member."""

    positions: list[NetPositionRow]


class DifferenceRow(BaseModel):
    """A sum on which book and contract differ; fen as text."""

    member: str = Field(description="Empty for the sums of all")
    sum: str = Field(description="`deposited`, `earned`, `spent` or `withdrawn`")
    book: str
    contract: str


class BookComparison(BaseModel):
    """The book beside the contract as of one block; fen as text."""

    height: int
    held: str = Field(description="What the contract holds")
    members: int
    agrees: bool
    behind: bool = Field(description="Whether the book lacks blocks up to this one")
    differences: list[DifferenceRow]
    unpaid: int = Field(description="Withdrawals that no settlement bank has confirmed as paid")
    unpaidAmount: str

    @classmethod
    def of(cls, found: model.ChainComparison) -> Self:
        """As the API shows it."""
        return cls(
            height=found.height,
            held=str(found.held),
            members=found.members,
            agrees=not found.differences,
            behind=found.behind,
            differences=[
                DifferenceRow(
                    member=one.member, sum=one.sum, book=str(one.book), contract=str(one.contract)
                )
                for one in found.differences
            ],
            unpaid=found.unpaid,
            unpaidAmount=str(found.unpaid_amount),
        )


class AccountStatementRow(BaseModel):
    """An entry of a statement; fen as text."""

    at: int
    day: str
    height: int
    logIndex: int
    kind: str = Field(description="`deposited`, `paid`, `refunded`, `withdrawn` or `penalty`")
    counterparty: str
    agreementId: str | None
    amount: str = Field(description="What came in; negative for what went out")
    parts: dict[str, str] = Field(
        description="What a payment was for: `holding`, `processing`, `operating`, `platform`, "
        "`agreed`"
    )

    @classmethod
    def of(cls, line: model.StatementLine) -> Self:
        """As the API shows it."""
        entry = line.movement
        return cls(
            at=entry.at,
            day=entry.day,
            height=entry.height,
            logIndex=entry.log_index,
            kind=entry.kind.value,
            counterparty=line.counterparty,
            agreementId=None if entry.agreement_id is None else "0x" + entry.agreement_id.hex(),
            amount=str(line.amount),
            parts={right.value: str(part) for right, part in line.parts.items()},
        )


class AccountStatement(BaseModel):
    """A member's account over a period of days; fen as text."""

    member: str
    since: str
    until: str
    openingBalance: str
    lines: list[AccountStatementRow]
    payouts: list[PayoutRow]
    earned: dict[str, str] = Field(description="What was earned by each right")
    closingBalance: str
    agrees: bool | None = Field(
        description="Whether the sums are those of the contract; null while that cannot be told"
    )

    @classmethod
    def of(cls, found: model.MemberStatement) -> Self:
        """As the API shows it."""
        return cls(
            member=found.member,
            since=found.since,
            until=found.until,
            openingBalance=str(found.opening),
            lines=list(map(AccountStatementRow.of, found.lines)),
            payouts=list(map(PayoutRow.of, found.payouts)),
            earned={right.value: str(fen) for right, fen in found.earned.items()},
            closingBalance=str(found.closing),
            agrees=found.agrees,
        )


class SplitRuleBody(BaseModel):
    """How a share is divided of a member that holds several rights; basis points."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "effectiveFrom": "2027-01-01",
                "holding": 5_000,
                "processing": 3_000,
                "operating": 2_000,
            }
        },
    )
    effectiveFrom: Annotated[str, Field(max_length=10)]
    holding: Annotated[int, Field(ge=0, le=10_000)]
    processing: Annotated[int, Field(ge=0, le=10_000)]
    operating: Annotated[int, Field(ge=0, le=10_000)]


class SplitRuleRow(BaseModel):
    """A rule from a day on."""

    effectiveFrom: str
    holding: int
    processing: int
    operating: int


class SplitRuleList(BaseModel):
    """Every rule, the latest first."""

    rules: list[SplitRuleRow]

    @classmethod
    def of(cls, found: Sequence[model.SplitRule]) -> Self:
        """As the API shows them."""
        return cls(
            rules=[
                SplitRuleRow(
                    effectiveFrom=rule.effective_from,
                    holding=rule.holding,
                    processing=rule.processing,
                    operating=rule.operating,
                )
                for rule in found
            ]
        )


class SplitRuleSet(BaseModel):
    """Whether the rule is set, or waits for a second person to give the same."""

    set: bool


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


@router.get(
    "/v1/clearing/days/{day}/positions",
    summary="Each member's net position of a day (operator, supervisor)",
    response_model=NetPositionList,
)
def positions(
    day: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> NetPositionList:
    found = service.positions(context, day)
    return NetPositionList(positions=list(map(NetPositionRow.of, found)))


@router.get(
    "/v1/clearing/comparison",
    summary="The book beside the contract, to the fen (operator, supervisor)",
    response_model=BookComparison,
)
def comparison(
    context: Context = Depends(get_context), _caller: Principal = Readers
) -> BookComparison:
    return BookComparison.of(service.compare(context))


@router.post(
    "/v1/clearing/days/{day}/closing",
    summary="Approve the closing of a day; a second person's approval closes it (operator)",
    response_model=DayAnswer,
)
def close(
    day: str, context: Context = Depends(get_context), caller: Principal = Persons
) -> DayAnswer:
    return DayAnswer.of(service.close_day(context, day, person=caller.person))


@router.get(
    "/v1/account-statement",
    summary="This member's account over a period, by default the present month; a keeper of the "
    "book may name another member",
    response_model=AccountStatement,
)
def account_statement(
    since: Day = "",
    until: Day = "",
    member: Annotated[str, Query(max_length=18)] = "",
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> AccountStatement:
    found = statements.statement(context, since=since, until=until, member=member)
    return AccountStatement.of(found)


@router.get(
    "/v1/split-rules",
    summary="How a share for several rights is divided, the latest rule first",
    response_model=SplitRuleList,
)
def split_rules(
    context: Context = Depends(get_context), _caller: Principal = Readers
) -> SplitRuleList:
    return SplitRuleList.of(statements.split_rules(context))


@router.get(
    "/v1/peer/split-rules",
    summary="The same for other members' nodes (operator)",
    response_model=SplitRuleList,
)
def peer_split_rules(
    context: Context = Depends(get_context), _caller: Principal = Depends(require_member)
) -> SplitRuleList:
    return SplitRuleList.of(statements.split_rules(context))


@router.post(
    "/v1/split-rules",
    summary="Set a rule from a day to come: two persons give the same one (operator)",
    response_model=SplitRuleSet,
)
def set_split_rule(
    body: SplitRuleBody, context: Context = Depends(get_context), caller: Principal = Persons
) -> SplitRuleSet:
    rule = model.SplitRule(body.effectiveFrom, body.holding, body.processing, body.operating)
    return SplitRuleSet(set=statements.set_split_rule(context, rule, person=caller.person))
