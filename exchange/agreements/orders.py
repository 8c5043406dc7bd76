"""An order: what it is made of, the record it is judged by, and the rules its agreement must meet.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain.ethereum.deployment import CloseWindow
from chain.ethereum.proved_records import ProvedRecords, StorageKey, version_record
from chain.statements.grants import GrantTerms
from chain.statements.trade import Agreement
from exchange.agreements import rules
from exchange.agreements.model import (
    CurrentOffer,
    Offer,
    ProposalRequest,
    TermChange,
)
from registry.assets.model import ShownVersion
from registry.assets.rules import require_registered


@dataclass(frozen=True)
class Order:
    """An order with what the owner's node shows for it."""

    request: ProposalRequest
    terms: GrantTerms
    version: ShownVersion
    current: CurrentOffer
    seen: Offer | None
    """The offer that the order names, if this node has seen it."""
    nonce: bytes


def order_records(order: Order) -> tuple[StorageKey, ...]:
    """The record of the asset version that ``require_order`` asks."""
    return (version_record(order.version.asset_id, order.version.version),)


def require_order(
    order: Order,
    agreement: Agreement,
    records: ProvedRecords,
    *,
    now: int,
    min_window: CloseWindow,
) -> None:
    """The order is for a purpose that the registered version lists, on the offer its author saw,
    and its agreement keeps to form, grant and offer.

    Args:
        records: ``order_records``, proved.

    Raises:
        NotFound: ``asset_unknown``; Conflict: ``metadata_differs``, ``offer_changed``,
            ``offer_not_met``; Forbidden: ``purpose_not_listed``; BadInput: what
            ``rules.require_terms`` and ``rules.require_grant`` raise.
    """
    require_registered(order.version, records)
    order.version.metadata.purposes.require(order.terms.purpose)
    _require_as_seen(order)
    rules.require_terms(agreement, now=now, min_window=min_window)
    rules.require_grant(agreement, order.terms)
    rules.require_offer(agreement, order.current.offer)


def _require_as_seen(order: Order) -> None:
    """The provider's offer now is the one the order names: ``offer_changed``, with every term that
    is not.
    """
    request, offered = order.request, order.current.offer
    if request.offer_hash is None:
        changes = rules.stated_changes(request.stated(), offered)
    elif request.offer_hash == offered.terms_hash():
        changes = []
    elif order.seen is None:
        changes = [TermChange("offer", None, "0x" + offered.terms_hash().hex())]
    else:
        changes = rules.offer_changes(order.seen, offered)
    if changes:
        raise rules.offer_changed(changes)
