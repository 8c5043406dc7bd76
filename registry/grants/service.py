"""Requesting, deciding and revoking grants, and asking whether one allows a use.

The scope (which columns) goes between the two nodes; the chain has its salted commitment. Decisions
are signed by the chief data officer with a key the node does not hold. The owner's gateway stops
serving from the moment its own revocation is stored; everyone else's view follows the chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.database import PreparedStatement
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.proved_records import grant_record
from chain.outbox import Priority, enqueue, is_known, next_attempt
from chain.statements.commitment import commit, opens
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms
from chain.statements.members import KeyPurpose
from registry.assets import peers, serving
from registry.evidence.log import append_statement
from registry.grants.rules import SCOPE_DOMAIN, already_decided, require_decidable, require_terms
from registry.grants.store import GrantRow, grant_row
from registry.idempotency import KeyScope, bind, content_of, nonce_for
from registry.pages import Page, PageRequest, page_of
from registry.purposes import listed_in
from registry.reasons import reason_code
from registry.signers import signed_by, signing_member


@dataclass(frozen=True)
class GrantRequest:
    """What a grantee's clerk asks for."""

    asset_id: bytes
    asset_version: int
    owner: str
    operations: int
    scene: str
    purpose: str
    columns: Sequence[str]
    not_before: int
    not_after: int
    max_uses: int


async def request(
    context: Context, grant_request: GrantRequest, *, idempotency_key: str | None = None
) -> dict[str, Any]:
    """Ask an owner for a grant: the scope goes to its node, the request to the chain. The same
    request under the same key is one grant.

    Raises:
        BadInput: what ``require_terms`` raises; Forbidden: ``purpose_not_listed`` by the asset
            version; NotFound: ``asset_not_published``;
        Conflict: ``idempotency_key_reused``, ``metadata_differs``; Unavailable: the owner's node
            does not answer.
    """
    scope, salt = (
        {"columns": sorted(set(grant_request.columns))},
        nonce_for(context, "scope", idempotency_key),
    )
    _require_columns(scope)
    terms = GrantTerms(
        version=1,
        asset_id=grant_request.asset_id,
        asset_version=grant_request.asset_version,
        owner=grant_request.owner,
        grantee=context.member,
        operations=grant_request.operations,
        scene=grant_request.scene,
        purpose=grant_request.purpose,
        scope=commit(salt, SCOPE_DOMAIN, scope),
        not_before=grant_request.not_before,
        not_after=grant_request.not_after,
        max_uses=grant_request.max_uses,
        nonce=nonce_for(context, "grant", idempotency_key),
    )
    require_terms(terms)
    (
        await peers.published_purposes(context, terms.owner, terms.asset_id, terms.asset_version)
    ).require(terms.purpose)
    grant_id = terms.struct_hash()
    if idempotency_key is not None:
        content = content_of(grant_request) | scope
        await context.database.awrite(
            lambda session: bind(
                session, KeyScope.GRANT, idempotency_key, content, now=context.now()
            )
        )
    body = {"terms": terms.to_json(), "scope": scope, "salt": "0x" + salt.hex()}
    await context.peers.post(grant_request.owner, "/v1/peer/grants", body)
    operation = f"grant-request/{grant_id.hex()}"

    def change(session: Session) -> None:
        if session.get(GrantRow, grant_id) is None:
            session.add(grant_row(grant_id, terms, scope, salt))
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=operation,
            contract="GrantRegistry",
            function="request",
            arguments=[terms],
        )

    await context.database.awrite(change)
    return {"grantId": "0x" + grant_id.hex(), "operation": operation}


def receive_request(
    context: Context, grantee: str, terms: GrantTerms, scope: dict[str, Any], salt: bytes
) -> None:
    """Store a grantee's scope at the owner's node; it has no effect before the request."""
    require_terms(terms)
    if terms.owner != context.member or terms.grantee != grantee:
        raise Forbidden("grant_of_others", "The request is not from this grantee to this owner.")
    _require_listed(context, terms)
    _require_scope(terms, scope, salt)

    def change(session: Session) -> None:
        grant_id = terms.struct_hash()
        row = session.get(GrantRow, grant_id)
        if row is None:
            session.add(grant_row(grant_id, terms, scope, salt))
        else:
            row.scope, row.scope_salt = scope, salt

    context.database.write(change)


def _require_listed(context: Context, terms: GrantTerms) -> None:
    """The asset version is published here and lists the purpose: ``asset_not_published``,
    ``purpose_not_listed``.
    """
    own = serving.own_published(context, terms.asset_id, terms.asset_version)
    listed_in(own.asset_metadata).require(terms.purpose)


def _require_scope(terms: GrantTerms, scope: dict[str, Any], salt: bytes) -> None:
    if not opens(terms.scope, salt=salt, domain=SCOPE_DOMAIN, record=scope):
        raise BadInput("scope_differs", "The scope does not open the request's commitment.")
    _require_columns(scope)


