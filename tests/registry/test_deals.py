"""Property deals: drawn up with certified keys and a title, signed by each party in its turn,
refused whole or taken whole.
"""

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

from chain.core.canonical import dumps
from chain.core.crypto import new_private_key
from chain.core.errors import QiaolianError
from chain.ethereum.eip712 import encode_code
from chain.keys.files import Secp256k1Signer
from chain.outbox.store import OutboxCall
from chain.statements.commitment import commit
from chain.statements.members import Algorithm, KeyPurpose
from chain.statements.property import DealStep, DealTerms, StepKind, TitleStatement
from registry.backoff import Backoff
from registry.evidence.store import LogEntry, PendingEntry
from registry.pages import PageRequest
from registry.property import deals as deal_deals
from registry.property import holds, peers, register, titles
from registry.property import steps as deal_steps
from registry.property.delivery import MAX_PAUSE, MIN_PAUSE, StepDelivery
from registry.property.model import CertifiedKey, DealStage, NewDeal, NewUnit
from registry.property.proof_profile import check
from registry.property.register_store import HoldRow, TitleRow, UnitRow
from registry.property.rules import MAX_DEAL_SECONDS, STEP_DOMAIN
from registry.property.store import DealRow, StepRow
from tests.registry.conftest import Network, Node
from tests.support.sealing import trust_for
from tests.support.two_verifiers import verify

DAY = 86_400
PARTIES = ("agency", "tax", "bank", "registrar")
SIGNERS = {
    StepKind.AGENT: "agency",
    StepKind.TAX: "tax",
    StepKind.MORTGAGE: "bank",
    StepKind.NOTARY: "agency",
    StepKind.REGISTER: "registrar",
}
GIVEN = {
    StepKind.MORTGAGE: {"contract": "M-1"},
    StepKind.NOTARY: {"certificate": "N-1"},
    StepKind.REGISTER: {"certificate": "R-1"},
}
ORDER = {"court": "Pengjiang", "number": "(2026)1", "date": "2026-11-01"}
TABLES = (UnitRow, TitleRow, HoldRow, DealRow, StepRow)


def now() -> int:
    return int(time.time())


def stored_rows(network: Network) -> dict[str, Any]:
    """All property rows of the nodes, the contract calls they queued, and the size of their logs."""

    def rows(node: Node) -> tuple[Any, ...]:
        with node.context.database.engine.connect() as connection:
            tables = [
                connection.execute(
                    sa.select(item.__table__).order_by(*item.__table__.primary_key)
                ).all()
                for item in TABLES
            ]
            counts = [
                connection.scalar(sa.select(sa.func.count()).select_from(item))
                for item in (OutboxCall, PendingEntry, LogEntry)
            ]
        return tables, counts[0], counts[1] + counts[2]

    return {name: rows(node) for name, node in network.nodes.items()}


@contextmanager
def refused(network: Network, code: str) -> Iterator[None]:
    """What is refused with this code leaves every node as it was."""
    before = stored_rows(network)
    with pytest.raises(QiaolianError) as caught:
        yield
    assert caught.value.code == code
    assert stored_rows(network) == before


@dataclass
class Sale:
    """A unit of the register, its owner's and a buyer's certified keys, and the title."""

    network: Network
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
        made = asyncio.run(
            deal_deals.create(self.network["agency"].context, self.wanted(**changed))
        )
        return Drawn(self, made.terms)


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

    def people(self, step: StepKind, /, **changed: Any) -> DealStep:
        """The statement seller or buyer signs."""
        fields: dict[str, Any] = {
            "version": 1,
            "deal_id": self.id,
            "step": int(step),
            "content": self.terms.content,
            "signed_at": self.terms.expires_at - DAY,
        }
        return DealStep(**(fields | changed))

    def submit(
        self, step: StepKind, who: Any = None, /, *, at: str = "agency", **changed: Any
    ) -> Any:
        """A person's signature under a step, submitted at the agent's node."""
        statement = self.people(step, **changed)
        who = who or (self.sale.seller if step is StepKind.SELLER else self.sale.buyer)
        signature = who.sign(statement, self.network.deployment)
        return asyncio.run(
            deal_steps.receive_signature(self.network[at].context, self.id, statement, signature)
        )

    def sign(self, step: StepKind, given: Any = None, *, by: str = "") -> Any:
        """An organisation's step at its own node."""
        return asyncio.run(
            deal_steps.sign(
                self.network[by or SIGNERS[step]].context, self.id, step, given or GIVEN.get(step)
            )
        )

    def take(self, *steps: StepKind) -> None:
        """Each step by its own party, until the chain has it."""
        for step in steps:
            made = (
                self.submit(step) if step in (StepKind.SELLER, StepKind.BUYER) else self.sign(step)
            )
            self.network[SIGNERS.get(step, "agency")].done(made.operation)
            self.network.sync()

    def simulate(self, statement: DealStep, signature: bytes) -> None:
        """Ask the chain itself, past every node's own checks."""
        address, data = self.network.ledger.encode(
            "PropertyLedger", "steps", self.terms, [statement], [signature]
        )
        self.network.ledger.simulate(
            address, data, sender=self.network["agency"].context.transaction_address
        )

    def at(self, name: str) -> Any:
        return deal_deals.describe(self.network[name].context, self.id)

    def states(self) -> set[str]:
        """What the parties say of it."""
        return {str(self.at(name).stage) for name in PARTIES}

    def records(self, name: str) -> dict[str, Any]:
        return {step.step.name.lower(): step.record for step in self.at(name).steps}

    def signed(self, name: str) -> dict[int, Any]:
        """What a party keeps of each step, in full."""
        steps = deal_steps.signed_steps(self.network[name].context, self.id)
        return {
            step.step: (step.statement, step.signature, step.record, step.salt, step.height)
            for step in steps
        }

    def asked_by(self, name: str) -> int:
        """How often a party asked the others for one of its steps."""
        return sum(self.id.hex() in path for _, path in self.network[name].peers.asked)

    def delivered(self) -> None:
        """Wait until every party has every step: what missed its push is pulled, as each
        node's worker does all the time.
        """
        deliveries = [StepDelivery(self.network[name].context) for name in PARTIES]

        def all_there() -> bool:
            for delivery in deliveries:
                asyncio.run(delivery.round())
            return all(
                signature is not None
                for name in PARTIES
                for _, signature, *_ in self.signed(name).values()
            )

        self.network.wait_for(all_there, "every party's copy of every step")

    @property
    def word(self) -> Any:
        return self.network.ledger.property.deal(self.id)


