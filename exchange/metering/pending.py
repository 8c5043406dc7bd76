"""One usage request on its way through the gateway, and how it is read from its JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.core.crypto import recover
from chain.core.errors import BadInput, Forbidden, QiaolianError
from chain.statements.commitment import opens
from chain.statements.trade import RequestWithdrawal, UsageRequest
from exchange.metering import rules
from exchange.metering.authorisation import ShownConsent
from exchange.metering.digests import Digest
from exchange.metering.gateway_state import GatewayLane, GatewayTrade
from exchange.metering.model import (
    REQUEST_DOMAIN,
    CallQuery,
    MeteredContent,
    ViewReference,
)
from exchange.metering.wire import error_answer, hex_field
from registry.assets.rules import RecordDrift

SignedWithdrawal = tuple[RequestWithdrawal, bytes]


@dataclass
class PendingRequest:
    """One request of an exchange between its arrival and its answer."""

    request: UsageRequest
    request_hash: bytes
    signature: bytes
    query_json: Mapping[str, Any]
    """The query that opens the request's commitment."""
    salt: bytes
    """32 bytes, of the same commitment."""
    consent_json: Mapping[str, Any] | None
    """The consent package that came with the request."""
    withdrawal: SignedWithdrawal | None
    """The buyer's withdrawal of the request, with its signature."""
    trade: GatewayTrade
    lane: GatewayLane
    repeated: bool = False
    """Whether its position was served before."""
    query: CallQuery | None = None
    """None until it is read, and when it cannot be read."""
    consent: ShownConsent = None
    view_reference: ViewReference | None = None
    reserved: tuple[int, int] | None = None
    """Reserved units and fen."""
    record: Mapping[str, Any] | None = None
    """The requested columns of the published record, masked."""
    drift: RecordDrift | None = None
    """How the source departs from the published record, if that is why it is refused."""
    metered: MeteredContent | None = None
    amount: int = 0
    """Price of the metered content, in fen."""
    refusal: str = ""
    """The code of a refusal, which takes the position with a receipt of zero units."""
    void: bool = False
    """Whether the receipt of its position is voided, for the reason in ``refusal``."""
    answer: Any = None
    """The final answer; set early for a request that takes no position."""

    @property
    def answered(self) -> bool:
        """Whether its processing is complete."""
        return self.answer is not None

    def refuse(self, error: QiaolianError) -> None:
        """Refuse it with a signed receipt of zero units."""
        self.refusal = error.code[:31]

    def fail(self, error: QiaolianError) -> None:
        """Answer it with an error; it takes no position and may be sent again."""
        self.answer = error_answer(error)


def unanswered(requests: Sequence[PendingRequest]) -> list[PendingRequest]:
    """The requests without an answer."""
    return [request for request in requests if not request.answered]


def to_be_served(requests: Sequence[PendingRequest]) -> list[PendingRequest]:
    """The requests that are neither answered, refused nor voided."""
    return [
        request
        for request in requests
        if not request.answered and not request.refusal and not request.void
    ]


@dataclass(frozen=True)
class ParsedItem:
    """An item of an exchange, read but not checked."""

    fields: Mapping[str, Any]
    request: UsageRequest
    signature: bytes
    salt: bytes


def parse_item(item: Any) -> ParsedItem:
    """Read an item's request, signature and salt; ``request_malformed``, ``field_malformed``."""
    if not isinstance(item, dict):
        raise BadInput("request_malformed", "A request is not a JSON object.")
    return ParsedItem(
        item,
        UsageRequest.from_json(item.get("request")),
        hex_field(item.get("signature"), 65),
        hex_field(item.get("salt"), 32),
    )


def read_request(
    parsed: ParsedItem, trade: GatewayTrade, *, caller: str, digest: Digest
) -> PendingRequest:
    """Check an item's sender, signatures and commitment.

    Raises:
        BadInput: ``wrong_lane``, ``query_differs``, ``withdrawal_of_other``;
            Forbidden: ``not_buyer``, ``wrong_signer``.
    """
    item, request = parsed.fields, parsed.request
    if trade.agreement.buyer != caller:
        raise Forbidden("not_buyer", "The request is not from the agreement's buyer.")
    request_hash = request.struct_hash()
    if recover(digest(request_hash), parsed.signature) != trade.agreement.buyer_key:
        raise Forbidden("wrong_signer", "The request is not signed by the key the agreement pins.")
    if request.lane >= trade.agreement.lanes:
        raise BadInput("wrong_lane", "The agreement has no such lane.")
    withdrawal = _read_withdrawal(item, request, request_hash, trade, digest)
    query = item.get("query")
    if not isinstance(query, dict) or not opens(
        request.request_commitment, salt=parsed.salt, domain=REQUEST_DOMAIN, record=query
    ):
        raise BadInput("query_differs", "The query does not open the request's commitment.")
    return PendingRequest(
        request=request,
        request_hash=request_hash,
        signature=parsed.signature,
        query_json=query,
        salt=parsed.salt,
        consent_json=item.get("consent"),
        withdrawal=withdrawal,
        trade=trade,
        lane=trade.lane(request.lane),
    )


def _read_withdrawal(
    item: Mapping[str, Any],
    request: UsageRequest,
    request_hash: bytes,
    trade: GatewayTrade,
    digest: Digest,
) -> SignedWithdrawal | None:
    """The withdrawal sent with a request, if any; ``withdrawal_of_other``, ``wrong_signer``."""
    if item.get("withdrawal") is None:
        return None
    withdrawal = RequestWithdrawal.from_json(item["withdrawal"])
    signature = hex_field(item.get("withdrawalSignature"), 65)
    rules.require_withdrawal(request, request_hash, withdrawal)
    if recover(digest(withdrawal.struct_hash()), signature) != trade.agreement.buyer_key:
        raise Forbidden(
            "wrong_signer", "The withdrawal is not signed by the key the agreement pins."
        )
    return withdrawal, signature
