"""Property deals: drawn up with certified keys and a title, signed by each party in its turn, refused whole or taken whole."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa

from chain.errors import QiaolianError
from chain.outbox.store import OutboxCall
from chain.statements import DealStep, DealTerms, KeyPurpose, Step, TitleStatement
from registry.evidence.store import LogEntry, PendingEntry
from registry.property import register, service
from registry.property.service import CertifiedKey, NewDeal
from registry.property.store import Deal, Hold, SignedStep, Title, Unit

DAY = 86_400
PARTIES = ("agency", "tax", "bank", "registrar")
SIGNERS = {Step.AGENT: "agency", Step.TAX: "tax", Step.MORTGAGE: "bank", Step.NOTARY: "agency", Step.REGISTER: "registrar"}
GIVEN = {Step.MORTGAGE: {"contract": "M-1"}, Step.NOTARY: {"certificate": "N-1"}, Step.REGISTER: {"certificate": "R-1"}}
ORDER = {"court": "Pengjiang", "number": "(2026)1", "date": "2026-11-01"}
TABLES = (Unit, Title, Hold, Deal, SignedStep)


def now() -> int:
    return int(time.time())


def kept(network: Any) -> dict[str, Any]:
    """All that the nodes keep of property, the calls they promised the chain, and how much they said."""

    def rows(node: Any) -> tuple[Any, ...]:
        with node.context.database.engine.connect() as connection:
            tables = [connection.execute(sa.select(each.__table__).order_by(*each.__table__.primary_key)).all() for each in TABLES]
            counts = [connection.scalar(sa.select(sa.func.count()).select_from(each)) for each in (OutboxCall, PendingEntry, LogEntry)]
        return tables, counts[0], counts[1] + counts[2]

    return {name: rows(node) for name, node in network.nodes.items()}


@contextmanager
def refused(network: Any, code: str) -> Iterator[None]:
    """What is refused with this code leaves every node as it was."""
    before = kept(network)
    with pytest.raises(QiaolianError) as caught:
        yield
    assert caught.value.code == code
    assert kept(network) == before


@dataclass
class Sale:
    """A unit of the register, its owner's and a buyer's certified keys, and the title."""

    network: Any
    number: str
    seller: Any
    buyer: Any
    seller_key: CertifiedKey
    buyer_key: CertifiedKey
    title: TitleStatement
    title_signature: bytes

    def content(self, **changed: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "unit": self.number,
            "area": 1_200_000,
            "price": "105000000",
            "loan": "60000000",
            "monthsHeld": 12,
            "onlyHome": False,
            "buyerHomes": 0,
            "originalPrice": None,
        }
        return fields | changed

    def wanted(self, **changed: Any) -> NewDeal:
        fields: dict[str, Any] = {
            "title": self.title,
            "title_signature": self.title_signature,
            "seller": self.seller_key,
            "buyer": self.buyer_key,
            "bank": self.network["bank"].member,
            "tax_authority": self.network["tax"].member,
            "notary": self.network["agency"].member,
            "content": self.content(),
            "expires_at": now() + DAY,
        }
        return NewDeal(**(fields | changed))

    def draw_up(self, **changed: Any) -> Drawn:
        made = asyncio.run(service.create(self.network["agency"].context, self.wanted(**changed)))
        return Drawn(self, DealTerms.from_json(made["terms"]))


@dataclass
class Drawn:
    """A deal drawn up."""

    sale: Sale
    terms: DealTerms

    @property
    def network(self) -> Any:
        return self.sale.network

    @property
    def id(self) -> bytes:
        return self.terms.struct_hash()

    def people(self, step: Step, /, **changed: Any) -> DealStep:
        """The statement seller or buyer signs."""
        fields: dict[str, Any] = {
            "version": 1,
            "deal_id": self.id,
            "step": int(step),
            "content": self.terms.content,
            "signed_at": self.terms.expires_at - DAY,
        }
        return DealStep(**(fields | changed))

    def hand_in(self, step: Step, who: Any = None, /, *, at: str = "agency", **changed: Any) -> Any:
        """A person's signature under a step, handed in at the agent's desk."""
        statement = self.people(step, **changed)
        who = who or (self.sale.seller if step is Step.SELLER else self.sale.buyer)
        signature = who.sign(statement, self.network.deployment)
        return asyncio.run(service.take_signature(self.network[at].context, self.id, statement, signature))

    def sign(self, step: Step, given: Any = None, *, by: str = "") -> Any:
        """An organisation's step at its own node."""
        return asyncio.run(service.sign(self.network[by or SIGNERS[step]].context, self.id, step, given or GIVEN.get(step)))

    def take(self, *steps: Step) -> None:
        """Each step by its own party, until the chain has it."""
        for step in steps:
            made = self.hand_in(step) if step in (Step.SELLER, Step.BUYER) else self.sign(step)
            self.network[SIGNERS.get(step, "agency")].done(made["operation"])
            self.network.sync()

    def simulate(self, statement: DealStep, signature: bytes) -> None:
        """Ask the chain itself, past every node's own checks."""
        address, data = self.network.ledger.encode("PropertyLedger", "steps", self.terms, [statement], [signature])
        self.network.ledger.simulate(address, data, sender=self.network["agency"].context.transaction_address)

    def at(self, name: str) -> Any:
        return service.describe(self.network[name].context, self.id)

    def states(self) -> set[str]:
        """What the parties say of it."""
        return {self.at(name)["state"] for name in PARTIES}

    def records(self, name: str) -> dict[str, Any]:
        return {each["step"]: each["record"] for each in self.at(name)["steps"]}

    @property
    def word(self) -> Any:
        return self.network.ledger.property.deal(self.id)


