"""What an agreement must be, before anybody signs it. Pure; the codes are those of ``TradeSettlement``'s errors, so that the node refuses what
the chain would refuse, with the same words.

In order: form, split, parties, grant, the provider's offer, signature.
"""

from __future__ import annotations

from collections.abc import Iterable

from chain.crypto import recover
from chain.deployment import MAX_CLOSE_WINDOW, CloseWindow
from chain.eip712 import Domain
from chain.errors import BadInput, Conflict, Forbidden
from chain.statements import Agreement, GrantTerms, Share, Unit
from exchange.agreements.model import MOST_FEN, Offer

WHOLE = 10_000
MOST_LANES = 256
MOST_SHARES = 16
DEFAULT_CLOSE_WINDOW = CloseWindow(604_800, 604_800)
"""What an offer states if its maker says nothing: seven days, at one block a second."""


def require_terms(agreement: Agreement, *, now: int, min_window: CloseWindow) -> None:
    """The form of an agreement.

    Raises:
        BadInput: ``wrong_version``, ``no_cap``, ``end_before_start``, ``open_too_late``, ``wrong_lane``, ``party_twice``,
            ``arbiter_is_party``, ``amount_too_large``, ``unit_unknown``, ``most_per_call_missing`` or what ``require_window`` and
            ``require_shares`` raise.
    """
    a = agreement
    if a.version != 1:
        raise BadInput("wrong_version", "The agreement is of a version this node does not know.")
    if a.unit not in list(Unit):
        raise BadInput("unit_unknown", "The agreement meters neither calls nor rows nor bytes.")
    if max(a.price, a.cap, a.max_units, a.max_per_call) > MOST_FEN:
        raise BadInput("amount_too_large", "An amount or count is beyond what a node accepts.")
    if a.cap == 0 and a.max_units == 0:
        raise BadInput("no_cap", "The agreement has neither a money cap nor a count cap.")
    if (a.price == 0) != (a.cap == 0):
        raise BadInput("no_cap", "A price needs a money cap, and a money cap needs a price.")
    if a.price > 0 and a.max_per_call == 0:
        raise BadInput("most_per_call_missing", "A priced agreement says what one call may cost at most.")
    if a.ends_at <= a.starts_at or a.ends_at <= now:
        raise BadInput("end_before_start", "The agreement ends before it starts, or has ended already.")
    if now > a.open_before:
        raise BadInput("open_too_late", "The agreement can no longer be opened.", hint="Propose it afresh.")
    if not 1 <= a.lanes <= MOST_LANES:
        raise BadInput("wrong_lane", f"An agreement has 1 to {MOST_LANES} lanes.")
    if a.provider == a.buyer:
        raise BadInput("party_twice", "Provider and buyer are the same member.")
    if a.arbiter in (a.provider, a.buyer):
        raise BadInput("arbiter_is_party", "The arbiter is one of the parties.")
    require_window(CloseWindow(a.close_window_blocks, a.close_window_seconds), min_window)
    require_shares(a.shares, buyers=(a.buyer,))


def default_window(min_window: CloseWindow) -> CloseWindow:
    """The window of an offer whose maker states none: seven days, or the network's shortest if that is longer."""
    return CloseWindow(
        max(DEFAULT_CLOSE_WINDOW.blocks, min_window.blocks),
        max(DEFAULT_CLOSE_WINDOW.seconds, min_window.seconds),
    )


def require_window(window: CloseWindow, min_window: CloseWindow) -> None:
    """The closing window leaves the provider time to claim, and does not lock the buyer's refund for long.

    Raises:
        BadInput: ``window_too_short``, ``window_too_long``.
    """
    if window.blocks < min_window.blocks or window.seconds < min_window.seconds:
        raise BadInput(
            "window_too_short",
            f"The closing window is {window.blocks} blocks and {window.seconds} s; this network's shortest is "
            f"{min_window.blocks} blocks and {min_window.seconds} s.",
            hint="State a longer window; the parties can still close at once together.",
            min_blocks=min_window.blocks,
            min_seconds=min_window.seconds,
        )
    longest = MAX_CLOSE_WINDOW
    if window.blocks > longest.blocks or window.seconds > longest.seconds:
        raise BadInput(
            "window_too_long",
            f"The closing window is {window.blocks} blocks and {window.seconds} s; the longest is {longest.blocks} blocks and {longest.seconds} s.",
            hint="State a shorter window: the buyer's money is locked until it has passed.",
            max_blocks=longest.blocks,
            max_seconds=longest.seconds,
        )


