"""Steps 3 and 4: consents, agreements, metered calls, refusals, free sharing; then claims, closing
and refund.
"""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from chain.core.errors import QiaolianError
from chain.keys.files import Secp256k1Signer
from nodes.client import NodeClient
from registry.credit.signing import Subject, consent_of, sign_consent
from scripts.demo_steps.catalogue import CREDIT, SERVICE, grant_shared
from scripts.demo_steps.records import SUBJECT, trader_code
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoAgreement, DemoState
from scripts.demo_steps.trader import Trader
from scripts.demo_steps.world import World, refusal_code, wait_for

PRICES = {"social-security": 50, "real-estate": 80, "tax": 60}
"""Fen a call."""
PLATFORM_SHARE = 500
"""Basis points of each payment that go to the platform."""
BATCH = 25
LANES = 2
CLAIM_SECONDS = 10
"""How long a provider can claim after a notice, in seconds and in blocks."""
PRIVATE = {"social-security": "Age", "real-estate": "Assets", "tax": "Expenses"}
"""A column of each department that leaves its gateway masked only."""
COOPERATIVE = "tax"
"""Whose agreement ends cooperatively; the others end by notice and window."""
ISSUER = "tax"
"""Knows every trader, and certifies whose their keys are."""

T = TypeVar("T")


