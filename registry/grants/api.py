"""Grants: request, decide, revoke, list."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.core.errors import Forbidden
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms
from registry.access import (
    Principal,
    field,
    get_context,
    hex_bytes,
    hex_field,
    page_request,
    require_local,
    require_member,
    strict_json,
)
from registry.grants import export, model, service
from registry.openapi import SALT, SIGNATURE, strict_body
from registry.pages import ListAnswer, PageRequest
from registry.schemas import BUNDLE, QueuedCall

router = APIRouter(tags=["grants"])


class RequestBody(BaseModel):
    """A request for a grant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "assetId": "0x" + "ab" * 32,
                "assetVersion": 1,
                "owner": "11440703QL000001XB",
                "operations": 4,
                "scene": "small-loan",
                "purpose": "credit-assessment",
                "columns": ["Seniority", "Job"],
                "notBefore": 1760000000,
                "notAfter": 1790000000,
                "maxUses": 10000,
            }
        },
    )
    assetId: str
    assetVersion: Annotated[int, Field(ge=1)] = 1
    owner: str
    operations: Annotated[int, Field(ge=0, le=63)]
    scene: str
    purpose: str
    columns: list[str]
    notBefore: int
    notAfter: int
    maxUses: int


class GrantRow(BaseModel):
    """A grant; the heights are those the chain gave it."""

    grantId: str
    state: str = Field(description="`sent`, `requested`, `approved`, `refused` or `revoked`")
    reason: str
    terms: dict[str, Any] = Field(description="`GrantTerms`; see docs/statements.md")
    scope: dict[str, Any] | None = Field(
        description="null where this node has not received the scope"
    )
    requestedAt: int | None
    approvedAt: int | None
    refusedAt: int | None
    revokedAt: int | None


class GrantList(ListAnswer):
    """A page of grants."""

    grants: list[GrantRow]


class RequestedGrant(BaseModel):
    """The grant's id, and the contract call that requests it."""

    grantId: str
    operation: str


class GrantDetail(GrantRow):
    """A grant with what its officer needs to decide."""

    scopeSalt: str | None
    asset: dict[str, Any] | None = Field(
        description="`record` and `metadata` where this node publishes the asset"
    )


class GrantName(BaseModel):
    """The grant's id."""

    grantId: str


class ScopeAnswer(BaseModel):
    """A grant's scope and the salt of its commitment."""

    scope: dict[str, Any]
    salt: str


def grant_row(grant: model.Grant) -> GrantRow:
    """A grant as the API shows it."""
    return GrantRow(
        grantId="0x" + grant.grant_id.hex(),
        state=grant.state,
        reason=grant.reason,
        terms=grant.terms.to_json(),
        scope=None if grant.scope is None else dict(grant.scope.record),
        requestedAt=grant.requested_at,
        approvedAt=grant.approved_at,
        refusedAt=grant.refused_at,
        revokedAt=grant.revoked_at,
    )


def grant_detail(detail: model.GrantDetail) -> GrantDetail:
    """A grant with what its officer needs, as the API shows it."""
    scope, asset = detail.grant.scope, detail.asset
    shown: dict[str, Any] | None = None
    if asset is not None and asset.record is not None:
        shown = {"record": asset.record.to_json(), "metadata": dict(asset.metadata.document)}
    return GrantDetail(
        **grant_row(detail.grant).model_dump(),
        scopeSalt=None if scope is None else "0x" + scope.salt.hex(),
        asset=shown,
    )


