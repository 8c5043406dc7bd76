"""Deploy the network's contracts.

All creations are sent at once: a created contract's address follows from its sender and nonce, so a
constructor can be given the address of a contract that does not exist yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import contracts
from chain.core.errors import QiaolianError, Unavailable
from chain.ethereum.deployment import MIN_CLOSE_WINDOW, CloseWindow, Deployment
from chain.ethereum.ledger.abi import contract_abi
from chain.ethereum.rpc import Rpc, RpcRefused
from chain.ethereum.transactions import SignedTransaction, created_address, sign_transaction
from chain.keys.files import Secp256k1Signer
from chain.statements.members import Role

WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Governor:
    """One of the organisations whose approvals, two together, change the directory."""

    member: str
    name: str
    roles: Role
    admin_key: str
    """Address of its ADMIN key."""
    transaction_key: str
    """Address of its TRANSACTION key."""


def deploy(
    rpc_url: str,
    private_key: bytes,
    governors: Sequence[Governor],
    *,
    min_close_window: CloseWindow = MIN_CLOSE_WINDOW,
    progress: Callable[[str], None] | None = None,
) -> Deployment:
    """Deploy every contract of ``contracts.NAMES`` in order and wait until all are in blocks.

    Args:
        private_key: any account's; it needs no balance on a free-gas chain and keeps no power
            afterwards.
        governors: at least three.
        min_close_window: the shortest closing window that agreements may have on this network.
        progress: called with one sentence a contract.

    Raises:
        QiaolianError: ``deploy_failed`` when a constructor refuses; ``deploy_timeout`` when no
            block comes.
    """
    say = progress or (lambda _sentence: None)
    signer = Secp256k1Signer(private_key)
    rpc = Rpc([rpc_url], timeout=30.0)
    try:
        chain_id, genesis, nonce = rpc.batch(
            [
                ("eth_chainId", ()),
                ("eth_getBlockByNumber", ("0x0", False)),
                ("eth_getTransactionCount", (signer.address, "pending")),
            ]
        )
        signed, addresses = _creations(
            signer, int(chain_id, 16), int(nonce, 16), governors, min_close_window
        )
        for name, transaction in signed.items():
            _send(rpc, name, transaction)
        heights = []
        for name, transaction in signed.items():
            receipt = _wait(rpc, name, transaction.transaction_hash)
            heights.append(int(receipt["blockNumber"], 16))
            say(f"{name} is at {addresses[name]}, block {heights[-1]}.")
    finally:
        rpc.close()
    return Deployment(
        int(chain_id, 16),
        bytes.fromhex(genesis["hash"][2:]),
        addresses,
        min(heights),
        min_close_window,
    )


def _creations(
    signer: Secp256k1Signer,
    chain_id: int,
    nonce: int,
    governors: Sequence[Governor],
    min_close_window: CloseWindow,
) -> tuple[dict[str, SignedTransaction], dict[str, str]]:
    addresses = {
        name: created_address(signer.address, nonce + place)
        for place, name in enumerate(contracts.NAMES)
    }
    signed = {}
    for place, name in enumerate(addresses):
        arguments = _constructor_arguments(name, addresses, governors, min_close_window)
        data = contracts.artifact(name).bytecode + contract_abi(name).encode_constructor(arguments)
        gas = 2_000_000 + 300 * len(data) + 600_000 * (len(governors) if place == 0 else 0)
        signed[name] = sign_transaction(
            signer, chain_id=chain_id, nonce=nonce + place, to=None, data=data, gas=gas
        )
    return signed, addresses


def _constructor_arguments(
    name: str,
    addresses: dict[str, str],
    governors: Sequence[Governor],
    min_close_window: CloseWindow,
) -> list[Any]:
    directory = addresses["MemberDirectory"]
    if name == "MemberDirectory":
        entries = [
            (
                governor.member.encode("ascii"),
                governor.name,
                int(governor.roles),
                governor.admin_key,
                governor.transaction_key,
            )
            for governor in governors
        ]
        return [entries]
    if name == "GrantRegistry":
        return [directory, addresses["AssetRegistry"]]
    if name == "TradeSettlement":
        return [
            directory,
            addresses["GrantRegistry"],
            min_close_window.blocks,
            min_close_window.seconds,
        ]
    return [directory]


def _send(rpc: Rpc, name: str, transaction: SignedTransaction) -> None:
    try:
        rpc.call("eth_sendRawTransaction", "0x" + transaction.raw.hex())
    except RpcRefused as refused:
        raise QiaolianError(
            "deploy_failed",
            f"The chain node refused to create {name}: {refused.message}",
            contract=name,
        ) from refused


def _wait(rpc: Rpc, name: str, transaction_hash: bytes) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        receipt: dict[str, Any] | None = rpc.call(
            "eth_getTransactionReceipt", "0x" + transaction_hash.hex()
        )
        if receipt is not None:
            if int(receipt["status"], 16) != 1:
                raise QiaolianError(
                    "deploy_failed",
                    f"The constructor of {name} refused.",
                    hint="Check the governors and the closing window given.",
                    contract=name,
                )
            return receipt
        time.sleep(0.1)
    raise Unavailable(
        "deploy_timeout",
        f"{name} was in no block after {WAIT_SECONDS:.0f} s.",
        hint="Check that the validators make blocks.",
    )
