"""Step 5: four agreements that one party does not keep to, each with its own node and keys. Every
case ends with the right party paid, to the fen.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from chain.keys.files import KeyStore, Secp256k1Signer
from chain.statements.trade import UsageReceipt
from nodes.config import load
from nodes.initialise import CONFIG_FILE
from nodes.provision import NodeProcess
from scripts.demo_steps import trade
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoAgreement, DemoState, DisputedCase
from scripts.demo_steps.world import World, wait_for

BOND, STAKE = 500, 40
"""Fen that the provider bonds for each agreement, and that a lost dispute costs."""
CAP_CALLS = 10
STEP_SECONDS = 15
"""How long each step of the dispute about the answer may take, in seconds and in blocks."""
ALTERED = "scripts.demo_steps.altered_node"
SETTLEMENT = "TradeSettlement"

SILENT_BUYER = "a buyer stops acknowledging"
TWO_RECEIPTS = "two receipts for one place"
OTHER_ANSWER = "an answer that is not what its receipt commits to"
SLEEPER = "a provider sleeps over a notice"


def run(world: World, screen: Screen, state: DemoState) -> None:
    """Let the four cases happen side by side, and compare everybody's money before and after."""
    _fund_bonds(world)
    silent, twice, other, sleeper = state.cases = _open(world, state)
    before = _worth(world)
    for case in (silent, twice, sleeper):
        _call(world, state, case.deal, calls=2)
    _fall_asleep(world, screen, sleeper)
    claimed = _claim_receipt(world, screen, silent)
    _answer_wrongly(world, screen, state, other)
    _sign_twice(world, screen, twice)
    silent.ended = str(_wait_step(world, claimed, "ended")["outcome"])
    sleeper.ended = "notice_unanswered"
    for case in state.cases:
        _close(world, screen, case)
    _wake(world, screen, sleeper)
    due, after = _due(state.cases), _worth(world)
    state.balances = [
        {"party": key, "due": due[key], "change": after[key] - before[key]} for key in before
    ]
    trade.read_money(world, state)
    screen.line(
        "what each party gained or lost (fen): "
        + ", ".join(f"{row['party']} {row['change']:+d}" for row in state.balances)
    )


# --- Agreements -----------------------------------------------------------------------------------


def _fund_bonds(world: World) -> None:
    """The settlement bank confirms money of each department; bonds are taken from it."""
    account, needed = world.ledger.settlement.account, 2 * BOND
    before = {key: account(world.code(key)).free for key in trade.PRICES}
    for key in trade.PRICES:
        body = {
            "member": world.code(key),
            "amount": needed,
            "reference": f"bond-{key}-{world.network.chain_id}",
        }
        world.client("settlement", "clerk").post("/v1/deposits", body)
    wait_for(
        lambda: all(account(world.code(key)).free >= had + needed for key, had in before.items()),
        "the departments' deposits to be booked",
    )


def _open(world: World, state: DemoState) -> list[DisputedCase]:
    """An agreement for each case, of one lane, with a bond and a stake."""
    price = trade.PRICES
    wanted = (
        (SILENT_BUYER, "social-security", 2 * price["social-security"], 0, 2),
        (TWO_RECEIPTS, "social-security", 2 * price["social-security"], BOND, 1),
        (OTHER_ANSWER, "tax", 0, STAKE, 1),
        (SLEEPER, "real-estate", 0, 0, 0),
    )
    slow = {"closeWindowBlocks": STEP_SECONDS, "closeWindowSeconds": STEP_SECONDS}
    for key in price:
        trade.offer(world, state, key, bond=BOND, stake=STAKE, **(slow if key == "tax" else {}))
    cases = [
        DisputedCase(
            name=name,
            deal=trade.order(world, state, key, cap_calls=CAP_CALLS, lanes=1),
            ended="",
            owed=owed,
            forfeited=forfeited,
            seq=seq,
        )
        for name, key, owed, forfeited, seq in wanted
    ]
    for case in cases:
        trade.wait_open(world, (case.deal.key, "bank"), case.deal.agreement_id)
    return cases


def _call(world: World, state: DemoState, deal: DemoAgreement, *, calls: int) -> None:
    """Call one after another: each request acknowledges the call before it."""
    for trader in state.traders[:calls]:
        body = {"calls": [trade.query(deal, trader)]}
        (answer,) = world.client("bank").post("/v1/calls/batch", body)["results"]
        trade.record_answer(state, deal, answer)


# --- A buyer stops acknowledging ------------------------------------------------------------------