def _require_columns(scope: dict[str, Any]) -> None:
    try:
        schema.scope(scope)
    except ValueError as error:
        hint = f"At most {schema.MAX_COLUMNS} columns of at most {schema.MAX_TEXT} characters."
        raise BadInput(
            "scope_malformed",
            "A scope is a list of columns, each once and by a short name.",
            hint=hint,
        ) from error


def scope_for(context: Context, caller: str, grant_id: bytes) -> dict[str, Any]:
    """A grant's scope with its salt, for the side that lost it; ``grant_of_others``,
    ``scope_missing``.
    """
    row = find(context, grant_id)
    if caller not in (row.owner, row.grantee):
        raise Forbidden("grant_of_others", "The grant is another's.")
    if row.scope is None or row.scope_salt is None:
        raise NotFound("scope_missing", "This node does not hold the grant's scope.")
    return {"scope": row.scope, "salt": "0x" + row.scope_salt.hex()}


async def recover_scope(context: Context, grant_id: bytes) -> None:
    """Ask a grant's other side for the scope where this database holds the terms alone, as after an
    old backup.

    Raises:
        BadInput: ``scope_differs``, ``scope_malformed``; NotFound: ``grant_unknown``,
            ``scope_missing``; Unavailable: when it cannot be asked.
    """
    row = await asyncio.to_thread(find, context, grant_id)
    if row.scope is not None:
        return
    answer = await context.peers.get(
        row.grantee if row.owner == context.member else row.owner,
        f"/v1/peer/grants/0x{grant_id.hex()}/scope",
    )
    try:
        scope, salt = dict(answer["scope"]), schema.salt(answer["salt"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput("scope_malformed", "The other side shows no scope.") from error
    _require_scope(GrantTerms.from_json(row.terms), scope, salt)

    def change(session: Session) -> None:
        stored = session.get_one(GrantRow, grant_id)
        stored.scope, stored.scope_salt = scope, salt

    await context.database.awrite(change)


def decide(context: Context, grant_id: bytes, decision: GrantDecision, signature: bytes) -> str:
    """Take the chief data officer's signed decision to the chain; the outbox operation.

    Raises:
        Conflict: ``unknown_grant``, ``scope_not_received``, ``already_decided``; Forbidden:
            ``wrong_signer``, ``purpose_not_listed``;
        BadInput: ``other_grant``; NotFound: ``asset_not_published``; Unavailable:
            ``chain_view_stale``.
    """
    row = own_grant(context, grant_id)
    terms = GrantTerms.from_json(row.terms)
    signed = signed_by(context, context.member, decision, signature)
    records = context.view.proved([*signed.records, grant_record(grant_id)])
    signed.require(records, KeyPurpose.APPROVAL)
    require_decidable(records.grant(grant_id), repeated=row.decision == decision.to_json())
    if decision.grant_id != grant_id:
        raise BadInput("other_grant", "The decision is about another grant.")
    if not decision.approved:
        reason_code(decision.reason)
    if row.scope is None and decision.approved:
        raise Conflict(
            "scope_not_received",
            "The grantee has not sent the scope; nothing can be approved unseen.",
        )
    if decision.approved:
        _require_listed(context, terms)
    operation = f"grant-decision/{decision.struct_hash().hex()}"

    def change(session: Session) -> str:
        stored = session.get_one(GrantRow, grant_id)
        _require_undecided(session, stored, decision)
        sent = next_attempt(session, operation)
        if is_known(session, sent):
            return sent
        stored.decision, stored.decision_signature = decision.to_json(), signature
        append_statement(session, decision, context.domain("GrantRegistry"), at=context.now())
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=sent,
            contract="GrantRegistry",
            function="decide",
            arguments=[terms, decision, signature],
        )
        return sent

    return context.database.write(change)


def revoke(context: Context, grant_id: bytes, revocation: GrantRevocation, signature: bytes) -> str:
    """Stop a grant here at once and on the chain with the next block; the outbox operation."""
    row = own_grant(context, grant_id)
    if revocation.grant_id != grant_id:
        raise BadInput("other_grant", "The revocation is about another grant.")
    reason_code(revocation.reason)
    _require_may_revoke(context, revocation, signature)
    operation = f"grant-revocation/{revocation.struct_hash().hex()}"

    def change(session: Session) -> str:
        stored = session.get_one(GrantRow, grant_id)
        sent = next_attempt(session, operation)
        if stored.revoked_at or is_known(session, sent):
            return sent
        stored.stopped = True
        stored.revocation, stored.revocation_signature = revocation.to_json(), signature
        append_statement(session, revocation, context.domain("GrantRegistry"), at=context.now())
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=sent,
            contract="GrantRegistry",
            function="revoke",
            arguments=[GrantTerms.from_json(row.terms), revocation, signature],
            priority=Priority.URGENT,
        )
        return sent

    return context.database.write(change)


def _require_undecided(session: Session, row: GrantRow, decision: GrantDecision) -> None:
    """A grant is decided once; a decision the chain refused (its deadline had passed) may be
    replaced.
    """
    if row.decision is None or row.decision == decision.to_json():
        return
    before = GrantDecision.from_json(row.decision)
    if is_known(session, next_attempt(session, f"grant-decision/{before.struct_hash().hex()}")):
        raise already_decided()