def put_up(network: Any, seller: Any, buyer: Any) -> Sale:
    """Enter a unit, certify both keys, state the title."""
    number = f"440703-{secrets.token_hex(6)}"
    register.enter_units(network["registrar"].context, [{"number": number, "owner": seller.code}])
    return titled(network, number, seller, buyer)


def titled(network: Any, number: str, seller: Any, buyer: Any) -> Sale:
    of_seller, of_buyer = (CertifiedKey(*network.certify("registrar", each, "deal")) for each in (seller, buyer))
    made = register.issue_title(network["registrar"].context, number, owner_key=seller.address, not_after=now() + DAY)
    return Sale(network, number, seller, buyer, of_seller, of_buyer, TitleStatement.from_json(made["title"]), bytes.fromhex(made["signature"][2:]))


@pytest.fixture
def sale(network: Any, person: Callable[[], Any]) -> Sale:
    return put_up(network, person(), person())


@pytest.fixture
def deal(sale: Sale) -> Drawn:
    return sale.draw_up()


def later_clock(monkeypatch: pytest.MonkeyPatch, network: Any, seconds: int) -> None:
    for node in network.nodes.values():
        monkeypatch.setattr(node.context, "clock", lambda: time.time() + seconds)


# --- From title to registration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [Step.BUYER, Step.AGENT])
def test_who_signs_before_the_seller_waits_for_the_deal_to_open(network: Any, deal: Drawn, first: Step) -> None:
    made = deal.hand_in(first) if first is Step.BUYER else deal.sign(first)
    assert not made["operation"]
    assert deal.states() == {"draft"}
    network["agency"].done(deal.hand_in(Step.SELLER)["operation"])
    network.sync()
    assert (deal.states(), deal.word.done(first)) == ({"open"}, True)
    deal.take(*{Step.BUYER, Step.AGENT} - {first}, Step.TAX)
    assert deal.word.done(Step.TAX)


# --- Whose step, and when -------------------------------------------------------------------------------------------------------


