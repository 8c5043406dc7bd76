"""Rules of property deals, without I/O: who signs which step, in which order, and what each step
says.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from typing import Any

from chain.core.canonical import same
from chain.core.errors import BadInput, Conflict, Forbidden, RefusedBy, Refuser
from chain.ethereum.proved_records import (
    ProvedRecords,
    StorageKey,
    deal_record,
    title_record,
    unit_record,
)
from chain.ethereum.records import DealRecord
from chain.statements.members import Role
from chain.statements.property import DealStep, DealTerms, StepKind, TitleStatement
from registry.property.model import (
    NO_DEAL,
    Deal,
    DealSearch,
    DealStage,
    DealState,
    UnitState,
)
from registry.property.tax import TaxFacts, compute

DEAL_DOMAIN = "qiaolian.deal.v1"
STEP_DOMAIN = "qiaolian.step.v1"
ORDER_DOMAIN = "qiaolian.order.v1"

STEP_NAMES: Mapping[str, StepKind] = {step.name.lower(): step for step in StepKind}
NATURAL_PERSONS = (StepKind.SELLER, StepKind.BUYER)
AGREEING = (StepKind.SELLER, StepKind.BUYER, StepKind.AGENT)
"""Steps that state the deal's own content; the later ones state something of their own."""

MAX_DEAL_SECONDS = 180 * 86_400
"""``PropertyLedger.MAX_DEAL_TIME``."""
MAX_HOLD_SECONDS = 1098 * 86_400
"""``PropertyLedger.MAX_HOLD_TIME``: three years, a court's longest order on real estate; a further
order renews it.
"""
CLOCK_TOLERANCE = 60
"""Seconds by which the clocks of members and of the chain may differ; the contract itself takes no
title dated ahead of its block.
"""

_CONTENT = {
    "unit",
    "area",
    "price",
    "loan",
    "monthsHeld",
    "onlyHome",
    "buyerHomes",
    "originalPrice",
}


def unit_pseudonym(secret: bytes, number: str) -> bytes:
    """A unit's name on the chain: HMAC-SHA-256 under the registration centre's secret, so that
    nobody else can compute or enumerate it.
    """
    if not isinstance(number, str) or not 1 <= len(number) <= 64:
        raise BadInput("unit_malformed", "A unit's register number has 1 to 64 characters.")
    return hmac.new(secret, b"qiaolian.unit.v1\0" + number.encode(), hashlib.sha256).digest()


def require_content(content: Any) -> TaxFacts:
    """Check a deal's content; what its taxes follow from.

    ``unit`` register number, ``area`` in square centimetres, ``price``, ``loan`` and
    ``originalPrice`` in fen as decimal strings (``originalPrice`` null when it cannot be shown),
    ``monthsHeld``, ``onlyHome``, ``buyerHomes``.
    """
    if not isinstance(content, Mapping) or set(content) != _CONTENT:
        raise BadInput(
            "content_malformed", f"A deal's content has exactly: {', '.join(sorted(_CONTENT))}."
        )
    price, loan = fen(content["price"]), fen(content["loan"])
    original = None if content["originalPrice"] is None else fen(content["originalPrice"])
    whole = [content["area"], content["monthsHeld"], content["buyerHomes"]]
    if not isinstance(content["unit"], str) or type(content["onlyHome"]) is not bool:
        raise BadInput(
            "content_malformed", "The deal's unit is text and onlyHome is true or false."
        )
    if any(type(number) is not int or not 0 <= number < 2**53 for number in whole):
        raise BadInput(
            "content_malformed", "The deal's area, monthsHeld and buyerHomes are whole numbers."
        )
    if loan > price:
        raise BadInput("loan_above_price", "The loan is higher than the price.")
    facts = TaxFacts(
        price=price,
        area=content["area"],
        months_held=content["monthsHeld"],
        only_home=content["onlyHome"],
        buyer_homes=content["buyerHomes"],
        original_price=original,
    )
    compute(facts)
    return facts


