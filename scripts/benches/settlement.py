"""What settling costs: gas of a claim, claims a second on four validators, and the time to check
the evidence of a dispute.

Baselines are of the same run: anchors in raw JSON-RPC batches to the same validators, and bare
signature recoveries.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chain.core.canonical import dumps
from chain.core.crypto import keccak256, new_private_key, recover, sign_digest
from chain.engine.network import Network
from chain.ethereum.deploy import deploy
from chain.ethereum.deployment import CloseWindow
from chain.ethereum.eip712 import Domain
from chain.ethereum.ledger import Ledger
from chain.ethereum.transactions import gas_for, sign_transaction
from chain.keys.files import KeyStore, Secp256k1Signer
from chain.statements.assets import AssetRecord
from chain.statements.commitment import commit_bytes
from chain.statements.examples import example
from chain.statements.grants import GrantDecision, GrantTerms, Operation
from chain.statements.trade import (
    Agreement,
    DepositConfirmation,
    MeteredUnit,
    Share,
    UsageOutcome,
    UsageReceipt,
    UsageRequest,
    Voucher,
)
from exchange.disputes.sealing import ContestKey, seal, unseal
from exchange.metering.model import RESPONSE_DOMAIN
from nodes.config import load
from nodes.initialise import CONFIG_FILE
from nodes.provision import Organisation, OrganisationPlan, create_organisations, found
from registry.assets.rules import asset_id_of
from scripts.benches import outbox
from scripts.benches.figure import Figure
from scripts.demo_steps.records import organisation_code

AGREEMENTS, LANES = 8, 16
CLAIMS = outbox.CALLS
RUNS = outbox.RUNS
BATCH = 100
"""Claims in a JSON-RPC batch: a chain node reads half a megabyte at most."""
PRICE, CAP = 1, 1_000_000
FOREVER = 2**40
SETTLEMENT = "TradeSettlement"
EVIDENCE_ROUNDS = 200
Say = Callable[[str], None]


def run(say: Say) -> list[Figure]:
    """Settle ``CLAIMS`` claims beside as many anchors, and check a dispute's evidence."""
    with tempfile.TemporaryDirectory() as directory:
        network = Network.create(Path(directory) / "network", ["one", "two", "three", "four"])
        try:
            network.start(say=say)
            market = _market(network, Path(directory))
            say(f"{AGREEMENTS} agreements of {LANES} lanes are open")
            first, following = _gas_of_two_claims(market)
            runs = []
            for number in range(RUNS):
                raw = CLAIMS / outbox.raw_batches(market.ledger, market.operator, number)
                ours = CLAIMS / _claims(market, number)
                say(f"{CLAIMS} one after another: {raw:.0f} anchors/s, {ours:.0f} claims/s")
                runs.append((ours / raw, ours, raw))
        finally:
            network.destroy()
    _, claims, anchors = sorted(runs)[RUNS // 2]
    evidence, bare = _evidence()
    return [
        Figure("gas of an agreement's first claim", *_gas(first), "≤ 125,000"),
        Figure("gas of each next claim", *_gas(following), "≤ 110,000"),
        Figure(
            "claims settled, four validators",
            claims,
            "claims/s",
            anchors,
            "raw batches of anchors",
            "≥ 300/s",
        ),
        Figure(
            "check of a dispute's evidence",
            evidence,
            "ms",
            bare,
            "two bare signature recoveries",
            "≤ 100 ms",
        ),
    ]


def _gas(used: int) -> tuple[float, str, float, str]:
    return used, "gas", 21_000, "a plain transfer"


# --- A market -------------------------------------------------------------------------------------


@dataclass
class Market:
    """Open agreements of one department and one bank, and the keys to settle them."""

    ledger: Ledger
    operator: Secp256k1Signer
    provider: Secp256k1Signer
    """Both transaction keys."""
    buyer_statement: Secp256k1Signer
    agreements: Sequence[Agreement]
    settled: int = 0
    """Claims made so far."""
    nonce: int = 0
    """The provider's next: a node may have a block's receipts before it counts its transactions."""


@dataclass
class _Keys:
    """An organisation's keys, opened as its node opens them."""

    member: str
    transaction: Secp256k1Signer
    statement: Secp256k1Signer
    approval: Secp256k1Signer


def _market(network: Network, root: Path) -> Market:
    roles = ("operator", "settlement_bank", "department", "bank")
    plans = [
        OrganisationPlan(organisation_code("11", 60 + number), role, (role,), officer=True)
        for number, role in enumerate(roles)
    ]
    file = root / "deployment.json"
    made = create_organisations(
        root / "nodes", plans, rpc=network.rpc_urls, finality=network.addresses, deployment=file
    )
    deployment = deploy(
        network.rpc_urls[0],
        new_private_key(),
        [one.governor() for one in made[:3]],
        min_close_window=CloseWindow(2, 2),
    )
    deployment.save(file)
    ledger = Ledger(network.rpc_urls, deployment)
    found(made, deployment, ledger=ledger)
    operator, settlement_bank, department, bank = map(_keys, made)
    asset = _asset(department.member)
    terms = _terms(department.member, bank.member)
    agreements = [_agreement(terms, department, bank, number) for number in range(AGREEMENTS)]
    deposit = DepositConfirmation(
        1, settlement_bank.member, bank.member, AGREEMENTS * CAP, bytes(31) + b"\1", FOREVER
    )
    decision = GrantDecision(1, terms.struct_hash(), True, "agreed", FOREVER)
    _send(ledger, department.transaction, [("AssetRegistry", "register", [asset])])
    _send(ledger, bank.transaction, [("GrantRegistry", "request", [terms])])
    approval = department.approval.sign(decision, deployment.domain("GrantRegistry"))
    _send(
        ledger, department.transaction, [("GrantRegistry", "decide", [terms, decision, approval])]
    )
    domain = deployment.domain(SETTLEMENT)
    confirmed = settlement_bank.statement.sign(deposit, domain)
    _send(ledger, settlement_bank.transaction, [(SETTLEMENT, "deposit", [deposit, confirmed])])
    openings: list[tuple[str, str, list[Any]]] = [
        (
            SETTLEMENT,
            "open",
            [
                agreement,
                terms,
                department.statement.sign(agreement, domain),
                bank.statement.sign(agreement, domain),
            ],
        )
        for agreement in agreements
    ]
    _send(ledger, bank.transaction, openings)
    return Market(ledger, operator.transaction, department.transaction, bank.statement, agreements)


def _keys(organisation: Organisation) -> _Keys:
    config = load(organisation.plan.directory / CONFIG_FILE)
    store = KeyStore(config.path(config.keys.dir), config.passphrase())
    return _Keys(
        organisation.member,
        store.secp256k1("transaction"),
        store.secp256k1("statement"),
        organisation.officer(),
    )


def _asset(holder: str) -> AssetRecord:
    return replace(
        example(AssetRecord),
        version=1,
        holder=holder,
        processor=holder,
        operator=holder,
        data_item="bench",
        name="bench",
        asset_version=1,
        grade=2,
        parents=(),
    )


def _terms(owner: str, grantee: str) -> GrantTerms:
    return GrantTerms(
        version=1,
        asset_id=asset_id_of(owner, "bench"),
        asset_version=1,
        owner=owner,
        grantee=grantee,
        operations=int(Operation.USE),
        scene="bench",
        purpose="bench",
        scope=bytes(32),
        not_before=1,
        not_after=FOREVER,
        max_uses=10**6,
        nonce=bytes(32),
    )


def _agreement(terms: GrantTerms, provider: _Keys, buyer: _Keys, number: int) -> Agreement:
    return Agreement(
        version=2,
        grant_id=terms.struct_hash(),
        asset_id=terms.asset_id,
        asset_version=1,
        provider=provider.member,
        buyer=buyer.member,
        provider_key=provider.statement.address,
        buyer_key=buyer.statement.address,
        purpose="bench",
        unit=int(MeteredUnit.CALL),
        price=PRICE,
        cap=CAP,
        max_units=0,
        max_per_call=PRICE,
        lanes=LANES,
        starts_at=1,
        ends_at=FOREVER,
        open_before=FOREVER,
        close_window_blocks=10,
        close_window_seconds=10,
        arbiter="",
        bond=0,
        bond_from_earnings=False,
        stake=0,
        shares=(Share(provider.member, 10_000),),
        nonce=number.to_bytes(32, "big"),
    )


# --- Claims ---------------------------------------------------------------------------------------


def _claim_data(market: Market, number: int) -> tuple[str, bytes]:
    """A claim of one lane for one more call: the next agreement, then the next lane."""
    agreement = market.agreements[number % AGREEMENTS]
    lane, seq = number // AGREEMENTS % LANES, number // (AGREEMENTS * LANES) + 1
    voucher = Voucher(1, agreement.struct_hash(), lane, seq, seq, seq * PRICE, bytes(32))
    signature = market.buyer_statement.sign(voucher, market.ledger.deployment.domain(SETTLEMENT))
    return market.ledger.encode(SETTLEMENT, "claimVouchers", agreement, [voucher], [signature])


def _claims(market: Market, _run: int) -> float:
    """Seconds until ``CLAIMS`` claims are in blocks, encoded and signed before."""
    calls = [_claim_data(market, market.settled + number) for number in range(CLAIMS)]
    market.settled += CLAIMS
    signed = [
        _signed(market.ledger, market.provider, market.nonce + number, call)
        for number, call in enumerate(calls)
    ]
    market.nonce += CLAIMS
    started = time.monotonic()
    for start in range(0, CLAIMS, BATCH):
        _sent(market.ledger, [one.raw for one in signed[start : start + BATCH]])
    _succeeded(market.ledger, signed[-1].transaction_hash)
    return time.monotonic() - started


def _gas_of_two_claims(market: Market) -> tuple[int, int]:
    """Of the first claim of an agreement, and of a later one of the same lane."""
    market.nonce = market.ledger.nonce(market.provider.address)
    first = _gas_of(market, 0)
    following = _gas_of(market, AGREEMENTS * LANES)
    market.settled = 2 * AGREEMENTS * LANES
    return first, following


def _gas_of(market: Market, number: int) -> int:
    call = _claim_data(market, number)
    signed = _signed(market.ledger, market.provider, market.nonce, call)
    market.nonce += 1
    _sent(market.ledger, [signed.raw])
    _succeeded(market.ledger, signed.transaction_hash)
    receipt = market.ledger.receipt(signed.transaction_hash)
    assert receipt is not None
    return receipt.gas_used


def _send(
    ledger: Ledger, signer: Secp256k1Signer, calls: Sequence[tuple[str, str, list[Any]]]
) -> None:
    nonce = ledger.nonce(signer.address)
    signed = [
        _signed(ledger, signer, nonce + number, ledger.encode(contract, function, *arguments))
        for number, (contract, function, arguments) in enumerate(calls)
    ]
    _sent(ledger, [one.raw for one in signed])
    for one in signed:
        _succeeded(ledger, one.transaction_hash)


def _signed(ledger: Ledger, signer: Secp256k1Signer, nonce: int, call: tuple[str, bytes]) -> Any:
    address, data = call
    return sign_transaction(
        signer,
        chain_id=ledger.deployment.chain_id,
        nonce=nonce,
        to=address,
        data=data,
        gas=gas_for(data),
    )


def _sent(ledger: Ledger, raw: Sequence[bytes]) -> None:
    for answer in ledger.send(list(raw)):
        if not isinstance(answer, bytes):
            raise answer


def _succeeded(ledger: Ledger, transaction_hash: bytes) -> None:
    outbox.wait(lambda: ledger.receipt(transaction_hash) is not None)
    receipt = ledger.receipt(transaction_hash)
    if receipt is None or not receipt.succeeded:
        raise ValueError("the chain refused a call of the bench")


# --- Evidence -------------------------------------------------------------------------------------


def _evidence() -> tuple[float, float]:
    """Milliseconds to check what an arbiter gets of a contested call: both signatures, the sealed
    answer, and the receipt's commitment to it; and of two bare recoveries.
    """
    domain, key = Domain(7_421, "0x" + "33" * 20), Secp256k1Signer(new_private_key())
    request = example(UsageRequest)
    content, salt = {"record": {"column": "value" * 20}}, os.urandom(32)
    answer = dumps({"content": content, "salt": "0x" + salt.hex()})
    receipt = replace(
        example(UsageReceipt),
        request=request.struct_hash(),
        outcome=int(UsageOutcome.SERVED),
        response_commitment=commit_bytes(salt, RESPONSE_DOMAIN, dumps(content)),
    )
    contest = ContestKey.generate()
    receipt_id = receipt.struct_hash()
    sealed = seal(answer, contest.public, receipt_id=receipt_id)
    signatures = [key.sign(statement, domain) for statement in (request, receipt)]

    def check() -> None:
        for statement, signature in zip((request, receipt), signatures, strict=True):
            if recover(statement.digest(domain), signature) != key.address:
                raise ValueError("signature")
        opened = unseal(sealed, contest.private, receipt_id=receipt_id)
        committed = commit_bytes(salt, RESPONSE_DOMAIN, dumps(content))
        if opened != answer or committed != receipt.response_commitment:
            raise ValueError("answer")

    digest = keccak256(b"bench")
    bare = sign_digest(keccak256(b"key"), digest)
    return _milliseconds(check), 2 * _milliseconds(lambda: recover(digest, bare))


def _milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(EVIDENCE_ROUNDS):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1_000)
    return statistics.median(times)
