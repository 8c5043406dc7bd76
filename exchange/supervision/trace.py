"""Any record back to its source: from an id, a log position or a day to the chain of records that
it rests on.

Everything comes from the node's own database: the chain's events, and the copies of the
members' logs. Each record names what proves it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chain.context import Context
from chain.core.errors import BadInput, NotFound, QiaolianError
from chain.ethereum.ledger import Event
from chain.statements.property import DealTerms, StepKind
from exchange.supervision import service
from exchange.supervision.model import AgreementFacts
from registry.assets import catalogue
from registry.evidence import copies, witness
from registry.evidence.model import CopiedLeaf, read_leaf
from registry.grants import service as grants
from registry.members import service as members
from registry.property import deals

MAX_FOLLOWING = 50
MAX_QUERY_CHARACTERS = 200
_ID = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_MEMBER = re.compile(r"[0-9A-Z]{18}")
_POSITION = re.compile(r"(?:qiaolian/)?([0-9A-Z]{18})(?:/0)?[/:#]([0-9]{1,15})")


class RecordKind(StrEnum):
    """The kind of a record."""

    MEMBER = "member"
    ASSET = "asset"
    GRANT = "grant"
    AGREEMENT = "agreement"
    DEAL = "deal"
    STEP = "step"
    ENTRY = "entry"
    TRANSACTION = "transaction"
    EVENT = "event"


class FactKind(StrEnum):
    """One fact of a record."""

    STATUS = "status"
    HOLDER = "holder"
    VERSION = "version"
    OWNER = "owner"
    GRANTEE = "grantee"
    PURPOSE = "purpose"
    PROVIDER = "provider"
    BUYER = "buyer"
    OPENED_AT = "opened_at"
    CLOSED_AT = "closed_at"
    HEIGHT = "height"
    UNIT = "unit"
    LOG_OF = "log_of"
    POSITION = "position"
    WRITTEN_AT = "written_at"
    ENTRY_KIND = "entry_kind"
    HEAD_SIZE = "head_size"
    HEAD_SEEN_AT = "head_seen_at"
    HELD = "held"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a record says."""

    kind: FactKind
    value: str | int


@dataclass(frozen=True, slots=True)
class TracedRecord:
    """A record and what it says."""

    kind: RecordKind
    id: str
    title: str
    facts: Sequence[Fact] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """A record with the records that it rests on, and some that rest on it."""

    query: str
    found: Sequence[TracedRecord]
    """What the query names; several if it names log entries of several members."""
    source: Sequence[TracedRecord] = ()
    """What it rests on, the nearest first."""
    following: Sequence[TracedRecord] = ()
    """Some of what rests on it."""


def trace(context: Context, query: str) -> Trace:
    """Find what a query names, and follow it back to its source.

    Args:
        query: an id or a transaction's hash in hex, a member's code, or a log position such as
            ``CODE/12``.

    Raises:
        BadInput: ``search_malformed``; NotFound: ``record_unknown``; Forbidden:
            ``not_network_watcher``; Unavailable: when the chain cannot be asked for a hash.
    """
    service.require_watcher(context)
    text = query.strip()[: MAX_QUERY_CHARACTERS + 1]
    if len(text) > MAX_QUERY_CHARACTERS:
        raise _malformed()
    if (position := _POSITION.fullmatch(text)) is not None:
        return _of_position(context, text, position[1], int(position[2]))
    if _MEMBER.fullmatch(text) is not None:
        return _of_member(context, text)
    if (identifier := _ID.fullmatch(text)) is None:
        raise _malformed()
    return _of_id(context, text, bytes.fromhex(identifier[1]))


def _malformed() -> BadInput:
    return BadInput(
        "search_malformed",
        "The search is no id, no member's code and no log position.",
        hint="Enter 64 hexadecimal digits, an 18-character code, or CODE/INDEX.",
    )


def _unknown() -> NotFound:
    return NotFound(
        "record_unknown",
        "This node knows no record with this id.",
        hint="Check the id. A record of the last minute may still be on its way.",
    )


# --- By kind --------------------------------------------------------------------------------------

_Finder = Callable[[Context, str, bytes], Trace | None]


def _of_id(context: Context, text: str, identifier: bytes) -> Trace:
    finders: tuple[_Finder, ...] = (_of_agreement, _of_grant, _of_asset, _of_deal, _of_unit)
    for find in (*finders, _of_entry, _of_transaction):
        found = find(context, text, identifier)
        if found is not None:
            return found
    raise _unknown()


