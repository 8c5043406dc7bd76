"""Whose signature it is: a signer's member, by the node's own proved view of the directory."""

from __future__ import annotations

from dataclasses import dataclass

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import Forbidden
from chain.ethereum.eip712 import Statement
from chain.ethereum.proved_records import ProvedRecords, StorageKey, key_record, member_record
from chain.statements.members import KeyPurpose


def signing_member(
    context: Context, statement: Statement, signature: bytes, *purposes: KeyPurpose
) -> str:
    """The member whose live key, of one of the purposes, signed; empty when it is nobody's.

    A suspended member's statements still count here; ``SignedStatement.require`` asks for an active
    one.
    """
    signer = recover(statement.digest(context.domain(statement.contract)), signature)
    record = context.view.proved([key_record(signer)]).key(signer)
    return record.member if record.live and record.purpose in purposes else ""


@dataclass(frozen=True)
class SignedStatement:
    """A statement that names a member as its signer; the chain's records show whether the key is
    its own.
    """

    name: str
    member: str
    signer: str
    """The address that signed."""

    @property
    def records(self) -> tuple[StorageKey, StorageKey]:
        """What is to be proved for ``require``."""
        return key_record(self.signer), member_record(self.member)

    def require(self, records: ProvedRecords, *purposes: KeyPurpose) -> None:
        """The key is a live one of the active member, for one of the purposes: ``wrong_signer``."""
        key = records.key(self.signer)
        if (
            not key.live
            or key.purpose not in purposes
            or key.member != self.member
            or not records.member(self.member).live
        ):
            raise Forbidden(
                "wrong_signer",
                f"The {self.name} is not signed with a live key of the member it should be by.",
            )

    def require_at(self, height: int, records: ProvedRecords, *purposes: KeyPurpose) -> None:
        """The same of a statement that the chain took from its active member in that block: the key
        was live then, whatever changed since.
        """
        key = records.key(self.signer)
        if key.member != self.member or key.purpose not in purposes or not key.live_at(height):
            raise Forbidden(
                "wrong_signer",
                f"The {self.name} is not signed with a key of the member it should be by that was "
                "live when the chain took it.",
            )


def signed_by(
    context: Context, member: str, statement: Statement, signature: bytes
) -> SignedStatement:
    """A statement with the address that its signature recovers to."""
    return SignedStatement(
        type(statement).__name__,
        member,
        recover(statement.digest(context.domain(statement.contract)), signature),
    )
