"""Records a real network's header and storage proofs into this folder: ``python
tests/data/kcn/record.py one|four``, and with ``receipts`` three of its blocks with their
receipts: contracts deployed, transactions of every Ethereum type that succeed and fail, and nothing;
of the last block also the transactions.

``round.json`` is a header as ``kaia_getBlockByNumber`` returned it for a block whose first proposer was
late; no command makes a proposer late. ``turns.json`` has twelve consecutive headers of four
validators, of which one was killed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils import to_checksum_address

from chain.core.crypto import address_of, new_private_key
from chain.engine.network import Network
from chain.ethereum.deploy import Governor, deploy
from chain.ethereum.deployment import Deployment
from chain.ethereum.finality import KaiaIbft
from chain.ethereum.ledger.abi import contract_abi  # noqa: F401  (fails early when the contracts are not compiled)
from chain.ethereum.rpc import Rpc
from chain.ethereum.storage_proofs import mapping_slot
from chain.statements.members import Role
from contracts import artifact

MEMBERS = ("11440703QL00000178", "11440703QL00000258", "11440703QL00000338")


def main(kind: str) -> None:
    from registry.uscc import with_check_character

    names = {"four": ["operator", "supervisor", "bank", "department"]}.get(kind, ["operator"])
    members = [with_check_character(member[:17]) for member in MEMBERS]
    with tempfile.TemporaryDirectory() as directory:
        network = Network.create(Path(directory) / "network", names)
        try:
            network.start()
            governors = [
                Governor(
                    member,
                    f"governor {n}",
                    Role.OPERATOR,
                    address_of(new_private_key()),
                    address_of(new_private_key()),
                )
                for n, member in enumerate(members)
            ]
            deployment = deploy(network.rpc_urls[0], new_private_key(), governors)
            rpc = Rpc(network.rpc_urls[:1])
            if kind == "receipts":
                _save(kind, _receipts(network, rpc, deployment))
                return
            height = int(rpc.call("eth_blockNumber"), 16)
            address = deployment.contracts["MemberDirectory"]
            base = artifact("MemberDirectory").storage["members"]
            known = mapping_slot(members[0].encode(), base)
            absent = mapping_slot(b"nobody", base)
            slots = ["0x" + key.hex() for key in (known, absent)]
            record = {
                "chainId": network.chain_id,
                "genesisHash": network.genesis_hash,
                "validators": network.addresses,
                "header": rpc.call("kaia_getBlockByNumber", hex(height), False),
                "contract": address,
                "member": members[0],
                "proof": rpc.call("eth_getProof", address, slots, hex(height)),
            }
            _save(kind, record)
        finally:
            network.destroy()


def _save(kind: str, record: dict[str, Any]) -> None:
    Path(__file__).with_name(f"{kind}.json").write_text(json.dumps(record, indent=1) + "\n")


def _receipts(network: Network, rpc: Rpc, deployment: Deployment) -> dict[str, Any]:
    deployed = deployment.deployed_at
    refused = {
        "chainId": network.chain_id,
        "nonce": 0,
        "gas": 200_000,
        "value": 0,
        "data": "0x12345678",
    }
    refused["to"] = to_checksum_address(deployment.contracts["MemberDirectory"])
    calls = [
        {**refused, "gasPrice": 0},
        {**refused, "gasPrice": 0, "accessList": [], "type": 1},
        {**refused, "maxFeePerGas": 0, "maxPriorityFeePerGas": 0, "type": 2},
        {**refused, "gasPrice": 0, "data": "0x", "to": "0x" + "11" * 20},
    ]
    signed = [Account.create().sign_transaction(call).raw_transaction for call in calls]
    sent = rpc.batch([("eth_sendRawTransaction", ("0x" + raw.hex(),)) for raw in signed])
    while (receipt := rpc.call("eth_getTransactionReceipt", sent[-1])) is None:
        time.sleep(0.1)
    height = int(receipt["blockNumber"], 16)
    return {
        "chainId": network.chain_id,
        "genesisHash": network.genesis_hash,
        "validators": network.addresses,
        "contracts": dict(deployment.contracts),
        "blocks": [_block(rpc, at) for at in (deployed - 1, deployed, height)],
        # Of the last block only: those that deploy are long.
        "transactions": rpc.batch(
            [KaiaIbft([]).transaction_request(height, index) for index in range(len(calls))]
        ),
    }


def _block(rpc: Rpc, height: int) -> dict[str, Any]:
    fields = ("status", "txError", "gasUsed", "logsBloom", "logs", "typeInt")
    receipts = rpc.call("kaia_getBlockReceipts", hex(height))
    return {
        "header": rpc.call("kaia_getBlockByNumber", hex(height), False),
        "receipts": [
            {name: receipt[name] for name in fields if name in receipt} for receipt in receipts
        ],
    }


if __name__ == "__main__":
    main(sys.argv[1])
