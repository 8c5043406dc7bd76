"""The rules an agreement must satisfy before it is signed. Pure; the codes are those of
``TradeSettlement``'s errors, so that the node refuses what the chain would refuse.

In order: form, split, parties, grant, the provider's offer, signature, opening. The states that a
proposal and an agreement go through are in ``stages``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, Forbidden
from chain.ethereum.deployment import MAX_CLOSE_WINDOW, CloseWindow
from chain.ethereum.eip712 import Domain
from chain.ethereum.proved_records import (
    ProvedRecords,
    StorageKey,
    account_records,
    agreement_records,
    grant_record,
)
from chain.ethereum.records import AccountRecord, AgreementRecord, GrantRecord
from chain.statements.grants import GrantTerms
from chain.statements.trade import GATEWAY_UNITS, Agreement, MeteredUnit, Share
from exchange.agreements.model import (
    MAX_FEN,
    Offer,
    StatedTerms,
    TermChange,
)

FULL_SHARE = 10_000
MAX_LANES = 256
MAX_SHARES = 16
DEFAULT_CLOSE_WINDOW = CloseWindow(604_800, 604_800)
"""The default of an offer: seven days, at one block a second."""
MAX_OPEN_SECONDS = 2 * 3600
"""Longest time in which a proposal can be opened, and so lock the buyer's money."""


def require_terms(agreement: Agreement, *, now: int, min_window: CloseWindow) -> None:
    """The form of an agreement.

    Raises:
        BadInput: ``wrong_version``, ``no_cap``, ``end_before_start``, ``open_too_late``,
            ``wrong_lane``, ``party_twice``, ``arbiter_is_party``, ``amount_too_large``,
            ``metered_unit_unknown``, ``max_per_call_missing``, ``bond_without_price``
            or what ``require_window`` and ``require_shares`` raise.
    """
    a = agreement
    if a.version != 2:
        raise BadInput("wrong_version", "The agreement is of a version this node does not know.")
    if a.unit not in GATEWAY_UNITS:
        raise BadInput(
            "metered_unit_unknown", "The agreement meters neither calls nor rows nor bytes."
        )
    if max(a.price, a.cap, a.max_units, a.max_per_call, a.bond, a.stake) > MAX_FEN:
        raise BadInput("amount_too_large", "An amount or count is beyond what a node accepts.")
    if a.cap == 0 and a.max_units == 0:
        raise BadInput("no_cap", "The agreement has neither a money cap nor a count cap.")
    if (a.price == 0) != (a.cap == 0):
        raise BadInput("no_cap", "A price needs a money cap, and a money cap needs a price.")
    if a.price > 0 and a.max_per_call == 0:
        raise BadInput(
            "max_per_call_missing", "A priced agreement says what one call may cost at most."
        )
    if a.ends_at <= a.starts_at or a.ends_at <= now:
        raise BadInput(
            "end_before_start", "The agreement ends before it starts, or has ended already."
        )
    if now > a.open_before:
        raise BadInput(
            "open_too_late", "The agreement can no longer be opened.", hint="Propose it again."
        )
    if not 1 <= a.lanes <= MAX_LANES:
        raise BadInput("wrong_lane", f"An agreement has 1 to {MAX_LANES} lanes.")
    if a.provider == a.buyer:
        raise BadInput("party_twice", "Provider and buyer are the same member.")
    if a.arbiter in (a.provider, a.buyer):
        raise BadInput("arbiter_is_party", "The arbiter is one of the parties.")
    require_security(price=a.price, bond=a.bond, stake=a.stake)
    require_window(CloseWindow(a.close_window_blocks, a.close_window_seconds), min_window)
    require_shares(a.shares, buyers=(a.buyer,))


def require_security(*, price: int, bond: int, stake: int) -> None:
    """Free sharing has neither a bond nor a stake: ``bond_without_price``."""
    if price == 0 and (bond or stake):
        raise BadInput(
            "bond_without_price",
            "Free sharing has neither a bond nor a stake.",
            hint="Leave bond and stake at 0.",
        )


def default_window(min_window: CloseWindow) -> CloseWindow:
    """The window of an offer whose maker states none: seven days, or the network's shortest if that
    is longer.
    """
    return CloseWindow(
        max(DEFAULT_CLOSE_WINDOW.blocks, min_window.blocks),
        max(DEFAULT_CLOSE_WINDOW.seconds, min_window.seconds),
    )


def require_window(window: CloseWindow, min_window: CloseWindow) -> None:
    """The closing window leaves the provider time to claim, and does not lock the buyer's refund
    for long.

    Raises:
        BadInput: ``window_too_short``, ``window_too_long``.
    """
    if window.blocks < min_window.blocks or window.seconds < min_window.seconds:
        raise BadInput(
            "window_too_short",
            f"The closing window is {window.blocks} blocks and "
            f"{window.seconds} s; this network's shortest is "
            f"{min_window.blocks} blocks and {min_window.seconds} s.",
            hint="State a longer window; the parties can still close at once together.",
            min_blocks=min_window.blocks,
            min_seconds=min_window.seconds,
        )
    longest = MAX_CLOSE_WINDOW
    if window.blocks > longest.blocks or window.seconds > longest.seconds:
        raise BadInput(
            "window_too_long",
            f"The closing window is {window.blocks} blocks and {window.seconds} s; the longest is "
            f"{longest.blocks} blocks and {longest.seconds} s.",
            hint="State a shorter window: the buyer's money is locked until it has passed.",
            max_blocks=longest.blocks,
            max_seconds=longest.seconds,
        )