def _claim_receipt(world: World, screen: Screen, case: DisputedCase) -> str:
    """The provider claims the last receipt, which the bank never signs for, and gives notice."""
    deal, clerk = case.deal, world.client(case.deal.key, "clerk")
    claim = clerk.post(f"/v1/agreements/{deal.agreement_id}/receipt-claim", {"lane": 0})
    clerk.post(f"/v1/agreements/{deal.agreement_id}/notice", {})
    screen.line(
        f"{case.name}: the bank is silent about its last call; {deal.key} claims it by its receipt",
        f"receipt {claim['receiptId']}",
    )
    return str(claim["receiptId"])


# --- Two receipts for one place -------------------------------------------------------------------


def _sign_twice(world: World, screen: Screen, case: DisputedCase) -> None:
    """The department's own key signs another receipt for the first call; the bank shows the chain
    both, and ends the agreement together with the department.
    """
    deal, domain = case.deal, world.deployment.domain(SETTLEMENT)
    ((text, signature),) = trade.select(
        world,
        "bank",
        "SELECT receipt, receipt_signature FROM exchange_buyer_call "
        "WHERE agreement_id = ? AND seq = 1",
        bytes.fromhex(deal.agreement_id[2:]),
    )
    receipt = UsageReceipt.from_json(json.loads(text))
    other = replace(receipt, response_commitment=bytes(31) + b"\1")
    second = _statement_key(world, deal.key).sign(other, domain)
    world.client("bank", "clerk").post(
        "/v1/equivocations",
        {
            "agreementId": deal.agreement_id,
            "first": {"receipt": receipt.to_json(), "signature": "0x" + signature.hex()},
            "second": {"receipt": other.to_json(), "signature": "0x" + second.hex()},
        },
    )
    wait_for(lambda: _record(world, deal).bond_taken, "the proof of two receipts on the chain")
    case.ended = "equivocation_proved"
    screen.line(
        f"{case.name}: {deal.key} signs lane 0, position 1 twice; the bank proves it, and "
        f"{_record(world, deal).bond_taken / 100:,.2f} yuan of the bond are the bank's",
        f"agreement {deal.agreement_id}",
    )
    world.client("bank", "clerk").post(
        f"/v1/agreements/{deal.agreement_id}/closing", {"cooperative": True, "notice": False}
    )


def _statement_key(world: World, key: str) -> Secp256k1Signer:
    """An organisation's statement key, opened as its node opens it."""
    config = load(world.organisations[key].plan.directory / CONFIG_FILE)
    return KeyStore(config.path(config.keys.dir), config.passphrase()).secp256k1("statement")


# --- An answer that does not match ----------------------------------------------------------------


def _answer_wrongly(world: World, screen: Screen, state: DemoState, case: DisputedCase) -> None:
    """The department runs an altered node, and claims what its wrong answer costs; the bank
    contests, the department's node serves the answer again, and the arbiter rules.
    """
    deal, node = case.deal, world.organisations[case.deal.key].node
    _restart(world, deal.key, node, program=ALTERED)
    try:
        refused = wait_for(partial(_refused, world, state, deal), "the wrong answer", every=0.5)
        clerk = world.client(deal.key, "clerk")
        claim = clerk.post(f"/v1/agreements/{deal.agreement_id}/receipt-claim", {"lane": 0})
        world.client("bank", "clerk").post(f"/v1/agreements/{deal.agreement_id}/notice", {})
        screen.line(
            f"{case.name}: {deal.key} runs an altered node; the bank's refuses the answer "
            f"({refused}) and contests the claim",
            f"receipt {claim['receiptId']}",
        )
        case.ended = _dispute(world, screen, str(claim["receiptId"]))
    finally:
        _restart(world, deal.key, node, program=NodeProcess(node.directory).program)


def _refused(world: World, state: DemoState, deal: DemoAgreement) -> str | None:
    """Why the bank's node refuses the answer; the same request again while there is none."""
    body = {"calls": [trade.query(deal, state.traders[0])]}
    (answer,) = world.client("bank").post("/v1/calls/batch", body)["results"]
    return "response_differs" if answer["reason"] == "response_differs" else None


def _dispute(world: World, screen: Screen, receipt_id: str) -> str:
    """From the contest, which the bank's node makes by itself, to the ruling; how it ended."""
    path, bank = f"/v1/call-disputes/{receipt_id}", world.client("bank", "clerk")
    shown = _wait_step(world, receipt_id, "answered")
    at_bank = bank.get(f"{path}/answer")["matches"]
    bank.post(f"{path}/opening", {})
    arbiter = world.client("supervisor", "clerk")
    at_arbiter = wait_for(
        lambda: json.dumps(arbiter.get(f"{path}/answer")["matches"]), "the arbiter to read it"
    )
    evidence = {"member": shown["provider"], "index": _log_index(world, shown)}
    ruling = {
        "amount": 0,
        "opinion": "The answer that was served again is not what the receipt commits to.",
        "evidence": [evidence],
    }
    arbiter.post(f"{path}/ruling", ruling)
    ended = _wait_step(world, receipt_id, "ended")
    screen.line(
        "the answer that is served again matches its receipt at the bank: "
        f"{json.dumps(at_bank)}, at the arbiter: {at_arbiter}; the arbiter pays "
        f"{ended['paid']} of {ended['amount']} fen and cites entry {evidence['index']} of the "
        "department's log",
        f"receipt {receipt_id}",
    )
    return str(ended["outcome"])


