"""View models of the supervisor's pages. Money in fen, times in Unix seconds, heights in blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chain.context import Context
from chain.core.zone import local_time
from chain.statements.members import Role
from exchange.conservation.model import Line
from exchange.conservation.service import ConservationMonitor
from exchange.reconciliation.model import Comparison, LaneCount, OpenFinding, ReconciliationFinding
from exchange.supervision.trace import Fact, FactKind, RecordKind, Trace, TracedRecord
from nodes.console.i18n import N_
from nodes.console.names import asset_name, member_name, purpose_name
from registry.assets import catalogue
from registry.evidence.model import Fork
from registry.members import service as members

RECORDS: Mapping[RecordKind, str] = {
    RecordKind.MEMBER: N_("Member"),
    RecordKind.ASSET: N_("Asset"),
    RecordKind.GRANT: N_("Grant"),
    RecordKind.AGREEMENT: N_("Agreement"),
    RecordKind.DEAL: N_("Property deal"),
    RecordKind.STEP: N_("Step of a deal"),
    RecordKind.ENTRY: N_("Log entry"),
    RecordKind.TRANSACTION: N_("Transaction"),
    RecordKind.EVENT: N_("Event in the same block"),
}
_LINES: Mapping[Line, str] = {
    Line.TOTALS: N_("Deposits of all members"),
    Line.EARNINGS: N_("Earnings of all members"),
    Line.ACCOUNT: N_("Account of a member"),
    Line.MEMBERS: N_("Sum over all accounts"),
    Line.AGREEMENT: N_("Money of an agreement"),
    Line.LOCKED: N_("Locked money of a buyer"),
    Line.BONDED: N_("Bonds and stakes of a member"),
}
FACTS: Mapping[FactKind, str] = {
    FactKind.STATUS: N_("Status"),
    FactKind.HOLDER: N_("Holder"),
    FactKind.VERSION: N_("Version"),
    FactKind.OWNER: N_("Owner"),
    FactKind.GRANTEE: N_("Grantee"),
    FactKind.PURPOSE: N_("Purpose"),
    FactKind.PROVIDER: N_("Provider"),
    FactKind.BUYER: N_("Buyer"),
    FactKind.OPENED_AT: N_("Opened at"),
    FactKind.CLOSED_AT: N_("Closed at"),
    FactKind.HEIGHT: N_("In block"),
    FactKind.UNIT: N_("Home (pseudonym)"),
    FactKind.LOG_OF: N_("Log of"),
    FactKind.POSITION: N_("Position"),
    FactKind.WRITTEN_AT: N_("Written at"),
    FactKind.ENTRY_KIND: N_("Kind of entry"),
    FactKind.HEAD_SIZE: N_("Entries under the head that this node cosigned"),
    FactKind.HEAD_SEEN_AT: N_("Head seen at"),
    FactKind.HELD: N_("Dispute hold"),
    FactKind.EVENT: N_("Event"),
}
_PROOFS = {
    RecordKind.MEMBER: "members",
    RecordKind.ASSET: "assets",
    RecordKind.GRANT: "grants",
    RecordKind.AGREEMENT: "agreements",
}
_BUNDLES = {
    RecordKind.GRANT: "grants",
    RecordKind.DEAL: "deals",
    RecordKind.AGREEMENT: "agreements",
}
_TIMES = {FactKind.OPENED_AT, FactKind.CLOSED_AT, FactKind.WRITTEN_AT, FactKind.HEAD_SEEN_AT}
_MEMBERS = {
    FactKind.HOLDER,
    FactKind.OWNER,
    FactKind.GRANTEE,
    FactKind.PROVIDER,
    FactKind.BUYER,
    FactKind.LOG_OF,
}
_STATUS = {
    "active": N_("active"),
    "suspended": N_("suspended"),
    "removed": N_("removed"),
    "sent": N_("being sent to the chain"),
    "requested": N_("waits for a decision"),
    "approved": N_("in force"),
    "refused": N_("refused"),
    "revoked": N_("revoked"),
    "held": N_("in force"),
    "done": N_("done"),
    "failed": N_("refused by the contract"),
}
_STEPS = {
    "seller": N_("seller's signature"),
    "buyer": N_("buyer's signature"),
    "agent": N_("agent's signature"),
    "tax": N_("tax confirmed"),
    "mortgage": N_("mortgage"),
    "notary": N_("notarised"),
    "register": N_("registered"),
}


# --- Trace ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecordView:
    """A record of a trace; ``kind`` and the facts' names are labels. Labels among the facts'
    values are marked by the third item.
    """

    kind: str
    id: str
    title: str
    title_is_label: bool
    facts: list[tuple[str, str, bool]]
    trace: str
    """What the search field takes to continue from here; empty where nothing follows."""
    proof: str
    """The kind of its proof's page; empty for none."""
    bundle: str


