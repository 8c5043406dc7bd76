"""What a chief data officer signs, on the officer's own machine: made here and checked against what
the node shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.core import schema
from chain.core.canonical import dumps
from chain.core.errors import BadInput, QiaolianError
from chain.statements.assets import AssetRecord
from chain.statements.commitment import opens
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms
from registry.assets.rules import asset_id_of
from registry.grants.rules import SCOPE_DOMAIN
from registry.reasons import reason_code

DEADLINE_SECONDS = 3_600
"""How long a signature may take to reach the chain."""


def reviewed(described: Mapping[str, Any]) -> tuple[bytes, GrantTerms]:
    """The id and terms of a grant as the node describes it, once they are what the officer's
    signature would be attached to.

    Raises:
        BadInput: ``grant_differs`` when the terms are not those of the id or the columns not those
            of the scope's commitment; ``grant_malformed``.
    """
    try:
        grant_id, terms = (
            schema.hash32(described["grantId"]),
            GrantTerms.from_json(described["terms"]),
        )
        scope, salt = described["scope"], described["scopeSalt"]
        opened = scope is None or opens(
            terms.scope, salt=schema.salt(salt), domain=SCOPE_DOMAIN, record=scope
        )
    except (KeyError, TypeError, ValueError, QiaolianError) as error:
        raise BadInput(
            "grant_malformed", "The node does not describe the grant in the form expected."
        ) from error
    if terms.struct_hash() != grant_id or not opened:
        raise BadInput(
            "grant_differs",
            "What the node shows of the grant is not what its id commits to.",
            hint="Do not sign; ask who runs the node.",
        )
    return grant_id, terms


@dataclass(frozen=True)
class ReviewedAsset:
    """What an officer reads of the asset version that a grant is about."""

    name: str
    title_zh: str
    title_en: str
    grade: int


def reviewed_asset(described: Mapping[str, Any], terms: GrantTerms) -> ReviewedAsset | None:
    """The asset version of a grant as the owner's node describes it; None where the node shows
    none.

    Owner and name must make the asset id that is signed, and the titles must be in the metadata
    that the version's record commits to.

    Raises:
        BadInput: ``grant_differs``, ``grant_malformed``.
    """
    shown = described.get("asset")
    if shown is None:
        return None
    try:
        record, metadata = AssetRecord.from_json(shown["record"]), shown["metadata"]
        found = ReviewedAsset(record.name, metadata["titleZh"], metadata["titleEn"], record.grade)
        committed = hashlib.sha256(dumps(metadata)).digest() == record.metadata_hash
    except (KeyError, TypeError, ValueError, QiaolianError) as error:
        raise BadInput(
            "grant_malformed", "The node does not describe the grant's asset in the form expected."
        ) from error
    named = (
        record.holder == terms.owner and asset_id_of(record.holder, record.name) == terms.asset_id
    )
    if not (committed and named and record.asset_version == terms.asset_version):
        raise BadInput(
            "grant_differs",
            "The asset that the node shows is not the one the grant is about.",
            hint="Do not sign; ask who runs the node.",
        )
    return found


def decision_of(grant_id: bytes, *, approved: bool, reason: str, now: int) -> GrantDecision:
    """The decision to be signed; a refusal needs a reason (``reason_missing``,
    ``reason_malformed``).
    """
    if reason or not approved:
        reason = reason_code(reason)
    return GrantDecision(
        version=1,
        grant_id=grant_id,
        approved=approved,
        reason=reason,
        deadline=now + DEADLINE_SECONDS,
    )


def revocation_of(grant_id: bytes, *, reason: str, now: int) -> GrantRevocation:
    """The revocation to be signed: ``reason_missing``, ``reason_malformed``. It cannot be taken
    back, nor its reason changed.
    """
    return GrantRevocation(
        version=1, grant_id=grant_id, reason=reason_code(reason), deadline=now + DEADLINE_SECONDS
    )
