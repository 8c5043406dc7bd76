"""The demo's state: ids for later steps, and the evidence for the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scripts.demo_steps.trader import Trader


@dataclass
class Product:
    """A published asset: its holder's key and its name."""

    holder: str
    asset_id: str
    name: str
    title: str
    columns: tuple[str, ...]


@dataclass
class DemoAgreement:
    """An open agreement of the demo."""

    key: str
    """The provider's key in the cast."""
    agreement_id: str
    grant_id: str
    buyer: str
    columns: tuple[str, ...]
    purpose: str
    capped: bool = False
    """Opened only to see its cap hold."""
    served: int = 0
    refused: int = 0


@dataclass
class DisputedCase:
    """An agreement that one party did not keep to, and how it ended; money in fen."""

    name: str
    """Who did what."""
    deal: DemoAgreement
    ended: str
    """What the chain did about it; empty until it has."""
    owed: int
    """What the buyer owes in all."""
    forfeited: int
    """What the provider owes the buyer out of its bond."""
    seq: int = 0
    """The position of the call that shows it; 0 if no single one does."""
    paid: int = -1
    taken: int = -1
    refunded: int = -1
    """By the chain, once the agreement is closed."""

    @property
    def settled(self) -> bool:
        """Whether everybody got what was due, to the fen."""
        return bool(self.ended) and (self.paid, self.taken) == (self.owed, self.forfeited)


@dataclass
class DemoState:
    """The state that each step adds to."""

    products: dict[str, Product] = field(default_factory=dict)
    free_products: dict[str, Product] = field(default_factory=dict)
    grants: dict[str, str] = field(default_factory=dict)
    agreements: dict[str, DemoAgreement] = field(default_factory=dict)
    reporting: dict[str, DemoAgreement] = field(default_factory=dict)
    """Agreements opened for reports; they stay open through the kills and the revocation."""
    free_agreements: dict[str, DemoAgreement] = field(default_factory=dict)
    traders: list[Trader] = field(default_factory=list)
    acknowledged: list[dict[str, Any]] = field(default_factory=list)
    """Receipts acknowledged to clients outside the nodes, with where they must be found again."""
    refusals: dict[str, str] = field(default_factory=dict)
    """Kind of refusal tried, and the code it was refused with."""
    calls_per_second: float = 0.0
    refused_units: int = 0
    masked: int = 0
    free_calls: int = 0
    wrong_purpose_refused: bool = False
    reports: list[dict[str, Any]] = field(default_factory=list)
    repaired: int = 0
    disputed: Any = None
    registered: list[str] = field(default_factory=list)
    taxes_fen: int = 0
    property_refusals: dict[str, str] = field(default_factory=dict)
    killed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    revocation_seconds: float | None = None
    cases: list[DisputedCase] = field(default_factory=list)
    balances: list[dict[str, Any]] = field(default_factory=list)
    """What each party of the disputed cases should have gained or lost, and did."""
    counters_agree: bool = False
    money: dict[str, int] = field(default_factory=dict)
    settled: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Opened, paid and refunded fen of each settled agreement, from the chain."""
    bundles: list[dict[str, Any]] = field(default_factory=list)
