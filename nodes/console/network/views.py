"""View models of the pages of the network. Money in fen, times in Unix seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import State as AppState

from chain.context import Context
from chain.core.error_codes import error_codes
from chain.core.zone import DAY_SECONDS, local_time
from chain.ethereum.validators import ValidatorReport
from exchange.supervision.model import AgreementFacts, Flow, Flows
from nodes.console.exports import Cell
from nodes.console.health.views import PART_NAMES, STATES
from nodes.console.i18n import CHINESE, N_, gettext, in_language
from nodes.console.names import member_name
from nodes.findings import State
from nodes.network import Alarm, NetworkOverview, NodeStatus
from registry.assets import catalogue
from registry.members import service as members

CHART_FLOWS = 40
"""Flows drawn in the chart; the table has them all."""
CERTIFICATE_DAYS = 30


# --- The network live -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AlarmView:
    """Something to look at; ``state`` is a label."""

    whom: str
    path: str
    state: str
    failing: bool
    code: str
    detail: str
    next_step: str


@dataclass(frozen=True, slots=True)
class LiveView:
    """The network at one moment."""

    members: int
    suspended: int
    nodes: int
    nodes_well: int
    validators: int | None
    validators_sealing: int
    height: int | None
    head_time: int | None
    calls_hour: int
    calls_day: int
    amount_hour: int
    amount_day: int
    logged_hour: int | None
    """Receipts in the logs that this supervisor copied; None elsewhere."""
    open_agreements: int
    alarms: list[AlarmView]


def live_view(context: Context, found: NetworkOverview, language: str) -> LiveView:
    """The network as its page shows it. Reads the registry of errors from its files once."""
    report, now = found.report, found.hours[-1]
    return LiveView(
        members=found.members.get("active", 0),
        suspended=found.members.get("suspended", 0),
        nodes=len(found.nodes),
        nodes_well=sum(node.state is not State.FAILING for node in found.nodes),
        validators=None if report is None else len(report.validators),
        validators_sealing=0
        if report is None
        else sum(record.last_sealed is not None for record in report.validators),
        height=found.height,
        head_time=found.head_time,
        calls_hour=now.calls,
        calls_day=sum(hour.calls for hour in found.hours),
        amount_hour=now.amount,
        amount_day=sum(hour.amount for hour in found.hours),
        logged_hour=found.logged.get(now.hour, 0) if found.logged else None,
        open_agreements=found.open_agreements,
        alarms=[_alarm_view(context, alarm, language) for alarm in found.alarms],
    )


def _alarm_view(context: Context, alarm: Alarm, language: str) -> AlarmView:
    detail, next_step = _explained(
        alarm.error.code, alarm.error.sentence, alarm.error.hint, language
    )
    path = "/violations" if alarm.error.code == "log_forked" else "/validators"
    return AlarmView(
        whom=member_name(context, alarm.member) if alarm.member else "",
        path="/nodes" if alarm.member else path,
        state=STATES[alarm.state],
        failing=alarm.state is State.FAILING,
        code=alarm.error.code,
        detail=detail,
        next_step=next_step,
    )


def _explained(code: str, detail: str, hint: str, language: str) -> tuple[str, str]:
    """What happened and what to do, in Chinese from the registry of errors."""
    entry = error_codes().get(code)
    if entry is None or language != CHINESE:
        return detail, hint
    return entry.sentence.zh, entry.next_step.zh


def hour_chart(found: NetworkOverview, language: str) -> dict[str, Any]:
    """Calls and money of the last 24 hours as an ECharts option."""
    with in_language(language):
        return _hour_chart(found)


def _hour_chart(found: NetworkOverview) -> dict[str, Any]:
    names = [local_time(hour.hour)[11:16] for hour in found.hours]
    series = [
        {
            "name": gettext("Calls settled"),
            "type": "bar",
            "data": [hour.calls for hour in found.hours],
        },
        {
            "name": gettext("Settled (yuan)"),
            "type": "line",
            "yAxisIndex": 1,
            "data": [hour.amount / 100 for hour in found.hours],
        },
    ]
    if found.logged:
        series.insert(
            1,
            {
                "name": gettext("Receipts in the logs"),
                "type": "bar",
                "data": [found.logged.get(hour.hour, 0) for hour in found.hours],
            },
        )
    return {
        "tooltip": {"trigger": "axis"},
        "legend": {},
        "xAxis": {"type": "category", "data": names},
        "yAxis": [{"type": "value"}, {"type": "value"}],
        "series": series,
    }


# --- Flows ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlowView:
    """What one member got of another's asset."""

    provider: str
    provider_name: str
    buyer: str
    buyer_name: str
    asset: str
    asset_name: str
    calls: int
    units: int
    amount: int

    @property
    def records(self) -> str:
        """The page of the agreements behind it."""
        return f"/flows/agreements?asset={self.asset}&provider={self.provider}&buyer={self.buyer}"


