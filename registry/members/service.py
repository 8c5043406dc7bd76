"""Who is on the network, and how that changes.

A change of the directory is proposed at one governor's node and approved by governors'
administrators, each signing the exact call with a key the nodes do not hold. Nodes exchange
proposals and approvals; the proposer's node sends the action to the chain once two organisations
approved. An approval proves itself, so any node accepts it that knows the proposal.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import keccak256, recover
from chain.core.errors import Conflict, NotFound
from chain.ethereum.eip712 import Statement
from chain.ethereum.proved_records import ProvedRecords, governor_record, key_record
from chain.outbox import Priority, enqueue, is_known
from chain.statements.members import Role
from registry.evidence.log import append_statement
from registry.list_limits import MAX_ROWS
from registry.members import peers, store
from registry.members.model import Member, MemberKey, MemberWithKeys, Proposal, SharedProposal
from registry.members.rules import (
    APPROVALS,
    governor_of,
    governor_records,
    require_own_contract,
)
from registry.members.signing import call_data
from registry.pages import Page, PageRequest

DEADLINE_SECONDS = 7 * 86_400

# --- Directory ------------------------------------------------------------------------------------


def listing(context: Context, page: PageRequest) -> Page[Member]:
    """All members, by code; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.members_page(session, page)


def active(context: Context, role: Role) -> list[str]:
    """The codes of the active members that hold a role, as this node's lists have them."""
    with context.database.read() as session:
        members = store.not_removed(session)
    return [one.member for one in members if one.roles & role and one.status == "active"]


def codes(context: Context) -> list[str]:
    """The codes of all members that were ever admitted."""
    with context.database.read() as session:
        return store.codes(session)


def counts(context: Context) -> dict[str, int]:
    """How many members are ``active``, ``suspended`` and ``removed``."""
    with context.database.read() as session:
        return store.count_by_status(session)


def names(context: Context, wanted: Collection[str]) -> dict[str, str]:
    """The names of those of these members that this node knows, by code."""
    with context.database.read() as session:
        return store.names(session, wanted)


def name(context: Context, member: str) -> str | None:
    """A member's name; None where this node does not know the member."""
    return store.name_of(context.database, member)


def suspended(context: Context) -> list[Member]:
    """The members that are suspended, ``MAX_ROWS`` at most."""
    with context.database.read() as session:
        return store.suspended(session, limit=MAX_ROWS)


def find(context: Context, member: str) -> MemberWithKeys:
    """One member with its keys, those in use first, then those that ended last, ``MAX_ROWS`` at
    most; ``member_unknown``.
    """
    with context.database.read() as session:
        found = store.find_member(session, member)
    if found is None:
        raise _unknown_member()
    return found


def keys(context: Context, member: str, page: PageRequest) -> Page[MemberKey]:
    """Every key a member ever had, by fingerprint; ``member_unknown``, ``cursor_malformed``."""
    with context.database.read() as session:
        if not store.is_known_member(session, member):
            raise _unknown_member()
        return store.keys_page(session, member, page)


def _unknown_member() -> NotFound:
    return NotFound(
        "member_unknown", "No such member was ever admitted.", hint="See GET /v1/members."
    )


# --- Proposals ------------------------------------------------------------------------------------


async def propose(
    context: Context, function: str, arguments: Mapping[str, Any], *, share_with: Sequence[str] = ()
) -> SharedProposal:
    """Draw up a directory action and send it to other governors' nodes.

    A governor whose node is not reached can be sent the proposal by other means.

    Args:
        function: an action of ``rules.ACTIONS``.
        arguments: the action's arguments in JSON, as ``rules.call_arguments`` takes them.
        share_with: members; without any, every governor whose node this one knows.

    Raises:
        BadInput: ``other_contract`` and what ``call_arguments`` raises; Unavailable:
            ``chain_view_stale`` when the governors cannot be read. Nothing is stored then.
    """
    _require_own_contract(context, function, arguments)
    governors = share_with or await asyncio.to_thread(known_governors, context)
    proposal = Proposal(
        proposer=context.member,
        function=function,
        arguments=arguments,
        call_data=call_data(function, arguments),
        nonce=secrets.randbits(128),
        deadline=context.now() + DEADLINE_SECONDS,
        approvals={},
        withdrawals={},
    )
    await context.database.awrite(lambda session: store.save_proposal(session, proposal))
    return SharedProposal(proposal, await peers.share(context, proposal, governors))


