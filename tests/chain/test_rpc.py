"""A chain node that stops, serves another chain, or is not a chain node."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chain.core.errors import QiaolianError, Unavailable
from chain.ethereum.rpc import Rpc, RpcRefused

ROOT = Path(__file__).parents[2]
GENESIS = "0x" + "11" * 32
Answer = Callable[[Any], bytes]
Serve = Callable[[Answer], str]


def chain(number: int, method: str, genesis: str = GENESIS) -> Any:
    return {"eth_chainId": hex(number), "eth_getBlockByNumber": {"hash": genesis}}.get(
        method, "0x2a"
    )


def node(number: int, genesis: str = GENESIS) -> Answer:
    """A well-behaved node of a chain, which answers batches in reverse order."""

    def answer(body: Any) -> bytes:
        one = isinstance(body, dict)
        results = [
            {"jsonrpc": "2.0", "id": item["id"], "result": chain(number, item["method"], genesis)}
            for item in reversed([body] if one else body)
        ]
        return json.dumps(results[0] if one else results).encode()

    return answer


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def code_of(action: Callable[[], Any]) -> str:
    with pytest.raises(QiaolianError) as caught:
        action()
    return caught.value.code


def test_a_node_that_does_not_listen_is_unreachable() -> None:
    rpc = Rpc([closed_port()])
    assert code_of(lambda: rpc.call("eth_blockNumber")) == "chain_unreachable"


def test_an_error_and_the_log_name_a_node_without_what_its_url_keeps_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nodes = [closed_port() for _ in range(2)]
    secret = [node.replace("//", "//user:hidden@") + "/hidden?key=hidden" for node in nodes]
    with pytest.raises(QiaolianError) as caught:
        Rpc(secret).call("eth_blockNumber")
    assert caught.value.context["url"] in nodes
    assert all(node in caplog.text for node in nodes)
    assert "hidden" not in f"{caplog.text}{caught.value.context}{caught.value.refused_by}"


def test_a_node_that_accepts_and_never_answers_is_unreachable_in_time() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        rpc = Rpc([f"http://127.0.0.1:{mute.getsockname()[1]}"], timeout=0.3)
        assert code_of(lambda: rpc.call("eth_blockNumber")) == "chain_unreachable"


def test_the_next_node_answers_when_the_first_is_down(serve: Serve) -> None:
    rpc = Rpc([closed_port(), serve(node(7))], chain_id=7)
    assert rpc.call("eth_blockNumber") == "0x2a"
    assert rpc.call("eth_blockNumber") == "0x2a"


def test_a_node_of_another_chain_is_refused(serve: Serve) -> None:
    rpc = Rpc([serve(node(8))], chain_id=7)
    assert code_of(lambda: rpc.call("eth_blockNumber")) == "chain_wrong_id"


def test_a_rebuilt_chain_of_the_same_number_is_refused(serve: Serve) -> None:
    rpc = Rpc(
        [serve(node(7, "0x" + "22" * 32))], chain_id=7, genesis_hash=bytes.fromhex(GENESIS[2:])
    )
    assert code_of(lambda: rpc.call("eth_blockNumber")) == "chain_wrong_id"


def test_a_node_of_another_chain_is_passed_over_for_one_of_ours(serve: Serve) -> None:
    rpc = Rpc([serve(node(8)), serve(node(7))], chain_id=7)
    assert rpc.call("eth_blockNumber") == "0x2a"


def test_another_chain_is_reported_rather_than_the_silence_of_the_rest(serve: Serve) -> None:
    rpc = Rpc([closed_port(), serve(node(8)), closed_port()], chain_id=7)
    assert code_of(lambda: rpc.call("eth_blockNumber")) == "chain_wrong_id"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"[]",
        b"{}",
        b"null",
        b'{"jsonrpc":"2.0","id":"x","result":1}',
        b'{"jsonrpc":"2.0","id":999999,"result":1}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_json_rpc_is_a_bad_answer(serve: Serve, raw: bytes) -> None:
    rpc = Rpc([serve(lambda _body: raw)])
    assert code_of(lambda: rpc.call("eth_blockNumber")) == "chain_bad_answer"


def test_answers_to_a_batch_are_matched_by_their_id_not_their_order(serve: Serve) -> None:
    def answer(body: Any) -> bytes:
        return json.dumps(
            [
                {
                    "id": item["id"],
                    "result": {"eth_chainId": "0x7", "eth_getBlockByNumber": {"hash": GENESIS}}.get(
                        item["method"], item["method"]
                    ),
                }
                for item in reversed(body)
            ]
        ).encode()

    assert Rpc([serve(answer)]).batch([("one", ()), ("two", ()), ("three", ())]) == [
        "one",
        "two",
        "three",
    ]


def test_a_node_that_leaves_out_part_of_a_batch_is_a_bad_answer(serve: Serve) -> None:
    good = node(7)

    def answer(body: Any) -> bytes:
        whole = good(body)
        return (
            whole
            if body[0]["method"] == "eth_chainId"
            else json.dumps(json.loads(whole)[1:]).encode()
        )

    rpc = Rpc([serve(answer)])
    assert code_of(lambda: rpc.batch([("one", ()), ("two", ())])) == "chain_bad_answer"


def test_a_nodes_own_error_is_told_apart_from_silence(serve: Serve) -> None:
    good = node(7)

    def answer(body: Any) -> bytes:
        if isinstance(body, list):
            return good(body)
        return json.dumps(
            {"id": body["id"], "error": {"code": -32000, "message": "no", "data": "0x01"}}
        ).encode()

    with pytest.raises(RpcRefused) as caught:
        Rpc([serve(answer)]).call("eth_call")
    assert (caught.value.code, caught.value.number, caught.value.data) == (
        "chain_refused",
        -32000,
        "0x01",
    )
    assert not isinstance(caught.value, Unavailable)


def test_a_node_that_closed_an_idle_connection_is_asked_again_without_an_error(
    serve: Serve,
) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def one_answer_a_connection() -> None:
        good = node(7)
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
                while b"content-length: %d" % len(body) not in head.lower():
                    body += connection.recv(65536)
                raw = good(json.loads(body))
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw
                )

    threading.Thread(target=one_answer_a_connection, daemon=True).start()
    rpc = Rpc([f"http://127.0.0.1:{listener.getsockname()[1]}"])
    try:
        assert [rpc.call("eth_blockNumber") for _ in range(5)] == ["0x2a"] * 5
    finally:
        listener.close()


def test_a_proxy_named_in_the_environment_is_not_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, closed_port())
    assert Rpc([serve(node(7))]).call("eth_blockNumber") == "0x2a"


def run_python(program: str) -> str:
    """What a program prints in a Python process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_web3_raises_the_recursion_limit_of_the_process() -> None:
    """The figure of ADR 4; where it no longer holds, the rule that follows from it may go."""
    assert run_python("import sys, web3; print(sys.getrecursionlimit())") == "100000\n"