CSV_HEADERS = (
    "provider",
    "provider_name",
    "buyer",
    "buyer_name",
    "asset",
    "asset_name",
    "calls",
    "units",
    "amount_fen",
)


@dataclass(frozen=True, slots=True)
class _Names:
    """Names of members and assets, looked up at once."""

    members: Mapping[str, str]
    assets: Mapping[bytes, str]

    def member(self, code: str) -> str:
        """A member's name; the code of one that this node does not know."""
        return self.members.get(code, code)

    def asset(self, asset_id: bytes) -> str:
        """An asset's name; the start of the id of one that this node does not know."""
        return self.assets.get(asset_id, f"0x{asset_id.hex()[:8]}…")


def _names(context: Context, rows: Sequence[Flow] | Sequence[AgreementFacts]) -> _Names:
    codes = {code for row in rows for code in (row.provider, row.buyer)}
    return _Names(
        members.names(context, codes), catalogue.names(context, {row.asset_id for row in rows})
    )


def flow_views(context: Context, found: Flows) -> list[FlowView]:
    """Flows as the pages show them."""
    names = _names(context, found.rows)
    member, asset = names.member, names.asset
    return [
        FlowView(
            provider=flow.provider,
            provider_name=member(flow.provider),
            buyer=flow.buyer,
            buyer_name=member(flow.buyer),
            asset="0x" + flow.asset_id.hex(),
            asset_name=asset(flow.asset_id),
            calls=flow.calls,
            units=flow.units,
            amount=flow.amount,
        )
        for flow in found.rows
    ]


def flows_csv(rows: Sequence[FlowView]) -> Iterator[Sequence[Cell]]:
    """Flows as rows of a file."""
    for row in rows:
        yield (
            row.provider,
            row.provider_name,
            row.buyer,
            row.buyer_name,
            row.asset,
            row.asset_name,
            row.calls,
            row.units,
            row.amount,
        )


def flow_chart(rows: Sequence[FlowView], days: int) -> dict[str, Any]:
    """The largest flows as an ECharts sankey: provider, asset, buyer. A click leads to the records.

    A member that gives and gets has a node on each side, so the buyer's name ends with an
    invisible character.
    """
    nodes: dict[str, dict[str, str]] = {}
    links = []
    for row in rows[:CHART_FLOWS]:
        source, target = row.provider_name, row.buyer_name + "\u200b"
        middle = f"{row.asset_name}\u200c"
        nodes[source] = {"name": source, "link": f"/members/{row.provider}"}
        nodes[middle] = {"name": middle, "link": f"/assets/{row.asset}"}
        nodes[target] = {"name": target, "link": f"/members/{row.buyer}"}
        value = max(1, row.calls)
        links.append({"source": source, "target": middle, "value": value, "link": row.records})
        links.append({"source": middle, "target": target, "value": value, "link": row.records})
    series = {
        "type": "sankey",
        "data": list(nodes.values()),
        "links": links,
        "lineStyle": {"color": "source", "opacity": 0.4},
        "label": {"fontSize": 12, "overflow": "truncate", "width": 140},
        "right": 150,
    }
    return {"tooltip": {"trigger": "item"}, "series": [series]}