@router.post(
    "/v1/grants",
    status_code=202,
    summary="Request a grant from an asset's owner",
    response_model=RequestedGrant,
)
async def request(
    body: RequestBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> RequestedGrant:
    wanted = model.GrantRequest(
        asset_id=hex_bytes(body.assetId),
        asset_version=body.assetVersion,
        owner=body.owner,
        operations=body.operations,
        scene=body.scene,
        purpose=body.purpose,
        columns=body.columns,
        not_before=body.notBefore,
        not_after=body.notAfter,
        max_uses=body.maxUses,
    )
    made = await service.request(context, wanted, idempotency_key=idempotency_key)
    return RequestedGrant(grantId="0x" + made.grant_id.hex(), operation=made.operation)


@router.get(
    "/v1/grants", summary="Grants this node gave or got, the latest first", response_model=GrantList
)
def listing(
    state: str | None = None,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> GrantList:
    found = service.listing(context, page, state=state)
    return GrantList(grants=list(map(grant_row, found.rows)), next=found.next)


@router.get("/v1/grants/{grant_id}", summary="One grant", response_model=GrantDetail)
def describe(
    grant_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> GrantDetail:
    return grant_detail(service.describe(context, hex_bytes(grant_id)))


@router.post(
    "/v1/grants/{grant_id}/decision",
    status_code=202,
    summary="The chief data officer's signed decision",
    openapi_extra=strict_body(decision=GrantDecision, signature=SIGNATURE),
    response_model=QueuedCall,
)
async def decide(
    grant_id: str,
    request: Request,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("officer")),
) -> QueuedCall:
    body = await strict_json(request)
    decision = GrantDecision.from_json(field(body, "decision", dict))
    signature = hex_field(body, "signature", length=65)
    operation = await run_in_threadpool(
        service.decide, context, hex_bytes(grant_id), decision, signature
    )
    return QueuedCall(operation=operation)


@router.post(
    "/v1/grants/{grant_id}/revocation",
    status_code=202,
    summary="Take a grant back, at once",
    openapi_extra=strict_body(revocation=GrantRevocation, signature=SIGNATURE),
    response_model=QueuedCall,
)
async def revoke(
    grant_id: str,
    request: Request,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("officer")),
) -> QueuedCall:
    body = await strict_json(request)
    revocation = GrantRevocation.from_json(field(body, "revocation", dict))
    signature = hex_field(body, "signature", length=65)
    operation = await run_in_threadpool(
        service.revoke, context, hex_bytes(grant_id), revocation, signature
    )
    return QueuedCall(operation=operation)


@router.post(
    "/v1/peer/grants",
    status_code=201,
    summary="A grantee's node sends the scope it asks for",
    openapi_extra=strict_body(terms=GrantTerms, scope={"columns": ["Seniority", "Job"]}, salt=SALT),
    response_model=GrantName,
)
async def receive_request(
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> GrantName:
    body = await strict_json(request)
    terms = GrantTerms.from_json(field(body, "terms", dict))
    scope = model.DisclosedScope(field(body, "scope", dict), hex_field(body, "salt", length=32))
    await run_in_threadpool(service.receive_request, context, caller.member, terms, scope)
    return GrantName(grantId="0x" + terms.struct_hash().hex())


@router.get(
    "/v1/peer/grants/{grant_id}/scope",
    summary="A grant's scope, for the other side that lost it",
    response_model=ScopeAnswer,
)
def scope(
    grant_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> ScopeAnswer:
    found = service.scope_for(context, caller.member, hex_bytes(grant_id))
    return ScopeAnswer(scope=dict(found.record), salt="0x" + found.salt.hex())


@router.get(
    "/v1/grants/{grant_id}/bundle",
    summary="The grant's life as a bundle, to be verified offline",
    responses=BUNDLE,
)
async def bundle(
    grant_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> Response:
    return Response(await export.fetch(context, hex_bytes(grant_id)), media_type="application/json")


@router.get(
    "/v1/peer/grants/{grant_id}/bundle",
    summary="The grant's bundle, for its grantee and supervisors",
    responses=BUNDLE,
)
def peer_bundle(
    grant_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> Response:
    grant = service.own_grant(context, hex_bytes(grant_id))
    if caller.member != grant.terms.grantee and "supervisor" not in caller.roles:
        raise Forbidden("grant_of_others", "The grant is another's.")
    return Response(export.bundle(context, grant.grant_id), media_type="application/json")
