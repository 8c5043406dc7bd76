"""Rules of agreements, without I/O; the same codes as TradeSettlement's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain.errors import BadInput, Conflict, Forbidden
from chain.statements import Agreement, GrantTerms, Unit

WHOLE = 10_000
MOST_LANES = 256


def require_form(agreement: Agreement, *, now: int) -> None:
    """The form every agreement has.

    Raises:
        BadInput: ``no_cap``, ``end_before_start``, ``open_too_late``, ``wrong_lane``, ``shares_not_whole``, ``share_twice``, ``party_twice``,
            ``arbiter_is_party``, ``unit_unknown``.
    """
    a = agreement
    if a.cap == 0 and a.max_units == 0:
        raise BadInput("no_cap", "An agreement limits money or units.", hint="Give a cap in fen or a count of units.")
    if (a.price == 0) != (a.cap == 0):
        raise BadInput("no_cap", "A priced agreement has a money cap; a free one has none, only a count of units.")
    if a.ends_at <= a.starts_at or a.ends_at <= now:
        raise BadInput("end_before_start", "An agreement ends after it starts, and in the future.")
    if a.open_before < now:
        raise BadInput("open_too_late", "The time to open this agreement has passed.")
    if not 1 <= a.lanes <= MOST_LANES:
        raise BadInput("wrong_lane", f"An agreement has 1 to {MOST_LANES} lanes.")
    if sum(share.basis_points for share in a.shares) != WHOLE:
        raise BadInput("shares_not_whole", "The revenue split does not add up to 100 %.")
    if len({share.member for share in a.shares}) != len(a.shares):
        raise BadInput("share_twice", "The revenue split names a member twice.")
    if a.provider == a.buyer:
        raise BadInput("party_twice", "Nobody trades with itself.")
    if a.arbiter in (a.provider, a.buyer):
        raise BadInput("arbiter_is_party", "The arbiter is neither party.")
    if a.unit not in set(Unit):
        raise BadInput("unit_unknown", "The unit is none of call, row, byte.")


def require_grant(agreement: Agreement, terms: GrantTerms) -> None:
    """The agreement trades exactly what the grant allows; else ``grant_mismatch``."""
    same = (
        terms.struct_hash() == agreement.grant_id
        and terms.owner == agreement.provider
        and terms.grantee == agreement.buyer
        and terms.asset_id == agreement.asset_id
        and terms.asset_version == agreement.asset_version
        and terms.purpose == agreement.purpose
    )
    if not same:
        raise BadInput("grant_mismatch", "The agreement is not about what the grant allows.")


def require_offered(agreement: Agreement, offer: Mapping[str, Any]) -> None:
    """The provider signs what it offers and nothing else; else ``offer_differs``."""
    asked = {
        "price": str(agreement.price),
        "unit": agreement.unit,
        "shares": [share.to_json() for share in agreement.shares],
        "arbiter": agreement.arbiter,
        "closeWindowBlocks": agreement.close_window_blocks,
        "closeWindowSeconds": agreement.close_window_seconds,
    }
    for name, value in asked.items():
        if offer[name] != value:
            raise Conflict("offer_differs", f"The provider offers another {name}.", hint="Read the offer again.")
    if agreement.lanes > int(offer["lanes"]):
        raise Conflict("offer_differs", "The provider offers fewer lanes.")


def price_of(agreement: Agreement, units: int) -> int:
    """Fen for a number of units; whole, so nothing is rounded."""
    return agreement.price * units


def require_open(*, opened_at: int, notice_at: int, closed_at: int, agreement: Agreement, now: int) -> None:
    """Calls are served between opening and notice, within the period."""
    if not opened_at:
        raise Forbidden("agreement_not_open", "The agreement is not open on the chain.")
    if notice_at or closed_at:
        raise Forbidden("agreement_closing", "The agreement is being closed; nothing more is served.")
    if not agreement.starts_at <= now <= agreement.ends_at:
        raise Forbidden("agreement_expired", "The agreement does not cover this time.")
