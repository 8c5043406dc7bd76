"""Assets: as their owner publishes them, and as the catalogue lists those of all members. Heights
are in blocks, times in Unix seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chain.core.canonical import dumps
from chain.core.errors import NotFound
from chain.statements.assets import AssetRecord
from registry.purposes import ListedPurposes, listed_in
from registry.sources import Record, SourceSchema


@dataclass(frozen=True, slots=True)
class Description:
    """The published text of an asset."""

    title_zh: str
    title_en: str
    description: str
    grade: int
    """1 to 5 (L1 to L5)."""
    category: str = "other"


@dataclass(frozen=True, slots=True)
class AssetMetadata:
    """What an owner says of a version. The version's record on the chain has the document's hash,
    so the document is stored and passed on as it is.
    """

    document: Mapping[str, Any]

    @property
    def hash(self) -> bytes:
        """SHA-256 of the canonical document.

        Raises:
            TypeError, ValueError: for a document that has no canonical form.
        """
        return hashlib.sha256(dumps(self.document)).digest()

    @property
    def description(self) -> Description:
        """The published text of the asset."""
        document = self.document
        return Description(
            title_zh=document["titleZh"],
            title_en=document["titleEn"],
            description=document["description"],
            grade=document["grade"],
            category=document["category"],
        )

    @property
    def title_zh(self) -> str:
        """The Chinese title."""
        return str(self.document["titleZh"])

    @property
    def title_en(self) -> str:
        """The English title."""
        return str(self.document["titleEn"])

    @property
    def schema(self) -> SourceSchema:
        """The columns that were published."""
        return SourceSchema.from_json(self.document["schema"])

    @property
    def purposes(self) -> ListedPurposes:
        """The purposes that the version may be used for; ``metadata_malformed``."""
        return listed_in(self.document)

    @property
    def lists_purposes(self) -> bool:
        """Whether the document lists purposes; earlier versions did not."""
        return "purposes" in self.document


# --- Publications ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publication:
    """A clerk's request to publish."""

    name: str
    source: str
    description: Description
    masking: Mapping[str, str]
    data_item: str = ""
    parents: tuple[bytes, ...] = ()
    purposes: Mapping[str, bool] = field(default_factory=dict)
    """The purposes the asset may be used for, each with whether the subject's consent is needed."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Column types the owner states instead of the ones guessed from the cells."""


@dataclass(frozen=True, slots=True)
class VersionChanges:
    """What is to differ from the latest version besides its rows; what is left out stays."""

    masking: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    purposes: Mapping[str, bool] | None = None


class PublicationState(StrEnum):
    """State of a version at its owner's node."""

    PUBLISHING = "publishing"
    """Its rows are being read."""
    PUBLISHED = "published"
    """Its rows are committed to, and its registration is queued."""


@dataclass(frozen=True, slots=True)
class OwnVersion:
    """A version of an asset that this node publishes."""

    asset_id: bytes
    asset_version: int
    source: str
    masking: Mapping[str, str]
    """Rule by column."""
    metadata: AssetMetadata
    record: AssetRecord | None = None
    """What is registered on the chain; None while rows are read."""
    operation: str = ""
    """The contract call that registers it."""

    @property
    def state(self) -> PublicationState:
        """Whether it is published yet."""
        return PublicationState.PUBLISHING if self.record is None else PublicationState.PUBLISHED

    def require_record(self) -> AssetRecord:
        """The registered record; ``asset_not_published`` while rows are read."""
        if self.record is None:
            raise not_published()
        return self.record


@dataclass(frozen=True, slots=True)
class PublicationProgress:
    """A version with the rows committed so far."""

    version: OwnVersion
    rows: int


@dataclass(frozen=True, slots=True)
class CommittedRecord:
    """One record of a version: its commitment, and the salt that opens it."""

    position: int
    """From 0, in the order of the source."""
    subject: str
    salt: bytes
    commitment: bytes
    override: Record | None
    """A repaired record that replaces the source's."""


def not_published() -> NotFound:
    """The refusal of a version that this node does not publish."""
    return NotFound("asset_not_published", "This node does not publish that version of the asset.")


# --- Catalogue ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """An asset of any member as the chain's events report it."""

    asset_id: bytes
    record: AssetRecord
    """Of the latest version."""
    registered_at: int
    cancelled_at: int | None
    held: bool
    """Whether a supervisor has put it on dispute hold."""


@dataclass(frozen=True, slots=True)
class ShownVersion:
    """An asset version as its holder's node shows it; ``rules.require_registered`` checks it."""

    asset_id: bytes
    version: int
    record: AssetRecord
    metadata: AssetMetadata


@dataclass(frozen=True, slots=True)
class DescribedAsset:
    """An asset with the metadata that its holder publishes, checked against the chain."""

    entry: CatalogueEntry
    metadata: AssetMetadata


# --- Incidents ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Incident:
    """A way in which a source departs from a published version, and the calls refused for it."""

    asset_id: bytes
    asset_version: int
    kind: str
    """A value of ``rules.DriftKind``."""
    columns: tuple[str, ...]
    """The columns that differ; empty where they are not known."""
    position: int | None
    """The record's position in the published version, from 0."""
    calls: int
    first_at: int
    last_at: int
