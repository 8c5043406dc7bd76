"""Requesting, deciding and revoking grants, and asking whether one allows a use.

The scope (which columns) goes between the two nodes; the chain has its salted commitment. Decisions
are signed by the chief data officer with a key the node does not hold. The owner's gateway stops
serving from the moment its own revocation is stored; everyone else's view follows the chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.proved_records import grant_record
from chain.outbox import Priority, enqueue, is_known, next_attempt
from chain.statements.commitment import commit
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms
from chain.statements.members import KeyPurpose
from registry.assets import peers as asset_peers
from registry.assets import serving
from registry.evidence.log import append_statement
from registry.grants import peers, store
from registry.grants.model import (
    DisclosedScope,
    Grant,
    GrantDetail,
    GrantRequest,
    GrantSide,
    GrantState,
    LoadedGrant,
    RequestedGrant,
)
from registry.grants.rules import (
    SCOPE_DOMAIN,
    already_decided,
    require_columns,
    require_decidable,
    require_scope,
    require_state,
    require_terms,
)
from registry.idempotency import KeyScope, bind, content_of, nonce_for
from registry.pages import Page, PageRequest
from registry.reasons import reason_code
from registry.signers import signed_by, signing_member

# --- Requests -------------------------------------------------------------------------------------


async def request(
    context: Context, grant_request: GrantRequest, *, idempotency_key: str | None = None
) -> RequestedGrant:
    """Ask an owner for a grant: the scope goes to its node, the request to the chain. The same
    request under the same key is one grant.

    Raises:
        BadInput: what ``require_terms`` raises; Forbidden: ``purpose_not_listed`` by the asset
            version; NotFound: ``asset_not_published``;
        Conflict: ``idempotency_key_reused``, ``metadata_differs``; Unavailable: the owner's node
            does not answer.
    """
    scope = DisclosedScope(
        {"columns": sorted(set(grant_request.columns))},
        nonce_for(context, "scope", idempotency_key),
    )
    require_columns(scope)
    terms = _terms(context, grant_request, scope, idempotency_key)
    require_terms(terms)
    purposes = await asset_peers.published_purposes(
        context, terms.owner, terms.asset_id, terms.asset_version
    )
    purposes.require(terms.purpose)
    if idempotency_key is not None:
        content = content_of(grant_request) | dict(scope.record)
        await context.database.awrite(
            lambda session: bind(
                session, KeyScope.GRANT, idempotency_key, content, now=context.now()
            )
        )
    await peers.send_request(context, terms, scope)
    operation = f"grant-request/{terms.struct_hash().hex()}"

    def change(session: Session) -> None:
        store.add_grant(session, terms, scope)
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=operation,
            contract="GrantRegistry",
            function="request",
            arguments=[terms],
        )

    await context.database.awrite(change)
    return RequestedGrant(terms.struct_hash(), operation)


def _terms(
    context: Context,
    grant_request: GrantRequest,
    scope: DisclosedScope,
    idempotency_key: str | None,
) -> GrantTerms:
    return GrantTerms(
        version=1,
        asset_id=grant_request.asset_id,
        asset_version=grant_request.asset_version,
        owner=grant_request.owner,
        grantee=context.member,
        operations=grant_request.operations,
        scene=grant_request.scene,
        purpose=grant_request.purpose,
        scope=commit(scope.salt, SCOPE_DOMAIN, dict(scope.record)),
        not_before=grant_request.not_before,
        not_after=grant_request.not_after,
        max_uses=grant_request.max_uses,
        nonce=nonce_for(context, "grant", idempotency_key),
    )


def receive_request(
    context: Context, grantee: str, terms: GrantTerms, scope: DisclosedScope
) -> None:
    """Store a grantee's scope at the owner's node; it has no effect before the request.

    Raises:
        BadInput: what ``require_terms`` raises, ``scope_differs``, ``scope_malformed``; Forbidden:
            ``grant_of_others``, ``purpose_not_listed``; NotFound: ``asset_not_published``.
    """
    require_terms(terms)
    if terms.owner != context.member or terms.grantee != grantee:
        raise Forbidden("grant_of_others", "The request is not from this grantee to this owner.")
    _require_listed(context, terms)
    require_scope(terms, scope)

    def change(session: Session) -> None:
        store.add_grant(session, terms, scope)
        store.set_scope(session, terms.struct_hash(), scope)

    context.database.write(change)


def _require_listed(context: Context, terms: GrantTerms) -> None:
    """The asset version is published here and lists the purpose: ``asset_not_published``,
    ``purpose_not_listed``.
    """
    own = serving.own_published(context, terms.asset_id, terms.asset_version)
    own.metadata.purposes.require(terms.purpose)


def scope_for(context: Context, caller: str, grant_id: bytes) -> DisclosedScope:
    """A grant's scope with its salt, for the side that lost it; ``grant_of_others``,
    ``scope_missing``.
    """
    grant = find(context, grant_id)
    if caller not in (grant.terms.owner, grant.terms.grantee):
        raise Forbidden("grant_of_others", "The grant is another's.")
    if grant.scope is None:
        raise NotFound("scope_missing", "This node does not hold the grant's scope.")
    return grant.scope


async def recover_scope(context: Context, grant_id: bytes) -> None:
    """Ask a grant's other side for the scope where this database holds the terms alone, as after an
    old backup.

    Raises:
        BadInput: ``scope_differs``, ``scope_malformed``; NotFound: ``grant_unknown``,
            ``scope_missing``; Unavailable: when it cannot be asked.
    """
    grant = await asyncio.to_thread(find, context, grant_id)
    if grant.scope is not None:
        return
    scope = await peers.fetch_scope(context, grant)
    require_scope(grant.terms, scope)
    await context.database.awrite(lambda session: store.set_scope(session, grant_id, scope))


# --- Decisions ------------------------------------------------------------------------------------


def decide(context: Context, grant_id: bytes, decision: GrantDecision, signature: bytes) -> str:
    """Take the chief data officer's signed decision to the chain; the outbox operation.

    Raises:
        Conflict: ``unknown_grant``, ``scope_not_received``, ``already_decided``; Forbidden:
            ``wrong_signer``, ``purpose_not_listed``;
        BadInput: ``other_grant``; NotFound: ``asset_not_published``; Unavailable:
            ``chain_view_stale``.
    """
    grant = own_grant(context, grant_id)
    signed = signed_by(context, context.member, decision, signature)
    records = context.view.proved([*signed.records, grant_record(grant_id)])
    signed.require(records, KeyPurpose.APPROVAL)
    require_decidable(records.grant(grant_id), repeated=grant.decision == decision)
    if decision.grant_id != grant_id:
        raise BadInput("other_grant", "The decision is about another grant.")
    if not decision.approved:
        reason_code(decision.reason)
    if grant.scope is None and decision.approved:
        raise Conflict(
            "scope_not_received",
            "The grantee has not sent the scope; without it the grant cannot be reviewed.",
        )
    if decision.approved:
        _require_listed(context, grant.terms)
    operation = f"grant-decision/{decision.struct_hash().hex()}"

    def change(session: Session) -> str:
        _require_undecided(session, decision)
        sent = next_attempt(session, operation)
        if is_known(session, sent):
            return sent
        store.set_decision(session, decision, signature)
        append_statement(session, decision, context.domain("GrantRegistry"), at=context.now())
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=sent,
            contract="GrantRegistry",
            function="decide",
            arguments=[grant.terms, decision, signature],
        )
        return sent

    return context.database.write(change)


def _require_undecided(session: Session, decision: GrantDecision) -> None:
    """A grant is decided once; a decision the chain refused (its deadline had passed) may be
    replaced.
    """
    before = _stored(session, decision.grant_id).decision
    if before is None or before == decision:
        return
    if is_known(session, next_attempt(session, f"grant-decision/{before.struct_hash().hex()}")):
        raise already_decided()


def revoke(context: Context, grant_id: bytes, revocation: GrantRevocation, signature: bytes) -> str:
    """Stop a grant here at once and on the chain with the next block; the outbox operation.

    Raises:
        Forbidden: ``grant_of_others``, ``wrong_signer``; BadInput: ``other_grant``,
            ``reason_missing``, ``reason_malformed``; NotFound: ``grant_unknown``; Unavailable:
            ``chain_view_stale``.
    """
    terms = own_grant(context, grant_id).terms
    if revocation.grant_id != grant_id:
        raise BadInput("other_grant", "The revocation is about another grant.")
    reason_code(revocation.reason)
    _require_may_revoke(context, revocation, signature)
    operation = f"grant-revocation/{revocation.struct_hash().hex()}"

    def change(session: Session) -> str:
        sent = next_attempt(session, operation)
        if _stored(session, grant_id).revoked_at or is_known(session, sent):
            return sent
        store.set_revocation(session, revocation, signature)
        append_statement(session, revocation, context.domain("GrantRegistry"), at=context.now())
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=sent,
            contract="GrantRegistry",
            function="revoke",
            arguments=[terms, revocation, signature],
            priority=Priority.URGENT,
        )
        return sent

    return context.database.write(change)


def _require_may_revoke(context: Context, revocation: GrantRevocation, signature: bytes) -> None:
    """A suspended owner may still revoke, so only the key is asked for."""
    signer = signing_member(
        context, revocation, signature, KeyPurpose.APPROVAL, KeyPurpose.STATEMENT
    )
    if signer != context.member:
        raise Forbidden(
            "wrong_signer", "The revocation is not signed with a live key of this organisation."
        )


# --- Grants of this node --------------------------------------------------------------------------


def load(context: Context, grant_id: bytes) -> LoadedGrant:
    """A grant with its scope; ``grant_unknown`` if this node has none such."""
    grant = find(context, grant_id)
    columns = () if grant.scope is None else grant.scope.columns
    return LoadedGrant(grant_id, grant.terms, columns)


def stopped_grants(context: Context) -> set[bytes]:
    """Grants the owner has stopped, whether the chain has it yet or not."""
    return store.stopped_grants(context.database)


async def astopped_grants(context: Context) -> set[bytes]:
    """``stopped_grants`` for coroutines."""
    return await store.astopped_grants(context.database)


def find(context: Context, grant_id: bytes) -> Grant:
    """A grant this node gave or got; ``grant_unknown``."""
    with context.database.read() as session:
        return _stored(session, grant_id)


def find_all(context: Context, grant_ids: Collection[bytes]) -> dict[bytes, Grant]:
    """Those of these grants that this node gave or got, by id; at most as many as a list shows."""
    with context.database.read() as session:
        return store.find_grants(session, grant_ids)


def _stored(session: Session, grant_id: bytes) -> Grant:
    grant = store.find_grant(session, grant_id)
    if grant is None:
        raise NotFound("grant_unknown", "This node knows no such grant.")
    return grant


def own_grant(context: Context, grant_id: bytes) -> Grant:
    """A grant this node's organisation is the owner of; ``grant_unknown``, ``grant_of_others``."""
    grant = find(context, grant_id)
    if grant.terms.owner != context.member:
        raise Forbidden("grant_of_others", "Only the owner decides on a grant.")
    return grant


