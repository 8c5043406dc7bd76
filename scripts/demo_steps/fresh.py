"""Fresh business for a network that stays up: what each role finds to do when it logs in.

Grant requests wait for every department's chief data officer, one agreement is open with calls made
and room for more, and a home deal waits for its signatures. The traded demo before it has ended its
agreements and checked their books, so nothing here touches its figures.
"""

from __future__ import annotations

import time

from scripts.demo_steps import catalogue, sales, trade
from scripts.demo_steps.catalogue import CREDIT
from scripts.demo_steps.records import sales as home_sales
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoState
from scripts.demo_steps.world import World, wait_for

OPEN = "tax"
"""The department of the open agreement."""
CALLS = 40
ROOM = 200
MONEY = 2_000_000
"""Fen that the settlement bank confirms for it."""


def run(world: World, screen: Screen, state: DemoState, *, deals: int) -> None:
    """Make what waits; ``deals`` homes were sold before."""
    for product in state.products.values():
        catalogue.request_grant(
            world, "bank", product, purpose=CREDIT, scene="credit-card", max_uses=500
        )
    screen.line(
        f"{len(state.products)} requests of the bank wait for the departments' chief data officers"
    )
    _trade(world, screen, state)
    _deal(world, screen, deals)


def _trade(world: World, screen: Screen, state: DemoState) -> None:
    body = {
        "member": world.code("bank"),
        "amount": MONEY,
        "reference": f"fresh-{world.network.chain_id}",
    }
    before = world.ledger.settlement.account(world.code("bank")).free
    world.client("settlement", "clerk").post("/v1/deposits", body)
    wait_for(
        lambda: world.ledger.settlement.account(world.code("bank")).free >= before + MONEY,
        "the deposit to be booked",
    )
    agreement = trade.agree(world, screen, state, OPEN, cap_calls=ROOM)
    calls = [trade.query(agreement, trader) for trader in state.traders[:CALLS]]
    client = world.client("bank", "system")
    results = client.post("/v1/calls/batch", {"calls": calls})["results"]
    screen.line(f"{len(results)} calls under it; {ROOM - len(results)} more are paid for")


def _deal(world: World, screen: Screen, deals: int) -> None:
    sale = home_sales()[deals + 2]
    owner = f"ID-{sale.number:06d}-S-{int(time.time())}"
    units = [{"number": sale.unit, "owner": owner}]
    world.client(sales.CENTRE, "clerk").post("/v1/units", {"units": units})
    drafted = sales.draft(world, sale, owner)
    screen.line("a home deal waits for the signatures of seller and buyer", f"deal {drafted}")