def require_shares(shares: tuple[Share, ...], *, buyers: Iterable[str] = ()) -> None:
    """The revenue split: ``too_many_shares``, ``share_twice``, ``buyer_has_share``, ``shares_not_whole``.

    Args:
        buyers: the agreement's buyer, or the members an offer is made to.
    """
    if len(shares) > MOST_SHARES:
        raise BadInput("too_many_shares", f"A split has at most {MOST_SHARES} parts.")
    if len({each.member for each in shares}) != len(shares):
        raise BadInput("share_twice", "The split names a member twice.")
    if {share.member for share in shares} & set(buyers):
        raise BadInput(
            "buyer_has_share",
            "The buyer has a share in what it pays.",
            hint="Leave the buyer out of the split; lower the price instead.",
        )
    total = sum(each.basis_points for each in shares)
    if total != WHOLE:
        raise BadInput("shares_not_whole", f"The split adds up to {total} of {WHOLE} basis points.", sum=total)


def require_grant(agreement: Agreement, terms: GrantTerms) -> None:
    """The agreement is about exactly what the grant allows: ``other_grant``, ``grant_mismatch``."""
    if terms.struct_hash() != agreement.grant_id:
        raise BadInput("other_grant", "The agreement names another grant.")
    same = (
        terms.owner == agreement.provider
        and terms.grantee == agreement.buyer
        and terms.asset_id == agreement.asset_id
        and terms.asset_version == agreement.asset_version
        and terms.purpose == agreement.purpose
    )
    if not same:
        raise BadInput("grant_mismatch", "Parties, asset version or purpose are not those of the grant.")


def require_offer(agreement: Agreement, offer: Offer) -> None:
    """The agreement keeps to the provider's offer: ``offer_not_met`` names the first term that does not."""
    a = agreement
    kept = {
        "asset": a.asset_id == offer.asset_id and a.asset_version == offer.asset_version,
        "buyer": not offer.buyers or a.buyer in offer.buyers,
        "unit": a.unit == offer.unit,
        "price": a.price == offer.price,
        "cap": a.cap <= offer.most_cap,
        "maxUnits": offer.most_units == 0 or 0 < a.max_units <= offer.most_units,
        "maxPerCall": a.max_per_call <= offer.most_per_call,
        "lanes": a.lanes <= offer.most_lanes,
        "endsAt": a.ends_at - a.starts_at <= offer.most_seconds,
        "closeWindowBlocks": a.close_window_blocks >= offer.close_window_blocks,
        "closeWindowSeconds": a.close_window_seconds >= offer.close_window_seconds,
        "shares": a.shares == offer.shares,
    }
    for term, met in kept.items():
        if not met:
            raise Conflict("offer_not_met", f"The proposal's {term} is not what the provider offers.", term=term)


def require_signature(agreement: Agreement, signature: bytes, key: str, domain: Domain) -> None:
    """The signature is by the pinned key: ``wrong_signer``, or ``signature_malformed``."""
    if recover(agreement.digest(domain), signature) != key:
        raise Forbidden("wrong_signer", "The agreement is not signed by the key it pins.")


def newer_version_hint(version: int, newer: int) -> str:
    """What to do about an agreement of an asset version that has been superseded."""
    return (
        f"Version {newer} of the asset is published; this agreement is of version {version}, and records changed since are refused under it. "
        f"Request a grant of version {newer} and open an agreement under it."
    )
