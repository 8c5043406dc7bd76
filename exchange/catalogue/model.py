"""The catalogue's search and an asset's course. Money in fen, times in Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chain.statements.grants import GrantTerms
from exchange.agreements.model import AgreementStage
from registry.grants.model import GrantState

UNKNOWN_PRICE = -1
"""The price of an asset whose offer this node has not seen."""


class AssetState(StrEnum):
    """Whether an asset can be used."""

    USABLE = "usable"
    HELD = "held"
    CANCELLED = "cancelled"


class PriceBand(StrEnum):
    """Prices of a unit as people choose by them."""

    FREE = "free"
    BELOW_YUAN = "below-1"
    BELOW_TEN = "1-10"
    TEN_AND_MORE = "10-"
    UNKNOWN = "unknown"
    """No offer to this organisation is known."""


@dataclass(frozen=True, slots=True)
class CatalogueFilter:
    """A search; empty fields match everything."""

    text: str = ""
    """Words, or their beginnings, of names, titles, description, category and columns."""
    holder: str = ""
    category: str = ""
    grade: int = 0
    state: str = ""
    price: str = ""
    """A value of ``PriceBand``."""
    unit: str = ""
    column: str = ""
    min_days: int = 0
    """Days that an agreement can last, at least."""


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """An asset as a search finds it."""

    asset_id: bytes
    holder: str
    name: str
    title_zh: str
    title_en: str
    version: int
    category: str
    grade: int
    rows: int
    state: AssetState
    unit: str
    """Empty where no offer is known."""
    price: int
    """``UNKNOWN_PRICE`` where no offer is known."""
    max_days: int
    columns: Sequence[str]
    registered_at: int
    """Height."""


@dataclass(frozen=True, slots=True)
class Facet:
    """A value of a facet with the number of assets that have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class CatalogueDetails:
    """What a holder's node says of an asset besides its record on the chain."""

    title_zh: str
    title_en: str
    description: str
    columns: Sequence[str]


@dataclass(frozen=True, slots=True)
class OfferSummary:
    """The offer of an asset's latest version to this organisation."""

    unit: str
    price: int
    max_seconds: int


@dataclass(frozen=True, slots=True)
class Facets:
    """The facets of a search, each with its most frequent values first."""

    total: int
    values: Mapping[str, Sequence[Facet]]
    """By name: ``holder``, ``category``, ``grade``, ``state``, ``price``, ``unit``."""


# --- Course ---------------------------------------------------------------------------------------


class Step(StrEnum):
    """A step from an asset to its first call."""

    REQUEST = "request"
    DECISION = "decision"
    OFFER = "offer"
    AGREEMENT = "agreement"
    CALL = "call"


class Turn(StrEnum):
    """Who has to act."""

    OWN = "own"
    PROVIDER = "provider"
    CHAIN = "chain"
    NOBODY = "nobody"
    """The course is complete."""


@dataclass(frozen=True, slots=True)
class OwnGrant:
    """The latest grant of this organisation on an asset."""

    grant_id: bytes
    terms: GrantTerms
    state: GrantState
    reason: str


@dataclass(frozen=True, slots=True)
class OwnAgreement:
    """The latest agreement of this organisation on an asset."""

    agreement_id: bytes
    state: AgreementStage
    ends_at: int
    calls: bool
    """Whether a call was made under it."""


@dataclass(frozen=True, slots=True)
class Course:
    """This organisation's access to an asset."""

    done: frozenset[Step]
    current: Step | None
    """None once the first call was made."""
    turn: Turn
    grant: OwnGrant | None
    agreement: OwnAgreement | None
    ended: str
    """Why an earlier attempt ended, as a code: ``refused``, ``revoked``, ``expired``, ``failed``;
    the course begins again from the current step.
    """
