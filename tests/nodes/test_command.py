"""``qiaolian node`` as an operator types it, and its page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from chain.errors import Unauthorised
from nodes.access import LocalAccess
from nodes.config import NodeConfig, load
from registry.uscc import with_check_character

ROOT = Path(__file__).parents[2]
MEMBER, OTHER = with_check_character("11440700MB2N0D001"), with_check_character("11440700MB2N0D002")


def node(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nodes", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)


def test_init_lays_out_a_node_and_says_what_to_do_next(tmp_path: Path) -> None:
    done = node(
        *("init", "--dir", str(tmp_path / "n"), "--member", MEMBER, "--name", "税务局", "--roles", "department,agency"),
        *("--validator", "0x" + "ab" * 20, "--officer-key", str(tmp_path / "officer.json")),
    )
    assert done.returncode == 0, done.stderr
    assert "admission.json" in done.stdout
    read = load(tmp_path / "n" / "node.toml")
    assert (read.name, read.roles, read.chain.finality) == ("税务局", ("department", "agency"), ("0x" + "ab" * 20,))
    admission = json.loads((tmp_path / "n" / "admission.json").read_text())
    assert sorted(key["purpose"] for key in admission["keys"]) == [2, 3, 4, 5, 6, 7]
    assert (tmp_path / "officer.json").exists()


def test_init_asks_whose_seals_count(tmp_path: Path) -> None:
    done = node("init", "--dir", str(tmp_path / "n"), "--member", MEMBER, "--roles", "bank")
    assert done.returncode != 0
    assert done.stderr.startswith("finality_missing: ")
    assert not (tmp_path / "n").exists()


def test_a_missing_deployment_is_one_sentence(tmp_path: Path) -> None:
    node("init", "--dir", str(tmp_path / "n"), "--member", MEMBER, "--roles", "bank", "--unsealed-test")
    for action in ("run", "outbox"):
        done = node(action, "--config", str(tmp_path / "n" / "node.toml"))
        assert done.returncode != 0
        assert done.stderr.strip().splitlines()[-1].startswith("deployment_missing: "), done.stderr
        assert "Traceback" not in done.stderr


def test_a_missing_configuration_is_one_sentence(tmp_path: Path) -> None:
    done = node("run", "--config", str(tmp_path / "none.toml"))
    assert done.returncode != 0
    assert done.stderr.startswith("config_missing: ")


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A node's configuration, and another node's admission file."""
    for name, member in (("n", MEMBER), ("m", OTHER)):
        node("init", "--dir", str(tmp_path / name), "--member", member, "--roles", "bank", "--unsealed-test")
    return tmp_path / "n" / "node.toml", tmp_path / "m" / "admission.json"


def test_a_peer_is_added_from_its_admission_and_the_rest_stays(two: tuple[Path, Path]) -> None:
    config, admission = two
    config.write_text("# the operator's own remark\n" + config.read_text())
    before = load(config)
    done = node("peer", "--config", str(config), "--admission", str(admission), "--url", "https://10.0.0.7:8443")
    assert done.returncode == 0, done.stderr
    assert "by another way" in done.stdout
    after = load(config)
    held = {key["purpose"]: key["fingerprint"] for key in json.loads(admission.read_text())["keys"]}
    assert after.peers[OTHER].model_dump() == {"url": "https://10.0.0.7:8443", "tls": held[7], "log": held[6]}
    assert after.model_copy(update={"peers": before.peers}) == before
    assert config.read_text().startswith("# the operator's own remark\n")


@pytest.mark.parametrize(
    ("of", "url", "code"),
    [("m", "http://10.0.0.7", "config_invalid"), ("n", "https://10.0.0.7:8443", "peer_self"), ("", "https://10.0.0.7:8443", "admission_malformed")],
)
def test_what_is_no_peer_is_refused_and_nothing_is_written(two: tuple[Path, Path], of: str, url: str, code: str) -> None:
    config, admission = two
    before = config.read_bytes()
    done = node("peer", "--config", str(config), "--admission", str(admission.parents[1] / of / "admission.json"), "--url", url)
    assert done.returncode != 0
    assert done.stderr.startswith(f"{code}: "), done.stderr
    assert config.read_bytes() == before


def test_a_peer_is_added_once(two: tuple[Path, Path]) -> None:
    config, admission = two
    words = ("peer", "--config", str(config), "--admission", str(admission), "--url", "https://10.0.0.7:8443")
    assert node(*words).returncode == 0
    assert node(*words).stderr.startswith("peer_known: ")


def test_fresh_tokens_end_the_old_ones(two: tuple[Path, Path]) -> None:
    config, _ = two
    home = config.parent
    old = json.loads((home / "handout.json").read_text())
    (home / "handout.json").unlink()
    assert node("tokens", "--config", str(config)).returncode == 0
    new = json.loads((home / "handout.json").read_text())
    held = LocalAccess.load(home / "access.json")
    assert held.role_of(f"Bearer {new['clerk']}") == "clerk"
    with pytest.raises(Unauthorised):
        held.role_of(f"Bearer {old['clerk']}")


def test_migrate_brings_an_empty_database_up_to_date(tmp_path: Path) -> None:
    node("init", "--dir", str(tmp_path / "n"), "--member", MEMBER, "--roles", "bank", "--unsealed-test")
    done = node("migrate", "--config", str(tmp_path / "n" / "node.toml"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "n" / "data" / "node.db").exists()


def test_the_page_names_every_key_of_the_configuration() -> None:
    page = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
    missing = [name for name in keys_of(NodeConfig) if f"{name}`" not in page and f".{name}`" not in page]
    assert missing == []


def keys_of(model: type[BaseModel]) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += keys_of(inner)
        elif name not in ("home", "peers", "sources"):
            found.append(name)
    return found


def test_a_long_chinese_name_is_a_name(tmp_path: Path) -> None:
    name = "江门市人力资源和社会保障局数据管理与应用服务中心" * 2
    done = node(*("init", "--dir", str(tmp_path / "n"), "--member", MEMBER, "--name", name, "--roles", "bank", "--unsealed-test"))
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "n" / "node.toml").name == name


def test_an_init_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "keys").write_text("mine")
    officer = tmp_path / "officer.json"
    done = node(
        *("init", "--dir", str(tmp_path / "n"), "--member", MEMBER, "--roles", "bank", "--unsealed-test"),
        *("--officer-key", str(officer)),
    )
    assert done.stderr.startswith("directory_in_use: "), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n"]
    assert sorted(path.name for path in (tmp_path / "n").iterdir()) == ["keys"]


def test_a_directory_that_holds_other_files_may_become_a_node(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "deployment.json").write_text("{}")
    done = node(*("init", "--dir", str(tmp_path / "n"), "--member", MEMBER, "--roles", "bank", "--unsealed-test"))
    assert done.returncode == 0, done.stderr
    assert {"deployment.json", "node.toml", "keys"} <= {path.name for path in (tmp_path / "n").iterdir()}


@pytest.mark.parametrize("encoding", ["ascii", "gbk"])
def test_a_console_that_cannot_show_a_character_stops_nothing(tmp_path: Path, encoding: str) -> None:
    name = "Büro 侨 🏠"
    arguments = ["init", "--dir", str(tmp_path / "n"), "--member", MEMBER, "--name", name, "--roles", "bank", "--unsealed-test"]
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", "node", *arguments],
        capture_output=True,
        timeout=60,
        cwd=ROOT,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr
    assert rb"\U0001f3e0" in done.stdout
