"""The command line's own rules: quick to load, nothing secret in arguments, readable answers."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from chain.core.errors import BadInput
from chain.ethereum.deployment import CloseWindow, Deployment
from chain.statements.members import KeyPurpose
from contracts import NAMES
from nodes.cli import main as cli
from nodes.cli import output
from nodes.cli.call import outcomes_of, rows_of
from nodes.cli.command_group import filled_path, listed, pairs
from nodes.cli.commands import COMMANDS
from nodes.cli.grant import GROUP as GRANT
from nodes.cli.offer import shares
from nodes.initialise import NodePlan, initialise
from nodes.routers import routers
from registry.uscc import with_check_character

ROOT = Path(__file__).parents[2]
HEAVY = {
    "pydantic",
    "fastapi",
    "sqlalchemy",
    "eth_abi",
    "urllib3",
    "httptools",
    "httpx",
    "pandas",
    "numpy",
    "web3",
}
PEOPLE = [
    name
    for name in COMMANDS
    if name not in {"verify", "node", "network", "found", "federated", "demo", "bench"}
]


HELP = """
import contextlib, io, json, os, sys
from nodes.cli.main import main
for group in json.loads(sys.argv[1]):
    if not os.fork():
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            main([name for name in (group, "--help") if name])
        print(json.dumps([group, out.getvalue(), list(sys.modules)]), flush=True)
        os._exit(0)
    os.wait()
"""
"""Prints for each group its help and the modules that were imported for it, in a process of its own."""


@pytest.fixture(scope="module")
def helped() -> dict[str, tuple[str, set[str]]]:
    """Of each group, its help and the modules it needed."""
    ran = subprocess.run(
        [sys.executable, "-c", HELP, json.dumps(["", *PEOPLE])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    return {group: (printed, set(modules)) for group, printed, modules in answers}


@pytest.mark.parametrize("group", ["", *PEOPLE])
def test_help_needs_nothing_beyond_the_base(
    helped: dict[str, tuple[str, set[str]]], group: str
) -> None:
    """An officer's or a trader's machine has the base package alone, and help must come at once."""
    printed, modules = helped[group]
    assert not HEAVY & modules
    assert "usage: qiaolian" in printed


def test_the_overview_names_every_command_once() -> None:
    overview = cli._overview()
    assert [overview.count(f"\n  {name} ") for name in COMMANDS] == [1] * len(COMMANDS)


@pytest.mark.parametrize(
    "name", [name for name, entry in COMMANDS.items() if ": " in entry.summary]
)
def test_the_summary_of_a_command_names_each_of_its_actions(name: str) -> None:
    parser = argparse.ArgumentParser()
    COMMANDS[name].load().add_arguments(parser)
    actions = [
        choice
        for action in parser._actions
        if not action.option_strings
        for choice in action.choices or ()
    ]
    named = set(COMMANDS[name].summary.partition(": ")[2].split(", "))
    proposals = "propose-..."
    assert named == {
        proposals if proposals in named and action.startswith("propose-") else action
        for action in actions
    }


@pytest.mark.parametrize("group", PEOPLE)
def test_no_option_takes_a_token_or_a_passphrase_itself(group: str) -> None:
    """Arguments can be read by every user of the machine."""
    for option in options_of(group):
        assert not any(
            word in option for word in ("token", "passphrase", "secret")
        ) or option.endswith("-file"), option


def options_of(group: str) -> Iterator[str]:
    parser = argparse.ArgumentParser()
    module = __import__(f"nodes.cli.{group}", fromlist=["GROUP"])
    getattr(module, "GROUP", module).add_arguments(parser)
    waiting = [parser]
    while waiting:
        for action in waiting.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
            yield from action.option_strings


def test_every_signing_command_shows_the_statement_and_asks() -> None:
    signing = [
        command
        for command in GRANT.commands
        if any("--key" in argument.flags for argument in command.arguments)
    ]
    assert [command.name for command in signing] == ["approve", "refuse", "revoke"]
    assert all(
        any("--yes" in argument.flags for argument in command.arguments) for command in signing
    )


def test_every_endpoint_for_people_and_systems_has_a_command() -> None:
    """Each feature has an interface for programs and a command line. `call upload` gives a file to
    the node, which makes the calls itself; the stream of calls is for programs alone.
    """
    sources = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "nodes" / "cli").glob("*.py")
    )
    typed = {template(path) for path in re.findall(r"""["'](/v1/[^"'?]*)""", sources)}
    served = {
        template(route.path)
        for router in routers()
        for route in router.routes
        if isinstance(route, APIRoute)
    }
    people = {path for path in served if not path.startswith("/v1/peer/")}
    assert people - typed == {"/v1/calls/stream"}


def template(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path.replace("0x{", "{"))


@pytest.mark.parametrize(
    ("url", "certificate", "code"),
    [
        ("https://127.0.0.1:1", "none.pem", "certificate_missing"),
        ("https://127.0.0.1:1", "no.pem", "certificate_malformed"),
        ("https://127.0.0.1:99999", "no.pem", "url_malformed"),
        ("https://[::1", "no.pem", "url_malformed"),
        ("https://127.0.0.1:1/v1", "no.pem", "url_malformed"),
        ("127.0.0.1:1", "no.pem", "url_malformed"),
    ],
)
def test_a_node_is_named_by_address_and_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str, certificate: str, code: str
) -> None:
    (tmp_path / "no.pem").write_text("not a certificate\n")
    assert cli.main(["health", "--url", url, "--certificate", str(tmp_path / certificate)]) == 2
    assert f"error[{code}]" in capsys.readouterr().err