def open_deal(network: Network, unit: bytes) -> bytes:
    """The unit's open deal by the contract itself; zeros if none."""
    return bytes(network.ledger.property.open_deal(network["registrar"].member, unit))


def owner(network: Network, sale: Sale) -> str:
    """Whom the centre's register has as the owner, once what the chain registered is taken over."""
    register.register_entry(network["registrar"].context, sale.title.unit)
    return register.find_unit(network["registrar"].context, sale.number).owner


def put_up(network: Network, seller: Any, buyer: Any) -> Sale:
    """Enter a unit, certify both keys, state the title."""
    number = f"440703-{secrets.token_hex(6)}"
    register.register_units(network["registrar"].context, [NewUnit(number, seller.code)])
    return titled(network, number, seller, buyer)


def titled(network: Network, number: str, seller: Any, buyer: Any) -> Sale:
    of_seller, of_buyer = (
        CertifiedKey(*network.certify("registrar", item, "deal")) for item in (seller, buyer)
    )
    made = titles.issue_title(
        network["registrar"].context, number, owner_key=seller.address, not_after=now() + DAY
    )
    return Sale(
        network,
        number,
        seller,
        buyer,
        of_seller,
        of_buyer,
        made.statement,
        made.signature,
    )


@pytest.fixture
def sale(network: Network, person: Callable[[], Any]) -> Sale:
    return put_up(network, person(), person())


@pytest.fixture
def deal(sale: Sale) -> Drawn:
    return sale.draw_up()


@dataclass
class ManualClock:
    """A clock that a test sets."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def later_clock(monkeypatch: pytest.MonkeyPatch, network: Network, seconds: int) -> None:
    for node in network.nodes.values():
        monkeypatch.setattr(node.context, "clock", lambda: time.time() + seconds)


# --- From title to registration -------------------------------------------------------------------


def test_a_deal_goes_from_title_to_registration_and_every_party_has_all_of_it(
    network: Network, deal: Drawn
) -> None:
    assert deal.states() == {"draft"}
    deal.take(*StepKind)
    assert deal.states() == {"registered"}
    word = deal.word
    assert all(word.done(step) for step in StepKind)
    assert open_deal(network, deal.terms.unit) == bytes(32)
    deal.delivered()
    records = [deal.records(name) for name in PARTIES]
    assert all(deal.signed(name) == deal.signed(PARTIES[0]) for name in PARTIES)
    assert all(record == records[0] for record in records)
    assert set(records[0]) == {step.name.lower() for step in StepKind}
    assert records[0]["tax"] == deal_deals.taxes(network["bank"].context, deal.id).to_json()
    assert owner(network, deal.sale) == deal.sale.buyer.code
    (of_unit,) = deal_deals.of_unit(network["bank"].context, deal.terms.unit)
    assert of_unit == deal.at("bank")
    assert [
        row.deal.deal_id
        for row in deal_deals.listing(network["bank"].context, PageRequest(200)).rows
    ].count(deal.id) == 1


def test_the_buyer_sells_on_the_old_title_is_void_and_each_bundle_proves_what_its_title_was_built_on(
    network: Network, deal: Drawn, person: Callable[[], Any]
) -> None:
    deal.take(*StepKind)
    assert owner(network, deal.sale) == deal.sale.buyer.code
    with refused(network, "not_owner"):
        titles.issue_title(
            network["registrar"].context,
            deal.sale.number,
            owner_key=deal.sale.seller.address,
            not_after=now() + DAY,
        )
    with refused(network, "title_superseded"):
        deal.sale.draw_up(expires_at=now() + DAY - 1)
    sold_on = titled(
        network, deal.sale.number, replace(deal.sale.buyer, key=new_private_key()), person()
    ).draw_up()
    assert sold_on.sale.title.last_registration == deal.id
    sold_on.take(*StepKind)
    assert (
        network.ledger.property.last_registration(network["registrar"].member, deal.terms.unit)
        == sold_on.id
    )
    assert owner(network, sold_on.sale) == sold_on.sale.buyer.code
    network["registrar"].anchor()
    deal.delivered()
    sold_on.delivered()
    first, second = proved(network, deal), proved(network, sold_on)
    assert "built on no earlier registration" in first
    assert "Another deal of the unit has been registered since" in first
    assert f"built on the unit's registration of block {deal.word.registered_at}" in second
    assert "registered since" not in second
    exchange_title(network, sold_on, last_registration=bytes(32))
    with pytest.raises(QiaolianError) as caught:
        proved(network, sold_on)
    assert caught.value.code == "title_differs"


def test_the_centre_signs_nothing_of_a_deal_that_was_opened_with_another_title_than_it_was_given(
    network: Network, deal: Drawn
) -> None:
    deal.take(*(step for step in StepKind if step < StepKind.REGISTER))
    exchange_title(network, deal, owner=secrets.token_bytes(32))
    with refused(network, "title_differs"):
        deal.sign(StepKind.REGISTER)


def proved(network: Network, deal: Drawn) -> str:
    """What the centre's bundle of a deal proves."""
    made = network["registrar"].call("GET", f"/v1/deals/0x{deal.id.hex()}/bundle", role="officer")
    return " ".join(verify(dumps(made), trust_for(network.deployment), {"property": check}).proved)