def run(world: World, screen: Screen, state: DemoState, *, calls: int) -> None:
    """Step 3."""
    per_department = -(-calls // len(PRICES))
    _consents(world, screen, state, per_department)
    _deposit(world, screen, calls)
    for key in PRICES:
        state.agreements[key] = agree(world, screen, state, key, cap_calls=per_department + 20)
    _metered(world, screen, state, calls)
    _refusals(world, screen, state)
    _share_freely(world, screen, state)


def prepare_for_bench(
    world: World, screen: Screen, state: DemoState, *, traders: int, agreements: int, calls: int
) -> list[DemoAgreement]:
    """Consents, money and several agreements with one department."""
    _consents(world, screen, state, traders)
    _deposit(world, screen, calls * agreements)
    return [agree(world, screen, state, "tax", cap_calls=calls) for _ in range(agreements)]


# --- Consents -------------------------------------------------------------------------------------


def certified(
    world: World, number: int, *, purpose: str, key: Secp256k1Signer | None = None
) -> tuple[Subject, dict[str, Any]]:
    """Return a trader with a fresh key, or the one given, and the tax bureau's certificate of it
    with signature.
    """
    identity = {"code": trader_code(number), "kind": "sole-trader"}
    subject = Subject(identity) if key is None else Subject(identity, key=key)
    body = {**subject.request(purpose=purpose), "notAfter": int(time.time()) + 90 * 86_400}
    return subject, world.client(ISSUER, "clerk").post("/v1/certificates", body)


def consent(world: World, number: int, *, key: Secp256k1Signer | None = None) -> Trader:
    """One trader consents to the bank: certificate, signature, relay, and the package
    for the bank.
    """
    subject, certificate = certified(world, number, purpose="consent", key=key)
    now = int(time.time())
    given = consent_of(subject, bank=world.code("bank"), purpose=CREDIT, now=now)
    signed = sign_consent(
        subject, given, certificate, domain=world.deployment.domain("CreditLedger"), now=now
    )
    world.client("operator", None).post("/v1/consents", signed.relayed)
    held = world.client("bank", None).post("/v1/consents/held", signed.package)
    return Trader(subject, signed.package, held["consent"])


def _consents(world: World, screen: Screen, state: DemoState, count: int) -> None:
    numbers = range(1, count + 1)
    for number in screen.progress(numbers, "consents"):
        state.traders.append(consent(world, number))
    last = bytes.fromhex(state.traders[-1].commitment[2:])
    wait_for(
        lambda: world.ledger.credit.consent(last).recorded_at, "the consents to be on the chain"
    )
    screen.line(
        f"{count} traders consent, each with a one-time key that the tax bureau certified; the "
        "operator relays commitments it cannot alter",
        f"consent {state.traders[0].commitment}",
    )


# --- Agreements -----------------------------------------------------------------------------------


def _deposit(world: World, screen: Screen, calls: int) -> None:
    amount = 100_00 + calls * max(PRICES.values()) * 2 + 200_000
    body = {
        "member": world.code("bank"),
        "amount": amount,
        "reference": f"transfer-{world.network.chain_id}",
    }
    world.client("settlement", "clerk").post("/v1/deposits", body)
    wait_for(
        lambda: world.ledger.settlement.account(world.code("bank")).free >= amount,
        "the deposit to be booked",
    )
    screen.line(f"the settlement bank confirms {amount / 100:,.2f} yuan for the bank")


def agree(
    world: World, screen: Screen, state: DemoState, key: str, *, cap_calls: int
) -> DemoAgreement:
    """The bank opens a new agreement with a department under its grant."""
    offer(world, state, key)
    deal = order(world, state, key, cap_calls=cap_calls)
    wait_open(world, (key, "bank"), deal.agreement_id)
    screen.line(
        f"agreement with {key}: {PRICES[key]} fen a call, at most "
        f"{cap_calls * PRICES[key] / 100:,.2f} yuan, locked",
        f"agreement {deal.agreement_id}",
    )
    return deal


def offer(world: World, state: DemoState, key: str, **terms: Any) -> None:
    """A department offers its asset to the bank; ``terms`` are added to the usual ones."""
    price = PRICES[key]
    split = [(world.code(key), 10_000 - PLATFORM_SHARE), (world.code("operator"), PLATFORM_SHARE)]
    usual = {
        "assetId": state.products[key].asset_id,
        "assetVersion": 1,
        "unit": "call",
        "price": price,
        "maxCap": 10_000_000,
        "maxPerCall": price,
        "closeWindowBlocks": CLAIM_SECONDS,
        "closeWindowSeconds": CLAIM_SECONDS,
        "shares": [{"member": member, "basisPoints": part} for member, part in split],
    }
    world.client(key, "clerk").post("/v1/offers", usual | terms)


def order(
    world: World, state: DemoState, key: str, *, cap_calls: int, lanes: int = LANES
) -> DemoAgreement:
    """The bank orders what a department offers, with the supervisor as arbiter; the agreement opens
    by itself.
    """
    product = state.products[key]
    body = {
        "grantId": state.grants[key],
        "offerHash": _seen(world, "bank", key, product.asset_id),
        "cap": cap_calls * PRICES[key],
        "lanes": lanes,
        "arbiter": world.code("supervisor"),
    }
    agreement_id = str(world.client("bank", "clerk").post("/v1/agreements", body)["agreementId"])
    return DemoAgreement(key, agreement_id, state.grants[key], "bank", product.columns, CREDIT)


def _seen(world: World, buyer: str, provider: str, asset_id: str) -> str:
    """Return the hash of the offer that the buyer was shown, which an order names."""
    shown = world.client(buyer, "clerk").rows(
        f"/v1/offers?provider={world.code(provider)}", "offers"
    )
    return next(str(offer["offerHash"]) for offer in shown if offer["assetId"] == asset_id)


def wait_open(world: World, keys: Sequence[str], agreement_id: str) -> None:
    """Wait until an agreement is open at the nodes of these organisations."""
    for key in keys:
        client = world.client(key, "clerk")
        wait_for(partial(_is_open, client, agreement_id), "an agreement to open")


def _is_open(client: NodeClient, agreement_id: str) -> bool:
    return bool(client.get(f"/v1/agreements/{agreement_id}")["state"] == "open")


# --- Calls ----------------------------------------------------------------------------------------


def _metered(world: World, screen: Screen, state: DemoState, calls: int) -> None:
    """Call through the bank's own node in batches, three departments at once."""
    shares = [calls // len(PRICES) + (index < calls % len(PRICES)) for index in range(len(PRICES))]
    started = time.monotonic()
    with ThreadPoolExecutor(len(PRICES)) as pool:
        jobs = [
            pool.submit(_buy, world, deal, state.traders[:count])
            for deal, count in zip(state.agreements.values(), shares, strict=True)
        ]
        results = [job.result() for job in jobs]
    seconds = time.monotonic() - started
    for deal, answers in zip(state.agreements.values(), results, strict=True):
        for answer in answers:
            record_answer(state, deal, answer)
    served = sum(deal.served for deal in state.agreements.values())
    state.calls_per_second = round(served / seconds, 1)
    screen.line(
        f"{served:,} metered calls served in {seconds:.1f} s "
        f"({served / seconds:.0f}/s, batches of {BATCH})"
    )
    for deal, answers in zip(state.agreements.values(), results, strict=True):
        record = answers[0]["record"]
        state.masked += (
            isinstance(record[PRIVATE[deal.key]], str) or record[PRIVATE[deal.key]] % 1_000 == 0
        )
        shown = ", ".join(f"{name} {value}" for name, value in record.items())
        screen.line(
            f"{deal.key} answers {state.traders[0].code}: {shown} ({PRIVATE[deal.key]} masked)"
        )


def _buy(world: World, deal: DemoAgreement, traders: Sequence[Trader]) -> list[dict[str, Any]]:
    client = world.organisations["bank"].client("system", timeout=120)
    try:
        return [
            answer
            for batch in batches(traders, BATCH)
            for answer in client.post(
                "/v1/calls/batch", {"calls": [query(deal, trader) for trader in batch]}
            )["results"]
        ]
    finally:
        client.close()


def query(deal: DemoAgreement, trader: Trader, **changes: Any) -> dict[str, Any]:
    """One call about a trader, with its idempotency key."""
    key = hashlib.sha256(
        f"{deal.agreement_id}/{trader.commitment}/{sorted(changes.items())}".encode()
    ).hexdigest()
    return {
        "key": key,
        "agreementId": deal.agreement_id,
        "subject": trader.code,
        "columns": list(deal.columns),
        "purpose": deal.purpose,
        "consentId": trader.commitment,
        **changes,
    }


def record_answer(state: DemoState, deal: DemoAgreement, answer: dict[str, Any]) -> None:
    """Count an answer and record its receipt, which must not be lost from now on."""
    if answer["outcome"] == "served":
        deal.served += 1
    elif answer["outcome"] == "refused":
        deal.refused += 1
        state.refused_units += int(answer.get("units") or 0)
    if answer["outcome"] in ("served", "refused"):
        index = {"agreementId": deal.agreement_id, "lane": answer["lane"], "seq": answer["seq"]}
        state.acknowledged.append({**index, "provider": deal.key, "buyer": deal.buyer})


def _refusals(world: World, screen: Screen, state: DemoState) -> None:
    """Make calls that must be refused with their own codes and not billed."""
    deal, trader = state.agreements["tax"], state.traders[0]
    tries: dict[str, tuple[DemoAgreement, dict[str, Any]]] = {
        "consent": (deal, query(deal, trader, consentId=None)),
        "purpose": (deal, query(deal, trader, purpose="anti-fraud")),
        "column": (deal, query(deal, trader, columns=[SUBJECT])),
        "operation": (deal, query(deal, trader, operation="train")),
    }
    for kind, (agreed, body) in tries.items():
        answer = world.client("bank").post("/v1/calls/batch", {"calls": [body]})["results"][0]
        record_answer(state, agreed, answer)
        state.refusals[kind] = answer["reason"]
    state.refusals["edited record"] = _edited_record(world, screen, state, deal, trader)
    state.refusals["cap"] = _over_cap(world, screen, state)
    refusals = ", ".join(f"{kind}: {code}" for kind, code in state.refusals.items())
    screen.line(f"refused and unbilled ({refusals}); {state.refused_units} units charged")


def _edited_record(
    world: World, screen: Screen, state: DemoState, deal: DemoAgreement, trader: Trader
) -> str:
    """Edit a published record in the tax bureau's table: the call is refused, and the bureau is
    shown the record.
    """
    with closing(
        sqlite3.connect(world.sources["tax"].removeprefix("sqlite:///"), isolation_level=None)
    ) as table:
        change = f'UPDATE records SET "Expenses" = "Expenses" + ? WHERE "{SUBJECT}" = ?'
        table.execute(change, (1, trader.code))
        try:
            body = query(deal, trader, key="edited-record")
            answer = world.client("bank").post("/v1/calls/batch", {"calls": [body]})["results"][0]
        finally:
            table.execute(change, (-1, trader.code))
    record_answer(state, deal, answer)
    (incident,) = world.client("tax", "clerk").get("/v1/incidents")["incidents"]
    screen.line(
        "a record edited after publication is not delivered; the tax bureau sees: "
        f"{incident['kind']}, row {incident['row']}"
    )
    return str(answer["reason"])


def _over_cap(world: World, screen: Screen, state: DemoState) -> str:
    """Open a small agreement with a cap of one call, and call twice."""
    small = agree(world, screen, state, "real-estate", cap_calls=1)
    small.capped = True
    state.agreements["small"] = small
    answers = [
        world.client("bank").post("/v1/calls/batch", {"calls": [query(small, trader)]})["results"][
            0
        ]
        for trader in state.traders[:2]
    ]
    for answer in answers:
        record_answer(state, small, answer)
    return str(answers[1]["reason"]) if answers[1]["outcome"] == "refused" else ""


# --- Free sharing ---------------------------------------------------------------------------------


def _share_freely(world: World, screen: Screen, state: DemoState) -> None:
    """The tax bureau and social security share with each other at price 0, with a count cap and the
    same receipts.
    """
    for provider, buyer in (("social-security", "tax"), ("tax", "social-security")):
        product = state.free_products[provider]
        grant_id = grant_shared(world, screen, buyer, product)
        offer = {
            "assetId": product.asset_id,
            "assetVersion": 1,
            "unit": "call",
            "price": 0,
            "maxUnits": 1_000,
            "closeWindowBlocks": 2,
            "closeWindowSeconds": 2,
            "shares": [{"member": world.code(provider), "basisPoints": 10_000}],
        }
        world.client(provider, "clerk").post("/v1/offers", offer)
        seen = _seen(world, buyer, provider, product.asset_id)
        order = {"grantId": grant_id, "offerHash": seen, "cap": 0, "maxUnits": 100, "lanes": 1}
        agreement_id = str(
            world.client(buyer, "clerk").post("/v1/agreements", order)["agreementId"]
        )
        wait_open(world, (provider, buyer), agreement_id)
        deal = DemoAgreement(provider, agreement_id, grant_id, buyer, product.columns, SERVICE)
        state.free_agreements[provider] = deal
        bodies = [query(deal, trader, consentId=None) for trader in state.traders[:5]]
        for answer in world.client(buyer).post("/v1/calls/batch", {"calls": bodies})["results"]:
            record_answer(state, deal, answer)
        state.free_calls += deal.served
        screen.line(
            f"{provider} shares with {buyer}: {deal.served} calls at price 0",
            f"agreement {agreement_id}",
        )


# --- Settlement -----------------------------------------------------------------------------------


def settle(world: World, screen: Screen, state: DemoState) -> None:
    """Step 4: one agreement ends cooperatively, the others by notice and window, with the
    providers' nodes claiming by themselves.
    """
    _end_cooperatively(world, screen, state.agreements[COOPERATIVE])
    by_notice = [
        deal for deal in state.agreements.values() if deal is not state.agreements[COOPERATIVE]
    ]
    for deal in by_notice:
        ways = {"cooperative": False, "notice": True}
        world.client("bank", "clerk").post(f"/v1/agreements/{deal.agreement_id}/closing", ways)
    _claimed(world, screen, by_notice)
    for deal in state.agreements.values():
        wait_for(partial(closed, world, deal), "the agreements to close", every=0.5)
        done = world.ledger.settlement.agreement(_id(deal))
        state.settled[deal.agreement_id] = (done.opened, done.paid, done.refunded)
        way = "by notice, claim and window" if done.notice_at else "cooperatively"
        screen.line(
            f"{deal.key} ended {way}: {done.paid / 100:,.2f} yuan paid for {deal.served} calls, "
            f"{done.refunded / 100:,.2f} back",
            f"agreement {deal.agreement_id}",
        )
    _withdraw(world, screen)
    read_money(world, state)
    money = state.money
    screen.line(
        f"agreements: opened {money['opened_fen']} = paid {money['paid_fen']} + refunded "
        f"{money['refunded_fen']} + locked {money['locked_fen']} fen"
    )
    screen.line(
        f"accounts: deposited {money['deposited_fen']} = withdrawn {money['withdrawn_fen']} + "
        f"free {money['free_fen']} "
        f"+ locked {money['all_locked_fen']} + bonded {money['bonded_fen']} fen"
    )


def _claimed(world: World, screen: Screen, deals: Sequence[DemoAgreement]) -> None:
    """Wait until each provider's node has claimed by itself after the notice, with the last
    voucher.
    """
    for deal in deals:
        wait_for(
            partial(_chain_state, world, deal, "notice_at"), "the closing notices on the chain"
        )
    started = time.monotonic()
    for deal in deals:
        wait_for(partial(_all_claimed, world, deal), "the providers' nodes to claim")
    total = sum(_chain_state(world, deal, "acknowledged") for deal in deals)
    screen.line(
        f"the bank gives notice; {time.monotonic() - started:.1f} s "
        "later the providers' nodes have claimed "
        f"{total / 100:,.2f} yuan by themselves, all that was served"
    )


def _all_claimed(world: World, deal: DemoAgreement) -> bool:
    return _chain_state(world, deal, "acknowledged") == deal.served * PRICES[deal.key]


def _end_cooperatively(world: World, screen: Screen, deal: DemoAgreement) -> None:
    """Close at the department's request: both nodes sign equal totals, and one
    transaction settles.
    """
    client = world.client(deal.key, "clerk")
    answer = client.post(
        f"/v1/agreements/{deal.agreement_id}/closing", {"cooperative": True, "notice": False}
    )
    wait_for(
        partial(_chain_state, world, deal, "closed_at"), "the cooperative closing on the chain"
    )
    done = world.ledger.settlement.agreement(_id(deal))
    totals = answer["finalSettlement"]
    screen.line(
        f"{deal.key} and the bank end together: both sign {totals['units']} units for "
        f"{int(totals['amount']) / 100:,.2f} yuan; "
        f"paid, refunded and closed in block {done.closed_at}, without notice or window",
        f"final settlement {totals['hash']}",
    )


def _withdraw(world: World, screen: Screen) -> None:
    """Withdraw half of each department's earnings to its own account."""
    halves = {key: world.ledger.settlement.account(world.code(key)).free // 2 for key in PRICES}
    for key, amount in halves.items():
        world.client(key, "clerk").post(
            "/v1/withdrawals", {"amount": amount, "order": f"earnings-{world.network.chain_id}"}
        )
    for key, amount in halves.items():
        wait_for(partial(_withdrawn, world, key, amount), "the withdrawals on the chain")
    screen.line(
        f"the departments order {sum(halves.values()) / 100:,.2f} yuan of "
        "their earnings paid out by the settlement bank"
    )


def _withdrawn(world: World, key: str, amount: int) -> bool:
    return world.ledger.settlement.account(world.code(key)).withdrawn == amount


def read_money(world: World, state: DemoState) -> None:
    """Return both conservation sums, from the chain alone."""
    deals = [*state.agreements.values(), *(case.deal for case in state.cases)]
    read = [world.ledger.settlement.agreement(_id(deal)) for deal in deals]
    totals = world.ledger.settlement.totals()
    state.money = {
        "opened_fen": sum(record.opened for record in read),
        "paid_fen": sum(record.paid for record in read),
        "refunded_fen": sum(record.refunded for record in read),
        "locked_fen": sum(record.locked for record in read),
        "deposited_fen": totals.deposited,
        "withdrawn_fen": totals.withdrawn,
        "free_fen": totals.free,
        "all_locked_fen": totals.locked,
        "bonded_fen": totals.bonded,
    }


def _chain_state(world: World, deal: DemoAgreement, name: str) -> int:
    """One number of an agreement's state on the chain; 0 while it is not there."""
    return int(getattr(world.ledger.settlement.agreement(_id(deal)), name))


def closed(world: World, deal: DemoAgreement) -> bool:
    """Whether the chain has closed an agreement; if not, the bank asks for it."""
    if world.ledger.settlement.agreement(_id(deal)).closed_at:
        return True
    refusal_code(
        lambda: world.client("bank", "clerk").post(f"/v1/agreements/{deal.agreement_id}/close", {})
    )
    return False


# --- The three counters ---------------------------------------------------------------------------


def counters_agree(world: World, deals: Iterable[DemoAgreement]) -> bool:
    """Compare the units served in the gateway's database, the buyer's database and on the chain."""
    for deal in deals:
        agreement = _id(deal)
        gateway = _units(world, deal.key, "exchange_gateway_call", agreement)
        buyer = _units(world, deal.buyer, "exchange_buyer_call", agreement)
        state = world.ledger.settlement.agreement(agreement)
        lanes = sum(world.ledger.settlement.lane(agreement, lane).units for lane in range(LANES))
        settled = lanes if state.opened else gateway
        if not gateway == buyer == settled == deal.served:
            return False
    return True


def _units(world: World, key: str, table: str, agreement: bytes) -> int:
    """Units by a node's own database: each lane's running total at its last position."""
    rows = select(
        world,
        key,
        f"SELECT lane, MAX(units) FROM {table} WHERE agreement_id = "
        "? AND receipt IS NOT NULL GROUP BY lane",
        agreement,
    )
    return sum(int(units) for _, units in rows)


def lost_records(world: World, acknowledged: Iterable[dict[str, Any]]) -> list[str]:
    """Return positions acknowledged to a client that are missing in the gateway's or the buyer's
    database.
    """
    missing = []
    tables = {"provider": "exchange_gateway_call", "buyer": "exchange_buyer_call"}
    for side, table in tables.items():
        by_node: dict[str, list[dict[str, Any]]] = {}
        for item in acknowledged:
            by_node.setdefault(item[side], []).append(item)
        for key, positions in by_node.items():
            held = _positions(world, key, table)
            missing += [
                f"{key}:{index['agreementId']}/{index['lane']}/{index['seq']}"
                for index in positions
                if (bytes.fromhex(index["agreementId"][2:]), index["lane"], index["seq"])
                not in held
            ]
    return missing


def _positions(world: World, key: str, table: str) -> set[tuple[Any, ...]]:
    return set(
        select(world, key, f"SELECT agreement_id, lane, seq FROM {table} WHERE receipt IS NOT NULL")
    )


def select(world: World, key: str, query_text: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of an organisation's own database, read beside its node."""
    path = world.organisations[key].plan.directory / "data" / "node.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(query_text, values).fetchall()
    finally:
        connection.close()


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Parts of at most ``size``."""
    for start in itertools.count(0, size):
        part = items[start : start + size]
        if not part:
            return
        yield part


def post_until_answered(
    client: NodeClient, path: str, body: Any, *, key: str, seconds: float = 60.0
) -> Any:
    """POST under one idempotency key until it is answered: what a client does while processes die
    and come back.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return client.post(path, body, idempotency_key=key)
        except QiaolianError as error:
            if error.status < 500 or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _id(deal: DemoAgreement) -> bytes:
    return bytes.fromhex(deal.agreement_id[2:])
