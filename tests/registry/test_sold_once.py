"""A home is sold once: titles, steps and the register rest on proved records, not on reported
events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from chain.core.crypto import new_private_key
from chain.core.errors import QiaolianError
from chain.ethereum.ledger import Event
from chain.statements.members import KeyPurpose
from chain.statements.property import StepKind, TitleStatement
from registry import projection
from registry.pages import PageRequest
from registry.property import calls, deals, holds, peers, register, steps, titles
from registry.property.model import CertifiedKey
from registry.property.register import RegistrationUpdater
from registry.property.register_store import UnitRow
from registry.property.rules import MAX_DEAL_SECONDS, MAX_HOLD_SECONDS
from registry.property.store import DealRow
from tests.registry.conftest import Network
from tests.registry.test_deals import (
    DAY,
    ORDER,
    Drawn,
    Sale,
    hold,
    later_clock,
    now,
    owner,
    put_up,
    refused,
    titled,
)
from tests.support.stale_view import stale

BEFORE_REGISTER = tuple(step for step in StepKind if step < StepKind.REGISTER)


@pytest.fixture
def sale(network: Network, person: Callable[[], Any]) -> Sale:
    return put_up(network, person(), person())


@pytest.fixture
def deal(sale: Sale) -> Drawn:
    return sale.draw_up()


def view_only(network: Network, name: str) -> Any:
    """Bring a node's proved view to the chain's head and leave its projection behind."""
    context = network[name].context
    context.view.wait_for_height(context.ledger.height(), 60)
    return context


def registered_without_view(network: Network, deal: Drawn) -> Any:
    """Register a deal; the centre's view has the block, its projection does not. The centre's
    context.
    """
    deal.take(*BEFORE_REGISTER)
    registrar = network["registrar"]
    registrar.outcome(deal.sign(StepKind.REGISTER).operation).require_done()
    return view_only(network, "registrar")


@contextmanager
def fails(code: str) -> Iterator[None]:
    """Refused with this code; parties that were asked first may have stored the draft."""
    with pytest.raises(QiaolianError) as caught:
        yield
    assert caught.value.code == code


def hand_to_centre(network: Network, deal: Drawn) -> None:
    """The agent gives a deal to the registration centre's node."""
    drawn = deals.find(network["agency"].context, deal.id)
    deals.receive_deal(network["registrar"].context, network["agency"].member, drawn)


def title_for(context: Any, deal: Drawn, key: str) -> TitleStatement:
    made = titles.issue_title(context, deal.sale.number, owner_key=key, not_after=now() + DAY)
    return made.statement


def invented(network: Network, name: str, event: str, deal: Drawn, **arguments: Any) -> None:
    """Give a node's projection an event that no block has."""
    context = network[name].context
    made = Event(
        contract="PropertyLedger",
        name=event,
        arguments={"dealId": deal.id, "unit": deal.terms.unit, **arguments},
        height=context.ledger.height(),
        block_hash=bytes(32),
        log_index=0,
    )
    context.database.write(lambda session: projection.apply(session, [made], context))


# --- The former owner -----------------------------------------------------------------------------


def test_the_former_owner_gets_no_title_however_far_the_projection_is_behind(
    network: Network, deal: Drawn
) -> None:
    context = registered_without_view(network, deal)
    seller = replace(deal.sale.seller, key=new_private_key())
    network.certify("registrar", seller, "deal")
    with fails("not_owner"):
        title_for(context, deal, seller.address)
    assert not deals.describe(context, deal.id).deal.registered_at, "no event has reported it"
    assert title_for(context, deal, deal.sale.buyer.address).last_registration == deal.id


def test_a_title_issued_before_a_registration_is_void_after_it_by_every_partys_proof(
    network: Network, sale: Sale, person: Callable[[], Any]
) -> None:
    """Two titles of one instant, to two keys of one owner: one home is sold."""
    other_key = replace(sale.seller, key=new_private_key())
    second = titled(network, sale.number, other_key, person())
    assert second.title.last_registration == sale.title.last_registration == bytes(32)
    first, also = sale.draw_up(), second.draw_up()
    registered_without_view(network, first)
    for name in ("agency", "tax", "bank"):
        view_only(network, name)
    with fails("title_superseded"):
        sale.draw_up()
    with fails("title_superseded"):
        also.submit(StepKind.SELLER)
    assert not also.word.opened_at