def require_shares(shares: tuple[Share, ...], *, buyers: Iterable[str] = ()) -> None:
    """The revenue split: ``too_many_shares``, ``share_twice``, ``buyer_has_share``,
    ``shares_not_whole``.

    Args:
        buyers: the agreement's buyer, or the members an offer is made to.
    """
    if len(shares) > MAX_SHARES:
        raise BadInput("too_many_shares", f"A split has at most {MAX_SHARES} parts.")
    if len({item.member for item in shares}) != len(shares):
        raise BadInput("share_twice", "The split names a member twice.")
    if {share.member for share in shares} & set(buyers):
        raise BadInput(
            "buyer_has_share",
            "The buyer has a share in what it pays.",
            hint="Leave the buyer out of the split; lower the price instead.",
        )
    total = sum(item.basis_points for item in shares)
    if total != FULL_SHARE:
        raise BadInput(
            "shares_not_whole",
            f"The split adds up to {total} of {FULL_SHARE} basis points.",
            sum=total,
        )


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
        raise BadInput(
            "grant_mismatch", "Parties, asset version or purpose are not those of the grant."
        )


def require_opening_soon(agreement: Agreement, *, now: int) -> None:
    """A provider signs nothing that can be opened at some later day: ``open_before_too_late``."""
    if agreement.open_before > now + MAX_OPEN_SECONDS:
        raise BadInput(
            "open_before_too_late",
            f"The proposal may be opened for more than {MAX_OPEN_SECONDS} seconds from now.",
            hint="Propose it again with an earlier openBefore.",
        )


def require_offer(agreement: Agreement, offer: Offer) -> None:
    """The agreement keeps to the provider's offer: ``offer_not_met`` names the first term that does
    not.
    """
    a = agreement
    max_units = None if offer.max_units == 0 else offer.max_units
    terms: Mapping[str, tuple[bool, Any, Any]] = {
        "asset": (
            a.asset_id == offer.asset_id and a.asset_version == offer.asset_version,
            a.asset_version,
            offer.asset_version,
        ),
        "buyer": (not offer.buyers or a.buyer in offer.buyers, a.buyer, None),
        "unit": (a.unit == offer.unit, MeteredUnit(a.unit).name.lower(), offer.unit.name.lower()),
        "price": (a.price == offer.price, a.price, offer.price),
        "cap": (a.cap <= offer.max_cap, a.cap, offer.max_cap),
        "maxUnits": (max_units is None or 0 < a.max_units <= max_units, a.max_units, max_units),
        "maxPerCall": (a.max_per_call <= offer.max_per_call, a.max_per_call, offer.max_per_call),
        "lanes": (a.lanes <= offer.max_lanes, a.lanes, offer.max_lanes),
        "endsAt": (
            a.ends_at - a.starts_at <= offer.max_seconds,
            a.ends_at - a.starts_at,
            offer.max_seconds,
        ),
        "closeWindowBlocks": (
            a.close_window_blocks >= offer.close_window_blocks,
            a.close_window_blocks,
            offer.close_window_blocks,
        ),
        "closeWindowSeconds": (
            a.close_window_seconds >= offer.close_window_seconds,
            a.close_window_seconds,
            offer.close_window_seconds,
        ),
        "bond": (a.bond == offer.bond, a.bond, offer.bond),
        "bondFromEarnings": (
            a.bond_from_earnings == offer.bond_from_earnings,
            a.bond_from_earnings,
            offer.bond_from_earnings,
        ),
        "stake": (a.stake == offer.stake, a.stake, offer.stake),
        "shares": (a.shares == offer.shares, shares_json(a.shares), shares_json(offer.shares)),
    }
    for term, (met, proposed, offered) in terms.items():
        if not met:
            raise Conflict(
                "offer_not_met",
                f"The proposal's {term} is not what the provider "
                f"offers: {proposed}, offered {offered}.",
                hint="Look at the offer again and order within it.",
                term=term,
                proposed=proposed,
                offered=offered,
            )


def shares_json(shares: Sequence[Share]) -> list[Any]:
    """A revenue split as JSON."""
    return [share.to_json() for share in shares]


def offer_changes(named: Offer, offered: Offer) -> list[TermChange]:
    """The terms in which the provider's current offer differs from the one that an order names."""
    before, after = named.to_json(), offered.to_json()
    return [
        TermChange(term, before[term], after[term])
        for term in after
        if term != "buyers" and before[term] != after[term]
    ]


