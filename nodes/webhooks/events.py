"""Where events come from: the chain's events, incidents of sources, and spent caps.

The chain's events are noted in the projector's transaction, so none is lost; whom they concern is
decided afterwards (``involved``), by what this node knows of the grant or agreement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import NotFound
from chain.ethereum.ledger import Event as ChainEvent
from chain.ethereum.ledger import code_text
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, AgreementStage
from exchange.metering import service as metering
from nodes.webhooks import rules, store
from nodes.webhooks.model import Event, EventKind
from registry.assets import incidents
from registry.grants import service as grants
from registry.pages import PageRequest

_KINDS = {
    "GrantRequested": EventKind.GRANT_REQUESTED,
    "GrantApproved": EventKind.GRANT_APPROVED,
    "GrantRefused": EventKind.GRANT_REFUSED,
    "GrantRevoked": EventKind.GRANT_REVOKED,
    "AgreementOpened": EventKind.AGREEMENT_OPENED,
    "NoticeGiven": EventKind.AGREEMENT_NOTICE,
    "AgreementClosed": EventKind.AGREEMENT_CLOSED,
    "Claimed": EventKind.CLAIM_SETTLED,
}
_AMOUNTS = ("amount", "paid", "refunded", "units", "lane")
_OPEN_AGREEMENTS = 200
"""Agreements whose caps one round looks at, the newest first."""
_INCIDENTS = 50


def note(session: Session, found: Sequence[ChainEvent], context: Context) -> None:
    """Note the chain's events that a webhook wants; in the projector's transaction.

    An upgrade that takes all events once more leaves a cursor: what is not above it was noted then.
    """
    if not any(event.name in _KINDS for event in found):
        return
    wanted, noted = wanted_kinds(session), store.noted_until(session)
    for event in found:
        if event.height <= noted:
            continue
        kind = _KINDS.get(event.name)
        if kind in wanted:
            store.add_event(session, _of_chain(event, kind, context.now()))


def wanted_kinds(session: Session) -> set[str]:
    """The kinds that any webhook subscribes to, a disabled one included."""
    return {kind for row in store.webhooks(session) for kind in row.kinds}


def involved(context: Context, event: Event) -> bool:
    """Whether an event concerns this organisation: a party of the grant or agreement."""
    subject = bytes.fromhex(event.subject[2:])
    try:
        if event.object == "grant":
            terms = grants.find(context, subject).terms
            if event.kind == EventKind.GRANT_REQUESTED:
                return terms.owner == context.member
            return context.member in (terms.owner, terms.grantee)
        if event.object == "agreement":
            return agreements.find(context, subject).side != AgreementSide.OBSERVER
    except NotFound:
        return False
    return True


def local_events(context: Context) -> Iterator[Event]:
    """Events of this node's own records: incidents, and caps that are nearly spent. They come
    again in each round under the same id.
    """
    since = context.now() - rules.KEEP_SECONDS
    for incident in incidents.listing(context, PageRequest(_INCIDENTS)).rows:
        if incident.first_at < since:
            continue
        subject = "0x" + incident.asset_id.hex()
        columns = ",".join(incident.columns)
        named = f"{incident.asset_version}/{incident.kind}/{columns}/{incident.position}"
        yield Event(
            id=_event_id(EventKind.ASSET_INCIDENT, subject, named),
            kind=EventKind.ASSET_INCIDENT,
            object="asset",
            subject=subject,
            at=incident.first_at,
            data={"version": incident.asset_version, "incident": incident.kind},
        )
    for side in (AgreementSide.BUYER, AgreementSide.PROVIDER):
        yield from _caps(context, side)


def _caps(context: Context, side: AgreementSide) -> Iterator[Event]:
    page = PageRequest(_OPEN_AGREEMENTS)
    for view in agreements.listing(context, page, state=AgreementStage.OPEN, side=side).rows:
        spent = metering.spent(context, view.agreement_id, side)
        if rules.is_cap_near(spent=spent, cap=view.agreement.cap):
            subject = "0x" + view.agreement_id.hex()
            yield Event(
                id=_event_id(EventKind.AGREEMENT_CAP_NEAR, subject, ""),
                kind=EventKind.AGREEMENT_CAP_NEAR,
                object="agreement",
                subject=subject,
                at=context.now(),
                data={"spent": spent, "cap": view.agreement.cap},
            )


def _of_chain(event: ChainEvent, kind: EventKind, now: int) -> Event:
    name = "grant" if event.contract == "GrantRegistry" else "agreement"
    subject = "0x" + event.arguments[f"{name}Id"].hex()
    data: dict[str, str | int] = {"height": event.height}
    data.update({key: event.arguments[key] for key in _AMOUNTS if key in event.arguments})
    reason = event.arguments.get("reason")
    if isinstance(reason, bytes):
        data["reason"] = code_text(reason)
    position = f"{event.block_hash.hex()}/{event.log_index}"
    return Event(_event_id(kind, subject, position), kind, name, subject, now, data)


def _event_id(kind: str, subject: str, position: str) -> str:
    """The same event has the same id, whenever and however often it is found."""
    digest = hashlib.sha256(f"{kind}|{subject}|{position}".encode()).hexdigest()
    return f"evt_{digest[:32]}"
