"""Receipts against what real validators sealed, a trie against another implementation's, and
headers proved by a link.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain.core.crypto import new_private_key
from chain.core.errors import Malformed
from chain.ethereum.finality import CheckedHeader, KaiaIbft, UnsealedForTestsOnly
from chain.ethereum.receipts import (
    bloom_bits,
    ethereum_receipt,
    indexed_root,
    kaia_receipt,
    may_have_logs,
)
from chain.ethereum.rpc import Rpc
from chain.ethereum.transactions import sign_transaction
from chain.ethereum.view import ChainView
from chain.keys.files import Secp256k1Signer
from tests.chain.conftest import Throwaway

DATA = Path(__file__).parent.parent / "data" / "kcn"
STRANGER = "0x" + "5a" * 20


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """Three blocks of ``kcn``: nothing; contracts deployed; transactions of each type, refused and
    not.
    """
    found: dict[str, Any] = json.loads((DATA / "receipts.json").read_text())
    return found


def header_of(recorded: dict[str, Any], block: dict[str, Any]) -> CheckedHeader:
    return KaiaIbft(recorded["validators"]).check(block["header"])


def root_of(receipts: list[dict[str, Any]]) -> bytes:
    return indexed_root([kaia_receipt(receipt).encoding for receipt in receipts])


# --- kcn ------------------------------------------------------------------------------------------


def test_recorded_receipts_have_the_root_that_validators_sealed(recorded: dict[str, Any]) -> None:
    found = [block["receipts"] for block in recorded["blocks"]]
    assert [len(receipts) for receipts in found] == [0, 7, 4]
    assert [receipt.get("txError") for receipt in found[2]] == ["0x9", "0x9", "0x9", None]
    for block in recorded["blocks"]:
        assert root_of(block["receipts"]) == header_of(recorded, block).receipts_root


def test_no_receipt_can_be_changed_left_out_doubled_or_moved(recorded: dict[str, Any]) -> None:
    for block in recorded["blocks"][1:]:
        receipts, root = block["receipts"], header_of(recorded, block).receipts_root
        forged = [receipts[1:], receipts[:-1], [*receipts, receipts[-1]], receipts[::-1]]
        for index, receipt in enumerate(receipts):
            changes: list[dict[str, Any]] = [
                {"status": "0x1" if receipt["status"] == "0x0" else "0x0", "txError": "0x8"},
                {"gasUsed": hex(int(receipt["gasUsed"], 16) + 1)},
                {"logsBloom": "0x" + "00" * 255 + "01"},
                {"logs": [*receipt["logs"], {"address": STRANGER, "topics": [], "data": "0x"}]},
            ]
            for number, log in enumerate(receipt["logs"]):
                for change in (
                    {"address": STRANGER},
                    {"topics": log["topics"][:-1]},
                    {"data": log["data"] + "00"},
                ):
                    logs = [
                        *receipt["logs"][:number],
                        {**log, **change},
                        *receipt["logs"][number + 1 :],
                    ]
                    changes.append({"logs": logs})
            forged += [
                [*receipts[:index], {**receipt, **change}, *receipts[index + 1 :]]
                for change in changes
            ]
        assert all(root_of(receipts) != root for receipts in forged)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": "0x1", "gasUsed": "0x1", "logsBloom": "0x", "logs": None},
        {"status": "0x1", "gasUsed": "-0x1", "logsBloom": "0x", "logs": []},
        {"status": "0x0", "gasUsed": "0x1", "logsBloom": "0x", "logs": []},
        {"status": 1, "gasUsed": "0x1", "logsBloom": "0x", "logs": []},
        {
            "status": "0x1",
            "gasUsed": "0x1",
            "logsBloom": "0x",
            "logs": [{"address": "0xzz", "topics": [], "data": "0x"}],
        },
        {"status": "0x1", "gasUsed": "0x1", "logsBloom": "0x", "logs": ["log"]},
        {"type": "0x100", "status": "0x1", "cumulativeGasUsed": "0x1", "logsBloom": 7, "logs": []},
    ],
)
def test_a_receipt_of_another_form_is_malformed(answer: dict[str, Any]) -> None:
    for read in (kaia_receipt, ethereum_receipt):
        with pytest.raises(Malformed) as caught:
            read(answer)
        assert caught.value.code == "receipt_malformed"


def test_a_bloom_proves_that_a_contract_logged_nothing(recorded: dict[str, Any]) -> None:
    idle, deployed, _ = (header_of(recorded, block).logs_bloom for block in recorded["blocks"])
    bits = {name: bloom_bits(address) for name, address in recorded["contracts"].items()}
    assert may_have_logs(deployed, [bits["MemberDirectory"]])
    assert not may_have_logs(deployed, [bloom_bits(STRANGER)])
    assert not may_have_logs(idle, bits.values())


# --- the trie, and Ethereum's receipts ------------------------------------------------------------


def test_tries_of_all_shapes_have_the_roots_of_another_implementation(anvil: str) -> None:
    rpc, rule = Rpc([anvil]), UnsealedForTestsOnly()
    chain_id = int(rpc.call("eth_chainId"), 16)
    rpc.call("evm_setAutomine", False)
    # The empty trie, one leaf, a branch, the second byte of an index, and its next sixteen.
    for count in (0, 1, 2, 17, 127, 128, 129, 290):
        signers = [Secp256k1Signer(new_private_key()) for _ in range(count)]
        fields = {"chain_id": chain_id, "nonce": 0, "to": STRANGER, "data": b"", "gas": 21_000}
        rpc.batch(
            [
                ("eth_sendRawTransaction", ("0x" + sign_transaction(signer, **fields).raw.hex(),))
                for signer in signers
            ]
        )
        rpc.call("evm_mine")
        header = rule.check(rpc.batch([rule.request(None)])[0])
        (receipts,) = rpc.batch([rule.receipts_request(header.height)])
        assert len(receipts) == count
        assert (
            indexed_root([rule.receipt(receipt).encoding for receipt in receipts])
            == header.receipts_root
        )


# --- a range of blocks ----------------------------------------------------------------------------


def view_of(throwaway: Throwaway) -> ChainView:
    view = ChainView(throwaway.url, throwaway.deployment, UnsealedForTestsOnly(), poll_seconds=0.05)
    view.start(wait_seconds=60)
    view.wait_for_height(throwaway.ledger.height(), 60)
    return view


def time_of(throwaway: Throwaway, height: int) -> int:
    return int(throwaway.rpc("eth_getBlockByNumber", hex(height), False)["timestamp"], 16)


def test_proved_logs_are_the_chain_s_events(
    throwaway: Throwaway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1, 2, 3):
        throwaway.send(
            throwaway.organisations[1], "EvidenceLog", "anchor", 1, size, bytes([size]) * 32
        )
    view, last = view_of(throwaway), throwaway.ledger.height()
    events = [
        replace(event, timestamp=time_of(throwaway, event.height))
        for event in throwaway.ledger.events(0, last)
    ]

    def proved(first: int) -> list[Any]:
        found = view.logs(first, last)
        later = proved(found.height + 1) if found.height < last else []
        return [
            *(event for block in found.blocks for event in throwaway.ledger.decode_logs(block)),
            *later,
        ]

    assert proved(0) == events
    monkeypatch.setattr("chain.ethereum.log_prover.MAX_LOGS", 1)
    assert proved(0) == events
    view.stop()


def test_headers_known_to_the_view_are_not_asked_for_again(throwaway: Throwaway) -> None:
    view = view_of(throwaway)
    height = throwaway.send(throwaway.organisations[1], "EvidenceLog", "anchor", 1, 1, b"\1" * 32)
    view.wait_for_height(height, 60)
    idle = int(throwaway.rpc("eth_blockNumber"), 16)
    throwaway.rpc("evm_mine")
    view.wait_for_height(idle + 1, 60)
    view.stop()
    asked: list[str] = []
    batch = view._rpc.batch
    view._rpc.batch = lambda calls: asked.extend(method for method, _ in calls) or batch(calls)  # type: ignore[method-assign]
    assert view.logs(idle + 1, idle + 1).blocks == ()
    assert asked == []
    (block,) = view.logs(height, height).blocks
    assert asked == ["eth_getBlockReceipts"]
    assert len(block.logs) == 1
