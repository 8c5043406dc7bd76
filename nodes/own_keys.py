"""The node's own keys: those in use, those replaced, their proved records in the directory, and
what still needs a replaced one.

A replaced key stays live for what pins it, and is ended by the member itself once nothing does
(docs/adr, "An agreement keeps its keys").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, NotFound
from chain.ethereum.eip712 import encode_code
from chain.ethereum.proved_records import key_record
from chain.ethereum.records import KeyRecord
from chain.outbox import Priority, enqueue, is_known, next_attempt, owed
from chain.statements.members import KeyPurpose
from exchange.agreements.service import pinned_to
from nodes.initialise import KeyEntry, read_public
from registry.access import Principal, get_context, hex_bytes, require_local
from registry.credit.certificates import certified_under
from registry.evidence.anchors import has_anchored, is_anchored_by
from registry.evidence.log import log_size
from registry.property.titles import titles_under
from registry.reasons import reason_code

router = APIRouter(tags=["node"])
Stage = Literal["in_use", "next", "replaced"]
_STAGES: dict[str, Stage] = {"keys": "in_use", "next": "next", "replaced": "replaced"}


class Need(BaseModel):
    """Something that a replaced key must stay live for."""

    code: str
    sentence: str
    passes: bool
    """Whether it passes by itself within a minute or so, once both processes were restarted."""


class OwnKey(BaseModel):
    """One of the node's own keys."""

    name: str
    """In the key store."""
    purpose: str
    fingerprint: str
    stage: Stage
    """By the key files; the running node uses what it found at its start."""
    loaded: bool
    """Whether the running process signs with it (``replaced``: for what pins it)."""
    sinceBlock: int | None
    """Where the directory took it, proved; None when it is not there."""
    endedAtBlock: int | None
    neededBy: list[Need]
    """What a live replaced key is still needed by; it can be ended without loss once this is empty.
    """


class OwnKeys(BaseModel):
    """All of the node's own keys."""

    keys: list[OwnKey]


