"""Step 8: kill -9 of a gateway, a validator and an outbox worker while calls continue. Step 9: a
revocation under a continuous caller.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from chain.core.errors import Conflict, QiaolianError
from chain.statements.grants import GrantTerms
from nodes.client import NodeClient
from nodes.provision import Organisation
from registry.grants.signing import revocation_of
from scripts.demo_steps import trade
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoAgreement, DemoState
from scripts.demo_steps.world import World, wait_for

GATEWAY = "tax"
REVOKED = "social-security"
CALLS_BETWEEN = 10
REVOCATION_SECONDS = 60.0


class CallingClient(threading.Thread):
    """A client outside the nodes that makes one call after another, each until it is answered."""

    def __init__(
        self, world: World, deal: DemoAgreement, state: DemoState, name: str, *, pause: float
    ) -> None:
        super().__init__(name=f"caller-{name}", daemon=True)
        self._client: NodeClient = world.organisations[deal.buyer].client("system", timeout=30)
        self._deal, self._state, self._tag, self._pause = deal, state, name, pause
        self._stopped = threading.Event()
        self.answered: list[dict[str, Any]] = []
        self.refused_at: float | None = None
        self.refused_as = ""
        self.failure: QiaolianError | None = None

    def run(self) -> None:
        """Call until stopped or refused."""
        number = 0
        while not self._stopped.wait(self._pause):
            trader = self._state.traders[number % len(self._state.traders)]
            body = trade.query(self._deal, trader, key=None)
            body.pop("key")
            try:
                answer = trade.post_until_answered(
                    self._client, "/v1/calls", body, key=f"{self._tag}-{number}"
                )
            except QiaolianError as error:
                if error.status == 403:
                    self.refused_at, self.refused_as = time.time(), error.code
                else:
                    self.failure = error
                return
            self.answered.append(answer)
            trade.record_answer(self._state, self._deal, answer)
            number += 1

    def wait_more(self, count: int, *, seconds: float = 90.0) -> None:
        """Wait until ``count`` more calls are answered."""
        goal = len(self.answered) + count

        def check() -> bool:
            if self.failure is not None:
                raise self.failure
            if self.refused_as:
                raise Conflict(self.refused_as, "The caller was refused.")
            return len(self.answered) >= goal

        wait_for(check, "calls to continue", seconds=seconds, every=0.05)

    def finish(self) -> None:
        """Stop after the call under way."""
        self._stopped.set()
        self.join(timeout=90)
        self._client.close()


def run(world: World, screen: Screen, state: DemoState) -> None:
    """Kill each kind of process in the middle and see it come back."""
    deal = state.reporting[GATEWAY]
    caller = CallingClient(world, deal, state, "kills", pause=0.2)
    caller.start()
    caller.wait_more(CALLS_BETWEEN)
    try:
        _gateway(world, screen, state, caller)
        _validator(world, screen, state, caller)
        _outbox(world, screen, state)
    finally:
        caller.finish()
    state.lost = trade.lost_records(world, state.acknowledged)
    screen.line(
        f"{len(caller.answered)} calls answered through the kills; of "
        f"{len(state.acknowledged):,} receipts acknowledged "
        f"to clients {len(state.lost)} are missing"
    )


def _gateway(world: World, screen: Screen, state: DemoState, caller: CallingClient) -> None:
    organisation = world.organisations[GATEWAY]
    seconds = _killed(
        organisation, organisation.node.kill, lambda: organisation.node.start(outbox=False)
    )
    caller.wait_more(CALLS_BETWEEN)
    state.killed.append(f"gateway of {GATEWAY}")
    screen.line(
        f"the gateway of {GATEWAY} is killed with -9 and ready "
        f"again after {seconds:.1f} s; calls continue"
    )


def _validator(world: World, screen: Screen, state: DemoState, caller: CallingClient) -> None:
    index = len(world.network.validators) - 1
    before = world.network.height(0) or 0
    world.network.kill(index)
    caller.wait_more(1)
    world.network.start_one(index)
    wait_for(
        lambda: min(world.network.height(number) or 0 for number in range(index + 1)) > before + 2,
        "the validator to catch up",
        seconds=120,
    )
    same = len({world.network.block_hash(before, number) for number in range(index + 1)}) == 1
    caller.wait_more(CALLS_BETWEEN)
    if same:
        state.killed.append(f"validator of {world.network.validators[index].organisation}")
    screen.line(
        "one of four validators is killed with -9; the others go "
        "on, it comes back with the same blocks"
    )


def _outbox(world: World, screen: Screen, state: DemoState) -> None:
    """Kill the outbox while a withdrawal is stored and unsent; the money moves exactly once."""
    organisation, code = world.organisations[GATEWAY], world.code(GATEWAY)
    before = world.ledger.settlement.account(code)
    organisation.node.kill_outbox()
    order = {"amount": 100, "order": f"after-kill-{world.network.chain_id}"}
    for _ in range(2):
        world.client(GATEWAY, "clerk").post("/v1/withdrawals", order)
    organisation.node.start_outbox()
    wait_for(
        lambda: world.ledger.settlement.account(code).withdrawn > before.withdrawn,
        "the withdrawal on the chain",
    )
    after = world.ledger.settlement.account(code)
    if after.withdrawn == before.withdrawn + 100 and after.free == before.free - 100:
        state.killed.append(f"outbox worker of {GATEWAY}")
    screen.line(
        f"the outbox worker of {GATEWAY} is killed with -9; its "
        "stored withdrawal is carried out once"
    )


def _killed(
    organisation: Organisation, kill: Callable[[], None], start: Callable[[], None]
) -> float:
    kill()
    started = time.monotonic()
    start()
    organisation.node.wait_ready(organisation.client(None))
    return time.monotonic() - started


# --- Revocation -----------------------------------------------------------------------------------


def revoke(world: World, screen: Screen, state: DemoState) -> None:
    """Send the officer's signed revocation to the chain without the owner's node, and measure how
    long the gateway still serves a continuous caller.
    """
    deal = state.reporting[REVOKED]
    caller = CallingClient(world, deal, state, "revocation", pause=0.02)
    caller.start()
    caller.wait_more(CALLS_BETWEEN)
    organisation = world.organisations[REVOKED]
    grant = world.client(REVOKED, "officer").get(f"/v1/grants/{deal.grant_id}")
    terms = GrantTerms.from_json(grant["terms"])
    revocation = revocation_of(terms.struct_hash(), reason="contract-ended", now=int(time.time()))
    signature = organisation.officer().sign(revocation, world.deployment.domain("GrantRegistry"))
    transaction = world.send("GrantRegistry", "revoke", terms, revocation, signature)
    caller.join(REVOCATION_SECONDS)
    caller.finish()
    word = world.ledger.grants.grant(terms.struct_hash())
    block = world.ledger.block(word.revoked_at) if word.revoked_at else None
    if block is None or caller.refused_at is None or caller.refused_as != "grant_revoked":
        screen.line(
            f"the gateway did not refuse within {REVOCATION_SECONDS:.0f} s ({caller.failure})"
        )
        return
    state.revocation_seconds = round(max(0.0, caller.refused_at - block.timestamp), 2)
    screen.line(
        f"a grant is revoked under a continuous caller: refused {state.revocation_seconds} s "
        "after the revocation's block, "
        f"after {len(caller.answered)} calls",
        "0x" + transaction.hex(),
    )
