"""What was verified of a bundle, and how a proof profile reads it.

A proof profile reads ``VerifiedClaims``:

- ``statement(Type)``, ``statements(Type)``: statements with their signers.
- ``struct(Type)``, ``structs(Type)``: unsigned structs whose hash is an id.
- ``storage_value(contract, variable, key…, offset=n)``: a storage value at the newest height.
- ``log_inclusion(signed)``: a statement's entry in its signer's anchored log.
- ``disclosed(commitment, domain)``: the record that opens a commitment.
- ``block(height)``: a block with its time, for sentences. Text from the bundle enters sentences
  through ``chain.core.printable.quoted``.

Reading marks an element as used; an element that no profile reads refuses the bundle.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from chain.bundle.trust import Trust
from chain.core.crypto import keccak256
from chain.core.errors import Inconsistent, NotAnchored, NotIncluded
from chain.core.printable import utc
from chain.ethereum import headers
from chain.ethereum.eip712 import Statement, Struct, encode_member
from chain.ethereum.storage_proofs import mapping_slot
from chain.statements.members import KeyPurpose, SubjectKeyCertificate

S = TypeVar("S", bound=Statement)
U = TypeVar("U", bound=Struct)
Key = bytes | str | int


@dataclass(frozen=True)
class VerifiedStatement(Generic[S]):
    """A statement whose signature holds."""

    statement: S
    signer: str
    """The address that signed."""
    member: str
    """The member whose key it is; empty for a certified subject's key."""
    purpose: KeyPurpose | None
    digest: bytes
    certificate: SubjectKeyCertificate | None = None


@dataclass(frozen=True)
class StorageValue:
    """A storage value proved at a height."""

    value: int
    height: int


@dataclass(frozen=True)
class LogInclusion:
    """An entry of an anchored log."""

    member: str
    index: int
    leaf: Mapping[str, Any]
    anchored_at: int
    witnesses: Mapping[str, int]


ProfileChecker = Callable[["VerifiedClaims", Mapping[str, Any]], list[str]]


@dataclass
class Evidence:
    """The verified elements, and which of them the profile has read."""

    trust: Trust
    blocks: dict[int, headers.Header] = field(default_factory=dict)
    """The bundle's headers by height."""
    statements: list[VerifiedStatement[Any]] = field(default_factory=list)
    structs: list[Struct] = field(default_factory=list)
    storage_values: dict[tuple[str, bytes, int], StorageValue] = field(default_factory=dict)
    """By address, slot and height: each anchor has its own values."""
    proved_slots: set[tuple[str, bytes]] = field(default_factory=set)
    """Address and slot of what is proved at any height."""
    log_inclusions: dict[tuple[str, str], LogInclusion] = field(default_factory=dict)
    """By member and digest in hex."""
    disclosed: dict[tuple[bytes, str], Any] = field(default_factory=dict)
    """Opened records by commitment and domain."""
    used: set[object] = field(default_factory=set)
    limits: list[str] = field(default_factory=list)
    """What this bundle does not show, beside what no bundle can."""

    def __post_init__(self) -> None:
        self.heights = sorted(self.blocks)

    @property
    def latest_height(self) -> int:
        """The newest header's height; 0 without headers."""
        return self.heights[-1] if self.heights else 0


