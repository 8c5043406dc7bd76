"""What a careless program or an attacker may send to any endpoint: the answer is a problem with a
code, and the node has not failed.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from chain.keys.files import KeyStore
from nodes import config
from nodes.tokens import TokenIssuer
from tests.nodes.conftest import TestNetwork
from tests.support.turns import in_turn, turns

TEXTS = (
    "",
    " ",
    "0x",
    "-1",
    "0x" + "11" * 32,
    "0x" + "11 " * 32,
    "0x" + "1" * 100_000,
    "０ｘ１１",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "a\0b",
    "\ud800",
    "‮exe.gpj",
    "' OR '1'='1",
    "${jndi:ldap://x}",
    "9" * 40,
    "1e400",
    "NaN",
)
"""Text where an identifier, a name or a number is expected. Half a surrogate pair is what JSON can
say and UTF-8 cannot.
"""
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**53 - 1,
    -(2**53) + 1,
    [],
    {},
    [[]],
    [None],
    {"": None},
    *TEXTS,
)
IN_TURN = turns(12)
"""Each place gets every twelfth value, the next place those after it; or each place gets all."""
LOCAL = ("system", "clerk", "officer", "auditor", "administrator")
UNKNOWN = "0x" + "22" * 32
EXPECTED = {401, 403, 404, 405, 409, 413, 422, 503}


class Caller:
    """Sends any request to one node, as a person of its organisation or as another member's node."""

    def __init__(self, network: TestNetwork) -> None:
        self.target, bank = network.of("department"), network.of("bank")
        self.client = self.target.client(None)
        self.tokens = json.loads((self.target.plan.directory / "handout.json").read_text())
        directory = bank.plan.directory
        key = KeyStore(
            directory / "keys", config.load(directory / "node.toml").passphrase()
        ).secp256k1("token")
        self.issuer = TokenIssuer(member=bank.member, signer=key, deployment=network.deployment)
        self.described = json.loads(self.client.raw("GET", "/openapi.json", b"", {}).body)
        self.roles: dict[tuple[str, str], str] = {}

    def send(
        self, method: str, path: str, body: bytes = b"", *, role: str = "member", **headers: str
    ) -> tuple[int, dict[str, Any]]:
        if role == "member":
            token = self.issuer.issue(
                audience=self.target.member, method=method, target=path, body=body
            )
        else:
            token = f"Bearer {self.tokens[role]}"
        sent = {"authorization": token, "content-type": "application/json", **headers}
        answer = self.client.raw(method, path, body, sent)
        try:
            answered = json.loads(answer.body)
        except ValueError:
            answered = {"body": answer.body[:200]}
        return answer.status, answered if isinstance(answered, dict) else {"value": answered}

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, methods in self.described["paths"].items():
            for method, described in methods.items():
                yield method.upper(), path, described

    def body(self, described: dict[str, Any]) -> Any:
        content = described.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            return None
        schema = content["schema"]
        named = self.described["components"]["schemas"].get(
            schema.get("$ref", "").rpartition("/")[2], schema
        )
        return content.get("example") or named.get("example") or named["examples"][0]

    def role(self, method: str, path: str) -> str:
        """Who may call it; asked once."""
        known = self.roles.get((method, path))
        return known or self.roles.setdefault((method, path), self._role(method, path))

    def _role(self, method: str, path: str) -> str:
        if path.startswith("/v1/peer/"):
            return "member"
        for name in LOCAL:
            if (
                self.send(method, filled(path), b"{}" if method == "POST" else b"", role=name)[
                    1
                ].get("code")
                != "role_missing"
            ):
                return name
        raise AssertionError(path)


@pytest.fixture(scope="module")
def caller(network: TestNetwork) -> Iterator[Caller]:
    made = Caller(network)
    yield made
    made.client.close()


def sound(status: int, answered: dict[str, Any]) -> bool:
    """An answer, or a problem that names what is wrong: no failure of the node itself."""
    if status < 300:
        return True
    return status in EXPECTED and answered.get("code") not in (
        None,
        "internal_error",
        "database_unavailable",
    )


