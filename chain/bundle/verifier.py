"""Bundles: one file that tells a story with all that is needed to check it.

A bundle is exactly its RFC 8785 bytes, with a closed schema::

    {"format": "qiaolian-bundle/1", "story": …, "subject": {…what the story is about…},
     "chain":       {"chainId": n, "genesisHash": 0x…}, "headers":     [0x… RLP with seals],
     "storage":     [{"header": i, "address": 0x…, "slot": 0x…, "value": 0x…, "accountProof": [0x…],
     "storageProof": [0x…]}], "keys":        [{"fingerprint": 0x…, "storage": i}], "statements":
     [{"type": …, "message": {…}, "signature": 0x…}], "structs":     [{"type": …, "message": {…}}],
     "logs":        [{"member": …, "incarnation": n, "key": 0x…, "note": …, "size": i, "root": i,
                      "entries": [{"index": n, "leaf": {…}, "path": [0x…]}]}],
     "disclosures": [{"commitment": 0x…, "salt": 0x…, "domain": …, "record": …}]}

``verify`` recomputes, in this order: form; the chain against the trust file; each header's hash and
seals; each storage proof; each key's record in MemberDirectory; each signature; each log's
checkpoint, witnesses, anchor and entries; each opened commitment; then the story's own checker.
Every element is checked, must be used and stands once: one invalid, idle or repeated element
refuses the whole.

**One height.** What keys and rights are is asked of one block, the bundle's newest: a key's record
  or a state proved under an older header is refused (``state_at_two_heights``), since it would not
  show what ended in between. Only an anchor, a log's ``size`` and ``root``, is proved under the
  header that belongs to it.

**Ended keys.** What a key signed counts after its end when an anchor from before the end shows that
  it was said by then: the statement is an entry of a member's log, or an entry's statement names
  its hash (a receipt its request, a credit query its receipts). It also counts when a contract has
  taken it, which asks for a live key (an agreement, a deal's step, an answer to a dispute). A log's
  key must not have ended when its checkpoint was anchored. All else is ``key_ended``.

**No contradictions.** Two certificates of one key that differ, or one statement twice under one
  key, refuse the bundle; what contradicts within a story is its checker's to refuse.

**Bounded work.** Size, depth and the number of values are looked at before anything is built; after
  that each element is looked at a fixed number of times, found by hash and never searched for.

For story checkers, ``VerifiedClaims`` holds what was verified:

- ``claims.statement(Type)``, ``claims.statements(Type)``: statements with their signers; asking for
  them marks them used.
- ``claims.structs(Type)``: unsigned structs whose hash is an id.
- ``claims.storage_value(contract, variable, key…, offset=n)``: a storage word, proved at the
  bundle's newest height.
- ``claims.log_inclusion(signed)``: where a statement stands in its signer's anchored log.
- ``claims.disclosed(commitment, domain)``: the record a commitment was opened to.
- ``claims.block(height)``: a block with its time, for sentences. Text that came with the bundle
  goes into sentences through ``chain.core.printable.quoted``.

A checker has the form ``check(claims, subject) -> list[str]``: the sentences it proved; it raises
``chain.core.errors.Inconsistent`` otherwise.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from chain.bundle.trust import Trust
from chain.core import schema
from chain.core.canonical import MAX_VALUES, dumps, loads_canonical
from chain.core.crypto import is_address, keccak256, recover
from chain.core.errors import (
    BadInput,
    BadSignature,
    Conflict,
    Inconsistent,
    Malformed,
    NotAnchored,
    NotIncluded,
    VerificationError,
    WrongTrust,
)
from chain.core.printable import quoted, utc
from chain.ethereum import headers
from chain.ethereum.eip712 import Domain, Statement, Struct, encode_member
from chain.ethereum.records import AgreementRecord, KeyRecord, LogRecord
from chain.ethereum.storage_proofs import StorageProof, mapping_slot
from chain.log import checkpoint, merkle
from chain.statements.catalogue import STATEMENTS, STRUCTS
from chain.statements.commitment import opens
from chain.statements.credit import CreditRepair
from chain.statements.members import Algorithm, KeyPurpose, SubjectKeyCertificate
from chain.statements.property import DealStep
from chain.statements.trade import Agreement, FinalSettlement, UsageReceipt

FORMAT = "qiaolian-bundle/1"
_SECTIONS = ("headers", "storage", "keys", "statements", "structs", "logs", "disclosures")
MAX_BYTES = 64_000_000
MAX_ELEMENTS = 200_000

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
    """A storage word proved at a height."""

    value: int
    height: int


@dataclass(frozen=True)
class LogInclusion:
    """A place in an anchored log."""

    member: str
    index: int
    leaf: Mapping[str, Any]
    anchored_at: int
    witnesses: Mapping[str, int]


ProfileChecker = Callable[["VerifiedClaims", Mapping[str, Any]], list[str]]


@dataclass
class VerifiedClaims:
    """What a bundle's bytes were found to say."""

    trust: Trust
    _statements: list[VerifiedStatement[Any]] = field(default_factory=list)
    _structs: list[Struct] = field(default_factory=list)
    _storage_values: dict[tuple[str, bytes, int], StorageValue] = field(default_factory=dict)
    """By address, slot and height: an anchor's words stand there once for each anchor."""
    _proved: set[tuple[str, bytes]] = field(default_factory=set)
    """The slots proved at any height."""
    _log_inclusions: dict[tuple[str, str], LogInclusion] = field(default_factory=dict)
    _disclosed: dict[tuple[bytes, str], Any] = field(default_factory=dict)
    _used: set[object] = field(default_factory=set)
    latest_height: int = 0
    _blocks: dict[int, headers.Header] = field(default_factory=dict)
    """The headers of the bundle by height."""
    _heights: list[int] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    """What the story's checker says that this story does not show, beside what no bundle can."""

    def statements(self, kind: type[S]) -> list[VerifiedStatement[S]]:
        """Every verified statement of a type, in the bundle's order."""
        self._used.add(kind)
        return [signed for signed in self._statements if type(signed.statement) is kind]

    def statement(self, kind: type[S]) -> VerifiedStatement[S]:
        """The only statement of a type; ``profile_incomplete`` otherwise."""
        found = self.statements(kind)
        if len(found) != 1:
            raise Inconsistent(
                "profile_incomplete",
                f"The story needs exactly one {kind.__name__}; there are {len(found)}.",
            )
        return found[0]

    def structs(self, kind: type[U]) -> list[U]:
        """Every struct of a type."""
        self._used.add(kind)
        return [struct for struct in self._structs if type(struct) is kind]

    def struct(self, kind: type[U]) -> U:
        """The only struct of a type; ``profile_incomplete`` otherwise."""
        found = self.structs(kind)
        if len(found) != 1:
            raise Inconsistent(
                "profile_incomplete",
                f"The story needs exactly one {kind.__name__}; there are {len(found)}.",
            )
        return found[0]

    def storage_value(
        self, contract: str, variable: str, *keys: Key, offset: int = 0
    ) -> StorageValue:
        """The word of ``contract.variable[key]…`` at the bundle's newest height.

        Raises:
            NotAnchored: ``state_not_proved``; Inconsistent: ``state_at_two_heights`` when the
                bundle proves it under an older header alone.
        """
        slot = storage_slot(self.trust.slot(contract, variable), *keys, offset=offset)
        address = self.trust.contract(contract)
        found = self._storage_values.get((address, slot, self.latest_height))
        if found is None:
            if (address, slot) in self._proved:
                raise _proved_at_older_block(f"what {contract} keeps in {variable}")
            raise NotAnchored(
                "state_not_proved",
                f"The bundle does not prove what {contract} keeps in {variable}.",
            )
        self._used.add((address, slot, self.latest_height))
        return found

    def log_inclusion(self, signed: VerifiedStatement[Any]) -> LogInclusion:
        """Where a statement stands in its signer's anchored log; ``not_logged`` when it does not."""
        found = self._log_inclusions.get((signed.member, "0x" + signed.digest.hex()))
        if found is None:
            name = type(signed.statement).__name__
            raise NotIncluded("not_logged", f"The {name} is not in its signer's anchored log.")
        self._used.add((found.member, found.leaf["digest"]))
        return found

    def log_inclusion_by(self, member: str, digest: bytes) -> LogInclusion:
        """Where a digest stands in a member's anchored log, e.g. a subject's statement taken by an
        office.
        """
        found = self._log_inclusions.get((member, "0x" + digest.hex()))
        if found is None:
            raise NotIncluded(
                "not_logged", "A statement is not in the log of the member that took it."
            )
        self._used.add((found.member, found.leaf["digest"]))
        return found

    def commitments(self, domain: str) -> list[bytes]:
        """The commitments of a domain that the bundle opens."""
        return [commitment for commitment, of_domain in self._disclosed if of_domain == domain]

    def disclosed(self, commitment: bytes, domain: str) -> Any:
        """The record a commitment was opened to; ``not_disclosed`` when the bundle does not open
        it.
        """
        if (commitment, domain) not in self._disclosed:
            raise Inconsistent(
                "not_disclosed", "The bundle does not open a commitment the story needs."
            )
        self._used.add((commitment, domain))
        return self._disclosed[commitment, domain]

    def disclosed_or_none(self, commitment: bytes, domain: str) -> Any:
        """The record if the bundle opens the commitment, else None."""
        return (
            self.disclosed(commitment, domain) if (commitment, domain) in self._disclosed else None
        )

    def block(self, height: int) -> str:
        """A block with its time: the validators' own if its header is here, else that of the next
        header, by which it had been made.
        """
        found = self._blocks.get(height)
        if found is not None:
            return f"block {height} ({utc(found.timestamp)})"
        place = bisect_left(self._heights, height)
        if place == len(self._heights):
            return f"block {height}"
        return f"block {height} (no later than {utc(self._blocks[self._heights[place]].timestamp)})"

    def require_block(self, height: int, block_hash: bytes) -> None:
        """Refuse a statement that names another block of a height than the chain's, as far as the
        bundle shows it: ``block_differs``.
        """
        found = self._blocks.get(height)
        if found is not None and found.hash != block_hash:
            raise Inconsistent(
                "block_differs", f"A statement names another block {height} than the chain has."
            )

    def require_all_used(self) -> None:
        """Refuse elements that no part of the story needed: ``element_unused``."""
        idle = [
            type(signed.statement).__name__
            for signed in self._statements
            if type(signed.statement) not in self._used
        ]
        idle += [
            type(struct).__name__ for struct in self._structs if type(struct) not in self._used
        ]
        idle += [
            f"storage of {place[0]}" for place in self._storage_values if place not in self._used
        ]
        idle += [
            f"log entry {inclusion.index}"
            for place, inclusion in self._log_inclusions.items()
            if place not in self._used
        ]
        idle += ["disclosure" for place in self._disclosed if place not in self._used]
        if idle:
            raise Inconsistent(
                "element_unused",
                f"The bundle carries something its story does not need: {idle[0]}.",
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
        "It proves what was said, when it was anchored and what was paid; it cannot prove that nobody looked earlier.",
    )


