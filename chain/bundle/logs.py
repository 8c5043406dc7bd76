"""Check the logs of a bundle: checkpoint, witnesses, anchor, and the inclusion of each entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chain.bundle.chain_state import ProvedSlot
from chain.bundle.claims import Evidence, LogInclusion, storage_slot
from chain.bundle.form import is_count, read_bytes, read_list, read_reference, require_fields
from chain.core.canonical import dumps
from chain.core.crypto import keccak256
from chain.core.errors import BadSignature, Inconsistent, Malformed, NotAnchored
from chain.ethereum.records import KeyRecord, LogRecord
from chain.log import checkpoint, merkle
from chain.statements.members import KeyPurpose


def check_log(
    value: Any,
    proved_slots: Sequence[ProvedSlot],
    keys: Mapping[bytes, KeyRecord],
    evidence: Evidence,
) -> bytes:
    """Check one log and record its entries; returns the fingerprint of the log's key."""
    require_fields(value, "member", "incarnation", "key", "note", "size", "root", "entries")
    fingerprint = read_bytes(value["key"], length=32)
    _require_log_form(value)
    key = keys.get(fingerprint)
    if key is None or key.member != value["member"] or key.purpose != KeyPurpose.LOG:
        raise BadSignature("log_key_unknown", "A log's key is not shown to be its member's.")
    origin = checkpoint.log_origin(value["member"], value["incarnation"])
    note = checkpoint.verify(value["note"], log_key=fingerprint, witnesses=evidence.trust.witnesses)
    if note.checkpoint.origin != origin:
        raise Inconsistent("log_origin_wrong", "A checkpoint is of another log.")
    _require_witnesses(note, value["member"], evidence)
    anchored_at = _require_anchored(value, proved_slots, origin, note.checkpoint, evidence)
    if key.end_height and anchored_at >= key.end_height:
        raise BadSignature("key_ended", "A log's key had ended before its checkpoint was anchored.")
    for entry in read_list(value["entries"]):
        _check_entry(entry, value["member"], note, anchored_at, evidence)
    if not value["entries"]:
        raise Inconsistent("element_unused", "The bundle carries a log without an entry.")
    return fingerprint


def _require_log_form(value: Any) -> None:
    if (
        not isinstance(value["member"], str)
        or not is_count(value["incarnation"])
        or not isinstance(value["note"], str)
    ):
        raise Malformed("bundle_malformed", "A log in the bundle is malformed.")


def _require_witnesses(note: checkpoint.SignedCheckpoint, member: str, evidence: Evidence) -> None:
    """Require the trust file's number of witnesses; report the signatures of unknown keys."""
    if len(note.witnesses) < evidence.trust.required_witnesses:
        raise BadSignature(
            "witness_missing",
            "A checkpoint carries too few witnesses' signatures for the trust file.",
        )
    if note.ignored:
        plural = "s" if note.ignored > 1 else ""
        evidence.limits.append(
            f"A checkpoint of {member}'s log carries {note.ignored} signature{plural} of keys "
            "that the trust file does not name; they were ignored."
        )


def _require_anchored(
    value: Any,
    proved_slots: Sequence[ProvedSlot],
    origin: str,
    head: checkpoint.Checkpoint,
    evidence: Evidence,
) -> int:
    """The anchor's height: EvidenceLog's state must show exactly this size and root."""
    trust = evidence.trust
    log_id = keccak256(origin.encode())
    size = read_reference(value["size"], proved_slots)
    root = read_reference(value["root"], proved_slots)
    for proved, variable in ((size, "logs"), (root, "roots")):
        slot = storage_slot(trust.slot("EvidenceLog", variable), log_id)
        if (proved.address, proved.slot) != (trust.contract("EvidenceLog"), slot):
            raise NotAnchored("anchor_not_proved", "A log's anchor is not shown from the chain.")
        evidence.used.add(proved.position)
    if size.value.height != root.value.height:
        raise NotAnchored("anchor_not_proved", "A log's size and root are not shown of one block.")
    record = LogRecord.decode(size.value.value)
    if record.size != head.size or root.value.value != int.from_bytes(head.root, "big"):
        raise NotAnchored(
            "anchor_differs", "The chain anchors another head of the log than the checkpoint's."
        )
    return record.anchored_at


def _check_entry(
    entry: Any,
    member: str,
    note: checkpoint.SignedCheckpoint,
    anchored_at: int,
    evidence: Evidence,
) -> None:
    """Check an entry's inclusion under the checkpoint's root (RFC 9162)."""
    leaf, index, path = _read_entry(entry)
    merkle.require_included(dumps(leaf), index, note.checkpoint.size, note.checkpoint.root, path)
    if (member, leaf["digest"]) in evidence.log_inclusions:
        raise Inconsistent(
            "element_twice", "The bundle shows one digest at two positions of a member's logs."
        )
    evidence.log_inclusions[member, leaf["digest"]] = LogInclusion(
        member, index, leaf, anchored_at, note.witnesses
    )


def _read_entry(entry: Any) -> tuple[dict[str, Any], int, list[bytes]]:
    """The leaf, its index and its audit path."""
    require_fields(entry, "index", "leaf", "path")
    leaf, index = entry["leaf"], entry["index"]
    if (
        not isinstance(leaf, dict)
        or set(leaf) != {"at", "digest", "kind"}
        or type(index) is not int
        or not is_count(leaf["at"])
        or not isinstance(leaf["kind"], str)
    ):
        raise Malformed("bundle_malformed", "A log entry in the bundle is malformed.")
    read_bytes(leaf["digest"], length=32)
    return leaf, index, [read_bytes(node, length=32) for node in read_list(entry["path"])]
