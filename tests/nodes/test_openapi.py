"""What /openapi.json states of a node's answers holds, for generated requests and for real data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings

from chain.keys.files import KeyStore
from nodes import config
from nodes.openapi import NODE, ORGANISATION
from nodes.tokens import TokenIssuer
from tests.nodes.conftest import TestNetwork

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


@dataclass
class MemberToken(requests.auth.AuthBase):
    """Signs each request as the bank's node."""

    issuer: TokenIssuer
    audience: str

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        request.headers["authorization"] = self.issuer.issue(
            audience=self.audience,
            method=request.method or "",
            target=request.path_url,
            body=body.encode() if isinstance(body, str) else body,
        )
        return request


@dataclass
class BearerToken(requests.auth.AuthBase):
    """Sends a token of the organisation."""

    token: str

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["authorization"] = f"Bearer {self.token}"
        return request


class Described:
    """A node, its description, and callers with the authority that it asks for.

    Schemathesis is imported where it is used: it takes seconds, and every process of a parallel run
    reads this module.
    """

    def __init__(self, network: TestNetwork) -> None:
        import schemathesis
        from schemathesis.checks import not_a_server_error
        from schemathesis.specs.openapi.checks import (
            content_type_conformance,
            response_schema_conformance,
            status_code_conformance,
        )

        node, bank = network.of("department"), network.of("bank")
        directory = bank.plan.directory
        keys = KeyStore(directory / "keys", config.load(directory / "node.toml").passphrase())
        self.client = node.client(None)
        self.url = f"https://127.0.0.1:{node.plan.port}"
        self.document: dict[str, Any] = self.client.get("/openapi.json")
        self.schema = schemathesis.openapi.from_dict(self.document)
        self.checks = [
            content_type_conformance,
            response_schema_conformance,
            status_code_conformance,
        ]
        self.no_failure = not_a_server_error
        self.tokens = json.loads((node.plan.directory / "handout.json").read_text())
        self.member = MemberToken(
            TokenIssuer(
                member=bank.member, signer=keys.secp256k1("token"), deployment=network.deployment
            ),
            node.member,
        )

    def operations(self) -> list[Any]:
        return [found.ok() for found in self.schema.get_all_operations()]

    def authority(self, security: list[dict[str, list[str]]]) -> requests.auth.AuthBase | None:
        """The first caller that an endpoint's ``security`` admits."""
        if not security:
            return None
        if NODE in security[0]:
            return self.member
        return BearerToken(self.tokens[security[0][ORGANISATION][0]])

    def check(self, case: Any) -> None:
        """Send one generated request; its answer is as described."""
        operation = self.document["paths"][case.path][case.method.lower()]
        answer = case.call(
            base_url=self.url, verify=False, auth=self.authority(operation["security"])
        )
        # A node without a proved head says so with 503, which is an answer.
        failure = [] if answer.status_code == 503 else [self.no_failure]
        case.validate_response(answer, checks=[*self.checks, *failure])


@pytest.fixture(scope="module")
def described(network: TestNetwork) -> Iterator[Described]:
    made = Described(network)
    yield made
    made.client.close()


def generate(described: Described, examples: int) -> None:
    from schemathesis.generation import GenerationMode

    for operation in described.operations():
        if described.document["paths"][operation.path][operation.method].get("x-streamed-body"):
            # Lines in, lines out: tests/exchange/test_stream.py has its rules.
            continue
        strategy = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def answers_as_described(case: Any) -> None:
            described.check(case)

        answers_as_described()


def test_generated_requests_are_answered_as_described(described: Described) -> None:
    generate(described, 2)


@pytest.mark.long
def test_many_generated_requests_are_answered_as_described(described: Described) -> None:
    generate(described, 50)


def test_an_endpoint_refuses_strangers_exactly_if_its_description_names_a_token(
    described: Described,
) -> None:
    refuses = {}
    for operation in described.operations():
        named = described.document["paths"][operation.path][operation.method]["security"]
        path = operation.path.replace("{", "").replace("}", "")
        answer = described.client.raw(operation.method.upper(), path, b"", {})
        refuses[operation.label] = (answer.status == 401, bool(named))
    assert {label: found for label, found in refuses.items() if found[0] != found[1]} == {}


def test_every_refusal_is_described_as_a_problem(described: Described) -> None:
    refusals = [
        answer["content"]
        for methods in described.document["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if status[0] in "45"
    ]
    assert {tuple(content) for content in refusals} == {("application/problem+json",)}
    assert "refusedBy" in described.document["components"]["schemas"]["Problem"]["required"]


def test_every_answer_has_a_schema(described: Described) -> None:
    """A bundle is an object of its own format, the metrics are text, a file for the bank is XML."""
    without = [
        f"{method} {path}"
        for path, methods in described.document["paths"].items()
        for method, operation in methods.items()
        for status, answer in operation["responses"].items()
        if status[0] == "2" and not path.endswith("bundle") and path != "/metrics"
        for kind, content in answer.get("content", {}).items()
        if kind != "application/xml" and not {"$ref", "anyOf"} & content["schema"].keys()
    ]
    assert without == []