def test_the_client_of_the_founding_commands_leaves_the_recursion_limit_as_it_is() -> None:
    program = (
        "import json, sys\n"
        "from chain.ethereum.web3_client import connect\n"
        "client = connect('http://127.0.0.1:9')\n"
        "client.eth.account.create()\n"
        "client.eth.contract(abi=[])\n"
        "from web3.utils import get_create_address\n"
        "print(sys.getrecursionlimit())\n"
        "try: json.loads('[' * 100000)\n"
        "except RecursionError: print('refused')\n"
    )
    assert run_python(program) == "1000\nrefused\n"


NODE_AND_VERIFIER = (
    "chain.context",
    "chain.ethereum.finality",
    "chain.ethereum.ledger",
    "chain.ethereum.view",
    "chain.outbox",
    "nodes.app",
    "nodes.assembly",
    "nodes.cli.node",
    "nodes.cli.verify",
    "nodes.outbox",
    "nodes.server",
    "nodes.workers",
)


def test_node_processes_and_the_verifier_are_free_of_web3() -> None:
    program = (
        f"import json, sys\nimport {', '.join(NODE_AND_VERIFIER)}\n"
        "from nodes.routers import load_tables, routers\n"
        "load_tables(), routers()\n"
        "print([name for name in ('web3', 'eth_account', 'py_ecc') if name in sys.modules])\n"
        "try: json.loads('[' * 100000)\n"
        "except RecursionError: print('refused')\n"
    )
    assert run_python(program) == "[]\nrefused\n"
