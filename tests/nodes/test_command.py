"""``qiaolian node`` as an operator types it, and its page."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from chain.core.errors import QiaolianError, Unauthorised
from chain.core.loopback import free_ports
from chain.keys.files import KeyStore, open_person_key
from chain.keys.passphrase import passphrase_warnings
from nodes.__main__ import main
from nodes.access import LocalAccess
from nodes.cli import node as command
from nodes.config import NodeConfig, load
from nodes.problems import start_failure
from registry.uscc import with_check_character

ROOT = Path(__file__).parents[2]
MEMBER, OTHER = with_check_character("11440700MB2N0D001"), with_check_character("11440700MB2N0D002")


def node(*arguments: str) -> subprocess.CompletedProcess[str]:
    """An action in this process, as starting Python takes longer than most of them."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """An action in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "nodes", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )


def init(
    directory: Path, *options: str, member: str = MEMBER, roles: str = "bank"
) -> subprocess.CompletedProcess[str]:
    """``qiaolian node init`` in this directory."""
    return node("init", "--dir", str(directory), "--member", member, "--roles", roles, *options)


def port() -> tuple[str, str]:
    """The option for a port that is free, where a node is to start."""
    return "--port", str(free_ports(1)[0])


def test_init_creates_a_node_and_prints_the_next_steps(tmp_path: Path) -> None:
    done = init(
        tmp_path / "n",
        "--name",
        "税务局",
        "--validator",
        "0x" + "ab" * 20,
        "--officer-key",
        str(tmp_path / "officer.json"),
        roles="department,agency",
    )
    assert done.returncode == 0, done.stderr
    assert "admission.json" in done.stdout
    read = load(tmp_path / "n" / "node.toml")
    assert (read.name, read.roles, read.chain.finality) == (
        "税务局",
        ("department", "agency"),
        ("0x" + "ab" * 20,),
    )
    admission = json.loads((tmp_path / "n" / "admission.json").read_text())
    assert sorted(key["purpose"] for key in admission["keys"]) == [2, 3, 4, 5, 6, 7]
    assert (tmp_path / "officer.json").exists()


def test_init_asks_for_the_trusted_validators(tmp_path: Path) -> None:
    done = init(tmp_path / "n")
    assert done.returncode != 0
    assert done.stderr.startswith("finality_missing: ")
    assert not (tmp_path / "n").exists()


def test_a_missing_deployment_is_one_sentence(tmp_path: Path) -> None:
    init(tmp_path / "n", "--unsealed-test", *port())
    for action in ("run", "outbox"):
        done = process(action, "--config", str(tmp_path / "n" / "node.toml"))
        assert done.returncode != 0
        assert done.stderr.strip().splitlines()[-1].startswith("deployment_missing: "), done.stderr
        assert "Traceback" not in done.stderr


def test_a_missing_configuration_is_one_sentence(tmp_path: Path) -> None:
    done = node("run", "--config", str(tmp_path / "none.toml"))
    assert done.returncode != 0
    assert done.stderr.startswith("config_missing: ")


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directories of two nodes, for copies."""
    made = tmp_path_factory.mktemp("two")
    for name, member in (("n", MEMBER), ("m", OTHER)):
        assert init(made / name, "--unsealed-test", member=member).returncode == 0
    return made


@pytest.fixture
def two(laid_out: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A node's configuration, and another node's admission file."""
    shutil.copytree(laid_out, tmp_path, dirs_exist_ok=True)
    return tmp_path / "n" / "node.toml", tmp_path / "m" / "admission.json"


def test_a_peer_is_added_from_its_admission_and_the_rest_stays(two: tuple[Path, Path]) -> None:
    config, admission = two
    config.write_text("# the operator's own remark\n" + config.read_text())
    before = load(config)
    done = node(
        "peer",
        "--config",
        str(config),
        "--admission",
        str(admission),
        "--url",
        "https://10.0.0.7:8443",
    )
    assert done.returncode == 0, done.stderr
    assert "by another way" in done.stdout
    after = load(config)
    held = {key["purpose"]: key["fingerprint"] for key in json.loads(admission.read_text())["keys"]}
    assert after.peers[OTHER].model_dump() == {
        "url": "https://10.0.0.7:8443",
        "tls": held[7],
        "log": held[6],
    }
    assert after.model_copy(update={"peers": before.peers}) == before
    assert config.read_text().startswith("# the operator's own remark\n")


