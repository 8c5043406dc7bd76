"""``qiaolian verify`` on bundles recorded from a real four-validator network: valid as they are, refused in every other form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import bundle
from chain.canonical import dumps
from chain.errors import Malformed, VerificationError
from chain.trust import read
from scripts.cli import main
from scripts.verify import STORIES, checkers

RECORDED = Path(__file__).parent.parent / "data" / "bundles"
TRUST = RECORDED / "trust.json"
BYTES = {story: (RECORDED / f"{story}.json").read_bytes() for story in STORIES}
HELD = read(TRUST.read_bytes())

OFFLINE = """
import sys
def refuse(event, arguments):
    if event.startswith("socket.") or event in ("sqlite3.connect", "subprocess.Popen", "os.exec"):
        raise PermissionError(event)
sys.addaudithook(refuse)
from scripts.cli import main
code = main(sys.argv[1:])
banned = {"web3", "fastapi", "sqlalchemy", "urllib3", "pandas", "numpy", "pyarrow", "nodes", "chain.ledger", "chain.rpc"} & set(sys.modules)
sys.exit(code or (99 if banned else 0))
"""


@pytest.mark.parametrize("story", STORIES)
def test_a_recorded_bundle_holds_without_network_database_or_node(story: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OFFLINE, "verify", str(RECORDED / f"{story}.json"), "--trust", str(TRUST), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path.cwd())}, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["valid"], answer["story"]) == (True, story)
    assert len(answer["proved"]) >= 3


def test_people_are_told_in_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(RECORDED / "trade.json"), "--trust", str(TRUST)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("VALID: a trade story, proved up to block")
    assert "the call was claimed" in said
    assert "cannot prove that nobody looked earlier" in said


def exit_code(tmp_path: Path, data: bytes, trust: bytes | None = None) -> int:
    """What the command answers for these bytes."""
    path, held = tmp_path / "bundle.json", tmp_path / "trust.json"
    path.write_bytes(data)
    held.write_bytes(TRUST.read_bytes() if trust is None else trust)
    return main(["verify", str(path), "--trust", str(held), "--json"])


def edited(story: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle in canonical form again after a change: what somebody who knows the format would hand over."""
    value = json.loads(BYTES[story])
    change(value)
    return dumps(value)


def flip_hex(text: str, at: int) -> str:
    """The text with another hexadecimal digit at a place."""
    return text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1 :]


def _signature(value: dict[str, Any]) -> None:
    statement = value["statements"][0]
    statement["signatures" if "signatures" in statement else "signature"] = flip_hex(statement["signature"], 40)


def _path(value: dict[str, Any]) -> None:
    entry = value["logs"][0]["entries"][0]
    entry["path"][0] = flip_hex(entry["path"][0], 20)


def _storage_proof(value: dict[str, Any]) -> None:
    proof = value["storage"][0]["storageProof"]
    proof[0] = flip_hex(proof[0], 60)


def _seal(value: dict[str, Any]) -> None:
    value["headers"][0] = flip_hex(value["headers"][0], 200)


def _no_headers(value: dict[str, Any]) -> None:
    value["headers"] = []


def _no_logs(value: dict[str, Any]) -> None:
    value["logs"] = []


def _disclosure(value: dict[str, Any]) -> None:
    value["disclosures"][0]["salt"] = flip_hex(value["disclosures"][0]["salt"], 12)


def _other_story(value: dict[str, Any]) -> None:
    value["story"] = "lane"


def _no_story(value: dict[str, Any]) -> None:
    value["story"] = "fable"


def _other_chain(value: dict[str, Any]) -> None:
    value["chain"]["chainId"] += 1


def _unknown_member(value: dict[str, Any]) -> None:
    value["remark"] = "trust me"


@pytest.mark.parametrize(
    ("story", "change", "code"),
    [
        ("trade", _signature, 11),
        ("trade", _path, 12),
        ("trade", _no_logs, 12),
        ("credit", _storage_proof, 13),
        ("grant", _seal, 14),
        ("grant", _no_headers, 10),
        ("trade", _other_chain, 15),
        ("property", _disclosure, 16),
        ("trade", _other_story, 16),
        ("trade", _no_story, 10),
        ("trade", _unknown_member, 10),
    ],
)
def test_each_kind_of_failure_has_a_code_of_its_own(story: str, change: Any, code: int, tmp_path: Path) -> None:
    assert exit_code(tmp_path, edited(story, change)) == code


def test_a_program_is_told_the_failure_on_one_line_with_its_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for story, change, code in (("trade", _signature, 11), ("trade", _path, 12), ("credit", _storage_proof, 13), ("property", _disclosure, 16)):
        assert exit_code(tmp_path, edited(story, change)) == code
        said = capsys.readouterr()
        answer = json.loads(said.out)
        assert (set(answer), answer["valid"], answer["exit"], said.err) == ({"valid", "code", "sentence", "exit"}, False, code, "")
        assert answer["sentence"].endswith(".")


def stumble(_facts: Any, _subject: Any) -> list[str]:
    """A checker that meets what it did not foresee."""
    return [{}["columns"]]


