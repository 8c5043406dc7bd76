"""What a grant allows, without I/O."""

from __future__ import annotations

from collections.abc import Iterable

from chain.core import schema
from chain.core.errors import BadInput, Conflict, Forbidden
from chain.ethereum.records import GrantRecord
from chain.statements.commitment import opens
from chain.statements.grants import GrantTerms, Operation
from registry.grants.model import DisclosedScope, GrantState
from registry.purposes import require_known

SCOPE_DOMAIN = "qiaolian.scope.v1"
DELIVERING = Operation.VIEW | Operation.EXPORT | Operation.USE | Operation.COPY
"""Operations under which records leave their owner. Under the others the data stays: a model or an
analysis comes to it.
"""


def require_terms(terms: GrantTerms) -> None:
    """The form of a request: ``wrong_period``, ``nothing_granted``, ``purpose_unknown``."""
    if terms.not_after <= terms.not_before:
        raise BadInput("wrong_period", "A grant ends after it begins.")
    if terms.operations == 0 or terms.operations >= 64 or terms.max_uses == 0:
        raise BadInput(
            "nothing_granted", "A grant allows at least one known operation and at least one use."
        )
    require_known(terms.purpose)


def require_scope(terms: GrantTerms, scope: DisclosedScope) -> None:
    """A scope opens the terms' commitment and is a list of columns: ``scope_differs``,
    ``scope_malformed``.
    """
    if not opens(terms.scope, salt=scope.salt, domain=SCOPE_DOMAIN, record=scope.record):
        raise BadInput("scope_differs", "The scope does not open the request's commitment.")
    require_columns(scope)


def require_columns(scope: DisclosedScope) -> None:
    """A scope is a list of columns: ``scope_malformed``."""
    try:
        schema.scope(dict(scope.record))
    except ValueError as error:
        raise BadInput(
            "scope_malformed",
            "A scope is a list of columns, each once and by a short name.",
            hint=f"At most {schema.MAX_COLUMNS} columns of at most {schema.MAX_TEXT} characters.",
        ) from error


def require_state(name: str) -> GrantState:
    """A state by its name: ``grant_state_unknown``."""
    try:
        return GrantState(name)
    except ValueError as error:
        states = ", ".join(reversed(GrantState))
        raise BadInput("grant_state_unknown", f"A grant's state is one of: {states}.") from error


def require_decidable(record: GrantRecord, *, repeated: bool) -> None:
    """A grant can be decided on, by its proved record.

    Args:
        repeated: whether the same decision was taken here before; it may be sent again.

    Raises:
        Conflict: ``unknown_grant``, ``already_decided``.
    """
    if not record.requested_at:
        raise Conflict(
            "unknown_grant", "The request is not on the chain yet.", hint="Try again in a second."
        )
    if not repeated and (record.approved_at or record.refused_at or record.revoked_at):
        raise already_decided()


def already_decided() -> Conflict:
    """The refusal of a second decision on a grant."""
    return Conflict(
        "already_decided", "The grant has been decided.", hint="A granted right can be revoked."
    )


def require_delivering(operation: Operation) -> None:
    """Refuse to deliver a record under an operation whose data stays with its owner:
    ``operation_delivers_nothing``.
    """
    if not operation & DELIVERING:
        raise Forbidden(
            "operation_delivers_nothing",
            "No record is delivered for training or computing; the data stays with its owner.",
            hint="Run a joint model or submit an analysis instead, or ask "
            "for a grant to view, export, use or copy.",
        )


def require_allows(
    terms: GrantTerms,
    record: GrantRecord,
    *,
    stopped: bool,
    granted_columns: Iterable[str],
    operation: Operation,
    purpose: str,
    columns: Iterable[str],
    now: int,
) -> None:
    """Refuse a use the grant does not allow, each reason with its own code."""
    if record.revoked_at or stopped:
        raise Forbidden("grant_revoked", "The grant was revoked.")
    if not record.approved_at:
        raise Forbidden("grant_not_live", "The grant is not approved.")
    if not terms.not_before <= now <= terms.not_after:
        raise Forbidden("grant_expired", "The grant does not cover this time.")
    if purpose != terms.purpose:
        raise Forbidden("purpose_not_granted", "The grant is for another purpose.")
    if not terms.operations & operation:
        raise Forbidden("operation_not_granted", "The grant does not cover this operation.")
    outside = sorted(set(columns) - set(granted_columns))
    if outside:
        raise Forbidden("column_not_granted", f"The grant does not cover the column {outside[0]}.")