def exchange_title(network: Network, deal: Drawn, **changed: Any) -> None:
    """Have the centre show another title of its own than the deal was opened with."""
    title = replace(deal.sale.title, **changed)
    signature = network["registrar"].sign(title, KeyPurpose.STATEMENT)

    def change(session: Any) -> None:
        row = session.get_one(DealRow, deal.id)
        row.title, row.title_signature = title.to_json(), signature

    network["registrar"].context.database.write(change)


def test_a_deal_without_a_loan_has_no_mortgage(network: Network, sale: Sale) -> None:
    deal = sale.draw_up(bank="", content=sale.content(loan="0"))
    deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT, StepKind.TAX)
    with refused(network, "deal_unknown"):
        deal.sign(StepKind.MORTGAGE)
    deal.take(StepKind.NOTARY, StepKind.REGISTER)
    assert {deal.at(name).stage for name in PARTIES if name != "bank"} == {DealStage.REGISTERED}
    with pytest.raises(QiaolianError) as caught:
        deal.at("bank")
    assert caught.value.code == "deal_unknown"


@pytest.mark.parametrize("first", [StepKind.BUYER, StepKind.AGENT])
def test_who_signs_before_the_seller_waits_for_the_deal_to_open(
    network: Network, deal: Drawn, first: StepKind
) -> None:
    made = deal.submit(first) if first is StepKind.BUYER else deal.sign(first)
    assert not made.operation
    assert deal.states() == {"draft"}
    network["agency"].done(deal.submit(StepKind.SELLER).operation)
    network.sync()
    assert (deal.states(), deal.word.done(first)) == ({"open"}, True)
    deal.take(*{StepKind.BUYER, StepKind.AGENT} - {first}, StepKind.TAX)
    assert deal.word.done(StepKind.TAX)


# --- Whose step, and when -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step", [kind for kind in StepKind if kind not in (StepKind.SELLER, StepKind.BUYER)]
)
def test_an_organisation_signs_no_step_of_another(
    network: Network, deal: Drawn, step: StepKind
) -> None:
    for name in {*PARTIES} - {SIGNERS[step]}:
        with refused(network, "wrong_party"):
            deal.sign(step, by=name)


@pytest.mark.parametrize("step", [StepKind.SELLER, StepKind.BUYER])
def test_nobody_signs_for_seller_or_buyer(
    network: Network, deal: Drawn, person: Callable[[], Any], step: StepKind
) -> None:
    other = deal.sale.buyer if step is StepKind.SELLER else deal.sale.seller
    for who in (other, person()):
        with refused(network, "wrong_party"):
            deal.submit(step, who)
    with refused(network, "wrong_party"):
        deal.sign(step, by="agency")
    with refused(network, "other_agent"):
        deal.submit(step, at="bank")


def test_what_is_signed_is_this_deal_and_its_content(network: Network, deal: Drawn) -> None:
    with refused(network, "other_deal"):
        deal.submit(StepKind.SELLER, deal_id=secrets.token_bytes(32))
    with refused(network, "content_differs"):
        deal.submit(StepKind.SELLER, content=secrets.token_bytes(32))
    with refused(network, "unknown_step"):
        deal.submit(StepKind.SELLER, step=200)


def test_no_step_goes_before_those_it_rests_on(network: Network, deal: Drawn) -> None:
    for step in (StepKind.TAX, StepKind.MORTGAGE, StepKind.NOTARY, StepKind.REGISTER):
        with refused(network, "out_of_order"):
            deal.sign(step)
    deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT)
    for step in (StepKind.MORTGAGE, StepKind.NOTARY, StepKind.REGISTER):
        with refused(network, "out_of_order"):
            deal.sign(step)
    deal.take(StepKind.TAX, StepKind.MORTGAGE)
    with refused(network, "out_of_order"):
        deal.sign(StepKind.REGISTER)
    statement = replace(deal.people(StepKind.REGISTER), content=secrets.token_bytes(32))
    with refused(network, "out_of_order"):
        deal.simulate(statement, network["registrar"].sign(statement, KeyPurpose.STATEMENT))


