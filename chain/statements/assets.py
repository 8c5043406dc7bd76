"""Versions of data assets (``AssetRegistry``)."""

from __future__ import annotations

from dataclasses import dataclass

from chain.ethereum.eip712 import Bytes32, Code, MemberId, Struct, Uint8, Uint16, Uint32, Uint64


@dataclass(frozen=True)
class AssetRecord(Struct):
    """One version of a data asset with the holders of its three rights.

    These are the resource-holding right (数据资源持有权), the processing-and-use right
    (数据加工使用权) and the product-operating right (数据产品经营权).
    """

    version: Uint16
    holder: MemberId
    processor: MemberId
    operator: MemberId
    data_item: Code
    """The data item whose authoritative source this asset is (一数一源).

    Empty for a derived asset.
    """
    name: Code
    """The asset's name within its holder; with the holder it makes the asset id."""
    asset_version: Uint32
    grade: Uint8
    """1 to 5 for L1 to L5 (GB/T 43697)."""
    category: Code
    schema_hash: Bytes32
    records_root: Bytes32
    """RFC 9162 root over the per-record salted commitments."""
    row_count: Uint64
    metadata_hash: Bytes32
    parents: tuple[Bytes32, ...]
    """Asset ids this one was made from (lineage)."""
