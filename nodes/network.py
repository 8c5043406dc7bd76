"""The other members' nodes and the chain's validators, as this node sees them.

The supervisor and the operator ask every configured node how its parts are. A node shows another
member its parts without amounts and names (``nodes.readiness.for_strangers``).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, ValidationError

from chain.context import Context
from chain.core.errors import Conflict, Malformed, QiaolianError, Unavailable
from chain.core.zone import DAY_SECONDS, local_time
from chain.ethereum import validators
from chain.ethereum.validators import ValidatorReport
from chain.ethereum.view_snapshot import ChainHead
from exchange.supervision import service as supervision
from exchange.supervision.model import HourCounts
from exchange.supervision.service import WATCHERS, require_watcher
from nodes.findings import State
from nodes.health import Health
from nodes.peers import HttpPeers
from nodes.readiness import Dependency, Readiness, for_strangers
from nodes.workers.peers import PeerMonitor
from registry import fanout
from registry.access import Principal, get_context, require_local, require_member
from registry.evidence import copies, witness
from registry.list_limits import MAX_ROWS
from registry.members import service as members
from registry.pages import PageRequest

router = APIRouter(tags=["network"])
Readers = Depends(require_local("system", "clerk", "officer", "auditor", "administrator"))
ROUND_SECONDS = 10.0
MAX_PARTS = 100
DEFAULT_BLOCKS, MAX_BLOCKS = 60, 300


# --- Nodes ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Status of another member's node. Times in Unix seconds; None for what is not known."""

    member: str
    state: State
    code: str = ""
    """Why it did not answer; empty if it did."""
    sentence: str = ""
    hint: str = ""
    parts: Sequence[Dependency] = ()
    """The parts that are not in order."""
    asked_at: float | None = None
    failing_since: float | None = None
    certificate_ends: float | None = None


class NetworkMonitor:
    """Asks the other members' nodes how they are, and remembers the answers. Thread-safe."""

    def __init__(self, context: Context, peers: HttpPeers, monitor: PeerMonitor) -> None:
        self._context = context
        self._peers = peers
        self._monitor = monitor
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[float, Readiness]] = {}

    @property
    def watches(self) -> bool:
        """Whether this node watches the others."""
        return bool(self._context.roles & WATCHERS)

    async def round(self) -> None:
        """Ask every node once, concurrently; an answer replaces the one before."""
        outcomes = await fanout.for_each(self._peers.members, self._ask, seconds=ROUND_SECONDS)
        now = self._context.clock()
        with self._lock:
            for member, outcome in outcomes.items():
                if isinstance(outcome, Readiness):
                    self._answers[member] = now, outcome
                else:
                    self._answers.pop(member, None)

    async def _ask(self, member: str) -> Readiness:
        answer = await self._peers.get(member, "/v1/peer/health")
        try:
            found = Readiness.model_validate(answer)
        except ValidationError as error:
            raise _bad_answer() from error
        if len(found.dependencies) > MAX_PARTS:
            raise _bad_answer()
        return found

    def statuses(self) -> list[NodeStatus]:
        """Every configured node, the failing ones first."""
        with self._lock:
            answers = dict(self._answers)
        ends = self._monitor.certificate_ends()
        found = []
        for peer in self._monitor.statuses():
            asked_at, readiness = answers.get(peer.member, (None, None))
            bad = [] if readiness is None else _not_in_order(readiness)
            state = State.OK if readiness is None else readiness.state
            found.append(
                NodeStatus(
                    member=peer.member,
                    state=State.FAILING if peer.code else state,
                    code=peer.code,
                    sentence=peer.detail,
                    hint=peer.hint,
                    parts=bad,
                    asked_at=asked_at,
                    failing_since=peer.failing_since,
                    certificate_ends=ends.get(peer.member),
                )
            )
        order = (State.FAILING, State.WARNING, State.OK)
        return sorted(found, key=lambda node: (order.index(node.state), node.member))


def _not_in_order(readiness: Readiness) -> list[Dependency]:
    return [part for part in readiness.dependencies if part.state is not State.OK]


def _bad_answer() -> Unavailable:
    return Unavailable(
        "peer_bad_answer", "The other member's node did not answer with JSON that can be read."
    )


def node_statuses(context: Context) -> list[NodeStatus]:
    """Status of the other members' nodes; ``not_network_watcher``."""
    require_watcher(context)
    monitor = context.services.find(NetworkMonitor)
    return [] if monitor is None else monitor.statuses()


# --- Validators -----------------------------------------------------------------------------------


@dataclass
class _LastReport:
    """The report of the latest head; the pages of several people ask for the same."""

    height: int = -1
    blocks: int = 0
    report: ValidatorReport | None = None


