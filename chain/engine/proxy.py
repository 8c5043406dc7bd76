"""``qiaolian network proxy``: the proxy of a validator's RPC port, for remote nodes.

It passes the methods that nodes use, and the transactions that ``chain.engine.proxy_rules`` allows
and whose sender is a live TRANSACTION key in the member directory. Contracts check status and role:
a suspended member may still claim, close and withdraw. The directory is read from the proxy's own
validator, which the proxy trusts.

Founding does not go through the proxy: before ``deployment.json`` exists there are no members and
no contracts to check against.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from chain.core.errors import BadInput, Forbidden, QiaolianError
from chain.engine.proxy_rules import (
    MAX_BODY_BYTES,
    SEND,
    Rate,
    RpcCall,
    Transaction,
    read_request,
    read_transaction,
    require_allowed,
    require_method,
)
from chain.ethereum.deployment import Deployment
from chain.ethereum.ledger.abi import contract_abi
from chain.ethereum.rpc import Rpc, RpcRefused
from chain.statements.members import KeyPurpose

BODY_SECONDS = 10.0
MEMBER_SECONDS = 5.0
"""How long a sender that was found in the directory counts as a member."""
MAX_CONNECTIONS = 64
MAX_SENDERS = 10_000
REFUSED = -32_003
"""The JSON-RPC error number of what the proxy refuses; ``data`` holds the code."""

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Proxy:
    """The ASGI application. ``now`` is a steady clock in seconds."""

    def __init__(
        self, rpc: Rpc, deployment: Deployment, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._rpc = rpc
        self._deployment = deployment
        self._contracts = frozenset(deployment.contracts.values())
        self._now = now
        self._rate = Rate()
        self._lock = threading.Lock()
        self._members: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        try:
            if scope["method"] != "POST":
                raise BadInput("request_malformed", "Requests are sent by POST.")
            body = await asyncio.wait_for(_body(receive), BODY_SECONDS)
            calls, batch = read_request(body)
            answers = await asyncio.to_thread(self._answers, calls)
            await _reply(send, 200, answers if batch else answers[0])
        except TimeoutError:
            await _reply(
                send,
                408,
                _error(None, BadInput("request_too_slow", "The request did not arrive in time.")),
            )
        except QiaolianError as error:
            await _reply(send, error.status, _error(None, error))

    def _answers(self, calls: list[RpcCall]) -> list[dict[str, Any]]:
        """The answers in the order of the calls.

        What is refused leaves the rest of a batch alone.
        """
        answers: dict[int, dict[str, Any]] = {}
        passed: list[tuple[int, RpcCall]] = []
        for index, call in enumerate(calls):
            try:
                self._require_allowed(call)
                passed.append((index, call))
            except QiaolianError as error:
                answers[index] = _error(call.id, error)
        results = self._rpc.batch([(call.method, call.params) for _, call in passed])
        for (index, call), result in zip(passed, results, strict=True):
            answers[index] = _answer(call.id, result)
        return [answers[index] for index in range(len(calls))]

    def _require_allowed(self, call: RpcCall) -> None:
        require_method(call)
        if call.method != SEND:
            return
        if len(call.params) != 1:
            raise BadInput("transaction_malformed", "It is not a signed Ethereum transaction.")
        transaction = read_transaction(call.params[0], chain_id=self._deployment.chain_id)
        require_allowed(transaction, contracts=self._contracts)
        self._require_member(transaction)
        with self._lock:
            self._rate.take(transaction.sender, self._now())

    def _require_member(self, transaction: Transaction) -> None:
        sender, now = transaction.sender, self._now()
        if self._members.get(sender, -1.0) > now:
            return
        if not self._is_member(sender):
            raise Forbidden("not_member_key", "The sender is no live transaction key of a member.")
        if len(self._members) >= MAX_SENDERS:
            self._members.clear()
        self._members[sender] = now + MEMBER_SECONDS

    def _is_member(self, sender: str) -> bool:
        data = contract_abi("MemberDirectory").encode(
            "memberOf", [sender, int(KeyPurpose.TRANSACTION)]
        )
        call = {"to": self._deployment.address("MemberDirectory"), "data": "0x" + data.hex()}
        return int(self._rpc.call("eth_call", call, "latest"), 16) != 0


async def _body(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise BadInput("request_malformed", "The request was broken off.")
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise BadInput("request_too_large", f"A request has at most {MAX_BODY_BYTES} bytes.")
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _reply(send: Send, status: int, value: Any) -> None:
    body = json.dumps(value, separators=(",", ":")).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _answer(number: int | str, result: Any) -> dict[str, Any]:
    if not isinstance(result, RpcRefused):
        return {"jsonrpc": "2.0", "id": number, "result": result}
    error = {"code": result.number, "message": result.message}
    data = result.data
    return {
        "jsonrpc": "2.0",
        "id": number,
        "error": error if data is None else {**error, "data": data},
    }


def _error(number: int | str | None, error: QiaolianError) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": number,
        "error": {"code": REFUSED, "message": error.sentence, "data": error.code},
    }


def serve(url: str, deployment: Deployment, *, host: str, port: int) -> None:
    """Run the proxy until SIGTERM or SIGINT."""
    import uvicorn

    rpc = Rpc([url], chain_id=deployment.chain_id, genesis_hash=deployment.genesis_hash)
    settings = uvicorn.Config(
        Proxy(rpc, deployment),
        host=host,
        port=port,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=16_384,
    )
    uvicorn.Server(settings).run()