def test_what_a_checker_did_not_foresee_is_malformed_and_still_told_to_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STORIES, "grant", (__name__, "stumble"))
    assert exit_code(tmp_path, BYTES["grant"]) == 10
    answer = json.loads(capsys.readouterr().out)
    assert (answer["valid"], answer["code"], answer["exit"]) == (False, "bundle_malformed", 10)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        BYTES["trade"][:-1],
        BYTES["trade"][: len(BYTES["trade"]) // 2],
        BYTES["trade"] + b"{}",
        BYTES["trade"].replace(b"{", b'{"chain":{},', 1),
        BYTES["trade"].replace(b'"lane":0', b'"lane":1' + b"0" * 400, 1),
        BYTES["trade"].replace(b'"lane":0', b'"lane":1e999', 1),
        BYTES["trade"].replace(b'"lane":0', b'"lane":NaN', 1),
        BYTES["trade"].replace(b'"story"', b'"st\xff\xfery"', 1),
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"[" * 1_000_000,
        b"\xef\xbb\xbf" + BYTES["trade"],
        BYTES["trade"].decode().encode("utf-16"),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_not_a_bundle_is_malformed(data: bytes, tmp_path: Path) -> None:
    assert exit_code(tmp_path, data) == 10


def test_a_bundle_of_100_megabytes_is_refused_unread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    assert main(["verify", str(path), "--trust", str(TRUST), "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["code"] == "file_too_large"


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "none.json"), "--trust", str(TRUST)]) == 2
    assert "file_unreadable" in capsys.readouterr().err


def _trust(change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(TRUST.read_bytes())
    change(value)
    return json.dumps(value).encode()


def _strange_validators(value: dict[str, Any]) -> None:
    each = value["validatorSets"][0]
    each["validators"] = ["0x" + f"{number:040x}" for number in range(1, 5)]


def _strange_contract(value: dict[str, Any]) -> None:
    value["contracts"]["MemberDirectory"] = "0x" + "11" * 20


def _strange_witness(value: dict[str, Any]) -> None:
    value["witnesses"] = {member: "0x" + "22" * 32 for member in value["witnesses"]}


def _other_witness(value: dict[str, Any]) -> None:
    value["witnesses"] = {"11440703QL0000030K": "0x" + "22" * 32}


def _more_witnesses(value: dict[str, Any]) -> None:
    value["witnesses"] |= {"11440703QL0000030K": "0x" + "22" * 32}
    value["requiredWitnesses"] = 2


def _strange_chain(value: dict[str, Any]) -> None:
    value["chainId"] += 1


def _strange_genesis(value: dict[str, Any]) -> None:
    value["genesisHash"] = "0x" + "33" * 32


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_strange_validators, 14),
        (_strange_contract, 15),
        (_strange_witness, 11),
        (_other_witness, 11),
        (_more_witnesses, 11),
        (_strange_chain, 15),
        (_strange_genesis, 15),
    ],
)
def test_a_verifier_with_other_trust_is_not_convinced(change: Any, code: int, tmp_path: Path) -> None:
    assert exit_code(tmp_path, BYTES["trade"], _trust(change)) == code


@pytest.mark.parametrize("trust", [b"", b"{}", b"[1]", b"\xff", TRUST.read_bytes()[:-20]])
def test_a_broken_trust_file_convinces_nobody(trust: bytes, tmp_path: Path) -> None:
    with pytest.raises(VerificationError) as refused:
        read(trust)
    assert refused.value.exit_code in (10, 15)
    path = tmp_path / "trust.json"
    path.write_bytes(trust)
    assert main(["verify", str(RECORDED / "trade.json"), "--trust", str(path), "--json"]) == refused.value.exit_code


@pytest.mark.parametrize("story", STORIES)
def test_no_byte_of_a_bundle_can_be_changed(story: str) -> None:
    data = BYTES[story]

    @settings(max_examples=60, deadline=None)
    @given(place=st.integers(0, len(data) - 1), mask=st.integers(1, 255))
    def changed_is_refused(place: int, mask: int) -> None:
        changed = data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
        with pytest.raises(VerificationError) as refused:
            bundle.verify(changed, HELD, checkers())
        assert refused.value.exit_code in range(10, 17)

    changed_is_refused()


SECTIONS = ("statements", "structs", "storage", "keys", "headers", "logs", "disclosures")
OPTIONAL = {("lane", "Voucher"), ("grant", "qiaolian.scope.v1")}
"""What only adds to a story: the last acknowledgement to a lane that the chain tells anyway, and the opened scope of a grant."""


@pytest.mark.parametrize("story", STORIES)
def test_nothing_the_story_needs_can_be_left_out(story: str) -> None:
    for section in SECTIONS:
        for place, element in enumerate(json.loads(BYTES[story])[section]):
            if isinstance(element, dict) and (story, element.get("type", element.get("domain"))) in OPTIONAL:
                continue
            value = json.loads(BYTES[story])
            del value[section][place]
            with pytest.raises(VerificationError):
                bundle.verify(dumps(value), HELD, checkers())


@pytest.mark.parametrize("story", STORIES)
def test_nothing_is_said_twice(story: str) -> None:
    for section in SECTIONS:
        for place in range(len(json.loads(BYTES[story])[section])):
            value = json.loads(BYTES[story])
            value[section].insert(place, value[section][place])
            with pytest.raises(Malformed):
                bundle.verify(dumps(value), HELD, checkers())
