"""View models of the catalogue's pages. Money in fen, heights in blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from chain.context import Context
from exchange.catalogue.model import (
    UNKNOWN_PRICE,
    AssetState,
    CatalogueFilter,
    CatalogueRow,
    Course,
    Facets,
    PriceBand,
    Step,
    Turn,
)
from nodes.console.exports import Cell
from nodes.console.i18n import CHINESE, N_
from nodes.console.names import member_name, reason_name
from registry.assets.model import CatalogueEntry

STATES: Mapping[str, str] = {
    AssetState.USABLE: N_("usable"),
    AssetState.HELD: N_("on dispute hold"),
    AssetState.CANCELLED: N_("cancelled"),
}
PRICES: Mapping[str, str] = {
    PriceBand.FREE: N_("free"),
    PriceBand.BELOW_YUAN: N_("below 1 yuan"),
    PriceBand.BELOW_TEN: N_("1 to 10 yuan"),
    PriceBand.TEN_AND_MORE: N_("10 yuan and more"),
    PriceBand.UNKNOWN: N_("no offer known"),
}
UNITS: Mapping[str, str] = {
    "call": N_("call"),
    "row": N_("row"),
    "byte": N_("byte"),
    "": N_("no offer known"),
}
FACETS: Mapping[str, str] = {
    "holder": N_("Holder"),
    "category": N_("Category"),
    "grade": N_("Grade"),
    "price": N_("Price of a unit"),
    "unit": N_("Billed by"),
    "state": N_("State"),
}


@dataclass(frozen=True, slots=True)
class AssetView:
    """An asset of the catalogue; ``state`` and ``unit`` are marked labels."""

    id: str
    holder: str
    holder_name: str
    name: str
    title: str
    version: int
    grade: int
    category: str
    rows: int
    state: str
    unit: str
    price: int | None
    """None where no offer is known."""
    max_days: int
    columns: Sequence[str]
    registered_at: int


@dataclass(frozen=True, slots=True)
class AssetDetail:
    """An asset's record on the chain; ``state`` is a marked label."""

    id: str
    holder: str
    name: str
    version: int
    grade: int
    category: str
    data_item: str
    rows: int
    registered_at: int
    cancelled_at: int | None
    state: str


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a facet with the link that adds it to the search, or takes it away."""

    label: str
    marked: bool
    """Whether the label is translated where it is shown."""
    count: int
    link: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class FacetView:
    """A facet; ``label`` is marked."""

    label: str
    values: list[FacetValue]


def asset_view(context: Context, row: CatalogueRow, language: str) -> AssetView:
    """An asset as list and export show it."""
    title = row.title_zh if language == CHINESE else row.title_en
    return AssetView(
        id="0x" + row.asset_id.hex(),
        holder=row.holder,
        holder_name=member_name(context, row.holder),
        name=row.name,
        title=title,
        version=row.version,
        grade=row.grade,
        category=row.category,
        rows=row.rows,
        state=STATES[row.state],
        unit=UNITS.get(row.unit, row.unit),
        price=None if row.price == UNKNOWN_PRICE else row.price,
        max_days=row.max_days,
        columns=row.columns,
        registered_at=row.registered_at,
    )


def asset_detail(entry: CatalogueEntry) -> AssetDetail:
    """A catalogue entry as its page shows it."""
    state, record = AssetState.USABLE, entry.record
    if entry.cancelled_at is not None:
        state = AssetState.CANCELLED
    elif entry.held:
        state = AssetState.HELD
    return AssetDetail(
        id="0x" + entry.asset_id.hex(),
        holder=record.holder,
        name=record.name,
        version=record.asset_version,
        grade=record.grade,
        category=record.category,
        data_item=record.data_item,
        rows=record.row_count,
        registered_at=entry.registered_at,
        cancelled_at=entry.cancelled_at,
        state=STATES[state],
    )


def query_of(wanted: CatalogueFilter) -> dict[str, str]:
    """A search as the parameters of its address; what is empty is left out."""
    values = {
        "q": wanted.text,
        "holder": wanted.holder,
        "category": wanted.category,
        "grade": str(wanted.grade or ""),
        "state": wanted.state,
        "price": wanted.price,
        "unit": wanted.unit,
        "column": wanted.column,
        "min_days": str(wanted.min_days or ""),
    }
    return {name: value for name, value in values.items() if value}


def facet_views(context: Context, found: Facets, wanted: CatalogueFilter) -> list[FacetView]:
    """The facets with their links; those of one value that is not chosen say nothing new."""
    query, shown = query_of(wanted), []
    for name, label in FACETS.items():
        values = found.values[name]
        if len(values) > 1 or name in query:
            views = [_facet_value(context, name, one.value, one.count, query) for one in values]
            shown.append(FacetView(label, views))
    return shown


def _facet_value(
    context: Context, name: str, value: str, count: int, query: dict[str, str]
) -> FacetValue:
    labels: Mapping[str, str] = {"state": STATES, "price": PRICES, "unit": UNITS}.get(name, {})
    label = labels.get(value, value)
    if name == "holder":
        label = member_name(context, value)
    elif name == "grade":
        label = f"L{value}"
    chosen = query.get(name) == value
    changed = {key: one for key, one in query.items() if key != name}
    if not chosen:
        changed[name] = value
    # An asset without a known offer has no unit to be looked for; its price says the same.
    if name == "unit" and not value:
        changed = {**query, "price": PriceBand.UNKNOWN.value}
    return FacetValue(label, value in labels, count, "/assets?" + urlencode(changed), chosen)


EXPORT_COLUMNS = (
    N_("Name"),
    N_("Title"),
    N_("Holder"),
    N_("Version"),
    N_("Grade"),
    N_("Category"),
    N_("Records"),
    N_("Columns"),
    N_("Price (yuan)"),
    N_("Registered in block"),
    N_("Id"),
)


def export_cells(asset: AssetView) -> list[Cell]:
    """One line of the export."""
    price = asset.price
    return [
        asset.name,
        asset.title,
        asset.holder,
        asset.version,
        asset.grade,
        asset.category,
        asset.rows,
        ", ".join(asset.columns),
        "" if price is None else f"{price // 100}.{price % 100:02d}",
        asset.registered_at,
        asset.id,
    ]


# --- Course ---------------------------------------------------------------------------------------

STEPS: Mapping[Step, str] = {
    Step.REQUEST: N_("Ask for a grant"),
    Step.DECISION: N_("Decision of the holder's chief data officer"),
    Step.OFFER: N_("Offer of the holder"),
    Step.AGREEMENT: N_("Agreement signed and opened"),
    Step.CALL: N_("First call"),
}
TURNS: Mapping[Turn, str] = {
    Turn.OWN: N_("It is your organisation's turn."),
    Turn.PROVIDER: N_("It is the other organisation's turn."),
    Turn.CHAIN: N_("It is the chain's turn; the node continues by itself."),
    Turn.NOBODY: N_("Everything is in place."),
}
ENDED: Mapping[str, str] = {
    "refused": N_("The last request was refused."),
    "revoked": N_("The grant was revoked."),
    "expired": N_("The last grant or proposal has expired."),
    "failed": N_("The last proposal came to nothing."),
    "withdrawn": N_("Your organisation withdrew its last proposal."),
    "closed": N_("The last agreement is closed."),
    "notice": N_("The last agreement is ending."),
}


@dataclass(frozen=True, slots=True)
class StepView:
    """A step; ``label`` is marked, ``link`` leads to what was done or is to be done."""

    label: str
    done: bool
    current: bool
    link: str


@dataclass(frozen=True, slots=True)
class CourseView:
    """This organisation's access to an asset; labels are marked."""

    steps: list[StepView]
    turn: str
    ended: str
    reason: str
    action: str
    """What to press now; empty where nothing is to be done."""
    link: str


