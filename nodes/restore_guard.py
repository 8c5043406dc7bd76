"""The restore guard: statement and log keys sign nothing until the database is known to be current.

A database restored from an old backup would sign positions of its log and lanes a second time. At
startup the log is compared with the chain's anchor and the supervisors' last view of it. A database
that is behind is refused until a newer backup is restored or ``qiaolian node recover`` is run;
``/readyz`` shows the code.
"""

from __future__ import annotations

import asyncio

from chain.context import Context
from chain.core.errors import Conflict, QiaolianError, Unavailable
from chain.keys.files import Ed25519Signer, Secp256k1Signer
from registry.evidence import checkpoints, supervisors


class RestoreGuard:
    """The outcome of the comparison. Thread-safe."""

    def __init__(self) -> None:
        self._refusal: QiaolianError | None = Unavailable(
            "restore_unchecked",
            "The node has not yet compared its database with the chain and its witnesses.",
            hint="It does so as soon as it sees a block; send the same request again.",
        )

    @property
    def passed(self) -> bool:
        """Whether the database was found to be current."""
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
    """A key that signs once the restore guard has passed."""

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
    """A log key that signs once the restore guard has passed."""

    def __init__(self, signer: Ed25519Signer, restore_guard: RestoreGuard) -> None:
        self.public_key = signer.public_key
        self._signer = signer
        self._restore_guard = restore_guard

    def sign(self, message: bytes) -> bytes:
        """As the key itself, or what ``RestoreGuard.require`` raises."""
        self._restore_guard.require()
        return self._signer.sign(message)


class RestoreGuardWorker:
    """Compares in rounds until a comparison passes."""

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
