"""Organisations with their keys, and their admission by the governors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chain.core.crypto import keccak256, new_private_key
from chain.ethereum.deploy import Governor
from chain.ethereum.ledger import Ledger
from chain.ethereum.transactions import gas_for, sign_transaction
from chain.keys.files import Ed25519Signer, Secp256k1Signer
from chain.statements.members import Algorithm, Approval, KeyPurpose, Role
from tests.support.waiting import wait_for

DEADLINE = 2**40
PURPOSES = (
    KeyPurpose.ADMIN,
    KeyPurpose.APPROVAL,
    KeyPurpose.TRANSACTION,
    KeyPurpose.STATEMENT,
    KeyPurpose.TOKEN,
)


@dataclass(frozen=True)
class Organisation:
    """A member of a throw-away network with all its keys."""

    name: str
    member: str
    roles: Role
    signers: dict[KeyPurpose, Secp256k1Signer]
    log: Ed25519Signer

    @classmethod
    def make(cls, name: str, member: str, roles: Role) -> Organisation:
        signers = {purpose: Secp256k1Signer(new_private_key()) for purpose in PURPOSES}
        return cls(name, member, roles, signers, Ed25519Signer(new_private_key()))

    @property
    def officer(self) -> Secp256k1Signer:
        """The chief data officer's key."""
        return self.signers[KeyPurpose.APPROVAL]

    @property
    def transaction(self) -> Secp256k1Signer:
        return self.signers[KeyPurpose.TRANSACTION]

    def governor(self) -> Governor:
        """The organisation as one of the directory's founding governors."""
        return Governor(
            self.member,
            self.name,
            self.roles,
            self.signers[KeyPurpose.ADMIN].address,
            self.transaction.address,
        )

    def key_entries(self) -> list[tuple[bytes, int, int]]:
        """Its keys as the directory's contract takes them."""
        entries = [
            (signer.fingerprint, int(purpose), int(Algorithm.SECP256K1))
            for purpose, signer in self.signers.items()
        ]
        return [*entries, (self.log.fingerprint, int(KeyPurpose.LOG), int(Algorithm.ED25519))]


class Governance:
    """Directory actions that two governors approve; sent by an account without any right of its
    own.
    """

    def __init__(self, ledger: Ledger, governors: Sequence[Organisation]) -> None:
        self._ledger, self._governors, self._nonce = ledger, governors, 0

    def execute(self, function: str, *arguments: object) -> None:
        """Approve, send and wait until it is in a block. Raises the contract's refusal."""
        ledger, deployment = self._ledger, self._ledger.deployment
        self._nonce += 1
        _, data = ledger.encode("MemberDirectory", function, *arguments)
        approval = Approval(
            version=1, call_hash=keccak256(data), nonce=self._nonce, deadline=DEADLINE
        )
        digest = approval.digest(deployment.domain("MemberDirectory"))
        signatures = [
            governor.signers[KeyPurpose.ADMIN].sign_digest(digest)
            for governor in self._governors[:2]
        ]
        address, call = ledger.encode(
            "MemberDirectory", "execute", data, approval.nonce, DEADLINE, signatures
        )
        sender = Secp256k1Signer(new_private_key())
        ledger.simulate(address, call, sender=sender.address)
        signed = sign_transaction(
            sender, chain_id=deployment.chain_id, nonce=0, to=address, data=call, gas=gas_for(call)
        )
        (answer,) = ledger.send([signed.raw])
        assert isinstance(answer, bytes), answer
        assert wait_for(lambda: ledger.receipt(signed.transaction_hash), function).succeeded

    def admit(self, organisations: Iterable[Organisation], founders: Iterable[str]) -> None:
        """Admit all; a founder, whose administration and transaction keys are known, gets its other
        keys.
        """
        founding = set(founders)
        for organisation in organisations:
            if organisation.name not in founding:
                entries = organisation.key_entries()
                self.execute(
                    "admit",
                    organisation.member,
                    organisation.name,
                    int(organisation.roles),
                    entries,
                )
                continue
            for entry in organisation.key_entries():
                if entry[1] not in (KeyPurpose.ADMIN, KeyPurpose.TRANSACTION):
                    self.execute("addKey", organisation.member, entry)
