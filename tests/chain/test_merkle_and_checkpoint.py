"""RFC 9162 trees and C2SP checkpoints: what they must show and what they must refuse."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import merkle
from chain.checkpoint import Checkpoint, cosign, log_origin, sign, verify
from chain.errors import BadSignature, Malformed, NotIncluded, VerificationError, WrongTrust
from chain.keys import Ed25519Signer

# The entries and roots of RFC 6962's reference vectors.
ENTRIES = [bytes.fromhex(text) for text in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]]
ROOT_OF_8 = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def tree(leaves: list[bytes]) -> tuple[merkle.Frontier, Callable[[int, int], bytes]]:
    stored: dict[tuple[int, int], bytes] = {}
    frontier = merkle.Frontier()
    for leaf in leaves:
        for level, index, value in frontier.append(leaf):
            assert (level, index) not in stored
            stored[level, index] = value
    return frontier, lambda level, index: stored[level, index]


def naive_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def test_the_reference_tree_has_the_reference_root() -> None:
    assert merkle.root_of([merkle.leaf_hash(each) for each in ENTRIES]).hex() == ROOT_OF_8


@given(st.integers(0, 70))
def test_the_incremental_root_is_the_recursive_definition_s(size: int) -> None:
    leaves = [merkle.leaf_hash(bytes([n])) for n in range(size)]
    assert merkle.root_of(leaves) == naive_root(leaves)


@given(st.integers(1, 70).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_every_leaf_is_shown_and_no_other(size_and_index: tuple[int, int]) -> None:
    size, index = size_and_index
    entries = [bytes([n]) for n in range(size)]
    frontier, subtree = tree([merkle.leaf_hash(each) for each in entries])
    proof = merkle.inclusion_proof(index, size, subtree)
    merkle.require_included(entries[index], index, size, frontier.root(), proof)
    for wrong in (
        lambda: merkle.require_included(b"other", index, size, frontier.root(), proof),
        lambda: merkle.require_included(entries[index], index, size, frontier.root(), [*proof, bytes(32)]),
        lambda: merkle.require_included(entries[index], index + size, size, frontier.root(), proof),
        lambda: merkle.require_included(entries[index], index, size, bytes(32), proof),
    ):
        with pytest.raises(NotIncluded):
            wrong()


@given(st.integers(1, 70).flatmap(lambda new: st.tuples(st.just(new), st.integers(1, new))))
def test_growth_is_shown_and_a_rewritten_past_is_not(sizes: tuple[int, int]) -> None:
    new, old = sizes
    leaves = [merkle.leaf_hash(bytes([n])) for n in range(new)]
    frontier, subtree = tree(leaves)
    old_root = naive_root(leaves[:old])
    proof = merkle.consistency_proof(old, new, subtree)
    merkle.require_consistent(old, old_root, new, frontier.root(), proof)
    rewritten = naive_root([merkle.leaf_hash(b"rewritten"), *leaves[1:old]])
    with pytest.raises(NotIncluded):
        merkle.require_consistent(old, rewritten, new, frontier.root(), proof)


def test_a_log_that_shrinks_is_refused() -> None:
    with pytest.raises(NotIncluded) as caught:
        merkle.require_consistent(3, bytes(32), 2, bytes(32), [])
    assert caught.value.code == "log_shrinks"


LOG, WITNESS, STRANGER = (Ed25519Signer(bytes([n]) * 32) for n in (1, 2, 3))
HEAD = Checkpoint(log_origin("11440703QL00000178", 0), 7, bytes(range(32)))


def test_a_checkpoint_with_its_witness_is_read() -> None:
    note = sign(HEAD, LOG)
    note += cosign(note, "supervisor", WITNESS, timestamp=1_700_000_000)
    read = verify(note, log_key=LOG.public_key, witnesses={"supervisor": WITNESS.public_key})
    assert read.checkpoint == HEAD
    assert read.witnesses == {"supervisor": 1_700_000_000}


def test_no_checkpoint_with_a_byte_changed_is_read() -> None:
    note = sign(HEAD, LOG)
    note += cosign(note, "supervisor", WITNESS, timestamp=1_700_000_000)
    data = note.encode()
    for place in range(len(data)):
        changed = (data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]).decode("utf-8", "replace")
        with pytest.raises(VerificationError):
            verify(changed, log_key=LOG.public_key, witnesses={"supervisor": WITNESS.public_key})


def test_a_checkpoint_of_another_key_an_unknown_witness_or_a_doubled_line_is_refused() -> None:
    note = sign(HEAD, LOG)
    line = cosign(note, "supervisor", WITNESS, timestamp=1)
    with pytest.raises(BadSignature):
        verify(note, log_key=STRANGER.public_key, witnesses={})
    with pytest.raises(BadSignature):
        verify(note + line, log_key=LOG.public_key, witnesses={"supervisor": STRANGER.public_key})
    with pytest.raises(WrongTrust):
        verify(note + line, log_key=LOG.public_key, witnesses={})
    for broken in (note[:-1], note + "\n", note + sign(HEAD, LOG).split("\n\n")[1]):
        with pytest.raises(Malformed):
            verify(broken, log_key=LOG.public_key, witnesses={})
    with pytest.raises(Malformed):
        verify(note + line + line, log_key=LOG.public_key, witnesses={"supervisor": WITNESS.public_key})
