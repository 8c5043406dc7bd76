"""Who used what of this node's assets, by day."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from chain.context import Context
from exchange.usage import model, service
from registry.access import Principal, get_context, hex_bytes, page_request, require_local
from registry.pages import ListAnswer, PageRequest, page_by_id

router = APIRouter(tags=["usage"])
Readers = Depends(require_local("clerk", "system", "officer", "auditor"))
Date = Annotated[str, Query(max_length=10, description="Such as 2026-11-30.")]


def _period(
    since: Date = "", until: Date = "", context: Context = Depends(get_context)
) -> model.Period:
    return service.period_of(context, since=since, until=until)


class UsageCounts(BaseModel):
    """Calls added up; fen as text."""

    served: int
    refused: int
    voided: int
    units: int
    amount: str

    @classmethod
    def of(cls, counts: model.Counts) -> Self:
        """As the API shows it."""
        return cls(
            served=counts.served,
            refused=counts.refused,
            voided=counts.voided,
            units=counts.units,
            amount=str(counts.amount),
        )


class UsedAsset(BaseModel):
    """An asset with its counts."""

    assetId: str
    counts: UsageCounts


class UsedAssetList(ListAnswer):
    """A page of the assets that were asked for in a period; Unix seconds."""

    since: int
    until: int
    assets: list[UsedAsset]


class UsedDay(BaseModel):
    """A day, or a month by its first day, in Unix seconds."""

    day: int
    counts: UsageCounts

    @classmethod
    def of(cls, usage: model.DayUsage) -> Self:
        """As the API shows it."""
        return cls(day=usage.day, counts=UsageCounts.of(usage.counts))


class UsedByBuyer(BaseModel):
    """A buyer's use under one agreement."""

    buyer: str
    agreementId: str
    counts: UsageCounts


class UsedByBuyerList(ListAnswer):
    """A page of an asset's agreements with their counts."""

    buyers: list[UsedByBuyer]


class UsedColumn(BaseModel):
    """The number of calls that delivered a column."""

    column: str = Field(description="Empty for calls from before columns were counted")
    calls: int


class UsageAnswer(BaseModel):
    """Who used an asset in a period."""

    assetId: str
    since: int
    until: int
    total: UsageCounts
    days: list[UsedDay]
    months: list[UsedDay]
    columns: list[UsedColumn]

    @classmethod
    def of(cls, report: model.UsageReport) -> Self:
        """As the API shows it."""
        return cls(
            assetId="0x" + report.asset_id.hex(),
            since=report.period.since,
            until=report.period.until,
            total=UsageCounts.of(report.total),
            days=list(map(UsedDay.of, report.days)),
            months=list(map(UsedDay.of, report.months)),
            columns=[
                UsedColumn(column=usage.column, calls=usage.calls) for usage in report.columns
            ],
        )


class UsedRow(BaseModel):
    """Calls of one day under one agreement that delivered the same columns."""

    day: int
    buyer: str
    agreementId: str
    columns: list[str]
    counts: UsageCounts

    @classmethod
    def of(cls, row: model.UsageRow) -> Self:
        """As the API shows it."""
        return cls(
            day=row.day,
            buyer=row.buyer,
            agreementId="0x" + row.agreement_id.hex(),
            columns=list(row.columns),
            counts=UsageCounts.of(row.counts),
        )


class UsedRowList(ListAnswer):
    """A page of counts."""

    usage: list[UsedRow]


@router.get(
    "/v1/usage",
    summary="The assets of this node that were asked for, by default in the last 30 days",
    response_model=UsedAssetList,
)
def used_assets(
    period: model.Period = Depends(_period),
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> UsedAssetList:
    assets = service.assets(context, period)
    found = page_by_id(assets, lambda usage: usage.asset_id, page)
    return UsedAssetList(
        since=period.since,
        until=period.until,
        assets=[
            UsedAsset(assetId="0x" + usage.asset_id.hex(), counts=UsageCounts.of(usage.counts))
            for usage in found.rows
        ],
        next=found.next,
    )


@router.get(
    "/v1/usage/{asset_id}",
    summary="How an asset was used: by day, month and column",
    response_model=UsageAnswer,
)
def usage_of_asset(
    asset_id: str,
    period: model.Period = Depends(_period),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> UsageAnswer:
    return UsageAnswer.of(service.report(context, hex_bytes(asset_id), period))


@router.get(
    "/v1/usage/{asset_id}/buyers",
    summary="Who used an asset: its agreements with their counts",
    response_model=UsedByBuyerList,
)
def usage_by_buyer(
    asset_id: str,
    period: model.Period = Depends(_period),
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> UsedByBuyerList:
    buyers = service.report(context, hex_bytes(asset_id), period).buyers
    found = page_by_id(buyers, lambda usage: usage.agreement_id, page)
    rows = [
        UsedByBuyer(
            buyer=usage.buyer,
            agreementId="0x" + usage.agreement_id.hex(),
            counts=UsageCounts.of(usage.counts),
        )
        for usage in found.rows
    ]
    return UsedByBuyerList(buyers=rows, next=found.next)


@router.get(
    "/v1/usage/{asset_id}/rows",
    summary="An asset's calls by day, agreement and columns, the latest day first",
    response_model=UsedRowList,
)
def usage_rows(
    asset_id: str,
    period: model.Period = Depends(_period),
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> UsedRowList:
    found = service.rows(context, page, hex_bytes(asset_id), period)
    return UsedRowList(usage=list(map(UsedRow.of, found.rows)), next=found.next)
