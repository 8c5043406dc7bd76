"""Bundles: one file that tells a story with all that is needed to check it.

A bundle is exactly its RFC 8785 bytes, with a closed schema::

    {"format": "qiaolian-bundle/1", "story": …, "subject": {…what the story is about…},
     "chain":       {"chainId": n, "genesisHash": 0x…},
     "headers":     [0x… RLP with seals],
     "storage":     [{"header": i, "address": 0x…, "slot": 0x…, "value": 0x…, "accountProof": [0x…], "storageProof": [0x…]}],
     "keys":        [{"fingerprint": 0x…, "storage": i}],
     "statements":  [{"type": …, "message": {…}, "signature": 0x…}],
     "structs":     [{"type": …, "message": {…}}],
     "logs":        [{"member": …, "incarnation": n, "key": 0x…, "note": …, "size": i, "root": i,
                      "entries": [{"index": n, "leaf": {…}, "path": [0x…]}]}],
     "disclosures": [{"commitment": 0x…, "salt": 0x…, "domain": …, "record": …}]}

``verify`` recomputes, in this order: form; the chain against the trust file; each header's hash and seals; each storage proof; each key's record in
MemberDirectory; each signature; each log's checkpoint, witnesses, anchor and entries; each opened commitment; then the story's own checker. Every
element is checked, must be used and stands once: one invalid, idle or repeated element refuses the whole.

**One height.** What keys and rights are is asked of one block, the bundle's newest: a key's record or a state proved under an older header is
refused (``state_at_two_heights``), since it would not show what ended in between. Only an anchor, a log's ``size`` and ``root``, is proved under the
header that belongs to it.

**Ended keys.** What a key signed counts after its end when an anchor from before the end shows that it was said by then: the statement is an entry of
a member's log, or an entry's statement names its hash (a receipt its request, a credit query its receipts). It also counts when a contract has taken
it, which asks for a live key (an agreement, a deal's step, an answer to a dispute). A log's key must not have ended when its checkpoint was anchored.
All else is ``key_ended``.

**No contradictions.** Two certificates of one key that differ, or one statement twice under one key, refuse the bundle; what contradicts within a
story is its checker's to refuse.

**Bounded work.** Size, depth and the number of values are looked at before anything is built; after that each element is looked at a fixed number of
times, found by hash and never searched for.

For story checkers, ``Facts`` holds what was verified:

- ``facts.one(Type)``, ``facts.all(Type)``: statements with their signers; asking for them marks them used.
- ``facts.structs(Type)``: unsigned structs whose hash is an id.
- ``facts.word(contract, variable, key…, offset=n)``: a storage word, proved at the bundle's newest height.
- ``facts.logged(signed)``: where a statement stands in its signer's anchored log.
- ``facts.opened(commitment, domain)``: the record a commitment was opened to.
- ``facts.block(height)``: a block with its time, for sentences. Text that came with the bundle goes into sentences through
  ``chain.printable.quoted``.

A checker has the form ``check(facts, subject) -> list[str]``: the sentences it proved; it raises ``chain.errors.Inconsistent`` otherwise.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from chain import checkpoint, headers, merkle, schema
from chain.canonical import MAX_VALUES, dumps, loads_canonical
from chain.commitment import opens
from chain.crypto import is_address, keccak256, recover
from chain.eip712 import Domain, Statement, Struct, encode_member
from chain.errors import (
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
from chain.printable import quoted, utc
from chain.proofs import StorageProof, mapping_slot
from chain.statements import (
    STATEMENTS,
    STRUCTS,
    Agreement,
    Algorithm,
    CreditRepair,
    DealStep,
    FinalSettlement,
    KeyPurpose,
    SubjectKeyCertificate,
    UsageReceipt,
)
from chain.trust import Trust
from chain.words import AgreementState, KeyWord, LogWord

FORMAT = "qiaolian-bundle/1"
_SECTIONS = ("headers", "storage", "keys", "statements", "structs", "logs", "disclosures")
MOST_BYTES = 64_000_000
MOST_ELEMENTS = 200_000

S = TypeVar("S", bound=Statement)
U = TypeVar("U", bound=Struct)
Key = bytes | str | int


@dataclass(frozen=True)
class Signed(Generic[S]):
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
class Word:
    """A storage word proved at a height."""

    value: int
    height: int


@dataclass(frozen=True)
class Logged:
    """A place in an anchored log."""

    member: str
    index: int
    leaf: Mapping[str, Any]
    anchored_at: int
    witnesses: Mapping[str, int]


Checker = Callable[["Facts", Mapping[str, Any]], list[str]]


@dataclass
class Facts:
    """What a bundle's bytes were found to say."""

    trust: Trust
    _signed: list[Signed[Any]] = field(default_factory=list)
    _structs: list[Struct] = field(default_factory=list)
    _words: dict[tuple[str, bytes, int], Word] = field(default_factory=dict)
    """By address, slot and height: an anchor's words stand there once for each anchor."""
    _proved: set[tuple[str, bytes]] = field(default_factory=set)
    """The slots proved at any height."""
    _logged: dict[tuple[str, str], Logged] = field(default_factory=dict)
    _opened: dict[tuple[bytes, str], Any] = field(default_factory=dict)
    _used: set[object] = field(default_factory=set)
    latest_height: int = 0
    _blocks: dict[int, headers.Header] = field(default_factory=dict)
    """The headers of the bundle by height."""
    _heights: list[int] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    """What the story's checker says that this story does not show, beside what no bundle can."""

    def all(self, kind: type[S]) -> list[Signed[S]]:
        """Every verified statement of a type, in the bundle's order."""
        self._used.add(kind)
        return [each for each in self._signed if type(each.statement) is kind]

    def one(self, kind: type[S]) -> Signed[S]:
        """The only statement of a type; ``story_incomplete`` otherwise."""
        found = self.all(kind)
        if len(found) != 1:
            raise Inconsistent("story_incomplete", f"The story needs exactly one {kind.__name__}; there are {len(found)}.")
        return found[0]

    def structs(self, kind: type[U]) -> list[U]:
        """Every struct of a type."""
        self._used.add(kind)
        return [each for each in self._structs if type(each) is kind]

    def struct(self, kind: type[U]) -> U:
        """The only struct of a type; ``story_incomplete`` otherwise."""
        found = self.structs(kind)
        if len(found) != 1:
            raise Inconsistent("story_incomplete", f"The story needs exactly one {kind.__name__}; there are {len(found)}.")
        return found[0]

    def word(self, contract: str, variable: str, *keys: Key, offset: int = 0) -> Word:
        """The word of ``contract.variable[key]…`` at the bundle's newest height.

        Raises:
            NotAnchored: ``state_not_proved``; Inconsistent: ``state_at_two_heights`` when the bundle proves it under an older header alone.
        """
        slot = slot_of(self.trust.slot(contract, variable), *keys, offset=offset)
        address = self.trust.contract(contract)
        found = self._words.get((address, slot, self.latest_height))
        if found is None:
            if (address, slot) in self._proved:
                raise _of_an_older_block(f"what {contract} keeps in {variable}")
            raise NotAnchored("state_not_proved", f"The bundle does not prove what {contract} keeps in {variable}.")
        self._used.add((address, slot, self.latest_height))
        return found

    def logged(self, signed: Signed[Any]) -> Logged:
        """Where a statement stands in its signer's anchored log; ``not_logged`` when it does not."""
        found = self._logged.get((signed.member, "0x" + signed.digest.hex()))
        if found is None:
            name = type(signed.statement).__name__
            raise NotIncluded("not_logged", f"The {name} is not in its signer's anchored log.")
        self._used.add((found.member, found.leaf["digest"]))
        return found

    def logged_by(self, member: str, digest: bytes) -> Logged:
        """Where a digest stands in a member's anchored log, e.g. a subject's statement taken by an office."""
        found = self._logged.get((member, "0x" + digest.hex()))
        if found is None:
            raise NotIncluded("not_logged", "A statement is not in the log of the member that took it.")
        self._used.add((found.member, found.leaf["digest"]))
        return found

    def commitments(self, domain: str) -> list[bytes]:
        """The commitments of a domain that the bundle opens."""
        return [commitment for commitment, of_domain in self._opened if of_domain == domain]

    def opened(self, commitment: bytes, domain: str) -> Any:
        """The record a commitment was opened to; ``not_disclosed`` when the bundle does not open it."""
        if (commitment, domain) not in self._opened:
            raise Inconsistent("not_disclosed", "The bundle does not open a commitment the story needs.")
        self._used.add((commitment, domain))
        return self._opened[commitment, domain]

    def opened_or_none(self, commitment: bytes, domain: str) -> Any:
        """The record if the bundle opens the commitment, else None."""
        return self.opened(commitment, domain) if (commitment, domain) in self._opened else None

    def block(self, height: int) -> str:
        """A block with its time: the validators' own if its header is here, else that of the next header, by which it had been made."""
        found = self._blocks.get(height)
        if found is not None:
            return f"block {height} ({utc(found.timestamp)})"
        place = bisect_left(self._heights, height)
        if place == len(self._heights):
            return f"block {height}"
        return f"block {height} (no later than {utc(self._blocks[self._heights[place]].timestamp)})"

    def require_block(self, height: int, block_hash: bytes) -> None:
        """Refuse a statement that names another block of a height than the chain's, as far as the bundle shows it: ``block_differs``."""
        found = self._blocks.get(height)
        if found is not None and found.hash != block_hash:
            raise Inconsistent("block_differs", f"A statement names another block {height} than the chain has.")

    def require_all_used(self) -> None:
        """Refuse elements that no part of the story needed: ``element_idle``."""
        idle = [type(each.statement).__name__ for each in self._signed if type(each.statement) not in self._used]
        idle += [type(each).__name__ for each in self._structs if type(each) not in self._used]
        idle += [f"storage of {place[0]}" for place in self._words if place not in self._used]
        idle += [f"log entry {each.index}" for place, each in self._logged.items() if place not in self._used]
        idle += ["disclosure" for place in self._opened if place not in self._used]
        if idle:
            raise Inconsistent("element_idle", f"The bundle carries something its story does not need: {idle[0]}.")