def _log_index(world: World, shown: dict[str, Any]) -> int:
    """Where the provider's log has the receipt."""
    receipt = UsageReceipt.from_json(shown["receipt"])
    digest = receipt.digest(world.deployment.domain(SETTLEMENT))
    key = next(key for key in trade.PRICES if world.code(key) == shown["provider"])
    found = wait_for(
        lambda: trade.select(
            world, key, "SELECT entry_index FROM evidence_entry WHERE digest = ?", digest
        ),
        "the receipt in the department's log",
    )
    return int(found[0][0])


def _restart(world: World, key: str, node: NodeProcess, *, program: str) -> None:
    node.kill()
    node.program = program
    node.start(outbox=False)
    _wait_reached(world, key)


def _wait_reached(world: World, key: str) -> None:
    """Wait until a node that was started again answers, also to the bank's node."""
    organisation = world.organisations[key]
    organisation.node.wait_ready(organisation.client(None))
    offers = f"/v1/offers?provider={organisation.member}"
    wait_for(
        lambda: world.client("bank", "clerk").rows(offers, "offers"), f"the bank to reach {key}"
    )


def _wait_step(world: World, receipt_id: str, step: str) -> dict[str, Any]:
    """The dispute at the bank's node, once it is at that step."""

    def check() -> dict[str, Any] | None:
        shown: dict[str, Any] = world.client("bank", "clerk").get(f"/v1/call-disputes/{receipt_id}")
        return shown if shown["step"] == step else None

    return wait_for(check, f"the dispute to be {step}")


# --- A provider sleeps over a notice --------------------------------------------------------------


def _fall_asleep(world: World, screen: Screen, case: DisputedCase) -> None:
    """The provider's node and outbox end; then the bank gives notice."""
    deal, node = case.deal, world.organisations[case.deal.key].node
    node.kill()
    node.kill_outbox()
    world.client("bank", "clerk").post(f"/v1/agreements/{deal.agreement_id}/notice", {})
    screen.line(
        f"{case.name}: {deal.key}'s node is down when the bank gives notice, and claims nothing",
        f"agreement {deal.agreement_id}",
    )


def _wake(world: World, screen: Screen, case: DisputedCase) -> None:
    deal = case.deal
    world.organisations[deal.key].node.start()
    _wait_reached(world, deal.key)
    lost = deal.served * trade.PRICES[deal.key]
    screen.line(
        f"{deal.key}'s node is back, too late for {lost / 100:,.2f} yuan of {deal.served} calls; "
        "its bond is free again"
    )


# --- Money ----------------------------------------------------------------------------------------


def _close(world: World, screen: Screen, case: DisputedCase) -> None:
    wait_for(partial(trade.closed, world, case.deal), "a disputed agreement to close", every=0.5)
    done = _record(world, case.deal)
    case.paid, case.taken, case.refunded = done.paid, done.bond_taken, done.refunded
    screen.line(
        f"{case.name}: {case.ended}; {done.paid} fen paid, {done.refunded} back to the bank, "
        f"{done.bond_taken} of the bond to the bank",
        f"agreement {case.deal.agreement_id}",
    )


def _record(world: World, deal: DemoAgreement) -> Any:
    return world.ledger.settlement.agreement(bytes.fromhex(deal.agreement_id[2:]))


def _worth(world: World) -> dict[str, int]:
    """What belongs to each party on the chain, in fen."""
    worth = {}
    for key in ("bank", *trade.PRICES, "operator"):
        account = world.ledger.settlement.account(world.code(key))
        worth[key] = account.free + account.locked + account.bonded
    return worth


def _due(cases: Sequence[DisputedCase]) -> Counter[str]:
    """What each party should have gained or lost, by what each case says is due."""
    due: Counter[str] = Counter()
    for case in cases:
        platform = case.owed * trade.PLATFORM_SHARE // 10_000
        due["operator"] += platform
        due[case.deal.key] += case.owed - platform - case.forfeited
        due["bank"] += case.forfeited - case.owed
    return due