def require_loan(terms: DealTerms, content: Mapping[str, Any]) -> None:
    """A loan has its bank and a bank its loan, or the mortgage could be left out:
    ``loan_without_bank``.
    """
    if bool(terms.bank) != (fen(content["loan"]) > 0):
        raise BadInput("loan_without_bank", "A deal names a bank if it has a loan, and only then.")


def fen(value: Any) -> int:
    """Money in JSON: a decimal string of fen."""
    if (
        not isinstance(value, str)
        or not value.isascii()
        or not value.isdecimal()
        or len(value) > 15
    ):
        raise BadInput("amount_malformed", "An amount is a decimal string of fen.")
    return int(value)


def party(terms: DealTerms, step: StepKind) -> str:
    """The member that signs a step; empty for seller and buyer, who sign with certified keys."""
    return {
        StepKind.SELLER: "",
        StepKind.BUYER: "",
        StepKind.AGENT: terms.agent,
        StepKind.TAX: terms.tax_authority,
        StepKind.MORTGAGE: terms.bank,
        StepKind.NOTARY: terms.notary,
        StepKind.REGISTER: terms.registrar,
    }[step]


def step_holder(terms: DealTerms, step: StepKind) -> str:
    """The member that sends a step to the others: its party; the agent for seller and buyer."""
    return party(terms, step) or terms.agent


def members_of(terms: DealTerms) -> tuple[str, ...]:
    """The member parties, each once."""
    named = (terms.agent, terms.tax_authority, terms.bank, terms.notary, terms.registrar)
    return tuple(dict.fromkeys(name for name in named if name))


def roles_of(terms: DealTerms) -> tuple[tuple[str, Role], ...]:
    """Who must hold which role: an agent must not name itself the tax authority or the bank, nor
    anybody the registration centre.
    """
    needed = (
        (terms.registrar, Role.DEPARTMENT),
        (terms.tax_authority, Role.DEPARTMENT),
        (terms.bank, Role.BANK),
    )
    return tuple(item for item in needed if item[0])


def steps_of(terms: DealTerms) -> tuple[StepKind, ...]:
    """The steps the deal needs: no mortgage without a bank."""
    return tuple(step for step in StepKind if step is not StepKind.MORTGAGE or terms.bank)


def require_step(terms: DealTerms, statement: DealStep) -> StepKind:
    """A signed step is one of the deal's, and agrees to its content where it states nothing else:
    ``other_deal``, ``unknown_step``, ``content_differs``.
    """
    if statement.deal_id != terms.struct_hash():
        raise BadInput("other_deal", "The signature is under another deal.")
    if statement.step not in {int(kind) for kind in steps_of(terms)}:
        raise BadInput("unknown_step", "The deal has no such step.")
    step = StepKind(statement.step)
    if step in AGREEING and statement.content != terms.content:
        raise BadInput("content_differs", "The signature is not under this deal's content.")
    return step


def preceding_steps(step: StepKind, *, mortgaged: bool) -> frozenset[StepKind]:
    """The steps that must have been taken before one, as PropertyLedger asks it."""
    if step in AGREEING:
        return frozenset()
    needed = [
        kind for kind in StepKind if kind < step and (mortgaged or kind is not StepKind.MORTGAGE)
    ]
    return frozenset(needed)


def require_turn(
    terms: DealTerms, step: StepKind, *, member: str, done: Collection[StepKind]
) -> None:
    """Refuse a step that is not this member's (``wrong_party``), not part of the deal
    (``unknown_step``) or too early (``out_of_order``).
    """
    if step not in steps_of(terms):
        raise BadInput("unknown_step", "The deal has no such step.")
    if step in NATURAL_PERSONS or party(terms, step) != member:
        raise Forbidden(
            "wrong_party", f"The step {step.name.lower()} is not this organisation's to sign."
        )
    missing = sorted(preceding_steps(step, mortgaged=bool(terms.bank)) - set(done))
    if missing:
        raise Conflict(
            "out_of_order",
            f"The step {missing[0].name.lower()} comes before {step.name.lower()}.",
            hint="Wait until the chain has it, then sign.",
        )