@dataclass(frozen=True)
class Report:
    """A verified bundle: what it proves, in plain sentences, and what it cannot."""

    story: str
    proved: Sequence[str]
    height: int
    """The newest block anything is proved under."""
    time: int
    """That block's time, Unix seconds."""
    limits: Sequence[str] = ("It proves what was said, when it was anchored and what was paid; it cannot prove that nobody looked earlier.",)


def slot_of(base: int, *keys: Key, offset: int = 0) -> bytes:
    """The storage slot of ``variable[key]…``, ``offset`` words into a struct."""
    slot: int | bytes = base
    for each in keys:
        if isinstance(each, int):
            slot = keccak256(each.to_bytes(32, "big") + (slot if isinstance(slot, bytes) else slot.to_bytes(32, "big")))
        else:
            slot = mapping_slot(encode_member(each) if isinstance(each, str) else each, slot)
    number = int.from_bytes(slot, "big") if isinstance(slot, bytes) else slot
    return ((number + offset) % 2**256).to_bytes(32, "big")


def verify(data: bytes, trust: Trust, checkers: Mapping[str, Checker], *, max_bytes: int = MOST_BYTES) -> Report:
    """Check a bundle from its bytes; each kind of failure is its own subclass of ``VerificationError``."""
    value = loads_canonical(data, max_bytes=max_bytes, max_values=MAX_VALUES * max(1, max_bytes // MOST_BYTES))
    story, subject = _require_form(value)
    if story not in checkers:
        raise Malformed("story_unknown", f"This program knows no story called {quoted(story)}.")
    if value["chain"] != {"chainId": trust.chain_id, "genesisHash": trust.genesis_hash}:
        raise WrongTrust("other_chain", "The bundle is of another chain than the trust file.")
    checked = [_header(each, trust) for each in value["headers"]]
    facts = Facts(trust)
    facts._blocks = _by_height(checked)
    facts._heights = sorted(facts._blocks)
    facts.latest_height = max(facts._heights, default=0)
    words = [_storage(each, checked, facts) for each in value["storage"]]
    if len({each["header"] for each in value["storage"]}) != len(checked):
        raise Inconsistent("element_idle", "The bundle carries a block header nothing is proved under.")
    keys = _keys(value["keys"], words, facts)
    log_keys = {_log(each, words, keys, facts) for each in value["logs"]}
    signing_keys = _statements(value["statements"], keys, facts)
    _require_said_in_time(keys, facts)
    for each in value["structs"]:
        facts._structs.append(_struct(each, STRUCTS))
    for each in value["disclosures"]:
        _disclosure(each, facts)
    proved = checkers[story](facts, subject)
    facts.require_all_used()
    if keys.keys() - log_keys - signing_keys:
        raise Inconsistent("element_idle", "The bundle carries a key nobody signed with.")
    time = facts._blocks[facts.latest_height].timestamp if checked else 0
    return Report(story, proved, facts.latest_height, time, (*Report.limits, *facts.limits))


# --- The elements ---------------------------------------------------------------------------------------------------------------


def _require_form(value: Any) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise Malformed("bundle_malformed", "This is not a bundle of a known format.")
    if set(value) != {"format", "story", "subject", "chain", *_SECTIONS}:
        raise Malformed("bundle_malformed", "The bundle does not have exactly the sections of its format.")
    if not isinstance(value["story"], str) or not isinstance(value["subject"], dict):
        raise Malformed("bundle_malformed", "The bundle does not say what its story is about.")
    if not all(isinstance(value[name], list) for name in _SECTIONS):
        raise Malformed("bundle_malformed", "A section of the bundle is not a list.")
    if sum(len(value[name]) for name in _SECTIONS) > MOST_ELEMENTS:
        raise Malformed("bundle_malformed", "The bundle has too many elements.")
    if any(len({_mark(each) for each in value[name]}) < len(value[name]) for name in _SECTIONS):
        raise Malformed("bundle_malformed", "The bundle says something twice.")
    return value["story"], value["subject"]


def _mark(element: Any) -> bytes:
    """What tells elements apart. The bytes are canonical, so that equal elements have their members in the same order."""
    return hashlib.sha256(json.dumps(element).encode()).digest()


def _header(value: Any, trust: Trust) -> headers.Header:
    header = headers.parse(_bytes(value))
    headers.require_final(header, trust.validators_at(header.number))
    return header


def _by_height(checked: Sequence[headers.Header]) -> dict[int, headers.Header]:
    """Nodes may store one block with different seals; two sealed blocks of one height are a fork."""
    found: dict[int, headers.Header] = {}
    for header in checked:
        if found.setdefault(header.number, header).hash != header.hash:
            raise Inconsistent("chain_forked", f"The bundle carries two final blocks {header.number} that differ: the chain forked.")
    return found


@dataclass(frozen=True)
class _Proved:
    address: str
    slot: bytes
    word: Word

    @property
    def place(self) -> tuple[str, bytes, int]:
        return self.address, self.slot, self.word.height


def _storage(value: Any, checked: Sequence[headers.Header], facts: Facts) -> _Proved:
    _fields(value, "header", "address", "slot", "value", "accountProof", "storageProof")
    header = _pick(value["header"], checked)
    if not isinstance(value["address"], str) or not is_address(value["address"]):
        raise Malformed("bundle_malformed", "An address in the bundle is malformed.")
    if value["address"] not in facts.trust.contracts.values():
        raise WrongTrust("other_contract", "The bundle proves the state of a contract the trust file does not name.")
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
    proved = _Proved(proof.address, proof.slot, Word(proof.verify(header.state_root), header.number))
    if proved.place in facts._words:
        raise Inconsistent("element_twice", "The bundle proves one storage slot twice.")
    facts._words[proved.place] = proved.word
    facts._proved.add((proved.address, proved.slot))
    return proved


def _keys(values: Sequence[Any], words: Sequence[_Proved], facts: Facts) -> dict[bytes, KeyWord]:
    """Key records by fingerprint, each proved from MemberDirectory at the bundle's newest height: an older one hides the key's end."""
    address = facts.trust.contract("MemberDirectory")
    base = facts.trust.slot("MemberDirectory", "keys")
    found: dict[bytes, KeyWord] = {}
    for each in values:
        _fields(each, "fingerprint", "storage")
        fingerprint, proved = _bytes(each["fingerprint"], length=32), _pick(each["storage"], words)
        if (proved.address, proved.slot) != (address, slot_of(base, fingerprint)) or proved.word.value == 0:
            raise NotAnchored("key_not_proved", "The directory does not show a key that the bundle claims.")
        if proved.word.height != facts.latest_height:
            raise _of_an_older_block("a key's record")
        facts._used.add(proved.place)
        found[fingerprint] = KeyWord.decode(proved.word.value)
    return found


def _of_an_older_block(what: str) -> Inconsistent:
    sentence = f"The bundle proves {what} under an older header than its newest: what ended since would not show."
    return Inconsistent("state_at_two_heights", sentence, hint="Ask for the bundle anew: all of it is proved at one height.")


def _log(value: Any, words: Sequence[_Proved], keys: Mapping[bytes, KeyWord], facts: Facts) -> bytes:
    """Checkpoint, anchor and entries of a log; the fingerprint of its key."""
    _fields(value, "member", "incarnation", "key", "note", "size", "root", "entries")
    member, key = value["member"], _bytes(value["key"], length=32)
    if not isinstance(member, str) or not _is_whole(value["incarnation"]) or not isinstance(value["note"], str):
        raise Malformed("bundle_malformed", "A log in the bundle is malformed.")
    word = keys.get(key)
    if word is None or word.member != member or word.purpose != KeyPurpose.LOG:
        raise BadSignature("log_key_unknown", "A log's key is not shown to be its member's.")
    origin = checkpoint.log_origin(member, value["incarnation"])
    read = checkpoint.verify(value["note"], log_key=key, witnesses=facts.trust.witnesses)
    if read.checkpoint.origin != origin:
        raise Inconsistent("log_origin_wrong", "A checkpoint is of another log.")
    if len(read.witnesses) < facts.trust.required_witnesses:
        raise BadSignature("witness_missing", "A checkpoint carries too few witnesses' signatures for the trust file.")
    if read.ignored:
        plural = "s" if read.ignored > 1 else ""
        facts.limits.append(
            f"A checkpoint of {member}'s log carries {read.ignored} signature{plural} of keys that the trust file does not name; they were ignored."
        )
    anchored_at = _require_anchored(value, words, origin, read.checkpoint, facts)
    if word.end_height and anchored_at >= word.end_height:
        raise BadSignature("key_ended", "A log's key had ended before its checkpoint was anchored.")
    for entry in _list(value["entries"]):
        _fields(entry, "index", "leaf", "path")
        leaf, index = entry["leaf"], entry["index"]
        if not isinstance(leaf, dict) or set(leaf) != {"at", "digest", "kind"} or type(index) is not int:
            raise Malformed("bundle_malformed", "A log entry in the bundle is malformed.")
        if not _is_whole(leaf["at"]) or not isinstance(leaf["kind"], str):
            raise Malformed("bundle_malformed", "A log entry in the bundle is malformed.")
        _bytes(leaf["digest"], length=32)
        path = [_bytes(each, length=32) for each in _list(entry["path"])]
        merkle.require_included(dumps(leaf), index, read.checkpoint.size, read.checkpoint.root, path)
        if (member, leaf["digest"]) in facts._logged:
            raise Inconsistent("element_twice", "The bundle shows one digest at two places of a member's logs.")
        facts._logged[member, leaf["digest"]] = Logged(member, index, leaf, anchored_at, read.witnesses)
    if not value["entries"]:
        raise Inconsistent("element_idle", "The bundle carries a log without an entry.")
    return key


def _require_anchored(value: Any, words: Sequence[_Proved], origin: str, head: checkpoint.Checkpoint, facts: Facts) -> int:
    """The anchor's height: EvidenceLog's state must show exactly this size and root."""
    address, log_id = facts.trust.contract("EvidenceLog"), keccak256(origin.encode())
    size, root = _pick(value["size"], words), _pick(value["root"], words)
    places = {
        "logs": (size, slot_of(facts.trust.slot("EvidenceLog", "logs"), log_id)),
        "roots": (root, slot_of(facts.trust.slot("EvidenceLog", "roots"), log_id)),
    }
    for proved, slot in places.values():
        if (proved.address, proved.slot) != (address, slot):
            raise NotAnchored("anchor_not_proved", "A log's anchor is not shown from the chain.")
        facts._used.add(proved.place)
    if size.word.height != root.word.height:
        raise NotAnchored("anchor_not_proved", "A log's size and root are not shown of one block.")
    word = LogWord.decode(size.word.value)
    if word.size != head.size or root.word.value != int.from_bytes(head.root, "big"):
        raise NotAnchored("anchor_differs", "The chain anchors another head of the log than the checkpoint's.")
    return word.anchored_at


def _statements(values: Sequence[Any], keys: Mapping[bytes, KeyWord], facts: Facts) -> set[bytes]:
    """Signatures: by a proved key, or by a subject's key that a certificate among them covers. Certificates come first.

    The fingerprints of the keys that signed.
    """
    read = [(_struct(each, STATEMENTS, "signature"), _bytes(each["signature"], length=schema.SIGNATURE_BYTES)) for each in values]
    ordered = sorted(read, key=lambda pair: not isinstance(pair[0], SubjectKeyCertificate))
    certificates: dict[str, SubjectKeyCertificate] = {}
    told: set[tuple[bytes, str]] = set()
    signed: dict[int, Signed[Any]] = {}
    used_keys: set[bytes] = set()
    for statement, signature in ordered:
        assert isinstance(statement, Statement)
        domain = Domain(facts.trust.chain_id, facts.trust.contract(statement.contract))
        digest = statement.digest(domain)
        signer = recover(digest, signature)
        if (digest, signer) in told:
            raise Inconsistent("element_twice", "The bundle holds one statement twice under one key.")
        told.add((digest, signer))
        fingerprint = _fingerprint(signer)
        word = keys.get(fingerprint)
        if word is not None and word.algorithm == Algorithm.SECP256K1:
            used_keys.add(fingerprint)
            made = Signed(statement, signer, word.member, KeyPurpose(word.purpose), digest)
        elif signer in certificates:
            made = Signed(statement, signer, "", None, digest, certificates[signer])
        else:
            name = type(statement).__name__
            raise BadSignature("signer_unknown", f"Nobody known to the network signed the {name}.")
        if isinstance(statement, SubjectKeyCertificate):
            if made.member != statement.issuer or made.purpose != KeyPurpose.STATEMENT:
                raise BadSignature("signer_unknown", "A certificate is not signed by the office it names.")
            if certificates.setdefault(statement.key, statement) != statement:
                raise Inconsistent("certificate_twice", "The bundle holds two certificates of one key that differ.")
        signed[id(statement)] = made
    facts._signed.extend(signed[id(statement)] for statement, _ in read)
    return used_keys


def _fingerprint(address: str) -> bytes:
    """A secp256k1 key's place in the directory."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def _require_said_in_time(keys: Mapping[bytes, KeyWord], facts: Facts) -> None:
    """A statement under a key that has since ended counts only if an anchor from before the end shows that it had been said."""
    if not any(word.end_height for word in keys.values()):
        return
    entries: dict[str, list[Logged]] = {}
    for entry in facts._logged.values():
        entries.setdefault(entry.leaf["digest"], []).append(entry)
    named = _named(facts)
    for signed in facts._signed:
        end = keys[_fingerprint(signed.signer)].end_height if signed.member else 0
        if not end:
            continue
        shown = [each for each in entries.get("0x" + signed.digest.hex(), ()) if each.anchored_at < end]
        if not shown and named.get(signed.statement.struct_hash(), end) >= end and not _taken(signed.statement, facts):
            name = type(signed.statement).__name__
            raise BadSignature("key_ended", f"The {name} is signed by a key that had ended before an anchor shows the statement.")
        facts._used.update((each.member, each.leaf["digest"]) for each in shown)


def _named(facts: Facts) -> dict[bytes, int]:
    """The hashes that logged statements name, with the first block whose anchor shows it: what is named was there to be named."""
    found: dict[bytes, int] = {}
    for signed in facts._signed:
        entry = facts._logged.get((signed.member, "0x" + signed.digest.hex()))
        if entry is None:
            continue
        for value in vars(signed.statement).values():
            if isinstance(value, bytes) and len(value) == schema.HASH_BYTES:
                found[value] = min(found.get(value, entry.anchored_at), entry.anchored_at)
    receipts = [each.statement.struct_hash() for each in facts._signed if isinstance(each.statement, UsageReceipt)]
    by_root = found.get(merkle.root_of([merkle.leaf_hash(each) for each in receipts]))
    if by_root is not None:  # a credit query names the root over its receipts
        for receipt in receipts:
            found[receipt] = min(found.get(receipt, by_root), by_root)
    return found


def _taken(statement: Statement, facts: Facts) -> bool:
    """Whether a contract that takes such statements under a live key alone has this very one."""
    kept = int.from_bytes(statement.struct_hash(), "big")
    try:
        if isinstance(statement, Agreement):
            state = facts.word("TradeSettlement", "agreements", statement.struct_hash(), offset=2)
            return AgreementState.decode(0, 0, state.value).opened_at != 0
        if isinstance(statement, FinalSettlement):
            return facts.word("TradeSettlement", "finalSettlements", statement.agreement_id).value == kept
        if isinstance(statement, DealStep):
            return facts.word("PropertyLedger", "steps", statement.deal_id, statement.step).value == kept
        if isinstance(statement, CreditRepair):
            return facts.word("CreditLedger", "repairs", statement.dispute_id).value == kept
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


def _disclosure(value: Any, facts: Facts) -> None:
    _fields(value, "commitment", "salt", "domain", "record")
    commitment, salt = _bytes(value["commitment"], length=32), _bytes(value["salt"], length=schema.SALT_BYTES)
    if not isinstance(value["domain"], str):
        raise Malformed("bundle_malformed", "A disclosure in the bundle is malformed.")
    if not opens(commitment, salt=salt, domain=value["domain"], record=value["record"]):
        raise Inconsistent("commitment_differs", "An opened record is not what was committed to.")
    facts._opened[commitment, value["domain"]] = value["record"]


def _fields(value: Any, *names: str) -> None:
    if not isinstance(value, dict) or set(value) != set(names):
        raise Malformed("bundle_malformed", "An element of the bundle does not have exactly the fields of its kind.")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed("bundle_malformed", "An element of the bundle is not a list where one belongs.")
    return value


def _bytes(value: Any, *, length: int | None = None) -> bytes:
    try:
        return schema.hex_bytes(value, length)
    except ValueError as error:
        raise Malformed("bundle_malformed", f"Bytes in the bundle are {error}.") from error


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


T = TypeVar("T")


def _pick(place: Any, items: Sequence[T]) -> T:
    if type(place) is not int or not 0 <= place < len(items):
        raise Malformed("bundle_malformed", "An element of the bundle refers to one that is not there.")
    return items[place]


# --- Building -------------------------------------------------------------------------------------------------------------------


class BundleBuilder:
    """Collects a story's elements, each once, and writes the bundle. What it is given it does not check: ``verify`` does."""

    def __init__(self, *, story: str, chain_id: int, genesis_hash: str, subject: Mapping[str, Any]) -> None:
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
        """Where each element stands, by section and hash: a lane has tens of thousands, too many to look through for each."""

    def storage(self, proof: StorageProof, header: bytes) -> int:
        """Add a proved slot under a sealed header; its place."""
        place = (proof.address, proof.slot, header)
        if place in self._storage:
            return self._storage[place]
        value = {
            "header": self._once("headers", _hex(header)),
            "address": proof.address,
            "slot": _hex(proof.slot),
            "value": hex(proof.value),
            "accountProof": [_hex(each) for each in proof.account_proof],
            "storageProof": [_hex(each) for each in proof.storage_proof],
        }
        self._value["storage"].append(value)
        self._storage[place] = len(self._value["storage"]) - 1
        return self._storage[place]

    def key(self, fingerprint: bytes, proof: StorageProof, header: bytes) -> None:
        """Add a key's record in the directory."""
        self._once("keys", {"fingerprint": _hex(fingerprint), "storage": self.storage(proof, header)})

    def statement(self, statement: Statement, signature: bytes) -> None:
        """Add a signed statement."""
        value = {"type": type(statement).__name__, "message": statement.to_json(), "signature": _hex(signature)}
        self._once("statements", value)

    def struct(self, struct: Struct) -> None:
        """Add an unsigned struct."""
        self._once("structs", {"type": type(struct).__name__, "message": struct.to_json()})

    def log_entry(
        self,
        *,
        member: str,
        incarnation: int,
        key: bytes,
        note: str,
        size: tuple[StorageProof, bytes],
        root: tuple[StorageProof, bytes],
        index: int,
        leaf: bytes,
        path: Sequence[bytes],
    ) -> None:
        """Add an entry of a log with its checkpoint and anchor; entries of one checkpoint share them."""
        logs = self._value["logs"]
        place = self._logs.setdefault((member, incarnation, note), len(logs))
        if place == len(logs):
            logs.append(
                {
                    "member": member,
                    "incarnation": incarnation,
                    "key": _hex(key),
                    "note": note,
                    "size": self.storage(*size),
                    "root": self.storage(*root),
                    "entries": [],
                }
            )
        entry = {"index": index, "leaf": json.loads(leaf), "path": [_hex(each) for each in path]}
        self._placed(f"log {place}", logs[place]["entries"], entry)

    def disclose(self, commitment: bytes, *, salt: bytes, domain: str, record: Any) -> None:
        """Open a commitment."""
        value = {"commitment": _hex(commitment), "salt": _hex(salt), "domain": domain, "record": record}
        self._once("disclosures", value)

    def build(self) -> bytes:
        """The bundle's bytes; ``bundle_too_large`` for one that no verifier would read."""
        data = dumps(self._value)
        if len(data) > MOST_BYTES or sum(len(self._value[name]) for name in _SECTIONS) > MOST_ELEMENTS:
            raise Conflict(
                "bundle_too_large",
                f"The story takes {len(data):,} bytes; verifiers read {MOST_BYTES:,}.",
                hint="Export its calls one by one, and use more lanes or shorter agreements from now on.",
            )
        return data

    def _once(self, section: str, value: Any) -> int:
        return self._placed(section, self._value[section], value)

    def _placed(self, section: str, items: list[Any], value: Any) -> int:
        """Where the value stands in its section, now if it did not before."""
        place = self._places.setdefault((section, hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()), len(items))
        if place == len(items):
            items.append(value)
        return place


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