def known_governors(context: Context) -> list[str]:
    """The governors, by the proved directory, among the members whose nodes this one knows."""
    records = context.view.proved(map(governor_record, context.witness_peers))
    return [member for member in context.witness_peers if records.governs(member)]


async def approve(context: Context, proposal_id: bytes, signature: bytes) -> SharedProposal:
    """Accept a governor administrator's signature of a proposal.

    The proposer's node queues the action when two organisations have approved; any other node
    passes the approval on to it.

    Raises:
        Forbidden: ``not_governor``; Conflict: ``proposal_over``, ``approval_withdrawn``; NotFound:
            ``proposal_unknown``.
    """
    proposal = await asyncio.to_thread(find_proposal, context, proposal_id)
    # Asked of the chain before the change, so that the database's writer never waits for it.
    member = await asyncio.to_thread(_signing_governor, context, proposal.approval, signature)
    if member in proposal.withdrawals:
        raise Conflict(
            "approval_withdrawn",
            "This governor has withdrawn its approval.",
            hint="Propose the action again.",
        )
    changed = await context.database.awrite(
        lambda session: _store_approval(context, session, proposal_id, member, signature)
    )
    return await _shared_with_proposer(context, changed)


async def withdraw(context: Context, proposal_id: bytes, signature: bytes) -> SharedProposal:
    """Accept a governor administrator's withdrawal of its approval, and send it to the chain.

    It may come before any approval, at any node that knows the proposal. If the action
    is on its way, the one that the chain takes first counts.

    Raises:
        Forbidden: ``not_governor``; Conflict: ``proposal_executed``; NotFound:
            ``proposal_unknown``.
    """
    proposal = await asyncio.to_thread(find_proposal, context, proposal_id)
    member = await asyncio.to_thread(_signing_governor, context, proposal.withdrawal, signature)

    def change(session: Session) -> Proposal:
        if _stored(session, proposal_id).executed_at:
            raise Conflict(
                "proposal_executed",
                "The action was executed.",
                hint="Propose an action that undoes it.",
            )
        _send_withdrawal(context, session, proposal, member, signature)
        return _store_withdrawal(context, session, proposal_id, member, signature)

    return await _shared_with_proposer(context, await context.database.awrite(change))


def receive_proposal(context: Context, received: Proposal) -> Proposal:
    """Accept a proposal with its approvals and withdrawals from another governor's node (see
    ``peers.read_proposal``); checked as if drawn up here.

    Raises:
        BadInput: ``other_contract``; Forbidden: ``not_governor``; Conflict: ``proposal_over``.
    """
    _require_own_contract(context, received.function, received.arguments)
    proposal_id = received.proposal_id
    signed_withdrawals = _signed(context, received.withdrawal, received.withdrawals.values())
    signed_approvals = _signed(context, received.approval, received.approvals.values())
    records = _proved_governors(context, [*signed_withdrawals, *signed_approvals])
    withdrawals, approvals = (
        [(governor_of(signer, records), signature) for signer, signature in signed.items()]
        for signed in (signed_withdrawals, signed_approvals)
    )

    def change(session: Session) -> Proposal:
        proposal = store.find_proposal(session, proposal_id)
        if proposal is None:
            proposal = replace(received, approvals={}, withdrawals={})
            store.save_proposal(session, proposal)
        for member, signature in withdrawals:
            proposal = _store_withdrawal(context, session, proposal_id, member, signature)
        for member, signature in approvals:
            proposal = _store_approval(context, session, proposal_id, member, signature)
        return proposal

    return context.database.write(change)