def _of_agreement(context: Context, text: str, identifier: bytes) -> Trace | None:
    facts = service.find_agreement(context, identifier)
    if facts is None:
        return None
    source = [
        *_grant_and_source(context, facts.grant_id, facts.asset_id),
        *_members(context, facts.provider, facts.buyer),
    ]
    return Trace(text, [_agreement(facts)], source)


def _of_grant(context: Context, text: str, identifier: bytes) -> Trace | None:
    record = _grant(context, identifier)
    if record is None:
        return None
    terms = grants.find(context, identifier).terms
    source = [
        *_optional(_asset(context, terms.asset_id)),
        *_members(context, terms.owner, terms.grantee),
    ]
    following = service.agreements_of(context, grant_id=identifier, limit=MAX_FOLLOWING)
    return Trace(text, [record], source, [_agreement(facts) for facts in following])


def _of_asset(context: Context, text: str, identifier: bytes) -> Trace | None:
    record = _asset(context, identifier)
    if record is None:
        return None
    holder = catalogue.find(context, identifier).record.holder
    following = service.agreements_of(context, asset_id=identifier, limit=MAX_FOLLOWING)
    return Trace(
        text, [record], _members(context, holder), [_agreement(facts) for facts in following]
    )


def _of_deal(context: Context, text: str, identifier: bytes) -> Trace | None:
    try:
        found = deals.describe(context, identifier)
    except QiaolianError:
        return None
    steps = [
        TracedRecord(
            RecordKind.STEP,
            "0x" + identifier.hex(),
            StepKind(step.statement.step).name.lower(),
            [Fact(FactKind.HEIGHT, step.height)] if step.height else (),
        )
        for step in found.steps
    ]
    terms = found.deal.terms
    parties = (terms.registrar, terms.agent, terms.bank, terms.tax_authority, terms.notary)
    record = _deal(terms, found.deal.opened_at)
    return Trace(text, [record], [*steps, *_members(context, *parties)])


def _of_unit(context: Context, text: str, identifier: bytes) -> Trace | None:
    found = deals.of_unit(context, identifier)
    if not found:
        return None
    records = [_deal(one.deal.terms, one.deal.opened_at) for one in found]
    return Trace(text, records, _members(context, found[0].deal.terms.registrar))


def _of_entry(context: Context, text: str, identifier: bytes) -> Trace | None:
    found = copies.find(context, identifier)
    return _of_leaves(context, text, found) if found else None


def _of_transaction(context: Context, text: str, identifier: bytes) -> Trace | None:
    """A transaction's block with the events in it. The chain node only says which block to look at;
    that the transaction is in it, how it ended and the block's events are proved.
    """
    answer = context.ledger.rpc.call("eth_getTransactionReceipt", "0x" + identifier.hex())
    height = _height(answer)
    if height is None:
        return None
    succeeded = context.view.outcomes(height).get(identifier)
    if succeeded is None:
        return None
    blocks = context.view.logs(height, height).blocks
    events = [event for block in blocks for event in context.ledger.decode_logs(block)]
    status = Fact(FactKind.STATUS, "done" if succeeded else "failed")
    record = TracedRecord(
        RecordKind.TRANSACTION,
        "0x" + identifier.hex(),
        "",
        [Fact(FactKind.HEIGHT, height), status],
    )
    return Trace(text, [record], [_event(event) for event in events[:MAX_FOLLOWING]])


def _height(answer: object) -> int | None:
    """The height in a chain node's receipt; None without one."""
    number = answer.get("blockNumber") if isinstance(answer, Mapping) else None
    try:
        return int(number, 16) if isinstance(number, str) else None
    except ValueError:
        return None


_NAMED_IDS = ("agreementId", "grantId", "assetId", "dealId")


def _event(event: Event) -> TracedRecord:
    """An event, with the id of the record that it is about."""
    about = next(
        (value for name in _NAMED_IDS if isinstance(value := event.arguments.get(name), bytes)),
        None,
    )
    member = event.arguments.get("member", "")
    identifier = member if about is None else "0x" + about.hex()
    facts = [Fact(FactKind.EVENT, f"{event.contract}.{event.name}")]
    return TracedRecord(RecordKind.EVENT, str(identifier), event.name, facts)


