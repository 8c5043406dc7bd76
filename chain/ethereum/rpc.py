"""JSON-RPC over kept-alive HTTP, to any of several nodes of one chain.

Requests go to one node until it fails, then to the next. Each node is asked once for its chain id
and genesis hash, and again after it failed, so that a node that came back as another chain is
noticed. Environment proxies are never used. A single ``Rpc`` may be used by several threads.

Errors: ``chain_unreachable`` when no node answers in time; ``chain_wrong_id`` when a node answers
    for another chain; ``chain_bad_answer`` for anything that is not JSON-RPC; ``chain_refused``
    (``RpcRefused``) for a node's own error answer.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import urllib3

from chain.core.errors import ChainUnavailable, QiaolianError, RefusedBy, Refuser

log = logging.getLogger("qiaolian.rpc")

Call = tuple[str, Sequence[Any]]
"""A method and its parameters."""

MAX_RESPONSE_BYTES = 64 << 20


class RpcRefused(QiaolianError):
    """The node understood the request and answered with an error."""

    status = 502
    refused_by = RefusedBy(Refuser.CHAIN)

    def __init__(self, method: str, number: int, message: str, data: object = None) -> None:
        super().__init__(
            "chain_refused",
            f"The chain node refused {method}: {message}",
            method=method,
            number=number,
            data=data,
        )
        self.number = number
        self.message = message
        self.data = data


class ChainUnreachable(ChainUnavailable):
    """No configured node answered."""


class ChainAnswer(ChainUnavailable):
    """A node answered with something that cannot be used: another chain, or no JSON-RPC."""


class Rpc:
    """A connection to a chain through any of its nodes' URLs."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        chain_id: int | None = None,
        genesis_hash: bytes | None = None,
        timeout: float = 10.0,
    ) -> None:
        if not urls:
            raise ValueError("an Rpc needs at least one URL")
        self.urls = tuple(urls)
        self._chain_id = chain_id
        self._genesis_hash = genesis_hash
        self._pool = urllib3.PoolManager(
            maxsize=16,
            timeout=urllib3.Timeout(connect=min(timeout, 3.0), read=timeout),
            retries=False,
        )
        self._checked: set[str] = set()
        self._current = 0
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def call(self, method: str, *parameters: Any) -> Any:
        """One request.

        Raises:
            RpcRefused: the node's own error.
            ChainUnreachable, ChainAnswer: see the module's text.
        """
        answer = self.batch([(method, parameters)])[0]
        if isinstance(answer, RpcRefused):
            raise answer
        return answer

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Several requests in one HTTP exchange with one node; a refused one is its ``RpcRefused``
        in the list.
        """
        if not calls:
            return []
        failure: QiaolianError | None = None
        start = self._current
        for step in range(len(self.urls)):
            index = (start + step) % len(self.urls)
            url = self.urls[index]
            try:
                self._check(url)
                answers = self._exchange(url, calls)
            except (ChainUnreachable, ChainAnswer) as error:
                self._checked.discard(url)
                error.by(RefusedBy(Refuser.CHAIN, address=address_of(url)))
                # Another chain is worse news than silence: it is what the operator has to hear
                # about.
                if failure is None or error.code == "chain_wrong_id":
                    failure = error
                if len(self.urls) > 1:
                    log.warning("chain node %s: %s (%s)", shown(url), error.sentence, error.code)
                continue
            self._current = index
            return answers
        assert failure is not None
        raise failure

    def switch_node(self) -> None:
        """Ask another node from now on: the present one answered something that does not hold."""
        self._current = (self._current + 1) % len(self.urls)

    def close(self) -> None:
        """Drop the connections."""
        self._pool.clear()

    def _check(self, url: str) -> None:
        """Ask a node which chain it is, once."""
        if url in self._checked:
            return
        with self._lock:
            if url in self._checked:
                return
            chain_id, genesis = self._exchange(
                url, [("eth_chainId", ()), ("eth_getBlockByNumber", ("0x0", False))]
            )
            try:
                found_id, found_hash = int(chain_id, 16), bytes.fromhex(genesis["hash"][2:])
            except (TypeError, ValueError, KeyError) as error:
                raise _bad_answer(url) from error
            if self._chain_id not in (None, found_id):
                raise ChainAnswer(
                    "chain_wrong_id",
                    f"The chain node answers for chain {found_id}, not for chain {self._chain_id}.",
                    hint="Correct the node's chain URL, or use the deployment.json of that chain.",
                    url=shown(url),
                )
            if self._genesis_hash not in (None, found_hash):
                raise ChainAnswer(
                    "chain_wrong_id",
                    "The chain node's chain has the right number but another genesis block.",
                    hint="The network was rebuilt, or the URL is of another network: use the "
                    "matching deployment.json.",
                    url=shown(url),
                )
            self._checked.add(url)

    def _exchange(self, url: str, calls: Sequence[Call]) -> list[Any]:
        numbers = list(itertools.islice(self._ids, len(calls)))
        requests = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": list(parameters)}
            for number, (method, parameters) in zip(numbers, calls, strict=True)
        ]
        # Some nodes answer a batch of one with a bare object, so a single request is sent bare.
        body = json.dumps(
            requests if len(requests) > 1 else requests[0], separators=(",", ":")
        ).encode()
        try:
            raw = self._post(url, body)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ChainUnreachable(
                "chain_unreachable",
                "No chain node answered.",
                hint="Check that the validator runs and that the chain URL "
                "is right; the request can be repeated.",
                url=shown(url),
            ) from error
        if len(raw) > MAX_RESPONSE_BYTES:
            raise _bad_answer(url)
        try:
            decoded = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise _bad_answer(url) from error
        return _ordered(url, calls, numbers, decoded)

    def _post(self, url: str, body: bytes) -> bytes:
        """POST and read the answer; once more on a fresh connection if a kept-alive one had been
        closed by the node.

        Repeating is harmless: reads change nothing and a raw transaction takes effect once.
        """
        for last in (False, True):
            try:
                response = self._pool.request(
                    "POST",
                    url,
                    body=body,
                    headers={"Content-Type": "application/json"},
                    preload_content=False,
                )
                try:
                    return response.read(MAX_RESPONSE_BYTES + 1)
                finally:
                    response.release_conn()
            except urllib3.exceptions.ProtocolError:
                if last:
                    raise
        raise AssertionError("unreachable")


def address_of(url: str) -> str:
    """Host and port of a URL."""
    return urlsplit(url).netloc.rpartition("@")[2]


def shown(url: str) -> str:
    """A URL as it may be logged and answered: scheme, host and port. Its user, path and query may
    hold a password or an access key.
    """
    return f"{urlsplit(url).scheme}://{address_of(url)}"


def _ordered(url: str, calls: Sequence[Call], numbers: list[int], decoded: Any) -> list[Any]:
    """The answers in the order of the requests, whatever order the node chose."""
    items = decoded if isinstance(decoded, list) else [decoded]
    by_id: dict[int, Any] = {}
    for item in items:
        if not isinstance(item, dict) or type(item.get("id")) is not int:
            raise _bad_answer(url)
        by_id[item["id"]] = item
    if set(by_id) != set(numbers):
        raise _bad_answer(url)
    return [
        _result(url, method, by_id[number])
        for number, (method, _) in zip(numbers, calls, strict=True)
    ]


def _result(url: str, method: str, item: dict[str, Any]) -> Any:
    error = item.get("error")
    if error is not None:
        if not isinstance(error, dict):
            raise _bad_answer(url)
        number = error.get("code")
        return RpcRefused(
            method,
            number if type(number) is int else 0,
            str(error.get("message", ""))[:500],
            error.get("data"),
        )
    if "result" not in item:
        raise _bad_answer(url)
    return item["result"]


def _bad_answer(url: str) -> ChainAnswer:
    return ChainAnswer(
        "chain_bad_answer",
        "What answers at the chain URL does not speak JSON-RPC.",
        hint="Check the chain URL: a proxy or another program may be listening there.",
        url=shown(url),
    )
