"""Members, their keys and proposals of directory actions. Heights are in blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from chain.core.crypto import keccak256
from chain.statements.members import Algorithm, Approval, ApprovalWithdrawal, KeyPurpose
from registry.members.rules import role_names, status


@dataclass(frozen=True, slots=True)
class Member:
    """A member with the heights at which its status changed; 0 for what has not happened."""

    member: str
    name: str
    roles: int
    """Bits of ``Role``."""
    admitted_at: int
    suspended_at: int
    lifted_at: int
    removed_at: int

    @property
    def role_names(self) -> list[str]:
        """The roles' names, in the order of their bits."""
        return role_names(self.roles)

    @property
    def status(self) -> str:
        """``active``, ``suspended`` or ``removed``."""
        return status(
            admitted_at=self.admitted_at,
            suspended_at=self.suspended_at,
            lifted_at=self.lifted_at,
            removed_at=self.removed_at,
        )


@dataclass(frozen=True, slots=True)
class MemberKey:
    """A key of a member; ``ended_at`` is 0 while it is live."""

    fingerprint: bytes
    purpose: int
    """A value of ``KeyPurpose``."""
    algorithm: int
    """A value of ``Algorithm``, or one that this version does not know."""
    from_height: int
    ended_at: int

    @property
    def purpose_name(self) -> str:
        """The purpose's name."""
        return KeyPurpose(self.purpose).name.lower()

    @property
    def algorithm_name(self) -> str:
        """The algorithm's name, or ``other``."""
        known = self.algorithm in list(Algorithm)
        return Algorithm(self.algorithm).name.lower() if known else "other"


@dataclass(frozen=True, slots=True)
class MemberWithKeys:
    """A member with its keys: those in use first, then those that ended last."""

    member: Member
    keys: Sequence[MemberKey]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A directory action with the approvals and withdrawals that this node knows."""

    proposer: str
    function: str
    arguments: Mapping[str, Any]
    """The action's arguments in JSON, as ``rules.call_arguments`` takes them."""
    call_data: bytes
    nonce: int
    deadline: int
    """Unix seconds."""
    approvals: Mapping[str, bytes]
    """Signature by governor."""
    withdrawals: Mapping[str, bytes]
    """Signature by governor; an approval that was withdrawn does not count."""
    operation: str = ""
    """The outbox operation that executes the action, at the proposer's node."""
    executed_at: int = 0

    @property
    def proposal_id(self) -> bytes:
        """The struct hash of the approval."""
        return self.approval.struct_hash()

    @property
    def approval(self) -> Approval:
        """What an administrator signs to approve the action, under the directory's domain."""
        return Approval(1, keccak256(self.call_data), self.nonce, self.deadline)

    @property
    def withdrawal(self) -> ApprovalWithdrawal:
        """What an administrator signs to withdraw its approval."""
        return ApprovalWithdrawal(1, keccak256(self.call_data), self.nonce, self.deadline)

    def with_approval(self, member: str, signature: bytes) -> Self:
        """Return the proposal with a governor's approval."""
        return replace(self, approvals={**self.approvals, member: signature})

    def with_withdrawal(self, member: str, signature: bytes) -> Self:
        """Return the proposal with a governor's withdrawal and without its approval."""
        return replace(
            self,
            approvals={name: value for name, value in self.approvals.items() if name != member},
            withdrawals={**self.withdrawals, member: signature},
        )

    def to_json(self) -> dict[str, Any]:
        """The proposal as nodes exchange it."""
        return {
            "proposalId": "0x" + self.proposal_id.hex(),
            "proposer": self.proposer,
            "function": self.function,
            "arguments": dict(self.arguments),
            "callData": "0x" + self.call_data.hex(),
            "approval": self.approval.to_json(),
            "approvals": _in_hex(self.approvals),
            "withdrawals": _in_hex(self.withdrawals),
            "operation": self.operation or None,
            "executedAt": self.executed_at or None,
        }


@dataclass(frozen=True, slots=True)
class SharedProposal:
    """A proposal, and the members whose nodes it did not reach."""

    proposal: Proposal
    not_reached: Sequence[str]


def _in_hex(signatures: Mapping[str, bytes]) -> dict[str, str]:
    return {member: "0x" + signature.hex() for member, signature in signatures.items()}