def test_a_step_taken_stays_as_it_was_signed(network: Network, deal: Drawn) -> None:
    deal.take(StepKind.SELLER)
    first = deal.at("agency").steps[0]
    assert deal.submit(StepKind.SELLER).operation
    assert deal.at("agency").steps[0] == first
    with refused(network, "step_taken"):
        deal.submit(StepKind.SELLER, signed_at=deal.terms.expires_at - DAY + 1)


@pytest.mark.parametrize(
    ("step", "given", "code"),
    [
        (StepKind.TAX, {"total": "1"}, "tax_changed"),
        (StepKind.MORTGAGE, {"contract": "M-1", "loan": "1"}, "record_malformed"),
        (StepKind.MORTGAGE, {"contract": ""}, "record_malformed"),
        (StepKind.NOTARY, {"certificate": ""}, "record_malformed"),
        (StepKind.REGISTER, {"certificate": "R-1", "unit": "another"}, "record_malformed"),
    ],
)
def test_a_step_states_what_the_deal_says(
    network: Network, deal: Drawn, step: StepKind, given: dict[str, Any], code: str
) -> None:
    deal.take(*(kind for kind in StepKind if kind < step))
    with refused(network, code):
        deal.sign(step, given)
    if step is StepKind.TAX:
        shown = deal_deals.taxes(network["tax"].context, deal.id).to_json()
        assert deal.sign(StepKind.TAX, shown).record == shown, (
            "the sheet that was seen is the one that is signed"
        )


def test_a_deal_not_registered_in_time_frees_its_unit(network: Network, sale: Sale) -> None:
    deal = sale.draw_up(expires_at=now() + 12)
    deal.take(StepKind.SELLER)
    with refused(network, "not_yet_expired"):
        deal_deals.expire(network["agency"].context, deal.id)
    while now() <= deal.terms.expires_at + 1:
        time.sleep(0.1)
    with refused(network, "deal_over"):
        deal.sign(StepKind.AGENT)
    network["agency"].done(deal_deals.expire(network["agency"].context, deal.id))
    network.sync()
    assert (deal.states(), open_deal(network, deal.terms.unit)) == ({"expired"}, bytes(32))
    following = sale.draw_up()
    following.take(StepKind.SELLER)
    assert following.states() == {"open"}


@contextmanager
def suspended(network: Network, name: str) -> Iterator[None]:
    network.execute("suspend", network[name].member, "test")
    try:
        yield
    finally:
        network.execute("lift", network[name].member)
        network.sync()


def test_what_the_chain_refused_goes_through_when_handed_in_again(
    network: Network, deal: Drawn
) -> None:
    agency, bank = network["agency"], network["bank"]
    with suspended(network, "agency"):
        refusals = {
            agency.outcome(deal.submit(step).operation).code
            for step in (StepKind.SELLER, StepKind.BUYER)
        }
        assert refusals == {"not_active"}
        assert (deal.at("agency").stage, deal.at("agency").refusal, deal.word.opened_at) == (
            "refused",
            "not_active",
            0,
        )
    agency.done(deal.submit(StepKind.SELLER).operation)
    network.sync()
    assert (deal.states(), deal.word.done(StepKind.BUYER), deal.at("agency").refusal) == (
        {"open"},
        True,
        None,
    )
    deal.take(StepKind.AGENT, StepKind.TAX)
    with suspended(network, "bank"):
        made = deal.sign(StepKind.MORTGAGE)
        assert bank.outcome(made.operation).code == "not_active"
        assert not deal.word.done(StepKind.MORTGAGE)
    with refused(network, "step_taken"):
        deal.sign(StepKind.MORTGAGE, {"contract": "M-2"})
    again = deal.sign(StepKind.MORTGAGE)
    assert (again.statement, again.record["contract"]) == (made.statement, "M-1")
    bank.done(again.operation)
    assert deal.word.done(StepKind.MORTGAGE)


# --- What parties send each other -----------------------------------------------------------------


def test_a_deal_that_a_party_cannot_take_is_not_kept(network: Network, sale: Sale) -> None:
    agency = network["agency"]
    agency.peers.down.add(network["tax"].member)
    try:
        with pytest.raises(QiaolianError) as caught:
            sale.draw_up()
    finally:
        agency.peers.down.clear()
    assert caught.value.code == "peer_unreachable"
    assert not [
        row
        for row in deal_deals.listing(agency.context, PageRequest(200)).rows
        if row.deal.terms.unit == sale.title.unit
    ]
    sale.draw_up().take(StepKind.SELLER)


def test_a_party_that_missed_a_step_asks_for_it_when_it_exports(
    network: Network, deal: Drawn
) -> None:
    tax = network["tax"]
    tax.peers.down.add(network["registrar"].member)
    try:
        deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT, StepKind.TAX)
    finally:
        tax.peers.down.clear()
    assert deal.records("registrar")["tax"] is None
    deal.take(StepKind.MORTGAGE, StepKind.NOTARY, StepKind.REGISTER)
    for name in PARTIES:
        network[name].anchor()
    made = network["registrar"].call("GET", f"/v1/deals/0x{deal.id.hex()}/bundle", role="officer")
    assert made
    deal.delivered()
    assert deal.records("registrar") == deal.records("bank")