class EndBody(BaseModel):
    """Which key ends, and why. ``stolen`` ends it at once, whatever needs it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "key-replaced", "stolen": False}}
    )
    reason: str
    stolen: bool = False


class Ending(BaseModel):
    """The queued contract call."""

    operation: str


@router.get("/v1/node/keys", summary="The node's own keys, and what still needs a replaced one")
async def listing(
    request: Request,
    context: Annotated[Context, Depends(get_context)],
    _caller: Annotated[Principal, Depends(require_local("administrator", "auditor", "system"))],
) -> OwnKeys:
    return OwnKeys(keys=await asyncio.to_thread(_keys_of(request, context).listing))


@router.post(
    "/v1/node/keys/{fingerprint}/end", status_code=202, summary="End one of the node's own keys"
)
async def end(
    fingerprint: str,
    body: EndBody,
    request: Request,
    context: Annotated[Context, Depends(get_context)],
    _caller: Annotated[Principal, Depends(require_local("administrator"))],
) -> Ending:
    keys = _keys_of(request, context)
    return Ending(
        operation=await asyncio.to_thread(
            keys.end, hex_bytes(fingerprint, length=32), reason=body.reason, stolen=body.stolen
        )
    )


def _keys_of(request: Request, context: Context) -> _Keys:
    config = request.app.state.config
    return context.services.get(_Keys, lambda: _Keys(context, config.path(config.keys.dir)))


class _Keys:
    def __init__(self, context: Context, directory: Path) -> None:
        self._context = context
        self._directory = directory
        self._unused_since: dict[bytes, tuple[int, float]] = {}
        """The log's size and the time when nothing pinned a replaced STATEMENT key for the first
        time: what it signed is earlier.
        """

    def listing(self) -> list[OwnKey]:
        held = list(self._held())
        records = self._context.view.proved(key_record(entry.fingerprint) for _, _, entry in held)
        return [
            self._shown(name, stage, entry, records.key(entry.fingerprint))
            for name, stage, entry in held
        ]

    def end(self, fingerprint: bytes, *, reason: str, stolen: bool) -> str:
        """Queue the end of an own key; the operation.

        Raises:
            NotFound: ``key_missing``; BadInput: what ``reason_code`` raises; Conflict:
                ``key_in_use``, ``key_needed``.
        """
        key = next(
            (key for key in self.listing() if key.fingerprint == "0x" + fingerprint.hex()), None
        )
        if key is None:
            raise NotFound(
                "key_missing", "This node holds no such key.", hint="See GET /v1/node/keys."
            )
        if not stolen:
            _require_unneeded(key)
        code = encode_code(reason_code(reason))

        def change(session: Session) -> str:
            operation = next_attempt(session, f"key-end/{fingerprint.hex()}")
            if not is_known(session, operation):
                self._enqueue(session, operation, fingerprint, code)
            return operation

        return self._context.database.write(change)

    def _enqueue(self, session: Session, operation: str, fingerprint: bytes, code: bytes) -> None:
        enqueue(
            session,
            sender=self._context.transaction_address,
            operation_id=operation,
            contract="MemberDirectory",
            function="endOwnKey",
            arguments=[fingerprint, code],
            priority=Priority.URGENT,
        )

    def _held(self) -> Iterator[tuple[str, Stage, KeyEntry]]:
        for part, stage in _STAGES.items():
            for name, entry in read_public(self._directory, part).items():
                yield name, stage, entry

    def _shown(self, name: str, stage: Stage, entry: KeyEntry, word: KeyRecord) -> OwnKey:
        live = word.live and word.member == self._context.member and word.purpose == entry.purpose
        return OwnKey(
            name=name,
            purpose=entry.purpose.name.lower(),
            fingerprint="0x" + entry.fingerprint.hex(),
            stage=stage,
            loaded=self._loaded(entry),
            sinceBlock=word.from_height or None,
            endedAtBlock=word.end_height or None,
            neededBy=list(_NEEDS[entry.purpose](self, entry))
            if live and stage == "replaced"
            else [],
        )

    def _loaded(self, entry: KeyEntry) -> bool:
        context = self._context
        loaded = {
            KeyPurpose.STATEMENT: [
                context.signers[KeyPurpose.STATEMENT].fingerprint,
                *(earlier_signer.fingerprint for earlier_signer in context.earlier_signers),
            ],
            KeyPurpose.TOKEN: [context.signers[KeyPurpose.TOKEN].fingerprint],
            KeyPurpose.LOG: [context.log_signer.fingerprint],
            KeyPurpose.TRANSACTION: [
                bytes.fromhex(context.transaction_address[2:]).rjust(32, b"\0")
            ],
        }
        return entry.fingerprint in loaded.get(entry.purpose, [entry.fingerprint])

    # --- What needs a replaced key ----------------------------------------------------------------

    def _statement(self, entry: KeyEntry) -> Iterator[Need]:
        needs = [
            Need(code=code, sentence=f"{count} {what}", passes=False)
            for code, counts, what in _PINNED
            if (count := counts(self._context, entry.address))
        ]
        if self._context.signers[KeyPurpose.STATEMENT].fingerprint == entry.fingerprint:
            needs.append(_NOT_RESTARTED)
        if needs:
            self._unused_since.pop(entry.fingerprint, None)
            yield from needs
            return
        size, since = self._unused_since.setdefault(
            entry.fingerprint, (log_size(self._context), self._context.clock())
        )
        yield from self._queued(until=since)
        if not has_anchored(self._context, size):
            yield Need(
                code="not_anchored",
                sentence=f"the log's first {size} entries, which hold "
                "what it signed, are not anchored",
                passes=True,
            )

    def _log(self, entry: KeyEntry) -> Iterator[Need]:
        if self._context.log_signer.fingerprint == entry.fingerprint:
            yield _NOT_RESTARTED
        elif not is_anchored_by(self._context, self._context.log_signer.public_key):
            yield Need(
                code="not_anchored",
                sentence="no head of the log under the key in use is anchored",
                passes=True,
            )

    def _token(self, entry: KeyEntry) -> Iterator[Need]:
        if self._context.signers[KeyPurpose.TOKEN].fingerprint == entry.fingerprint:
            yield _NOT_RESTARTED

    def _transaction(self, entry: KeyEntry) -> Iterator[Need]:
        if self._context.transaction_address == entry.address:
            yield _NOT_RESTARTED
        yield from self._queued(sender=entry.address)

    def _queued(self, *, sender: str | None = None, until: float | None = None) -> Iterator[Need]:
        """Calls that the key sends, or may have signed a statement of, and that no
        block holds yet.
        """
        with self._context.database.read() as session:
            count = owed(session, sender=sender, until=until)
        if count:
            yield Need(
                code="calls_queued",
                sentence=f"{count} of the calls queued for the chain are in no block",
                passes=True,
            )

    def _tls(self, _entry: KeyEntry) -> Iterator[Need]:
        return iter(())


_NOT_RESTARTED = Need(code="not_restarted", sentence="the running node uses it", passes=True)
_PINNED: tuple[tuple[str, Callable[[Context, str], int], str], ...] = (
    ("agreements", pinned_to, "agreements pin it and are not closed"),
    ("certificates", certified_under, "certificates of persons' keys are in force under it"),
    ("titles", titles_under, "titles are in force under it"),
)
_NEEDS: dict[KeyPurpose, Callable[[_Keys, KeyEntry], Iterator[Need]]] = {
    KeyPurpose.STATEMENT: _Keys._statement,
    KeyPurpose.LOG: _Keys._log,
    KeyPurpose.TOKEN: _Keys._token,
    KeyPurpose.TRANSACTION: _Keys._transaction,
    KeyPurpose.TLS: _Keys._tls,
}
"""By purpose, what a replaced key is still needed by."""


def _require_unneeded(key: OwnKey) -> None:
    if key.stage != "replaced":
        raise Conflict(
            "key_in_use",
            f"The {key.purpose} key is in use.",
            hint="A stolen key is ended at once with --stolen; any other is replaced: qiaolian "
            f"node key replace {key.purpose}",
        )
    if key.neededBy:
        needs = "; ".join(need.sentence for need in key.neededBy)
        raise Conflict(
            "key_needed",
            f"The {key.purpose} key is still needed: {needs}.",
            hint="End it when that is over.",
        )


__all__ = ["Need", "OwnKey", "OwnKeys", "router"]
