"""View models of the pages of grants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chain.context import Context
from chain.statements.grants import Operation
from nodes.console.i18n import N_
from nodes.console.names import asset_name, member_name, purpose_name, reason_name
from registry.grants.model import Grant, GrantDetail, GrantState

STATES: Mapping[GrantState, str] = {
    GrantState.SENT: N_("being sent to the chain"),
    GrantState.REQUESTED: N_("waits for a decision"),
    GrantState.APPROVED: N_("in force"),
    GrantState.REFUSED: N_("refused"),
    GrantState.REVOKED: N_("revoked"),
}

OPERATIONS: Mapping[Operation, str] = {
    Operation.VIEW: N_("view"),
    Operation.EXPORT: N_("export"),
    Operation.USE: N_("use"),
    Operation.COPY: N_("copy"),
    Operation.TRAIN: N_("train models"),
    Operation.COMPUTE: N_("compute"),
}


@dataclass(frozen=True, slots=True)
class GrantView:
    """A grant; heights in blocks, times in Unix seconds. ``state`` and ``operations`` are marked
    labels.
    """

    id: str
    given: bool
    """Whether this organisation owns the asset."""
    asset_id: str
    asset: str
    version: int
    other: str
    """The other side's name."""
    other_code: str
    purpose: str
    scene: str
    operations: list[str]
    columns: list[str] | None
    """None where this node has not received the scope."""
    not_before: int
    not_after: int
    max_uses: int
    state: str
    waits: bool
    """Whether it waits for this organisation's officer."""
    in_force: bool
    reason: str
    requested_at: int | None
    approved_at: int | None
    refused_at: int | None
    revoked_at: int | None


def grant_view(context: Context, grant: Grant, language: str) -> GrantView:
    """A grant as the pages show it."""
    terms = grant.terms
    given = terms.owner == context.member
    other = terms.grantee if given else terms.owner
    return GrantView(
        id="0x" + grant.grant_id.hex(),
        given=given,
        asset_id="0x" + terms.asset_id.hex(),
        asset=asset_name(context, terms.asset_id),
        version=terms.asset_version,
        other=member_name(context, other),
        other_code=other,
        purpose=purpose_name(terms.purpose, language),
        scene=terms.scene,
        operations=[label for bit, label in OPERATIONS.items() if terms.operations & bit],
        columns=None if grant.scope is None else list(grant.scope.columns),
        not_before=terms.not_before,
        not_after=terms.not_after,
        max_uses=terms.max_uses,
        state=STATES[grant.state],
        waits=given and grant.state is GrantState.REQUESTED,
        in_force=grant.state is GrantState.APPROVED,
        reason=reason_name(grant.reason, language),
        requested_at=grant.requested_at,
        approved_at=grant.approved_at,
        refused_at=grant.refused_at,
        revoked_at=grant.revoked_at,
    )


def signed_about(detail: GrantDetail, view: GrantView) -> dict[str, str]:
    """The labels and values that the signing panel shows of a grant."""
    title = view.asset
    if detail.asset is not None:
        described = detail.asset.metadata.description
        title = f"{described.title_zh} / {described.title_en} ({view.asset})"
    columns = "" if view.columns is None else "、".join(view.columns)
    return {
        N_("Asset"): f"{title} v{view.version}",
        N_("Who asks"): f"{view.other} ({view.other_code})",
        N_("Columns"): columns,
        N_("Purpose"): view.purpose,
        N_("Uses at most"): str(view.max_uses),
    }
