"""What the RPC proxy in front of a validator lets through, and what it stops."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chain.core.crypto import keccak256, new_private_key
from chain.core.errors import QiaolianError
from chain.core.loopback import free_ports
from chain.engine.proxy import MEMBER_SECONDS, Proxy
from chain.engine.proxy_rules import (
    MAX_BODY_BYTES,
    MAX_CALLS,
    MAX_SENDS,
    SENDS_PER_SECOND,
    Rate,
    read_request,
    read_transaction,
)
from chain.ethereum import rlp
from chain.ethereum.ledger import Ledger
from chain.ethereum.rpc import Rpc
from chain.ethereum.transactions import MAX_GAS, sign_transaction
from chain.keys.files import Secp256k1Signer
from tests.chain.conftest import Throwaway, throw_away

CHAIN = 440_700
TO = "0x" + "5e" * 20


def typed(
    kind: int,
    signer: Secp256k1Signer,
    *,
    chain_id: int = CHAIN,
    to: str = TO,
    gas: int = 100_000,
    value: int = 0,
) -> str:
    """A signed transaction of type 1 or 2, encoded by hand."""
    prices: list[rlp.Item] = [b""] * kind
    fields: list[rlp.Item] = [
        rlp.integer(chain_id),
        b"",
        *prices,
        rlp.integer(gas),
        bytes.fromhex(to[2:]),
        rlp.integer(value),
        b"data",
        [],
    ]
    signature = signer.sign_digest(keccak256(bytes([kind]) + rlp.encode(fields)))
    r, s = (rlp.integer(int.from_bytes(part, "big")) for part in (signature[:32], signature[32:64]))
    return (
        "0x" + (bytes([kind]) + rlp.encode([*fields, rlp.integer(signature[64] - 27), r, s])).hex()
    )


def legacy(
    signer: Secp256k1Signer,
    *,
    chain_id: int = CHAIN,
    to: str = TO,
    gas: int = 100_000,
    data: bytes = b"data",
    nonce: int = 0,
) -> str:
    return (
        "0x"
        + sign_transaction(
            signer, chain_id=chain_id, nonce=nonce, to=to, data=data, gas=gas
        ).raw.hex()
    )


# --- Rules ----------------------------------------------------------------------------------------


@pytest.fixture
def signer() -> Secp256k1Signer:
    return Secp256k1Signer(new_private_key())


def test_the_sender_of_each_ethereum_type_is_recovered(signer: Secp256k1Signer) -> None:
    for raw in (legacy(signer), typed(1, signer), typed(2, signer)):
        read = read_transaction(raw, chain_id=CHAIN)
        assert (read.sender, read.to, read.value, read.gas) == (signer.address, TO, 0, 100_000)


def test_other_types_other_chains_and_altered_bytes_are_refused(signer: Secp256k1Signer) -> None:
    whole = typed(2, signer)
    refused: dict[str, list[Any]] = {
        "transaction_type": [
            "0x20" + whole[4:],
            "0x7802" + whole[4:],
            "0x03" + whole[4:],
            "0x04" + whole[4:],
            "0x00",
            "0x31",
        ],
        "transaction_chain": [legacy(signer, chain_id=CHAIN + 1), typed(1, signer, chain_id=7)],
        "transaction_malformed": [
            None,
            "",
            "0x",
            "02c0",
            whole + "00",
            whole[:-2],
            "0xc0",
            "0x02c0",
            "0xzz",
            "0x 02",
            2,
            "0x" + "f9ffff" + "c1" * 65_535,
        ],
    }
    for code, values in refused.items():
        for value in values:
            with pytest.raises(QiaolianError) as caught:
                read_transaction(value, chain_id=CHAIN)
            assert caught.value.code == code, value
    unsigned = (
        "0x"
        + rlp.encode(
            [b"", b"", b"\1", bytes(20), b"", b"", rlp.integer(2 * CHAIN + 35), b"\1", b"\1"]
        ).hex()
    )
    assert read_transaction(unsigned, chain_id=CHAIN).sender != signer.address


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "request_malformed"),
        (b"[]", "request_malformed"),
        (b"[" * 100_000, "request_malformed"),
        (b'{"jsonrpc":"2.0","method":"eth_chainId"}', "request_malformed"),
        (b'{"jsonrpc":"2.0","id":null,"method":"eth_chainId"}', "request_malformed"),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","method":"governance_vote"}',
            "request_malformed",
        ),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","Method":"governance_vote"}',
            "request_malformed",
        ),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{}}', "request_malformed"),
        (b'[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},7]', "request_malformed"),
        (b"\xff", "request_malformed"),
        (
            json.dumps(
                [{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}] * (MAX_CALLS + 1)
            ).encode(),
            "batch_too_large",
        ),
        (
            json.dumps(
                [{"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction"}] * (MAX_SENDS + 1)
            ).encode(),
            "batch_too_large",
        ),
    ],
)
def test_a_request_that_two_readers_could_read_differently_is_refused(
    body: bytes, code: str
) -> None:
    with pytest.raises(QiaolianError) as caught:
        read_request(body)
    assert caught.value.code == code


def test_a_flood_of_one_sender_ends_and_leaves_others_alone() -> None:
    rate = Rate()
    for _ in range(MAX_SENDS):
        rate.take("a", 5.0)
    with pytest.raises(QiaolianError) as caught:
        rate.take("a", 5.0)
    assert caught.value.code == "rate_exceeded"
    rate.take("b", 5.0)
    rate.take("a", 5.0 + 1.5 / SENDS_PER_SECOND)
    with pytest.raises(QiaolianError):
        rate.take("a", 5.0 + 1.5 / SENDS_PER_SECOND)


# --- On a chain -----------------------------------------------------------------------------------


class Gate:
    """A proxy in front of a throw-away chain, with a clock that the test moves."""

    def __init__(self, chain: Throwaway) -> None:
        self.chain = chain
        self.time = 100.0
        self.proxy = Proxy(Rpc([chain.url]), chain.deployment, now=lambda: self.time)

    def post(self, content: bytes) -> Any:
        async def exchange() -> Any:
            transport = httpx.ASGITransport(app=self.proxy)
            async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
                return (await client.post("/", content=content)).json()

        return asyncio.run(exchange())

    def ask(self, *calls: tuple[str, list[Any]]) -> Any:
        return self.post(
            json.dumps(
                [
                    {"jsonrpc": "2.0", "id": n, "method": method, "params": params}
                    for n, (method, params) in enumerate(calls)
                ]
            ).encode()
        )

    def send(self, raw: str) -> str:
        """What becomes of a transaction: ``passed``, or the code of the refusal."""
        (answer,) = self.ask(("eth_sendRawTransaction", [raw]))
        return "passed" if "result" in answer else str(answer["error"]["data"])


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with throw_away(tmp_path_factory.mktemp("chain")) as chain:
        yield Gate(chain)


def test_members_calls_of_the_networks_contracts_pass_and_nothing_else_does(gate: Gate) -> None:
    chain, deployment = gate.chain, gate.chain.deployment
    member, stranger = chain.organisations[1].transaction, Secp256k1Signer(new_private_key())
    to, data = chain.ledger.encode("EvidenceLog", "anchor", 1, 5, bytes(32))
    ours: dict[str, Any] = {"chain_id": deployment.chain_id, "to": to}
    assert gate.send(legacy(stranger, **ours)) == "not_member_key"
    assert gate.send(legacy(chain.organisations[1].admin, **ours)) == "not_member_key"
    assert gate.send(legacy(member, **{**ours, "to": "0x"})) == "contract_creation"
    assert gate.send(legacy(member, **{**ours, "to": TO})) == "foreign_contract"
    assert gate.send(legacy(member, **ours, gas=MAX_GAS + 1)) == "gas_over_cap"
    assert gate.send(typed(2, member, **ours, value=1)) == "value_refused"
    assert gate.send("0x20" + typed(2, member, **ours)[4:]) == "transaction_type"
    assert chain.ledger.nonce(member.address) == 0
    assert gate.send(legacy(member, **ours, data=data, gas=1_000_000)) == "passed"


def test_an_ended_key_passes_no_longer_than_it_is_remembered(gate: Gate) -> None:
    chain = gate.chain
    member = chain.organisations[3].transaction
    to, data = chain.ledger.encode("EvidenceLog", "anchor", 1, 5, bytes(32))
    raw = legacy(member, chain_id=chain.deployment.chain_id, to=to, data=data, gas=1_000_000)
    assert gate.send(raw) == "passed"
    chain.execute(
        "endKey", bytes.fromhex(member.address[2:]).rjust(32, b"\0"), b"stolen".ljust(32, b"\0")
    )
    gate.time += MEMBER_SECONDS
    assert gate.send(raw) == "not_member_key"


@pytest.mark.parametrize(
    "method",
    [
        "governance_vote",
        "kaia_sendRawTransaction",
        "eth_sendTransaction",
        "admin_addPeer",
        "debug_traceTransaction",
        "anvil_mine",
        "txpool_content",
    ],
)
def test_other_methods_are_refused_also_inside_a_batch(gate: Gate, method: str) -> None:
    answers = gate.ask(("eth_chainId", []), (method, []), ("eth_blockNumber", []))
    assert [answer["id"] for answer in answers] == [0, 1, 2]
    assert ["result" in answer for answer in answers] == [True, False, True]
    assert answers[1]["error"]["data"] == "method_refused"


def test_a_body_beyond_the_bound_is_refused_and_a_single_call_is_answered_bare(gate: Gate) -> None:
    assert gate.post(b" " * (MAX_BODY_BYTES + 1))["error"]["data"] == "request_too_large"
    assert gate.post(b'{"jsonrpc":"2.0","id":"x","method":"eth_chainId"}') == {
        "jsonrpc": "2.0",
        "id": "x",
        "result": hex(gate.chain.deployment.chain_id),
    }
    refused = gate.post(b'{"jsonrpc":"2.0","id":2,"method":"eth_call","params":["nothing"]}')
    assert refused["error"]["code"] == -32_602


def test_a_node_works_through_the_command(gate: Gate, tmp_path: Path) -> None:
    chain = gate.chain
    chain.deployment.save(tmp_path / "deployment.json")
    (port,) = free_ports(1)
    command = [
        str(Path(sys.executable).with_name("qiaolian")),
        "network",
        "proxy",
        "--rpc",
        chain.url,
        "--listen",
        f"127.0.0.1:{port}",
    ]
    with subprocess.Popen(
        [*command, "--deployment", str(tmp_path / "deployment.json")], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert b"The proxy listens" in process.stdout.readline()
            ledger = Ledger(f"http://127.0.0.1:{port}", chain.deployment)
            deadline = time.monotonic() + 60
            while True:
                try:
                    height = ledger.height()
                    break
                except QiaolianError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            through = Throwaway(
                ledger.rpc.urls[0], chain.process, chain.deployment, ledger, chain.organisations
            )
            assert (
                through.send(chain.organisations[2], "EvidenceLog", "anchor", 1, 9, bytes(32))
                > height
            )
            ledger.close()
        finally:
            process.terminate()
            assert process.wait(30) in (0, -15)
