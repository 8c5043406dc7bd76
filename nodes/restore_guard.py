"""Whether this node's database is as new as what others hold of it. Until that is shown, its
statement and log keys sign nothing.

A database put back from an old backup would sign places of its log and lanes a second time. The
chain's anchor and the supervisors' last sight of the log tell: both are asked when the process
starts. What is behind is refused for good, with a code that ``/readyz`` shows too; a newer backup
or ``qiaolian node recover`` ends it, never the passing of time.
"""

from __future__ import annotations

import asyncio

from chain.context import Context
from chain.core.errors import Conflict, QiaolianError, Unavailable
from chain.keys.files import Ed25519Signer, Secp256k1Signer
from registry.evidence import checkpoints, supervisors


class RestoreGuard:
    """What the comparison came to, for every thread of the process."""

    def __init__(self) -> None:
        self._refusal: QiaolianError | None = Unavailable(
            "restore_unchecked",
            "The node has not yet compared its books with the chain and its witnesses.",
            hint="It does so as soon as it sees a block; send the same request again.",
        )

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against signing."""
        return self._refusal is None

    def record(self, refusal: QiaolianError | None) -> None:
        """Take the outcome of a comparison."""
        self._refusal = refusal

    def require(self) -> None:
        """Refuse to sign: ``restore_unchecked``, ``log_behind_chain``, ``log_behind_witness``."""
        found = self._refusal
        if found is not None:
            raise type(found)(found.code, found.sentence, hint=found.hint)


class GuardedSigner(Secp256k1Signer):
    """A key that signs while the standing allows it."""

    def __init__(self, signer: Secp256k1Signer, restore_guard: RestoreGuard) -> None:
        self.public_key = signer.public_key
        self.address = signer.address
        self._signer = signer
        self._restore_guard = restore_guard

    def sign_digest(self, digest: bytes) -> bytes:
        """As the key itself, or what ``RestoreGuard.require`` raises."""
        if not self._restore_guard.passed:
            self._restore_guard.require()
        return self._signer.sign_digest(digest)


class GuardedLogSigner(Ed25519Signer):
    """A log's key, likewise."""

    def __init__(self, signer: Ed25519Signer, restore_guard: RestoreGuard) -> None:
        self.public_key = signer.public_key
        self._signer = signer
        self._restore_guard = restore_guard

    def sign(self, message: bytes) -> bytes:
        """As the key itself, or what ``RestoreGuard.require`` raises."""
        self._restore_guard.require()
        return self._signer.sign(message)


class RestoreGuardWorker:
    """A round compares, until a comparison came out well."""

    def __init__(self, context: Context, restore_guard: RestoreGuard) -> None:
        self._context = context
        self._restore_guard = restore_guard

    async def round(self) -> None:
        """Compare with the chain, then with the supervisors that can be reached."""
        if self._restore_guard.passed or not self._has_block():
            return
        try:
            await asyncio.to_thread(checkpoints.require_current, self._context)
            await supervisors.require_witnessed(self._context)
        except Conflict as behind:
            self._restore_guard.record(behind)
            raise
        self._restore_guard.record(None)

    def _has_block(self) -> bool:
        try:
            self._context.view.require_fresh()
        except Unavailable:
            return False
        return True
