"""Makes the calls of running files: one chunk of each file a round, each row under its own key.

What an interrupted process leaves is asked again under the same keys, so that a row that was
answered is read from this node's database and costs nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, QiaolianError, Unavailable
from exchange.agreements import service as agreements
from exchange.call_files import store
from exchange.call_files.model import CallFile, FileState, RowState, StoredRow
from exchange.call_files.rules import ENDING
from exchange.metering import service as metering
from exchange.metering.model import CallOutstanding, CallQuery, CallResult, CallStatus

CHUNK_CALLS = 8
"""Calls of a chunk for each lane of the agreement."""
MAX_CHUNK = 128
ROUND_SECONDS = 1.0
"""How long a round continues with further chunks; a stop is seen after each."""

_ENDED = {
    CallStatus.SERVED: RowState.SERVED,
    CallStatus.REFUSED: RowState.REFUSED,
    CallStatus.VOID: RowState.VOID,
}
_Outcome = CallResult | QiaolianError


class CallFileRunner:
    """Runs the node's files; belongs to the event loop of its buyer."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.has_work = False

    async def round(self) -> QiaolianError | None:
        """One chunk of every running file; the error for which a provider could not be asked."""
        files = await self._context.database.aread(store.running)
        failures = await asyncio.gather(*(self._chunks(file) for file in files))
        failed = [failure for failure in failures if failure is not None]
        self.has_work = len(files) > len(failed)
        return failed[0] if failed else None

    async def _chunks(self, file: CallFile) -> QiaolianError | None:
        """Chunks of a file until it ends, stops or the round is over."""
        loop = asyncio.get_running_loop()
        end, current = loop.time() + ROUND_SECONDS, file
        while current.state is FileState.RUNNING:
            failure = await self._chunk(current)
            if failure is not None or loop.time() > end:
                return failure
            found = await self._context.database.aread(lambda session: store.find(session, file.id))
            if found is None:
                return None
            current = found
        return None

    async def _chunk(self, file: CallFile) -> QiaolianError | None:
        """The next rows of a file."""
        context = self._context
        signed = await asyncio.to_thread(agreements.load, context, file.agreement_id)
        limit = min(MAX_CHUNK, CHUNK_CALLS * signed.agreement.lanes)
        rows = await context.database.aread(
            lambda session: store.open_rows(session, file.id, limit)
        )
        calls = (self._call(file, row, signed.agreement.purpose) for row in rows)
        outcomes = await asyncio.gather(*calls)
        stopping = _stopping(outcomes)
        waiting = next((made for made in outcomes if isinstance(made, Unavailable)), None)
        ended = {
            row.line: _columns(made, row)
            for row, made in zip(rows, outcomes, strict=True)
            if not (isinstance(made, QiaolianError) and stopping == made.code)
        }

        def change(session: Session) -> None:
            store.set_rows(session, file.id, ended)
            code = "" if waiting is None else waiting.code
            if code != file.waiting_code:
                store.set_waiting(session, file.id, code)
            self._finish(session, file, stopping)

        await context.database.awrite(change)
        return waiting

    async def _call(self, file: CallFile, row: StoredRow, purpose: str) -> _Outcome:
        try:
            query = CallQuery(
                subject=row.subject,
                columns=tuple(file.columns),
                purpose=purpose,
                consent=row.consent,
            )
            return await metering.call(
                self._context, file.agreement_id, query, idempotency_key=row.key
            )
        except QiaolianError as error:
            return error

    def _finish(self, session: Session, file: CallFile, stopping: str) -> None:
        """Stop a file that every further row would fail, and end one without open rows; a stop by
        a person meanwhile stays.
        """
        now = store.find(session, file.id)
        if now is None or now.state is not FileState.RUNNING:
            return
        if not store.open_rows(session, file.id, 1):
            at = self._context.now()
            store.set_state(session, file.id, FileState.DONE, ended_at=at, waiting_code="")
        elif stopping:
            store.set_state(session, file.id, FileState.STOPPED, stop_code=stopping)


def _stopping(outcomes: Sequence[_Outcome]) -> str:
    """The code of a refusal that every further row would get; empty without one."""
    for made in outcomes:
        code = made.code if isinstance(made, QiaolianError) else made.reason
        if code in ENDING or isinstance(made, Conflict):
            return code
    return ""


def _columns(made: _Outcome, row: StoredRow) -> Mapping[str, Any]:
    """The stored fields of a row."""
    if isinstance(made, CallResult) and made.reason in ENDING:
        return {"code": made.reason, "attempt": row.attempt + 1}
    if isinstance(made, CallResult):
        return {
            "state": _ENDED[made.status].value,
            "code": made.reason,
            "units": made.units,
            "amount": made.amount,
        }
    if isinstance(made, CallOutstanding):
        return {"state": RowState.OUTSTANDING.value, "code": made.code}
    if isinstance(made, Unavailable):
        return {"state": RowState.WAITING.value, "code": ""}
    return {"state": RowState.REFUSED.value, "code": made.code}
