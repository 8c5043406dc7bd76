"""Requests and answers of the endpoints for offers and agreements."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from chain.core.errors import BadInput
from chain.ethereum.deployment import CloseWindow
from chain.statements.trade import GATEWAY_UNITS, MeteredUnit, Share
from exchange.agreements import service
from exchange.agreements.model import (
    AgreementView,
    Offer,
    OpeningStatus,
    ProposalRequest,
    SignedTerms,
)
from exchange.closing.schemas import FinalTotals
from registry.access import NonNegativeInt, hex_bytes
from registry.pages import ListAnswer, Page
from registry.schemas import Statement


class ShareBody(BaseModel):
    """One part of the revenue split."""

    model_config = ConfigDict(extra="forbid")
    member: str
    basisPoints: Annotated[int, Field(ge=0, le=10_000)]

    def share(self) -> Share:
        """As it is signed."""
        return Share(self.member, self.basisPoints)


class OfferBody(BaseModel):
    """A provider's terms for one asset version; money in fen."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "assetId": "0x" + "11" * 32,
                "assetVersion": 1,
                "unit": "call",
                "price": 50,
                "maxCap": 5_000_000,
                "maxPerCall": 50,
                "shares": [
                    {"member": "11440700MB2C62170M", "basisPoints": 9000},
                    {"member": "11440700MB2D09125N", "basisPoints": 1000},
                ],
            }
        },
    )
    assetId: str
    assetVersion: NonNegativeInt
    unit: str = "call"
    price: NonNegativeInt
    maxCap: NonNegativeInt = 0
    maxUnits: NonNegativeInt = 0
    maxPerCall: NonNegativeInt = 0
    maxLanes: Annotated[int, Field(ge=1, le=256)] = 16
    maxSeconds: Annotated[NonNegativeInt, Field(ge=1)] = 366 * service.DAY
    closeWindowBlocks: NonNegativeInt | None = None
    closeWindowSeconds: NonNegativeInt | None = None
    """Time for claims after notice; left out, seven days at one block a second."""
    shares: list[ShareBody]
    buyers: list[str] = []
    bond: NonNegativeInt = 0
    bondFromEarnings: bool = False
    stake: NonNegativeInt = 0

    def offer(self, default: CloseWindow) -> Offer:
        """The offer, with this closing window where the request states none."""
        blocks, seconds = self.closeWindowBlocks, self.closeWindowSeconds
        return Offer(
            asset_id=hex_bytes(self.assetId),
            asset_version=self.assetVersion,
            unit=_unit(self.unit),
            price=self.price,
            max_cap=self.maxCap,
            max_units=self.maxUnits,
            max_per_call=self.maxPerCall,
            max_lanes=self.maxLanes,
            max_seconds=self.maxSeconds,
            close_window_blocks=default.blocks if blocks is None else blocks,
            close_window_seconds=default.seconds if seconds is None else seconds,
            shares=tuple(share.share() for share in self.shares),
            buyers=tuple(self.buyers),
            bond=self.bond,
            bond_from_earnings=self.bondFromEarnings,
            stake=self.stake,
        )


class OrderBody(BaseModel):
    """A buyer's order on the offer that its person saw.

    ``offerHash`` names it, as ``GET /v1/offers?provider=…`` shows it; an order without it states
    unit, price, shares, maxPerCall, closeWindowBlocks and closeWindowSeconds. What else is left out
    is taken from the offer.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "grantId": "0x" + "22" * 32,
                "offerHash": "0x" + "66" * 32,
                "cap": 100_000,
                "lanes": 1,
            }
        },
    )
    offerHash: str | None = None
    grantId: str
    cap: NonNegativeInt
    maxUnits: NonNegativeInt = 0
    lanes: NonNegativeInt = 1
    maxPerCall: NonNegativeInt | None = None
    seconds: Annotated[NonNegativeInt, Field(ge=1)] | None = None
    startsAt: NonNegativeInt | None = None
    endsAt: NonNegativeInt | None = None
    closeWindowBlocks: NonNegativeInt | None = None
    closeWindowSeconds: NonNegativeInt | None = None
    arbiter: str = ""
    unit: str | None = None
    price: NonNegativeInt | None = None
    shares: list[ShareBody] | None = None

    def order(self) -> ProposalRequest:
        """The order; ``field_malformed``, ``metered_unit_unknown``."""
        return ProposalRequest(
            grant_id=hex_bytes(self.grantId),
            cap=self.cap,
            max_units=self.maxUnits,
            lanes=self.lanes,
            max_per_call=self.maxPerCall,
            seconds=self.seconds,
            starts_at=self.startsAt,
            ends_at=self.endsAt,
            close_window_blocks=self.closeWindowBlocks,
            close_window_seconds=self.closeWindowSeconds,
            arbiter=self.arbiter,
            unit=None if self.unit is None else _unit(self.unit),
            price=self.price,
            shares=None if self.shares is None else [share.share() for share in self.shares],
            offer_hash=None if self.offerHash is None else hex_bytes(self.offerHash),
        )


def _unit(name: str) -> MeteredUnit:
    if name.upper() not in {unit.name for unit in GATEWAY_UNITS}:
        raise BadInput("metered_unit_unknown", "A unit is call, row or byte.")
    return MeteredUnit[name.upper()]


class ShareAnswer(BaseModel):
    """One part of a revenue split."""

    member: str
    basisPoints: int


class OfferTerms(BaseModel):
    """A provider's terms for one asset version; money in fen, windows and terms in seconds."""

    assetId: str
    assetVersion: int
    unit: str
    price: int
    maxCap: int
    maxUnits: int
    maxPerCall: int
    maxLanes: int
    maxSeconds: int
    closeWindowBlocks: int
    closeWindowSeconds: int
    shares: list[ShareAnswer]
    buyers: list[str]
    bond: int
    bondFromEarnings: bool
    stake: int


