"""Who is on the network, and how that changes.

A change of the directory is proposed at one governor's node and approved by governors'
administrators, each signing the exact call with a key the nodes do not hold. Nodes exchange
proposals and approvals; the proposer's node sends the action to the chain once two organisations
approved. An approval proves itself, so it may be handed in at any node that knows the proposal.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import keccak256, recover
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.eip712 import Statement
from chain.ethereum.proved_records import governor_record
from chain.ethereum.records import KeyRecord
from chain.outbox import Priority, enqueue, is_known
from chain.statements.members import Algorithm, Approval, ApprovalWithdrawal, KeyPurpose
from registry import fanout
from registry.evidence.log import append_statement
from registry.list_limits import MAX_ROWS
from registry.members.rules import APPROVALS, role_names, status
from registry.members.signing import call_data, reviewed
from registry.members.store import MemberKeyRow, MemberRow, ProposalRow
from registry.pages import Page, PageRequest, page_of

DEADLINE_SECONDS = 7 * 86_400
SHARE_SECONDS = 10.0
"""How long a governor's node may take to accept a proposal; it can be given by hand."""

# --- Directory ------------------------------------------------------------------------------------


def listing(context: Context, page: PageRequest) -> Page[dict[str, Any]]:
    """All members, by code; ``cursor_malformed``."""
    with context.database.read() as session:
        found = page_of(session, sa.select(MemberRow), (MemberRow.member,), page, ascending=True)
        return found.map(_listed)


def find(context: Context, member: str) -> dict[str, Any]:
    """One member with its keys, those in use first, then those that ended last, ``MAX_ROWS`` at
    most; ``member_unknown``.
    """
    query = sa.select(MemberKeyRow).where(MemberKeyRow.member == member)
    live_first = (MemberKeyRow.ended_at != 0, MemberKeyRow.ended_at.desc(), MemberKeyRow.purpose)
    with context.database.read() as session:
        row = session.get(MemberRow, member)
        keys = session.scalars(query.order_by(*live_first).limit(MAX_ROWS)).all()
    if row is None:
        raise _unknown_member()
    return {**_listed(row), "keys": [_key(key) for key in keys]}


def keys(context: Context, member: str, page: PageRequest) -> Page[dict[str, Any]]:
    """Every key a member ever had, by fingerprint; ``member_unknown``, ``cursor_malformed``."""
    query = sa.select(MemberKeyRow).where(MemberKeyRow.member == member)
    with context.database.read() as session:
        if session.get(MemberRow, member) is None:
            raise _unknown_member()
        order = (MemberKeyRow.fingerprint,)
        return page_of(session, query, order, page, ascending=True).map(_key)


def _unknown_member() -> NotFound:
    return NotFound(
        "member_unknown", "No such member was ever admitted.", hint="See GET /v1/members."
    )


def _key(key: MemberKeyRow) -> dict[str, Any]:
    known = key.algorithm in list(Algorithm)
    return {
        "fingerprint": "0x" + key.fingerprint.hex(),
        "purpose": KeyPurpose(key.purpose).name.lower(),
        "algorithm": Algorithm(key.algorithm).name.lower() if known else "other",
        "fromHeight": key.from_height,
        "endedAt": key.ended_at or None,
    }


# --- Proposals ------------------------------------------------------------------------------------


async def propose(
    context: Context, function: str, arguments: Mapping[str, Any], *, share_with: Sequence[str] = ()
) -> dict[str, Any]:
    """Draw up a directory action and hand it to other governors' nodes; the proposal as JSON.

    A governor's node that cannot be reached is named in ``notReached``; its administrator can be
    given the proposal by hand.

    Args:
        share_with: members; without any, every governor whose node this one knows.

    Raises:
        Unavailable: ``chain_view_stale`` when the governors cannot be read; nothing is stored then.
    """
    governors = share_with or await asyncio.to_thread(known_governors, context)
    row = ProposalRow(
        proposer=context.member,
        function=function,
        arguments=dict(arguments),
        call_data=call_data(function, arguments),
        nonce=str(secrets.randbits(128)),
        deadline=context.now() + DEADLINE_SECONDS,
        approvals={},
        withdrawals={},
        operation="",
        executed_at=0,
    )
    row.proposal_id = _approval(row).struct_hash()
    value = proposal_json(row)
    await context.database.awrite(lambda session: session.add(row))
    return {**value, "notReached": await _share(context, value, governors)}


def known_governors(context: Context) -> list[str]:
    """The governors, by the proved directory, among the members whose nodes this one knows."""
    records = context.view.proved(map(governor_record, context.witness_peers))
    return [member for member in context.witness_peers if records.value(governor_record(member))]


