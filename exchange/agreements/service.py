"""Agreements of this node, and what the chain says of them: load, list, show, apply events.

Offers are in ``offers``, the buyer's proposals in ``proposals``, the provider's signature in
``countersigning``, proposals that never open in ``proposal_ends``, agreements lost with a database
in ``recovery``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import NotFound
from chain.ethereum.ledger import Event
from chain.ethereum.proved_records import agreement_records
from chain.ethereum.records import AgreementRecord
from chain.outbox import outcome
from chain.statements.grants import GrantTerms
from chain.statements.trade import Agreement
from exchange.agreements import rules, stages, store
from exchange.agreements.model import (
    PENDING,
    AgreementParties,
    AgreementSide,
    AgreementStage,
    AgreementView,
    OpeningStatus,
    ProposalEnd,
    SignedAgreement,
)
from exchange.agreements.store import AgreementRow
from registry.assets import catalogue
from registry.pages import Page, PageRequest

CONTRACT = "TradeSettlement"
DAY = 86_400


def load(context: Context, agreement_id: bytes) -> SignedAgreement:
    """An agreement with everything both sides signed; ``unknown_agreement``."""
    row = find(context, agreement_id)
    return SignedAgreement(
        agreement_id=agreement_id,
        agreement=Agreement.from_json(row.agreement),
        terms=None if row.terms is None else GrantTerms.from_json(row.terms),
        provider_signature=row.provider_signature or b"",
        buyer_signature=row.buyer_signature or b"",
        side=AgreementSide(row.side),
        state=AgreementStage(row.state),
    )


def proved_state(context: Context, agreement_id: bytes) -> AgreementRecord:
    """The agreement's on-chain record, proved under one block of the node's own view."""
    return context.view.proved(agreement_records(agreement_id)).agreement(agreement_id)


def listing(
    context: Context,
    page: PageRequest,
    *,
    state: str | None = None,
    own: bool = True,
    side: AgreementSide | None = None,
) -> Page[AgreementView]:
    """Agreements, newest first; with ``own`` only this organisation's, with ``side`` those it
    provides or buys under; ``cursor_malformed``.
    """
    with context.database.read() as session:
        found = store.agreements(session, page, state=state, own=own, side=side)
        assets_shown = {Agreement.from_json(row.agreement).asset_id for row in found.rows}
        newest = catalogue.newest_versions(session, assets_shown)
        return found.map(lambda row: _view(row, newest))


def latest_of_asset(session: Session, asset_id: bytes, buyer: str) -> AgreementView | None:
    """A buyer's latest agreement or proposal on an asset, or None."""
    row = store.latest_of_asset(session, asset_id, buyer)
    return None if row is None else _view(row, {})


def counts(context: Context, side: AgreementSide) -> dict[AgreementStage, int]:
    """How many agreements that this organisation provides or buys under are in each state."""
    with context.database.read() as session:
        return store.count_by_state(session, side)


def opened(context: Context, page: PageRequest, *, state: str | None = None) -> Page[bytes]:
    """The ids of everybody's agreements that the chain has opened, newest first;
    ``cursor_malformed``.
    """
    with context.database.read() as session:
        found = store.agreements(session, page, state=state, opened=True)
    return found.map(lambda row: row.agreement_id)


def provided(context: Context) -> list[bytes]:
    """Ids of the opened agreements that this node provides under, closed ones included."""
    with context.database.read() as session:
        return store.provided(session)


def bought_from(context: Context, provider: str) -> list[bytes]:
    """Ids of the opened agreements that this node buys under from a provider."""
    with context.database.read() as session:
        return store.bought_from(session, provider)


def provided_in_notice(context: Context) -> set[bytes]:
    """Ids of the agreements that this node provides under and that are in notice."""
    with context.database.read() as session:
        return store.provided_in_notice(session)


def terms_of(context: Context, agreement_ids: Collection[bytes]) -> dict[bytes, Agreement]:
    """The terms of these agreements, by id."""
    with context.database.read() as session:
        return store.terms_of(session, agreement_ids)


def parties(session: Session, agreement_id: bytes) -> AgreementParties | None:
    """Who gives what to whom under an agreement that this node knows, for other projections."""
    row = store.find(session, agreement_id)
    if row is None:
        return None
    agreement = Agreement.from_json(row.agreement)
    return AgreementParties(
        agreement.provider,
        agreement.buyer,
        agreement.asset_id,
        agreement.grant_id,
        agreement.stake,
    )


