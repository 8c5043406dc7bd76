"""The catalogue with facets, and an asset's course, for the organisation's own systems."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from chain.context import Context
from exchange.catalogue import service
from exchange.catalogue.model import UNKNOWN_PRICE, CatalogueFilter, CatalogueRow
from registry.access import Principal, get_context, hex_bytes, page_request, require_local
from registry.pages import ListAnswer, PageRequest

router = APIRouter(tags=["assets"])
_readers = require_local("clerk", "system", "officer", "auditor")


class CatalogueRowAnswer(BaseModel):
    """An asset as a search finds it; the price in fen."""

    assetId: str
    holder: str
    name: str
    titleZh: str
    titleEn: str
    assetVersion: int
    category: str
    grade: int
    rowCount: int
    state: str
    unit: str = Field(description="Empty where no offer is known")
    price: int | None = Field(description="Null where no offer is known")
    maxDays: int
    columns: list[str]
    registeredAt: int

    @classmethod
    def of(cls, row: CatalogueRow) -> Self:
        """As the API shows it."""
        return cls(
            assetId="0x" + row.asset_id.hex(),
            holder=row.holder,
            name=row.name,
            titleZh=row.title_zh,
            titleEn=row.title_en,
            assetVersion=row.version,
            category=row.category,
            grade=row.grade,
            rowCount=row.rows,
            state=row.state.value,
            unit=row.unit,
            price=None if row.price == UNKNOWN_PRICE else row.price,
            maxDays=row.max_days,
            columns=list(row.columns),
            registeredAt=row.registered_at,
        )


class FacetAnswer(BaseModel):
    """A value with the number of assets that have it."""

    value: str
    count: int


class CatalogueAnswer(ListAnswer):
    """A page of assets, the number of all that match, and their facets."""

    assets: list[CatalogueRowAnswer]
    total: int
    facets: dict[str, list[FacetAnswer]]


class CourseAnswer(BaseModel):
    """This organisation's access to an asset."""

    done: list[str] = Field(description="`request`, `decision`, `offer`, `agreement`, `call`")
    current: str | None = Field(description="The step that is next; null once a call was made")
    turn: str = Field(description="`own`, `provider`, `chain` or `nobody`")
    grantId: str | None
    agreementId: str | None
    ended: str = Field(description="How an earlier attempt ended; empty where none did")


@router.get(
    "/v1/catalogue",
    summary="Search the catalogue of all members by words and facets",
    response_model=CatalogueAnswer,
)
def search(
    q: Annotated[str, Query(max_length=100)] = "",
    holder: Annotated[str, Query(max_length=18)] = "",
    category: Annotated[str, Query(max_length=100)] = "",
    grade: Annotated[int, Query(ge=0, le=5)] = 0,
    state: Annotated[str, Query(max_length=10)] = "",
    price: Annotated[
        str, Query(max_length=10, description="`free`, `below-1`, `1-10`, `10-` or `unknown`, yuan")
    ] = "",
    unit: Annotated[str, Query(max_length=8)] = "",
    column: Annotated[str, Query(max_length=128)] = "",
    minDays: Annotated[int, Query(ge=0, le=100_000)] = 0,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_readers),
) -> CatalogueAnswer:
    wanted = CatalogueFilter(q, holder, category, grade, state, price, unit, column, minDays)
    found, facets = service.search(context, page, wanted), service.facets(context, wanted)
    return CatalogueAnswer(
        assets=list(map(CatalogueRowAnswer.of, found.rows)),
        total=facets.total,
        facets={
            name: [FacetAnswer(value=facet.value, count=facet.count) for facet in values]
            for name, values in facets.values.items()
        },
        next=found.next,
    )


@router.get(
    "/v1/catalogue/{asset_id}/course",
    summary="This organisation's access to an asset, and whose turn it is",
    response_model=CourseAnswer,
)
async def course(
    asset_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_readers),
) -> CourseAnswer:
    found = await service.course(context, hex_bytes(asset_id))
    return CourseAnswer(
        done=sorted(step.value for step in found.done),
        current=None if found.current is None else found.current.value,
        turn=found.turn.value,
        grantId=None if found.grant is None else "0x" + found.grant.grant_id.hex(),
        agreementId=None if found.agreement is None else "0x" + found.agreement.agreement_id.hex(),
        ended=found.ended,
    )