@dataclass(frozen=True, slots=True)
class AgreementView:
    """An agreement behind a flow."""

    id: str
    provider_name: str
    buyer_name: str
    asset_name: str
    opened_at: int
    closed_at: int | None


def agreement_views(context: Context, found: Sequence[AgreementFacts]) -> list[AgreementView]:
    """Agreements as the pages show them."""
    names = _names(context, found)
    member, asset = names.member, names.asset
    return [
        AgreementView(
            id="0x" + facts.agreement_id.hex(),
            provider_name=member(facts.provider),
            buyer_name=member(facts.buyer),
            asset_name=asset(facts.asset_id),
            opened_at=facts.opened_at,
            closed_at=facts.closed_at,
        )
        for facts in found
    ]


# --- Validators and nodes -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ValidatorView:
    """What one validator did; ``share`` in tenths of a percent."""

    address: str
    proposed: int
    sealed: int
    share: str
    missed: int
    last_sealed: int | None
    silent: bool


@dataclass(frozen=True, slots=True)
class ValidatorsView:
    """The validator set."""

    report: ValidatorReport
    rows: list[ValidatorView]


def validators_view(report: ValidatorReport) -> ValidatorsView:
    """The validators as their page shows them."""
    rows = [
        ValidatorView(
            address=record.address,
            proposed=record.proposed,
            sealed=record.sealed,
            share=f"{100 * record.sealed / report.blocks:.1f} %",
            missed=record.missed,
            last_sealed=record.last_sealed,
            silent=record.last_sealed is None,
        )
        for record in report.validators
    ]
    return ValidatorsView(report, rows)


@dataclass(frozen=True, slots=True)
class NodePartView:
    """A part of another member's node that is not in order; ``name`` and ``state`` are labels."""

    name: str
    state: str
    code: str
    detail: str
    next_step: str


@dataclass(frozen=True, slots=True)
class NodeView:
    """Another member's node; ``state`` is a label."""

    member: str
    name: str
    state: str
    good: bool
    since: float | None
    asked_at: float | None
    parts: list[NodePartView]
    certificate_ends: float | None
    certificate_days: int | None
    certificate_soon: bool


SEVERITY: Mapping[State, int] = {State.FAILING: 2, State.WARNING: 1, State.OK: 0}
"""The failing nodes come first."""


def node_views(context: Context, statuses: Sequence[NodeStatus], language: str) -> list[NodeView]:
    """The nodes as their page shows them."""
    return [_node_view(context, status, language) for status in statuses]


def _node_view(context: Context, status: NodeStatus, language: str) -> NodeView:
    ends = status.certificate_ends
    days = None if ends is None else int((ends - context.clock()) // DAY_SECONDS)
    parts = [
        _part_view(part.name, part.state, part.code, part.detail, part.hint, language)
        for part in status.parts
    ]
    if status.code:
        connection = _part_view(
            N_("connection"), State.FAILING, status.code, status.sentence, status.hint, language
        )
        parts.insert(0, connection)
    return NodeView(
        member=status.member,
        name=member_name(context, status.member),
        state=STATES[status.state],
        good=status.state is State.OK,
        since=status.failing_since,
        asked_at=status.asked_at,
        parts=parts,
        certificate_ends=ends,
        certificate_days=days,
        certificate_soon=days is not None and days < CERTIFICATE_DAYS,
    )


def _part_view(
    name: str, state: State, code: str, detail: str, hint: str, language: str
) -> NodePartView:
    shown, next_step = _explained(code, detail, hint, language)
    return NodePartView(
        name=PART_NAMES.get(name, name),
        state=STATES[state],
        code=code,
        detail=shown,
        next_step=next_step,
    )


def own_certificate(state: AppState) -> int | None:
    """Days until this node's own certificate ends; None without a running node."""
    health = getattr(state, "health", None)
    days = None if health is None else health.certificate_days()
    return None if days is None else int(days)
