"""The client library against real nodes: its answers, its repetitions, and whom it trusts."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from qiaolian_client import (
    AsyncClient,
    Client,
    NodeRefused,
    NodeUnreachable,
    RetryPolicy,
    calls,
    catalogue,
    trade,
)
from qiaolian_client.models import CallAnswer
from qiaolian_client.operation import Operation

from tests.nodes.conftest import TestNetwork, eventually

ROOT = Path(__file__).parents[2]
QUICK = RetryPolicy(attempts=3, first_delay=0.01, max_delay=0.02)


@pytest.fixture(scope="module")
def sold(agree: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return agree("people-client")


@pytest.fixture
def bank(network: TestNetwork) -> Iterator[Client]:
    with client_of(network) as client:
        yield client


def client_of(network: TestNetwork) -> Client:
    organisation = network.of("bank")
    return Client(organisation.url, token=token_of(network), certificate=organisation.certificate)


def token_of(network: TestNetwork) -> str:
    handout = network.of("bank").plan.directory / "handout.json"
    token: str = json.loads(handout.read_text())["system"]
    return token


def one_call(sold: dict[str, Any], key: str, subject: str = "A1") -> Operation[CallAnswer]:
    return calls.one(
        sold["agreement"],
        subject=subject,
        columns=["age", "area"],
        purpose="statistics",
        key=key,
    )


def served(client: Client, sold: dict[str, Any], key: str) -> CallAnswer:
    """The first answer under an agreement whose opening the provider may not have seen yet."""

    def attempt() -> CallAnswer | None:
        try:
            return client.send(one_call(sold, key))
        except NodeRefused:
            return None

    answer = eventually(attempt)
    assert isinstance(answer, CallAnswer)
    return answer


def test_a_call_is_answered_with_record_price_and_receipt(
    bank: Client, sold: dict[str, Any]
) -> None:
    answer = served(bank, sold, "client/first")
    assert answer.record == {"age": "30-39", "area": "华侨城"}
    assert (answer.outcome, answer.amount, answer.agreement_id) == ("served", 50, sold["agreement"])
    assert len(bytes.fromhex(answer.receipt[2:])) == 32
    assert bank.send(one_call(sold, "client/first")) == answer
    assert bank.send(calls.fetch("client/first")) == answer


def test_many_calls_of_one_run_are_billed_once(bank: Client, sold: dict[str, Any]) -> None:
    served(bank, sold, "client/first")
    seen: list[tuple[int, int]] = []
    plan = {
        "columns": ["age"],
        "purpose": "statistics",
        "run": "november/1",
        "progress": lambda done, total: seen.append((done, total)),
    }
    results = bank.run(calls.many(sold["agreement"], ["A1", "nobody", "B2"], **plan))
    again = bank.run(calls.many(sold["agreement"], ["A1", "nobody", "B2"], **plan))
    assert [result.outcome for result in results.results] == ["served", "refused", "served"]
    assert again == results
    assert results.amount == 100
    assert results.unanswered == ()
    assert seen == [(3, 3), (3, 3)]
    stored = bank.run(calls.stored(agreement_id=sold["agreement"]))
    keys = [row.idempotency_key for row in stored]
    assert sorted(key for key in keys if key and key.startswith("november")) == [
        "november/1/0",
        "november/1/1",
        "november/1/2",
    ]


def test_a_stream_gives_results_as_they_come_and_all_of_them_in_order(
    bank: Client, sold: dict[str, Any]
) -> None:
    served(bank, sold, "client/first")
    subjects = ["A1", "nobody", "B2"]
    wanted = calls.stream(
        sold["agreement"], subjects, columns=["age"], purpose="statistics", run="file"
    )
    with closing(bank.stream(wanted)) as results:
        assert {next(results).line, next(results).line} <= {1, 2, 3}
    seen: list[int] = []
    collected = bank.collect(wanted, progress=lambda done, total: seen.append(done))
    assert [result.outcome for result in collected.results] == ["served", "refused", "served"]
    assert list(collected.frame()["subject"]) == subjects
    assert collected.amount == 2 * 50
    assert seen == [1, 2, 3]
    assert bank.collect(wanted) == collected


def test_a_stream_of_a_stranger_is_refused_before_it_is_read(
    network: TestNetwork, sold: dict[str, Any]
) -> None:
    organisation = network.of("bank")
    wanted = calls.stream(sold["agreement"], ["A1"], columns=["age"], purpose="x", run="stranger")
    with (
        Client(organisation.url, token="ql_no", certificate=organisation.certificate) as client,
        pytest.raises(NodeRefused) as refused,
    ):
        client.collect(wanted)
    assert refused.value.code == "access_token_unknown"


def test_a_frame_has_each_record_beside_its_receipt(bank: Client, sold: dict[str, Any]) -> None:
    served(bank, sold, "client/first")
    plan = calls.many(
        sold["agreement"], ["B2", "nobody"], columns=["age", "area"], purpose="statistics", run="f"
    )
    frame = bank.run(plan).frame()
    assert list(frame["subject"]) == ["B2", "nobody"]
    assert frame["age"].iloc[0] == "40-49"
    assert list(frame["amount_fen"]) == [50, 0]
    assert list(frame["reason"]) == ["", "subject_unknown"]
    assert frame["receipt"].iloc[0].startswith("0x")


def test_the_catalogue_is_read_page_after_page(bank: Client, sold: dict[str, Any]) -> None:
    found = bank.run(catalogue.assets(search="people-client"))
    assert [asset.name for asset in found] == ["people-client"]
    assert bank.send(catalogue.asset(found[0].asset_id)).holder == found[0].holder
    assert found[0].asset_id in {asset.asset_id for asset in bank.run(catalogue.assets())}
    (offer,) = (
        offer
        for offer in bank.run(catalogue.offers(provider=found[0].holder))
        if offer.asset_id == found[0].asset_id
    )
    assert offer.price == 50
    agreed = bank.send(trade.agreement(sold["agreement"]))
    assert (agreed.side, agreed.agreement_id) == ("buyer", sold["agreement"])


def test_a_refusal_has_the_nodes_code_and_its_next_step(bank: Client, sold: dict[str, Any]) -> None:
    served(bank, sold, "client/first")
    with pytest.raises(NodeRefused) as caught:
        bank.send(one_call(sold, "client/unknown", subject="nobody"))
    assert (caught.value.status, caught.value.code) == (403, "subject_unknown")
    assert caught.value.detail == (
        "The provider refused the call, which costs nothing: "
        "The asset has no record of this subject."
    )
    assert caught.value.hint
    with pytest.raises(NodeRefused) as caught:
        bank.send(catalogue.asset("0x" + "00" * 32))
    assert caught.value.status == 404


def test_the_asynchronous_client_gives_the_same_answers(
    network: TestNetwork, sold: dict[str, Any]
) -> None:
    with client_of(network) as client:
        expected = served(client, sold, "client/first")
    organisation = network.of("bank")

    async def ask() -> tuple[CallAnswer, list[str]]:
        async with AsyncClient(
            organisation.url, token=token_of(network), certificate=organisation.certificate
        ) as node:
            answer = await node.send(one_call(sold, "client/first"))
            found = await node.run(catalogue.assets(search="people-client"))
            return answer, [asset.name for asset in found]

    assert asyncio.run(ask()) == (expected, ["people-client"])


def test_a_token_that_is_not_known_is_refused(network: TestNetwork) -> None:
    organisation = network.of("bank")
    with (
        Client(organisation.url, token="x", certificate=organisation.certificate) as client,
        pytest.raises(NodeRefused) as caught,
    ):
        client.send(trade.accounts())
    assert caught.value.status == 401


def test_a_node_with_another_key_is_refused_before_the_token_is_sent(
    network: TestNetwork,
) -> None:
    other = network.of("department").certificate
    organisation = network.of("bank")

    async def ask() -> None:
        async with AsyncClient(
            organisation.url, token="t", certificate=other, retry=QUICK
        ) as client:
            await client.send(trade.accounts())

    with pytest.raises(NodeUnreachable, match="another key"):
        asyncio.run(ask())
    with (
        Client(organisation.url, token="t", certificate=other, retry=QUICK) as client,
        pytest.raises(NodeUnreachable, match="another key"),
    ):
        client.send(trade.accounts())


def test_a_file_without_a_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises((ValueError, ssl.SSLError)):
        Client("https://127.0.0.1:1", token="t", certificate=tmp_path / "empty.pem")


@contextmanager
def answering(statuses: list[int], body: bytes = b"{}") -> Iterator[tuple[str, list[str]]]:
    """A server that answers with these statuses in turn, as a proxy in trouble does."""
    seen: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            seen.append(self.headers.get("idempotency-key", ""))
            self.send_response(statuses[min(len(seen), len(statuses)) - 1])
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


ANSWER = CallAnswer(
    idempotency_key="k",
    agreement_id="0x",
    lane=0,
    seq=1,
    outcome="served",
    reason="",
    record={},
    units=1,
    amount=1,
    receipt="0x",
)


def test_a_busy_answer_is_repeated_under_the_same_key() -> None:
    body = ANSWER.model_dump_json(by_alias=True).encode()
    with answering([503, 502, 200], body) as (url, seen), Client(url, token="t", retry=QUICK) as c:
        assert c.send(one_call({"agreement": "0x"}, "order-1")) == ANSWER
        assert seen == ["order-1"] * 3


def test_what_is_not_idempotent_is_never_repeated() -> None:
    with answering([503]) as (url, seen), Client(url, token="t", retry=QUICK) as client:
        with pytest.raises(NodeRefused) as caught:
            client.send(Operation("POST", "/v1/x", bytes, repeatable=False))
        assert caught.value.code == "not_a_node"
        assert len(seen) == 1


def test_repetitions_end(tmp_path: Path) -> None:
    with answering([503]) as (url, seen), Client(url, token="t", retry=QUICK) as client:
        with pytest.raises(NodeRefused):
            client.send(one_call({"agreement": "0x"}, "order-1"))
        assert len(seen) == QUICK.attempts


def test_a_redirect_is_not_followed() -> None:
    with answering([302]) as (url, seen), Client(url, token="t", retry=QUICK) as client:
        with pytest.raises(NodeRefused) as caught:
            client.send(one_call({"agreement": "0x"}, "order-1"))
        assert (caught.value.status, len(seen)) == (302, 1)


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with Client(url, token="t", retry=QUICK) as client, pytest.raises(NodeUnreachable):
            client.send(trade.accounts())


def test_delays_grow_and_are_bounded() -> None:
    policy = RetryPolicy(attempts=9, first_delay=1.0, max_delay=5.0)
    for attempt in range(1, 9):
        assert 0 <= policy.delay(attempt) <= min(5.0, 2.0 ** (attempt - 1))
    assert policy.delay(1, retry_after="3") >= 3
    assert policy.delay(1, retry_after="3600") == 5.0
    assert policy.delay(1, retry_after="Wed, 21 Oct 2026 07:28:00 GMT") <= 1.0


def test_the_models_are_those_of_the_nodes_description() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "scripts.client_models", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr


def test_the_library_needs_nothing_of_the_node() -> None:
    """What a notebook installs holds neither the node nor a database."""
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, qiaolian_client; print('\\n'.join(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in shown.stdout.split()}
    assert not loaded & {"nodes", "chain", "exchange", "registry", "sqlalchemy", "fastapi", "web3"}


def test_the_notebook_runs(
    network: TestNetwork, bank: Client, sold: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    served(bank, sold, "client/first")
    organisation = network.of("bank")
    monkeypatch.setenv("QIAOLIAN_NODE", organisation.url)
    monkeypatch.setenv("QIAOLIAN_CERTIFICATE", str(organisation.certificate))
    monkeypatch.setenv("QIAOLIAN_TOKEN", token_of(network))
    monkeypatch.setenv("QIAOLIAN_AGREEMENT", sold["agreement"])
    notebook = nbformat.read(ROOT / "docs/examples/calls.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )
    assert "150 fen for 3 answers" in printed