# --- A person's key -------------------------------------------------------------------------------


def test_a_key_is_made_by_its_holder_and_its_passphrase_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, old, new = (tmp_path / name for name in ("approval.json", "old", "new"))
    old.write_text("first words\n")
    new.write_text("other words\n")
    assert (
        cli.main(
            [
                "key",
                "make",
                str(key),
                "--purpose",
                "approval",
                "--passphrase-file",
                str(old),
                "--json",
            ]
        )
        == 0
    )
    made = json.loads(capsys.readouterr().out)
    assert json.loads(Path(made["public"]).read_text()) == {
        "fingerprint": "0x" + made["address"][2:].rjust(64, "0"),
        "purpose": 2,
        "algorithm": 1,
    }
    assert key.stat().st_mode & 0o077 == 0
    assert (
        cli.main(
            [
                "key",
                "passphrase",
                str(key),
                "--passphrase-file",
                str(old),
                "--new-passphrase-file",
                str(new),
            ]
        )
        == 0
    )
    assert cli.main(["key", "show", str(key), "--passphrase-file", str(old)]) == 2
    assert "key_passphrase_wrong" in capsys.readouterr().err
    assert cli.main(["key", "show", str(key), "--passphrase-file", str(new)]) == 0
    assert made["address"] in capsys.readouterr().out


def test_a_passphrase_left_beside_the_key_goes_when_it_is_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, new = tmp_path / "admin.json", tmp_path / "new"
    new.write_text("other words\n")
    assert cli.main(["key", "make", str(key), "--purpose", "admin"]) == 0
    assert (tmp_path / "admin.json.passphrase").exists()
    assert cli.main(["key", "passphrase", str(key), "--new-passphrase-file", str(new)]) == 0
    assert not (tmp_path / "admin.json.passphrase").exists()
    assert cli.main(["key", "make", str(key), "--purpose", "admin"]) == 2
    assert "key_exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "none.json"], "key_missing"),
        (["passphrase", "none.json", "--passphrase-file", "none"], "key_passphrase_missing"),
        (
            ["make", "x.json", "--purpose", "admin", "--passphrase-file", "none"],
            "key_passphrase_missing",
        ),
    ],
)
def test_a_key_command_names_the_missing_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["key", *arguments]) == 2
    assert f"error[{code}]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- Shapes ---------------------------------------------------------------------------------------


def test_a_path_is_filled_with_what_was_given_and_nothing_escapes_it() -> None:
    given = argparse.Namespace(asset_id="../x?y", limit=5, offset=None)
    assert (
        filled_path("/v1/assets/{asset_id}", given, ("limit", "offset"))
        == "/v1/assets/..%2Fx%3Fy?limit=5"
    )


@pytest.mark.parametrize("given", [["age"], ["=keep"], ["age=keep", "age=drop"]])
def test_a_pair_is_a_name_and_a_value_each_name_once(given: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        pairs(given, "A masking")
    assert caught.value.code == "pair_malformed"


def test_a_share_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        shares(["11440700MB2C62170M=90%"])
    assert caught.value.code == "share_malformed"


def test_a_table_lines_up_with_chinese_in_it() -> None:
    rows = [{"name": "税务局", "count": 1}, {"name": "bank", "count": 22}]
    assert list(output.table(rows, {"name": "name", "n": "count"})) == [
        "name    n",
        "税务局  1",
        "bank    22",
    ]
    assert list(output.table([], {"name": "name"})) == ["none"]


def test_what_others_wrote_cannot_command_the_terminal() -> None:
    assert list(output.lines({"name": "x\x1b[2Jy\n"})) == [r"name: x\x1b[2Jy\n"]
    assert list(output.lines({"note": "one\n\x1b[Atwo\n"})) == [
        "note:",
        "  | one",
        r"  | \x1b[Atwo",
    ]
    assert list(output.lines({"a\nyou sign: nothing": 1})) == [r"a\nyou sign: nothing: 1"]
    assert list(output.table([{"name": ["\x1b[2J"]}], {"name": "name"})) == [
        "name",
        r'["\u001b[2J"]',
    ]
    assert json.loads(output.as_json({"name": "\u202e\x9b"})) == {"name": "\u202e\x9b"}
    assert output.as_json("\u202e\x9b") == r'"\u202e\u009b"'


def test_the_text_of_another_nodes_error_is_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_arguments: argparse.Namespace) -> int:
        raise BadInput("other\x1b[2J", "Refused.\nVALID: trade\u202e", hint="\x9b2J")

    monkeypatch.setattr(cli, "parse", lambda _given: argparse.Namespace(run=refused))
    assert cli.main([]) == 2
    printed = capsys.readouterr().err
    assert printed == r"error[other\x1b[2J]: Refused.\nVALID: trade\u202e \x9b2J" + "\n"


