"""Append-only Merkle trees (RFC 9162, section 2).

The tree over n leaves splits at the largest power of two below n; a leaf's hash is SHA-256(0x00 ‖
entry), a node's SHA-256(0x01 ‖ left ‖ right). Proofs are made from the hashes of complete subtrees,
addressed by ``(level, index)``: the subtree of 2^level leaves that starts at leaf index·2^level. A
store therefore keeps one hash for each complete subtree, writes each once, and never changes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from chain.core.errors import NotIncluded

SubtreeHash = Callable[[int, int], bytes]
"""The hash of the complete subtree at ``(level, index)``."""

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry as a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees that make up a tree of ``size`` leaves, largest first:
    enough to append and to give the root.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if len(hashes) != size.bit_count():
            raise ValueError("a frontier has one hash for each bit set in its size")
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Add a leaf hash; yields every subtree it completes as ``(level, index, hash)``, the leaf
        itself first.
        """
        index, level, current = self.size, 0, leaf
        yield level, index, current
        while self.size >> level & 1:
            current = node_hash(self.hashes.pop(), current)
            level += 1
            yield level, index >> level, current
        self.hashes.append(current)
        self.size += 1

    def root(self) -> bytes:
        """The tree's root (RFC 9162, 2.1.1)."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for digest in reversed(self.hashes[:-1]):
            root = node_hash(digest, root)
        return root


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes held in memory."""
    frontier = Frontier()
    for leaf in leaves:
        for _ in frontier.append(leaf):
            pass
    return frontier.root()


def inclusion_proof(index: int, size: int, subtree: SubtreeHash) -> list[bytes]:
    """The path that shows leaf ``index`` under the root of ``size`` leaves (2.1.3.1)."""
    if not 0 <= index < size:
        raise NotIncluded("not_included", "There is no such entry in a log of that size.")
    return _path(index, 0, size, subtree)


def consistency_proof(old: int, new: int, subtree: SubtreeHash) -> list[bytes]:
    """The path that shows the tree of ``new`` leaves to extend that of ``old`` (2.1.4.1)."""
    if not 0 < old <= new:
        raise NotIncluded("log_shrinks", "A log does not shrink.")
    return _subproof(old, 0, new, True, subtree)


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root a leaf hash and its path lead to (2.1.3.2); the caller compares it."""
    if not 0 <= index < size:
        raise _broken()
    at, last, root = index, size - 1, leaf
    for value in proof:
        if last == 0:
            raise _broken()
        if at & 1 or at == last:
            root = node_hash(value, root)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            root = node_hash(root, value)
        at >>= 1
        last >>= 1
    if last != 0:
        raise _broken()
    return root


def require_included(
    entry: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Raises ``not_included`` unless the entry is leaf ``index`` under ``root``."""
    if root_from_inclusion(leaf_hash(entry), index, size, proof) != root:
        raise _broken()


def require_consistent(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Raises ``log_forked`` unless the newer tree extends the older (2.1.4.2)."""
    if not 0 < old <= new:
        raise NotIncluded("log_shrinks", "A log does not shrink.")
    if old == new:
        if proof or old_root != new_root:
            raise _forked()
        return
    path = list(proof)
    if old.bit_count() == 1:
        path.insert(0, old_root)
    if not path:
        raise _forked()
    at, last = old - 1, new - 1
    while at & 1:
        at >>= 1
        last >>= 1
    first = second = path[0]
    for value in path[1:]:
        if last == 0:
            raise _forked()
        if at & 1 or at == last:
            first, second = node_hash(value, first), node_hash(value, second)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            second = node_hash(second, value)
        at >>= 1
        last >>= 1
    if last != 0 or first != old_root or second != new_root:
        raise _forked()


def _range_hash(start: int, end: int, subtree: SubtreeHash) -> bytes:
    """The root over leaves [start, end), where start is a multiple of the largest power of two
    below the range's size.
    """
    count = end - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return subtree(level, start >> level)
    split = start + (1 << ((count - 1).bit_length() - 1))
    return node_hash(_range_hash(start, split, subtree), _range_hash(split, end, subtree))


def _path(index: int, start: int, end: int, subtree: SubtreeHash) -> list[bytes]:
    if end - start == 1:
        return []
    split = start + (1 << ((end - start - 1).bit_length() - 1))
    if index < split:
        return [*_path(index, start, split, subtree), _range_hash(split, end, subtree)]
    return [*_path(index, split, end, subtree), _range_hash(start, split, subtree)]


def _subproof(old: int, start: int, end: int, complete: bool, subtree: SubtreeHash) -> list[bytes]:
    if old == end - start:
        return [] if complete else [_range_hash(start, end, subtree)]
    split = 1 << ((end - start - 1).bit_length() - 1)
    if old <= split:
        return [
            *_subproof(old, start, start + split, complete, subtree),
            _range_hash(start + split, end, subtree),
        ]
    return [
        *_subproof(old - split, start + split, end, False, subtree),
        _range_hash(start, start + split, subtree),
    ]


def _broken() -> NotIncluded:
    return NotIncluded("not_included", "A log entry is not under the tree head it claims.")


def _forked() -> NotIncluded:
    return NotIncluded("log_forked", "A newer tree head does not extend an older one.")
