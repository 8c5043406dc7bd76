"""Step 7: home sales from the title statement to registration, many at once; a title for a former
owner, a second sale of a unit and a sale under a hold are refused.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from chain.statements.property import DealTerms, StepKind
from nodes.client import NodeClient
from registry.credit.signing import Subject
from registry.property.signing import step_of
from scripts.demo_steps.records import Sale, sales
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoState
from scripts.demo_steps.world import World, refusal_code, wait_for

AT_ONCE = 6
CENTRE, AGENT, NOTARY, TAX, BANK = "real-estate", "agent", "notary", "tax", "bank"
STEP_SECONDS = 120.0
LATEST_YEAR = 2010
LOAN_PERCENT = 60


@dataclass
class ClerkClients:
    """One clerk's connections to the nodes of a deal; one object per thread."""

    world: World
    clients: dict[str, NodeClient] = field(default_factory=dict)

    def at(self, key: str) -> NodeClient:
        """The clerk's client of an organisation's node."""
        if key not in self.clients:
            self.clients[key] = self.world.organisations[key].client("clerk", timeout=60)
        return self.clients[key]

    def close(self) -> None:
        """Drop the connections."""
        for client in self.clients.values():
            client.close()


@contextlib.contextmanager
def clerk_clients(world: World) -> Iterator[ClerkClients]:
    """Open a clerk's clients and close them at the end."""
    opened = ClerkClients(world)
    try:
        yield opened
    finally:
        opened.close()


@dataclass(frozen=True)
class DraftedDeal:
    """A drafted deal with its seller and buyer."""

    deal_id: str
    terms: DealTerms
    seller: Subject
    buyer: Subject


def run(world: World, screen: Screen, state: DemoState, *, deals: int) -> None:
    """Sell ``deals`` homes, and try what must be refused."""
    chosen = sales()[: deals + 2]
    owners = {sale.number: f"ID-{sale.number:06d}-S" for sale in chosen}
    units = [{"number": sale.unit, "owner": owners[sale.number]} for sale in chosen]
    world.client(CENTRE, "clerk").post("/v1/units", {"units": units})
    screen.line(
        f"{len(chosen)} homes of the Ames sales enter the register; months "
        "held and homes owned are assumed, prices real"
    )
    started = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(_sell, world, sale, owners[sale.number]) for sale in chosen[:deals]]
        for job in screen.progress(jobs, "deals", total=deals):
            deal_id, tax = job.result()
            state.registered.append(deal_id)
            state.taxes_fen += tax
    seconds = time.monotonic() - started
    registered = [
        name
        for name in state.registered
        if world.ledger.property.deal(bytes.fromhex(name[2:])).registered_at
    ]
    screen.line(
        f"{len(registered)} of {deals} deals registered in {seconds:.0f} s, {AT_ONCE} at a time; "
        f"{state.taxes_fen / 100:,.2f} yuan of tax computed",
        f"deal {state.registered[0]}",
    )
    state.registered = registered
    _refused(world, screen, state, chosen, owners)


def _sell(world: World, sale: Sale, owner: str) -> tuple[str, int]:
    """One sale through every step; the deal's id and its taxes in fen."""
    with clerk_clients(world) as at:
        drawn = _draw(at, sale, owner)
        for person, step in ((drawn.seller, StepKind.SELLER), (drawn.buyer, StepKind.BUYER)):
            _sign(at, drawn, person, step)
        _step(at, AGENT, drawn, StepKind.AGENT, None)
        sheet = _step(at, TAX, drawn, StepKind.TAX, None)
        if drawn.terms.bank:
            _step(at, BANK, drawn, StepKind.MORTGAGE, {"contract": f"抵押-{sale.number:06d}"})
        _step(at, NOTARY, drawn, StepKind.NOTARY, {"certificate": f"公证-{sale.number:06d}"})
        _step(
            at,
            CENTRE,
            drawn,
            StepKind.REGISTER,
            {"certificate": f"粤(2026)江门市不动产权第{sale.number:07d}号"},
        )
        deal_id = bytes.fromhex(drawn.deal_id[2:])
        wait_for(
            lambda: world.ledger.property.deal(deal_id).registered_at,
            "a registration",
            seconds=STEP_SECONDS,
        )
    return drawn.deal_id, int(sheet["record"]["total"])


def draft(world: World, sale: Sale, owner: str) -> str:
    """Draw up a sale that waits for its signatures; the deal's id."""
    with clerk_clients(world) as at:
        return _draw(at, sale, owner).deal_id


