"""Node-to-node tokens, which authenticate single requests.

A token is self-issued by the sending member, names one receiver, one method, path and body, lives
at most a minute and is accepted once. It is signed by the member's TOKEN key, which the receiver
looks up in its own proved view of the directory, so there is no issuer to trust and no secret to
share. A captured token can neither repeat the request nor be used for another.

Wire form: ``Authorization: Qiaolian <base64url claims>.<base64url signature>``. The claims are
compact JSON; the signature (65 bytes) is over keccak256 of ``"\\x19Qiaolian token v1\\n" ‖ chain id
(32) ‖ MemberDirectory address (20) ‖ claims``, so a token of one network means nothing in another,
and no token is ever a valid statement. Recovery gives the signing address and with it the key's
record: one signature, one recovery a request.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil

from chain.core.crypto import keccak256, recover
from chain.core.errors import BadSignature, Forbidden, RefusedBy, Refuser, Unauthorised, Unavailable
from chain.ethereum.deployment import Deployment
from chain.ethereum.proved_records import key_record, member_record
from chain.ethereum.view import ChainView
from chain.keys.files import Secp256k1Signer
from chain.statements.members import KeyPurpose
from nodes.clocks import ClockStatus, shown

SCHEME = "Qiaolian"
LIFETIME_SECONDS = 30
MAX_LIFETIME_SECONDS = 60
SKEW_SECONDS = 5
"""How far a sender's clock may be ahead."""
_MAX_TOKEN_LENGTH = 2048
_CLAIMS = frozenset({"v", "iss", "aud", "iat", "exp", "jti", "mth", "uri", "sha"})
_MAX_UNKNOWN = 4
"""Keys never seen cost a request to a chain node; so many strangers at a time may ask for one."""


@dataclass(frozen=True, slots=True)
class PeerCaller:
    """The authenticated member of a request."""

    member: str
    roles: int
    """The member's roles as in the directory."""


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The claims of a token. Times in Unix seconds; ``target`` is path and query as sent."""

    issuer: str
    audience: str
    issued_at: int
    expires_at: int
    nonce: bytes
    """16 bytes."""
    method: str
    target: str
    body_sha256: str

    def to_json(self) -> dict[str, str | int]:
        """The claims of the wire form."""
        return {
            "v": 1,
            "iss": self.issuer,
            "aud": self.audience,
            "iat": self.issued_at,
            "exp": self.expires_at,
            "jti": self.nonce.hex(),
            "mth": self.method,
            "uri": self.target,
            "sha": self.body_sha256,
        }

    @classmethod
    def from_json(cls, value: object) -> TokenClaims:
        """Read the claims; ``ValueError`` or ``TypeError`` for anything else."""
        if not isinstance(value, dict) or value.keys() != _CLAIMS or value["v"] != 1:
            raise ValueError("claims")
        if any(type(value[name]) is not str for name in ("iss", "aud", "jti", "mth", "uri", "sha")):
            raise TypeError("text")
        if type(value["iat"]) is not int or type(value["exp"]) is not int:
            raise TypeError("times")
        nonce, issuer = bytes.fromhex(value["jti"]), value["iss"]
        if not 0 < value["exp"] < 1 << 32 or len(nonce) != 16:
            raise ValueError("times or nonce")
        if len(issuer) != 18 or not issuer.isascii() or not issuer.isalnum():
            raise ValueError("issuer")
        return cls(
            issuer=issuer,
            audience=value["aud"],
            issued_at=value["iat"],
            expires_at=value["exp"],
            nonce=nonce,
            method=value["mth"],
            target=value["uri"],
            body_sha256=value["sha"],
        )


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A token that was checked except for the body it names, and is not used up yet."""

    caller: PeerCaller
    claims: TokenClaims


def _wrong_request() -> Unauthorised:
    return Unauthorised("token_wrong_request", "The token was made for another request.")


def prefix(deployment: Deployment) -> bytes:
    """Return the signing prefix of this network's tokens."""
    directory = bytes.fromhex(deployment.address("MemberDirectory")[2:])
    return b"\x19Qiaolian token v1\n" + deployment.chain_id.to_bytes(32, "big") + directory


