"""Who proposed and sealed blocks, from headers that a chain of four validators really made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain.core.errors import Malformed
from chain.ethereum import headers, rlp, validators
from chain.ethereum.validators import SealedBlock, Vote, read_block, report

DATA = Path(__file__).parents[1] / "data" / "kcn"


def recorded(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["four.json", "round.json", "one.json"])
def test_a_recorded_block_names_its_proposer_and_its_sealers(name: str) -> None:
    data = recorded(name)
    block = read_block(headers.from_rpc(data["header"]).raw)
    known = set(data["validators"])
    assert set(block.validators) == known
    assert block.proposer in known
    assert block.sealers <= known
    assert len(block.sealers) >= headers.seals_needed(len(known))
    assert block.vote is None


def test_a_seal_of_somebody_else_counts_for_nobody() -> None:
    raw = headers.from_rpc(recorded("four.json")["header"]).raw
    fields = rlp.decode_list(raw)
    extra = rlp.as_bytes(fields[11])
    istanbul = rlp.decode_list(extra[32:])
    proposer_seal = rlp.as_bytes(istanbul[1])
    forged = proposer_seal[:40] + bytes([proposer_seal[40] ^ 1]) + proposer_seal[41:]
    istanbul[1], istanbul[2] = forged, [forged, b"", bytes(65)]
    fields[11] = extra[:32] + rlp.encode(istanbul)
    block = read_block(rlp.encode(fields))
    assert (block.proposer, block.sealers) == ("", frozenset())


def with_vote(vote: rlp.Item) -> SealedBlock:
    fields = rlp.decode_list(headers.from_rpc(recorded("four.json")["header"]).raw)
    fields[13] = vote
    return read_block(rlp.encode(fields))


def test_a_vote_is_shown_with_its_parameter() -> None:
    data = rlp.encode([b"\x11" * 20, b"governance.removevalidator", b"\x22" * 20])
    block = with_vote(data)
    shown = Vote(block.height, "0x" + "11" * 20, "governance.removevalidator", "0x" + "22" * 20)
    assert block.vote == shown


@pytest.mark.parametrize(
    "vote", [b"\x01", rlp.encode([b"a"]), rlp.encode([b"\1" * 20, [b"x"], b""]), bytes(5_000)]
)
def test_a_vote_of_another_form_is_passed_over(vote: bytes) -> None:
    assert with_vote(vote).vote is None


def test_headers_of_another_engine_are_refused() -> None:
    with pytest.raises(Malformed):
        report([rlp.encode([b"\1"] * 15)])


def test_the_turns_of_a_validator_that_was_killed_are_missed() -> None:
    data = recorded("turns.json")
    found = report([bytes.fromhex(raw) for raw in data["headers"]])
    missed = {one.address: one.missed for one in found.validators if one.missed}
    assert set(missed) == {data["killed"]}
    assert found.slowest_seconds > 5
    last = {one.address: one.last_sealed for one in found.validators}
    killed_at = last.pop(data["killed"])
    assert killed_at is not None
    assert killed_at < min(height for height in last.values() if height is not None)


# --- Turns ----------------------------------------------------------------------------------------

SET = ("a", "b", "c", "d")


def chain(proposers: str, monkeypatch: pytest.MonkeyPatch) -> validators.ValidatorReport:
    """The report over blocks with these proposers; ``-`` for an unknown one."""
    made = [
        SealedBlock(
            height=100 + number,
            timestamp=1_000 + number,
            validators=SET,
            proposer="" if name == "-" else name,
            sealers=frozenset("abc"),
            vote=None,
        )
        for number, name in enumerate(proposers)
    ]
    monkeypatch.setattr(validators, "read_block", lambda raw: made[raw[0]])
    return report([bytes([number]) for number in range(len(made))])


@pytest.mark.parametrize(
    ("proposers", "missed"),
    [
        ("abcdabcd", {}),
        ("abdabd", {"c": 2}),
        ("acdb", {"b": 1, "a": 1}),
        ("aa", {"b": 1, "c": 1, "d": 1}),
        ("a-cd", {}),
        ("a", {}),
    ],
)
def test_a_turn_that_is_passed_over_was_missed(
    proposers: str, missed: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = chain(proposers, monkeypatch)
    assert {one.address: one.missed for one in found.validators if one.missed} == missed


def test_the_report_says_who_sealed_last_and_how_many_may_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = chain("abcd", monkeypatch)
    sealed: Sequence[int | None] = [one.last_sealed for one in found.validators]
    assert sealed == [103, 103, 103, None]
    assert (found.needed, found.spare, found.blocks, found.slowest_seconds) == (3, 0, 4, 1)
    everybody = tuple(replace(one, last_sealed=103) for one in found.validators)
    assert replace(found, validators=everybody).spare == 1
