"""The bundle of a grant's life, made at the owner's node: it holds the decision, and its log has
it.
"""

from __future__ import annotations

import asyncio

from chain.context import Context
from chain.core.errors import Conflict
from chain.ethereum.proved_records import version_key
from chain.ethereum.records import GrantRecord
from chain.statements.grants import GrantRevocation
from registry.assets.serving import own_version
from registry.exports import Exporter
from registry.grants import peers, service
from registry.grants.rules import SCOPE_DOMAIN


async def fetch(context: Context, grant_id: bytes) -> bytes:
    """The bundle, from this node if it is the owner's, else from the owner's."""
    grant = await asyncio.to_thread(service.find, context, grant_id)
    if grant.terms.owner == context.member:
        return await asyncio.to_thread(bundle, context, grant_id)
    return await peers.fetch_bundle(context, grant)


def bundle(context: Context, grant_id: bytes) -> bytes:
    """The bundle's bytes.

    Raises:
        NotFound: ``grant_unknown``; Conflict: ``grant_undecided``, ``entry_not_anchored`` while an
            anchor is still to come.
    """
    grant = service.own_grant(context, grant_id)
    terms, decision = grant.terms, grant.decision
    if decision is None or grant.decision_signature is None:
        raise Conflict(
            "grant_undecided", "The grant has no decision yet, so there is nothing to prove."
        )
    exporter = Exporter(context, profile="grant", subject={"grantId": "0x" + grant_id.hex()})
    exporter.add_struct(terms)
    own = own_version(context, terms.asset_id, terms.asset_version)
    if own is not None and own.record is not None:
        exporter.add_struct(own.record)
    exporter.add_storage_value(
        "AssetRegistry", "versions", version_key(terms.asset_id, terms.asset_version)
    )
    record = GrantRecord.decode(exporter.add_storage_value("GrantRegistry", "grants", grant_id))
    exporter.add_member_statement(decision, grant.decision_signature)
    exporter.add_log_entry(decision)
    revocation, signature = grant.revocation, grant.revocation_signature
    if revocation is not None and signature is not None and record.revoked_at:
        _add_revocation(exporter, revocation, signature)
    if grant.scope is not None:
        exporter.add_disclosure(
            terms.scope, salt=grant.scope.salt, domain=SCOPE_DOMAIN, record=grant.scope.record
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