class TokenIssuer:
    """Makes this member's tokens."""

    def __init__(
        self,
        *,
        member: str,
        signer: Secp256k1Signer,
        deployment: Deployment,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._member = member
        self._signer = signer
        self._prefix = prefix(deployment)
        self._clock = clock

    def issue(
        self,
        *,
        audience: str,
        method: str,
        target: str,
        body: bytes,
        lifetime: int = LIFETIME_SECONDS,
    ) -> str:
        """The Authorization header's value for one request.

        ``target`` is path and query as sent.
        """
        now = int(self._clock())
        claims = TokenClaims(
            issuer=self._member,
            audience=audience,
            issued_at=now,
            expires_at=now + lifetime,
            nonce=secrets.token_bytes(16),
            method=method,
            target=target,
            body_sha256=hashlib.sha256(body).hexdigest(),
        )
        return self.seal(claims.to_json())

    def seal(self, claims: Mapping[str, object]) -> str:
        """Sign claims as they are."""
        raw = json.dumps(claims, separators=(",", ":")).encode()
        signature = self._signer.sign_digest(keccak256(self._prefix + raw))
        return f"{SCHEME} {_encode(raw)}.{_encode(signature)}"


class TokenVerifier:
    """Checks tokens addressed to this member."""

    def __init__(
        self,
        *,
        member: str,
        view: ChainView,
        nonces: NonceLog,
        clock: Callable[[], float] = time.time,
        clocks: Callable[[], ClockStatus] = ClockStatus,
    ) -> None:
        """``clocks``: what is known of whose clock is off, for the refusal of a token that is out
        of its time.
        """
        self._clocks = clocks
        self._member = member
        self._view = view
        self._nonces = nonces
        self._clock = clock
        self._prefix = prefix(view.deployment)
        self._strangers = asyncio.Semaphore(_MAX_UNKNOWN)
        self._seen: set[bytes] = set()

    async def verify(self, header: str, *, method: str, target: str, body: bytes) -> PeerCaller:
        """Authenticate the sender of a request.

        Raises:
            Unauthorised: ``token_malformed, token_wrong_audience, token_wrong_request,
                token_expired, token_bad_signature, token_key_unknown, token_replayed``.
            Forbidden: ``member_suspended``.
            Unavailable: ``chain_view_stale`` when this node cannot decide.
        """
        return self.consume(await self.authenticate(header, method=method, target=target), body)

    async def authenticate(self, header: str, *, method: str, target: str) -> Authenticated:
        """Authenticate a token before the request's body is read.

        Raises:
            As ``verify``, without ``token_replayed``.
        """
        claims, raw, signature = _open(header)
        self._check_claims(claims, method=method, target=target)
        try:
            address = recover(keccak256(self._prefix + raw), signature)
        except BadSignature as error:
            raise Unauthorised(
                "token_bad_signature", "The token's signature is not a signature."
            ) from error
        caller = await self._caller(claims.issuer, bytes.fromhex(address[2:]).rjust(32, b"\0"))
        return Authenticated(caller, claims)

    def consume(self, found: Authenticated, body: bytes) -> PeerCaller:
        """Consume the token for its request and body.

        Raises:
            Unauthorised: ``token_wrong_request, token_expired, token_replayed``.
        """
        claims, now = found.claims, self._clock()
        if claims.body_sha256 != hashlib.sha256(body).hexdigest():
            raise _wrong_request()
        self._require_in_time(claims, now)
        if not self._nonces.use(
            claims.nonce, claims.expires_at, issued_at=claims.issued_at, now=now
        ):
            raise Unauthorised(
                "token_replayed",
                "The token was used before.",
                hint="Make a new token for each request, also for a retry.",
            )
        return found.caller

    def _check_claims(self, claims: TokenClaims, *, method: str, target: str) -> None:
        if claims.audience != self._member:
            raise Unauthorised("token_wrong_audience", "The token is for another member's node.")
        self._require_in_time(claims, self._clock())
        if (claims.method, claims.target) != (method, target):
            raise _wrong_request()

    def _require_in_time(self, claims: TokenClaims, now: float) -> None:
        if claims.expires_at - claims.issued_at > MAX_LIFETIME_SECONDS:
            raise Unauthorised(
                "token_expired", f"The token is meant to live longer than {MAX_LIFETIME_SECONDS} s."
            ).by(RefusedBy(Refuser.CLOCK))
        if not claims.issued_at - SKEW_SECONDS <= now < claims.expires_at:
            raise self._out_of_time(claims.issuer, now - claims.issued_at)

    def _out_of_time(self, sender: str, age: float) -> Unauthorised:
        """The refusal of a token made ``age`` seconds ago, as far as known with whose
        clock is off.
        """
        clocks = self._clocks()
        if clocks.own is not None and clocks.own_off:
            whose = f"The clock of this node ({self._member}) is {shown(clocks.own)}."
        elif sender in clocks.peers:
            whose = f"The clock of {sender} is {shown(clocks.peers[sender])}."
        elif clocks.own is not None:
            whose = (
                f"This node's clock agrees with others': that of {sender} is "
                f"{shown(-age)}, or the request was late."
            )
        else:
            whose = (
                f"The clocks of {sender} and of this node "
                f"({self._member}) differ, or the request was late."
            )
        made = f"{age:.0f} s ago" if age > 0 else f"{-age:.0f} s in the future"
        return Unauthorised(
            "token_expired",
            f"By this node's clock the token was made {made}. {whose}",
            hint="Set the clock that is off by a time server; "
            "`qiaolian health` on both sides names it.",
        ).by(RefusedBy(Refuser.CLOCK))

    async def _caller(self, member: str, fingerprint: bytes) -> PeerCaller:
        async with nullcontext() if fingerprint in self._seen else self._strangers:
            records = await self._view.aproved([key_record(fingerprint), member_record(member)])
        key, caller = records.key(fingerprint), records.member(member)
        if not key.live or key.purpose != KeyPurpose.TOKEN or key.member != member:
            self._seen.discard(fingerprint)
            raise Unauthorised(
                "token_key_unknown",
                "The token's key is not a live token key of the member it names.",
                hint="A wrong signature also shows as an unknown key.",
            )
        if len(self._seen) < 10_000:
            self._seen.add(fingerprint)
        if not caller.live:
            raise Forbidden(
                "member_suspended", "The member is suspended or removed.", member=member
            )
        return PeerCaller(member, caller.roles)


class NonceLog:
    """Nonces used within the validity window, durable over a kill of the process.

    Each is appended to a file before the request is let through; the file is read back at start.
    What a power cut loses from the page cache is covered by refusing tokens issued before the
    machine booted.
    """

    _RECORD = 20

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.time, booted_at: float | None = None
    ) -> None:
        self._path = path
        self._clock = clock
        self._booted_at = psutil.boot_time() if booted_at is None else booted_at
        self._used: dict[bytes, int] = {}
        self._load()
        self._rewrite()

    def use(self, nonce: bytes, expires: int, *, issued_at: float, now: float) -> bool:
        """Whether the nonce is new; it is not from now on."""
        if nonce in self._used or issued_at < self._booted_at - 1:
            return False
        if self._appended > 2 * len(self._used) + 50_000 or now > self._prune_at:
            self._prune(now)
        self._append(nonce + expires.to_bytes(4, "big"))
        self._used[nonce] = expires
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, record: bytes) -> None:
        """One whole record, or none: a full disk takes a part of one, and every later one would be
        read back out of step.
        """
        try:
            if self._file.write(record) == self._RECORD:
                self._appended += 1
                return
            os.ftruncate(self._file.fileno(), self._appended * self._RECORD)
        except OSError as error:
            raise _full() from error
        raise _full()

    def _load(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        now = self._clock()
        for start in range(0, len(data) - self._RECORD + 1, self._RECORD):
            nonce, expires = (
                data[start : start + 16],
                int.from_bytes(data[start + 16 : start + 20], "big"),
            )
            if expires > now:
                self._used[nonce] = expires

    def _prune(self, now: float) -> None:
        former = self._file
        self._used = {nonce: expires for nonce, expires in self._used.items() if expires > now}
        try:
            self._rewrite()
        except OSError as error:
            raise _full() from error
        former.close()

    def _rewrite(self) -> None:
        """Rewrite the file with the nonces still valid, atomically."""
        partial = self._path.with_name(self._path.name + ".partial")
        partial.write_bytes(
            b"".join(nonce + expires.to_bytes(4, "big") for nonce, expires in self._used.items())
        )
        file = partial.open("ab", buffering=0)
        partial.replace(self._path)
        self._file, self._appended = file, len(self._used)
        self._prune_at = self._clock() + 2 * MAX_LIFETIME_SECONDS


def _full() -> Unavailable:
    return Unavailable(
        "disk_unavailable",
        "The node cannot write to its data directory.",
        hint="Check the disk's free space.",
    )


def _open(header: str) -> tuple[TokenClaims, bytes, bytes]:
    """Claims, their bytes and the signature, or ``token_malformed``."""
    scheme, _, token = header.partition(" ")
    try:
        if scheme != SCHEME or len(token) > _MAX_TOKEN_LENGTH:
            raise ValueError("scheme")
        body, _, signature = token.partition(".")
        raw = _decode(body)
        claims = TokenClaims.from_json(json.loads(raw))
        return claims, raw, _decode(signature)
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise Unauthorised(
            "token_malformed",
            "The Authorization header is not a token of this network.",
            hint="See docs/protocol.md.",
        ) from error


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    if not text.isascii() or "=" in text:
        raise ValueError("base64url")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
