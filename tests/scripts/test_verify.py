"""``qiaolian verify`` on bundles recorded from a real four-validator network: valid as they are,
refused in every other form.
"""

from __future__ import annotations

import argparse
import functools
import json
import operator
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.bundle.trust import read
from chain.bundle.verifier import verify as verify_bundle
from chain.core.canonical import dumps
from chain.core.errors import Malformed, VerificationError
from nodes.cli import verify
from nodes.cli.main import main
from nodes.cli.verify import CHECKERS

RECORDED = Path(__file__).parent.parent / "data" / "bundles"
TRUST = RECORDED / "trust.json"
PROFILES = ("trade", "lane", "grant", "credit", "property")
"""Those that the demo records; the others are tested where they are made."""
BYTES = {profile: (RECORDED / f"{profile}.json").read_bytes() for profile in PROFILES}
HELD = read(TRUST.read_bytes())

OFFLINE = """
import sys
def refuse(event, arguments):
    if event.startswith("socket.") or event in ("sqlite3.connect", "subprocess.Popen", "os.exec"):
        raise PermissionError(event)
sys.addaudithook(refuse)
from nodes.cli.main import main
code = main(sys.argv[1:])
banned = {"web3", "fastapi", "sqlalchemy", "urllib3", "httpx", "pandas", "numpy", "pyarrow", "nodes.config", "nodes.app", "chain.ethereum.ledger", "chain.ethereum.rpc"} & set(sys.modules)
sys.exit(code or (99 if banned else 0))
"""


@pytest.mark.parametrize("profile", PROFILES)
def test_a_recorded_bundle_holds_without_network_database_or_node(
    profile: str, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-c",
        OFFLINE,
        "verify",
        str(RECORDED / f"{profile}.json"),
        "--trust",
        str(TRUST),
        "--json",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["valid"], answer["story"]) == (True, profile)
    assert len(answer["proved"]) >= 3


def test_the_verifier_prints_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(RECORDED / "trade.json"), "--trust", str(TRUST)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("VALID: trade, proved up to block")
    assert "the call was claimed" in printed
    assert "cannot prove that nobody looked earlier" in printed


def exit_code(tmp_path: Path, data: bytes, trust: bytes | None = None) -> int:
    """What the command answers for these bytes."""
    path, held = tmp_path / "bundle.json", tmp_path / "trust.json"
    path.write_bytes(data)
    held.write_bytes(TRUST.read_bytes() if trust is None else trust)
    return main(["verify", str(path), "--trust", str(held), "--json"])


