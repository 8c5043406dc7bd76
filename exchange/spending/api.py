"""A buyer's spending, for its own systems."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from chain.context import Context
from exchange.spending import service
from exchange.spending.model import AgreementSpending
from registry.access import Principal, get_context, page_request, require_local
from registry.pages import ListAnswer, PageRequest

router = APIRouter(tags=["calls"])


class ForecastAnswer(BaseModel):
    """Plain arithmetic: what is left, at the rate of the last days."""

    days: int = Field(description="Days that the rate was taken from")
    spent: int = Field(description="Fen spent in these days")
    capAt: int | None = Field(
        description="When a cap is reached at this rate, in Unix seconds; null if it is not"
    )


class SpendingRow(BaseModel):
    """Spending under one agreement; money in fen, times in Unix seconds."""

    agreementId: str
    provider: str
    assetId: str
    state: str
    price: int
    cap: int
    maxUnits: int
    units: int
    amount: int = Field(description="Delivered, by this node's own receipts")
    paid: int = Field(description="Paid by the chain from the deposit")
    refunded: int
    endsAt: int
    months: dict[str, int] = Field(description="Fen by month, in the city's time")
    forecast: ForecastAnswer
    alarms: list[str] = Field(
        description="`cap-reached`, `cap-near`, `cap-before-end`, `ends-soon`"
    )

    @classmethod
    def of(cls, row: AgreementSpending) -> Self:
        """As the API shows it."""
        return cls(
            agreementId="0x" + row.agreement_id.hex(),
            provider=row.provider,
            assetId="0x" + row.asset_id.hex(),
            state=row.state,
            price=row.price,
            cap=row.cap,
            maxUnits=row.max_units,
            units=row.units,
            amount=row.amount,
            paid=row.paid,
            refunded=row.refunded,
            endsAt=row.ends_at,
            months=dict(row.months),
            forecast=ForecastAnswer(
                days=row.forecast.days, spent=row.forecast.spent, capAt=row.forecast.cap_at
            ),
            alarms=[alarm.value for alarm in row.alarms],
        )


class SpendingAnswer(ListAnswer):
    """The months, the latest last, and a page of agreements."""

    months: list[str]
    agreements: list[SpendingRow]


@router.get(
    "/v1/spending",
    summary="This buyer's spending by agreement and month, against its caps",
    response_model=SpendingAnswer,
)
def spending(
    months: Annotated[int, Query(ge=1, le=36)] = 12,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> SpendingAnswer:
    found, following = service.spending(context, page, months=months)
    return SpendingAnswer(
        months=list(found.months),
        agreements=[SpendingRow.of(row) for row in found.agreements],
        next=following,
    )
