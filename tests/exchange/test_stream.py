"""Calls as a stream: each line ends on its own, results come while lines are sent, and neither a
long file nor a client that does not read costs the node memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from chain.core.errors import QiaolianError
from exchange.metering import service
from exchange.metering import stream as streams
from exchange.metering.stream import MAX_CONCURRENT, CallStream, ClientGone, OpenStreams
from registry.pages import PageRequest
from tests.exchange.conftest import Market
from tests.exchange.test_batch import call, owed


@pytest.fixture(scope="module")
def agreement_id(market: Market) -> bytes:
    market.offer()
    found: bytes = market.open(market.grant(), cap=100_000, lanes=4)
    return found


GONE = range(1, 5)


class Client:
    """A client's side of a stream: what it sends, and when."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.gone = False
        self.reads = 0

    def send(self, *lines: Any) -> None:
        for line in lines:
            text = line if isinstance(line, bytes) else json.dumps(line).encode()
            self.parts.put_nowait(text + b"\n")

    def end(self) -> None:
        self.parts.put_nowait(None)

    async def read(self) -> bytes | None:
        self.reads += 1
        part = await self.parts.get()
        if self.gone and part is None:
            raise ClientGone
        return part


def opened(market: Market, client: Client, *, idle_seconds: float = 60.0) -> CallStream:
    context = market.bank.context
    running = context.services.get(OpenStreams, OpenStreams)
    return CallStream(context, client.read, running, idle_seconds=idle_seconds)


async def all_of(stream: CallStream) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in stream.results()]


def sent(market: Market, *lines: Any, **settings: Any) -> list[dict[str, Any]]:
    """The results of a whole stream, by line, and its end."""

    async def run() -> list[dict[str, Any]]:
        client = Client()
        client.send(*lines)
        client.end()
        return await all_of(opened(market, client, **settings))

    *results, end = market.run(run())
    return [*sorted(results, key=lambda result: result["line"]), end]


def test_each_line_ends_on_its_own_and_carries_its_number(
    market: Market, agreement_id: bytes
) -> None:
    before = owed(market, agreement_id)
    *results, end = sent(
        market,
        call(agreement_id, 3, key="own/1"),
        call(agreement_id, 999, key="own/2"),
        b"",
        b"{not json",
        call(agreement_id, 3, key="own/4", agreementId="0x12"),
        call(agreement_id, 3),
        b'{"key": "a", "key": "b"}',
        b"[]",
        b"[" * 60_000,
        call(agreement_id, 4, key="own/9"),
    )
    assert [(result["outcome"], result["reason"]) for result in results] == [
        ("served", ""),
        ("refused", "subject_unknown"),
        ("failed", "json_malformed"),
        ("failed", "field_malformed"),
        ("failed", "stream_line_malformed"),
        ("failed", "json_duplicate_key"),
        ("failed", "stream_line_malformed"),
        ("failed", "json_too_deep"),
        ("served", ""),
    ]
    assert (results[0]["record"], results[8]["record"]) == ({"seniority": 3}, {"seniority": 4})
    assert (end["end"], end["lines"]) == (True, 9)
    assert owed(market, agreement_id) == before + 2 * 50


def test_a_file_sent_twice_is_billed_once(market: Market, agreement_id: bytes) -> None:
    lines = [call(agreement_id, number, key=f"again/{number}") for number in range(10, 30)]
    first = sent(market, *lines)
    before = owed(market, agreement_id)
    assert sent(market, *lines) == first
    assert owed(market, agreement_id) == before


def test_a_result_comes_while_the_request_is_still_open(
    market: Market, agreement_id: bytes
) -> None:
    async def run() -> list[int]:
        client, lines = Client(), []
        async with aclosing(opened(market, client).results()) as results:
            for number in (1, 2, 3):
                client.send(call(agreement_id, number, key=f"duplex/{number}"))
                lines.append(json.loads(await anext(results))["line"])
            client.end()
            assert json.loads(await anext(results))["end"]
        return lines

    assert market.run(run()) == [1, 2, 3]


def test_a_client_that_reads_no_results_is_not_read_from(market: Market) -> None:
    async def run() -> tuple[int, int]:
        client = Client()
        client.send(*(call(bytes(32), number, key=f"unread/{number}") for number in range(1_000)))
        client.end()
        results: AsyncIterator[bytes] = opened(market, client).results()
        await anext(results)
        while client.reads < MAX_CONCURRENT:
            await asyncio.sleep(0)
        for _ in range(1_000):
            await asyncio.sleep(0)
        unread = client.reads
        return unread, len([line async for line in results]) + 1

    unread, lines = market.run(run())
    assert unread <= MAX_CONCURRENT + 2
    assert lines == 1_001


def test_what_a_client_asked_before_it_hung_up_is_completed_and_stored(
    market: Market, agreement_id: bytes
) -> None:
    async def run() -> list[dict[str, Any]]:
        client = Client()
        client.send(*(call(agreement_id, number, key=f"gone/{number}") for number in GONE))
        client.gone = True
        client.end()
        found = await all_of(opened(market, client))
        running = market.bank.context.services.get(OpenStreams, OpenStreams)
        await asyncio.gather(*running.calls)
        assert running.count == 0
        return found

    assert all("end" not in result for result in market.run(run()))
    rows = service.calls(market.bank.context, PageRequest(200), agreement_id=agreement_id).rows
    stored = {row.key: row.status for row in rows}
    assert [stored[f"gone/{number}"] for number in GONE] == ["served"] * 4


def test_a_line_without_end_is_refused_before_it_fills_the_memory(market: Market) -> None:
    async def run() -> tuple[dict[str, Any], int]:
        client = Client()
        for _ in range(100):
            client.parts.put_nowait(b"x" * 16_384)
        (end,) = await all_of(opened(market, client))
        return end, client.reads

    end, reads = market.run(run())
    assert (end["end"], end["reason"]) == (False, "stream_line_too_long")
    assert reads <= 6


def test_a_silent_client_is_ended(market: Market) -> None:
    async def run() -> list[dict[str, Any]]:
        return await all_of(opened(market, Client(), idle_seconds=0.01))

    (end,) = market.run(run())
    assert (end["end"], end["reason"]) == (False, "stream_idle")


def test_a_node_serves_a_bounded_number_of_streams(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 0)
    with pytest.raises(QiaolianError, match="streams") as refused:
        streams.open_stream(market.bank.context, Client().read)
    assert refused.value.code == "too_many_streams"