@contextmanager
def suspended(network: Any, name: str) -> Iterator[None]:
    network.execute("suspend", network[name].member, "test")
    try:
        yield
    finally:
        network.execute("lift", network[name].member)
        network.sync()


def test_what_the_chain_refused_goes_through_when_handed_in_again(network: Any, deal: Drawn) -> None:
    agency, bank = network["agency"], network["bank"]
    with suspended(network, "agency"):
        refusals = {agency.outcome(deal.hand_in(step)["operation"]).code for step in (Step.SELLER, Step.BUYER)}
        assert refusals == {"not_active"}
        assert (deal.at("agency")["state"], deal.at("agency")["refusal"], deal.word.opened_at) == ("refused", "not_active", 0)
    agency.done(deal.hand_in(Step.SELLER)["operation"])
    network.sync()
    assert (deal.states(), deal.word.done(Step.BUYER), deal.at("agency")["refusal"]) == ({"open"}, True, None)
    deal.take(Step.AGENT, Step.TAX)
    with suspended(network, "bank"):
        made = deal.sign(Step.MORTGAGE)
        assert bank.outcome(made["operation"]).code == "not_active"
        assert not deal.word.done(Step.MORTGAGE)
    again = deal.sign(Step.MORTGAGE, {"contract": "M-2"})
    assert (again["statement"], again["record"]["contract"]) == (made["statement"], "M-1")
    bank.done(again["operation"])
    assert deal.word.done(Step.MORTGAGE)


# --- What parties hand each other -----------------------------------------------------------------------------------------------


# --- What no deal is drawn up from ----------------------------------------------------------------------------------------------


def resigned(network: Any, held: CertifiedKey, **changed: Any) -> CertifiedKey:
    """A certificate the centre itself signs with other fields."""
    certificate = replace(held.certificate, **changed)
    return CertifiedKey(certificate, network["registrar"].sign(certificate, KeyPurpose.STATEMENT))


def _other_office(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"buyer": CertifiedKey(*network.certify("agency", person, "deal"))}


def _other_purpose(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"buyer": CertifiedKey(*network.certify("registrar", person, "consent"))}


def _own_certificate(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    certificate = replace(sale.buyer_key.certificate, key=person.address)
    return {"buyer": CertifiedKey(certificate, person.sign(certificate, network.deployment))}


def _borrowed_certificate(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"buyer": CertifiedKey(replace(sale.buyer_key.certificate, key=person.address), sale.buyer_key.signature)}


def _expired_certificate(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"buyer": resigned(network, sale.buyer_key, not_after=now() - 1)}


def _other_seller(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"seller": CertifiedKey(*network.certify("registrar", person, "deal"))}


def _altered_title(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"title": replace(sale.title, unit=secrets.token_bytes(32))}


def _agents_title(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"title_signature": network["agency"].sign(sale.title, KeyPurpose.STATEMENT)}


def _old_title(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    title = replace(sale.title, expires_at=now() - 1)
    return {"title": title, "title_signature": network["registrar"].sign(title, KeyPurpose.STATEMENT)}


def _past(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"expires_at": now() - 1}


def _loan_above_price(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"content": sale.content(price="59999999")}


def _loan_without_bank(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"bank": ""}


def _bank_without_loan(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"content": sale.content(loan="0")}


def _agents_own_taxes(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"tax_authority": network["agency"].member}


def _agents_own_loan(network: Any, sale: Sale, person: Any) -> dict[str, Any]:
    return {"bank": network["agency"].member}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_other_office, "certificate_mismatch"),
        (_other_purpose, "certificate_mismatch"),
        (_own_certificate, "wrong_signer"),
        (_borrowed_certificate, "wrong_signer"),
        (_expired_certificate, "certificate_expired"),
        (_other_seller, "title_mismatch"),
        (_altered_title, "wrong_signer"),
        (_agents_title, "wrong_signer"),
        (_old_title, "title_expired"),
        (_past, "wrong_period"),
        (_loan_above_price, "loan_above_price"),
        (_loan_without_bank, "loan_without_bank"),
        (_bank_without_loan, "loan_without_bank"),
        (_agents_own_taxes, "party_role_wrong"),
        (_agents_own_loan, "party_role_wrong"),
    ],
)
def test_no_deal_is_drawn_up_from(network: Any, sale: Sale, person: Callable[[], Any], change: Any, code: str) -> None:
    wanted = sale.wanted(**change(network, sale, person()))
    with refused(network, code):
        asyncio.run(service.create(network["agency"].context, wanted))


