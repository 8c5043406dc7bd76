"""Members and the governance of the directory."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.statements.members import Approval
from registry.access import (
    Principal,
    get_context,
    hex_bytes,
    page_request,
    require_local,
    require_member,
    strict_json,
)
from registry.members import model, peers, service
from registry.openapi import SIGNATURE, strict_body
from registry.pages import ListAnswer, PageRequest

router = APIRouter(tags=["members"])
_PROPOSAL: dict[str, Any] = {
    "proposalId": "0x" + "11" * 32,
    "proposer": "11440700QL0000013F",
    "function": "suspend",
    "arguments": {"member": "11440703QL000001XB", "reason": "unpaid-penalty"},
    "callData": "0x00",
    "approval": Approval,
    "approvals": {"11440700QL0000013F": SIGNATURE},
    "withdrawals": {},
}
EVERYONE = ("clerk", "system", "officer", "auditor", "administrator")


class DirectoryProposalBody(BaseModel):
    """A directory action to be approved."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "function": "suspend",
                "arguments": {"member": "11440703QL000001XB", "reason": "unpaid-penalty"},
                "shareWith": ["11440700QL0000013F"],
            }
        },
    )
    function: str
    arguments: dict[str, Any]
    shareWith: list[str] = Field(
        [], description="Members that are handed it; else every governor whose node this one knows"
    )


class ApprovalBody(BaseModel):
    """An administrator's signature under the proposal's ``approval``, or under the
    ``ApprovalWithdrawal`` with the same fields.
    """

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"signature": "0x" + "11" * 64 + "1b"}}
    )
    signature: str


class MemberAnswer(BaseModel):
    """A member; heights in blocks."""

    member: str
    name: str
    roles: list[str]
    status: str
    admittedAt: int
    suspendedAt: int | None
    liftedAt: int | None
    removedAt: int | None


class MemberList(ListAnswer):
    """A page of members."""

    members: list[MemberAnswer]


class KeyRow(BaseModel):
    """A member's key; heights in blocks."""

    fingerprint: str
    purpose: str
    algorithm: str
    fromHeight: int
    endedAt: int | None = Field(description="null while it is live")


class KeyList(ListAnswer):
    """A page of keys."""

    keys: list[KeyRow]


class MemberWithKeys(MemberAnswer):
    """A member with its keys: those in use first, then those that ended last."""

    keys: list[KeyRow]


class ProposalAnswer(BaseModel):
    """A proposal as nodes exchange it."""

    proposalId: str
    proposer: str
    function: str
    arguments: dict[str, Any]
    callData: str
    approval: dict[str, Any] = Field(
        description="What administrators sign: `Approval` in docs/statements.md"
    )
    approvals: dict[str, str] = Field(description="Signature by governor")
    withdrawals: dict[str, str] = Field(description="Signature by governor")
    operation: str | None
    executedAt: int | None = Field(description="The block that executed it")


class ProposalList(ListAnswer):
    """A page of proposals."""

    proposals: list[ProposalAnswer]


class SharedProposal(ProposalAnswer):
    """A proposal, and the members whose nodes it did not reach."""

    notReached: list[str]


def member_answer(member: model.Member) -> MemberAnswer:
    """A member as the API shows it."""
    return MemberAnswer(
        member=member.member,
        name=member.name,
        roles=member.role_names,
        status=member.status,
        admittedAt=member.admitted_at,
        suspendedAt=member.suspended_at or None,
        liftedAt=member.lifted_at or None,
        removedAt=member.removed_at or None,
    )


def key_row(key: model.MemberKey) -> KeyRow:
    """A key as the API shows it."""
    return KeyRow(
        fingerprint="0x" + key.fingerprint.hex(),
        purpose=key.purpose_name,
        algorithm=key.algorithm_name,
        fromHeight=key.from_height,
        endedAt=key.ended_at or None,
    )


def proposal_answer(proposal: model.Proposal) -> ProposalAnswer:
    """A proposal as the API shows it: as nodes exchange it."""
    return ProposalAnswer(**proposal.to_json())


def shared_proposal(shared: model.SharedProposal) -> SharedProposal:
    """A proposal as the API answers to one who changed it."""
    return SharedProposal(**shared.proposal.to_json(), notReached=list(shared.not_reached))


@router.get("/v1/members", summary="All members of the network, by code", response_model=MemberList)
def listing(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*EVERYONE)),
) -> MemberList:
    found = service.listing(context, page)
    return MemberList(members=list(map(member_answer, found.rows)), next=found.next)


@router.get(
    "/v1/members/{member}/keys", summary="Every key a member ever had", response_model=KeyList
)
def keys(
    member: str,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*EVERYONE)),
) -> KeyList:
    found = service.keys(context, member, page)
    return KeyList(keys=list(map(key_row, found.rows)), next=found.next)


@router.get(
    "/v1/members/{member}",
    summary="One member with its keys, at most 200: those in use first, then those that ended last",
    response_model=MemberWithKeys,
)
def find(
    member: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*EVERYONE)),
) -> MemberWithKeys:
    found = service.find(context, member)
    return MemberWithKeys(
        **member_answer(found.member).model_dump(), keys=list(map(key_row, found.keys))
    )


@router.post(
    "/v1/governance/proposals",
    status_code=201,
    summary="Propose a change of the directory",
    response_model=SharedProposal,
)
async def propose(
    body: DirectoryProposalBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("administrator")),
) -> SharedProposal:
    return shared_proposal(
        await service.propose(context, body.function, body.arguments, share_with=body.shareWith)
    )


@router.get(
    "/v1/governance/proposals",
    summary="Proposals this node knows, the last to end first",
    response_model=ProposalList,
)
def proposals(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("administrator", "auditor")),
) -> ProposalList:
    found = service.proposals(context, page)
    return ProposalList(proposals=list(map(proposal_answer, found.rows)), next=found.next)


@router.get(
    "/v1/governance/proposals/{proposal_id}",
    summary="One proposal with its approvals",
    response_model=ProposalAnswer,
)
def proposal(
    proposal_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("administrator", "auditor")),
) -> ProposalAnswer:
    return proposal_answer(service.find_proposal(context, hex_bytes(proposal_id)))


@router.post(
    "/v1/governance/proposals/{proposal_id}/approvals",
    status_code=202,
    summary="Submit an approval",
    response_model=SharedProposal,
)
async def approve(
    proposal_id: str,
    body: ApprovalBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("administrator")),
) -> SharedProposal:
    signature = hex_bytes(body.signature, length=65)
    return shared_proposal(await service.approve(context, hex_bytes(proposal_id), signature))


@router.post(
    "/v1/governance/proposals/{proposal_id}/withdrawals",
    status_code=202,
    summary="Submit the withdrawal of an approval",
    response_model=SharedProposal,
)
async def withdraw(
    proposal_id: str,
    body: ApprovalBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("administrator")),
) -> SharedProposal:
    signature = hex_bytes(body.signature, length=65)
    return shared_proposal(await service.withdraw(context, hex_bytes(proposal_id), signature))


@router.post(
    "/v1/peer/governance/proposals",
    status_code=201,
    summary="Another governor's node sends a proposal",
    openapi_extra=strict_body(**_PROPOSAL),
    response_model=ProposalAnswer,
)
async def receive_proposal(
    request: Request,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_member),
) -> ProposalAnswer:
    received = peers.read_proposal(await strict_json(request))
    return proposal_answer(await run_in_threadpool(service.receive_proposal, context, received))