def _draw(at: ClerkClients, sale: Sale, owner: str) -> DraftedDeal:
    """Keys certified by the registration centre, its title statement, and the deal drawn up by the
    agent.
    """
    seller, buyer = (
        Subject({"code": owner}),
        Subject({"code": f"ID-{sale.number:06d}-B-{time.time_ns()}"}),
    )
    certificates = [_certify(at, subject) for subject in (seller, buyer)]
    now = int(time.time())
    title = at.at(CENTRE).post(
        "/v1/titles",
        {"unit": sale.unit, "ownerKey": seller.key.address, "notAfter": now + 30 * 86_400},
    )
    loan = 0 if sale.number % 4 == 0 else sale.price_fen * LOAN_PERCENT // 100
    body = {
        "title": title["title"],
        "titleSignature": title["signature"],
        "seller": certificates[0],
        "buyer": certificates[1],
        "bank": at.world.code(BANK) if loan else "",
        "taxAuthority": at.world.code(TAX),
        "notary": at.world.code(NOTARY),
        "content": _content(sale, loan),
        "expiresAt": now + 7 * 86_400,
    }
    made = at.at(AGENT).post("/v1/deals", body)
    return DraftedDeal(made["dealId"], DealTerms.from_json(made["terms"]), seller, buyer)


def _content(sale: Sale, loan: int) -> dict[str, Any]:
    return {
        "unit": sale.unit,
        "area": sale.area_square_centimetres,
        "price": str(sale.price_fen),
        "loan": str(loan),
        "monthsHeld": min(240, max(6, (LATEST_YEAR - sale.year_built) * 12)),
        "onlyHome": sale.garage_cars < 2,
        "buyerHomes": sale.number % 2,
        "originalPrice": None,
    }


def _certify(at: ClerkClients, person: Subject) -> dict[str, Any]:
    body = {**person.request(purpose="deal"), "notAfter": int(time.time()) + 30 * 86_400}
    made: dict[str, Any] = at.at(CENTRE).post("/v1/certificates", body)
    return made


def _sign(at: ClerkClients, drawn: DraftedDeal, person: Subject, step: StepKind) -> dict[str, Any]:
    """Sign as seller or buyer with their own one-time key."""
    statement = step_of(drawn.terms, step, now=int(time.time()))
    signature = person.key.sign(statement, at.world.deployment.domain("PropertyLedger"))
    body = {"statement": statement.to_json(), "signature": "0x" + signature.hex()}
    made: dict[str, Any] = at.at(AGENT).post(f"/v1/deals/{drawn.deal_id}/signatures", body)
    return made


def _step(
    at: ClerkClients, key: str, drawn: DraftedDeal, step: StepKind, record: Mapping[str, str] | None
) -> dict[str, Any]:
    """Sign an organisation's step as soon as the deal has reached it."""
    path = f"/v1/deals/{drawn.deal_id}/steps/{step.name.lower()}"
    attempt = partial(at.at(key).post, path, {"record": record})
    made: dict[str, Any] = wait_for(attempt, f"the turn of {key} in a deal", seconds=STEP_SECONDS)
    return made


def _refused(
    world: World,
    screen: Screen,
    state: DemoState,
    chosen: Sequence[Sale],
    owners: Mapping[int, str],
) -> None:
    """A title for the former owner of a sold unit, a second sale of a unit in an open deal, and a
    sale of a unit under a court's hold.
    """
    sold, twice, held = chosen[0], chosen[-2], chosen[-1]
    with clerk_clients(world) as at:
        former = Subject({"code": owners[sold.number]})
        _certify(at, former)
        wanted = {
            "unit": sold.unit,
            "ownerKey": former.key.address,
            "notAfter": int(time.time()) + 86_400,
        }
        ask = partial(at.at(CENTRE).post, "/v1/titles", wanted)
        _wait_refused(
            state, "title for a former owner", ask, "the centre to have the last registration"
        )
        first = _draw(at, twice, owners[twice.number])
        _sign(at, first, first.seller, StepKind.SELLER)
        opened = bytes.fromhex(first.deal_id[2:])
        wait_for(lambda: world.ledger.property.deal(opened).opened_at, "the first deal to open")
        _wait_refused(
            state,
            "second sale",
            lambda: _draw(at, twice, owners[twice.number]),
            "the first deal to be seen",
        )
        order = {
            "court": "江门市蓬江区人民法院",
            "number": "(2026)粤0703执1号",
            "date": "2026-11-01",
        }
        at.at(CENTRE).post(
            "/v1/holds",
            {
                "unit": held.unit,
                "order": order,
                "placed": True,
                "endsAt": int(time.time()) + 365 * 86_400,
            },
        )
        unit = next(
            bytes.fromhex(item["unit"][2:])
            for item in at.at(CENTRE).post(
                "/v1/units", {"units": [{"number": held.unit, "owner": owners[held.number]}]}
            )["units"]
        )
        wait_for(
            lambda: world.ledger.property.hold(world.code(CENTRE), unit).held,
            "the hold to be on the chain",
        )
        _wait_refused(
            state,
            "sale under a hold",
            lambda: _draw(at, held, owners[held.number]),
            "the hold to be seen",
        )
    refusals = ", ".join(f"{kind}: {code}" for kind, code in state.property_refusals.items())
    screen.line(f"refused ({refusals}), the hold citing the court's order")


def _wait_refused(state: DemoState, kind: str, attempt: Callable[[], object], what: str) -> None:
    """Keep the code the attempt is refused with, once the registration centre's node has followed
    the chain that far.
    """
    code = wait_for(lambda: refusal_code(attempt), what)
    if code in ("not_owner", "unit_in_deal", "unit_held"):
        state.property_refusals[kind] = code