def rotate(network: Network, name: str) -> None:
    """End a member's STATEMENT key and give it another."""
    node, fresh = network[name], Secp256k1Signer(new_private_key())
    network.execute(
        "endKey", node.signers[KeyPurpose.STATEMENT].fingerprint, encode_code("retired")
    )
    network.execute(
        "addKey",
        node.member,
        (fresh.fingerprint, int(KeyPurpose.STATEMENT), int(Algorithm.SECP256K1)),
    )
    node.signers[KeyPurpose.STATEMENT] = node.context.signers[KeyPurpose.STATEMENT] = fresh
    network.sync()


def test_a_deals_bundle_outlives_the_keys_of_its_parties(network: Network, deal: Drawn) -> None:
    """The centre's own log dates its title and certificates; each party's step is on the chain,
    which took it under a live key.
    """
    deal.take(*StepKind)
    network["registrar"].anchor()
    for name in ("tax", "registrar"):
        rotate(network, name)
    made = network["registrar"].call("GET", f"/v1/deals/0x{deal.id.hex()}/bundle", role="officer")
    assert verify(dumps(made), trust_for(network.deployment), {"property": check}).proved
    with pytest.raises(QiaolianError) as undated:
        network["bank"].call("GET", f"/v1/deals/0x{deal.id.hex()}/bundle", role="officer")
    assert undated.value.code == "key_ended", "the bank's log has neither title nor certificates"


@contextmanager
def cut_off(network: Network, sender: str, *receivers: str) -> Iterator[None]:
    """What the sender pushes does not reach these."""
    down = network[sender].peers.down
    down.update(network[receiver].member for receiver in receivers)
    try:
        yield
    finally:
        down.clear()


def goes_on(
    network: Network, delivery: StepDelivery, clock: ManualClock, reached: Callable[[], bool]
) -> None:
    """Round after round, each pause over, until it is there."""

    def another_round() -> bool:
        asyncio.run(delivery.round())
        clock.seconds += MAX_PAUSE
        return reached()

    network.wait_for(another_round, "what the others have")


def test_a_party_that_was_down_during_a_step_gets_it_after_it_returns_without_being_asked(
    network: Network, deal: Drawn
) -> None:
    registrar, clock = network["registrar"], ManualClock()
    deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT)
    delivery = StepDelivery(registrar.context, clock=clock)
    with cut_off(network, "tax", "registrar"), cut_off(network, "registrar", "tax"):
        deal.take(StepKind.TAX)
        missed = deal.signed("registrar")[StepKind.TAX]
        assert (missed[1:4], missed[4] > 0) == ((None, None, None), True), (
            "the node knows of it by the chain's event, its party could not be reached"
        )
        for _ in range(5):
            asyncio.run(delivery.round())
        assert deal.asked_by("registrar") == 1, (
            "who cannot be reached is left alone until the pause is over"
        )
    asyncio.run(delivery.round())
    assert (deal.asked_by("registrar"), deal.records("registrar")["tax"]) == (1, None)
    clock.seconds += MIN_PAUSE
    asyncio.run(delivery.round())
    assert deal.asked_by("registrar") == 2
    goes_on(network, delivery, clock, lambda: deal.signed("registrar") == deal.signed("tax"))
    asked = deal.asked_by("registrar")
    asyncio.run(delivery.round())
    assert deal.asked_by("registrar") == asked, "what is here is not asked for again"


def test_a_step_whose_sender_was_killed_before_handing_it_out_reaches_every_party(
    network: Network, deal: Drawn
) -> None:
    deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT)
    tax = network["tax"]

    async def killed_once_it_is_kept() -> None:
        signing = asyncio.create_task(deal_steps.sign(tax.context, deal.id, StepKind.TAX, None))
        await asyncio.to_thread(
            network.wait_for,
            lambda: StepKind.TAX in deal.signed("tax"),
            "the step in its party's database",
        )
        assert not signing.done(), "it waits for parties that do not answer"
        signing.cancel()
        await asyncio.gather(signing, return_exceptions=True)
        assert signing.cancelled()

    tax.peers.silent.update(network[name].member for name in PARTIES)
    try:
        asyncio.run(killed_once_it_is_kept())
    finally:
        tax.peers.silent.clear()
    (operation,) = {
        signed_step.operation
        for signed_step in deal_steps.signed_steps(tax.context, deal.id)
        if signed_step.step == StepKind.TAX
    }
    tax.done(operation)
    network.sync()
    others = [name for name in PARTIES if name != "tax"]
    assert all(deal.records(name)["tax"] is None for name in others)
    deal.delivered()
    assert all(deal.signed(name) == deal.signed("tax") for name in others)


def test_what_the_chain_took_is_taken_from_a_member_suspended_since(
    network: Network, deal: Drawn
) -> None:
    deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT, StepKind.TAX)
    with cut_off(network, "bank", "registrar"):
        deal.take(StepKind.MORTGAGE)
    with suspended(network, "bank"):
        network.sync()
        deal.delivered()
    assert deal.signed("registrar") == deal.signed("bank")


