"""The configuration is strict: what is misspelt is named, not ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chain.core.errors import QiaolianError
from chain.statements.members import Role
from nodes import config
from nodes.initialise import CONFIG_FILE, NodePlan, initialise
from registry.uscc import with_check_character

MEMBER = with_check_character("11440700MB2N0D001")


@pytest.fixture
def minimal() -> dict[str, Any]:
    return {
        "member": MEMBER,
        "name": "Tax bureau",
        "roles": ["department", "settlement_bank"],
        "keys": {"passphrase_file": "passphrase"},
        "chain": {"rpc": ["http://127.0.0.1:1"], "finality": ["0x" + "ab" * 20]},
    }


def refusal_of(value: dict[str, Any]) -> QiaolianError:
    with pytest.raises(QiaolianError) as caught:
        config.parse(value, home=Path("/nowhere"))
    return caught.value


def test_a_minimal_file_gets_loopback_and_relative_paths(minimal: dict[str, Any]) -> None:
    read = config.parse(minimal, home=Path("/srv/tax"))
    assert read.listen.host == "127.0.0.1"
    assert read.role == Role.DEPARTMENT | Role.SETTLEMENT_BANK
    assert read.database_url == "sqlite:////srv/tax/data/node.db"
    assert not read.witnesses


@pytest.mark.parametrize(
    ("table", "key", "named"),
    [(None, "raels", "raels"), ("listen", "prot", "listen.prot"), ("chain", "rcp", "chain.rcp")],
)
def test_an_unknown_key_is_named(
    minimal: dict[str, Any], table: str | None, key: str, named: str
) -> None:
    target = minimal if table is None else minimal.setdefault(table, {})
    target[key] = 1
    error = refusal_of(minimal)
    assert (error.code, error.context["key"]) == ("config_unknown_key", named)
    assert named in error.sentence


@pytest.mark.parametrize(
    ("index", "value", "key"),
    [
        (("roles",), ["departement"], "roles"),
        (("member",), "short", "member"),
        (("chain", "finality"), ["0x12"], "chain.finality"),
        (("chain", "finality"), [], "chain.finality"),
        (
            ("chain", "validator_changes"),
            [{"from_height": 9, "validators": []}],
            "chain.validator_changes",
        ),
        (
            ("chain", "validator_changes"),
            [{"from_height": 0, "validators": ["0x" + "cd" * 20]}],
            "chain.validator_changes",
        ),
        (
            ("chain", "validator_changes"),
            [{"from_height": height, "validators": ["0x" + "cd" * 20]} for height in (9, 9)],
            "chain.validator_changes",
        ),
        (("peers",), {MEMBER: {"url": "http://plain"}}, f"peers.{MEMBER}.url"),
        (("sources",), {"a": {"url": "sqlite:///x.db", "key": "id"}}, "sources.a"),
        (("workers",), {"anchor_seconds": 600}, "workers.anchor_seconds"),
        (("keys",), {}, "keys"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(
    minimal: dict[str, Any], index: tuple[str, ...], value: Any, key: str
) -> None:
    target = minimal
    for part in index[:-1]:
        target = target[part]
    target[index[-1]] = value
    error = refusal_of(minimal)
    assert error.code == "config_invalid"
    assert str(error.context["key"]).startswith(key)


def test_each_height_has_the_validators_that_were_voted_in_by_then(minimal: dict[str, Any]) -> None:
    first, second, third = ("0x" + pair * 20 for pair in ("ab", "cd", "ef"))
    changes = [
        {"from_height": 10, "validators": [first, second]},
        {"from_height": 20, "validators": [third.upper().replace("X", "x")]},
    ]
    minimal["chain"]["validator_changes"] = changes
    chain = config.parse(minimal, home=Path("/nowhere")).chain
    found = {height: chain.validators_at(height) for height in (0, 9, 10, 19, 20, 1000)}
    assert found == {
        0: (first,),
        9: (first,),
        10: (first, second),
        19: (first, second),
        20: (third,),
        1000: (third,),
    }


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("member = ")
    with pytest.raises(QiaolianError) as caught:
        config.load(tmp_path / "node.toml")
    assert caught.value.code == "config_malformed"


def test_what_init_writes_is_read_back(tmp_path: Path) -> None:
    more = {"sources": {"people": {"url": 'csv:///tmp/a "b".csv', "key": "编号"}}, "peers": {}}
    plan = NodePlan(
        directory=tmp_path / "n",
        member=MEMBER,
        name='江门市"税务"局',
        roles=("department",),
        extra_tables=more,
    )
    admission = initialise(plan)
    read = config.load(tmp_path / "n" / CONFIG_FILE)
    assert (read.name, read.sources["people"].key) == ('江门市"税务"局', "编号")
    assert {key.purpose.name for key in admission.keys} == {
        "TRANSACTION",
        "STATEMENT",
        "TOKEN",
        "LOG",
        "TLS",
    }


def test_init_leaves_every_secret_readable_by_its_owner_only(tmp_path: Path) -> None:
    plan = NodePlan(
        directory=tmp_path / "n",
        member=MEMBER,
        name="x",
        roles=("department",),
        officer_key=tmp_path / "persons" / "officer.json",
    )
    initialise(plan)
    secret = [
        "passphrase",
        "access.json",
        "handout.json",
        *(f"keys/{text}.key.json" for text in ("statement", "log")),
    ]
    for item in [
        *(tmp_path / "n" / name for name in secret),
        tmp_path / "persons" / "officer.json",
    ]:
        assert item.stat().st_mode & 0o077 == 0, item
    assert "officer" not in {path.name for path in (tmp_path / "n").rglob("*")}


def test_init_never_overwrites_a_node_nor_a_persons_key(tmp_path: Path) -> None:
    plan = NodePlan(
        directory=tmp_path / "n",
        member=MEMBER,
        name="x",
        roles=("bank",),
        admin_key=tmp_path / "admin.json",
    )
    initialise(plan)
    before = (tmp_path / "admin.json").read_bytes()
    with pytest.raises(QiaolianError, match="holds a node already"):
        initialise(plan)
    with pytest.raises(QiaolianError) as caught:
        initialise(
            NodePlan(
                directory=tmp_path / "m",
                member=MEMBER,
                name="x",
                roles=("bank",),
                admin_key=tmp_path / "admin.json",
            )
        )
    assert caught.value.code == "key_exists"
    assert (tmp_path / "admin.json").read_bytes() == before


def test_init_refuses_a_wrong_check_character(tmp_path: Path) -> None:
    wrong = MEMBER[:-1] + ("1" if MEMBER[-1] != "1" else "2")
    with pytest.raises(QiaolianError) as caught:
        initialise(NodePlan(directory=tmp_path / "n", member=wrong, name="x", roles=("bank",)))
    assert caught.value.code == "wrong_check_character"