def edited(profile: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle in canonical form again after a change: what somebody who knows the format would
    hand over.
    """
    value = json.loads(BYTES[profile])
    change(value)
    return dumps(value)


def flip_hex(text: str, at: int) -> str:
    """The text with another hexadecimal digit at a place."""
    return text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1 :]


def _signature(value: dict[str, Any]) -> None:
    statement = value["statements"][0]
    statement["signatures" if "signatures" in statement else "signature"] = flip_hex(
        statement["signature"], 40
    )


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


def _other_profile(value: dict[str, Any]) -> None:
    value["story"] = "lane"


def _unknown_profile(value: dict[str, Any]) -> None:
    value["story"] = "fable"


def _other_chain(value: dict[str, Any]) -> None:
    value["chain"]["chainId"] += 1


def _unknown_member(value: dict[str, Any]) -> None:
    value["remark"] = "trust me"


@pytest.mark.parametrize(
    ("profile", "change", "code"),
    [
        ("trade", _signature, 11),
        ("trade", _path, 12),
        ("trade", _no_logs, 12),
        ("credit", _storage_proof, 13),
        ("grant", _seal, 14),
        ("grant", _no_headers, 10),
        ("trade", _other_chain, 15),
        ("property", _disclosure, 16),
        ("trade", _other_profile, 16),
        ("trade", _unknown_profile, 10),
        ("trade", _unknown_member, 10),
    ],
)
def test_each_kind_of_failure_has_a_code_of_its_own(
    profile: str, change: Any, code: int, tmp_path: Path
) -> None:
    assert exit_code(tmp_path, edited(profile, change)) == code


def test_json_output_has_the_failure_on_one_line_with_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for profile, change, code in (
        ("trade", _signature, 11),
        ("trade", _path, 12),
        ("credit", _storage_proof, 13),
        ("property", _disclosure, 16),
    ):
        assert exit_code(tmp_path, edited(profile, change)) == code
        printed = capsys.readouterr()
        answer = json.loads(printed.out)
        assert (set(answer), answer["valid"], answer["exit"], printed.err) == (
            {"valid", "code", "sentence", "exit"},
            False,
            code,
            "",
        )
        assert answer["sentence"].endswith(".")


def stumble(_facts: Any, _subject: Any) -> list[str]:
    """A checker that meets what it did not foresee."""
    return [{}["columns"]]


def test_an_unexpected_exception_of_a_checker_is_reported_as_malformed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHECKERS, "grant", stumble)
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


def test_a_bundle_of_100_megabytes_is_refused_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    assert main(["verify", str(path), "--trust", str(TRUST), "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["code"] == "file_too_large"


def test_a_missing_file_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
def test_a_verifier_with_other_trust_is_not_convinced(
    change: Any, code: int, tmp_path: Path
) -> None:
    assert exit_code(tmp_path, BYTES["trade"], _trust(change)) == code


@pytest.mark.parametrize("trust", [b"", b"{}", b"[1]", b"\xff", TRUST.read_bytes()[:-20]])
def test_a_broken_trust_file_convinces_nobody(trust: bytes, tmp_path: Path) -> None:
    with pytest.raises(VerificationError) as refused:
        read(trust)
    assert refused.value.exit_code in (10, 15)
    path = tmp_path / "trust.json"
    path.write_bytes(trust)
    assert (
        main(["verify", str(RECORDED / "trade.json"), "--trust", str(path), "--json"])
        == refused.value.exit_code
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_no_byte_of_a_bundle_can_be_changed(profile: str) -> None:
    data = BYTES[profile]

    @settings(max_examples=60, deadline=None)
    @given(index=st.integers(0, len(data) - 1), mask=st.integers(1, 255))
    def changed_is_refused(index: int, mask: int) -> None:
        changed = data[:index] + bytes([data[index] ^ mask]) + data[index + 1 :]
        with pytest.raises(VerificationError) as refused:
            verify_bundle(changed, HELD, CHECKERS)
        assert refused.value.exit_code in range(10, 17)

    changed_is_refused()


# --- What a file says to a terminal ---------------------------------------------------------------

HOSTILE = (
    "\x1b[2J\x1b[1;1HVALID: trade\n  - The bank was paid.\r\x9b\u202e\u200b\u2028" + "x" * 100_000
)


Place = tuple[Any, ...]


def texts(value: Any, shape: str = "", path: Place = ()) -> Iterator[tuple[str, Place]]:
    """The position of every text of a JSON value, with its shape, e.g. ``.statements[].type``; a
    member's name as ``.statements[].type@``.
    """
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for index, item in items:
        inner, within = (
            f"{shape}.{index}" if isinstance(value, dict) else f"{shape}[]",
            (*path, index),
        )
        if isinstance(value, dict):
            yield f"{inner}@", within
        if isinstance(item, str):
            yield inner, within
        yield from texts(item, inner, within)


def poisoned(data: bytes) -> Iterator[bytes]:
    """The file with hostile text in one place, once for each kind of place in it, in canonical
    form.
    """
    for shape, path in {shape: path for shape, path in texts(json.loads(data))}.items():
        value = json.loads(data)
        holder = functools.reduce(operator.getitem, path[:-1], value)
        if shape.endswith("@"):
            holder[HOSTILE] = holder.pop(path[-1])
        else:
            holder[path[-1]] = HOSTILE
        yield json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def is_quiet(printed: str) -> bool:
    return all(name.isprintable() or name in "\n\u3000" for name in printed) and not set(
        printed
    ) & set("\x1b\x9b\u202e\u200b")


@pytest.mark.parametrize("profile", PROFILES)
def test_no_text_of_a_bundle_reaches_the_terminal_raw_or_unbounded(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bundle.json"
    for number, data in enumerate(poisoned(BYTES[profile])):
        path.write_bytes(data)
        assert verify.run(
            argparse.Namespace(bundle=path, trust=TRUST, json=number % 2 == 1, max_megabytes=1)
        ) in range(10, 17)
        printed = capsys.readouterr()
        lines = (printed.out + printed.err).splitlines()
        assert is_quiet(printed.out + printed.err), data[:200]
        assert len(lines) <= 2
        assert max(map(len, lines)) < 3_000
        assert not any(line.lstrip().startswith(("VALID", "-")) for line in lines)


def test_no_text_of_a_trust_file_reaches_the_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trust.json"
    for number, data in enumerate(poisoned(TRUST.read_bytes())):
        path.write_bytes(data)
        main(
            ["trust", "show", str(path)]
            if number % 2
            else ["verify", str(RECORDED / "grant.json"), "--trust", str(path)]
        )
        printed = capsys.readouterr()
        assert is_quiet(printed.out + printed.err)
        assert "\n  - The bank was paid." not in printed.out + printed.err


def test_a_file_name_cannot_speak_for_the_verifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path / "\x1b[2JVALID\n.json"), "--trust", str(TRUST)]) == 2
    assert is_quiet(capsys.readouterr().err)


def test_the_largest_file_is_the_verifiers_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "large.json"
    path.write_bytes(BYTES["trade"] + b" " * 1_000_000)
    asked = ["verify", str(path), "--trust", str(TRUST), "--json", "--max-megabytes"]
    assert main([*asked, "1"]) == 10
    assert json.loads(capsys.readouterr().out)["code"] == "file_too_large"
    assert main([*asked, "2"]) == 10
    assert json.loads(capsys.readouterr().out)["code"] == "json_not_canonical"


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"[]," * 6_600_000 + b"[]]",
        b"[" + b'{"a":1},' * 2_500_000 + b"1]",
        b"[" + b"1," * 10_000_000 + b"1]",
    ],
    ids=["lists", "objects", "numbers"],
)
def test_a_file_of_very_many_values_is_refused_before_they_are_built(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(VerificationError) as refused:
            verify_bundle(data, HELD, CHECKERS)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert (refused.value.code, refused.value.exit_code) == ("json_too_many_values", 10)


# --- What a profile needs -------------------------------------------------------------------------

SECTIONS = ("statements", "structs", "storage", "keys", "headers", "logs", "disclosures")
OPTIONAL = {("lane", "Voucher"), ("grant", "qiaolian.scope.v1")}
"""What a bundle may lack: the last acknowledgement of a lane, which the chain also shows, and the
disclosed scope of a grant.
"""


@pytest.mark.parametrize("profile", PROFILES)
def test_no_element_of_a_bundle_can_be_left_out(profile: str) -> None:
    for section in SECTIONS:
        for index, element in enumerate(json.loads(BYTES[profile])[section]):
            if (
                isinstance(element, dict)
                and (profile, element.get("type", element.get("domain"))) in OPTIONAL
            ):
                continue
            value = json.loads(BYTES[profile])
            del value[section][index]
            with pytest.raises(VerificationError):
                verify_bundle(dumps(value), HELD, CHECKERS)


@pytest.mark.parametrize("profile", PROFILES)
def test_no_element_of_a_bundle_may_be_repeated(profile: str) -> None:
    for section in SECTIONS:
        for index in range(len(json.loads(BYTES[profile])[section])):
            value = json.loads(BYTES[profile])
            value[section].insert(index, value[section][index])
            with pytest.raises(Malformed):
                verify_bundle(dumps(value), HELD, CHECKERS)