# --- One deal a unit ------------------------------------------------------------------------------------------------------------


def test_a_unit_in_an_open_deal_is_not_sold_a_second_time(network: Any, sale: Sale, person: Callable[[], Any]) -> None:
    buyer = CertifiedKey(*network.certify("registrar", person(), "deal"))
    first, second = sale.draw_up(), sale.draw_up(buyer=buyer)
    first.take(Step.SELLER)
    with refused(network, "unit_in_deal"):
        asyncio.run(service.create(network["agency"].context, sale.wanted(buyer=buyer)))
    with refused(network, "unit_in_deal"):
        second.hand_in(Step.SELLER)
    assert (second.states(), second.word.opened_at) == ({"draft"}, 0)
    assert network.ledger.property.open_deal(sale.title.unit) == first.id
    first.take(Step.BUYER, Step.AGENT, Step.TAX)
    assert first.word.done(Step.TAX)


def test_a_deal_that_is_over_by_the_nodes_clock_takes_no_signature(network: Any, deal: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    later_clock(monkeypatch, network, 2 * DAY)
    for step in (Step.SELLER, Step.BUYER):
        with refused(network, "deal_over"):
            deal.hand_in(step)
    with refused(network, "deal_over"):
        deal.sign(Step.AGENT)


# --- Holds ----------------------------------------------------------------------------------------------------------------------


def hold(network: Any, sale: Sale, *, placed: bool) -> Any:
    """The centre's hold, once the chain has it; a second after the one before, as holds are ordered by their seconds."""
    registrar = network["registrar"]
    with registrar.context.database.read() as session:
        latest = max((each.statement["issuedAt"] for each in session.query(Hold).filter_by(unit=sale.title.unit)), default=0)
    while now() <= latest:
        time.sleep(0.05)
    made = register.set_hold(registrar.context, sale.number, ORDER, placed=placed)
    registrar.done(made["operation"])
    network.sync()
    return made


def test_a_hold_stops_titles_new_deals_and_every_step_until_it_is_lifted(network: Any, deal: Drawn) -> None:
    sale, registrar = deal.sale, network["registrar"].context
    drawn_before = sale.draw_up()
    deal.take(Step.SELLER)
    made = hold(network, sale, placed=True)
    assert network.ledger.property.hold(sale.title.unit).held
    assert "Pengjiang" not in json.dumps(made["hold"])
    with refused(network, "unit_held"):
        register.issue_title(registrar, sale.number, owner_key=sale.seller.address, not_after=now() + DAY)
    with refused(network, "unit_held"):
        sale.draw_up()
    with refused(network, "unit_held"):
        drawn_before.hand_in(Step.SELLER)
    with refused(network, "unit_held"):
        deal.hand_in(Step.BUYER)
    with refused(network, "unit_held"):
        deal.sign(Step.AGENT)
    statement = deal.people(Step.BUYER)
    with refused(network, "unit_held"):
        deal.simulate(statement, sale.buyer.sign(statement, network.deployment))
    hold(network, sale, placed=False)
    deal.take(*(step for step in Step if step > Step.SELLER))
    assert deal.states() == {"registered"}


# --- The API --------------------------------------------------------------------------------------------------------------------

ALL = {"system", "clerk", "officer", "auditor", "administrator"}
READERS = ALL - {"administrator"}