@contextmanager
def altered(
    network: Network, deal: Drawn, alter: Callable[[Any, Drawn, StepRow], None]
) -> Iterator[None]:
    """The tax authority has another record of its step."""
    database = network["tax"].context.database
    right = deal.signed("tax")[StepKind.TAX]

    def change(session: Any) -> None:
        alter(network, deal, session.get_one(StepRow, (deal.id, int(StepKind.TAX))))

    def put_right(session: Any) -> None:
        row = session.get_one(StepRow, (deal.id, int(StepKind.TAX)))
        row.statement, row.signature, row.record, row.salt = right[0].to_json(), *right[1:4]

    database.write(change)
    try:
        yield
    finally:
        database.write(put_right)


def _another_record(network: Network, deal: Drawn, row: StepRow) -> None:
    row.record = {**(row.record or {}), "total": "1"}


def _another_statement(network: Network, deal: Drawn, row: StepRow) -> None:
    record = deal_deals.taxes(network["tax"].context, deal.id).to_json()
    salt = secrets.token_bytes(32)
    statement = replace(
        DealStep.from_json(row.statement), content=commit(salt, STEP_DOMAIN, record)
    )
    row.statement, row.record, row.salt = statement.to_json(), record, salt
    row.signature = network["tax"].sign(statement, KeyPurpose.STATEMENT)


def _another_step(network: Network, deal: Drawn, row: StepRow) -> None:
    row.statement = replace(DealStep.from_json(row.statement), step=int(StepKind.NOTARY)).to_json()


def _no_json_of_ours(network: Network, deal: Drawn, row: StepRow) -> None:
    row.record = {"total": 2**60}


@pytest.mark.parametrize(
    ("alter", "code"),
    [
        (_another_record, "record_differs"),
        (_another_statement, "step_taken"),
        (_another_step, "step_malformed"),
        (_no_json_of_ours, "step_malformed"),
    ],
)
def test_a_party_that_answers_with_something_else_than_the_chain_has_is_refused_and_noticed(
    network: Network, deal: Drawn, caplog: pytest.LogCaptureFixture, alter: Any, code: str
) -> None:
    tax, registrar, clock = network["tax"], network["registrar"], ManualClock()
    deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT)
    with cut_off(network, "tax", "registrar"):
        deal.take(StepKind.TAX)
    delivery = StepDelivery(registrar.context, clock=clock)
    before = deal.signed("registrar")

    def noticed() -> list[str]:
        return [
            vars(record)["peer"]
            for record in caplog.records
            if record.name == "qiaolian.deals" and vars(record)["code"] == code
        ]

    with altered(network, deal, alter):
        goes_on(network, delivery, clock, lambda: bool(noticed()))
        for _ in range(3):
            asyncio.run(delivery.round())
            clock.seconds += MAX_PAUSE
        assert deal.asked_by("registrar") >= 4
        assert noticed() == [tax.member], "logged once, not at each attempt"
        assert deal.signed("registrar") == before
    goes_on(network, delivery, clock, lambda: deal.signed("registrar") == deal.signed("tax"))


def test_a_step_that_is_refused_does_not_keep_the_others_of_its_party(
    network: Network, sale: Sale, person: Callable[[], Any]
) -> None:
    registrar, clock = network["registrar"], ManualClock()
    deals = [sale.draw_up(), put_up(network, person(), person()).draw_up()]
    for deal in deals:
        deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT)
        with cut_off(network, "tax", "registrar"):
            deal.take(StepKind.TAX)
    with altered(network, deals[0], _another_record):
        goes_on(
            network,
            StepDelivery(registrar.context, clock=clock),
            clock,
            lambda: deals[1].records("registrar")["tax"] is not None,
        )
        assert deals[0].records("registrar")["tax"] is None


def test_a_supervisor_asks_nobody_for_steps_it_is_no_party_of(
    network: Network, deal: Drawn
) -> None:
    deal.take(StepKind.SELLER, StepKind.BUYER)
    assert [item[1] for item in deal.signed("supervisor").values()] == [None, None]
    asyncio.run(StepDelivery(network["supervisor"].context).round())
    assert deal.asked_by("supervisor") == 0


def test_pauses_double_between_two_bounds_and_end_with_success() -> None:
    pauses = Backoff(first=1.0, longest=5.0)
    now, waited = 0.0, []
    assert pauses.is_due("it", now)
    for _ in range(5):
        pauses.failed("it", now)
        start = now
        while not pauses.is_due("it", now):
            now += 0.5
        waited.append(now - start)
    assert waited == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert pauses.is_due("other", 0.0)
    pauses.failed("it", now)
    pauses.succeeded("it")
    assert pauses.is_due("it", now)


def handed(network: Network, deal: Drawn, caller: str, to: str, body: dict[str, Any]) -> Any:
    """Send a step to another node as a member of the network would."""
    path = f"/v1/peer/deals/0x{deal.id.hex()}/steps"
    return asyncio.run(network[to].answer("POST", path, body, {"x-member": network[caller].member}))


