"""Grants that this node gave or got. Heights are in blocks, times in Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms
from registry.assets.model import OwnVersion


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """A grantee's request for a grant."""

    asset_id: bytes
    asset_version: int
    owner: str
    operations: int
    """Bits of ``Operation``."""
    scene: str
    purpose: str
    columns: Sequence[str]
    not_before: int
    not_after: int
    max_uses: int


@dataclass(frozen=True, slots=True)
class RequestedGrant:
    """A grant that was asked for, and the contract call that requests it."""

    grant_id: bytes
    operation: str


@dataclass(frozen=True, slots=True)
class DisclosedScope:
    """What a grant's terms commit to: which columns, known to owner and grantee."""

    record: Mapping[str, Any]
    """``{"columns": […]}``, as it is committed to."""
    salt: bytes

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the scope."""
        return tuple(self.record["columns"])


class GrantState(StrEnum):
    """State of a grant, by the events this node knows and the owner's own stop."""

    SENT = "sent"
    """The chain does not have the request yet."""
    REQUESTED = "requested"
    APPROVED = "approved"
    REFUSED = "refused"
    REVOKED = "revoked"


class GrantSide(StrEnum):
    """Which side of a grant this node is on."""

    GIVEN = "given"
    RECEIVED = "received"


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant with its terms and status; heights are those the chain gave it."""

    terms: GrantTerms
    scope: DisclosedScope | None
    """None where this node has not received the scope."""
    requested_at: int | None = None
    approved_at: int | None = None
    refused_at: int | None = None
    revoked_at: int | None = None
    reason: str = ""
    """Code of the refusal or revocation."""
    stopped: bool = False
    """The owner's own stop: set with its revocation, before the chain has it."""
    decision: GrantDecision | None = None
    decision_signature: bytes | None = None
    revocation: GrantRevocation | None = None
    revocation_signature: bytes | None = None

    @property
    def grant_id(self) -> bytes:
        """The struct hash of the terms."""
        return self.terms.struct_hash()

    @property
    def state(self) -> GrantState:
        """Status of the grant."""
        if self.revoked_at is not None or self.stopped:
            return GrantState.REVOKED
        if self.refused_at is not None:
            return GrantState.REFUSED
        if self.approved_at is not None:
            return GrantState.APPROVED
        return GrantState.SENT if self.requested_at is None else GrantState.REQUESTED


@dataclass(frozen=True, slots=True)
class GrantDetail:
    """A grant with the asset version it is about, at the owner's node; None at another's."""

    grant: Grant
    asset: OwnVersion | None


@dataclass(frozen=True, slots=True)
class LoadedGrant:
    """A grant as the gateway caches it; whether it is stopped is read again."""

    grant_id: bytes
    terms: GrantTerms
    columns: tuple[str, ...]