@dataclass(frozen=True)
class LoadedGrant:
    """A grant as the gateway caches it; ``is_stopped`` reads ``stopped`` afresh."""

    grant_id: bytes
    terms: GrantTerms
    columns: tuple[str, ...]


def load(context: Context, grant_id: bytes) -> LoadedGrant:
    """A grant with its scope; ``grant_unknown`` if this node has none such."""
    row = find(context, grant_id)
    scope: Any = row.scope or {"columns": []}
    return LoadedGrant(grant_id, GrantTerms.from_json(row.terms), tuple(scope["columns"]))


def stopped_grants(context: Context) -> set[bytes]:
    """Grants the owner has stopped, whether the chain has it yet or not."""
    return {grant_id for (grant_id,) in context.database.fetch(_STOPPED, {})}


async def astopped_grants(context: Context) -> set[bytes]:
    """``stopped_grants`` for coroutines."""
    return {grant_id for (grant_id,) in await context.database.afetch(_STOPPED, {})}


_STOPPED = PreparedStatement(sa.select(GrantRow.grant_id).where(GrantRow.stopped))


def find(context: Context, grant_id: bytes) -> GrantRow:
    """The grant's row; ``grant_unknown``."""
    with context.database.read() as session:
        row = session.get(GrantRow, grant_id)
    if row is None:
        raise NotFound("grant_unknown", "This node knows no such grant.")
    return row


def own_grant(context: Context, grant_id: bytes) -> GrantRow:
    """A grant this node's organisation is the owner of."""
    row = find(context, grant_id)
    if row.owner != context.member:
        raise Forbidden("grant_of_others", "Only the owner decides on a grant.")
    return row


_HAS_STATE = {
    "revoked": GrantRow.revoked_at.is_not(None) | GrantRow.stopped,
    "refused": GrantRow.refused_at.is_not(None),
    "approved": GrantRow.approved_at.is_not(None),
    "requested": GrantRow.requested_at.is_not(None),
    "sent": sa.true(),
}
"""The states of a grant, from the last one to the first: a grant is in the first of these that
holds.
"""


def listing(
    context: Context, page: PageRequest, *, state: str | None = None
) -> Page[dict[str, Any]]:
    """Grants this node gave or got, the latest first; ``cursor_malformed``,
    ``grant_state_unknown``.
    """
    query = sa.select(GrantRow)
    if state is not None:
        query = query.where(_in_state(state))
    with context.database.read() as session:
        return page_of(session, query, (GrantRow.added, GrantRow.grant_id), page).map(_listed)


def _in_state(state: str) -> sa.ColumnElement[bool]:
    if state not in _HAS_STATE:
        raise BadInput(
            "grant_state_unknown", f"A grant's state is one of: {', '.join(_HAS_STATE)}."
        )
    names = list(_HAS_STATE)
    later = (sa.not_(_HAS_STATE[name]) for name in names[: names.index(state)])
    return sa.and_(_HAS_STATE[state], *later)


def describe(context: Context, grant_id: bytes) -> dict[str, Any]:
    """One grant, with the salt that opens its scope and, at the owner's node, the asset version it
    is about, so that who decides can check what is shown; ``grant_unknown``.
    """
    row = find(context, grant_id)
    salt = None if row.scope_salt is None else "0x" + row.scope_salt.hex()
    return {
        **_listed(row),
        "scopeSalt": salt,
        "asset": _published_asset(context, GrantTerms.from_json(row.terms)),
    }


def _published_asset(context: Context, terms: GrantTerms) -> dict[str, Any] | None:
    """The record and metadata of the asset version that terms name; None at another's node."""
    own = (
        serving.own_version(context, terms.asset_id, terms.asset_version)
        if terms.owner == context.member
        else None
    )
    return None if own is None else {"record": own.record, "metadata": own.asset_metadata}


def _require_may_revoke(context: Context, revocation: GrantRevocation, signature: bytes) -> None:
    """A suspended owner may still revoke, so only the key is asked for."""
    signer = signing_member(
        context, revocation, signature, KeyPurpose.APPROVAL, KeyPurpose.STATEMENT
    )
    if signer != context.member:
        raise Forbidden(
            "wrong_signer", "The revocation is not signed with a live key of this organisation."
        )


def _listed(row: GrantRow) -> dict[str, Any]:
    state = (
        "revoked"
        if row.revoked_at is not None or row.stopped
        else "refused"
        if row.refused_at is not None
        else "approved"
        if row.approved_at is not None
        else "requested"
        if row.requested_at is not None
        else "sent"
    )
    return {
        "grantId": "0x" + row.grant_id.hex(),
        "state": state,
        "reason": row.reason,
        "terms": row.terms,
        "scope": row.scope,
        "requestedAt": row.requested_at,
        "approvedAt": row.approved_at,
        "refusedAt": row.refused_at,
        "revokedAt": row.revoked_at,
    }
