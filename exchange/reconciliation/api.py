"""Counts for the other party and the supervisor, and the supervisor's report."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from chain.context import Context
from chain.core.errors import Forbidden
from chain.ethereum.records import MemberRecord
from chain.statements.members import Role
from exchange.reconciliation import service
from registry.access import (
    Principal,
    get_context,
    hex_bytes,
    page_request,
    require_local,
    require_member,
)
from registry.pages import PageRequest

router = APIRouter(tags=["reconciliation"])
Readers = Depends(require_local("clerk", "auditor", "administrator", "system"))


@router.get(
    "/v1/peer/agreements/{agreement_id}/counters", summary="This node's counts of an agreement"
)
def counters(
    agreement_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    word = MemberRecord.decode(
        context.view.proved_value("MemberDirectory", "members", caller.member).value
    )
    return service.counters(
        context, hex_bytes(agreement_id), caller.member, supervisor=word.has_role(Role.SUPERVISOR)
    )


@router.get(
    "/v1/reconciliation",
    summary="Compare gateway, buyer and chain, agreement by agreement, the newest first (supervisor)",
)
async def report(
    state: str | None = None,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> dict[str, Any]:
    if not context.roles & Role.SUPERVISOR:
        raise Forbidden(
            "not_supervisor", "The report over everybody's agreements is the supervisor's."
        )
    return await service.report(context, page, state=state)


@router.get(
    "/v1/agreements/{agreement_id}/reconciliation",
    summary="Compare gateway, buyer and chain of one agreement",
)
async def one(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> dict[str, Any]:
    return service.shown(await service.reconcile(context, hex_bytes(agreement_id)))
