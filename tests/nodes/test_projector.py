"""Only events that are proved to be in a block are applied, and none is left out, whatever a chain
node answers.
"""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import urllib3

from chain.context import Context
from chain.core.crypto import new_private_key
from chain.core.database import Base, Database
from chain.core.errors import Unavailable
from chain.ethereum.finality import UnsealedForTestsOnly
from chain.ethereum.ledger import Ledger
from chain.ethereum.view import ChainView
from chain.keys.files import Ed25519Signer
from chain.statements.members import Role
from nodes.access import LocalAccess
from nodes.bodies import BodyBudget, BodyLimits
from nodes.config import NodeLimits, parse
from nodes.gate import GateServices, RequestGate
from nodes.health import Health, MonitoredParts
from nodes.metrics import Metrics
from nodes.peers import HttpPeers
from nodes.rates import RateLimiter
from nodes.restore_guard import RestoreGuard
from nodes.routers import load_tables
from nodes.sources import Sources
from nodes.sources.monitor import SourceMonitor
from nodes.store import NodeCursor
from nodes.tokens import TokenIssuer
from nodes.workers.peers import PeerMonitor
from nodes.workers.projector import NAME, Projector
from nodes.workers.status import WorkerMonitor
from registry.members.store import MemberKeyRow, MemberRow
from registry.uscc import with_check_character
from tests.chain.conftest import Throwaway, throw_away

SECONDS = 60.0
"""A bound for what a busy machine may delay, not a measure."""

Serve = Callable[[Callable[[Any], bytes]], str]
Lie = Callable[[list[dict[str, Any]]], Any]
"""From a block's true logs to others."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Throwaway]:
    """Blocks with the founding members and their keys, a suspension, and an anchored log."""
    with throw_away(tmp_path_factory.mktemp("chain")) as made:
        made.send(made.organisations[1], "EvidenceLog", "anchor", 1, 5, b"\1" * 32)
        made.execute("suspend", made.organisations[3].member, "unpaid")
        made.send(made.organisations[1], "EvidenceLog", "anchor", 1, 6, b"\2" * 32)
        yield made


def invented(logs: list[dict[str, Any]]) -> Any:
    """The block's last log once more: a member is suspended, a key added."""
    return [*logs, {**logs[-1], "logIndex": hex(int(logs[-1]["logIndex"], 16) + 1)}]


def altered(logs: list[dict[str, Any]]) -> Any:
    last = {**logs[-1], "topics": [*logs[-1]["topics"][:-1], "0x" + "5a" * 32]}
    return [*logs[:-1], last]


def omitted(logs: list[dict[str, Any]]) -> Any:
    return logs[:-1]


def silent(logs: list[dict[str, Any]]) -> Any:
    return []


def garbage(logs: list[dict[str, Any]]) -> Any:
    return {"logs": 7}


LIES = [invented, altered, omitted, silent, garbage]


def lying(url: str, lie: Lie) -> Callable[[Any], bytes]:
    """A node that forwards to the real one and lies about logs, whichever way it is asked."""

    def altered(request: dict[str, Any], result: Any) -> Any:
        if request["method"] == "eth_getLogs" and result:
            by_block: dict[str, list[dict[str, Any]]] = {}
            for log in result:
                by_block.setdefault(log["blockNumber"], []).append(log)
            lies = [lie(logs) for logs in by_block.values()]
            return (
                [log for logs in lies for log in logs]
                if all(isinstance(logs, list) for logs in lies)
                else lies[0]
            )
        if request["method"] == "eth_getBlockReceipts":
            return [
                {**receipt, "logs": lie(receipt["logs"])} if receipt["logs"] else receipt
                for receipt in result
            ]
        return result

    return forwarding(url, altered)