def filled(path: str) -> str:
    """A path with names of the right form that nobody has given."""
    for name, value in (("{step}", "notary"), ("{file_id}", "ab" * 32), ("{line}", "1")):
        path = path.replace(name, value)
    return re.sub(r"\{[^}]*\}", UNKNOWN, path)


def test_every_body_is_described_with_an_example_that_its_endpoint_can_read(caller: Caller) -> None:
    unread = {
        "request_invalid",
        "field_missing",
        "field_malformed",
        "body_not_object",
        "statement_malformed",
    }
    refused = []
    for method, path, described in caller.operations():
        body = caller.body(described)
        if body is not None:
            status, answered = caller.send(
                method, filled(path), json.dumps(body).encode(), role=caller.role(method, path)
            )
            if not sound(status, answered) or answered.get("code") in unread:
                refused.append((method, path, status, answered))
    assert refused == []


@IN_TURN
def test_nothing_in_a_path_or_query_makes_a_node_fail(caller: Caller, of: int) -> None:
    failed = []
    turns = itertools.count()
    for method, path, described in caller.operations():
        role = caller.role(method, path)
        body = json.dumps(caller.body(described) or {}).encode() if method == "POST" else b""
        for parameter in described.get("parameters", []):
            if parameter["in"] not in ("path", "query"):
                continue
            for text in in_turn(TEXTS, next(turns), of):
                target = addressed(path, described["parameters"], parameter, text[:3_000])
                status, answered = caller.send(method, target, body, role=role)
                if not sound(status, answered):
                    failed.append((method, target[:200], status, answered))
    assert failed == []


def addressed(
    path: str, parameters: list[dict[str, Any]], hostile: dict[str, Any], text: str
) -> str:
    """The path with one parameter's value, the others' in their right form."""
    query = []
    for parameter in parameters:
        value = "1" if parameter["schema"].get("type") in ("integer", "number") else UNKNOWN
        if parameter is hostile:
            value = quote(text.encode("utf-8", "surrogatepass"), safe="")
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", value)
        elif parameter["in"] == "query" and (parameter is hostile or parameter.get("required")):
            query.append(f"{parameter['name']}={value}")
    return "?".join(filter(None, (path, "&".join(query))))


@IN_TURN
def test_nothing_in_a_body_makes_a_node_fail(caller: Caller, of: int) -> None:
    failed = []
    turns = itertools.count()
    for method, path, described in caller.operations():
        body = caller.body(described)
        if body is None:
            continue
        role = caller.role(method, path)
        for index in places(body):
            for value in in_turn(VALUES, next(turns), of):
                status, answered = caller.send(
                    method, filled(path), json.dumps(put(body, index, value)).encode(), role=role
                )
                if not sound(status, answered):
                    failed.append((method, path, index, repr(value)[:40], status, answered))
    assert failed == []


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    items: Any = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield from places(item, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with something else at a place."""
    if not path:
        return new
    changed = copy.deepcopy(value)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return changed


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "text/plain",
        "application/json; charset=utf-16",
        "multipart/form-data",
    ],
)
def test_no_content_type_switches_the_strictness_off(caller: Caller, kind: str) -> None:
    body = b'{"reason": "a", "reason": "b"}'
    status, answered = caller.send(
        "POST", f"/v1/assets/{UNKNOWN}/cancel", body, role="clerk", **{"content-type": kind}
    )
    assert (status, answered["code"]) == (422, "json_duplicate_key")


def test_one_thing_has_one_name(caller: Caller) -> None:
    for name in (
        UNKNOWN.replace("22", "22%20", 1),
        "%200x" + "22" * 32,
        "0x0x" + "22" * 31,
        UNKNOWN + "/",
    ):
        status, answered = caller.send("GET", f"/v1/grants/{name}", role="clerk")
        assert answered["code"] in ("field_malformed", "path_unknown"), (name, status)