def test_what_a_party_hands_on_is_checked_by_who_takes_it(network: Network, deal: Drawn) -> None:
    deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT, StepKind.TAX)
    body = peers.step_json(
        deal_steps.step_of(
            network["tax"].context, network["bank"].member, deal.id, int(StepKind.TAX)
        )
    )
    with refused(network, "wrong_party"):
        handed(network, deal, "bank", "registrar", body)
    with refused(network, "record_differs"):
        handed(network, deal, "tax", "bank", body | {"record": body["record"] | {"total": "1"}})
    with refused(network, "record_differs"):
        handed(network, deal, "tax", "bank", body | {"salt": "0x" + "00" * 32})
    with refused(network, "signature_malformed"):
        handed(network, deal, "tax", "bank", body | {"signature": "0x" + "11" * 65})
    other = network["tax"].sign(
        replace(deal.people(StepKind.TAX), content=secrets.token_bytes(32)), KeyPurpose.STATEMENT
    )
    with refused(network, "wrong_signer"):
        handed(network, deal, "tax", "bank", body | {"signature": "0x" + other.hex()})
    assert handed(network, deal, "tax", "bank", body) == {"taken": True}


def test_strangers_to_a_deal_receive_nothing_and_submit_nothing(
    network: Network, deal: Drawn
) -> None:
    deal.take(StepKind.SELLER)
    stranger = next(name for name in network.nodes if name not in PARTIES and name != "operator")
    with pytest.raises(QiaolianError) as caught:
        deal_steps.step_of(
            network["agency"].context, network[stranger].member, deal.id, int(StepKind.SELLER)
        )
    assert caught.value.code == "deal_of_others"
    path = f"/v1/peer/deals/0x{deal.id.hex()}/steps/{int(StepKind.SELLER)}"
    for asking in set(network.nodes) - set(PARTIES):
        with pytest.raises(QiaolianError) as caught:
            asyncio.run(network[asking].peers.get(network["agency"].member, path))
        assert caught.value.code == "deal_of_others"
    shared = peers.deal_json(deal_deals.find(network["agency"].context, deal.id))
    for caller, to in ((stranger, "tax"), ("bank", "tax"), ("agency", stranger)):
        with pytest.raises(QiaolianError) as caught:
            asyncio.run(
                network[to].answer(
                    "POST", "/v1/peer/deals", shared, {"x-member": network[caller].member}
                )
            )
        assert caught.value.code == "deal_of_others"


# --- What no deal is drawn up from ----------------------------------------------------------------


def resigned(network: Network, held: CertifiedKey, **changed: Any) -> CertifiedKey:
    """A certificate the centre itself signs with other fields."""
    certificate = replace(held.certificate, **changed)
    return CertifiedKey(certificate, network["registrar"].sign(certificate, KeyPurpose.STATEMENT))


def _other_office(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"buyer": CertifiedKey(*network.vouch("agency", person, "deal"))}


def _other_purpose(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"buyer": CertifiedKey(*network.certify("registrar", person, "consent"))}


