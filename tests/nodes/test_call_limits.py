"""The size limits of a call agree along its whole way: each fits into the next."""

from __future__ import annotations

from exchange.metering.batcher import MAX_BATCH_BYTES
from exchange.metering.buyer_rules import require_sendable
from exchange.metering.gateway import MAX_REQUESTS
from exchange.metering.model import (
    MAX_ANSWER_BYTES,
    MAX_COLUMNS,
    MAX_EXCHANGE_BYTES,
    MAX_REQUEST_BYTES,
    MAX_TEXT,
    MIN_BODY_BYTES,
    CallQuery,
    GatewayLimits,
)
from exchange.metering.wire import json_text
from nodes.config import NodeLimits
from nodes.http import MAX_RESPONSE_BYTES
from registry.credit.rules import MAX_CONSENT_BYTES, MAX_IDENTITY_BYTES

RECEIPT_BYTES = 4_000


def test_the_largest_query_with_the_largest_consent_can_be_sent() -> None:
    columns = tuple(f"{number:03}".ljust(MAX_TEXT, "\x01") for number in range(MAX_COLUMNS))
    text = "\x01" * MAX_TEXT
    query = CallQuery.from_json(CallQuery(text, columns, text, consent=text).to_json())
    consent = '"' + "x" * (MAX_CONSENT_BYTES - 2) + '"'
    require_sendable(
        f'{{"query":{json_text(query.to_json())},"salt":"0x{"00" * 32}","consent":{consent}}}'
    )


def test_a_request_fits_into_every_nodes_body_and_an_exchange_stays_below_it() -> None:
    assert (
        MAX_IDENTITY_BYTES
        < MAX_CONSENT_BYTES
        < MAX_REQUEST_BYTES
        < MAX_BATCH_BYTES
        < MIN_BODY_BYTES
    )
    assert NodeLimits.model_fields["body_bytes"].metadata[0].ge == MIN_BODY_BYTES
    assert NodeLimits().body_bytes >= MIN_BODY_BYTES


def test_what_a_gateway_serves_fits_into_what_the_buyers_client_reads() -> None:
    assert GatewayLimits().answer_bytes == NodeLimits().answer_bytes <= MAX_ANSWER_BYTES
    assert MAX_ANSWER_BYTES + RECEIPT_BYTES <= MAX_EXCHANGE_BYTES
    assert MAX_EXCHANGE_BYTES + MAX_REQUESTS * RECEIPT_BYTES <= MAX_RESPONSE_BYTES
