"""RFC 9162 trees and C2SP checkpoints: what they must show and what they must refuse."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.core.errors import BadSignature, Malformed, NotIncluded, VerificationError
from chain.keys.files import Ed25519Signer
from chain.log import merkle
from chain.log.checkpoint import Checkpoint, cosign, log_origin, sign, verify

# The entries and roots of RFC 6962's reference vectors.
ENTRIES = [
    bytes.fromhex(text)
    for text in [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
]
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
    assert merkle.root_of([merkle.leaf_hash(value) for value in ENTRIES]).hex() == ROOT_OF_8


@given(st.integers(0, 70))
def test_the_incremental_root_is_the_recursive_definition_s(size: int) -> None:
    leaves = [merkle.leaf_hash(bytes([n])) for n in range(size)]
    assert merkle.root_of(leaves) == naive_root(leaves)


@given(st.integers(1, 70).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_every_leaf_is_shown_and_no_other(size_and_index: tuple[int, int]) -> None:
    size, index = size_and_index
    entries = [bytes([n]) for n in range(size)]
    frontier, subtree = tree([merkle.leaf_hash(entry) for entry in entries])
    proof = merkle.inclusion_proof(index, size, subtree)
    merkle.require_included(entries[index], index, size, frontier.root(), proof)
    for wrong in (
        lambda: merkle.require_included(b"other", index, size, frontier.root(), proof),
        lambda: merkle.require_included(
            entries[index], index, size, frontier.root(), [*proof, bytes(32)]
        ),
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
KNOWN = {"supervisor": WITNESS.public_key}


def test_a_checkpoint_with_its_witness_is_read() -> None:
    note = sign(HEAD, LOG)
    note += cosign(note, "supervisor", WITNESS, timestamp=1_700_000_000)
    read = verify(note, log_key=LOG.public_key, witnesses={"supervisor": WITNESS.public_key})
    assert read.checkpoint == HEAD
    assert read.witnesses == {"supervisor": 1_700_000_000}


def test_no_checkpoint_with_a_byte_changed_is_read_as_cosigned() -> None:
    """A changed name or key id makes a cosignature an unknown one, which is ignored; everything
    else refuses the note.
    """
    note = sign(HEAD, LOG)
    own = len(note.encode())
    data = (note + cosign(note, "supervisor", WITNESS, timestamp=1_700_000_000)).encode()
    for index in range(len(data)):
        changed = (data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]).decode(
            "utf-8", "replace"
        )
        try:
            read = verify(changed, log_key=LOG.public_key, witnesses=KNOWN)
        except VerificationError:
            continue
        assert index >= own
        assert (read.checkpoint, read.witnesses, read.ignored) == (HEAD, {}, 1)


def test_a_checkpoint_that_its_log_did_not_sign_is_refused() -> None:
    note = sign(HEAD, LOG)
    with pytest.raises(BadSignature):
        verify(note, log_key=STRANGER.public_key, witnesses={})
    body, own_line = note.split("\n\n")
    with pytest.raises(BadSignature):
        verify(
            f"{body}\n\n{cosign(note, 'supervisor', WITNESS, timestamp=1)}",
            log_key=LOG.public_key,
            witnesses=KNOWN,
        )
    for broken in (
        note[:-1],
        note + "\n",
        body + "\n",
        f"{body}\n\n",
        note.replace("\n7\n", "\n07\n"),
        note.replace("\n7\n", "\n7\r\n"),
    ):
        with pytest.raises(Malformed):
            verify(broken, log_key=LOG.public_key, witnesses={})
    with pytest.raises(Malformed):
        verify(note + own_line * 100, log_key=LOG.public_key, witnesses={})


def test_signatures_of_unknown_keys_are_ignored_even_under_a_known_name_or_with_nonsense_in_them() -> (
    None
):
    note = sign(HEAD, LOG)
    unknown = [
        cosign(note, "witness.example.com/w1", STRANGER, timestamp=1),
        cosign(note, "supervisor", STRANGER, timestamp=1),
        sign(replace(HEAD, origin="supervisor"), STRANGER).split("\n\n")[1],
        f"— {HEAD.origin} {base64.b64encode(b'new!' + bytes(2_420)).decode()}\n",
        "— 见证.example ZXhhbXBsZQ==\n",
    ]
    read = verify(note + "".join(unknown), log_key=LOG.public_key, witnesses=KNOWN)
    assert (read.checkpoint, read.witnesses, read.ignored) == (HEAD, {}, 5)


def test_signatures_come_in_any_order_and_a_witness_may_cosign_twice() -> None:
    note = sign(HEAD, LOG)
    body, own_line = note.split("\n\n")
    lines = [
        cosign(note, "supervisor", WITNESS, timestamp=time)
        for time in (1_700_000_060, 1_700_000_000)
    ]
    read = verify(
        f"{body}\n\n{lines[0]}{own_line}{lines[1]}", log_key=LOG.public_key, witnesses=KNOWN
    )
    assert (read.checkpoint, read.witnesses) == (HEAD, {"supervisor": 1_700_000_000})


def test_a_wrong_signature_under_a_known_key_refuses_the_note_wherever_it_stands() -> None:
    note = sign(HEAD, LOG)
    right, other = (
        cosign(name, "supervisor", WITNESS, timestamp=1)
        for name in (note, sign(replace(HEAD, size=8), LOG))
    )
    own_key_id = base64.b64decode(right.split(" ")[2])[:4]
    short, late = (
        f"— supervisor {base64.b64encode(own_key_id + item).decode()}\n"
        for item in (bytes(64), b"\xff" * 72)
    )
    for line in (other, right + other, other + right, short, late):
        with pytest.raises(BadSignature):
            verify(note + line, log_key=LOG.public_key, witnesses=KNOWN)


def test_extension_lines_are_signed_and_cosigned_with_the_rest() -> None:
    body = HEAD.text() + "extension one\n— not a signature\n"
    own = LOG.sign(body.encode())
    key_line = sign(HEAD, LOG).split("\n\n")[1]
    key_id = base64.b64decode(key_line.rsplit(" ", 1)[1])[:4]
    note = f"{body}\n— {HEAD.origin} {base64.b64encode(key_id + own).decode()}\n"
    note += cosign(note, "supervisor", WITNESS, timestamp=1_700_000_000)
    read = verify(note, log_key=LOG.public_key, witnesses=KNOWN)
    assert (read.checkpoint, read.witnesses) == (HEAD, {"supervisor": 1_700_000_000})
    for changed in (note.replace("one", "two"), note.replace("extension one\n", "")):
        with pytest.raises(BadSignature):
            verify(changed, log_key=LOG.public_key, witnesses=KNOWN)
    with pytest.raises(Malformed):
        verify(
            note.replace("extension one\n", "extension one\n\n"),
            log_key=LOG.public_key,
            witnesses=KNOWN,
        )


def test_a_cosigned_checkpoint_in_the_specifications_form_is_read() -> None:
    """The layout of the example in c2sp.org/tlog-cosignature, under keys of this test."""
    head = Checkpoint(
        "example.com/behind-the-sofa",
        20_852_163,
        base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="),
    )
    note = sign(head, LOG)
    note += cosign(note, "witness.example.com/w1", WITNESS, timestamp=1_679_315_147)
    assert note.startswith(
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa "
    )
    read = verify(
        note, log_key=LOG.public_key, witnesses={"witness.example.com/w1": WITNESS.public_key}
    )
    assert (read.checkpoint, read.witnesses) == (head, {"witness.example.com/w1": 1_679_315_147})
