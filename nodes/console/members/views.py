"""View models of the pages of members and proposals. Heights in blocks, times in Unix seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from chain.context import Context
from chain.statements.members import KeyPurpose, Role
from nodes.console.i18n import N_
from nodes.console.names import member_name
from registry.members.model import Member, MemberKey, Proposal
from registry.members.signing import shown

ROLES: Mapping[Role, str] = {
    Role.OPERATOR: N_("operator"),
    Role.DEPARTMENT: N_("department"),
    Role.BANK: N_("bank"),
    Role.SUPERVISOR: N_("supervisor"),
    Role.SETTLEMENT_BANK: N_("settlement bank"),
    Role.AGENCY: N_("agency"),
    Role.SUBJECT: N_("subject"),
}
_STATUS = {"active": N_("active"), "suspended": N_("suspended"), "removed": N_("removed")}
_PURPOSES: Mapping[int, str] = {
    KeyPurpose.ADMIN: N_("administration"),
    KeyPurpose.APPROVAL: N_("the officer's approval"),
    KeyPurpose.TRANSACTION: N_("transactions"),
    KeyPurpose.STATEMENT: N_("statements"),
    KeyPurpose.TOKEN: N_("access tokens"),
    KeyPurpose.LOG: N_("log"),
    KeyPurpose.TLS: N_("connections (TLS)"),
}


@dataclass(frozen=True, slots=True)
class MemberView:
    """A member; ``roles`` and ``status`` are marked labels."""

    code: str
    name: str
    roles: list[str]
    status: str
    admitted_at: int
    suspended_at: int


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key of a member; ``ended_at`` is None while it is live."""

    fingerprint: str
    purpose: str
    algorithm: str
    from_height: int
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class ProposalView:
    """A change of the directory that governors approve."""

    id: str
    proposer: str
    function: str
    arguments: list[tuple[str, str]]
    deadline: int
    approvals: list[str]
    withdrawals: list[str]
    executed_at: int | None
    pending: bool


def member_view(member: Member) -> MemberView:
    """A member as the pages show it."""
    return MemberView(
        code=member.member,
        name=member.name,
        roles=[label for role, label in ROLES.items() if member.roles & role],
        status=_STATUS[member.status],
        admitted_at=member.admitted_at,
        suspended_at=member.suspended_at,
    )


def key_view(key: MemberKey) -> KeyView:
    """A key as the pages show it."""
    return KeyView(
        fingerprint="0x" + key.fingerprint.hex(),
        purpose=_PURPOSES.get(key.purpose, str(key.purpose)),
        algorithm=key.algorithm_name,
        from_height=key.from_height,
        ended_at=key.ended_at or None,
    )


def proposal_view(context: Context, proposal: Proposal) -> ProposalView:
    """A proposal as the pages show it."""
    return ProposalView(
        id="0x" + proposal.proposal_id.hex(),
        proposer=member_name(context, proposal.proposer),
        function=proposal.function,
        arguments=[
            (name, _text(context, name, value))
            for name, value in shown(proposal.function, proposal.arguments).items()
        ],
        deadline=proposal.deadline,
        approvals=[member_name(context, member) for member in proposal.approvals],
        withdrawals=[member_name(context, member) for member in proposal.withdrawals],
        executed_at=proposal.executed_at or None,
        pending=not proposal.executed_at and proposal.deadline > context.now(),
    )


def _text(context: Context, name: str, value: object) -> str:
    if name in ("provider", "buyer", "to") and isinstance(value, str):
        return f"{member_name(context, value)} ({value})"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
