"""The protocol ``intersection``: one ``sender``, one ``receiver``, parameters of ``PsiTerms``."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.intersection.handshake import PsiTerms
from federated.intersection.psi import (
    receive_common_rows,
    run_receiver,
    run_sender,
    send_common_rows,
)
from federated.job import Job, JobResult, Protocol, Table
from federated.session import Session

_LABEL = "intersection"


def check(job: Job) -> None:
    """Check a specification; ``spec_roles``, ``spec_columns`` and codes of ``PsiTerms.read``."""
    terms = PsiTerms.read(job.parameters)
    if terms.join != "inner":
        raise BadInput("spec_parameters", "An intersection has no join; only an alignment has.")
    if terms.reveal == "nobody":
        sentence = (
            "An intersection revealed to nobody has no result by itself; "
            "only a computation on shares can use it."
        )
        hint = (
            "Choose receiver, both, or size; or train a scorecard, "
            "whose alignment takes reveal: nobody."
        )
        raise BadInput("reveal_not_offered", sentence, hint=hint)
    if len(job.parties) != 2 or {party.role for party in job.parties.values()} != {
        "sender",
        "receiver",
    }:
        raise BadInput(
            "spec_roles",
            "An intersection has two parties, one sender and one receiver.",
        )
    for name, party in job.parties.items():
        if party.source is None:
            raise BadInput("spec_roles", f"{name} brings no source; both parties need one.")
        if party.columns:
            raise BadInput(
                "spec_columns",
                f"{name} names columns; an intersection reads identifiers only.",
            )


async def receiver(session: Session, table: Table | None, job: Job) -> JobResult:
    """Run the receiver.

    Its result is ``intersection.csv``, the common identifiers in its own order, or their number
    alone.
    """
    ids, terms, peer = _ids(table), PsiTerms.read(job.parameters), job.only("sender")
    tags, found = await run_receiver(session, peer, ids, terms, _LABEL)
    session.progress("intersection", 1.0)
    if terms.reveal == "size":
        return await _outcome(len(ids), int(np.count_nonzero(found)))
    rows = np.flatnonzero(found)
    if terms.reveal == "both":
        common = tags[rows]
        await send_common_rows(session.to(peer), common[np.argsort(common[:, 0])])
    return await _outcome(len(ids), len(rows), ids[rows])


async def sender(session: Session, table: Table | None, job: Job) -> JobResult:
    """Run the sender.

    Its result is ``intersection.csv`` in its own order if both may learn it, otherwise nothing.
    """
    ids, terms, peer = _ids(table), PsiTerms.read(job.parameters), job.only("receiver")
    tags = await run_sender(session, peer, ids, terms, _LABEL)
    session.progress("intersection", 1.0)
    if terms.reveal != "both":
        return await _outcome(len(ids), None)
    rows = np.sort(await receive_common_rows(session.to(peer), tags))
    return await _outcome(len(ids), len(rows), ids[rows])


def _ids(table: Table | None) -> NDArray[np.bytes_]:
    if table is None:
        raise BadInput("ids_empty", "An intersection needs identifiers.")
    return table.ids


async def _outcome(rows: int, size: int | None, ids: NDArray[np.bytes_] | None = None) -> JobResult:
    metrics = {"rows": rows} | ({} if size is None else {"size": size})
    return JobResult(
        metrics,
        {} if ids is None else {"intersection.csv": await asyncio.to_thread(_csv, ids)},
    )


def _csv(ids: NDArray[np.bytes_]) -> bytes:
    out = io.BytesIO()
    csv.write_csv(pa.table({"id": pa.array(ids.tolist(), pa.string())}), out)
    return out.getvalue()


INTERSECTION = Protocol("intersection", {"receiver": receiver, "sender": sender}, check)
