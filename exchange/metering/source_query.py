"""Looks up the requested records at the source, checks them against what was published and masks
them. Blocking: a source may be a file or a database, so the gateway calls this in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from chain.context import Context
from chain.core.errors import QiaolianError, Unavailable
from exchange.metering.pending import PendingRequest
from registry.assets import serving
from registry.assets.rules import DriftKind, PublishedRecord, RecordDrift, SourceDrift

log = logging.getLogger("qiaolian.gateway")
SOURCE_DRIFT = "source_drift"
AssetVersion = tuple[bytes, int]


def query_and_mask(context: Context, requests: Sequence[PendingRequest]) -> None:
    """Set each request's masked record, or its refusal. A failure concerns one request only."""
    try:
        published = _published(context, requests)
    except Unavailable as error:
        for request in requests:
            request.fail(error)
        return
    for request in requests:
        served = request.trade.served
        _query_one(request, published[served.asset_id, served.asset_version])


def _published(
    context: Context, requests: Sequence[PendingRequest]
) -> dict[AssetVersion, dict[str, PublishedRecord]]:
    """The published records by asset version and subject; one database query for each version."""
    subjects: dict[AssetVersion, list[str]] = {}
    for request in requests:
        served = request.trade.served
        assert request.query is not None
        version = (served.asset_id, served.asset_version)
        subjects.setdefault(version, []).append(request.query.subject)
    return {
        version: serving.published_records(context, *version, requested)
        for version, requested in subjects.items()
    }


def _query_one(request: PendingRequest, published: Mapping[str, PublishedRecord]) -> None:
    served, query = request.trade.served, request.query
    assert query is not None
    try:
        request.record = served.answer(query.subject, query.columns, published.get(query.subject))
    except Unavailable as error:
        request.fail(error)
    except SourceDrift as error:
        request.refuse(error)
        request.drift = error.drift
    except QiaolianError as error:
        request.refuse(error)
    except Exception as error:  # a source's or a rule's error about one record refuses that request
        _log_unexpected(error, served.asset_id)
        request.refusal = SOURCE_DRIFT
        request.drift = RecordDrift(DriftKind.SOURCE_BROKEN)


def _log_unexpected(error: Exception, asset_id: bytes) -> None:
    """Log the class of an unexpected error only: its text may hold a record's values."""
    fields: dict[str, Any] = {"asset": "0x" + asset_id.hex()}
    log.error("source: unexpected %s", type(error).__name__, extra=fields)
