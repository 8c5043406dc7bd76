"""Seals and storage proofs against what real one- and four-validator networks answered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain.core.crypto import keccak256, sign_digest
from chain.core.errors import Malformed, NotAnchored, NotFinal, VerificationError
from chain.ethereum import rlp
from chain.ethereum.headers import from_rpc, parse, require_final, seals_needed
from chain.ethereum.storage_proofs import StorageProof

DATA = Path(__file__).parent.parent / "data" / "kcn"


@pytest.fixture(params=["one", "four"])
def recorded(request: pytest.FixtureRequest) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DATA / f"{request.param}.json").read_text())
    return read


def resealed(raw: bytes, seals: list[bytes]) -> bytes:
    fields = rlp.decode_list(raw)
    extra = rlp.as_bytes(fields[11])
    istanbul = rlp.decode_list(extra[32:])
    fields[11] = extra[:32] + rlp.encode([istanbul[0], istanbul[1], seals])
    return rlp.encode(fields)


def test_a_recorded_header_hashes_to_its_own_hash_and_is_final(recorded: dict[str, Any]) -> None:
    header = from_rpc(recorded["header"])
    assert "0x" + header.hash.hex() == recorded["header"]["hash"]
    require_final(header, recorded["validators"])
    assert parse(header.raw) == header


def test_a_block_agreed_on_in_a_later_round_hashes_to_its_own_hash_and_is_final() -> None:
    late = json.loads((DATA / "round.json").read_text())
    assert bytes.fromhex(late["header"]["extraData"][2:])[31] == 1
    header = from_rpc(late["header"])
    assert "0x" + header.hash.hex() == late["header"]["hash"]
    require_final(header, late["validators"])
    fields = rlp.decode_list(header.raw)
    extra = rlp.as_bytes(fields[11])
    fields[11] = extra[:31] + b"\x01" + extra[32:]
    with pytest.raises(Malformed):
        parse(rlp.encode(fields))


def test_no_header_with_a_byte_changed_is_final(recorded: dict[str, Any]) -> None:
    raw = from_rpc(recorded["header"]).raw
    for index in range(len(raw)):
        changed = raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]
        with pytest.raises(VerificationError):
            require_final(parse(changed), recorded["validators"])


def test_a_header_with_a_seal_too_few_is_not_final(recorded: dict[str, Any]) -> None:
    header = from_rpc(recorded["header"])
    few = list(header.seals)[: seals_needed(len(recorded["validators"])) - 1]
    with pytest.raises(NotFinal) as caught:
        require_final(parse(resealed(header.raw, few)), recorded["validators"])
    assert caught.value.code == "seal_missing"


def test_a_seal_counted_twice_refuses_the_header(recorded: dict[str, Any]) -> None:
    header = from_rpc(recorded["header"])
    with pytest.raises(NotFinal) as caught:
        require_final(
            parse(resealed(header.raw, [*header.seals, header.seals[0]])), recorded["validators"]
        )
    assert caught.value.code == "seal_duplicate"


def test_a_stranger_s_seal_refuses_the_header_even_beside_enough_good_ones(
    recorded: dict[str, Any],
) -> None:
    header = from_rpc(recorded["header"])
    signature = sign_digest(keccak256(b"stranger"), keccak256(header.hash + b"\x02"))
    foreign = signature[:64] + bytes([signature[64] - 27])
    with pytest.raises(NotFinal) as caught:
        require_final(parse(resealed(header.raw, [*header.seals, foreign])), recorded["validators"])
    assert caught.value.code == "seal_foreign"


def test_another_validator_set_does_not_accept_the_header(recorded: dict[str, Any]) -> None:
    with pytest.raises(NotFinal):
        require_final(from_rpc(recorded["header"]), ["0x" + "11" * 20])


@pytest.mark.parametrize(
    ("n", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7)]
)
def test_two_groups_of_enough_seals_always_share_an_honest_validator(n: int, needed: int) -> None:
    assert seals_needed(n) == needed
    if n >= 4:
        assert 2 * needed - n > (n - 1) // 3


def test_a_recorded_slot_and_an_absent_one_are_proved(recorded: dict[str, Any]) -> None:
    header = from_rpc(recorded["header"])
    known, absent = (StorageProof.from_rpc(recorded["proof"], index) for index in (0, 1))
    word = known.verify(header.state_root)
    assert 0 < word & (2**48 - 1) <= header.number
    assert absent.verify(header.state_root) == 0


def test_a_storage_proof_with_any_byte_changed_is_refused(recorded: dict[str, Any]) -> None:
    header = from_rpc(recorded["header"])
    for index in (0, 1):
        proof = StorageProof.from_rpc(recorded["proof"], index)
        for kind in ("account_proof", "storage_proof"):
            nodes = getattr(proof, kind)
            for number, node in enumerate(nodes):
                for at in range(0, len(node), 5):
                    changed = node[:at] + bytes([node[at] ^ 1]) + node[at + 1 :]
                    forged = replace(
                        proof, **{kind: (*nodes[:number], changed, *nodes[number + 1 :])}
                    )
                    with pytest.raises(VerificationError):
                        forged.verify(header.state_root)
        with pytest.raises(NotAnchored):
            replace(proof, value=proof.value + 1).verify(header.state_root)
        with pytest.raises(NotAnchored):
            replace(proof, storage_proof=(*proof.storage_proof, b"\xc0")).verify(header.state_root)
        with pytest.raises(NotAnchored):
            proof.verify(bytes(32))