def course_view(asset_id: str, found: Course, language: str) -> CourseView:
    """The course as the page shows it."""
    links = _links(asset_id, found)
    steps = [
        StepView(label, step in found.done, step is found.current, links.get(step, ""))
        for step, label in STEPS.items()
    ]
    action, link = _action(found, links)
    return CourseView(
        steps=steps,
        turn=TURNS[found.turn],
        ended=ENDED.get(found.ended, ""),
        reason=reason_name(found.grant.reason, language)
        if found.grant is not None and found.grant.reason and found.ended
        else "",
        action=action,
        link=link,
    )


def _links(asset_id: str, found: Course) -> dict[Step, str]:
    links = {Step.REQUEST: f"/grants/request?asset={asset_id}"}
    if found.grant is not None:
        grant = f"0x{found.grant.grant_id.hex()}"
        if Step.REQUEST in found.done:
            links[Step.REQUEST] = links[Step.DECISION] = f"/grants/{grant}"
        links[Step.OFFER] = links[Step.AGREEMENT] = f"/agreements/order?grant={grant}"
    if found.agreement is not None and found.current in (Step.CALL, None):
        agreement = f"0x{found.agreement.agreement_id.hex()}"
        links[Step.AGREEMENT] = f"/agreements/{agreement}"
        links[Step.CALL] = f"/calls/new?agreement={agreement}"
    elif found.agreement is not None and found.turn is not Turn.OWN:
        links[Step.AGREEMENT] = f"/agreements/0x{found.agreement.agreement_id.hex()}"
    return {
        step: link for step, link in links.items() if step in found.done or step is found.current
    }


def _action(found: Course, links: Mapping[Step, str]) -> tuple[str, str]:
    if found.current is None:
        return N_("Make a call"), links[Step.CALL]
    if found.turn is not Turn.OWN:
        return "", ""
    labels = {
        Step.REQUEST: N_("Ask for a grant"),
        Step.AGREEMENT: N_("Order the data"),
        Step.CALL: N_("Make a call"),
    }
    return labels[found.current], links[found.current]
