"""Log-in at the organisation's OpenID provider: authorisation code with PKCE, state and nonce
(OpenID Connect Core 1.0, RFC 7636, RFC 9700).

What a log-in under way needs is stored in a cookie, encrypted under a key of this node, so that a
log-in counts in the browser that began it and in no other.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from chain.context import Context
from chain.core.errors import BadInput, Unauthorised, Unavailable
from nodes.config import OpenId

_ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
_MAX_BYTES = 262_144
_TIMEOUT = urllib3.Timeout(connect=5.0, read=10.0)
_LABEL = b"qiaolian.console.openid.v1"
_LEEWAY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A log-in that was sent to the provider; ``at`` in Unix seconds."""

    state: str
    nonce: str
    verifier: str
    target: str
    at: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the provider vouches for."""

    issuer: str
    subject: str
    username: str
    name: str
    groups: frozenset[str]


class OpenIdProvider:
    """The organisation's provider. Thread-safe; its metadata and keys are fetched when needed."""

    LOGIN_SECONDS: ClassVar[int] = 600
    """How long a person may take at the provider."""

    def __init__(self, settings: OpenId, secret_file: Path) -> None:
        self._settings = settings
        self._secret_file = secret_file
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT)

    def begin(self, context: Context, *, redirect_uri: str, target: str) -> tuple[str, str]:
        """The provider's address to send the browser to, and the cookie's value.

        Raises:
            Unavailable: ``openid_unavailable``.
        """
        state, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        pending = PendingLogin(state, nonce, secrets.token_urlsafe(64), target, context.now())
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": _challenge(pending.verifier),
            "code_challenge_method": "S256",
        }
        endpoint = self._metadata()["authorization_endpoint"]
        joint = "&" if "?" in endpoint else "?"
        return f"{endpoint}{joint}{urlencode(query)}", _seal(context, pending)

    def finish(
        self, context: Context, *, cookie: str, state: str, code: str, redirect_uri: str
    ) -> tuple[Identity, str]:
        """Exchange the code that the browser brought back; the person, and the page to go to.

        Raises:
            Unauthorised: ``openid_refused``; Unavailable: ``openid_unavailable``.
        """
        if not code:
            raise _refused("The provider refused the log-in.")
        pending = _unseal(context, cookie)
        if (
            pending is None
            or context.now() - pending.at > self.LOGIN_SECONDS
            or not secrets.compare_digest(pending.state.encode(), state.encode())
        ):
            raise _refused("This log-in was not begun in this browser, or took too long.")
        token = self._exchange(code, pending.verifier, redirect_uri)
        claims = self._claims(token, pending.nonce, context.now())
        return self._identity(claims), pending.target

    def _exchange(self, code: str, verifier: str, redirect_uri: str) -> str:
        settings = self._settings
        credentials = f"{quote(settings.client_id, safe='')}:{quote(self._secret(), safe='')}"
        answer = self._request(
            "POST",
            self._metadata()["token_endpoint"],
            headers={
                "authorization": "Basic " + base64.b64encode(credentials.encode()).decode(),
                "content-type": "application/x-www-form-urlencoded",
            },
            body=urlencode(
                {
                    "grant_type": "authorization_code",
                    "code": code,
                    "redirect_uri": redirect_uri,
                    "code_verifier": verifier,
                }
            ),
        )
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise _refused("The provider gave no ID token for the code.")
        return token

    def _claims(self, token: str, nonce: str, now: int) -> dict[str, Any]:
        """The ID token's claims, once signature, issuer, audience, times and nonce hold."""
        metadata = self._metadata()
        try:
            keys = KeySet.import_key_set(cast(Any, self._request("GET", metadata["jwks_uri"])))
            read = jwt.decode(token, keys, algorithms=_ALGORITHMS)
            claims = CodeIDToken(
                read.claims,
                read.header,
                {
                    "iss": {"essential": True, "value": metadata["issuer"]},
                    "aud": {"essential": True, "value": self._settings.client_id},
                    "nonce": {"essential": True, "value": nonce},
                    "sub": {"essential": True},
                },
                {"nonce": nonce, "client_id": self._settings.client_id},
            )
            claims.validate(now=now, leeway=_LEEWAY_SECONDS)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise _refused("The provider's ID token does not hold.") from error
        return dict(claims)

    def _identity(self, claims: dict[str, Any]) -> Identity:
        groups = claims.get(self._settings.groups_claim, [])
        named = groups if isinstance(groups, list) else [groups]
        return Identity(
            issuer=str(claims["iss"]),
            subject=str(claims["sub"])[:255],
            username=str(claims.get("preferred_username", "")),
            name=str(claims.get("name", "")),
            groups=frozenset(group for group in named if isinstance(group, str)),
        )

    def _metadata(self) -> dict[str, Any]:
        """The provider's discovery document, whose issuer is the configured one."""
        issuer = self._settings.issuer.rstrip("/")
        found = self._request("GET", f"{issuer}/.well-known/openid-configuration")
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        if str(found.get("issuer", "")).rstrip("/") != issuer or not all(
            _is_same_security(str(found.get(name, "")), issuer) for name in names
        ):
            raise _unavailable("describes another issuer, or addresses without TLS")
        return found

    def _request(self, method: str, url: str, **sent: Any) -> dict[str, Any]:
        try:
            answer = self._pool.request(method, url, redirect=False, preload_content=False, **sent)
            try:
                data = answer.read(_MAX_BYTES)
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise _unavailable("does not answer") from error
        if method == "POST" and answer.status in (400, 401, 403):
            raise _refused("The provider refused the code.")
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if answer.status != 200 or not isinstance(value, dict):
            raise _unavailable(f"answered with status {answer.status}")
        return value

    def _secret(self) -> str:
        try:
            return self._secret_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise BadInput(
                "openid_secret_missing",
                "The client secret of the OpenID provider cannot be read.",
                hint="Put it into the file that console.openid.client_secret_file names.",
            ) from error


def _challenge(verifier: str) -> str:
    """The S256 code challenge of a verifier."""
    return str(create_s256_code_challenge(verifier))  # type: ignore[no-untyped-call]


def _refused(sentence: str) -> Unauthorised:
    """The refusal of a log-in at the provider."""
    return Unauthorised("openid_refused", sentence, hint="Log in again from the console's page.")


def _is_same_security(url: str, issuer: str) -> bool:
    """Whether an address is at least as protected as the issuer's."""
    scheme = urlsplit(url).scheme
    return scheme == "https" or (scheme == "http" and urlsplit(issuer).scheme == "http")


def _unavailable(what: str) -> Unavailable:
    return Unavailable(
        "openid_unavailable",
        f"The organisation's OpenID provider {what}.",
        hint="Try again; local accounts still log in.",
    )


def _seal(context: Context, pending: PendingLogin) -> str:
    nonce = secrets.token_bytes(12)
    sealed = AESGCM(context.derive(_LABEL)).encrypt(
        nonce, json.dumps(asdict(pending)).encode(), _LABEL
    )
    return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")


def _unseal(context: Context, cookie: str) -> PendingLogin | None:
    try:
        raw = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
        plain = AESGCM(context.derive(_LABEL)).decrypt(raw[:12], raw[12:], _LABEL)
        return PendingLogin(**json.loads(plain))
    except (ValueError, TypeError, InvalidTag):
        return None
