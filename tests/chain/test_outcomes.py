"""How a transaction ended is proved by its block's transactions and receipts."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from chain.core.crypto import new_private_key
from chain.core.errors import QiaolianError
from chain.ethereum.finality import KaiaIbft, UnsealedForTestsOnly
from chain.ethereum.outcome_prover import OutcomeProver
from chain.ethereum.rpc import Rpc
from chain.ethereum.transactions import sign_transaction
from chain.keys.files import Secp256k1Signer

DATA = Path(__file__).parent.parent / "data" / "kcn"
STRANGER = "0x" + "5a" * 20


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """A block of ``kcn`` with transactions of each type, refused and not."""
    found: dict[str, Any] = json.loads((DATA / "receipts.json").read_text())
    return found | {"block": found["blocks"][-1]}


def answering(block: dict[str, Any], transactions: list[Any]) -> Callable[[Any], bytes]:
    """A chain node that has one block."""

    def result(method: str, parameters: list[Any]) -> Any:
        if method == "kaia_getRawTransactionByBlockNumberAndIndex":
            return transactions[int(parameters[1], 16)]
        return {
            "kaia_getBlockByNumber": block["header"],
            "kaia_getBlockReceipts": block["receipts"],
            "eth_chainId": "0x1",
            "eth_getBlockByNumber": {"hash": "0x" + "00" * 32},
        }[method]

    def answer(body: Any) -> bytes:
        calls = [body] if isinstance(body, dict) else body
        items = [
            {"id": call["id"], "result": result(call["method"], call["params"])} for call in calls
        ]
        return json.dumps(items[0] if isinstance(body, dict) else items).encode()

    return answer


def prover_of(recorded: dict[str, Any], *urls: str) -> OutcomeProver:
    return OutcomeProver(Rpc(urls), KaiaIbft(recorded["validators"]))


def test_outcomes_of_each_type_are_those_that_validators_sealed(
    recorded: dict[str, Any], serve: Callable[[Any], str]
) -> None:
    block = recorded["block"]
    prover = prover_of(recorded, serve(answering(block, recorded["transactions"])))
    found = prover.outcomes(int(block["header"]["number"], 16))
    assert ["0x" + tx_hash.hex() for tx_hash in found] == block["header"]["transactions"]
    assert list(found.values()) == [False, False, False, True]


def _changed(recorded: dict[str, Any]) -> list[tuple[dict[str, Any], list[Any], str]]:
    block, sent = recorded["block"], recorded["transactions"]
    swapped = deepcopy(block)
    swapped["receipts"] = [*block["receipts"][:2], *block["receipts"][:1:-1]]
    succeeded = deepcopy(block)
    succeeded["receipts"][0] = {**block["receipts"][0], "status": "0x1"}
    other = deepcopy(block)
    other["header"] = recorded["blocks"][0]["header"]
    refused = "chain_transactions_refused"
    return [
        (swapped, sent, "chain_receipts_refused"),
        (succeeded, sent, "chain_receipts_refused"),
        ({**block, "receipts": None}, sent, "chain_receipts_refused"),
        (other, sent, "chain_header_refused"),
        (block, sent[::-1], refused),
        (block, [*sent[:-1], sent[0]], refused),
        (block, [*sent[:-1], sent[-1] + "00"], refused),
        (block, [*sent[:-1], None], refused),
        (block, [*sent[:-1], "0xzz"], refused),
    ]


def test_nothing_of_a_block_can_be_changed_and_an_honest_node_is_asked_next(
    recorded: dict[str, Any], serve: Callable[[Any], str]
) -> None:
    height = int(recorded["block"]["header"]["number"], 16)
    honest = serve(answering(recorded["block"], recorded["transactions"]))
    for block, transactions, code in _changed(recorded):
        lying = serve(answering(block, transactions))
        with pytest.raises(QiaolianError) as caught:
            prover_of(recorded, lying).outcomes(height)
        assert caught.value.code == code
        assert len(prover_of(recorded, lying, honest).outcomes(height)) == len(transactions)


def test_blocks_of_all_sizes_are_proved(anvil: str) -> None:
    rpc, rule = Rpc([anvil]), UnsealedForTestsOnly()
    chain_id = int(rpc.call("eth_chainId"), 16)
    rpc.call("evm_setAutomine", False)
    for count in (0, 1, 17, 201):
        signed = [
            sign_transaction(
                Secp256k1Signer(new_private_key()),
                chain_id=chain_id,
                nonce=0,
                to=STRANGER,
                data=b"",
                gas=21_000,
            )
            for _ in range(count)
        ]
        rpc.batch([("eth_sendRawTransaction", ("0x" + made.raw.hex(),)) for made in signed])
        rpc.call("evm_mine")
        found = OutcomeProver(rpc, rule).outcomes(int(rpc.call("eth_blockNumber"), 16))
        assert found == {made.transaction_hash: True for made in signed}
