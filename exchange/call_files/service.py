"""Files of calls: read, start, stop, list, results, remove.

A row's call has an idempotency key of its own, so that a row is never billed twice: not after a
crash, a stop or a second start. ``runner`` makes the calls.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, Forbidden, NotFound
from chain.statements.trade import Agreement
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, AgreementStage
from exchange.call_files import rules, store
from exchange.call_files.model import (
    CallFile,
    CallFileRequest,
    CostPreview,
    FileProgress,
    FileState,
    FileView,
    ReadFile,
    RowResult,
    RowState,
    StoredRow,
)
from exchange.metering import spent
from registry.credit import consents
from registry.grants import service as grants
from registry.list_limits import MAX_ROWS
from registry.pages import Page, PageRequest
from registry.purposes import KNOWN_PURPOSES


def add(context: Context, request: CallFileRequest) -> FileView:
    """Read and check a file and store its rows; nothing is called or spent.

    Where the purpose always needs the subject's consent and the file names none, the consent that
    this bank holds for the subject is taken.

    Raises:
        NotFound: ``unknown_agreement``; Forbidden: ``not_buyer``, ``column_not_granted``;
        Conflict: ``agreement_not_open``; BadInput: what ``rules.require_order`` and
            ``rules.read_file`` raise.
    """
    signed = agreements.load(context, request.agreement_id)
    _require_buyer(signed.side, signed.state)
    scope = grants.find(context, signed.agreement.grant_id).scope
    rules.require_order(
        request.name, request.columns, () if scope is None else tuple(scope.columns)
    )
    read = _with_consents(context, rules.read_file(request.content), signed.agreement.purpose)
    file = CallFile(
        id=secrets.token_hex(16),
        name=request.name,
        agreement_id=request.agreement_id,
        columns=tuple(request.columns),
        state=FileState.READY,
        stop_code="",
        waiting_code="",
        unused_columns=tuple(read.unused_columns),
        made_at=context.now(),
        started_at=None,
        ended_at=None,
    )
    context.database.write(lambda session: store.add(session, file, read.rows))
    return view(context, file.id)


def _require_buyer(side: AgreementSide, state: AgreementStage) -> None:
    if side is not AgreementSide.BUYER:
        raise Forbidden("not_buyer", "This organisation does not buy under the agreement.")
    if state is not AgreementStage.OPEN:
        raise Conflict("agreement_not_open", "The agreement is not open on the chain.")


def _with_consents(context: Context, read: ReadFile, purpose: str) -> ReadFile:
    known = KNOWN_PURPOSES.get(purpose)
    if known is None or not known.always_needs_consent:
        return read
    subjects = {row.subject for row in read.rows if not row.problem and not row.consent}
    held = consents.held_for(context, subjects, purpose)
    named = {subject: "0x" + consent.hex() for subject, consent in held.items()}
    return ReadFile(rules.with_consents(read.rows, named), read.unused_columns)


def view(context: Context, file_id: str) -> FileView:
    """A file with its progress and the cost of what is left; ``call_file_unknown``."""
    with context.database.read() as session:
        file = _find(session, file_id)
        done = store.progress(session, [file_id])[file_id]
    return FileView(file, done, _preview(context, file, done))


def _find(session: Session, file_id: str) -> CallFile:
    found = store.find(session, file_id)
    if found is None:
        raise NotFound("call_file_unknown", "This node has no such file of calls.")
    return found


def _preview(context: Context, file: CallFile, done: FileProgress) -> CostPreview:
    agreement: Agreement = agreements.load(context, file.agreement_id).agreement
    used = spent.totals(context, [file.agreement_id])[file.agreement_id]
    return rules.preview(agreement, done.left, units=used.units, amount=used.amount)


def listing(context: Context, page: PageRequest) -> Page[tuple[CallFile, FileProgress]]:
    """Files with their progress, the newest first; ``cursor_malformed``."""
    with context.database.read() as session:
        found = store.files(session, page)
        done = store.progress(session, [file.id for file in found.rows])
    return found.map(lambda file: (file, done[file.id]))


def rows(
    context: Context, file_id: str, page: PageRequest, *, states: Collection[RowState] = ()
) -> Page[StoredRow]:
    """Rows of a file in its order; ``call_file_unknown``, ``cursor_malformed``."""
    with context.database.read() as session:
        _find(session, file_id)
        return store.rows(session, file_id, page, states=states)


def results(context: Context, file_id: str) -> Iterator[RowResult]:
    """Every row of a file with its record and receipt, in the file's order;
    ``call_file_unknown``.
    """
    cursor: str | None = ""
    while cursor is not None:
        found = rows(context, file_id, PageRequest(MAX_ROWS, cursor))
        yield from with_results(context, found.rows)
        cursor = found.next


def with_results(context: Context, found: Collection[StoredRow]) -> list[RowResult]:
    """Rows with their records and receipts."""
    calls = spent.results(context, [row.key for row in found if row.state is RowState.SERVED])
    made = []
    for row in found:
        call = calls.get(row.key)
        record = None if call is None or call.content is None else call.content.get("record")
        made.append(RowResult(row, record, b"" if call is None else call.receipt))
    return made


def start(context: Context, file_id: str) -> FileView:
    """Start a file, or resume a stopped one.

    Raises:
        NotFound: ``call_file_unknown``; Conflict: ``agreement_not_open`` and what
            ``rules.require_startable`` raises.
    """
    found = view(context, file_id)
    signed = agreements.load(context, found.file.agreement_id)
    _require_buyer(signed.side, signed.state)

    def change(session: Session) -> None:
        rules.require_startable(_find(session, file_id).state, found.preview)
        store.set_state(
            session,
            file_id,
            FileState.RUNNING,
            stop_code="",
            waiting_code="",
            started_at=found.file.started_at or context.now(),
            ended_at=None,
        )

    context.database.write(change)
    return view(context, file_id)


def stop(context: Context, file_id: str) -> FileView:
    """Stop a running file; the calls under way still end. ``call_file_unknown``,
    ``file_not_running``.
    """

    def change(session: Session) -> None:
        rules.require_stoppable(_find(session, file_id).state)
        store.set_state(session, file_id, FileState.STOPPED, waiting_code="")

    context.database.write(change)
    return view(context, file_id)


def remove(context: Context, file_id: str) -> None:
    """Delete a file with its subjects; its calls stay in the list of calls. ``call_file_unknown``,
    ``file_running``.
    """

    def change(session: Session) -> None:
        rules.require_removable(_find(session, file_id).state)
        store.remove(session, file_id)

    context.database.write(change)