def require_period(expires_at: int, now: int) -> None:
    """Refuse a deal that is over already (``wrong_period``) or would block its unit for too long
    (``deal_too_long``).
    """
    if expires_at <= now:
        raise BadInput("wrong_period", "A deal expires in the future.")
    if expires_at > now + MAX_DEAL_SECONDS - CLOCK_TOLERANCE:
        days = MAX_DEAL_SECONDS // 86_400
        raise BadInput(
            "deal_too_long",
            f"A deal lasts less than {days} days.",
            hint="Choose an earlier expiry.",
        )


def require_title(title: TitleStatement, terms: DealTerms, now: int) -> None:
    """Refuse a title of another deal's matter (``title_mismatch``), an expired one or one dated
    ahead (``title_expired``, ``title_dated_ahead``). Whether it is built on the unit's last
    registration, the chain says: ``require_title_current``.
    """
    if (title.registrar, title.unit, title.owner_key) != (
        terms.registrar,
        terms.unit,
        terms.seller,
    ):
        raise BadInput(
            "title_mismatch",
            "The title statement is not about this unit, seller and registration centre.",
        )
    if now > title.expires_at:
        raise Conflict(
            "title_expired",
            "The title statement has expired.",
            hint="Ask the registration centre for one.",
        )
    if title.issued_at > now + CLOCK_TOLERANCE:
        raise BadInput(
            "title_dated_ahead",
            "The title statement is dated ahead.",
            hint="Compare the clocks; ask the registration centre for another title.",
        ).by(RefusedBy(Refuser.CLOCK))


def unit_records(registrar: str, unit: bytes) -> tuple[StorageKey, ...]:
    """The chain's records of a unit, for ``unit_of``."""
    return tuple(
        unit_record(name, registrar, unit) for name in ("holds", "openDeal", "lastRegistration")
    )


def unit_of(records: ProvedRecords, registrar: str, unit: bytes) -> UnitState:
    """A unit's hold, open deal and last registration."""
    open_deal, last = (
        records.hash(unit_record(name, registrar, unit))
        for name in ("openDeal", "lastRegistration")
    )
    return UnitState(records.unit_hold(registrar, unit), open_deal, last)


def registered_deal(records: ProvedRecords, registrar: str, unit: bytes) -> list[StorageKey]:
    """The record of the deal that was registered last for a unit; none before the first."""
    last = records.hash(unit_record("lastRegistration", registrar, unit))
    return [] if last == NO_DEAL else [deal_record(last)]


def deal_records(terms: DealTerms) -> tuple[StorageKey, ...]:
    """The chain's records of a deal and its unit, for ``require_under_way``."""
    deal_id = terms.struct_hash()
    return (
        deal_record(deal_id),
        title_record(deal_id),
        *unit_records(terms.registrar, terms.unit),
    )


def require_under_way(deal: Deal, records: ProvedRecords, *, now: int) -> DealState:
    """A deal is neither over nor stopped, and was opened with this node's title or is to be opened
    with one that is built on the last registration; the chain's state of it.

    Args:
        records: ``deal_records``, proved under one block.
        now: Unix seconds.

    Raises:
        Conflict: what ``require_running``, ``require_free``, ``require_opened_with`` and
            ``require_title_current`` raise.
    """
    terms, deal_id = deal.terms, deal.deal_id
    state = DealState(
        records.deal(deal_id),
        records.title_hash(deal_id),
        unit_of(records, terms.registrar, terms.unit),
    )
    require_running(state.deal, terms, now)
    require_free(state.unit, deal_id)
    if deal.disclosed is not None and state.deal.opened_at:
        require_opened_with(deal.disclosed.title, state.title_hash)
    elif deal.disclosed is not None:
        require_title_current(deal.disclosed.title, state.unit.last_registration)
    return state


def require_opened_with(title: TitleStatement, title_hash: bytes) -> None:
    """Refuse a deal that the chain opened with another title than this node was given:
    ``title_differs``.
    """
    if title.struct_hash() != title_hash:
        raise Conflict(
            "title_differs",
            "The deal was opened with another title statement than this node was given.",
            hint="Let the deal expire and draw up another with one title.",
        )