def _own_certificate(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    certificate = replace(sale.buyer_key.certificate, key=person.address)
    return {"buyer": CertifiedKey(certificate, person.sign(certificate, network.deployment))}


def _borrowed_certificate(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {
        "buyer": CertifiedKey(
            replace(sale.buyer_key.certificate, key=person.address), sale.buyer_key.signature
        )
    }


def _expired_certificate(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"buyer": resigned(network, sale.buyer_key, not_after=now() - 1)}


def _other_seller(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"seller": CertifiedKey(*network.certify("registrar", person, "deal"))}


def _altered_title(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"title": replace(sale.title, unit=secrets.token_bytes(32))}


def _agents_title(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"title_signature": network["agency"].sign(sale.title, KeyPurpose.STATEMENT)}


def _old_title(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    title = replace(sale.title, expires_at=now() - 1)
    return {
        "title": title,
        "title_signature": network["registrar"].sign(title, KeyPurpose.STATEMENT),
    }


def _past(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"expires_at": now() - 1}


def _too_long(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"expires_at": now() + MAX_DEAL_SECONDS + DAY}


def _one_key(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"buyer": sale.seller_key}


def _title(network: Network, sale: Sale, by: str = "registrar", **changed: Any) -> dict[str, Any]:
    """A title that a centre signs with other fields, past its own node's checks."""
    title = replace(sale.title, **changed)
    return {"title": title, "title_signature": network[by].sign(title, KeyPurpose.STATEMENT)}


def _title_dated_ahead(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return _title(network, sale, issued_at=now() + 3600)


def _title_on_another_registration(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return _title(network, sale, last_registration=secrets.token_bytes(32))


def _title_of_another_centre(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return _title(network, sale, "tax", registrar=network["tax"].member)


def _loan_above_price(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"content": sale.content(price="59999999")}


def _loan_without_bank(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"bank": ""}


def _bank_without_loan(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"content": sale.content(loan="0")}


def _agents_own_taxes(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
    return {"tax_authority": network["agency"].member}


def _agents_own_loan(network: Network, sale: Sale, person: Any) -> dict[str, Any]:
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
        (_too_long, "deal_too_long"),
        (_one_key, "seller_is_buyer"),
        (_title_dated_ahead, "title_dated_ahead"),
        (_title_on_another_registration, "title_superseded"),
        (_title_of_another_centre, "certificate_mismatch"),
        (_loan_above_price, "loan_above_price"),
        (_loan_without_bank, "loan_without_bank"),
        (_bank_without_loan, "loan_without_bank"),
        (_agents_own_taxes, "party_role_wrong"),
        (_agents_own_loan, "party_role_wrong"),
    ],
)
def test_no_deal_is_drawn_up_from(
    network: Network, sale: Sale, person: Callable[[], Any], change: Any, code: str
) -> None:
    wanted = sale.wanted(**change(network, sale, person()))
    with refused(network, code):
        asyncio.run(deal_deals.create(network["agency"].context, wanted))


# --- One deal a unit ------------------------------------------------------------------------------


def test_a_unit_in_an_open_deal_is_not_sold_a_second_time(
    network: Network, sale: Sale, person: Callable[[], Any]
) -> None:
    buyer = CertifiedKey(*network.certify("registrar", person(), "deal"))
    first, second = sale.draw_up(), sale.draw_up(buyer=buyer)
    first.take(StepKind.SELLER)
    with refused(network, "unit_in_deal"):
        asyncio.run(deal_deals.create(network["agency"].context, sale.wanted(buyer=buyer)))
    with refused(network, "unit_in_deal"):
        second.submit(StepKind.SELLER)
    assert (second.states(), second.word.opened_at) == ({"draft"}, 0)
    assert open_deal(network, sale.title.unit) == first.id
    first.take(StepKind.BUYER, StepKind.AGENT, StepKind.TAX)
    assert first.word.done(StepKind.TAX)


def test_a_deal_that_is_over_by_the_nodes_clock_takes_no_signature(
    network: Network, deal: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_clock(monkeypatch, network, 2 * DAY)
    for step in (StepKind.SELLER, StepKind.BUYER):
        with refused(network, "deal_over"):
            deal.submit(step)
    with refused(network, "deal_over"):
        deal.sign(StepKind.AGENT)


# --- Holds ----------------------------------------------------------------------------------------


def hold(network: Network, sale: Sale, *, placed: bool) -> Any:
    """The centre's hold, once the chain has it."""
    registrar = network["registrar"]
    ends_at = now() + 90 * DAY if placed else None
    made = holds.set_hold(registrar.context, sale.number, ORDER, placed=placed, ends_at=ends_at)
    registrar.done(made.operation)
    network.sync()
    return made


def test_a_hold_stops_titles_new_deals_and_every_step_until_it_is_lifted(
    network: Network, deal: Drawn
) -> None:
    sale, registrar = deal.sale, network["registrar"].context
    drawn_before = sale.draw_up()
    deal.take(StepKind.SELLER)
    made = hold(network, sale, placed=True)
    assert network.ledger.property.hold(network["registrar"].member, sale.title.unit).held
    assert "Pengjiang" not in json.dumps(made.statement.to_json())
    with refused(network, "unit_held"):
        titles.issue_title(
            registrar, sale.number, owner_key=sale.seller.address, not_after=now() + DAY
        )
    with refused(network, "unit_held"):
        sale.draw_up()
    with refused(network, "unit_held"):
        drawn_before.submit(StepKind.SELLER)
    with refused(network, "unit_held"):
        deal.submit(StepKind.BUYER)
    with refused(network, "unit_held"):
        deal.sign(StepKind.AGENT)
    statement = deal.people(StepKind.BUYER)
    with refused(network, "unit_held"):
        deal.simulate(statement, sale.buyer.sign(statement, network.deployment))
    hold(network, sale, placed=False)
    deal.take(*(step for step in StepKind if step > StepKind.SELLER))
    assert deal.states() == {"registered"}


# --- The API --------------------------------------------------------------------------------------

ALL = {"system", "clerk", "officer", "auditor", "administrator"}
GUARDED = {
    ("POST", "/v1/units"): {"clerk", "system"},
    ("POST", "/v1/titles"): {"clerk"},
    ("POST", "/v1/holds"): {"clerk"},
    ("GET", "/v1/holds"): ALL - {"administrator"},
    ("POST", "/v1/holds/end"): {"clerk"},
    ("POST", "/v1/deals"): {"clerk", "system"},
    ("GET", "/v1/deals"): ALL - {"administrator"},
    ("GET", "/v1/deals/{deal}"): ALL - {"administrator"},
    ("GET", "/v1/deals/{deal}/taxes"): ALL - {"administrator"},
    ("POST", "/v1/deals/{deal}/steps/agent"): {"clerk", "system"},
    ("POST", "/v1/deals/{deal}/expiry"): {"clerk"},
    ("GET", "/v1/deals/{deal}/bundle"): ALL - {"administrator"},
}
BODIES: dict[str, Any] = {
    "/v1/units": {"units": []},
    "/v1/titles": {"number": "none", "ownerKey": "0x" + "11" * 20, "notAfter": 1},
    "/v1/holds": {"number": "none", "order": ORDER, "placed": True},
    "/v1/holds/end": {"registrar": "none", "unit": "0x"},
    "/v1/deals": {},
    "/v1/deals/{deal}/steps/agent": {"record": None},
}


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_each_endpoint_is_for_its_roles(network: Network, method: str, path: str) -> None:
    """Of a deal nobody knows, so that whoever may call gets another refusal than one about the
    role.
    """
    url = path.replace("{deal}", "0x" + "ab" * 32)
    body = BODIES.get(path, {}) if method == "POST" else None

    def code(role: str | None) -> str:
        try:
            network["agency"].call(method, url, body, role=role)
        except QiaolianError as error:
            return error.code
        return ""

    assert code(None) == "access_token_missing"
    assert {role for role in ALL if code(role) != "role_missing"} == GUARDED[method, path]
