"""Founding: a fresh chain gets its contracts and first members from admission files and two
administrators' keys, and from nothing less.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain.core.errors import QiaolianError
from chain.ethereum.deployment import CloseWindow, Deployment
from chain.ethereum.ledger import Ledger
from chain.keys.files import Secp256k1Signer, open_person_key
from nodes.cli import found
from nodes.cli.main import main
from nodes.initialise import Admission, NodePlan, initialise
from registry.uscc import with_check_character

ROLES = (("operator",), ("supervisor",), ("department",), ("bank", "subject"))


@pytest.fixture(scope="module")
def organisations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four laid-out nodes: ``1`` to ``4``, their administrators' keys beside them."""
    root = tmp_path_factory.mktemp("founders")
    for index, roles in enumerate(ROLES, start=1):
        plan = NodePlan(
            root / str(index),
            with_check_character(f"11440700MB2F0D{index:03d}"),
            f"Organisation {index}",
            roles,
        )
        initialise(
            NodePlan(
                plan.directory,
                plan.member,
                plan.name,
                roles,
                admin_key=root / f"admin-{index}.json",
            )
        )
    return root


def admissions(root: Path, *places: int) -> list[Admission]:
    return [Admission.load(root / str(index) / "admission.json") for index in places]


def keys(root: Path, *places: int) -> list[Secp256k1Signer]:
    return [open_person_key(root / f"admin-{index}.json") for index in places]


def lacking(url: str, deployment: Deployment, wanted: Sequence[Admission]) -> list[Any]:
    """Members and keys that the directory does not hold as admitted."""
    ledger = Ledger([url], deployment)
    try:
        members = [
            admission.member
            for admission in wanted
            if ledger.members.member(admission.member).roles != admission.roles
        ]
        return members + [
            key
            for admission in wanted
            for key in admission.keys
            if ledger.members.key(key.fingerprint).member != admission.member
        ]
    finally:
        ledger.close()


def test_the_command_founds_a_network_and_again_changes_nothing(
    anvil: str, organisations: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deployment.json"
    arguments = ["found", "--rpc", anvil, "--out", str(out)]
    for index in (1, 2, 3, 4):
        arguments += ["--admission", str(organisations / str(index) / "admission.json")]
    for index in (1, 3):
        arguments += ["--admin-key", str(organisations / f"admin-{index}.json")]
    assert main(arguments) == 0
    assert lacking(anvil, Deployment.load(out), admissions(organisations, 1, 2, 3, 4)) == []
    assert Deployment.load(out).min_close_window == CloseWindow(86_400, 86_400), "a day by default"
    before = out.read_bytes()
    assert main(arguments) == 0
    assert out.read_bytes() == before


def test_a_founding_that_broke_off_is_taken_up_where_it_stopped(
    anvil: str, organisations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, out = admissions(organisations, 1, 2, 3, 4), tmp_path / "deployment.json"
    lines: list[str] = []
    execute = found.Governance.execute  # type: ignore[attr-defined]

    def breaks(self: Any, actions: Sequence[Any]) -> Any:
        execute(self, actions[:3])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(found.Governance, "execute", breaks)  # type: ignore[attr-defined]
        found.found(anvil, wanted, keys(organisations, 1, 2), out, say=lines.append)
    assert lacking(anvil, Deployment.load(out), wanted)
    deployment = found.found(anvil, wanted, keys(organisations, 1, 2), out, say=lines.append)
    assert lacking(anvil, deployment, wanted) == []
    assert any("taken as they are" in name for name in lines)


def test_the_shortest_closing_window_is_what_the_founders_say(
    anvil: str, organisations: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deployment.json"
    arguments = ["found", "--rpc", anvil, "--out", str(out)]
    for index in (1, 2, 3):
        arguments += ["--admission", str(organisations / str(index) / "admission.json")]
    for index in (1, 2):
        arguments += ["--admin-key", str(organisations / f"admin-{index}.json")]
    assert main([*arguments, "--min-window-seconds", "7776001"]) == 2
    assert not out.exists(), "nothing was put on the chain"
    assert main([*arguments, "--min-window-seconds", "60", "--min-window-blocks", "5"]) == 0
    deployment = Deployment.load(out)
    assert deployment.min_close_window == CloseWindow(5, 60)
    ledger = Ledger([anvil], deployment)
    try:
        assert ledger.settlement.min_close_window() == CloseWindow(5, 60), (
            "the contract's own, for ever"
        )
    finally:
        ledger.close()


@pytest.mark.parametrize(
    ("members", "approvers", "code"),
    [
        ((1, 2), (1, 2), "too_few_governors"),
        ((1, 2, 3, 3), (1, 2), "member_twice"),
        ((1, 2, 3, 4), (1,), "not_two_administrators"),
        ((1, 2, 3, 4), (1, 1), "not_two_administrators"),
        ((1, 2, 3, 4), (1, 4), "not_two_administrators"),
    ],
)
def test_a_network_is_founded_by_three_and_by_two_of_their_administrators(
    anvil: str,
    organisations: Path,
    tmp_path: Path,
    members: tuple[int, ...],
    approvers: tuple[int, ...],
    code: str,
) -> None:
    with pytest.raises(QiaolianError) as refused:
        found.found(
            anvil,
            admissions(organisations, *members),
            keys(organisations, *approvers),
            tmp_path / "d.json",
            say=lambda _: None,
        )
    assert refused.value.code == code
    assert not (tmp_path / "d.json").exists(), "nothing was put on the chain"


def test_inspect_shows_each_contract_and_refuses_another_chains_deployment(
    anvil: str, organisations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deployment.json"
    deployment = found.found(
        anvil, admissions(organisations, 1, 2, 3), keys(organisations, 1, 2), path, say=print
    )
    inspect = ["network", "inspect", "--rpc", anvil, "--deployment", str(path)]
    capsys.readouterr()
    assert main(inspect) == 0
    shown = capsys.readouterr().out
    for name, address in deployment.contracts.items():
        assert re.search(rf"{name} +{address}  [\d,]+ bytes of code, open\n", shown)

    moved = {**deployment.contracts, "EvidenceLog": "0x" + "11" * 20}
    for changed, code in (
        (replace(deployment, chain_id=1), "chain_wrong_id"),
        (replace(deployment, genesis_hash=bytes(32)), "chain_wrong_id"),
        (replace(deployment, contracts=moved), "contract_missing"),
    ):
        changed.save(path)
        assert main(inspect) != 0
        assert capsys.readouterr().err.startswith(f"error[{code}]: ")
    unreachable = [*inspect[:3], "http://127.0.0.1:9", *inspect[4:]]
    assert main(unreachable) == 4
    assert capsys.readouterr().err.startswith("error[chain_unreachable]: ")
