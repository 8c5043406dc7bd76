"""Client of other members' nodes: ``chain.context.Peers`` over pinned TLS, one token per request.

A peer's address comes from this node's configuration; who answers there is checked against the
directory: the certificate's key must be a live TLS key of that member (and, where the configuration
pins one, that key), and the certificate must not have ended. A peer's refusal is raised as our own
error by code, refused by that peer; what a proxy or another program at the address answers in its
place is named as such (``nodes.answers``).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from chain.core.canonical import MAX_VALUES, require_max_values
from chain.core.errors import Malformed, NotFound, QiaolianError, RefusedBy, Refuser, Unavailable
from chain.core.zone import local_time
from chain.ethereum.proved_records import key_record
from chain.ethereum.view import ChainView
from chain.statements.members import KeyPurpose
from nodes.answers import HttpAnswer, foreign, peer_refusal
from nodes.clocks import offset_to_peer
from nodes.config import Peer
from nodes.http import ConnectionLost, Endpoint, ShownCertificate, client_tls
from nodes.tokens import TokenIssuer

_INLINE_BYTES = 1 << 16
OFFSET_SECONDS = 300.0
"""An older answer says nothing of the clocks."""


class HttpPeers:
    """Peers by member id. Belongs to one event loop."""

    def __init__(
        self,
        *,
        peers: Mapping[str, Peer],
        issuer: TokenIssuer,
        view: ChainView,
        timeout: float = 20.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._peers = dict(peers)
        self._issuer = issuer
        self._view = view
        self._timeout = timeout
        self._tls = client_tls()
        self._clock = clock
        self._endpoints: dict[str, Endpoint] = {}
        self._ends: dict[str, float] = {}

    @property
    def members(self) -> tuple[str, ...]:
        """Members whose nodes are configured."""
        return tuple(self._peers)

    async def post(
        self, member: str, path: str, body: Any, *, idempotency_key: str | None = None
    ) -> Any:
        """POST a JSON body, or the bytes of one; the decoded JSON answer, or the peer's error as
        ours.
        """
        headers = [("idempotency-key", idempotency_key)] if idempotency_key is not None else []
        raw = (
            body
            if isinstance(body, bytes)
            else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        )
        return await self._read(member, await self._send(member, "POST", path, raw, headers))

    async def get(self, member: str, path: str) -> Any:
        """GET; the decoded JSON answer, or the peer's error as ours."""
        return await self._read(member, await self._send(member, "GET", path, b"", []))

    async def get_bytes(self, member: str, path: str) -> bytes:
        """GET what is not JSON, such as a log tile or a checkpoint."""
        answer = await self._send(member, "GET", path, b"", [])
        if answer.refused or _is_page(answer):
            raise self._refusal(member, answer)
        return answer.body

    def certificate_ends(self) -> Mapping[str, float]:
        """When the certificate that each member's node showed last ends, in Unix seconds."""
        return dict(self._ends)

    def clock_offsets(self) -> Mapping[str, float]:
        """This node's clock minus each member's, in seconds, by the latest answer
        (``nodes.clocks``).
        """
        oldest = self._clock() - OFFSET_SECONDS
        found = {}
        for member, endpoint in list(self._endpoints.items()):
            last = endpoint.last
            if last is None or not oldest < last.received_at <= self._clock():
                continue
            offset = offset_to_peer(last.sent_at, last.received_at, last.date)
            if offset is not None:
                found[member] = offset
        return found

    def close(self) -> None:
        """Drop the connections."""
        for endpoint in self._endpoints.values():
            endpoint.close()

    async def _send(
        self, member: str, method: str, path: str, body: bytes, headers: list[tuple[str, str]]
    ) -> HttpAnswer:
        endpoint = self._endpoint(member)
        token = self._issuer.issue(audience=member, method=method, target=path, body=body)
        sent = [("authorization", token), *headers]
        if body:
            sent.append(("content-type", "application/json"))
        try:
            async with asyncio.timeout(self._timeout):
                return await endpoint.request(method, path, sent, body)
        except TimeoutError as error:
            raise Unavailable(
                "peer_timeout",
                "The other member's node did not answer in time; whether it acted is not known.",
                hint="Send the same request again: it is idempotent.",
                member=member,
            ).by(self._peer(member)) from error
        except (OSError, ConnectionLost) as error:
            raise Unavailable(
                "peer_unreachable",
                "The other member's node could not be reached, or the connection broke.",
                hint="Send the same request again: it is idempotent.",
                member=member,
            ).by(self._peer(member)) from error

    async def _read(self, member: str, answer: HttpAnswer) -> Any:
        """The decoded answer; a large one is read in a thread."""
        if len(answer.body) <= _INLINE_BYTES:
            return self._decoded(member, answer)
        return await asyncio.to_thread(self._decoded, member, answer)

    def _decoded(self, member: str, answer: HttpAnswer) -> Any:
        if answer.refused or _is_page(answer):
            raise self._refusal(member, answer)
        if answer.status == 204 or not answer.body:
            return None
        try:
            require_max_values(answer.body, MAX_VALUES)
            return json.loads(answer.body)
        except (Malformed, ValueError, RecursionError) as error:
            sentence = "The other member's node did not answer with JSON that can be read."
            raise Unavailable("peer_bad_answer", sentence, member=member).by(
                self._peer(member)
            ) from error

    def _refusal(self, member: str, answer: HttpAnswer) -> QiaolianError:
        if not answer.refused:
            return foreign(answer, replace(self._peer(member), kind=Refuser.PROXY))
        return peer_refusal(member, self._peer(member).address, answer)

    def _peer(self, member: str) -> RefusedBy:
        """The member's node as the party that refused."""
        return RefusedBy(Refuser.PEER, member, urlsplit(self._peers[member].url).netloc)

    def _endpoint(self, member: str) -> Endpoint:
        found = self._endpoints.get(member)
        if found is not None:
            return found
        peer = self._peers.get(member)
        if peer is None:
            raise NotFound(
                "peer_unknown",
                "This node has no address for that member.",
                hint="Add it under [peers] in the node's configuration.",
                member=member,
            )
        parts = urlsplit(peer.url)
        pinned = None if peer.tls is None else bytes.fromhex(peer.tls[2:])

        async def check(shown: ShownCertificate) -> None:
            await self._check_certificate(member, shown, pinned)

        found = Endpoint(
            host=parts.hostname or "",
            port=parts.port or 443,
            tls=self._tls,
            check=check,
            clock=self._clock,
        )
        self._endpoints[member] = found
        return found

    async def _check_certificate(
        self, member: str, shown: ShownCertificate, pinned: bytes | None
    ) -> None:
        fingerprint = shown.fingerprint
        record = (await self._view.aproved([key_record(fingerprint)])).key(fingerprint)
        right = record.live and record.purpose == KeyPurpose.TLS and record.member == member
        if not right or pinned not in (None, fingerprint):
            raise Unavailable(
                "peer_wrong_certificate",
                "What answers at the other member's address does not hold that member's TLS key.",
                hint="Check the address, and that no proxy opens TLS on the way; if both are "
                "right, ask the member whether its certificate changed.",
                member=member,
            ).by(self._peer(member))
        self._ends[member] = shown.ends_at
        if shown.ends_at <= self._clock():
            raise Unavailable(
                "peer_certificate_expired",
                f"The TLS certificate of the node of {member} ended at "
                f"{local_time(shown.ends_at)}.",
                hint="Ask that member to run `qiaolian node certificate renew`. If the date is "
                "still to come, correct this machine's clock.",
                member=member,
            ).by(self._peer(member))


def _is_page(answer: HttpAnswer) -> bool:
    """Whether the answer is an HTML page, which no node sends another."""
    return answer.content_type.partition(";")[0].strip().lower() == "text/html"