def require_title_current(title: TitleStatement, last_registration: bytes) -> None:
    """Refuse a title that is not built on the unit's last registration: ``title_superseded``."""
    if title.last_registration != last_registration:
        raise Conflict(
            "title_superseded",
            "The unit has been registered since the title statement was issued.",
            hint="The present owner asks the registration centre for a title.",
        )


def require_free(unit: UnitState, deal_id: bytes) -> None:
    """Refuse what concerns a unit under a hold (``unit_held``) or in another open deal
    (``unit_in_deal``).
    """
    if unit.hold.held:
        raise Conflict(
            "unit_held", "The unit is under a hold.", hint="It can be sold when the hold is lifted."
        )
    if unit.open_deal not in (NO_DEAL, deal_id):
        raise Conflict(
            "unit_in_deal",
            "The unit is in an open deal.",
            hint="A deal ends by registration or by its expiry.",
        )


def require_running(deal: DealRecord, terms: DealTerms, now: int) -> None:
    """Refuse a step of a deal that the chain has as registered or expired, or whose time has
    passed: ``deal_over``.
    """
    if deal.registered_at or deal.expired_at or now > terms.expires_at:
        raise Conflict("deal_over", "The deal is registered or has expired.")


SEARCHED_STAGES = (DealStage.DRAFT, DealStage.OPEN, DealStage.REGISTERED, DealStage.EXPIRED)
"""The stages that a list can be asked for."""


def require_searchable(search: DealSearch) -> None:
    """Refuse a stage that is of one node's calls and not of the deal: ``deal_stage_unknown``."""
    if search.stage is not None and search.stage not in SEARCHED_STAGES:
        raise BadInput(
            "deal_stage_unknown",
            "Deals are not listed by this state.",
            hint=", ".join(SEARCHED_STAGES),
        )


def stage_of(deal: Deal, *, refused: bool) -> DealStage:
    """How far a deal is.

    Args:
        refused: whether the chain refused one of this node's calls.
    """
    if deal.registered_at:
        return DealStage.REGISTERED
    if deal.expired_at:
        return DealStage.EXPIRED
    if deal.opened_at:
        return DealStage.OPEN
    if refused:
        return DealStage.REFUSED
    return DealStage.OPENING if deal.operation else DealStage.DRAFT


def require_hold_end(ends_at: int | None, now: int, *, placed: bool) -> int:
    """When an order's hold ends, 0 for a lifting; ``wrong_hold_end``."""
    if not placed:
        if ends_at:
            raise BadInput("wrong_hold_end", "A lifting has no end.")
        return 0
    if ends_at is None or not now < ends_at <= now + MAX_HOLD_SECONDS - CLOCK_TOLERANCE:
        raise BadInput(
            "wrong_hold_end",
            "A hold names when its order ends: in the future and within three years.",
            hint="A further order renews it.",
        )
    return ends_at


def require_record(
    terms: DealTerms, step: StepKind, content: Mapping[str, Any], record: Any
) -> Mapping[str, Any]:
    """Check what a step states: the tax sheet must be the rules' own, the loan the deal's, a
    certificate must have a number.
    """
    if not isinstance(record, Mapping):
        raise BadInput("record_malformed", "What a step states is a JSON object.")
    given = dict(record)
    if step is StepKind.TAX:
        facts = require_content(content)
        if not same(given, compute(facts, rules_name=str(given.get("rules"))).to_json()):
            raise BadInput("tax_differs", "The tax sheet is not what the rules give for this deal.")
        return given
    if step is StepKind.MORTGAGE:
        wanted = {"lender": terms.bank, "loan": content["loan"], "contract": given.get("contract")}
    elif step is StepKind.NOTARY:
        wanted = {"notary": terms.notary, "certificate": given.get("certificate")}
    else:
        wanted = {
            "registrar": terms.registrar,
            "unit": content["unit"],
            "certificate": given.get("certificate"),
        }
    text = wanted.get("contract", wanted.get("certificate"))
    if given != wanted or not isinstance(text, str) or not 1 <= len(text) <= 64:
        raise BadInput(
            "record_malformed", f"The step {step.name.lower()} states exactly: {', '.join(wanted)}."
        )
    return given
