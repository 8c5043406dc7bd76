"""Records of the chain, proved under a fresh head: what a decision may rest on.

Rows made of events may be behind the chain; these are not, or there is no answer.

Every function raises ``Unavailable``: ``chain_view_stale``, ``chain_proof_refused`` or why the
chain cannot be read.
"""

from __future__ import annotations

from chain.context import Context
from chain.ethereum.ledger import version_key
from chain.ethereum.records import AssetStatus, DisputeRecord, GrantRecord, HoldRecord, MemberRecord


def member(context: Context, code: str) -> MemberRecord:
    """A member's admission, suspension, removal and roles."""
    return MemberRecord.decode(context.view.proved_value("MemberDirectory", "members", code).value)


def asset(context: Context, asset_id: bytes) -> AssetStatus:
    """An asset's registration, cancellation and latest version; all zero if there is none."""
    return AssetStatus.decode(context.view.proved_value("AssetRegistry", "assets", asset_id).value)


def hold(context: Context, asset_id: bytes) -> HoldRecord:
    """An asset's dispute hold."""
    return HoldRecord.decode(context.view.proved_value("AssetRegistry", "holds", asset_id).value)


def record_hash(context: Context, asset_id: bytes, version: int) -> bytes:
    """The struct hash of a version's ``AssetRecord``; zero if there is none."""
    return context.view.proved_value(
        "AssetRegistry", "versions", version_key(asset_id, version)
    ).value.to_bytes(32, "big")


def grant(context: Context, grant_id: bytes) -> GrantRecord:
    """A grant's request, decision and revocation."""
    return GrantRecord.decode(context.view.proved_value("GrantRegistry", "grants", grant_id).value)


def dispute(context: Context, dispute_id: bytes) -> DisputeRecord:
    """A dispute's raising and answer."""
    return DisputeRecord.decode(
        context.view.proved_value("CreditLedger", "disputes", dispute_id).value
    )
