"""A throw-away chain with the real contracts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import web3

from chain.core.crypto import keccak256, new_private_key
from chain.ethereum import anvil
from chain.ethereum.deploy import Governor, deploy
from chain.ethereum.deployment import Deployment
from chain.ethereum.ledger import Ledger
from chain.ethereum.transactions import gas_for, sign_transaction
from chain.keys.files import Secp256k1Signer
from chain.statements.members import Approval, Role

# web3 is the reference in these tests; importing it raises the recursion limit of the whole process
# to 100,000 (py_ecc), with which deeply nested JSON ends the process instead of being refused. The
# programs import it by chain.ethereum.web3_client, which puts the limit back.
sys.setrecursionlimit(1000)
assert web3

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
ROLES = (
    Role.OPERATOR | Role.SUPERVISOR,
    Role.DEPARTMENT,
    Role.BANK,
    Role.SETTLEMENT_BANK,
)


def with_check_character(base: str) -> str:
    """GB 32100-2015, worked out again here."""
    total = sum(
        ALPHABET.index(character) * pow(3, position, 31) for position, character in enumerate(base)
    )
    return base + ALPHABET[-total % 31]


@dataclass
class Organisation:
    """A member of the throw-away network, with all its keys."""

    member: str
    admin: Secp256k1Signer
    transaction: Secp256k1Signer


@dataclass
class Throwaway:
    """An anvil process with the contracts deployed."""

    url: str
    process: subprocess.Popen[bytes]
    deployment: Deployment
    ledger: Ledger
    organisations: list[Organisation] = field(default_factory=list)
    nonce: int = 0

    def rpc(self, method: str, *parameters: Any) -> Any:
        return self.ledger.rpc.call(method, *parameters)

    def execute(self, function: str, *arguments: Any) -> None:
        """A directory action approved by the first two governors."""
        self.nonce += 1
        _, data = self.ledger.encode("MemberDirectory", function, *arguments)
        approval = Approval(version=1, call_hash=keccak256(data), nonce=self.nonce, deadline=2**40)
        digest = approval.digest(self.deployment.domain("MemberDirectory"))
        signatures = [
            organisation.admin.sign_digest(digest) for organisation in self.organisations[:2]
        ]
        self.send(
            self.organisations[0], "MemberDirectory", "execute", data, self.nonce, 2**40, signatures
        )

    def send(
        self, organisation: Organisation, contract: str, function: str, *arguments: Any
    ) -> int:
        """Send a call directly (not through the outbox); the height it is in. Raises the contract's
        refusal.
        """
        signer = organisation.transaction
        address, data = self.ledger.encode(contract, function, *arguments)
        self.ledger.simulate(address, data, sender=signer.address)
        signed = sign_transaction(
            signer,
            chain_id=self.deployment.chain_id,
            nonce=self.ledger.nonce(signer.address),
            to=address,
            data=data,
            gas=gas_for(data),
        )
        (answer,) = self.ledger.send([signed.raw])
        assert isinstance(answer, bytes), answer
        deadline = time.monotonic() + 60
        while (receipt := self.ledger.receipt(signed.transaction_hash)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert receipt.succeeded
        return receipt.height


@pytest.fixture
def throwaway(tmp_path: Path) -> Iterator[Throwaway]:
    """A chain of ``throw_away``."""
    with throw_away(tmp_path) as chain:
        yield chain


@contextmanager
def throw_away(directory: Path) -> Iterator[Throwaway]:
    """A fresh chain with every contract and four organisations, the first three of them governors."""
    url, process = anvil.start(directory / "anvil.log")
    try:
        organisations = [
            Organisation(
                with_check_character(f"11440700MB2C1A{index:03d}"),
                Secp256k1Signer(new_private_key()),
                Secp256k1Signer(new_private_key()),
            )
            for index in range(4)
        ]
        governors = [
            Governor(
                organisation.member,
                f"organisation {index}",
                roles,
                organisation.admin.address,
                organisation.transaction.address,
            )
            for index, (organisation, roles) in enumerate(zip(organisations, ROLES, strict=True))
        ]
        deployment = deploy(url, new_private_key(), governors)
        ledger = Ledger(url, deployment)
        yield Throwaway(url, process, deployment, ledger, organisations)
        ledger.close()
    finally:
        anvil.end(process)