async def approve(context: Context, proposal_id: bytes, signature: bytes) -> dict[str, Any]:
    """Take a governor administrator's signature under a proposal; the proposal as JSON.

    The proposer's node queues the action when two organisations have approved; any other node
    passes the approval on to it.

    Raises:
        Forbidden: ``not_governor``; Conflict: ``proposal_over``, ``approval_withdrawn``; NotFound:
            ``proposal_unknown``.
    """
    row = await asyncio.to_thread(find_proposal, context, proposal_id)
    # Asked of the chain before the change, so that the database's writer never waits for it.
    member = await asyncio.to_thread(_signing_governor, context, _approval(row), signature)
    if member in row.withdrawals:
        raise Conflict(
            "approval_withdrawn",
            "This governor has withdrawn its approval.",
            hint="Propose the action again.",
        )
    value = await context.database.awrite(
        lambda session: _store_approval(context, session, proposal_id, member, signature)
    )
    missed = await _share(context, value, [row.proposer] if row.proposer != context.member else [])
    return {**value, "notReached": missed}


async def withdraw(context: Context, proposal_id: bytes, signature: bytes) -> dict[str, Any]:
    """Take a governor administrator's withdrawal of its approval, and send it to the chain; the
    proposal as JSON.

    It may be handed in before any approval, and at any node that knows the proposal. If the action
    is on its way, the one that the chain takes first counts.

    Raises:
        Forbidden: ``not_governor``; Conflict: ``proposal_executed``; NotFound:
            ``proposal_unknown``.
    """
    row = await asyncio.to_thread(find_proposal, context, proposal_id)
    member = await asyncio.to_thread(_signing_governor, context, _withdrawal(row), signature)

    def change(session: Session) -> dict[str, Any]:
        if session.get_one(ProposalRow, proposal_id).executed_at:
            raise Conflict(
                "proposal_executed",
                "The action was executed.",
                hint="Propose an action that undoes it.",
            )
        _send_withdrawal(context, session, row, member, signature)
        return _store_withdrawal(context, session, proposal_id, member, signature)

    value = await context.database.awrite(change)
    missed = await _share(context, value, [row.proposer] if row.proposer != context.member else [])
    return {**value, "notReached": missed}


def receive_proposal(context: Context, value: Mapping[str, Any]) -> dict[str, Any]:
    """Take a proposal with its approvals and withdrawals from another governor's node; checked as
    if drawn up here.
    """
    row = _read(value)
    withdrawals = [
        (_signing_governor(context, _withdrawal(row), signature), signature)
        for signature in _signatures(value, "withdrawals")
    ]
    approvals = [
        (_signing_governor(context, _approval(row), signature), signature)
        for signature in _signatures(value, "approvals")
    ]

    def change(session: Session) -> dict[str, Any]:
        known = session.get(ProposalRow, row.proposal_id)
        if known is None:
            session.add(row)
            session.flush()
        taken = proposal_json(known or row)
        for member, signature in withdrawals:
            taken = _store_withdrawal(context, session, row.proposal_id, member, signature)
        for member, signature in approvals:
            taken = _store_approval(context, session, row.proposal_id, member, signature)
        return taken

    return context.database.write(change)


def proposals(context: Context, page: PageRequest) -> Page[dict[str, Any]]:
    """Proposals this node knows, the last to end first; ``cursor_malformed``."""
    order = (ProposalRow.deadline, ProposalRow.proposal_id)
    with context.database.read() as session:
        return page_of(session, sa.select(ProposalRow), order, page).map(proposal_json)


def find_proposal(context: Context, proposal_id: bytes) -> ProposalRow:
    """A proposal; ``proposal_unknown``."""
    with context.database.read() as session:
        row = session.get(ProposalRow, proposal_id)
    if row is None:
        raise NotFound("proposal_unknown", "This node knows no such proposal.")
    return row


def proposal_json(row: ProposalRow) -> dict[str, Any]:
    """A proposal as nodes exchange it; ``approval`` is what each administrator signs under the
    directory's domain.
    """
    return {
        "proposalId": "0x" + row.proposal_id.hex(),
        "proposer": row.proposer,
        "function": row.function,
        "arguments": row.arguments,
        "callData": "0x" + row.call_data.hex(),
        "approval": _approval(row).to_json(),
        "approvals": dict(row.approvals),
        "withdrawals": dict(row.withdrawals),
        "operation": row.operation or None,
        "executedAt": row.executed_at or None,
    }


def _store_approval(
    context: Context, session: Session, proposal_id: bytes, member: str, signature: bytes
) -> dict[str, Any]:
    row = session.get_one(ProposalRow, proposal_id)
    if row.deadline < context.now():
        raise Conflict(
            "proposal_over", "The proposal's deadline has passed.", hint="Propose the action again."
        )
    if member not in row.approvals and member not in row.withdrawals:
        row.approvals = {**row.approvals, member: "0x" + signature.hex()}
        append_statement(
            session, _approval(row), context.domain("MemberDirectory"), at=context.now()
        )
    if len(row.approvals) >= APPROVALS and not row.operation and row.proposer == context.member:
        row.operation = f"governance/{proposal_id.hex()}"
        signatures = [
            bytes.fromhex(approval[2:]) for approval in list(row.approvals.values())[:APPROVALS]
        ]
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=row.operation,
            contract="MemberDirectory",
            function="execute",
            arguments=[row.call_data, int(row.nonce), row.deadline, signatures],
            priority=Priority.URGENT,
        )
    return proposal_json(row)


