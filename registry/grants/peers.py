"""Requests about grants to the other side's node."""

from __future__ import annotations

from chain.context import Context
from chain.core import schema
from chain.core.canonical import dumps
from chain.core.errors import BadInput
from chain.statements.grants import GrantTerms
from registry.grants.model import DisclosedScope, Grant


async def send_request(context: Context, terms: GrantTerms, scope: DisclosedScope) -> None:
    """Send the scope that a grantee asks for to the owner's node; raises whatever refusal it
    gives.
    """
    body = {
        "terms": terms.to_json(),
        "scope": dict(scope.record),
        "salt": "0x" + scope.salt.hex(),
    }
    await context.peers.post(terms.owner, "/v1/peer/grants", body)


async def fetch_scope(context: Context, grant: Grant) -> DisclosedScope:
    """A grant's scope from its other side; only its form is checked.

    Raises:
        BadInput: ``scope_malformed``; NotFound: ``grant_unknown``, ``scope_missing``; Unavailable:
            when it cannot be asked.
    """
    terms = grant.terms
    other_side = terms.grantee if terms.owner == context.member else terms.owner
    path = f"/v1/peer/grants/0x{grant.grant_id.hex()}/scope"
    answer = await context.peers.get(other_side, path)
    try:
        return DisclosedScope(dict(answer["scope"]), schema.salt(answer["salt"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput("scope_malformed", "The other side shows no scope.") from error


async def fetch_bundle(context: Context, grant: Grant) -> bytes:
    """A grant's bundle from its owner's node."""
    path = f"/v1/peer/grants/0x{grant.grant_id.hex()}/bundle"
    return dumps(await context.peers.get(grant.terms.owner, path))