def test_answers_are_lines_with_what_is_inside_indented() -> None:
    value = {"a": 1, "b": {"c": None, "d": [True, {"e": "f", "g": 2}]}, "h": []}
    assert list(output.lines(value)) == [
        "a: 1",
        "b:",
        "  c: -",
        "  d:",
        "    - yes",
        "    - e: f",
        "      g: 2",
        "h: none",
    ]


@pytest.mark.parametrize(
    ("fen", "shown"), [("0", "0.00 yuan"), (5, "0.05 yuan"), ("123456", "1,234.56 yuan")]
)
def test_amounts_in_fen_are_shown_in_yuan(fen: str | int, shown: str) -> None:
    assert output.yuan(fen) == shown


# --- Files of subjects ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.csv", "subject,consent\nA1,0xab\nB2,\n", [("A1", "0xab"), ("B2", None)]),
        ("a.csv", "\ufeffsubject\nA1\n", [("A1", None)]),
        (
            "a.jsonl",
            '{"subject": "A1"}\n\n{"subject": "B2", "consent": "0xcd"}\n',
            [("A1", None), ("B2", "0xcd")],
        ),
    ],
)
def test_subjects_are_read_from_csv_or_json_lines(
    tmp_path: Path, name: str, text: str, rows: list[tuple[str, str | None]]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert list(rows_of(tmp_path / name)) == rows


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.csv", b"code\nA1\n", "row_malformed"),
        ("a.csv", "subject\n江门\n".encode("gb18030"), "file_unreadable"),
        ("a.jsonl", b'{"subject": 7}\n', "row_malformed"),
        ("a.jsonl", b"[]\n", "row_malformed"),
        ("a.jsonl", b"{\n", "row_malformed"),
    ],
)
def test_a_file_that_names_no_subject_is_refused(
    tmp_path: Path, name: str, data: bytes, code: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput) as caught:
        list(rows_of(tmp_path / name))
    assert caught.value.code == code


def test_only_rows_that_have_ended_are_left_out_of_a_second_run(tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    results.write_text(
        '{"key": "a", "outcome": "served"}\n{"key": "b", "outcome": "failed"}\n{"key": "c", "outc'
    )
    assert list(outcomes_of(results)) == ["a"]
    assert outcomes_of(tmp_path / "none") == {}
    results.write_text('{"name": "not a result"}\n')
    with pytest.raises(BadInput) as caught:
        outcomes_of(results)
    assert caught.value.code == "results_malformed"


def test_a_trust_file_can_name_the_own_node_as_witness(tmp_path: Path) -> None:
    member = with_check_character("11440700MB2N0D001")
    plan = NodePlan(
        tmp_path / "node", member, "Supervisor", ("supervisor",), finality=("0x" + "ab" * 20,)
    )
    log = initialise(plan).key(KeyPurpose.LOG)
    contracts = {name: "0x" + f"{index:02x}" * 20 for index, name in enumerate(NAMES, start=1)}
    Deployment(1907, b"\x01" * 32, contracts, 3, CloseWindow(5, 60)).save(
        tmp_path / "node" / "deployment.json"
    )
    out = tmp_path / "trust.json"
    assert (
        cli.main(
            [
                "trust",
                "make",
                "--node",
                str(tmp_path / "node"),
                "--witness",
                member,
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert json.loads(out.read_text())["witnesses"][member] == "0x" + log.fingerprint.hex()
    other = with_check_character("11440700MB2N0D002")
    assert (
        cli.main(
            [
                "trust",
                "make",
                "--node",
                str(tmp_path / "node"),
                "--witness",
                other,
                "--out",
                str(out),
            ]
        )
        == 2
    )


def test_a_column_whose_name_holds_a_comma_can_be_named() -> None:
    assert listed("age, area") == ["age", "area"]
    assert listed('age,"income, monthly", "a ""b"""') == ["age", "income, monthly", 'a "b"']
    assert listed(" , ") == []


@pytest.mark.parametrize(
    ("fen", "shown"),
    [(-150, "-1.50 yuan"), (-5, "-0.05 yuan"), (0, "0.00 yuan"), ("123456", "1,234.56 yuan")],
)
def test_the_command_line_shows_what_a_member_owes(fen: object, shown: str) -> None:
    assert output.yuan(fen) == shown