def _store_withdrawal(
    context: Context, session: Session, proposal_id: bytes, member: str, signature: bytes
) -> dict[str, Any]:
    row = session.get_one(ProposalRow, proposal_id)
    if member not in row.withdrawals:
        row.withdrawals = {**row.withdrawals, member: "0x" + signature.hex()}
        row.approvals = {
            approver: approval for approver, approval in row.approvals.items() if approver != member
        }
        append_statement(
            session, _withdrawal(row), context.domain("MemberDirectory"), at=context.now()
        )
    return proposal_json(row)


def _send_withdrawal(
    context: Context, session: Session, row: ProposalRow, member: str, signature: bytes
) -> None:
    """Queue the withdrawal once. The approval may be in hands that this node does not know, so it
    is sent whether or not it is known here.
    """
    operation = f"governance-withdrawal/{row.proposal_id.hex()}/{member}"
    if is_known(session, operation):
        return
    enqueue(
        session,
        sender=context.transaction_address,
        operation_id=operation,
        contract="MemberDirectory",
        function="withdrawApproval",
        arguments=[keccak256(row.call_data), int(row.nonce), row.deadline, signature],
        priority=Priority.URGENT,
    )


def _signing_governor(context: Context, statement: Statement, signature: bytes) -> str:
    """The governor whose live ADMIN key signed a statement; the contract asks the same again."""
    signer = recover(statement.digest(context.domain("MemberDirectory")), signature)
    proved = context.view.proved_value(
        "MemberDirectory", "keys", bytes.fromhex(signer[2:]).rjust(32, b"\0")
    )
    record = KeyRecord.decode(proved.value)
    governs = record.live and record.purpose == KeyPurpose.ADMIN
    if (
        not governs
        or not context.view.proved_value("MemberDirectory", "governor", record.member).value
    ):
        raise Forbidden(
            "not_governor", "It is not signed with a live administration key of a governor."
        )
    return record.member


def _read(value: Mapping[str, Any]) -> ProposalRow:
    data, approval = reviewed(value)
    if not isinstance(value.get("proposer"), str):
        raise BadInput("proposal_malformed", "A proposal names its proposer.")
    return ProposalRow(
        proposal_id=approval.struct_hash(),
        proposer=value["proposer"],
        function=value["function"],
        arguments=dict(value["arguments"]),
        call_data=data,
        nonce=str(approval.nonce),
        deadline=approval.deadline,
        approvals={},
        withdrawals={},
        operation="",
        executed_at=0,
    )


async def _share(context: Context, value: Mapping[str, Any], members: Sequence[str]) -> list[str]:
    async def share(member: str) -> None:
        await context.peers.post(member, "/v1/peer/governance/proposals", dict(value))

    others = [member for member in members if member != context.member]
    outcomes = await fanout.for_each(others, share, seconds=SHARE_SECONDS)
    return [member for member, outcome in outcomes.items() if outcome is not None]


def _approval(row: ProposalRow) -> Approval:
    return Approval(
        version=1, call_hash=keccak256(row.call_data), nonce=int(row.nonce), deadline=row.deadline
    )


def _withdrawal(row: ProposalRow) -> ApprovalWithdrawal:
    return ApprovalWithdrawal(
        version=1, call_hash=keccak256(row.call_data), nonce=int(row.nonce), deadline=row.deadline
    )


def _signatures(value: Mapping[str, Any], name: str) -> list[bytes]:
    given = value.get(name, {})
    if not isinstance(given, dict) or len(given) > 64:
        raise BadInput("proposal_malformed", f"A proposal's {name} are signatures by member.")
    return [_signature(signature) for signature in given.values()]


def _signature(value: Any) -> bytes:
    try:
        data = bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError):
        data = b""
    if len(data) != 65:
        raise BadInput(
            "proposal_malformed", "A signature in the proposal is not 65 bytes in 0x hexadecimal."
        )
    return data


def _listed(row: MemberRow) -> dict[str, Any]:
    heights = {
        "admitted_at": row.admitted_at,
        "suspended_at": row.suspended_at,
        "lifted_at": row.lifted_at,
        "removed_at": row.removed_at,
    }
    return {
        "member": row.member,
        "name": row.name,
        "roles": role_names(row.roles),
        "status": status(**heights),
        "admittedAt": row.admitted_at,
        "suspendedAt": row.suspended_at or None,
        "liftedAt": row.lifted_at or None,
        "removedAt": row.removed_at or None,
    }
