"""The bundle of a grant's life, made at the owner's node: it holds the decision, and its log has
it.
"""

from __future__ import annotations

import asyncio

from chain.context import Context
from chain.core.canonical import dumps
from chain.core.errors import Conflict
from chain.ethereum.proved_records import version_key
from chain.ethereum.records import GrantRecord
from chain.statements.assets import AssetRecord
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms
from registry.assets.serving import own_version
from registry.exports import Exporter
from registry.grants import service
from registry.grants.rules import SCOPE_DOMAIN


async def fetch(context: Context, grant_id: bytes) -> bytes:
    """The bundle, from this node if it is the owner's, else from the owner's."""
    row = await asyncio.to_thread(service.find, context, grant_id)
    if row.owner == context.member:
        return await asyncio.to_thread(bundle, context, grant_id)
    return dumps(await context.peers.get(row.owner, f"/v1/peer/grants/0x{grant_id.hex()}/bundle"))


def bundle(context: Context, grant_id: bytes) -> bytes:
    """The bundle's bytes.

    Raises:
        NotFound: ``grant_unknown``; Conflict: ``grant_undecided``, ``entry_not_anchored`` while an
            anchor is still to come.
    """
    row = service.own_grant(context, grant_id)
    terms = GrantTerms.from_json(row.terms)
    if row.decision is None or row.decision_signature is None:
        raise Conflict(
            "grant_undecided", "The grant has no decision yet, so there is no story to tell."
        )
    exporter = Exporter(context, story="grant", subject={"grantId": "0x" + grant_id.hex()})
    exporter.add_struct(terms)
    own = own_version(context, terms.asset_id, terms.asset_version)
    if own is not None:
        exporter.add_struct(AssetRecord.from_json(own.record))
    exporter.add_storage_value(
        "AssetRegistry", "versions", version_key(terms.asset_id, terms.asset_version)
    )
    word = GrantRecord.decode(exporter.add_storage_value("GrantRegistry", "grants", grant_id))
    decision = GrantDecision.from_json(row.decision)
    exporter.add_member_statement(decision, row.decision_signature)
    exporter.add_log_entry(decision)
    if row.revocation is not None and row.revocation_signature is not None and word.revoked_at:
        _add_revocation(
            exporter, GrantRevocation.from_json(row.revocation), row.revocation_signature
        )
    if row.scope is not None and row.scope_salt is not None:
        exporter.add_disclosure(
            terms.scope, salt=row.scope_salt, domain=SCOPE_DOMAIN, record=row.scope
        )
    return exporter.build()


def _add_revocation(exporter: Exporter, revocation: GrantRevocation, signature: bytes) -> None:
    """The owner's revocation, if it is the one that the chain took: an officer may have sent
    another past this node.
    """
    accepted = exporter.storage_value("GrantRegistry", "revocations", revocation.grant_id)
    if accepted == int.from_bytes(revocation.struct_hash(), "big"):
        exporter.add_storage_value("GrantRegistry", "revocations", revocation.grant_id)
        exporter.add_member_statement(revocation, signature)
        exporter.add_log_entry(revocation)
