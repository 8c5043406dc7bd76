"""What proof pages show: a log entry under an anchored checkpoint, or a record of the chain."""

from __future__ import annotations

import json
from dataclasses import dataclass

from chain.context import Context
from chain.ethereum.proved_records import (
    ProvedRecords,
    StorageKey,
    agreement_records,
    asset_record,
    deal_record,
    grant_record,
    member_record,
)
from chain.statements.property import StepKind
from nodes.console.i18n import N_
from registry.evidence import inclusion


@dataclass(frozen=True, slots=True)
class EntryProof:
    """A log entry, its checkpoint and its anchor."""

    digest: str
    leaf: str
    index: int
    size: int
    checkpoint: str
    anchored_at: int
    """Height of the block that holds the anchor."""
    proved_height: int
    """Height of the header under which the anchor is proved."""
    path: list[str]


@dataclass(frozen=True, slots=True)
class RecordProof:
    """A storage value of a contract, proved under one block."""

    title: str
    contract: str
    variable: str
    key: str
    value: str
    facts: list[tuple[str, str]]
    height: int
    block_hash: str
    block_time: int
    command: str


def entry_proof(context: Context, digest: bytes) -> EntryProof:
    """The proof of a log entry.

    Raises:
        NotFound: ``entry_unknown``; Conflict: ``entry_not_anchored``.
    """
    found = inclusion.anchored_entry(context, digest)
    leaf = json.dumps(json.loads(found.leaf), indent=1, ensure_ascii=False)
    return EntryProof(
        digest="0x" + digest.hex(),
        leaf=leaf,
        index=found.index,
        size=found.size,
        checkpoint=found.note,
        anchored_at=found.anchor.anchored_at,
        proved_height=found.anchor.height,
        path=["0x" + value.hex() for value in found.path],
    )


def asset_proof(context: Context, asset_id: bytes) -> RecordProof:
    """The proof of an asset's record; raises as ``ChainView.proved``."""
    key = asset_record(asset_id)
    proved = context.view.proved([key])
    status = proved.asset(asset_id)
    facts = [
        (N_("Registered in block"), str(status.registered_at)),
        (N_("Last version in block"), str(status.corrected_at)),
        (N_("Cancelled in block"), str(status.cancelled_at or "–")),
        (N_("Latest version"), str(status.latest_version)),
    ]
    command = f"qiaolian asset show 0x{asset_id.hex()}"
    return _record_proof(
        proved, key, "0x" + asset_id.hex(), N_("Registration of an asset"), facts, command
    )


def grant_proof(context: Context, grant_id: bytes) -> RecordProof:
    """The proof of a grant's record; raises as ``ChainView.proved``."""
    key = grant_record(grant_id)
    proved = context.view.proved([key])
    status = proved.grant(grant_id)
    facts = [
        (N_("Requested in block"), str(status.requested_at or "–")),
        (N_("Approved in block"), str(status.approved_at or "–")),
        (N_("Refused in block"), str(status.refused_at or "–")),
        (N_("Revoked in block"), str(status.revoked_at or "–")),
    ]
    command = f"qiaolian grant show 0x{grant_id.hex()}"
    return _record_proof(
        proved, key, "0x" + grant_id.hex(), N_("Record of a grant"), facts, command
    )


def agreement_proof(context: Context, agreement_id: bytes) -> RecordProof:
    """The proof of an agreement's money; raises as ``ChainView.proved``."""
    keys = agreement_records(agreement_id)
    proved = context.view.proved(keys)
    record = proved.agreement(agreement_id)
    facts = [
        (N_("Deposited (fen)"), str(record.opened)),
        (N_("Paid (fen)"), str(record.paid)),
        (N_("Refunded (fen)"), str(record.refunded)),
        (N_("Acknowledged (fen)"), str(record.acknowledged)),
        (N_("Opened in block"), str(record.opened_at or "–")),
        (N_("Notice in block"), str(record.notice_at or "–")),
        (N_("Closed in block"), str(record.closed_at or "–")),
    ]
    command = f"qiaolian agreement show 0x{agreement_id.hex()}"
    title = N_("Record of an agreement")
    return _record_proof(proved, keys[0], "0x" + agreement_id.hex(), title, facts, command)


def deal_proof(context: Context, deal_id: bytes) -> RecordProof:
    """The proof of a property deal's record; raises as ``ChainView.proved``."""
    key = deal_record(deal_id)
    proved = context.view.proved([key])
    record = proved.deal(deal_id)
    signed = ", ".join(step.name.lower() for step in StepKind if record.done(step))
    facts = [
        (N_("Opened in block"), str(record.opened_at or "–")),
        (N_("Signed steps"), signed or "–"),
        (N_("Last step in block"), str(record.last_step_at or "–")),
        (N_("Registered in block"), str(record.registered_at or "–")),
        (N_("Expired in block"), str(record.expired_at or "–")),
    ]
    identifier = "0x" + deal_id.hex()
    command = f"qiaolian deal show {identifier}"
    return _record_proof(proved, key, identifier, N_("Record of a property deal"), facts, command)


def member_proof(context: Context, member: str) -> RecordProof:
    """The proof of a member's status; raises as ``ChainView.proved``."""
    key = member_record(member)
    proved = context.view.proved([key])
    status = proved.member(member)
    facts = [
        (N_("Admitted in block"), str(status.admitted_at or "–")),
        (N_("Suspended in block"), str(status.suspended_at or "–")),
        (N_("Suspension lifted in block"), str(status.lifted_at or "–")),
        (N_("Removed in block"), str(status.removed_at or "–")),
    ]
    command = f"qiaolian member show {member}"
    return _record_proof(proved, key, member, N_("Record of a member"), facts, command)


def _record_proof(
    proved: ProvedRecords,
    key: StorageKey,
    identifier: str,
    title: str,
    facts: list[tuple[str, str]],
    command: str,
) -> RecordProof:
    return RecordProof(
        title=title,
        contract=key.contract,
        variable=key.variable,
        key=identifier,
        value=f"0x{proved.value(key):064x}",
        facts=facts,
        height=proved.height,
        block_hash="0x" + proved.block_hash.hex(),
        block_time=proved.timestamp,
        command=command,
    )
