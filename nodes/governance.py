"""Changes of the member directory that two governors' administrators approve at one place.

Used where a network is founded; afterwards each change goes through the governors' nodes (`qiaolian
member`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import contracts
from chain.core.crypto import keccak256
from chain.core.errors import Unavailable
from chain.ethereum import web3_client
from chain.ethereum.ledger import Ledger
from chain.ethereum.transactions import gas_for
from chain.keys.files import Secp256k1Signer
from chain.statements.members import Approval, KeyPurpose
from nodes.initialise import Admission

if TYPE_CHECKING:
    from hexbytes import HexBytes
    from web3.types import TxParams, TxReceipt

APPROVAL_SECONDS = 3_600
WAIT_SECONDS = 60.0

Action = tuple[str, tuple[Any, ...]]
"""A MemberDirectory function and its arguments."""


class Governance:
    """Directory actions approved by two governors' ADMIN keys and sent by an account without any
    right of its own.
    """

    def __init__(self, ledger: Ledger, approvers: Sequence[Secp256k1Signer]) -> None:
        self._ledger = ledger
        self._approvers = approvers[:2]
        self._url = ledger.rpc.urls[0]
        self._client = web3_client.connect(self._url)
        self._sender = self._client.eth.account.create()
        self._directory = ledger.deployment.address("MemberDirectory")
        self._contract = self._client.eth.contract(
            self._client.to_checksum_address(self._directory),
            abi=contracts.artifact("MemberDirectory").abi,
        )

    def admit(self, admissions: Iterable[Admission]) -> list[bytes]:
        """Admit members with all their keys; the transactions' hashes."""
        return self.execute(
            [
                (
                    "admit",
                    (
                        admission.member,
                        admission.name,
                        int(admission.roles),
                        [key.to_contract() for key in admission.keys],
                    ),
                )
                for admission in admissions
            ]
        )

    def complete(self, admissions: Iterable[Admission]) -> list[bytes]:
        """Add the keys a founding governor was not deployed with."""
        deployed = (KeyPurpose.ADMIN, KeyPurpose.TRANSACTION)
        return self.execute(
            [
                ("addKey", (admission.member, key.to_contract()))
                for admission in admissions
                for key in admission.keys
                if key.purpose not in deployed
            ]
        )

    def execute(self, actions: Sequence[Action], *, seconds: float = WAIT_SECONDS) -> list[bytes]:
        """Have actions approved, send them together and wait until all are in blocks; their
        transactions' hashes.

        Raises:
            Reverted: the contract's refusal of the first action it refuses.
            Unavailable: ``governance_timeout``.
        """
        ledger, client, sender = self._ledger, self._client, self._sender
        nonce = ledger.nonce(sender.address)
        with web3_client.chain_errors(self._url):
            calls = [
                self._transaction(function, arguments, nonce + number)
                for number, (function, arguments) in enumerate(actions)
            ]
            signed = [bytes(sender.sign_transaction(call).raw_transaction) for call in calls]
            hashes = [client.eth.send_raw_transaction(raw) for raw in signed]
            receipts = [self._receipt(transaction_hash, seconds) for transaction_hash in hashes]
        for receipt, call in zip(receipts, calls, strict=True):
            if receipt["status"] != 1:
                data = bytes.fromhex(str(call["data"])[2:])
                height = int(receipt["blockNumber"])
                raise ledger.revert_reason(self._directory, data, sender.address, height)
        return [bytes(transaction_hash) for transaction_hash in hashes]

    def _transaction(self, function: str, arguments: tuple[Any, ...], nonce: int) -> TxParams:
        """``MemberDirectory.execute`` of one action, with the approvers' signatures."""
        from web3.types import Nonce, Wei

        _, call = self._ledger.encode("MemberDirectory", function, *arguments)
        number, deadline = secrets.randbits(128), int(time.time()) + APPROVAL_SECONDS
        approval = Approval(version=1, call_hash=keccak256(call), nonce=number, deadline=deadline)
        domain = self._ledger.deployment.domain("MemberDirectory")
        signatures = [approver.sign(approval, domain) for approver in self._approvers]
        data = self._contract.encode_abi("execute", [call, number, deadline, signatures])
        return {
            "to": self._contract.address,
            "data": data,
            "chainId": self._ledger.deployment.chain_id,
            "nonce": Nonce(nonce),
            "gas": gas_for(bytes.fromhex(data[2:])),
            "gasPrice": Wei(0),
            "value": Wei(0),
        }

    def _receipt(self, transaction_hash: HexBytes, seconds: float) -> TxReceipt:
        from web3.exceptions import TimeExhausted

        try:
            return self._client.eth.wait_for_transaction_receipt(transaction_hash, timeout=seconds)
        except TimeExhausted as late:
            raise Unavailable(
                "governance_timeout", "The directory's changes were in no block in time."
            ) from late