@dataclass(frozen=True, slots=True)
class TraceView:
    """A record, what it rests on, and what rests on it."""

    found: list[RecordView]
    source: list[RecordView]
    following: list[RecordView]


def trace_view(context: Context, found: Trace, language: str) -> TraceView:
    """A trace as its page shows it."""

    def shown(records: Sequence[TracedRecord]) -> list[RecordView]:
        return [_record_view(context, item, language) for item in records]

    return TraceView(shown(found.found), shown(found.source), shown(found.following))


def _record_view(context: Context, item: TracedRecord, language: str) -> RecordView:
    step = item.kind is RecordKind.STEP
    return RecordView(
        kind=RECORDS[item.kind],
        id=item.id,
        title=_STEPS.get(item.title, item.title) if step else item.title,
        title_is_label=step,
        facts=[(FACTS[fact.kind], *_value(context, fact, language)) for fact in item.facts],
        trace="" if step else item.id,
        proof=_PROOFS.get(item.kind, ""),
        bundle=_bundle_kind(context, item),
    )


def _bundle_kind(context: Context, item: TracedRecord) -> str:
    """The kind of bundle that this node gets: a call is shown to parties and supervisors."""
    if item.kind is RecordKind.AGREEMENT and not context.roles & Role.SUPERVISOR:
        return ""
    return _BUNDLES.get(item.kind, "")


def _value(context: Context, fact: Fact, language: str) -> tuple[str, bool]:
    """A fact's value, and whether it is a label."""
    value = fact.value
    if fact.kind in _TIMES:
        return local_time(int(value)), False
    if fact.kind is FactKind.HEIGHT:
        return f"#{int(value):,}", False
    if isinstance(value, int):
        return f"{value:,}", False
    if fact.kind in _MEMBERS:
        return member_name(context, value), False
    if fact.kind is FactKind.PURPOSE:
        return purpose_name(value, language), False
    return _STATUS.get(value, value), value in _STATUS


# --- Findings -------------------------------------------------------------------------------------

FINDINGS: Mapping[str, tuple[str, str]] = {
    "gap": (N_("missing records"), N_("One side lacks positions that the other has.")),
    "conflict": (N_("contradiction"), N_("The sides or the chain have other totals.")),
    "unreachable": (N_("no answer"), N_("The member's node did not show its counts.")),
    "price": (N_("price difference"), N_("Another price was charged than agreed.")),
    "revoked_use": (
        N_("use after revocation"),
        N_("Data was delivered after the provider had seen the grant's revocation."),
    ),
    "lost": (N_("lost money"), N_("Delivered calls were not claimed before the agreement closed.")),
    "unclaimed": (N_("not claimed yet"), N_("Acknowledged calls are not claimed yet.")),
}
"""Label and explanation of each kind of finding."""


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding; ``kind`` and ``explained`` are labels."""

    agreement: str
    kind: str
    explained: str
    sentence: str
    lane: int | None
    from_seq: int | None
    to_seq: int | None
    responsible: str
    first_seen: int
    due_at: int
    overdue: bool
    settled_at: int | None
    bundle: str
    """The path of a bundle that shows it; empty where none can be made."""


def finding_view(context: Context, item: OpenFinding) -> FindingView:
    """A followed finding as the pages show it."""
    found, agreement = item.finding, "0x" + item.agreement_id.hex()
    kind, explained = FINDINGS.get(found.kind, (found.kind, ""))
    names = [member_name(context, member) for member in item.responsible]
    return FindingView(
        agreement=agreement,
        kind=kind,
        explained=explained,
        sentence=found.sentence,
        lane=found.lane,
        from_seq=found.from_seq,
        to_seq=found.to_seq,
        responsible="、".join(names),
        first_seen=item.first_seen,
        due_at=item.due_at,
        overdue=item.settled_at is None and item.due_at < context.now(),
        settled_at=item.settled_at,
        bundle=_bundle_path(agreement, found),
    )


def _bundle_path(agreement: str, found: ReconciliationFinding) -> str:
    if found.kind in ("unreachable", "gap") or found.lane is None or not found.to_seq:
        return ""
    return f"/trace/bundle/agreements/{agreement}?lane={found.lane}&seq={found.to_seq}"


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane by gateway, buyer and chain."""

    lane: int
    gateway: LaneCount | None
    buyer: LaneCount | None
    chain_seq: int
    chain_units: int
    chain_amount: int


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """One agreement compared just now; the findings are label, explanation and sentence."""

    agreement: str
    agree: bool
    lanes: list[LaneView]
    findings: list[tuple[str, str, ReconciliationFinding]]
    money: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class MoneyView:
    """The latest check of the chain's money."""

    height: int
    members: int
    agreements: int
    open_agreements: int
    discrepancies: list[tuple[str, str, int, int]]
    """The sum's marked label, whose it is, and fen as stated and as it should be."""