def _of_position(context: Context, text: str, member: str, index: int) -> Trace:
    leaf = copies.at(context, member, index)
    if leaf is None:
        raise _unknown()
    return _of_leaves(context, text, [leaf])


def _of_member(context: Context, text: str) -> Trace:
    records = _members(context, text)
    if not records:
        raise _unknown()
    half = MAX_FOLLOWING // 2
    given = service.agreements_of(context, provider=text, limit=half)
    taken = service.agreements_of(context, buyer=text, limit=half)
    return Trace(text, records, following=[_agreement(facts) for facts in (*given, *taken)])


def _of_leaves(context: Context, text: str, leaves: Sequence[CopiedLeaf]) -> Trace:
    heads = {head.origin: head for head in witness.witnessed(context)}
    found = []
    for leaf in leaves:
        content, head = read_leaf(leaf.leaf), heads.get(leaf.origin)
        facts = [
            Fact(FactKind.LOG_OF, leaf.member),
            Fact(FactKind.POSITION, leaf.index),
            Fact(FactKind.ENTRY_KIND, content.kind),
            Fact(FactKind.WRITTEN_AT, content.at),
        ]
        if head is not None:
            facts.append(Fact(FactKind.HEAD_SIZE, head.size))
            facts.append(Fact(FactKind.HEAD_SEEN_AT, head.seen_at))
        digest = leaf.leaf.hex() if content.digest is None else content.digest.hex()
        found.append(TracedRecord(RecordKind.ENTRY, "0x" + digest, content.kind, facts))
    signers = sorted({leaf.member for leaf in leaves})
    return Trace(text, found, _members(context, *signers))


# --- Records --------------------------------------------------------------------------------------


def _agreement(facts: AgreementFacts) -> TracedRecord:
    shown = [
        Fact(FactKind.PROVIDER, facts.provider),
        Fact(FactKind.BUYER, facts.buyer),
        Fact(FactKind.OPENED_AT, facts.opened_at),
    ]
    if facts.closed_at is not None:
        shown.append(Fact(FactKind.CLOSED_AT, facts.closed_at))
    return TracedRecord(RecordKind.AGREEMENT, "0x" + facts.agreement_id.hex(), "", shown)


def _grant_and_source(context: Context, grant_id: bytes, asset_id: bytes) -> list[TracedRecord]:
    return [*_optional(_grant(context, grant_id)), *_optional(_asset(context, asset_id))]


def _optional(record: TracedRecord | None) -> list[TracedRecord]:
    return [] if record is None else [record]


def _grant(context: Context, grant_id: bytes) -> TracedRecord | None:
    try:
        grant = grants.find(context, grant_id)
    except QiaolianError:
        return None
    facts = [
        Fact(FactKind.OWNER, grant.terms.owner),
        Fact(FactKind.GRANTEE, grant.terms.grantee),
        Fact(FactKind.PURPOSE, grant.terms.purpose),
        Fact(FactKind.STATUS, grant.state.value),
    ]
    return TracedRecord(RecordKind.GRANT, "0x" + grant_id.hex(), "", facts)


def _asset(context: Context, asset_id: bytes) -> TracedRecord | None:
    try:
        entry = catalogue.find(context, asset_id)
    except QiaolianError:
        return None
    facts = [
        Fact(FactKind.HOLDER, entry.record.holder),
        Fact(FactKind.VERSION, entry.record.asset_version),
        Fact(FactKind.HEIGHT, entry.registered_at),
    ]
    if entry.held:
        facts.append(Fact(FactKind.HELD, "held"))
    return TracedRecord(RecordKind.ASSET, "0x" + asset_id.hex(), entry.record.name, facts)


def _deal(terms: DealTerms, opened_at: int) -> TracedRecord:
    facts = [Fact(FactKind.UNIT, "0x" + terms.unit.hex()), Fact(FactKind.HEIGHT, opened_at)]
    return TracedRecord(RecordKind.DEAL, "0x" + terms.struct_hash().hex(), "", facts)


def _members(context: Context, *codes: str) -> list[TracedRecord]:
    found = []
    for code in dict.fromkeys(code for code in codes if code.strip("\0")):
        try:
            member = members.find(context, code).member
        except QiaolianError:
            continue
        facts = [Fact(FactKind.STATUS, member.status), Fact(FactKind.HEIGHT, member.admitted_at)]
        found.append(TracedRecord(RecordKind.MEMBER, code, member.name, facts))
    return found
