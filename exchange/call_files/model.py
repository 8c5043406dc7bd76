"""Files of calls. Money in fen, times in Unix seconds, lines as a person counts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_ROWS = 50_000
"""Rows of one file."""
MAX_NAME = 100


class FileState(StrEnum):
    """State of a file."""

    READY = "ready"
    """Read and checked; nothing was called or spent."""
    RUNNING = "running"
    STOPPED = "stopped"
    """By a person, or by a refusal that every further row would get; it can be resumed."""
    DONE = "done"


class RowState(StrEnum):
    """State of a row."""

    INVALID = "invalid"
    """A cell is not what it must be; the row is never called."""
    WAITING = "waiting"
    OUTSTANDING = "outstanding"
    """The request is stored and unanswered; it is asked again under the same key."""
    SERVED = "served"
    REFUSED = "refused"
    """By the provider; costs nothing."""
    VOID = "void"
    """The right was revoked before the answer arrived; costs nothing."""


OPEN = (RowState.WAITING, RowState.OUTSTANDING)
"""Rows that are still to be answered."""


@dataclass(frozen=True, slots=True)
class CallFileRequest:
    """A file that a person or a system uploads."""

    name: str
    agreement_id: bytes
    columns: Sequence[str]
    content: bytes
    """CSV with a heading line: ``subject`` (主体) and, where needed, ``consent`` (同意)."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row as it was read: called as it is, or not at all where ``problem`` has a code."""

    line: int
    subject: str
    consent: str = ""
    """The consent's id in 0x hexadecimal; empty where none is needed."""
    problem: str = ""
    column: str = ""
    """The cell's column."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """The content of a file."""

    rows: Sequence[FileRow]
    unused_columns: Sequence[str]
    """Columns that no call uses; they are not stored."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row with its outcome."""

    line: int
    subject: str
    consent: str
    state: RowState
    code: str
    """Why it was refused or is invalid; empty for a served one."""
    column: str
    units: int
    amount: int
    attempt: int
    """How often it was refused for what had nothing to do with it, such as a cap."""
    key: str
    """The idempotency key of its call."""


@dataclass(frozen=True, slots=True)
class CallFile:
    """A file without its rows."""

    id: str
    name: str
    agreement_id: bytes
    columns: Sequence[str]
    state: FileState
    stop_code: str
    """Why it stopped; empty where a person stopped it."""
    waiting_code: str
    """Why the provider could not be asked at the last attempt; it is tried again."""
    unused_columns: Sequence[str]
    made_at: int
    started_at: int | None
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class FileProgress:
    """Progress of a file."""

    counts: dict[RowState, int]
    amount: int
    """Fen of the served rows."""

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(self.counts.values())

    @property
    def valid(self) -> int:
        """Rows that are called."""
        return self.rows - self.counts.get(RowState.INVALID, 0)

    @property
    def left(self) -> int:
        """Rows still to be answered."""
        return sum(self.counts.get(state, 0) for state in OPEN)

    @property
    def ended(self) -> int:
        """Rows that were answered."""
        return self.valid - self.left


@dataclass(frozen=True, slots=True)
class CostPreview:
    """What the rows that are left can cost, beside what the agreement still allows."""

    rows: int
    least: int
    """If every row is served at one unit each."""
    most: int
    """If every row costs as much as one call may."""
    cap: int
    cap_left: int
    units_left: int | None
    """None where the agreement has no count cap."""
    calls_left: int
    """Rows that fit under every cap at one unit each."""

    @property
    def fits(self) -> bool:
        """Whether every row fits under the caps at one unit each."""
        return self.rows <= self.calls_left


@dataclass(frozen=True, slots=True)
class FileView:
    """A file with its progress and what is left to pay."""

    file: CallFile
    progress: FileProgress
    preview: CostPreview


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row with its record and receipt."""

    row: StoredRow
    record: dict[str, object] | None
    receipt: bytes
