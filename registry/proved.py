"""Records of the chain, proved under a fresh head: what a decision may rest on.

Rows made of events may be behind the chain; these are not, or there is no answer.

Every function raises ``Unavailable``: ``chain_view_stale``, ``chain_proof_refused`` or why the chain cannot be read.
"""

from __future__ import annotations

from chain.context import Context
from chain.ledger import version_key
from chain.words import AssetWord, DisputeWord, GrantWord, HoldWord, MemberWord


def member(context: Context, code: str) -> MemberWord:
    """A member's admission, suspension, removal and roles."""
    return MemberWord.decode(context.view.word("MemberDirectory", "members", code).value)


def asset(context: Context, asset_id: bytes) -> AssetWord:
    """An asset's registration, cancellation and latest version; all zero if there is none."""
    return AssetWord.decode(context.view.word("AssetRegistry", "assets", asset_id).value)


def hold(context: Context, asset_id: bytes) -> HoldWord:
    """An asset's dispute hold."""
    return HoldWord.decode(context.view.word("AssetRegistry", "holds", asset_id).value)


def record_hash(context: Context, asset_id: bytes, version: int) -> bytes:
    """The struct hash of a version's ``AssetRecord``; zero if there is none."""
    return context.view.word("AssetRegistry", "versions", version_key(asset_id, version)).value.to_bytes(32, "big")


def grant(context: Context, grant_id: bytes) -> GrantWord:
    """A grant's request, decision and revocation."""
    return GrantWord.decode(context.view.word("GrantRegistry", "grants", grant_id).value)


def dispute(context: Context, dispute_id: bytes) -> DisputeWord:
    """A dispute's raising and answer."""
    return DisputeWord.decode(context.view.word("CreditLedger", "disputes", dispute_id).value)