@pytest.mark.parametrize(
    ("of", "url", "code"),
    [
        ("m", "http://10.0.0.7", "config_invalid"),
        ("n", "https://10.0.0.7:8443", "peer_self"),
        ("", "https://10.0.0.7:8443", "admission_malformed"),
    ],
)
def test_what_is_no_peer_is_refused_and_nothing_is_written(
    two: tuple[Path, Path], of: str, url: str, code: str
) -> None:
    config, admission = two
    before = config.read_bytes()
    done = node(
        "peer",
        "--config",
        str(config),
        "--admission",
        str(admission.parents[1] / of / "admission.json"),
        "--url",
        url,
    )
    assert done.returncode != 0
    assert done.stderr.startswith(f"{code}: "), done.stderr
    assert config.read_bytes() == before


def test_a_peer_is_added_once(two: tuple[Path, Path]) -> None:
    config, admission = two
    arguments = (
        "peer",
        "--config",
        str(config),
        "--admission",
        str(admission),
        "--url",
        "https://10.0.0.7:8443",
    )
    assert node(*arguments).returncode == 0
    assert node(*arguments).stderr.startswith("peer_known: ")


def test_fresh_tokens_end_the_old_ones(two: tuple[Path, Path]) -> None:
    config, _ = two
    home = config.parent
    old = json.loads((home / "handout.json").read_text())
    (home / "handout.json").unlink()
    assert node("tokens", "renew", "--config", str(config)).returncode == 0
    new = json.loads((home / "handout.json").read_text())
    held = LocalAccess.load(home / "access.json")
    assert held.holder_of(f"Bearer {new['clerk']}").role == "clerk"
    with pytest.raises(Unauthorised):
        held.holder_of(f"Bearer {old['clerk']}")


def test_a_system_gets_a_token_of_its_own_name(two: tuple[Path, Path]) -> None:
    config, _ = two
    file = config.parent / "access.json"
    words = ("--config", str(config), "--name", "core-banking")
    made = node("tokens", "add", *words)
    assert made.returncode == 0, made.stderr
    token = made.stdout.split(": ")[1].split()[0]
    found = LocalAccess.load(file).holder_of(f"Bearer {token}")
    assert (found.name, found.role) == ("core-banking", "system")
    assert token not in file.read_text()
    assert node("tokens", "add", *words).stderr.startswith("token_name_taken: ")
    assert "core-banking" in node("tokens", "list", "--config", str(config)).stdout
    assert node("tokens", "remove", *words).returncode == 0
    with pytest.raises(Unauthorised):
        LocalAccess.load(file).holder_of(f"Bearer {token}")
    assert node("tokens", "remove", *words).stderr.startswith("token_unknown: ")


def test_migrate_brings_an_empty_database_up_to_date(tmp_path: Path) -> None:
    init(tmp_path / "n", "--unsealed-test", *port())
    done = node("migrate", "--config", str(tmp_path / "n" / "node.toml"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "n" / "data" / "node.db").exists()


def test_the_page_names_every_key_of_the_configuration() -> None:
    page = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
    missing = [
        name for name in keys_of(NodeConfig) if f"{name}`" not in page and f".{name}`" not in page
    ]
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
    done = init(tmp_path / "n", "--name", name, "--unsealed-test")
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "n" / "node.toml").name == name


def test_an_init_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "keys").write_text("mine")
    officer = tmp_path / "officer.json"
    done = init(tmp_path / "n", "--unsealed-test", *port(), "--officer-key", str(officer))
    assert done.stderr.startswith("directory_in_use: "), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n"]
    assert sorted(path.name for path in (tmp_path / "n").iterdir()) == ["keys"]


def test_a_directory_that_holds_other_files_may_become_a_node(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "deployment.json").write_text("{}")
    done = init(tmp_path / "n", "--unsealed-test", *port())
    assert done.returncode == 0, done.stderr
    assert {"deployment.json", "node.toml", "keys"} <= {
        path.name for path in (tmp_path / "n").iterdir()
    }


@pytest.mark.parametrize("encoding", ["ascii", "gbk"])
def test_a_console_that_cannot_show_a_character_stops_nothing(
    tmp_path: Path, encoding: str
) -> None:
    name = "Büro 侨 🏠"
    arguments = [
        "init",
        "--dir",
        str(tmp_path / "n"),
        "--member",
        MEMBER,
        "--name",
        name,
        "--roles",
        "bank",
        "--unsealed-test",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "nodes.cli.main", "node", *arguments],
        capture_output=True,
        timeout=60,
        cwd=ROOT,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr
    assert rb"\U0001f3e0" in done.stdout


