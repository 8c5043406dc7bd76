"""A refusal names its source: the node, a peer, a proxy, the chain or a clock. No one can name
another.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from chain.core.errors import Forbidden, QiaolianError, RefusedBy, Refuser, Unavailable
from chain.core.loopback import free_ports
from chain.ethereum.rpc import Rpc
from nodes import config
from nodes.answers import MAX_PROBLEM_BYTES, MAX_TEXT, HttpAnswer, node_refusal, peer_refusal
from nodes.cli.main import error_line
from nodes.problems import CONTENT_TYPE, problem
from nodes.tokens import TokenIssuer
from tests.nodes.conftest import TestNetwork
from tests.nodes.test_tokens import key_of, send

OURS, PEER, PLACE = "91440700MA4W000003", "11440700MB2N0D003W", "10.0.0.5:8443"


def answer(error: QiaolianError, **changed: Any) -> HttpAnswer:
    """What the peer's node answers, with members of its body changed."""
    status, body = problem(error, member=PEER)
    return HttpAnswer(
        status, CONTENT_TYPE.decode(), json.dumps({**json.loads(body), **changed}).encode()
    )


def of_peer(given: HttpAnswer) -> QiaolianError:
    return peer_refusal(PEER, PLACE, given)


def test_a_peers_refusal_keeps_its_code_and_is_laid_on_the_peer() -> None:
    error = of_peer(
        answer(
            Forbidden(
                "grant_revoked", "The grant was revoked.", hint="Ask for another.", height=131
            )
        )
    )
    assert (type(error), error.code, error.hint, error.context["height"]) == (
        Forbidden,
        "grant_revoked",
        "Ask for another.",
        131,
    )
    passed_on = json.loads(problem(error, member=OURS)[1])
    assert passed_on["refusedBy"] == {"kind": "peer", "member": PEER, "address": PLACE}


@pytest.mark.parametrize("kind", ["node", "peer", "proxy", "chain", "clock", "nobody", 5])
def test_a_lying_peer_lays_its_refusal_on_nobody_else(kind: object) -> None:
    error = of_peer(
        answer(
            Forbidden("refused", "No."),
            refusedBy={"kind": kind, "member": OURS, "address": "127.0.0.1:1"},
        )
    )
    assert error.refused_by == RefusedBy(Refuser.PEER, PEER, PLACE)


def test_a_lying_peers_text_is_bounded_and_printable() -> None:
    evil = "\x1b[2J\u202e\nerror[ok]: " + "x" * 5_000
    error = of_peer(
        answer(
            Forbidden(
                "refused", evil, hint=evil, note=evil, deep=[[[[evil]]]], many=[evil[:600]] * 60
            )
        )
    )
    shown = error_line(error) + json.dumps(error.context, ensure_ascii=False)
    assert shown.isprintable()
    assert (
        max(len(text) for text in (error.sentence, error.hint, str(error.context["note"])))
        <= MAX_TEXT + 60
    )
    assert len(shown) < 80_000


@pytest.mark.parametrize(
    "changed",
    [
        {"code": "no code"},
        {"code": 5},
        {"code": None},
        {"detail": {}},
        {"type": "about:blank"},
        {"status": 200},
        {"padding": "x" * MAX_PROBLEM_BYTES},
    ],
)
def test_a_problem_that_no_node_writes_is_not_laid_on_the_peer(changed: dict[str, Any]) -> None:
    error = of_peer(answer(Forbidden("refused", "No."), **changed))
    assert (error.code, error.refused_by) == (
        "proxy_forbidden",
        RefusedBy(Refuser.PROXY, PEER, PLACE),
    )


@pytest.mark.parametrize("body", [b"[]", b"5", b"[" * 5_000, b"\xff", b""])
def test_what_is_no_object_is_not_laid_on_the_peer(body: bytes) -> None:
    error = of_peer(HttpAnswer(500, CONTENT_TYPE.decode(), body))
    assert (error.code, error.status, error.refused_by.kind) == ("not_a_node", 503, Refuser.PROXY)


def test_a_problem_under_another_content_type_is_not_laid_on_the_peer() -> None:
    given = answer(Forbidden("refused", "No."))
    assert (
        of_peer(HttpAnswer(given.status, "application/json", given.body)).code == "proxy_forbidden"
    )


def test_the_own_node_is_believed_about_who_refused_it() -> None:
    by_proxy = peer_refusal(PEER, PLACE, HttpAnswer(502, "text/html", b"<html>"))
    status, body = problem(by_proxy, member=OURS)
    error = node_refusal("127.0.0.1:8443", HttpAnswer(status, CONTENT_TYPE.decode(), body))
    assert error.refused_by == RefusedBy(Refuser.PROXY, PEER, PLACE)
    assert error_line(error).endswith(f"Refused by: proxy before {PEER} at {PLACE}.")


def test_the_command_names_nobody_where_the_own_node_refused() -> None:
    status, body = problem(Unavailable("not_ready", "Down: chain."), member=OURS)
    assert (
        error_line(node_refusal(PLACE, HttpAnswer(status, CONTENT_TYPE.decode(), body)))
        == "error[not_ready]: Down: chain."
    )


def test_a_chain_node_that_is_away_is_named() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unavailable) as caught:
        Rpc([f"http://user:hidden@127.0.0.1:{port}"]).call("eth_blockNumber")
    refused_by = json.loads(problem(caught.value, member=OURS)[1])["refusedBy"]
    assert refused_by == {"kind": "chain", "address": f"127.0.0.1:{port}"}


def test_a_nodes_own_refusal_names_the_node_and_the_differing_clocks(network: TestNetwork) -> None:
    bank, department = network.of("bank"), network.of("department")
    client = department.client(None)
    assert send(client, None)[1]["refusedBy"] == {"kind": "node", "member": department.member}
    ahead = TokenIssuer(
        member=bank.member, signer=key_of(bank), deployment=network.deployment, clock=lambda: 2e9
    )
    token = ahead.issue(
        audience=department.member, method="POST", target="/v1/peer/ping", body=b'{"a":1}'
    )
    status, refused = send(client, token, path="/v1/peer/ping")
    assert (status, refused["code"]) == (401, "token_expired")
    assert refused["refusedBy"] == {
        "kind": "clock",
        "member": config.load(department.plan.directory / "node.toml").member,
    }