def validator_report(context: Context, *, blocks: int = DEFAULT_BLOCKS) -> ValidatorReport:
    """Who proposed and sealed the last blocks.

    Raises:
        Unavailable: ``chain_view_stale``; ``chain_without_seals`` for a test chain, whose blocks
            nobody seals.
    """
    last = context.services.get(_LastReport, _LastReport)
    head = context.view.head.height
    if last.report is not None and (last.height, last.blocks) == (head, blocks):
        return last.report
    checked = context.view.headers(max(1, head - blocks + 1), head)
    try:
        found = validators.report([header.header_rlp for header in checked])
    except Malformed as error:
        raise Unavailable(
            "chain_without_seals", "The blocks of this chain carry no validators' seals."
        ) from error
    last.height, last.blocks, last.report = head, blocks, found
    return found


# --- Alarms ---------------------------------------------------------------------------------------

CERTIFICATE_DAYS = 30
SLOW_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something on the network that a person has to look at."""

    error: QiaolianError
    """Code, sentence and what to do."""
    member: str = ""
    """Whom it concerns; empty for the whole network."""
    state: State = State.WARNING


def alarms_of(
    statuses: Sequence[NodeStatus],
    report: ValidatorReport | None,
    *,
    forks: int,
    now: float,
) -> list[Alarm]:
    """Problems, the worst first.

    Args:
        report: None where the chain has no seals or cannot be read.
        forks: logs that were caught showing two histories.
    """
    found = [alarm for status in statuses for alarm in _node_alarms(status, now)]
    if forks:
        found.append(
            Alarm(
                Conflict(
                    "log_forked",
                    f"{forks} times a member's log did not extend what it showed before.",
                    hint="Both checkpoints are stored.",
                ),
                state=State.FAILING,
            )
        )
    if report is not None:
        found += _validator_alarms(report, now)
    return sorted(found, key=lambda alarm: alarm.state is not State.FAILING)


def _node_alarms(status: NodeStatus, now: float) -> Iterator[Alarm]:
    if status.code:
        error = Unavailable(status.code, status.sentence, hint=status.hint)
        yield Alarm(error, status.member, State.FAILING)
    for part in status.parts:
        yield Alarm(Unavailable(part.code, part.detail, hint=part.hint), status.member, part.state)
    ends = status.certificate_ends
    if ends is not None and ends - now < CERTIFICATE_DAYS * DAY_SECONDS:
        yield Alarm(
            Unavailable(
                "peer_certificate_ends_soon",
                f"The node's TLS certificate ends at {local_time(ends)}.",
                hint="Ask that member to run `qiaolian node certificate renew`.",
            ),
            status.member,
        )


def _validator_alarms(report: ValidatorReport, now: float) -> Iterator[Alarm]:
    silent = [record.address for record in report.validators if record.last_sealed is None]
    if silent:
        yield Alarm(
            Unavailable(
                "validator_silent",
                f"{len(silent)} validators sealed none of the last {report.blocks} blocks: "
                f"{', '.join(silent)}.",
                hint="Ask whoever runs them to start them again.",
            ),
            state=State.FAILING if report.spare == 0 else State.WARNING,
        )
    if now - report.last_time > SLOW_SECONDS:
        yield Alarm(
            Unavailable(
                "chain_slow",
                f"The last block is {now - report.last_time:.0f} s old.",
                hint="Look at the validators: each that fails costs its turn.",
            ),
            state=State.FAILING,
        )


# --- The whole network ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NetworkOverview:
    """The network at one moment."""

    members: Mapping[str, int]
    """Number by status."""
    nodes: Sequence[NodeStatus]
    report: ValidatorReport | None
    """None where the chain has no seals or cannot be read."""
    height: int | None
    head_time: int | None
    hours: Sequence[HourCounts]
    """The last 24, the current one last."""
    logged: Mapping[int, int]
    """Receipts in the members' logs by hour, as this supervisor copied them; empty elsewhere."""
    open_agreements: int
    alarms: Sequence[Alarm]


def _head(context: Context) -> ChainHead | None:
    try:
        return context.view.head
    except QiaolianError:
        return None


def overview(context: Context) -> NetworkOverview:
    """The network now; ``not_network_watcher``. It asks nobody: everything was collected before."""
    statuses = node_statuses(context)
    head, report = _head(context), None
    with contextlib.suppress(QiaolianError):
        report = validator_report(context)
    hours = supervision.hours(context)
    forks = len(witness.forks(context, PageRequest(MAX_ROWS)).rows)
    logged = {count.hour: count.receipts for count in copies.hours(context, hours[0].hour)}
    return NetworkOverview(
        members=members.counts(context),
        nodes=statuses,
        report=report,
        height=None if head is None else head.height,
        head_time=None if head is None else head.timestamp,
        hours=hours,
        logged=logged,
        open_agreements=supervision.open_agreements(context),
        alarms=alarms_of(statuses, report, forks=forks, now=context.clock()),
    )