@pytest.mark.parametrize(
    ("database", "code"),
    [
        ("nosuchengine://u:hidden@127.0.0.1/x", "database_url_wrong"),
        ("oracle+oracledb://u:hidden@127.0.0.1/x", "package_missing"),
        ("sqlite:////nonexistent/folder/node.db", "database_unavailable"),
    ],
)
def test_what_keeps_a_process_from_starting_is_logged_with_code_and_hint(
    tmp_path: Path, database: str, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = started_config(tmp_path, database)
    for level in ("INFO", "DEBUG"):
        arguments = argparse.Namespace(action="migrate", config=config, log_level=level)
        with pytest.raises(QiaolianError) as caught:
            command.run(arguments)
        line = json.loads(capsys.readouterr().err.splitlines()[-1])
        assert caught.value.code == line["code"] == code
        assert line["hint"]
        assert caught.value.sentence in line["message"]
        assert "hidden" not in line["message"] + line["hint"]
        assert ("traceback" in line) == (level == "DEBUG")


def test_a_failed_start_names_its_cause(tmp_path: Path) -> None:
    config = started_config(tmp_path, "nosuchengine://127.0.0.1/x")
    (tmp_path / "n" / "deployment.json").write_text("{}")
    done = node("run", "--config", str(config))
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("database_url_wrong: "), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ModuleNotFoundError("no", name="driver"), "package_missing"),
        (PermissionError(13, "Permission denied", "data"), "system"),
        (ValueError("hidden"), "start_failed"),
    ],
)
def test_every_failed_start_has_a_code_and_a_hint(raised: Exception, code: str) -> None:
    failure = start_failure(raised)
    assert (failure.code, bool(failure.hint), "hidden" in failure.sentence) == (code, True, False)


def started_config(tmp_path: Path, database: str) -> Path:
    """The configuration of a new node over this database."""
    init(tmp_path / "n", "--unsealed-test", *port())
    config = tmp_path / "n" / "node.toml"
    config.write_text(config.read_text().replace("sqlite:///data/node.db", database))
    return config


def test_init_prints_the_passphrase_files_and_warns_of_one_beside_its_key(tmp_path: Path) -> None:
    arguments = (
        "init",
        "--dir",
        str(tmp_path / "n"),
        "--member",
        MEMBER,
        "--roles",
        "bank",
        "--unsealed-test",
        "--admin-key",
        str(tmp_path / "admin.json"),
    )
    done = node(*arguments)
    passphrase = (tmp_path / "admin.json.passphrase").read_text().strip()
    assert str(tmp_path / "n" / "passphrase") in done.stdout
    assert "warning[passphrase_beside_key]: The passphrase of admin.json" in done.stderr
    assert passphrase not in done.stdout + done.stderr
    assert ((tmp_path / "n" / "passphrase").read_text().strip()) not in done.stdout + done.stderr


def test_passphrases_from_elsewhere_are_used_and_none_is_written_beside_the_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    safe, people = tmp_path / "safe", tmp_path / "people"
    safe.mkdir()
    for name in ("officer", "admin"):
        (safe / name).write_text(f"of the {name}\n")
        (safe / name).chmod(0o600)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    keys = [
        word
        for name in ("officer", "admin")
        for word in (
            f"--{name}-key",
            f"{people / name}",
            f"--{name}-passphrase-file",
            f"{safe / name}",
        )
    ]
    init = [
        "init",
        "--dir",
        f"{tmp_path / 'n'}",
        "--member",
        MEMBER,
        "--roles",
        "bank",
        "--unsealed-test",
        "--passphrase-file",
        f"{safe / 'node'}",
    ]
    assert command.run(parser.parse_args([*init, *keys])) == 0
    assert "warning" not in capsys.readouterr().err
    assert sorted(path.name for path in people.iterdir()) == ["admin", "officer"]
    assert not (tmp_path / "n" / "passphrase").exists()
    assert (safe / "node").stat().st_mode & 0o777 == 0o600
    config = load(tmp_path / "n" / "node.toml")
    assert KeyStore(config.path(config.keys.dir), config.passphrase()).secp256k1("token")
    assert open_person_key(people / "admin", "of the admin")


def test_a_passphrase_file_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    file = tmp_path / "phrase"
    file.write_text("x\n")
    file.chmod(0o644)
    assert [
        line.partition("]")[0] for line in passphrase_warnings(tmp_path / "keys" / "a.json", file)
    ] == ["warning[passphrase_file_open"]
    file.chmod(0o600)
    assert passphrase_warnings(tmp_path / "keys" / "a.json", file) == []
    assert passphrase_warnings(tmp_path / "a.json", file) != []