@dataclass(frozen=True)
class VerifiedClaims:
    """What a proof profile may read of a bundle; reading marks it used."""

    evidence: Evidence

    @property
    def trust(self) -> Trust:
        """The verifier's own trust file."""
        return self.evidence.trust

    @property
    def latest_height(self) -> int:
        """The newest height of the bundle."""
        return self.evidence.latest_height

    @property
    def limits(self) -> list[str]:
        """Sentences on what the proof does not show; a profile adds its own."""
        return self.evidence.limits

    def statements(self, kind: type[S]) -> list[VerifiedStatement[S]]:
        """Every verified statement of a type, in the bundle's order."""
        self.evidence.used.add(("statement", kind))
        return [signed for signed in self.evidence.statements if type(signed.statement) is kind]

    def statement(self, kind: type[S]) -> VerifiedStatement[S]:
        """The only statement of a type; ``profile_incomplete`` otherwise."""
        found = self.statements(kind)
        if len(found) != 1:
            raise Inconsistent(
                "profile_incomplete",
                f"The proof profile needs exactly one {kind.__name__}; there are {len(found)}.",
            )
        return found[0]

    def structs(self, kind: type[U]) -> list[U]:
        """Every struct of a type."""
        self.evidence.used.add(("struct", kind))
        return [struct for struct in self.evidence.structs if type(struct) is kind]

    def struct(self, kind: type[U]) -> U:
        """The only struct of a type; ``profile_incomplete`` otherwise."""
        found = self.structs(kind)
        if len(found) != 1:
            raise Inconsistent(
                "profile_incomplete",
                f"The proof profile needs exactly one {kind.__name__}; there are {len(found)}.",
            )
        return found[0]

    def storage_value(
        self, contract: str, variable: str, *keys: Key, offset: int = 0
    ) -> StorageValue:
        """The value of ``contract.variable[key]…`` at the bundle's newest height.

        Raises:
            NotAnchored: ``state_not_proved``; Inconsistent: ``state_at_two_heights`` when the
                bundle proves it under an older header alone.
        """
        slot = storage_slot(self.trust.slot(contract, variable), *keys, offset=offset)
        address = self.trust.contract(contract)
        found = self.evidence.storage_values.get((address, slot, self.latest_height))
        if found is None:
            if (address, slot) in self.evidence.proved_slots:
                raise proved_at_older_block(f"what {contract} keeps in {variable}")
            raise NotAnchored(
                "state_not_proved",
                f"The bundle does not prove what {contract} keeps in {variable}.",
            )
        self.evidence.used.add((address, slot, self.latest_height))
        return found

    def log_inclusion(self, signed: VerifiedStatement[Any]) -> LogInclusion:
        """A statement's entry in its signer's anchored log; ``not_logged`` without one."""
        found = self.evidence.log_inclusions.get((signed.member, "0x" + signed.digest.hex()))
        if found is None:
            name = type(signed.statement).__name__
            raise NotIncluded("not_logged", f"The {name} is not in its signer's anchored log.")
        self.evidence.used.add((found.member, found.leaf["digest"]))
        return found

    def log_inclusion_of(
        self, signed: VerifiedStatement[Any], members: Sequence[str]
    ) -> LogInclusion:
        """A statement's entry in the anchored log of the first of these members whose log shows it;
        ``not_logged`` if none does.
        """
        digest = "0x" + signed.digest.hex()
        for member in members:
            found = self.evidence.log_inclusions.get((member, digest))
            if found is not None:
                self.evidence.used.add((found.member, found.leaf["digest"]))
                return found
        name = type(signed.statement).__name__
        raise NotIncluded("not_logged", f"The {name} is in no party's anchored log.")

    def log_inclusion_by(self, member: str, digest: bytes) -> LogInclusion:
        """A digest's entry in a member's anchored log, e.g. of a subject's statement that an issuer
        recorded; ``not_logged`` without one.
        """
        found = self.evidence.log_inclusions.get((member, "0x" + digest.hex()))
        if found is None:
            raise NotIncluded(
                "not_logged", "A statement is not in the log of the member that took it."
            )
        self.evidence.used.add((found.member, found.leaf["digest"]))
        return found

    def commitments(self, domain: str) -> list[bytes]:
        """The commitments of a domain that the bundle opens."""
        return [
            commitment for commitment, opened_in in self.evidence.disclosed if opened_in == domain
        ]

    def disclosed(self, commitment: bytes, domain: str) -> Any:
        """The record that opens a commitment; ``not_disclosed`` when the bundle has none."""
        if (commitment, domain) not in self.evidence.disclosed:
            raise Inconsistent(
                "not_disclosed", "The bundle does not open a commitment that its profile needs."
            )
        self.evidence.used.add((commitment, domain))
        return self.evidence.disclosed[commitment, domain]

    def is_disclosed(self, commitment: bytes, domain: str) -> bool:
        """Whether the bundle opens a commitment; the record may be any JSON value."""
        return (commitment, domain) in self.evidence.disclosed

    def block(self, height: int) -> str:
        """A block with its time, for sentences.

        The time is the block's own if the bundle has its header, else the next header's as a bound.
        """
        found = self.evidence.blocks.get(height)
        if found is not None:
            return f"block {height} ({utc(found.timestamp)})"
        heights = self.evidence.heights
        following = bisect_left(heights, height)
        if following == len(heights):
            return f"block {height}"
        time = self.evidence.blocks[heights[following]].timestamp
        return f"block {height} (no later than {utc(time)})"

    def require_block(self, height: int, block_hash: bytes) -> None:
        """Refuse a statement that names another block than the bundle's header of that height:
        ``block_differs``.
        """
        found = self.evidence.blocks.get(height)
        if found is not None and found.hash != block_hash:
            raise Inconsistent(
                "block_differs", f"A statement names another block {height} than the chain has."
            )

    def require_all_used(self) -> None:
        """Refuse elements that the proof profile did not read: ``element_unused``."""
        evidence, used = self.evidence, self.evidence.used
        types = [("statement", type(signed.statement)) for signed in evidence.statements]
        types += [("struct", type(struct)) for struct in evidence.structs]
        idle = [kind[1].__name__ for kind in types if kind not in used]
        idle += [
            f"storage of {position[0]}"
            for position in evidence.storage_values
            if position not in used
        ]
        idle += [
            f"log entry {inclusion.index}"
            for position, inclusion in evidence.log_inclusions.items()
            if position not in used
        ]
        idle += ["disclosure" for opened in evidence.disclosed if opened not in used]
        if idle:
            raise Inconsistent(
                "element_unused",
                f"The bundle carries something its proof profile does not need: {idle[0]}.",
            )


@dataclass(frozen=True)
class Report:
    """A verified bundle: what it proves, in plain sentences, and what it cannot."""

    profile: str
    proved: Sequence[str]
    height: int
    """The newest block anything is proved under."""
    time: int
    """That block's time, Unix seconds."""
    limits: Sequence[str] = (
        "It proves what was signed, when it was anchored and what was paid; "
        "it cannot prove that nobody looked earlier.",
    )


def storage_slot(base: int, *keys: Key, offset: int = 0) -> bytes:
    """The storage slot of ``variable[key]…``, ``offset`` slots into a struct."""
    slot: int | bytes = base
    for key in keys:
        if isinstance(key, int):
            slot = keccak256(
                key.to_bytes(32, "big")
                + (slot if isinstance(slot, bytes) else slot.to_bytes(32, "big"))
            )
        else:
            slot = mapping_slot(encode_member(key) if isinstance(key, str) else key, slot)
    number = int.from_bytes(slot, "big") if isinstance(slot, bytes) else slot
    return ((number + offset) % 2**256).to_bytes(32, "big")


def proved_at_older_block(what: str) -> Inconsistent:
    sentence = (
        f"The bundle proves {what} under an older header than its newest: "
        "what ended since would not show."
    )
    return Inconsistent(
        "state_at_two_heights",
        sentence,
        hint="Ask for the bundle again: all of it is proved at one height.",
    )
