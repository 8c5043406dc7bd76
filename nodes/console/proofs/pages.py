"""The page that every number links to: what proves it, and how to check that elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from nodes.console.access import get_context, record, require_person, require_reader
from nodes.console.accounts.model import Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.navigation import Entry
from nodes.console.proofs.views import (
    agreement_proof,
    asset_proof,
    deal_proof,
    entry_proof,
    grant_proof,
    member_proof,
)
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.members import service as members

router = APIRouter()
NAVIGATION: tuple[Entry, ...] = ()

_PROOFS = {
    "agreements": agreement_proof,
    "assets": asset_proof,
    "deals": deal_proof,
    "grants": grant_proof,
}
"""By the kind of a record of the chain; its id is 32 bytes."""


@router.get("/proofs/entries/{digest}")
def entry(
    request: Request, digest: str, visit: Annotated[Visit, Depends(require_reader)]
) -> Response:
    shown = entry_proof(get_context(request), hex_bytes(digest))
    record(request, visit, Act(ActKind.VIEW, "proof", digest))
    return render(request, "proofs/entry.html", shown=shown)


@router.get("/proofs/members/{member}")
def member(
    request: Request, member: str, visit: Annotated[Visit, Depends(require_person)]
) -> Response:
    members.find(get_context(request), member)
    shown = member_proof(get_context(request), member)
    record(request, visit, Act(ActKind.VIEW, "proof", member))
    return render(request, "proofs/record.html", shown=shown)


@router.get("/proofs/{kind}/{identifier}")
def chain_record(
    request: Request,
    kind: Literal["agreements", "assets", "deals", "grants"],
    identifier: str,
    visit: Annotated[Visit, Depends(require_reader)],
) -> Response:
    shown = _PROOFS[kind](get_context(request), hex_bytes(identifier))
    record(request, visit, Act(ActKind.VIEW, "proof", identifier))
    return render(request, "proofs/record.html", shown=shown)