class OfferRow(OfferTerms):
    """An offer with the hash that an order names."""

    offerHash: str

    @classmethod
    def of(cls, offer: Offer) -> Self:
        """As the API shows it."""
        return cls(**offer.to_json(), offerHash="0x" + offer.terms_hash().hex())


class OfferList(ListAnswer):
    """A page of offers."""

    offers: list[OfferRow]

    @classmethod
    def of(cls, page: Page[Offer]) -> Self:
        """As the API shows it."""
        return cls(offers=[OfferRow.of(offer) for offer in page.rows], next=page.next)


class AgreementState(BaseModel):
    """An agreement; fen as text, ``…At`` are heights, ``stateSince`` Unix seconds."""

    agreementId: str
    side: str
    state: str
    reason: str | None
    reasonText: str | None
    stateSince: int | None
    provider: str
    buyer: str
    unit: str
    agreement: dict[str, Any] = Field(description="`Agreement`; see docs/statements.md")
    openedAt: int | None
    noticeAt: int | None
    closedAt: int | None
    paid: str
    refunded: str
    openOperation: str
    newerVersion: int | None
    hint: str


class AgreementRow(AgreementState):
    """An agreement of a list."""

    held: str | None = Field(description="Why nothing is signed under it since an old backup")
    finalSettlement: FinalTotals | None

    @classmethod
    def of(cls, shown: AgreementView, held: str | None, final: FinalTotals | None) -> Self:
        """As the API shows it, with why it is held and its final totals, if any."""
        return cls(**_fields(shown), held=held, finalSettlement=final)


class AgreementList(ListAnswer):
    """A page of agreements."""

    agreements: list[AgreementRow]


class OfferWithKey(BaseModel):
    """An offer, and the address of the key that will sign an agreement on it."""

    offer: OfferTerms
    providerKey: str


class Opening(BaseModel):
    """Status of the contract call that opens an agreement."""

    state: str
    code: str | None
    height: int | None

    @classmethod
    def of(cls, status: OpeningStatus) -> Self:
        """As the API shows it."""
        return cls(state=status.state, code=status.code, height=status.height)


class AgreementAnswer(AgreementState):
    """An agreement, and its opening once that is queued."""

    opening: Opening | None = Field(default=None, description="Left out until it is queued")

    @classmethod
    def of(cls, shown: AgreementView) -> Self:
        """As the API shows it."""
        return cls(**_fields(shown))


class AgreementDetail(AgreementAnswer):
    """One agreement with all that this node knows of it."""

    held: str | None = Field(description="Why nothing is signed under it since an old backup")
    finalSettlement: FinalTotals | None

    @classmethod
    def of_one(cls, shown: AgreementView, held: str | None, final: FinalTotals | None) -> Self:
        """As the API shows it, with why it is held and its final totals, if any."""
        return cls(**_fields(shown), held=held, finalSettlement=final)


def _fields(shown: AgreementView) -> dict[str, Any]:
    """The fields of every form of an agreement; without ``opening`` until it is queued."""
    agreement = shown.agreement
    fields = {
        "agreementId": "0x" + shown.agreement_id.hex(),
        "side": shown.side,
        "state": shown.state,
        "reason": shown.reason,
        "reasonText": shown.reason_text,
        "stateSince": shown.state_since,
        "provider": agreement.provider,
        "buyer": agreement.buyer,
        "unit": MeteredUnit(agreement.unit).name.lower(),
        "agreement": agreement.to_json(),
        "openedAt": shown.opened_at,
        "noticeAt": shown.notice_at,
        "closedAt": shown.closed_at,
        "paid": str(shown.paid),
        "refunded": str(shown.refunded),
        "openOperation": shown.open_operation,
        "newerVersion": shown.newer_version,
        "hint": shown.hint,
    }
    if shown.opening is None:
        return fields
    return {**fields, "opening": Opening.of(shown.opening)}


class ProposalRefusal(BaseModel):
    """Why a provider does not sign."""

    code: str
    detail: str


class CountersignAnswer(BaseModel):
    """Either a signature or a refusal."""

    agreementId: str
    signature: str = ""
    refusal: ProposalRefusal | None = Field(default=None, description="Final for this proposal")


class ReportedEnd(BaseModel):
    """The state in which this node has the agreement now."""

    state: str


class SignedAgreementAnswer(BaseModel):
    """An agreement with both signatures."""

    agreement: Statement = Field(description="`Agreement`; see docs/statements.md")
    terms: Statement = Field(description="`GrantTerms`; see docs/statements.md")
    providerSignature: str
    buyerSignature: str

    @classmethod
    def of(cls, signed: SignedTerms) -> Self:
        """As the API shows it."""
        return cls(
            agreement=signed.agreement.to_json(),
            terms=signed.terms.to_json(),
            providerSignature="0x" + signed.provider_signature.hex(),
            buyerSignature="0x" + signed.buyer_signature.hex(),
        )