# --- Endpoints ------------------------------------------------------------------------------------


class AlarmRow(BaseModel):
    """Something on the network that a person has to look at."""

    member: str = Field(description="Whom it concerns; empty for the whole network")
    state: State
    code: str
    detail: str
    hint: str


class AlarmList(BaseModel):
    """Problems, the worst first."""

    alarms: list[AlarmRow]


class NodeRow(BaseModel):
    """Status of another member's node; times in Unix seconds."""

    member: str
    state: State
    code: str = Field(description="Why it did not answer; empty if it did")
    detail: str
    hint: str
    parts: list[Dependency] = Field(description="Its parts that are not in order")
    askedAt: float | None
    failingSince: float | None
    certificateEnds: float | None

    @classmethod
    def of(cls, status: NodeStatus) -> Self:
        """As the API shows it."""
        return cls(
            member=status.member,
            state=status.state,
            code=status.code,
            detail=status.sentence,
            hint=status.hint,
            parts=list(status.parts),
            askedAt=status.asked_at,
            failingSince=status.failing_since,
            certificateEnds=status.certificate_ends,
        )


class NodeList(BaseModel):
    """The configured nodes, the failing ones first."""

    nodes: list[NodeRow]


class ValidatorRow(BaseModel):
    """What one validator did in the blocks looked at."""

    address: str
    proposed: int
    sealed: int
    missed: int = Field(description="Turns to propose that were passed over")
    lastSealed: int | None


class VoteRow(BaseModel):
    """A vote that a block carries."""

    height: int
    validator: str
    key: str
    value: str


class ValidatorList(BaseModel):
    """The validator set, and what each did in the last blocks."""

    first: int
    last: int
    lastTime: int
    slowestSeconds: int = Field(description="The longest time between two of the blocks")
    needed: int = Field(description="Seals that make a block final")
    spare: int = Field(description="How many more may fail before the chain stops")
    validators: list[ValidatorRow]
    votes: list[VoteRow]

    @classmethod
    def of(cls, found: ValidatorReport) -> Self:
        """As the API shows it."""
        return cls(
            first=found.first,
            last=found.last,
            lastTime=found.last_time,
            slowestSeconds=found.slowest_seconds,
            needed=found.needed,
            spare=found.spare,
            validators=[
                ValidatorRow(
                    address=record.address,
                    proposed=record.proposed,
                    sealed=record.sealed,
                    missed=record.missed,
                    lastSealed=record.last_sealed,
                )
                for record in found.validators
            ],
            votes=[
                VoteRow(
                    height=vote.height, validator=vote.validator, key=vote.key, value=vote.value
                )
                for vote in found.votes
            ],
        )


@router.get(
    "/v1/peer/health",
    summary="How this node's parts are, for other members' nodes",
    response_model=Readiness,
)
async def peer_health(
    request: Request, _caller: Annotated[Principal, Depends(require_member)]
) -> Readiness:
    health: Health = request.app.state.health
    return for_strangers(await health.readiness())


@router.get(
    "/v1/network/nodes",
    summary="How the other members' nodes are (supervisor, operator)",
    response_model=NodeList,
)
def nodes(context: Context = Depends(get_context), _caller: Principal = Readers) -> NodeList:
    return NodeList(nodes=[NodeRow.of(status) for status in node_statuses(context)])


@router.get(
    "/v1/network/validators",
    summary="Who proposed and sealed the last blocks",
    response_model=ValidatorList,
)
async def validator_list(
    blocks: Annotated[int, Query(ge=2, le=MAX_BLOCKS)] = DEFAULT_BLOCKS,
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> ValidatorList:
    found = await run_in_threadpool(validator_report, context, blocks=blocks)
    return ValidatorList.of(found)


@router.get(
    "/v1/network/alarms",
    summary="What is not in order on the network, the worst first (supervisor, operator)",
    response_model=AlarmList,
)
def alarm_list(context: Context = Depends(get_context), _caller: Principal = Readers) -> AlarmList:
    found = overview(context).alarms
    return AlarmList(
        alarms=[
            AlarmRow(
                member=alarm.member,
                state=alarm.state,
                code=alarm.error.code,
                detail=alarm.error.sentence,
                hint=alarm.error.hint,
            )
            for alarm in found
        ]
    )