def forwarding(url: str, altered: Callable[[dict[str, Any], Any], Any]) -> Callable[[Any], bytes]:
    """A node that answers as the one at ``url`` does, each result passed through ``altered``."""
    pool = urllib3.PoolManager()

    def answer(body: Any) -> bytes:
        headers = {"Content-Type": "application/json"}
        true = json.loads(
            pool.request("POST", url, body=json.dumps(body).encode(), headers=headers).data
        )
        requests, answers = (body, true) if isinstance(body, list) else ([body], [true])
        asked = {request["id"]: request for request in requests}
        answers = [
            {**one, "result": altered(asked[one["id"]], one["result"])} if "result" in one else one
            for one in answers
        ]
        return json.dumps(answers if isinstance(body, list) else answers[0]).encode()

    return answer


def other_block(url: str) -> Callable[[Any], bytes]:
    """A node that gives a block the receipts, and the logs, of another."""
    pool = urllib3.PoolManager()

    def earlier(method: str, height: int) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": [hex(height)]})
        return json.loads(
            pool.request("POST", url, body=body, headers={"Content-Type": "application/json"}).data
        )["result"]

    def altered(request: dict[str, Any], result: Any) -> Any:
        if request["method"] == "eth_getBlockReceipts":
            return earlier("eth_getBlockReceipts", int(request["params"][0], 16) - 1)
        if request["method"] == "eth_getLogs" and result:
            last, first = copy.deepcopy(result[-1]), result[0]
            return [
                *result[:-1],
                {
                    **last,
                    "topics": first["topics"],
                    "data": first["data"],
                    "address": first["address"],
                },
            ]
        return result

    return forwarding(url, altered)


@pytest.fixture
def node_at(chain: Throwaway, tmp_path: Path) -> Iterator[Callable[..., Context]]:
    """Makes a node that asks the chain nodes at these addresses."""
    contexts: list[Context] = []

    def made(*urls: str) -> Context:
        load_tables()
        database = Database(f"sqlite:///{tmp_path}/{len(contexts)}.db")
        Base.metadata.create_all(database.engine)
        view = ChainView(urls, chain.deployment, UnsealedForTestsOnly(), poll_seconds=0.05)
        department = chain.organisations[1]
        issuer = TokenIssuer(
            member=department.member, signer=department.transaction, deployment=chain.deployment
        )
        context = Context(
            member=department.member,
            roles=Role.DEPARTMENT,
            database=database,
            ledger=Ledger(urls, chain.deployment),
            view=view,
            peers=HttpPeers(peers={}, issuer=issuer, view=view),
            signers={},
            log_signer=Ed25519Signer(new_private_key()),
            transaction_address=department.transaction.address,
        )
        contexts.append(context)
        view.start(wait_seconds=SECONDS)
        view.wait_for_height(chain.ledger.height(), SECONDS)
        return context

    yield made
    for context in contexts:
        context.view.stop()
        context.ledger.close()
        context.peers.close()  # type: ignore[attr-defined]
        context.database.close()


def rows(context: Context) -> dict[str, list[Any]]:
    """What the members' events left in the database."""
    with context.database.read() as session:
        return {
            table.name: [
                tuple(row)
                for row in session.execute(sa.select(table).order_by(*table.primary_key.columns))
            ]
            for table in (MemberRow.__table__, MemberKeyRow.__table__)
            if isinstance(table, sa.Table)
        }


def project(context: Context) -> None:
    asyncio.run(Projector(context).round())


def test_the_events_of_an_honest_node_are_all_applied(
    chain: Throwaway, node_at: Callable[..., Context]
) -> None:
    context = node_at(chain.url)
    project(context)
    found = rows(context)
    assert [row[0] for row in found["member_directory"]] == sorted(
        organisation.member for organisation in chain.organisations
    )
    assert [row[4] > 0 for row in found["member_directory"]] == [False, False, False, True]
    assert context.projected_height == chain.ledger.height()


@pytest.mark.parametrize("lie", [*LIES, other_block])
def test_a_lying_node_is_left_for_the_next_and_the_true_events_are_applied(
    chain: Throwaway,
    node_at: Callable[..., Context],
    serve: Serve,
    lie: Any,
) -> None:
    honest, misled = node_at(chain.url), node_at(serve(liar(chain, lie)), chain.url)
    project(honest)
    project(misled)
    assert rows(misled) == rows(honest)
    assert misled.projected_height == honest.projected_height