def test_the_centre_signs_no_registration_for_a_seller_who_is_not_the_owner_now(
    network: Network, deal: Drawn
) -> None:
    deal.take(*BEFORE_REGISTER)
    registrar = network["registrar"].context

    def enter(owner: str, last_registration: bytes) -> None:
        def change(session: Any) -> None:
            row = session.get_one(UnitRow, deal.terms.unit)
            row.owner, row.last_registration = owner, last_registration

        registrar.database.write(change)

    enter("ID-heir", bytes(32))
    with refused(network, "not_owner"):
        deal.sign(StepKind.REGISTER)
    enter(deal.sale.seller.code, bytes(range(32)))
    with refused(network, "register_behind"):
        deal.sign(StepKind.REGISTER)
    enter(deal.sale.seller.code, bytes(32))
    deal.take(StepKind.REGISTER)
    assert owner(network, deal.sale) == deal.sale.buyer.code


def test_a_register_that_lacks_the_registered_deal_certifies_nothing_until_it_has_it(
    network: Network, deal: Drawn, person: Callable[[], Any]
) -> None:
    """A centre restored from a copy of before the sale: the former owner is in its register, the
    deal is not.
    """
    context = registered_without_view(network, deal)
    network.sync()
    following = titled(
        network, deal.sale.number, replace(deal.sale.buyer, key=new_private_key()), person()
    ).draw_up()
    with context.database.read() as session:
        row, unit = session.get_one(DealRow, deal.id), session.get_one(UnitRow, deal.terms.unit)

    def lose(session: Any) -> None:
        session.delete(session.get_one(DealRow, deal.id))
        lost = session.get_one(UnitRow, deal.terms.unit)
        lost.owner, lost.last_registration, lost.registered_at = deal.sale.seller.code, bytes(32), 0

    context.database.write(lose)
    with refused(network, "register_behind"):
        title_for(context, deal, deal.sale.seller.address)
    with refused(network, "register_behind"):
        title_for(context, deal, deal.sale.buyer.address)
    with refused(network, "register_behind"):
        hand_to_centre(network, following)
    context.database.write(lambda session: session.merge(row) and None)
    hand_to_centre(network, following)
    assert owner(network, deal.sale) == unit.owner == deal.sale.buyer.code


def test_a_registration_the_chain_took_while_the_centre_was_down_is_taken_over(
    network: Network, deal: Drawn
) -> None:
    deal.take(*BEFORE_REGISTER)
    context = network["registrar"].context
    statement = replace(deal.people(StepKind.REGISTER), content=bytes(range(32)))
    signature = network["registrar"].sign(statement, KeyPurpose.STATEMENT)
    agency = network["agency"].context

    def send(session: Any) -> None:
        calls.enqueue_call(
            agency,
            session,
            f"test/{deal.id.hex()}",
            "steps",
            [deal.terms, [statement], [signature]],
        )

    agency.database.write(send)
    network["agency"].outcome(f"test/{deal.id.hex()}").require_done()
    network.sync()
    assert register.find_unit(context, deal.sale.number).owner == deal.sale.seller.code
    asyncio.run(RegistrationUpdater(context).round())
    row = register.find_unit(context, deal.sale.number)
    assert (row.owner, row.last_registration, row.registered_at) == (
        deal.sale.buyer.code,
        deal.id,
        deal.word.registered_at,
    )


# --- Invented events ------------------------------------------------------------------------------


def test_an_invented_registration_moves_no_home(network: Network, deal: Drawn) -> None:
    deal.take(StepKind.SELLER)
    context = network["registrar"].context
    invented(network, "registrar", "DealRegistered", deal)
    updater = RegistrationUpdater(context)
    asyncio.run(updater.round())
    asyncio.run(updater.round())
    assert owner(network, deal.sale) == deal.sale.seller.code
    assert title_for(context, deal, deal.sale.seller.address).last_registration == bytes(32)


