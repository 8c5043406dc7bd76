"""The deployment file: whole, closed, and refused when it is anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chain.core.errors import BadInput
from chain.ethereum.deployment import CloseWindow, Deployment

DEPLOYMENT = Deployment(
    1907, b"\x01" * 32, {"GrantRegistry": "0x" + "ab" * 20}, 3, CloseWindow(5, 60)
)


def test_a_saved_deployment_loads_as_it_was(tmp_path: Path) -> None:
    DEPLOYMENT.save(tmp_path / "new" / "deployment.json")
    assert Deployment.load(tmp_path / "new" / "deployment.json") == DEPLOYMENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["deployment.json"]


def test_the_domain_of_a_contract_holds_its_chain_and_address() -> None:
    domain = DEPLOYMENT.domain("GrantRegistry")
    assert (domain.chain_id, domain.contract) == (1907, "0x" + "ab" * 20)
    assert DEPLOYMENT.name_of("0x" + "AB" * 20) == "GrantRegistry"


def test_an_unknown_contract_is_named() -> None:
    with pytest.raises(BadInput) as caught:
        DEPLOYMENT.domain("Nothing")
    assert caught.value.code == "contract_unknown"


@pytest.mark.parametrize(
    "change",
    [
        {"chainId": "1907"},
        {"chainId": True},
        {"genesisHash": "0x01"},
        {"contracts": {"GrantRegistry": "0xzz"}},
        {"contracts": []},
        {"deployedAt": None},
        {"minCloseWindow": None},
        {"minCloseWindow": {"blocks": 1}},
        {"minCloseWindow": {"blocks": 1, "seconds": "1"}},
        {"more": 1},
    ],
)
def test_a_deployment_file_of_another_form_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps({**DEPLOYMENT.to_json(), **change}))
    with pytest.raises(BadInput) as caught:
        Deployment.load(path)
    assert caught.value.code == "deployment_malformed"


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff"])
def test_a_deployment_file_that_is_no_json_object_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "deployment.json").write_bytes(raw)
    with pytest.raises(BadInput) as caught:
        Deployment.load(tmp_path / "deployment.json")
    assert caught.value.code == "deployment_malformed"


def test_a_missing_deployment_file_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        Deployment.load(tmp_path / "deployment.json")
    assert caught.value.code == "deployment_missing"
