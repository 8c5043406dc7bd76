"""Which validators proposed and sealed the last blocks of an Istanbul BFT chain. Pure.

A block's header names the validator set of its height. It carries the proposer's seal, a signature
over the header without any seal, and the committed seals (``chain.ethereum.headers``). A proposer
stops collecting at a quorum, so a missing committed seal is no fault by itself. Proposers take
turns in the order of the set; a turn that is passed over was missed and cost a round change.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chain.core.crypto import keccak256, recover
from chain.core.errors import BadSignature, Malformed
from chain.ethereum import headers, rlp
from chain.ethereum.headers import Header

_EXTRA, _VOTE = 11, 13
_VANITY = 32
_COMMIT = b"\x02"
_MAX_VOTE_BYTES = 4_096
_ADDRESS_BYTES = 20


@dataclass(frozen=True, slots=True)
class Vote:
    """A validator's vote on a parameter of the chain, as a block carries it."""

    height: int
    validator: str
    key: str
    """Such as ``governance.addvalidator``."""
    value: str
    """0x hex, or text where it is printable."""


@dataclass(frozen=True, slots=True)
class SealedBlock:
    """Who made a block."""

    height: int
    timestamp: int
    validators: tuple[str, ...]
    """The set at this height, in the order of turns."""
    proposer: str
    """Empty if the seal is not one of the set's."""
    sealers: frozenset[str]
    vote: Vote | None


@dataclass(frozen=True, slots=True)
class ValidatorRecord:
    """What one validator did in the blocks looked at."""

    address: str
    proposed: int
    sealed: int
    missed: int
    """Turns to propose that were passed over."""
    last_sealed: int | None
    """The latest block with its seal; None for none of those looked at."""


@dataclass(frozen=True, slots=True)
class ValidatorReport:
    """The validator set of the last block, and what each did in the blocks before."""

    first: int
    last: int
    last_time: int
    """Unix seconds."""
    slowest_seconds: int
    """The longest time between two of the blocks."""
    needed: int
    """Seals that make a block final."""
    validators: tuple[ValidatorRecord, ...]
    votes: tuple[Vote, ...]

    @property
    def blocks(self) -> int:
        """The number of blocks that were read."""
        return self.last - self.first + 1

    @property
    def spare(self) -> int:
        """How many of those that sealed lately may fail before the chain stops."""
        recent = max(self.first, self.last - 3 * len(self.validators))
        sealing = sum(
            record.last_sealed is not None and record.last_sealed >= recent
            for record in self.validators
        )
        return max(0, sealing - self.needed)


def report(raw_headers: Sequence[bytes]) -> ValidatorReport:
    """Read consecutive headers, the oldest first.

    Raises:
        Malformed: the headers are not of an Istanbul BFT chain.
    """
    blocks = [read_block(raw) for raw in raw_headers]
    last = blocks[-1]
    missed = list(_missed_turns(blocks))
    records = tuple(
        ValidatorRecord(
            address=address,
            proposed=sum(block.proposer == address for block in blocks),
            sealed=sum(address in block.sealers for block in blocks),
            missed=missed.count(address),
            last_sealed=max(
                (block.height for block in blocks if address in block.sealers), default=None
            ),
        )
        for address in last.validators
    )
    gaps = [after.timestamp - before.timestamp for before, after in _pairs(blocks)]
    return ValidatorReport(
        first=blocks[0].height,
        last=last.height,
        last_time=last.timestamp,
        slowest_seconds=max(gaps, default=0),
        needed=headers.seals_needed(len(last.validators)),
        validators=records,
        votes=tuple(block.vote for block in blocks if block.vote is not None),
    )


def read_block(raw: bytes) -> SealedBlock:
    """Who proposed and sealed one block, by its header's RLP bytes."""
    header = headers.parse(raw)
    fields = rlp.decode_list(raw)
    extra = rlp.as_bytes(fields[_EXTRA])
    istanbul = rlp.decode_list(extra[_VANITY:])
    unsealed = list(fields)
    unsealed[_EXTRA] = extra[:_VANITY] + rlp.encode([istanbul[0], b"", []])
    proposer = _signer(keccak256(keccak256(rlp.encode(unsealed))), rlp.as_bytes(istanbul[1]))
    commit = keccak256(header.hash + _COMMIT)
    sealers = {_signer(commit, seal) for seal in header.seals}
    members = set(header.validators)
    return SealedBlock(
        height=header.number,
        timestamp=header.timestamp,
        validators=header.validators,
        proposer=proposer if proposer in members else "",
        sealers=frozenset(sealers & members),
        vote=_vote(header, rlp.as_bytes(fields[_VOTE])),
    )


def _signer(message: bytes, seal: bytes) -> str:
    if len(seal) != 65 or seal[64] > 1:
        return ""
    try:
        return recover(message, seal[:64] + bytes([seal[64] + 27]))
    except BadSignature:
        return ""


def _missed_turns(blocks: Sequence[SealedBlock]) -> Iterator[str]:
    """The validators whose turn to propose was passed over, once for each turn."""
    for before, after in _pairs(blocks):
        turns = after.validators
        if turns != before.validators or not before.proposer or not after.proposer:
            continue
        first, last = turns.index(before.proposer), turns.index(after.proposer)
        for step in range(1, (last - first - 1) % len(turns) + 1):
            yield turns[(first + step) % len(turns)]


def _pairs(blocks: Sequence[SealedBlock]) -> Iterator[tuple[SealedBlock, SealedBlock]]:
    return itertools.pairwise(blocks)


def _vote(header: Header, data: bytes) -> Vote | None:
    """The vote in a block; None for none, and for one of another form."""
    if not data or len(data) > _MAX_VOTE_BYTES:
        return None
    try:
        validator, key, value = rlp.decode_list(data)
        address, name = rlp.as_bytes(validator, length=20), rlp.as_bytes(key).decode("ascii")
        shown = rlp.as_bytes(value)
    except (Malformed, ValueError):
        return None
    return Vote(header.number, "0x" + address.hex(), name, _text(shown))


def _text(value: bytes) -> str:
    """A vote's value: an address in hex, else text where it is printable."""
    try:
        text = value.decode("ascii") if len(value) != _ADDRESS_BYTES else ""
    except UnicodeDecodeError:
        return "0x" + value.hex()
    return text if text and text.isprintable() else "0x" + value.hex()