def storage_slot(base: int, *keys: Key, offset: int = 0) -> bytes:
    """The storage slot of ``variable[key]…``, ``offset`` words into a struct."""
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


def verify(
    data: bytes, trust: Trust, checkers: Mapping[str, ProfileChecker], *, max_bytes: int = MAX_BYTES
) -> Report:
    """Check a bundle from its bytes; each kind of failure is its own subclass of
    ``VerificationError``.
    """
    value = loads_canonical(
        data, max_bytes=max_bytes, max_values=MAX_VALUES * max(1, max_bytes // MAX_BYTES)
    )
    story, subject = _require_form(value)
    if story not in checkers:
        raise Malformed("profile_unknown", f"This program knows no story called {quoted(story)}.")
    if value["chain"] != {"chainId": trust.chain_id, "genesisHash": trust.genesis_hash}:
        raise WrongTrust("other_chain", "The bundle is of another chain than the trust file.")
    checked = [_header(header, trust) for header in value["headers"]]
    claims = VerifiedClaims(trust)
    claims._blocks = _headers_by_height(checked)
    claims._heights = sorted(claims._blocks)
    claims.latest_height = max(claims._heights, default=0)
    words = [_storage(item, checked, claims) for item in value["storage"]]
    if len({item["header"] for item in value["storage"]}) != len(checked):
        raise Inconsistent(
            "element_unused", "The bundle carries a block header nothing is proved under."
        )
    keys = _keys(value["keys"], words, claims)
    log_keys = {_log(log, words, keys, claims) for log in value["logs"]}
    signing_keys = _statements(value["statements"], keys, claims)
    _require_signed_in_time(keys, claims)
    for struct in value["structs"]:
        claims._structs.append(_struct(struct, STRUCTS))
    for disclosure in value["disclosures"]:
        _disclosure(disclosure, claims)
    proved = checkers[story](claims, subject)
    claims.require_all_used()
    if keys.keys() - log_keys - signing_keys:
        raise Inconsistent("element_unused", "The bundle carries a key nobody signed with.")
    time = claims._blocks[claims.latest_height].timestamp if checked else 0
    return Report(story, proved, claims.latest_height, time, (*Report.limits, *claims.limits))


# --- The elements ---------------------------------------------------------------------------------


def _require_form(value: Any) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise Malformed("bundle_malformed", "This is not a bundle of a known format.")
    if set(value) != {"format", "story", "subject", "chain", *_SECTIONS}:
        raise Malformed(
            "bundle_malformed", "The bundle does not have exactly the sections of its format."
        )
    if not isinstance(value["story"], str) or not isinstance(value["subject"], dict):
        raise Malformed("bundle_malformed", "The bundle does not say what its story is about.")
    if not all(isinstance(value[name], list) for name in _SECTIONS):
        raise Malformed("bundle_malformed", "A section of the bundle is not a list.")
    if sum(len(value[name]) for name in _SECTIONS) > MAX_ELEMENTS:
        raise Malformed("bundle_malformed", "The bundle has too many elements.")
    if any(
        len({_element_key(item) for item in value[name]}) < len(value[name]) for name in _SECTIONS
    ):
        raise Malformed("bundle_malformed", "The bundle says something twice.")
    return value["story"], value["subject"]


def _element_key(element: Any) -> bytes:
    """What tells elements apart. The bytes are canonical, so that equal elements have their members
    in the same order.
    """
    return hashlib.sha256(json.dumps(element).encode()).digest()


def _header(value: Any, trust: Trust) -> headers.Header:
    header = headers.parse(_bytes(value))
    headers.require_final(header, trust.validators_at(header.number))
    return header


def _headers_by_height(checked: Sequence[headers.Header]) -> dict[int, headers.Header]:
    """Nodes may store one block with different seals; two sealed blocks of one height are a fork."""
    found: dict[int, headers.Header] = {}
    for header in checked:
        if found.setdefault(header.number, header).hash != header.hash:
            raise Inconsistent(
                "chain_forked",
                f"The bundle carries two final blocks {header.number} that differ: the chain forked.",
            )
    return found


@dataclass(frozen=True)
class _ProvedSlot:
    address: str
    slot: bytes
    word: StorageValue

    @property
    def place(self) -> tuple[str, bytes, int]:
        return self.address, self.slot, self.word.height


def _storage(value: Any, checked: Sequence[headers.Header], claims: VerifiedClaims) -> _ProvedSlot:
    _fields(value, "header", "address", "slot", "value", "accountProof", "storageProof")
    header = _pick(value["header"], checked)
    if not isinstance(value["address"], str) or not is_address(value["address"]):
        raise Malformed("bundle_malformed", "An address in the bundle is malformed.")
    if value["address"] not in claims.trust.contracts.values():
        raise WrongTrust(
            "other_contract",
            "The bundle proves the state of a contract the trust file does not name.",
        )
    text = value["value"]
    if not isinstance(text, str) or not re.fullmatch(r"0x(?:0|[1-9a-f][0-9a-f]{0,63})", text):
        raise Malformed("bundle_malformed", "A storage value in the bundle is malformed.")
    proof = StorageProof(
        address=value["address"],
        slot=_bytes(value["slot"], length=32),
        value=int(text, 16),
        account_proof=tuple(map(_bytes, _list(value["accountProof"]))),
        storage_proof=tuple(map(_bytes, _list(value["storageProof"]))),
    )
    proved = _ProvedSlot(
        proof.address, proof.slot, StorageValue(proof.verify(header.state_root), header.number)
    )
    if proved.place in claims._storage_values:
        raise Inconsistent("element_twice", "The bundle proves one storage slot twice.")
    claims._storage_values[proved.place] = proved.word
    claims._proved.add((proved.address, proved.slot))
    return proved


def _keys(
    values: Sequence[Any], words: Sequence[_ProvedSlot], claims: VerifiedClaims
) -> dict[bytes, KeyRecord]:
    """Key records by fingerprint, each proved from MemberDirectory at the bundle's newest height:
    an older one hides the key's end.
    """
    address = claims.trust.contract("MemberDirectory")
    base = claims.trust.slot("MemberDirectory", "keys")
    found: dict[bytes, KeyRecord] = {}
    for value in values:
        _fields(value, "fingerprint", "storage")
        fingerprint, proved = (
            _bytes(value["fingerprint"], length=32),
            _pick(value["storage"], words),
        )
        if (proved.address, proved.slot) != (
            address,
            storage_slot(base, fingerprint),
        ) or proved.word.value == 0:
            raise NotAnchored(
                "key_not_proved", "The directory does not show a key that the bundle claims."
            )
        if proved.word.height != claims.latest_height:
            raise _proved_at_older_block("a key's record")
        claims._used.add(proved.place)
        found[fingerprint] = KeyRecord.decode(proved.word.value)
    return found


def _proved_at_older_block(what: str) -> Inconsistent:
    sentence = f"The bundle proves {what} under an older header than its newest: what ended since would not show."
    return Inconsistent(
        "state_at_two_heights",
        sentence,
        hint="Ask for the bundle anew: all of it is proved at one height.",
    )


def _log(
    value: Any,
    words: Sequence[_ProvedSlot],
    keys: Mapping[bytes, KeyRecord],
    claims: VerifiedClaims,
) -> bytes:
    """Checkpoint, anchor and entries of a log; the fingerprint of its key."""
    _fields(value, "member", "incarnation", "key", "note", "size", "root", "entries")
    member, key = value["member"], _bytes(value["key"], length=32)
    if (
        not isinstance(member, str)
        or not _is_count(value["incarnation"])
        or not isinstance(value["note"], str)
    ):
        raise Malformed("bundle_malformed", "A log in the bundle is malformed.")
    word = keys.get(key)
    if word is None or word.member != member or word.purpose != KeyPurpose.LOG:
        raise BadSignature("log_key_unknown", "A log's key is not shown to be its member's.")
    origin = checkpoint.log_origin(member, value["incarnation"])
    read = checkpoint.verify(value["note"], log_key=key, witnesses=claims.trust.witnesses)
    if read.checkpoint.origin != origin:
        raise Inconsistent("log_origin_wrong", "A checkpoint is of another log.")
    if len(read.witnesses) < claims.trust.required_witnesses:
        raise BadSignature(
            "witness_missing",
            "A checkpoint carries too few witnesses' signatures for the trust file.",
        )
    if read.ignored:
        plural = "s" if read.ignored > 1 else ""
        claims.limits.append(
            f"A checkpoint of {member}'s log carries {read.ignored} signature{plural} of keys that the trust file does not name; they were ignored."
        )
    anchored_at = _require_anchored(value, words, origin, read.checkpoint, claims)
    if word.end_height and anchored_at >= word.end_height:
        raise BadSignature("key_ended", "A log's key had ended before its checkpoint was anchored.")
    for entry in _list(value["entries"]):
        _fields(entry, "index", "leaf", "path")
        leaf, index = entry["leaf"], entry["index"]
        if (
            not isinstance(leaf, dict)
            or set(leaf) != {"at", "digest", "kind"}
            or type(index) is not int
        ):
            raise Malformed("bundle_malformed", "A log entry in the bundle is malformed.")
        if not _is_count(leaf["at"]) or not isinstance(leaf["kind"], str):
            raise Malformed("bundle_malformed", "A log entry in the bundle is malformed.")
        _bytes(leaf["digest"], length=32)
        path = [_bytes(item, length=32) for item in _list(entry["path"])]
        merkle.require_included(
            dumps(leaf), index, read.checkpoint.size, read.checkpoint.root, path
        )
        if (member, leaf["digest"]) in claims._log_inclusions:
            raise Inconsistent(
                "element_twice", "The bundle shows one digest at two places of a member's logs."
            )
        claims._log_inclusions[member, leaf["digest"]] = LogInclusion(
            member, index, leaf, anchored_at, read.witnesses
        )
    if not value["entries"]:
        raise Inconsistent("element_unused", "The bundle carries a log without an entry.")
    return key


def _require_anchored(
    value: Any,
    words: Sequence[_ProvedSlot],
    origin: str,
    head: checkpoint.Checkpoint,
    claims: VerifiedClaims,
) -> int:
    """The anchor's height: EvidenceLog's state must show exactly this size and root."""
    address, log_id = claims.trust.contract("EvidenceLog"), keccak256(origin.encode())
    size, root = _pick(value["size"], words), _pick(value["root"], words)
    places = {
        "logs": (size, storage_slot(claims.trust.slot("EvidenceLog", "logs"), log_id)),
        "roots": (root, storage_slot(claims.trust.slot("EvidenceLog", "roots"), log_id)),
    }
    for proved, slot in places.values():
        if (proved.address, proved.slot) != (address, slot):
            raise NotAnchored("anchor_not_proved", "A log's anchor is not shown from the chain.")
        claims._used.add(proved.place)
    if size.word.height != root.word.height:
        raise NotAnchored("anchor_not_proved", "A log's size and root are not shown of one block.")
    word = LogRecord.decode(size.word.value)
    if word.size != head.size or root.word.value != int.from_bytes(head.root, "big"):
        raise NotAnchored(
            "anchor_differs", "The chain anchors another head of the log than the checkpoint's."
        )
    return word.anchored_at


def _statements(
    values: Sequence[Any], keys: Mapping[bytes, KeyRecord], claims: VerifiedClaims
) -> set[bytes]:
    """Signatures: by a proved key, or by a subject's key that a certificate among them covers.
    Certificates come first.

    The fingerprints of the keys that signed.
    """
    read = [
        (
            _struct(value, STATEMENTS, "signature"),
            _bytes(value["signature"], length=schema.SIGNATURE_BYTES),
        )
        for value in values
    ]
    ordered = sorted(read, key=lambda pair: not isinstance(pair[0], SubjectKeyCertificate))
    certificates: dict[str, SubjectKeyCertificate] = {}
    seen: set[tuple[bytes, str]] = set()
    signed: dict[int, VerifiedStatement[Any]] = {}
    used_keys: set[bytes] = set()
    for statement, signature in ordered:
        assert isinstance(statement, Statement)
        domain = Domain(claims.trust.chain_id, claims.trust.contract(statement.contract))
        digest = statement.digest(domain)
        signer = recover(digest, signature)
        if (digest, signer) in seen:
            raise Inconsistent(
                "element_twice", "The bundle holds one statement twice under one key."
            )
        seen.add((digest, signer))
        fingerprint = _fingerprint(signer)
        word = keys.get(fingerprint)
        if word is not None and word.algorithm == Algorithm.SECP256K1:
            used_keys.add(fingerprint)
            made = VerifiedStatement(
                statement, signer, word.member, KeyPurpose(word.purpose), digest
            )
        elif signer in certificates:
            made = VerifiedStatement(statement, signer, "", None, digest, certificates[signer])
        else:
            name = type(statement).__name__
            raise BadSignature("signer_unknown", f"Nobody known to the network signed the {name}.")
        if isinstance(statement, SubjectKeyCertificate):
            if made.member != statement.issuer or made.purpose != KeyPurpose.STATEMENT:
                raise BadSignature(
                    "signer_unknown", "A certificate is not signed by the office it names."
                )
            if certificates.setdefault(statement.key, statement) != statement:
                raise Inconsistent(
                    "certificate_twice", "The bundle holds two certificates of one key that differ."
                )
        signed[id(statement)] = made
    claims._statements.extend(signed[id(statement)] for statement, _ in read)
    return used_keys


def _fingerprint(address: str) -> bytes:
    """A secp256k1 key's place in the directory."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def _require_signed_in_time(keys: Mapping[bytes, KeyRecord], claims: VerifiedClaims) -> None:
    """A statement under a key that has since ended counts only if an anchor from before the end
    shows that it had been said.
    """
    if not any(word.end_height for word in keys.values()):
        return
    entries: dict[str, list[LogInclusion]] = {}
    for entry in claims._log_inclusions.values():
        entries.setdefault(entry.leaf["digest"], []).append(entry)
    named = _named_hashes(claims)
    for signed in claims._statements:
        end = keys[_fingerprint(signed.signer)].end_height if signed.member else 0
        if not end:
            continue
        shown = [
            inclusion
            for inclusion in entries.get("0x" + signed.digest.hex(), ())
            if inclusion.anchored_at < end
        ]
        if (
            not shown
            and named.get(signed.statement.struct_hash(), end) >= end
            and not _accepted_by_contract(signed.statement, claims)
        ):
            name = type(signed.statement).__name__
            raise BadSignature(
                "key_ended",
                f"The {name} is signed by a key that had ended before an anchor shows the statement.",
            )
        claims._used.update((inclusion.member, inclusion.leaf["digest"]) for inclusion in shown)


def _named_hashes(claims: VerifiedClaims) -> dict[bytes, int]:
    """The hashes that logged statements name, with the first block whose anchor shows it: what is
    named was there to be named.
    """
    found: dict[bytes, int] = {}
    for signed in claims._statements:
        entry = claims._log_inclusions.get((signed.member, "0x" + signed.digest.hex()))
        if entry is None:
            continue
        for value in vars(signed.statement).values():
            if isinstance(value, bytes) and len(value) == schema.HASH_BYTES:
                found[value] = min(found.get(value, entry.anchored_at), entry.anchored_at)
    receipts = [
        verified.statement.struct_hash()
        for verified in claims._statements
        if isinstance(verified.statement, UsageReceipt)
    ]
    by_root = found.get(merkle.root_of([merkle.leaf_hash(data) for data in receipts]))
    if by_root is not None:  # a credit query names the root over its receipts
        for receipt in receipts:
            found[receipt] = min(found.get(receipt, by_root), by_root)
    return found


def _accepted_by_contract(statement: Statement, claims: VerifiedClaims) -> bool:
    """Whether a contract that takes such statements under a live key alone has this very one."""
    stored = int.from_bytes(statement.struct_hash(), "big")
    try:
        if isinstance(statement, Agreement):
            state = claims.storage_value(
                "TradeSettlement", "agreements", statement.struct_hash(), offset=2
            )
            return AgreementRecord.decode(0, 0, state.value).opened_at != 0
        if isinstance(statement, FinalSettlement):
            return (
                claims.storage_value(
                    "TradeSettlement", "finalSettlements", statement.agreement_id
                ).value
                == stored
            )
        if isinstance(statement, DealStep):
            return (
                claims.storage_value(
                    "PropertyLedger", "steps", statement.deal_id, statement.step
                ).value
                == stored
            )
        if isinstance(statement, CreditRepair):
            return (
                claims.storage_value("CreditLedger", "repairs", statement.dispute_id).value
                == stored
            )
    except VerificationError:
        pass
    return False


def _struct(value: Any, kinds: Mapping[str, type[U]], *more: str) -> U:
    _fields(value, "type", "message", *more)
    kind = kinds.get(value["type"]) if isinstance(value["type"], str) else None
    if kind is None:
        raise Malformed("bundle_malformed", "The bundle carries a statement of an unknown type.")
    try:
        struct = kind.from_json(value["message"])
        struct.require_known_version()
        return struct
    except BadInput as error:
        raise Malformed(error.code, error.sentence) from error


def _disclosure(value: Any, claims: VerifiedClaims) -> None:
    _fields(value, "commitment", "salt", "domain", "record")
    commitment, salt = (
        _bytes(value["commitment"], length=32),
        _bytes(value["salt"], length=schema.SALT_BYTES),
    )
    if not isinstance(value["domain"], str):
        raise Malformed("bundle_malformed", "A disclosure in the bundle is malformed.")
    if not opens(commitment, salt=salt, domain=value["domain"], record=value["record"]):
        raise Inconsistent("commitment_differs", "An opened record is not what was committed to.")
    claims._disclosed[commitment, value["domain"]] = value["record"]


def _fields(value: Any, *names: str) -> None:
    if not isinstance(value, dict) or set(value) != set(names):
        raise Malformed(
            "bundle_malformed",
            "An element of the bundle does not have exactly the fields of its kind.",
        )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(
            "bundle_malformed", "An element of the bundle is not a list where one belongs."
        )
    return value


def _bytes(value: Any, *, length: int | None = None) -> bytes:
    try:
        return schema.hex_bytes(value, length)
    except ValueError as error:
        raise Malformed("bundle_malformed", f"Bytes in the bundle are {error}.") from error


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


T = TypeVar("T")


def _pick(place: Any, items: Sequence[T]) -> T:
    if type(place) is not int or not 0 <= place < len(items):
        raise Malformed(
            "bundle_malformed", "An element of the bundle refers to one that is not there."
        )
    return items[place]


# --- Building -------------------------------------------------------------------------------------


class BundleBuilder:
    """Collects a story's elements, each once, and writes the bundle. What it is given it does not
    check: ``verify`` does.
    """

    def __init__(
        self, *, story: str, chain_id: int, genesis_hash: str, subject: Mapping[str, Any]
    ) -> None:
        self._value: dict[str, Any] = {
            "format": FORMAT,
            "story": story,
            "subject": dict(subject),
            "chain": {"chainId": chain_id, "genesisHash": genesis_hash},
            **{name: [] for name in _SECTIONS},
        }
        self._storage: dict[tuple[str, bytes, bytes], int] = {}
        self._logs: dict[tuple[str, int, str], int] = {}
        self._places: dict[tuple[str, bytes], int] = {}
        """Where each element stands, by section and hash: a lane has tens of thousands, too many to
        look through for each.
        """

    def add_storage_value(self, proof: StorageProof, header: bytes) -> int:
        """Add a proved slot under a sealed header; its place."""
        place = (proof.address, proof.slot, header)
        if place in self._storage:
            return self._storage[place]
        value = {
            "header": self._add_once("headers", _hex(header)),
            "address": proof.address,
            "slot": _hex(proof.slot),
            "value": hex(proof.value),
            "accountProof": [_hex(data) for data in proof.account_proof],
            "storageProof": [_hex(data) for data in proof.storage_proof],
        }
        self._value["storage"].append(value)
        self._storage[place] = len(self._value["storage"]) - 1
        return self._storage[place]

    def add_key(self, fingerprint: bytes, proof: StorageProof, header: bytes) -> None:
        """Add a key's record in the directory."""
        self._add_once(
            "keys",
            {"fingerprint": _hex(fingerprint), "storage": self.add_storage_value(proof, header)},
        )

    def add_statement(self, statement: Statement, signature: bytes) -> None:
        """Add a signed statement."""
        value = {
            "type": type(statement).__name__,
            "message": statement.to_json(),
            "signature": _hex(signature),
        }
        self._add_once("statements", value)

    def add_struct(self, struct: Struct) -> None:
        """Add an unsigned struct."""
        self._add_once("structs", {"type": type(struct).__name__, "message": struct.to_json()})

    def add_log_entry(
        self,
        *,
        member: str,
        log_epoch: int,
        key: bytes,
        note: str,
        size: tuple[StorageProof, bytes],
        root: tuple[StorageProof, bytes],
        index: int,
        leaf: bytes,
        path: Sequence[bytes],
    ) -> None:
        """Add an entry of a log with its checkpoint and anchor; entries of one checkpoint share
        them.
        """
        logs = self._value["logs"]
        place = self._logs.setdefault((member, log_epoch, note), len(logs))
        if place == len(logs):
            logs.append(
                {
                    "member": member,
                    "incarnation": log_epoch,
                    "key": _hex(key),
                    "note": note,
                    "size": self.add_storage_value(*size),
                    "root": self.add_storage_value(*root),
                    "entries": [],
                }
            )
        entry = {"index": index, "leaf": json.loads(leaf), "path": [_hex(value) for value in path]}
        self._index_in(f"log {place}", logs[place]["entries"], entry)

    def add_disclosure(self, commitment: bytes, *, salt: bytes, domain: str, record: Any) -> None:
        """Open a commitment."""
        value = {
            "commitment": _hex(commitment),
            "salt": _hex(salt),
            "domain": domain,
            "record": record,
        }
        self._add_once("disclosures", value)

    def build(self) -> bytes:
        """The bundle's bytes; ``bundle_too_large`` for one that no verifier would read."""
        data = dumps(self._value)
        if (
            len(data) > MAX_BYTES
            or sum(len(self._value[name]) for name in _SECTIONS) > MAX_ELEMENTS
        ):
            raise Conflict(
                "bundle_too_large",
                f"The story takes {len(data):,} bytes; verifiers read {MAX_BYTES:,}.",
                hint="Export its calls one by one, and use more lanes or shorter agreements from now on.",
            )
        return data

    def _add_once(self, section: str, value: Any) -> int:
        return self._index_in(section, self._value[section], value)

    def _index_in(self, section: str, items: list[Any], value: Any) -> int:
        """Where the value stands in its section, now if it did not before."""
        place = self._places.setdefault(
            (section, hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()),
            len(items),
        )
        if place == len(items):
            items.append(value)
        return place


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