def test_invented_steps_and_endings_neither_open_the_way_nor_close_it(
    network: Network, deal: Drawn
) -> None:
    deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT)
    for step in (StepKind.TAX, StepKind.MORTGAGE, StepKind.NOTARY):
        invented(network, "registrar", "DealStepped", deal, statement=deal.people(step))
    with refused(network, "out_of_order"):
        deal.sign(StepKind.REGISTER)
    for ending in ("DealRegistered", "DealExpired"):
        invented(network, "tax", ending, deal)
    deal.take(StepKind.TAX)
    assert deal.word.done(StepKind.TAX)


def test_an_invented_step_does_not_bring_an_ended_key_back(network: Network, deal: Drawn) -> None:
    """What the chain has is checked under the key of then; an event alone does not say that it has
    it.
    """
    deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT)
    statement = deal.people(StepKind.TAX)
    invented(network, "bank", "DealStepped", deal, statement=statement)
    signature = network["tax"].sign(statement, KeyPurpose.STATEMENT)
    body = {
        "statement": statement.to_json(),
        "signature": "0x" + signature.hex(),
        "record": None,
        "salt": None,
    }
    with network.suspended("tax"), refused(network, "wrong_signer"):
        steps.receive_step(
            network["bank"].context, network["tax"].member, deal.id, peers.read_step(body)
        )


def test_an_opened_deal_whose_id_is_not_of_its_terms_is_not_stored(
    network: Network, deal: Drawn
) -> None:
    forged = replace(deal.terms, agent=network["bank"].member, nonce=bytes(32))
    other = Drawn(deal.sale, replace(deal.terms, nonce=bytes(31) + b"\1"))
    invented(network, "bank", "DealOpened", other, terms=forged)
    with fails("deal_unknown"):
        deals.find(network["bank"].context, other.id)


def test_steps_go_on_from_proved_records_while_the_projection_is_behind(
    network: Network, deal: Drawn
) -> None:
    deal.take(StepKind.SELLER, StepKind.BUYER)
    network["agency"].outcome(deal.sign(StepKind.AGENT).operation).require_done()
    view_only(network, "tax")
    made = deal.sign(StepKind.TAX)
    network["tax"].outcome(made.operation).require_done()
    assert deal.word.done(StepKind.TAX)


# --- Without a fresh head -------------------------------------------------------------------------


def test_without_a_fresh_head_nothing_is_certified_drawn_up_or_signed(
    network: Network, deal: Drawn
) -> None:
    registrar = network["registrar"].context
    with stale(registrar.view):
        with refused(network, "chain_view_stale"):
            title_for(registrar, deal, deal.sale.seller.address)
        with refused(network, "chain_view_stale"):
            hand_to_centre(network, deal)
        with refused(network, "chain_view_stale"):
            holds.end_hold(registrar, registrar.member, deal.terms.unit)
        with refused(network, "chain_view_stale"):
            register.register_entry(registrar, deal.terms.unit)
    with stale(network["agency"].context.view), refused(network, "chain_view_stale"):
        deal.submit(StepKind.SELLER)
    deal.take(*BEFORE_REGISTER)
    with stale(registrar.view), refused(network, "chain_view_stale"):
        deal.sign(StepKind.REGISTER)


# --- Before the last step -------------------------------------------------------------------------