def stated_changes(stated: StatedTerms, offered: Offer) -> list[TermChange]:
    """The terms of an order that names no offer and states every term, as far as the provider's
    offer does not allow them.
    """
    named, terms = stated.to_json(), offered.to_json()
    allowed = {
        "unit": stated.unit == offered.unit,
        "price": stated.price == offered.price,
        "shares": tuple(stated.shares or ()) == offered.shares,
        "maxPerCall": (stated.max_per_call or 0) <= offered.max_per_call,
        "closeWindowBlocks": (stated.close_window_blocks or 0) >= offered.close_window_blocks,
        "closeWindowSeconds": (stated.close_window_seconds or 0) >= offered.close_window_seconds,
    }
    changes = [
        TermChange(term, named[term], terms[term]) for term, met in allowed.items() if not met
    ]
    if offered.stake:
        changes.append(TermChange("stake", 0, offered.stake))
    return changes


def require_named(offer_hash: bytes | None, stated: StatedTerms) -> None:
    """An order says which terms its person saw: ``offer_not_named``."""
    missing = [term for term, value in stated.to_json().items() if value is None]
    if offer_hash is None and missing:
        raise BadInput(
            "offer_not_named",
            "The order does not say on which offer it is made.",
            hint="Give offerHash as GET /v1/offers?provider=… shows it, or state "
            + ", ".join(missing)
            + ".",
            missing=missing,
        )


def offer_changed(changes: Sequence[TermChange]) -> Conflict:
    """The refusal of an order on an offer that is no longer the provider's."""
    change_list = "; ".join(
        f"{change.term} was {_shown(change.named)}, is {_shown(change.offered)}"
        for change in changes
    )
    return Conflict(
        "offer_changed",
        f"The provider's offer is not the one this order names: {change_list}.",
        hint="Nothing was signed. Look at the offer again, and order on it under a new "
        "idempotency key if it still suits.",
        changes=[change.to_json() for change in changes],
    )


def _shown(value: Any) -> str:
    if value is None:
        return "not known here"
    if isinstance(value, list):
        return ", ".join(f"{part['member']} {part['basisPoints']}" for part in value)
    return str(value)


def require_live_grant(grant: GrantRecord) -> None:
    """The grant allows use by its on-chain record: ``grant_not_live``."""
    if not grant.live:
        raise Forbidden("grant_not_live", "The grant is not approved, or was revoked.")


def require_free(account: AccountRecord, needed: int, *, party: str) -> None:
    """A party's free balance covers what the opening takes of it: ``not_enough_free``."""
    if account.free < needed:
        raise Conflict(
            "not_enough_free",
            f"The {party}'s free balance is {account.free} fen and the opening takes {needed} fen.",
            hint="Have a deposit confirmed or order a smaller cap; then "
            "order under a new idempotency key.",
            free=account.free,
            needed=needed,
        )


def opening_records(agreement: Agreement) -> tuple[StorageKey, ...]:
    """The chain's records that ``require_openable`` asks."""
    return (
        grant_record(agreement.grant_id),
        *account_records(agreement.buyer),
        *account_records(agreement.provider),
        *agreement_records(agreement.struct_hash()),
    )


def require_openable(agreement: Agreement, records: ProvedRecords) -> None:
    """The chain would open the agreement, judged by grant, balance and time.

    Args:
        records: ``opening_records``, proved under one block.

    Raises:
        Conflict: ``agreement_open``, ``not_enough_free``; Forbidden: ``grant_not_live``; BadInput:
            ``open_too_late``.
    """
    require_not_open(records.agreement(agreement.struct_hash()))
    require_live_grant(records.grant(agreement.grant_id))
    require_free(records.account(agreement.buyer), agreement.cap, party="buyer")
    if not agreement.bond_from_earnings:
        require_free(records.account(agreement.provider), agreement.bond, party="provider")
    if records.timestamp > agreement.open_before:
        raise BadInput(
            "open_too_late", "The agreement can no longer be opened.", hint="Propose it again."
        )


def require_not_open(state: AgreementRecord) -> None:
    """Nothing is signed twice for an agreement that the chain has: ``agreement_open``."""
    if state.opened_at:
        raise Conflict("agreement_open", "The chain has opened this agreement already.")


def require_running(state: AgreementRecord) -> None:
    """Claims and notices need an open agreement: ``agreement_not_open``,
    ``agreement_is_closed``.
    """
    if not state.opened_at:
        raise Conflict(
            "agreement_not_open",
            "The agreement is not open on the chain.",
            hint="Check its state; a proposal that ended is ordered again.",
        )
    if state.closed_at:
        raise Conflict(
            "agreement_is_closed",
            f"The agreement was closed in block {state.closed_at}.",
            hint="Nothing more can be claimed or ended.",
            closedAt=state.closed_at,
        )


def require_signature(agreement: Agreement, signature: bytes, key: str, domain: Domain) -> None:
    """The signature is by the pinned key: ``wrong_signer``, or ``signature_malformed``."""
    if recover(agreement.digest(domain), signature) != key:
        raise Forbidden("wrong_signer", "The agreement is not signed by the key it pins.")


def newer_version_hint(version: int, newer: int) -> str:
    """What to do about an agreement of an asset version that has been superseded."""
    return (
        f"Version {newer} of the asset is published; this agreement is of version {version}, and "
        "records changed since are refused under it. "
        f"Request a grant of version {newer} and open an agreement under it."
    )