def listing(
    context: Context,
    page: PageRequest,
    *,
    state: str | None = None,
    side: GrantSide | None = None,
) -> Page[Grant]:
    """Grants this node gave or got, or those of one side, the latest first; ``cursor_malformed``,
    ``grant_state_unknown``.
    """
    wanted = None if state is None else require_state(state)
    with context.database.read() as session:
        return store.grants_page(
            session,
            page,
            state=wanted,
            owner=context.member if side is GrantSide.GIVEN else None,
            grantee=context.member if side is GrantSide.RECEIVED else None,
        )


def latest_of_asset(session: Session, asset_id: bytes, grantee: str) -> Grant | None:
    """A grantee's latest grant on an asset, or None."""
    return store.latest_of_asset(session, asset_id, grantee)


def counts(context: Context, side: GrantSide) -> dict[GrantState, int]:
    """How many grants of one side are in each state, by the events this node knows."""
    member = context.member
    with context.database.read() as session:
        if side is GrantSide.GIVEN:
            return store.count_by_state(session, owner=member)
        return store.count_by_state(session, grantee=member)


def describe(context: Context, grant_id: bytes) -> GrantDetail:
    """One grant with, at the owner's node, the asset version it is about, so that who decides can
    check what is shown; ``grant_unknown``.
    """
    grant = find(context, grant_id)
    terms = grant.terms
    if terms.owner != context.member:
        return GrantDetail(grant, None)
    return GrantDetail(grant, serving.own_version(context, terms.asset_id, terms.asset_version))