def test_a_hold_or_the_deals_end_before_the_last_step_stops_the_registration(
    network: Network, deal: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    deal.take(*BEFORE_REGISTER)
    hold(network, deal.sale, placed=True)
    with refused(network, "unit_held"):
        deal.sign(StepKind.REGISTER)
    hold(network, deal.sale, placed=False)
    with monkeypatch.context() as later:
        later_clock(later, network, 2 * DAY)
        with refused(network, "deal_over"):
            deal.sign(StepKind.REGISTER)
    statement = deal.people(StepKind.REGISTER)
    with fails("wrong_party"):
        deal.simulate(statement, deal.sale.seller.sign(statement, network.deployment))
    deal.take(StepKind.REGISTER)


def test_a_title_is_never_dated_ahead_of_the_chain(
    network: Network, deal: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    registrar = network["registrar"].context
    monkeypatch.setattr(registrar, "clock", lambda: now() + 1800)
    title = title_for(registrar, deal, deal.sale.seller.address)
    assert title.issued_at <= registrar.view.head.timestamp


# --- Another department ---------------------------------------------------------------------------


def test_another_department_sells_no_unit_of_this_centres_register(
    network: Network, sale: Sale, person: Callable[[], Any]
) -> None:
    """Title and certificates of its own, for the pseudonym it saw on the chain: its own node knows
    no such unit, and the chain keeps it apart.
    """
    tax = network["tax"]
    seller, buyer = person(), person()
    keys = [CertifiedKey(*network.certify("tax", person_, "deal")) for person_ in (seller, buyer)]
    title = replace(sale.title, registrar=tax.member, owner_key=seller.address)
    forged = replace(sale, seller=seller, buyer=buyer, seller_key=keys[0], buyer_key=keys[1])
    forged.title, forged.title_signature = title, tax.sign(title, KeyPurpose.STATEMENT)
    with fails("unit_unknown"):
        forged.draw_up()
    deal = sale.draw_up()
    deal.take(StepKind.SELLER)
    ledger = network.ledger.property
    assert ledger.open_deal(network["registrar"].member, sale.title.unit) == deal.id
    assert ledger.open_deal(tax.member, sale.title.unit) == bytes(32)


# --- Holds that end -------------------------------------------------------------------------------


def test_bounds_of_deals_and_holds_are_the_contracts(network: Network) -> None:
    read = network.ledger.read
    assert read("PropertyLedger", "MAX_DEAL_TIME")[0] == MAX_DEAL_SECONDS
    assert read("PropertyLedger", "MAX_HOLD_TIME")[0] == MAX_HOLD_SECONDS


@pytest.mark.parametrize(
    ("placed", "ends_in"), [(True, None), (True, 0), (True, MAX_HOLD_SECONDS + DAY), (False, DAY)]
)
def test_a_hold_names_when_its_order_ends_and_a_lifting_does_not(
    network: Network, sale: Sale, placed: bool, ends_in: int | None
) -> None:
    ends_at = None if ends_in is None else now() + ends_in
    with refused(network, "wrong_hold_end"):
        holds.set_hold(
            network["registrar"].context, sale.number, ORDER, placed=placed, ends_at=ends_at
        )


def test_a_hold_stands_after_its_end_until_somebody_ends_it(network: Network, sale: Sale) -> None:
    registrar, bank = network["registrar"], network["bank"]
    unit = sale.title.unit
    with refused(network, "unit_not_held"):
        holds.end_hold(bank.context, registrar.member, unit)
    made = holds.set_hold(registrar.context, sale.number, ORDER, placed=True, ends_at=now() + 4)
    further = holds.set_hold(
        registrar.context,
        sale.number,
        {**ORDER, "number": "(2026)2"},
        placed=True,
        ends_at=now() + 3,
    )
    assert holds.orders_of(registrar.context, sale.number) == [further, made]
    for placed in (made, further):
        registrar.done(placed.operation)
    network.sync()
    listed = [
        held
        for held in holds.holds(registrar.context, PageRequest(200)).rows
        if held.number == sale.number
    ]
    ends_at = made.statement.ends_at
    assert [(held.ends_at, held.order["number"]) for held in listed] == [(ends_at, "(2026)2")], (
        "a further order never shortens a hold"
    )
    network.wait_for(lambda: now() > ends_at + 1, "the order's end")
    with refused(network, "unit_held"):
        sale.draw_up()
    bank.done(holds.end_hold(bank.context, registrar.member, unit))
    network.sync()
    assert not [
        held
        for held in holds.holds(registrar.context, PageRequest(200)).rows
        if held.number == sale.number
    ]
    sale.draw_up().take(StepKind.SELLER)


def test_a_hold_is_not_ended_before_its_order_is(network: Network, sale: Sale) -> None:
    hold(network, sale, placed=True)
    with refused(network, "not_yet_expired"):
        holds.end_hold(network["bank"].context, network["registrar"].member, sale.title.unit)