def _require_own_contract(context: Context, function: str, arguments: Mapping[str, Any]) -> None:
    """No node draws up, nor accepts, an action on a contract of another network."""
    require_own_contract(function, arguments, lambda name: context.domain(name).contract)


def proposals(context: Context, page: PageRequest) -> Page[Proposal]:
    """Proposals this node knows, the last to end first; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.proposals_page(session, page)


def find_proposal(context: Context, proposal_id: bytes) -> Proposal:
    """A proposal; ``proposal_unknown``."""
    with context.database.read() as session:
        return _stored(session, proposal_id)


def _stored(session: Session, proposal_id: bytes) -> Proposal:
    proposal = store.find_proposal(session, proposal_id)
    if proposal is None:
        raise NotFound("proposal_unknown", "This node knows no such proposal.")
    return proposal


def _store_approval(
    context: Context, session: Session, proposal_id: bytes, member: str, signature: bytes
) -> Proposal:
    proposal = _stored(session, proposal_id)
    if proposal.deadline < context.now():
        raise Conflict(
            "proposal_over", "The proposal's deadline has passed.", hint="Propose the action again."
        )
    if member not in proposal.approvals and member not in proposal.withdrawals:
        proposal = proposal.with_approval(member, signature)
        append_statement(
            session, proposal.approval, context.domain("MemberDirectory"), at=context.now()
        )
    own = proposal.proposer == context.member
    if own and len(proposal.approvals) >= APPROVALS and not proposal.operation:
        proposal = replace(proposal, operation=f"governance/{proposal_id.hex()}")
        signatures = list(proposal.approvals.values())[:APPROVALS]
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=proposal.operation,
            contract="MemberDirectory",
            function="execute",
            arguments=[proposal.call_data, proposal.nonce, proposal.deadline, signatures],
            priority=Priority.URGENT,
        )
    store.save_proposal(session, proposal)
    return proposal


def _store_withdrawal(
    context: Context, session: Session, proposal_id: bytes, member: str, signature: bytes
) -> Proposal:
    proposal = _stored(session, proposal_id)
    if member not in proposal.withdrawals:
        proposal = proposal.with_withdrawal(member, signature)
        append_statement(
            session, proposal.withdrawal, context.domain("MemberDirectory"), at=context.now()
        )
        store.save_proposal(session, proposal)
    return proposal


def _send_withdrawal(
    context: Context, session: Session, proposal: Proposal, member: str, signature: bytes
) -> None:
    """Queue the withdrawal once. Other nodes may hold the approval, so the withdrawal is sent
    whether or not this node knows it.
    """
    operation = f"governance-withdrawal/{proposal.proposal_id.hex()}/{member}"
    if is_known(session, operation):
        return
    enqueue(
        session,
        sender=context.transaction_address,
        operation_id=operation,
        contract="MemberDirectory",
        function="withdrawApproval",
        arguments=[keccak256(proposal.call_data), proposal.nonce, proposal.deadline, signature],
        priority=Priority.URGENT,
    )


def _signing_governor(context: Context, statement: Statement, signature: bytes) -> str:
    """The governor that signed a statement; ``not_governor``."""
    (signer,) = _signed(context, statement, [signature])
    return governor_of(signer, _proved_governors(context, [signer]))


def _signed(
    context: Context, statement: Statement, signatures: Iterable[bytes]
) -> dict[str, bytes]:
    """Signatures under a statement by the address that signed."""
    digest = statement.digest(context.domain("MemberDirectory"))
    return {recover(digest, signature): signature for signature in signatures}


def _proved_governors(context: Context, signers: Sequence[str]) -> ProvedRecords:
    """What ``governor_of`` asks of each signer, proved under one block."""
    return context.view.proved(
        map(key_record, signers), following=lambda records: governor_records(signers, records)
    )


async def _shared_with_proposer(context: Context, proposal: Proposal) -> SharedProposal:
    return SharedProposal(proposal, await peers.share(context, proposal, [proposal.proposer]))
