"""Rules of assets, without I/O: ids, descriptions, what a record must be to be published, and
whether a record is the published one.

A record is delivered only if it opens the commitment it was published under. What departs from it
is **drift**: it is refused and not billed, the owner sees in which way it departs, the buyer only
that it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from chain.core.crypto import keccak256
from chain.core.errors import BadInput, Conflict, NotFound, Unavailable
from chain.ethereum.eip712 import encode_code, encode_member
from chain.ethereum.proved_records import ProvedRecords
from chain.statements.assets import AssetRecord
from chain.statements.commitment import opens
from registry.assets.model import Description, ShownVersion
from registry.sources import TYPES, Record, SourceSchema, mismatched_columns, normalised
from registry.text import is_plain

RECORD_DOMAIN = "qiaolian.record.v1"
"""Label of per-record commitments."""


def asset_id_of(holder: str, name: str) -> bytes:
    """The asset's id: keccak256(abi.encode(holder, name)), as AssetRegistry computes it."""
    return keccak256(encode_member(holder).ljust(32, b"\0") + encode_code(name))


def require_description(description: Description) -> None:
    """Check what a clerk says of an asset: ``asset_description``, ``wrong_grade``."""
    # A description may have several lines; each is plain text.
    texts = {
        "titleZh": description.title_zh,
        "titleEn": description.title_en,
        "description": description.description.replace("\n", " "),
    }
    for name, text in texts.items():
        if not is_plain(text, limit=400):
            raise BadInput(
                "asset_description",
                f"The asset's {name} is missing, longer than 400 "
                "characters, or holds characters nobody can see.",
            )
    if not 1 <= description.grade <= 5:
        raise BadInput("wrong_grade", "An asset's grade is 1 to 5 (L1 to L5).")


# --- What the chain has ---------------------------------------------------------------------------


def unknown_asset() -> NotFound:
    """The refusal of an asset that the chain does not have."""
    return NotFound("asset_unknown", "No such asset is registered.", hint="See GET /v1/assets.")


def require_registered(shown: ShownVersion, records: ProvedRecords) -> None:
    """A version that its holder shows is the one on the chain.

    Args:
        records: its ``version_record``, proved.

    Raises:
        NotFound: ``asset_unknown``; Conflict: ``metadata_differs``.
    """
    registered = records.version_hash(shown.asset_id, shown.version)
    if not any(registered):
        raise NotFound(
            "asset_unknown",
            "No such version of the asset is registered.",
            hint="See GET /v1/assets.",
        )
    metadata_matches = shown.metadata.hash == shown.record.metadata_hash
    if not metadata_matches or registered != shown.record.struct_hash():
        raise Conflict(
            "metadata_differs", "The holder's metadata is not what it registered on the chain."
        )


@dataclass(frozen=True, slots=True)
class HoldChange:
    """A supervisor's change of a dispute hold."""

    function: str
    """``AssetRegistry``'s."""
    operation: str
    """Named by the block of the last change: named by an older one, it would be taken for a
    repetition and never sent.
    """
    effective: bool
    """Whether the hold is not yet as asked for."""


def hold_change(asset_id: bytes, records: ProvedRecords, *, placed: bool) -> HoldChange:
    """How an asset's hold is placed or lifted, by its proved asset and hold records:
    ``asset_unknown``.
    """
    if not records.asset(asset_id).registered_at:
        raise unknown_asset()
    hold, function = records.hold(asset_id), "hold" if placed else "release"
    changed_at = max(hold.placed_at, hold.lifted_at)
    return HoldChange(
        function, f"asset-{function}/{asset_id.hex()}/{changed_at}", hold.held != placed
    )


def require_latest(asset_id: bytes, record: AssetRecord, records: ProvedRecords) -> None:
    """A record is the one that the chain has of the asset's latest version, by the proved asset and
    version records: ``projection_behind``.
    """
    version = record.asset_version
    if (
        records.asset(asset_id).latest_version != version
        or records.version_hash(asset_id, version) != record.struct_hash()
    ):
        raise Unavailable(
            "projection_behind",
            "The catalogue of this node lacks the asset's latest version.",
            hint="Ask again in a moment; GET /readyz says how far this node has read the chain.",
        )


# --- Publishing -----------------------------------------------------------------------------------


