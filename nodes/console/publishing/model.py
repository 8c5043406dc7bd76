"""Drafts: what a person has entered of an asset that is to be published. Money in fen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from chain.core.canonical import dumps
from chain.core.errors import Conflict
from registry.assets.model import Description, Publication


class DraftState(StrEnum):
    """State of a draft."""

    OPEN = "open"
    """It is being filled in."""
    REGISTERING = "registering"
    """Its rows are being read and committed to."""
    REGISTERED = "registered"
    """Its registration is queued; ``operation`` follows it."""
    FAILED = "failed"
    """It was refused before it reached the chain; it may be changed and sent again."""


@dataclass(frozen=True, slots=True)
class SaleTerms:
    """The offer that is made with the asset; one share, the department's own."""

    unit: str
    price: int
    """Fen a unit; 0 shares free of charge under a count."""
    max_cap: int
    max_units: int
    max_per_call: int
    max_days: int
    buyers: tuple[str, ...] = ()
    """Empty offers it to every member with a grant."""

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "unit": self.unit,
            "price": self.price,
            "maxCap": self.max_cap,
            "maxUnits": self.max_units,
            "maxPerCall": self.max_per_call,
            "maxDays": self.max_days,
            "buyers": list(self.buyers),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` writes."""
        return cls(
            value["unit"],
            value["price"],
            value["maxCap"],
            value["maxUnits"],
            value["maxPerCall"],
            value["maxDays"],
            tuple(value["buyers"]),
        )


@dataclass(frozen=True, slots=True)
class DraftContent:
    """What was entered so far; empty where nothing was."""

    types: Mapping[str, str] = field(default_factory=dict)
    masking: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    description: Description | None = None
    data_item: str = ""
    purposes: Mapping[str, bool] = field(default_factory=dict)
    terms: SaleTerms | None = None
    """None where the asset is registered without an offer."""

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        about = self.description
        return {
            "types": dict(self.types),
            "masking": dict(self.masking),
            "name": self.name,
            "description": None
            if about is None
            else {
                "titleZh": about.title_zh,
                "titleEn": about.title_en,
                "description": about.description,
                "grade": about.grade,
                "category": about.category,
            },
            "dataItem": self.data_item,
            "purposes": dict(self.purposes),
            "terms": None if self.terms is None else self.terms.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` writes."""
        about, terms = value["description"], value["terms"]
        return cls(
            types=value["types"],
            masking=value["masking"],
            name=value["name"],
            description=None
            if about is None
            else Description(
                about["titleZh"],
                about["titleEn"],
                about["description"],
                about["grade"],
                about["category"],
            ),
            data_item=value["dataItem"],
            purposes=value["purposes"],
            terms=None if terms is None else SaleTerms.from_json(terms),
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as it is stored; times in Unix seconds."""

    id: str
    source: str
    content: DraftContent
    state: DraftState
    changed_at: int
    asset_id: bytes | None = None
    operation: str = ""
    failure: str = ""
    """Code of what refused the registration."""

    @property
    def has_columns(self) -> bool:
        """Whether masking was chosen."""
        return bool(self.content.masking)

    @property
    def complete(self) -> bool:
        """Whether everything was entered."""
        return self.has_columns and bool(self.content.name) and self.content.description is not None

    def publication(self) -> Publication:
        """What is published; ``draft_incomplete``."""
        content = self.content
        if not self.complete or content.description is None:
            raise Conflict(
                "draft_incomplete",
                "Columns or description are not filled in yet.",
                hint="Complete the steps before.",
            )
        return Publication(
            name=content.name,
            source=self.source,
            description=content.description,
            masking=content.masking,
            data_item=content.data_item,
            purposes=content.purposes,
            types=content.types,
        )

    def fingerprint(self, file_digest: str) -> str:
        """Names exactly what is to be registered: a second person confirms this and nothing
        else.
        """
        data = dumps([self.id, self.source, file_digest, self.content.to_json()])
        return f"{self.id}-{hashlib.sha256(data).hexdigest()[:32]}"