def money_view(context: Context) -> MoneyView | None:
    """The latest check of the chain's money; None where this node does not check it."""
    monitor = context.services.find(ConservationMonitor)
    if monitor is None:
        return None
    report = monitor.report
    return MoneyView(
        height=report.height,
        members=report.members,
        agreements=report.agreements,
        open_agreements=report.open_agreements,
        discrepancies=[
            (_LINES[one.line], one.subject, one.stated, one.counted) for one in report.discrepancies
        ],
    )


def comparison_view(found: Comparison) -> ComparisonView:
    """A comparison as its page shows it."""
    money = found.money
    return ComparisonView(
        agreement="0x" + found.agreement_id.hex(),
        agree=found.agree,
        lanes=[
            LaneView(
                lane=lane,
                gateway=item.gateway,
                buyer=item.buyer,
                chain_seq=item.chain.seq,
                chain_units=item.chain.units,
                chain_amount=item.chain.amount,
            )
            for lane, item in sorted(found.lanes.items())
        ],
        findings=[
            (*FINDINGS.get(finding.kind, (finding.kind, "")), finding) for finding in found.findings
        ],
        money=[]
        if money is None
        else [
            (N_("Delivered"), money.earned),
            (N_("Acknowledged"), money.acknowledged),
            (N_("Claimed"), money.claimed),
            (N_("Paid out"), money.paid),
            (N_("Not claimed yet"), money.unclaimed),
            (N_("Lost"), money.lost),
        ],
    )


@dataclass(frozen=True, slots=True)
class ForkView:
    """Two signed heads of one log that contradict each other."""

    member: str
    name: str
    first: str
    second: str
    found_at: int


def fork_view(context: Context, fork: Fork) -> ForkView:
    """A fork as the pages show it."""
    member = fork.origin.split("/")[1] if fork.origin.count("/") == 2 else fork.origin
    return ForkView(
        member=member,
        name=member_name(context, member),
        first=fork.first,
        second=fork.second,
        found_at=fork.found_at,
    )


@dataclass(frozen=True, slots=True)
class EquivocationView:
    """A place of a lane for which a provider signed two receipts."""

    agreement: str
    provider: str
    name: str
    lane: int
    seq: int
    height: int


# --- Freeze ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrozenView:
    """What is suspended or held now."""

    members: list[tuple[str, str, int]]
    """Code, name and height of the suspension."""
    assets: list[tuple[str, str, str]]
    """Id, name and holder's name."""


def frozen_view(context: Context) -> FrozenView:
    """Suspended members and held assets."""
    return FrozenView(
        members=[
            (member.member, member.name, member.suspended_at)
            for member in members.suspended(context)
        ],
        assets=[
            (
                "0x" + entry.asset_id.hex(),
                asset_name(context, entry.asset_id),
                member_name(context, entry.record.holder),
            )
            for entry in catalogue.held(context)
        ],
    )
