"""Agreements of this node, and what the chain says of them: load, list, show, apply events.

Offers are in ``offers``, the buyer's proposals in ``proposals``, the provider's signature in
``countersigning``, proposals that never open in ``proposal_ends``, agreements lost with a database
in ``recovery``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, NotFound
from chain.ethereum.ledger import Event
from chain.ethereum.proved_records import account_records, agreement_records, grant_record
from chain.ethereum.records import AgreementRecord
from chain.outbox import outcome
from chain.statements.grants import GrantTerms
from chain.statements.trade import Agreement, MeteredUnit
from exchange.agreements import rules
from exchange.agreements.model import (
    ENDED,
    PENDING,
    AgreementSide,
    AgreementStage,
    ProposalEnd,
    SignedAgreement,
)
from exchange.agreements.store import OWN, AgreementRow
from registry.assets import catalogue
from registry.pages import Page, PageRequest, page_of

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
    context: Context, page: PageRequest, *, state: str | None = None, own: bool = True
) -> Page[dict[str, Any]]:
    """Agreements, newest first; with ``own`` only this organisation's; ``cursor_malformed``."""
    query = sa.select(AgreementRow)
    if state is not None:
        query = query.where(AgreementRow.state == state)
    if own:
        query = query.where(OWN)
    with context.database.read() as session:
        found = page_of(session, query, _ORDER, page)
        assets_shown = {Agreement.from_json(row.agreement).asset_id for row in found.rows}
        newest = catalogue.newest_versions(session, assets_shown)
        return found.map(lambda row: _listed(row, newest))


def opened(context: Context, page: PageRequest, *, state: str | None = None) -> Page[bytes]:
    """The ids of everybody's agreements that the chain has opened, newest first;
    ``cursor_malformed``.
    """
    query = sa.select(AgreementRow).where(AgreementRow.opened_at.is_not(None))
    if state is not None:
        query = query.where(AgreementRow.state == state)
    with context.database.read() as session:
        return page_of(session, query, _ORDER, page).map(lambda row: row.agreement_id)


_ORDER = (AgreementRow.added, AgreementRow.agreement_id)


def view(context: Context, agreement_id: bytes) -> dict[str, Any]:
    """One agreement with the state of its opening; a refusal by the chain is shown before the
    worker records it.
    """
    row = find(context, agreement_id)
    with context.database.read() as session:
        listed = _listed(
            row, catalogue.newest_versions(session, [Agreement.from_json(row.agreement).asset_id])
        )
        try:
            opening = outcome(session, open_operation(agreement_id))
        except NotFound:
            return listed
    listed["opening"] = {"state": opening.state, "code": opening.code, "height": opening.height}
    if opening.code is not None and row.state in PENDING:
        listed["state"], listed["reason"] = AgreementStage.FAILED, opening.code
        listed["reasonText"] = f"The chain refused the opening: {opening.code}."
    return listed


def find(context: Context, agreement_id: bytes) -> AgreementRow:
    """An agreement's row; ``unknown_agreement``."""
    with context.database.read() as session:
        row = session.get(AgreementRow, agreement_id)
    if row is None:
        raise NotFound("unknown_agreement", "This node knows no such agreement.")
    return row


def _listed(row: AgreementRow, newest: Mapping[bytes, int]) -> dict[str, Any]:
    agreement = Agreement.from_json(row.agreement)
    newer = newest.get(agreement.asset_id, 0)
    newer = newer if newer > agreement.asset_version else 0
    return {
        "agreementId": "0x" + row.agreement_id.hex(),
        "side": row.side,
        "state": row.state,
        "reason": row.reason,
        "reasonText": row.reason_text,
        "stateSince": row.state_since,
        "provider": row.provider,
        "buyer": row.buyer,
        "unit": MeteredUnit(agreement.unit).name.lower(),
        "agreement": row.agreement,
        "openedAt": row.opened_at,
        "noticeAt": row.notice_at,
        "closedAt": row.closed_at,
        "paid": str(row.paid),
        "refunded": str(row.refunded),
        "openOperation": open_operation(row.agreement_id),
        "newerVersion": newer or None,
        "hint": rules.newer_version_hint(agreement.asset_version, newer) if newer else "",
    }


def apply(session: Session, event: Event) -> None:
    """Apply an event of TradeSettlement; agreements of other members are stored for display."""
    agreement_id = event.arguments.get("agreementId")
    if agreement_id is None:
        return
    row = session.get(AgreementRow, agreement_id)
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
            provider=agreement.provider,
            buyer=agreement.buyer,
            agreement=agreement.to_json(),
            paid=0,
            refunded=0,
        )
        session.add(row)
    row.opened_at = event.height
    if row.closed_at is None and row.notice_at is None:
        # Whatever this node recorded of the proposal: what both signed, anyone could open in time.
        row.state, row.reason, row.reason_text, row.state_since = (
            AgreementStage.OPEN,
            None,
            None,
            None,
        )
    session.flush()


def require_openable(context: Context, agreement: Agreement) -> int:
    """The chain would open the agreement, judged by grant, balance and time; returns the height of
    the proof.

    Raises:
        Conflict: ``agreement_open``, ``not_enough_free``; Forbidden: ``grant_not_live``; BadInput:
            ``open_too_late``;
            Unavailable: ``chain_view_stale``.
    """
    agreement_id, buyer = agreement.struct_hash(), agreement.buyer
    records = context.view.proved(
        [
            grant_record(agreement.grant_id),
            *account_records(buyer),
            *agreement_records(agreement_id),
        ]
    )
    rules.require_not_open(records.agreement(agreement_id))
    rules.require_live_grant(records.grant(agreement.grant_id))
    rules.require_free(records.account(buyer), agreement.cap)
    if records.timestamp > agreement.open_before:
        raise BadInput(
            "open_too_late", "The agreement can no longer be opened.", hint="Propose it afresh."
        )
    return records.height


def set_end(row: AgreementRow, end: ProposalEnd, *, now: int) -> None:
    """Record how a proposal ended, if its state allows it."""
    if rules.may_follow(AgreementStage(row.state), end.state):
        row.state, row.state_since = end.state, now
        row.reason, row.reason_text = end.reason, end.sentence


def open_operation(agreement_id: bytes) -> str:
    """The outbox operation that opens an agreement."""
    return f"open/{agreement_id.hex()}"


def pinned_to(context: Context, address: str) -> int:
    """Number of unfinished proposals and agreements that pin this STATEMENT key of the node."""
    mine = sa.or_(AgreementRow.provider == context.member, AgreementRow.buyer == context.member)
    query = sa.select(AgreementRow).where(
        mine, AgreementRow.state.not_in((AgreementStage.CLOSED, *ENDED))
    )
    with context.database.read() as session:
        rows = session.scalars(query).all()
    sides = {
        row.agreement_id: "providerKey" if row.provider == context.member else "buyerKey"
        for row in rows
    }
    return sum(row.agreement[sides[row.agreement_id]] == address for row in rows)
