"""Deploy the network's contracts.

All creations are sent at once: a created contract's address follows from its sender and nonce, so a
constructor can be given the address of a contract that does not exist yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import contracts
from chain.core.errors import QiaolianError, Unavailable
from chain.ethereum import web3_client
from chain.ethereum.deployment import MIN_CLOSE_WINDOW, CloseWindow, Deployment
from chain.statements.members import Role

if TYPE_CHECKING:
    from eth_typing import ChecksumAddress
    from hexbytes import HexBytes
    from web3 import Web3

WAIT_SECONDS = 60.0
POLL_SECONDS = 0.1


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
        QiaolianError: ``deploy_failed`` when a constructor refuses.
        Unavailable: ``deploy_timeout`` when no block comes, ``chain_unreachable``.
    """
    say = progress or (lambda _sentence: None)
    client = web3_client.connect(rpc_url, timeout=30.0)
    with web3_client.chain_errors(rpc_url):
        chain_id, genesis = client.eth.chain_id, bytes(client.eth.get_block(0)["hash"])
        signed, addresses = _creations(client, private_key, governors, min_close_window)
        hashes = {name: _send(client, name, raw) for name, raw in signed.items()}
        heights = []
        for name, transaction_hash in hashes.items():
            heights.append(_wait(client, name, transaction_hash))
            say(f"{name} is at {addresses[name]}, block {heights[-1]}.")
    return Deployment(chain_id, genesis, addresses, min(heights), min_close_window)


def _creations(
    client: Web3,
    private_key: bytes,
    governors: Sequence[Governor],
    min_close_window: CloseWindow,
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Each contract's signed creation, and its address to be."""
    from eth_account import Account
    from web3.types import Nonce
    from web3.utils import get_create_address

    account = Account.from_key(private_key)
    nonce = client.eth.get_transaction_count(account.address, "pending")
    nonces = {name: Nonce(nonce + place) for place, name in enumerate(contracts.NAMES)}
    addresses = {
        name: get_create_address(account.address, number) for name, number in nonces.items()
    }
    signed: dict[str, bytes] = {}
    for name, number in nonces.items():
        artifact = contracts.artifact(name)
        contract = client.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        creation = contract.constructor(
            *_constructor_arguments(name, addresses, governors, min_close_window)
        )
        size = len(creation.data_in_transaction) // 2
        gas = 2_000_000 + 300 * size + 600_000 * (len(governors) if not signed else 0)
        fields = {"from": account.address, "nonce": number, "gas": gas, "gasPrice": 0, "value": 0}
        transaction = creation.build_transaction({**fields, "chainId": client.eth.chain_id})
        signed[name] = bytes(account.sign_transaction(transaction).raw_transaction)
    return signed, {name: address.lower() for name, address in addresses.items()}


def _constructor_arguments(
    name: str,
    addresses: Mapping[str, ChecksumAddress],
    governors: Sequence[Governor],
    min_close_window: CloseWindow,
) -> list[Any]:
    directory = addresses["MemberDirectory"]
    if name == "MemberDirectory":
        return [[_founder(governor) for governor in governors]]
    if name == "GrantRegistry":
        return [directory, addresses["AssetRegistry"]]
    if name == "TradeSettlement":
        window = min_close_window
        others = [addresses["GrantRegistry"], addresses["TradeDisputes"]]
        return [directory, *others, window.blocks, window.seconds]
    if name == "TradeDisputes":
        return [directory, addresses["TradeSettlement"]]
    return [directory]


def _founder(governor: Governor) -> tuple[bytes, str, int, ChecksumAddress, ChecksumAddress]:
    from web3 import Web3

    return (
        governor.member.encode("ascii"),
        governor.name,
        int(governor.roles),
        Web3.to_checksum_address(governor.admin_key),
        Web3.to_checksum_address(governor.transaction_key),
    )


def _send(client: Web3, name: str, raw: bytes) -> HexBytes:
    from web3.exceptions import Web3RPCError

    try:
        return client.eth.send_raw_transaction(raw)
    except Web3RPCError as refused:
        raise QiaolianError(
            "deploy_failed",
            f"The chain node refused to create {name}: {refused.message}",
            contract=name,
        ) from refused


def _wait(client: Web3, name: str, transaction_hash: HexBytes) -> int:
    """The height of the block that holds a creation."""
    from web3.exceptions import TimeExhausted

    try:
        receipt = client.eth.wait_for_transaction_receipt(
            transaction_hash, timeout=WAIT_SECONDS, poll_latency=POLL_SECONDS
        )
    except TimeExhausted as late:
        raise Unavailable(
            "deploy_timeout",
            f"{name} was in no block after {WAIT_SECONDS:.0f} s.",
            hint="Check that the validators make blocks.",
        ) from late
    if receipt["status"] != 1:
        raise QiaolianError(
            "deploy_failed",
            f"The constructor of {name} refused.",
            hint="Check the governors and the closing window given.",
            contract=name,
        )
    return int(receipt["blockNumber"])
