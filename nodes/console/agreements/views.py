"""View models of agreement pages. Money in fen, times in Unix seconds, heights in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chain.context import Context
from chain.ethereum.records import AgreementRecord
from chain.statements.trade import MeteredUnit
from exchange.agreements.model import AgreementSide, AgreementStage, AgreementView, Offer
from nodes.console.i18n import N_
from nodes.console.names import asset_name, member_name, purpose_name

STATES: Mapping[AgreementStage, str] = {
    AgreementStage.PROPOSED: N_("waits for the provider's signature"),
    AgreementStage.SIGNED: N_("signed by both, being opened"),
    AgreementStage.OPEN: N_("open"),
    AgreementStage.NOTICE: N_("in notice"),
    AgreementStage.CLOSED: N_("closed"),
    AgreementStage.FAILED: N_("not concluded"),
    AgreementStage.EXPIRED: N_("expired before it opened"),
    AgreementStage.WITHDRAWN: N_("withdrawn"),
}
_SIDES: Mapping[AgreementSide, str] = {
    AgreementSide.PROVIDER: N_("provider"),
    AgreementSide.BUYER: N_("buyer"),
    AgreementSide.OBSERVER: N_("observer"),
}
UNITS: Mapping[int, str] = {
    MeteredUnit.CALL: N_("call"),
    MeteredUnit.ROW: N_("row"),
    MeteredUnit.BYTE: N_("byte"),
}


@dataclass(frozen=True, slots=True)
class AgreementPage:
    """An agreement; ``state``, ``side`` and ``unit`` are marked labels."""

    id: str
    side: str
    other: str
    other_code: str
    asset_id: str
    asset: str
    version: int
    newer_version: int | None
    grant_id: str
    party: bool
    """Whether this organisation is provider or buyer, and so knows the grant."""
    purpose: str
    unit: str
    price: int
    cap: int
    paid: int
    refunded: int
    max_per_call: int
    max_units: int
    lanes: int
    starts_at: int
    ends_at: int
    state: str
    reason: str
    running: bool
    calls: bool
    """Whether this organisation may call under it."""
    opened_at: int | None
    notice_at: int | None
    closed_at: int | None


@dataclass(frozen=True, slots=True)
class Balance:
    """An agreement's money as the chain has it: opened = paid + refunded + locked."""

    opened: int
    paid: int
    refunded: int
    locked: int
    acknowledged: int

    @classmethod
    def of(cls, record: AgreementRecord) -> Balance:
        """The record's amounts."""
        return cls(record.opened, record.paid, record.refunded, record.locked, record.acknowledged)


@dataclass(frozen=True, slots=True)
class OfferPage:
    """An offer as an order's form shows it."""

    hash: str
    unit: str
    price: int
    max_cap: int
    max_per_call: int
    max_days: int
    version: int
    bond: int
    stake: int


def agreement_page(context: Context, shown: AgreementView, language: str) -> AgreementPage:
    """An agreement as the pages show it."""
    terms = shown.agreement
    buyer = shown.side is AgreementSide.BUYER
    other = terms.provider if buyer else terms.buyer
    return AgreementPage(
        id="0x" + shown.agreement_id.hex(),
        side=_SIDES[shown.side],
        other=member_name(context, other),
        other_code=other,
        asset_id="0x" + terms.asset_id.hex(),
        asset=asset_name(context, terms.asset_id),
        version=terms.asset_version,
        newer_version=shown.newer_version,
        grant_id="0x" + terms.grant_id.hex(),
        party=context.member in (terms.provider, terms.buyer),
        purpose=purpose_name(terms.purpose, language),
        unit=UNITS.get(terms.unit, str(terms.unit)),
        price=terms.price,
        cap=terms.cap,
        paid=shown.paid,
        refunded=shown.refunded,
        max_per_call=terms.max_per_call,
        max_units=terms.max_units,
        lanes=terms.lanes,
        starts_at=terms.starts_at,
        ends_at=terms.ends_at,
        state=STATES[shown.state],
        reason=shown.reason_text or shown.reason or "",
        running=shown.state in (AgreementStage.OPEN, AgreementStage.NOTICE),
        calls=buyer and shown.state is AgreementStage.OPEN,
        opened_at=shown.opened_at,
        notice_at=shown.notice_at,
        closed_at=shown.closed_at,
    )


def offer_page(offer: Offer) -> OfferPage:
    """An offer as the form shows it."""
    return OfferPage(
        hash="0x" + offer.terms_hash().hex(),
        unit=UNITS.get(offer.unit, str(offer.unit)),
        price=offer.price,
        max_cap=offer.max_cap,
        max_per_call=offer.max_per_call,
        max_days=offer.max_seconds // 86_400,
        version=offer.asset_version,
        bond=offer.bond,
        stake=offer.stake,
    )
