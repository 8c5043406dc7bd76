"""Acts of programs: each request with an access token is recorded under the token's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chain.core.errors import QiaolianError
from nodes import config
from nodes.cli.console import opened_records
from nodes.console.acts import service as acts
from nodes.console.acts.model import ActFilter
from nodes.provision import Organisation
from registry.pages import PageRequest
from tests.nodes.conftest import TestNetwork, eventually

UNKNOWN = "0x" + "29" * 32


def lines(organisation: Organisation, **wanted: str) -> list[tuple[str, str, str, str]]:
    """Kind, place, outcome and holder of the acts, oldest first."""
    settings = config.load(organisation.plan.directory / "node.toml")
    with opened_records(settings) as records:
        rows = acts.listing(records, ActFilter(**wanted), PageRequest(200)).rows
    return [(row.kind, row.place, row.outcome, row.person or "") for row in reversed(rows)]


def test_a_read_names_the_tokens_holder(network: TestNetwork) -> None:
    department = network.of("department")
    with pytest.raises(QiaolianError, match="asset"):
        department.client("auditor").get(f"/v1/assets/{UNKNOWN}")
    assert lines(department, subject=UNKNOWN, object="asset") == [
        ("view", "GET /v1/assets/{asset_id}", "asset_unknown", "auditor token (auditor)")
    ]


def test_a_change_that_fails_has_a_line_when_it_begins_and_one_when_it_ends(
    network: TestNetwork,
) -> None:
    department = network.of("department")
    place = "POST /v1/assets/{asset_id}/cancel"
    with pytest.raises(QiaolianError):
        department.client("clerk").post(f"/v1/assets/{UNKNOWN}/cancel", {"reason": "ended"})
    with pytest.raises(QiaolianError, match="clerk"):
        department.client("auditor").post(f"/v1/assets/{UNKNOWN}/cancel", {"reason": "ended"})
    found = [line for line in lines(department, subject=UNKNOWN) if line[1] == place]
    assert [(kind, outcome, holder) for kind, _, outcome, holder in found] == [
        ("change", "begun", "clerk token (clerk)"),
        ("change", "asset_not_published", "clerk token (clerk)"),
        ("change", "begun", "auditor token (auditor)"),
        ("change", "role_missing", "auditor token (auditor)"),
    ]


def test_a_metered_call_is_a_use_of_its_agreement(
    network: TestNetwork, agree: Callable[..., dict[str, Any]]
) -> None:
    sold, bank = agree("people-acts"), network.of("bank")
    query = {
        "agreementId": sold["agreement"],
        "subject": "A1",
        "columns": ["age"],
        "purpose": "statistics",
    }
    client = bank.client("system")
    eventually(lambda: client.post("/v1/calls", query, idempotency_key="acts/1"))
    client.post("/v1/calls/batch", {"calls": [{**query, "key": "acts/1"}]})
    served = [
        line for line in lines(bank, subject=sold["agreement"], kind="use") if line[2] == "done"
    ]
    assert served == [
        ("use", "POST /v1/calls", "done", "system token (system)"),
        ("use", "POST /v1/calls/batch", "done", "system token (system)"),
    ]


def test_the_state_of_a_call_and_of_the_node_is_no_act(network: TestNetwork) -> None:
    bank = network.of("bank")
    before = lines(bank)
    bank.client("auditor").get("/v1/node")
    with pytest.raises(QiaolianError):
        bank.client("auditor").get("/v1/operations/nothing")
    assert lines(bank) == before
