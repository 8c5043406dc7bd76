"""Requests about credit to other members' nodes."""

from __future__ import annotations

from chain.context import Context
from chain.core.canonical import dumps
from chain.core.errors import Unavailable
from registry.credit.model import (
    AnchoredQuery,
    ConsentPackage,
    DisputeSearch,
    ReportedDispute,
)


async def fetch_disputes(
    context: Context, department: str, search: DisputeSearch
) -> list[ReportedDispute]:
    """A subject's disputes from the department whose records they are about.

    Raises:
        Unavailable: ``peer_bad_answer``; BadInput: ``report_malformed`` for a dispute without the
            statements that prove it; and whatever refusal the department gives.
    """
    answer = await context.peers.post(department, "/v1/peer/disputes", search.to_json())
    found = answer.get("disputes") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(dispute, dict) for dispute in found):
        raise Unavailable(
            "peer_bad_answer",
            "A department does not show its disputes in the form expected.",
            hint="Ask again; its operator should look at its log.",
        )
    return list(map(ReportedDispute.from_json, found))


async def deliver_consent(context: Context, package: ConsentPackage) -> None:
    """Send a subject's consent to the bank it is for, as the subject itself could; whatever refusal
    the bank gives.
    """
    await context.peers.post(package.consent.bank, "/v1/consents/held", package.to_json())


async def fetch_bundle(context: Context, query: AnchoredQuery) -> bytes:
    """A query's bundle from the bank that anchored it."""
    path = f"/v1/peer/credit/queries/0x{query.query_id.hex()}/bundle"
    return dumps(await context.peers.get(query.bank, path))