@pytest.mark.parametrize("lie", [*LIES, other_block])
def test_nothing_is_applied_where_every_node_lies(
    chain: Throwaway,
    node_at: Callable[..., Context],
    serve: Serve,
    lie: Any,
) -> None:
    context = node_at(serve(liar(chain, lie)))
    with pytest.raises(Unavailable) as caught:
        project(context)
    assert caught.value.code == "chain_receipts_refused"
    assert rows(context) == {"member_directory": [], "member_key": []}
    with context.database.read() as session:
        assert session.get(NodeCursor, NAME) is None


def liar(chain: Throwaway, lie: Any) -> Callable[[Any], bytes]:
    return other_block(chain.url) if lie is other_block else lying(chain.url, lie)


def test_a_restarted_node_goes_on_behind_the_last_block_it_applied(
    chain: Throwaway, node_at: Callable[..., Context]
) -> None:
    context = node_at(chain.url)
    project(context)
    context.database.write(lambda session: session.execute(sa.delete(MemberKeyRow)) and None)
    context.projected_height = None
    height = chain.send(chain.organisations[1], "EvidenceLog", "anchor", 2, 1, b"\3" * 32)
    context.view.wait_for_height(height, SECONDS)
    project(context)
    assert context.projected_height == height
    assert rows(context)["member_key"] == []


# --- How far behind -------------------------------------------------------------------------------


def no_sources(home: Path) -> Sources:
    config = {
        "member": with_check_character("11440700MB2N0D001"),
        "name": "x",
        "roles": ["department"],
        "keys": {"passphrase_env": "P"},
        "chain": {"rpc": ["http://127.0.0.1:1"], "finality": "unsealed-test"},
    }
    return Sources(parse(config, home=home))


def test_readyz_and_every_list_report_a_projection_that_is_behind(
    chain: Throwaway,
    node_at: Callable[..., Context],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context, head = node_at(chain.url), chain.ledger.height()
    assert isinstance(context.peers, HttpPeers)
    watched = MonitoredParts(
        restore_guard=RestoreGuard(),
        sources=SourceMonitor(no_sources(tmp_path), seconds=60),
        peers=PeerMonitor(context.peers, clock=time.time),
        workers=WorkerMonitor(time.time),
        certificate_ends=lambda: time.time() + 10**7,
        keys=dict,
    )
    health = Health(context=context, watched=watched, data=tmp_path, limits=NodeLimits())
    monkeypatch.setattr("nodes.health.MAX_BLOCKS_BEHIND", 3)

    def codes() -> set[str]:
        return {dependency.code for dependency in asyncio.run(health.readiness()).dependencies}

    assert "projection_behind" in codes()
    assert headers(context, "/v1/assets") == {
        "qiaolian-projected-height": "0",
        "qiaolian-blocks-behind": str(head),
    }
    assert headers(context, "/healthz") == {}
    project(context)
    assert "projection_behind" not in codes()
    assert headers(context, "/v1/assets") == {
        "qiaolian-projected-height": str(head),
        "qiaolian-blocks-behind": "0",
    }
    assert health.blocks_behind() == 0


def headers(context: Context, path: str) -> dict[str, str]:
    """What the gate says of the projection with an answer."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    guards = GateServices(
        member=context.member,
        access=LocalAccess([]),
        metrics=Metrics(),
        bodies=BodyBudget(BodyLimits(large=10, statement=10, stranger=10, total=10)),
        strangers=RateLimiter(100, 100),
        members=RateLimiter(100, 100),
        context=context,
    )

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=RequestGate(answer, guards))
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            return await client.get(path)

    found = asyncio.run(asked()).headers
    return {
        name: found[name]
        for name in ("qiaolian-projected-height", "qiaolian-blocks-behind")
        if name in found
    }
