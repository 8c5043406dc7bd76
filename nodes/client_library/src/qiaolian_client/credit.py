"""One-stop credit reports under a subject's consent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qiaolian_client.models import (
    AnchoredQueryRow,
    OwnQueryRow,
    PartBody,
    QueryList,
    ReportAnswer,
    ReportBody,
)
from qiaolian_client.operation import Operation, Plan, every_page, get, post


def report(
    *,
    subject: str,
    consent_id: str,
    parts: Mapping[str, Sequence[str]],
    key: str,
    purpose: str = "credit-assessment",
) -> Operation[ReportAnswer]:
    """A report over several departments: for each agreement's id, the columns to ask for.

    Each part is a metered call; ``key`` makes the whole report idempotent.
    """
    body = ReportBody(
        subject=subject,
        consent_id=consent_id,
        purpose=purpose,
        parts=[
            PartBody(agreement_id=agreement_id, columns=list(columns))
            for agreement_id, columns in parts.items()
        ],
    )
    return post("/v1/reports", ReportAnswer, body, idempotency_key=key)


def queries() -> Plan[list[OwnQueryRow | AnchoredQueryRow]]:
    """Credit queries, the newest first."""
    first = get("/v1/credit/queries", QueryList)
    return every_page(first, lambda page: page.queries, lambda page: page.next)


def bundle(query_id: str) -> Operation[bytes]:
    """The proof of one query, for ``qiaolian verify``."""
    return Operation("GET", f"/v1/credit/queries/{query_id}/bundle", bytes)