def view(context: Context, agreement_id: bytes) -> AgreementView:
    """One agreement with the state of its opening; a refusal by the chain is shown before the
    worker records it. ``unknown_agreement``.
    """
    row = find(context, agreement_id)
    with context.database.read() as session:
        newest = catalogue.newest_versions(session, [Agreement.from_json(row.agreement).asset_id])
        shown = _view(row, newest)
        try:
            opening = outcome(session, open_operation(agreement_id))
        except NotFound:
            return shown
    shown = replace(shown, opening=OpeningStatus(opening.state, opening.code, opening.height))
    if opening.code is None or row.state not in PENDING:
        return shown
    return replace(
        shown,
        state=AgreementStage.FAILED,
        reason=opening.code,
        reason_text=f"The chain refused the opening: {opening.code}.",
    )


def find(context: Context, agreement_id: bytes) -> AgreementRow:
    """An agreement's row; ``unknown_agreement``."""
    with context.database.read() as session:
        row = store.find(session, agreement_id)
    if row is None:
        raise NotFound("unknown_agreement", "This node knows no such agreement.")
    return row


def _view(row: AgreementRow, newest: Mapping[bytes, int]) -> AgreementView:
    agreement = Agreement.from_json(row.agreement)
    newer = newest.get(agreement.asset_id, 0)
    newer = newer if newer > agreement.asset_version else 0
    return AgreementView(
        agreement_id=row.agreement_id,
        agreement=agreement,
        side=AgreementSide(row.side),
        state=AgreementStage(row.state),
        reason=row.reason,
        reason_text=row.reason_text,
        state_since=row.state_since,
        opened_at=row.opened_at,
        notice_at=row.notice_at,
        closed_at=row.closed_at,
        paid=row.paid,
        refunded=row.refunded,
        open_operation=open_operation(row.agreement_id),
        newer_version=newer or None,
        hint=rules.newer_version_hint(agreement.asset_version, newer) if newer else "",
    )


def apply(session: Session, event: Event) -> None:
    """Apply an event of TradeSettlement; agreements of other members are stored for display."""
    agreement_id = event.arguments.get("agreementId")
    if agreement_id is None:
        return
    row = store.find(session, agreement_id)
    if event.name == "AgreementOpened":
        _opened(session, row, event)
    elif row is None:
        return
    elif event.name == "NoticeGiven":
        row.notice_at = event.height
        if row.state != AgreementStage.CLOSED:
            row.state = AgreementStage.NOTICE
    elif event.name == "AgreementClosed":
        row.closed_at, row.state = event.height, AgreementStage.CLOSED
        row.paid, row.refunded = event.arguments["paid"], event.arguments["refunded"]


def _opened(session: Session, row: AgreementRow | None, event: Event) -> None:
    agreement: Agreement = event.arguments["agreement"]
    if row is None:
        row = AgreementRow(
            agreement_id=event.arguments["agreementId"],
            side=AgreementSide.OBSERVER,
            state=AgreementStage.OPEN,
            provider=agreement.provider,
            buyer=agreement.buyer,
            agreement=agreement.to_json(),
            opened_at=event.height,
            paid=0,
            refunded=0,
        )
        store.add(session, row)
        return
    row.opened_at = event.height
    if row.closed_at is None and row.notice_at is None:
        # Whatever this node recorded of the proposal: what both signed, anyone could open in time.
        row.state, row.state_since = AgreementStage.OPEN, None
        row.reason, row.reason_text = None, None


def set_end(row: AgreementRow, end: ProposalEnd, *, now: int) -> None:
    """Record how a proposal ended, if its state allows it."""
    if stages.may_follow(AgreementStage(row.state), end.state):
        row.state, row.state_since = end.state, now
        row.reason, row.reason_text = end.reason, end.sentence


def open_operation(agreement_id: bytes) -> str:
    """The outbox operation that opens an agreement."""
    return f"open/{agreement_id.hex()}"


def pinned_to(context: Context, address: str) -> int:
    """Number of unfinished proposals and agreements that pin this STATEMENT key of the node."""
    with context.database.read() as session:
        rows = store.unfinished_of(session, context.member)
    agreements = [Agreement.from_json(row.agreement) for row in rows]
    keys = [
        agreement.provider_key if agreement.provider == context.member else agreement.buyer_key
        for agreement in agreements
    ]
    return keys.count(address)