def schema_to_publish(schema: SourceSchema, types: Mapping[str, str]) -> SourceSchema:
    """The schema a version is published with: the source's, with the column types the owner states
    instead of the guessed ones.

    Raises:
        BadInput: ``column_unknown``, ``column_type_unknown``, ``key_not_text``;
            ``source_mixed_types`` with column and line where most cells of a text column are
            numbers and the owner does not state its type.
    """
    for name, type_ in types.items():
        if name not in schema.names:
            raise BadInput(
                "column_unknown",
                f"A type is stated for {name}, which is no column of the source.",
                column=name,
            )
        if type_ not in TYPES:
            raise BadInput(
                "column_type_unknown",
                f"The type stated for {name} is none of {', '.join(TYPES)}.",
                column=name,
            )
        if name == schema.key and type_ != "text":
            raise BadInput("key_not_text", f"The key column {name} is text.", column=name)
    for column in schema.columns:
        if column.odd_line is not None and column.name not in types:
            raise BadInput(
                "source_mixed_types",
                f"Most cells of the column {column.name} are numbers; the one on line "
                f"{column.odd_line} is not.",
                hint="Correct that line, or publish the column as "
                f"text: --type {column.name}=text.",
                column=column.name,
                line=column.odd_line,
            )
    columns = tuple(
        replace(column, type=types.get(column.name, column.type), odd_line=None)
        for column in schema.columns
    )
    return SourceSchema(schema.key, columns)


def content_to_publish(row: Record, schema: SourceSchema) -> Record:
    """A record in the form that is committed to.

    Raises:
        ValueError: with the column's name and why it cannot be published.
    """
    content = {}
    for column in schema.columns:
        if column.name not in row:
            raise ValueError(column.name, "is missing")
        try:
            content[column.name] = normalised(row[column.name], column.type)
        except ValueError:
            raise ValueError(column.name, f"is not {column.type}") from None
    if len(row) != len(content):
        raise ValueError(
            next(name for name in row if name not in content), "is no column of the source"
        )
    if not isinstance(content[schema.key], str) or not content[schema.key]:
        raise ValueError(schema.key, "is empty, and it is the key")
    return content


# --- Drift ----------------------------------------------------------------------------------------


class DriftKind(StrEnum):
    """In which way a source departs from what was published."""

    RECORD_DIFFERS = "record_differs"
    """A value differs. One commitment covers the whole record, so it cannot say which column's."""
    RECORD_MISSING = "record_missing"
    RECORD_UNPUBLISHED = "record_unpublished"
    COLUMNS_DIFFER = "columns_differ"
    TYPE_DIFFERS = "type_differs"
    MASKING_FAILED = "masking_failed"
    SOURCE_BROKEN = "source_broken"
    """The source cannot be read as it is now."""


@dataclass(frozen=True)
class PublishedRecord:
    """A record as it was published: its position in the version, and its commitment with the salt
    that opens it.
    """

    position: int
    salt: bytes
    commitment: bytes


@dataclass(frozen=True)
class RecordDrift:
    """How a record departs. Holds no value and no identifier: ``position`` is the record's position
    in the published version.
    """

    kind: DriftKind
    columns: tuple[str, ...] = ()
    position: int | None = None


class SourceDrift(Conflict):
    """``source_drift``: the source no longer holds what was published. The caller learns this
    class, the owner ``drift``.
    """

    def __init__(self, drift: RecordDrift) -> None:
        super().__init__(
            "source_drift",
            "The owner's source no longer holds this record as it was published.",
            hint="Nothing is billed. The owner publishes the changed source as a new version.",
        )
        self.drift = drift


def published_content(record: Record, schema: SourceSchema, published: PublishedRecord) -> Record:
    """The record's content, once it opens the commitment it was published under.

    Raises:
        SourceDrift: it does not, with the columns that are missing, new or of another type.
    """
    if _opens(published, record):
        return record
    differing = tuple(sorted(set(schema.names) ^ set(record)))
    if differing:
        raise SourceDrift(RecordDrift(DriftKind.COLUMNS_DIFFER, differing, published.position))
    unfit = mismatched_columns(record, schema)
    if unfit:
        raise SourceDrift(RecordDrift(DriftKind.TYPE_DIFFERS, unfit, published.position))
    content = {
        column.name: normalised(record[column.name], column.type) for column in schema.columns
    }
    if _opens(published, content):
        return content
    raise SourceDrift(RecordDrift(DriftKind.RECORD_DIFFERS, (), published.position))


def _opens(published: PublishedRecord, record: Record) -> bool:
    """Whether the record opens the commitment; one without a canonical form opens none."""
    try:
        return opens(published.commitment, salt=published.salt, domain=RECORD_DOMAIN, record=record)
    except (TypeError, ValueError, RecursionError):
        return False
