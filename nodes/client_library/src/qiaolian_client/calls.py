"""Metered calls: one, a whole column of subjects, and those that are still unanswered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from qiaolian_client.models import (
    BatchAnswer,
    BatchBody,
    BatchCall,
    CallAnswer,
    CallBody,
    CallList,
    CallRow,
    FailedCall,
)
from qiaolian_client.operation import Operation, Plan, every_page, get, post
from qiaolian_client.progress import Progress, reporter

if TYPE_CHECKING:
    import pandas

CALLS_PER_REQUEST = 200
"""How many calls ``many`` sends at once; a node takes at most 1,000."""


def one(
    agreement_id: str,
    *,
    subject: str,
    columns: Sequence[str],
    purpose: str,
    key: str,
    consent_id: str | None = None,
    operation: str = "use",
) -> Operation[CallAnswer]:
    """One metered call.

    ``key`` names the order it belongs to and makes it idempotent: a repetition under the same key
    returns the stored answer and is not billed again.

    Refusals, which cost nothing, raise ``NodeRefused`` with the provider's code.
    """
    body = CallBody(
        agreement_id=agreement_id,
        subject=subject,
        columns=list(columns),
        purpose=purpose,
        operation=operation,
        consent_id=consent_id,
    )
    return post("/v1/calls", CallAnswer, body, idempotency_key=key)


def fetch(key: str) -> Operation[CallAnswer]:
    """The result of the call under a key; an unanswered request is sent again."""
    return get(f"/v1/calls/{quote(key, safe='')}", CallAnswer)


def withdraw(key: str) -> Operation[CallAnswer]:
    """Withdraw an unanswered request: it ends unbilled, or with the answer if it was served."""
    path = f"/v1/calls/{quote(key, safe='')}/withdraw"
    return Operation("POST", path, CallAnswer.model_validate_json)


def stored(*, agreement_id: str | None = None, outcome: str | None = None) -> Plan[list[CallRow]]:
    """The calls that the node has stored, the newest first, without their content.

    ``outcome``: ``outstanding``, ``served``, ``refused``, ``void`` or ``conflict``.
    """
    first = get("/v1/calls", CallList, agreementId=agreement_id, outcome=outcome)
    return every_page(first, lambda page: page.calls, lambda page: page.next)


@dataclass(frozen=True, slots=True)
class CallResults:
    """The outcomes of many calls, in the order of their subjects."""

    subjects: tuple[str, ...]
    results: tuple[CallAnswer | FailedCall, ...]

    @property
    def amount(self) -> int:
        """What they cost, in fen."""
        return sum(result.amount for result in self.results if isinstance(result, CallAnswer))

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The keys of calls without a result: run the same line again, or ``fetch`` each."""
        return tuple(
            result.idempotency_key or ""
            for result in self.results
            if isinstance(result, FailedCall)
        )

    def frame(self) -> pandas.DataFrame:
        """A row for each subject: its record's columns, then ``outcome``, ``reason``, ``units``,
        ``amount_fen``, ``receipt`` and ``key``. Needs pandas.
        """
        import pandas

        rows = [_row(*pair) for pair in zip(self.subjects, self.results, strict=True)]
        return pandas.DataFrame(rows)


def many(
    agreement_id: str,
    subjects: Iterable[str],
    *,
    columns: Sequence[str],
    purpose: str,
    run: str,
    consents: Callable[[str], str | None] = lambda subject: None,
    operation: str = "use",
    progress: Progress = False,
) -> Plan[CallResults]:
    """A call for each subject; each ends on its own, refused ones cost nothing.

    ``run`` names the order, such as a file's name and month. The key of a call is the run and the
    subject's position, so the same line repeats the same calls. Do not reorder the subjects of a
    run: a key that comes back with another query is refused.

    ``progress``: True for a bar (needs tqdm), or a function of the calls done and all calls.
    """
    asked = tuple(subjects)
    results: list[CallAnswer | FailedCall] = []
    with reporter(progress, len(asked)) as report:
        for start in range(0, len(asked), CALLS_PER_REQUEST):
            items = [
                BatchCall(
                    agreement_id=agreement_id,
                    subject=subject,
                    columns=list(columns),
                    purpose=purpose,
                    operation=operation,
                    consent_id=consents(subject),
                    key=f"{run}/{position}",
                )
                for position, subject in enumerate(asked[start : start + CALLS_PER_REQUEST], start)
            ]
            answer = yield _batch(items)
            results.extend(answer.results)
            report(len(results))
    return CallResults(asked, tuple(results))


@dataclass(frozen=True, slots=True)
class StreamOfCalls:
    """A metered call for each subject, made line by line while they are sent. ``Client.stream``
    gives the results as they come, ``Client.collect`` all of them.
    """

    agreement_id: str
    subjects: Iterable[str]
    columns: Sequence[str]
    purpose: str
    run: str
    consents: Callable[[str], str | None] = lambda subject: None
    operation: str = "use"

    def __iter__(self) -> Iterator[BatchCall]:
        """The calls, in the order of the subjects."""
        for position, subject in enumerate(self.subjects):
            yield BatchCall(
                agreement_id=self.agreement_id,
                subject=subject,
                columns=list(self.columns),
                purpose=self.purpose,
                operation=self.operation,
                consent_id=self.consents(subject),
                key=f"{self.run}/{position}",
            )


def stream(
    agreement_id: str,
    subjects: Iterable[str],
    *,
    columns: Sequence[str],
    purpose: str,
    run: str,
    consents: Callable[[str], str | None] = lambda subject: None,
    operation: str = "use",
) -> StreamOfCalls:
    """As ``many``, for files of any length: one connection, and results as they are complete.

    The keys are those of ``many``, so a file that was begun one way may be ended the other way.
    """
    return StreamOfCalls(agreement_id, subjects, columns, purpose, run, consents, operation)


def _batch(items: list[BatchCall]) -> Operation[BatchAnswer]:
    """Every call has a key of its own, so the request may be repeated."""
    content = BatchBody(calls=items)
    return Operation("POST", "/v1/calls/batch", BatchAnswer.model_validate_json, body=content)


def _row(subject: str, result: CallAnswer | FailedCall) -> dict[str, object]:
    shared = {"outcome": result.outcome, "reason": result.reason, "key": result.idempotency_key}
    if isinstance(result, FailedCall):
        return {"subject": subject, **shared, "units": 0, "amount_fen": 0, "receipt": None}
    return {
        "subject": subject,
        **(result.record or {}),
        **shared,
        "units": result.units,
        "amount_fen": result.amount,
        "receipt": result.receipt,
    }
