"""The pages on disputes: every row of the table has its test, and the vector is what it says."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from chain.core.canonical import dumps, loads
from chain.core.crypto import recover
from chain.ethereum.eip712 import Domain
from chain.statements.commitment import commit_bytes
from chain.statements.disputes import ContestReason, DisputeOutcome, Ruling
from chain.statements.trade import Agreement, UsageReceipt, UsageRequest
from exchange.disputes.sealing import unseal
from exchange.metering.model import RESPONSE_DOMAIN

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "disputes.md").read_text(encoding="utf-8")
PROTOCOL = (ROOT / "docs" / "dispute-protocol.md").read_text(encoding="utf-8")
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for folder, pattern in (
        ("contracts/test", "*.t.sol"),
        ("tests/exchange", "*.py"),
        ("tests/scripts", "*.py"),
    )
    for path in sorted((ROOT / folder).glob(pattern))
)


def rows() -> list[str]:
    """The names of the tests in the table of states."""
    table = PAGE.partition("## Every state, party and silence")[2].partition("\n## ")[0]
    return re.findall(r"\| `(test_\w+)` \|$", table, flags=re.MULTILINE)


def test_every_row_of_the_table_of_states_has_its_test() -> None:
    assert len(rows()) > 25
    missing = [name for name in rows() if not re.search(rf"(function|def) {name}\(", SOURCES)]
    assert missing == []


@pytest.mark.parametrize(
    "names",
    [
        [reason.name.lower() for reason in ContestReason],
        [outcome.name.lower() for outcome in DisputeOutcome if outcome is not DisputeOutcome.OPEN],
    ],
)
def test_every_reason_and_end_is_explained(names: list[str]) -> None:
    assert [name for name in names if f"`{name}`" not in PAGE] == []


@pytest.fixture(scope="module")
def vector() -> dict[str, Any]:
    block = PROTOCOL.partition("```json\n")[2].partition("\n```")[0]
    value: dict[str, Any] = json.loads(block)
    return value


def test_another_implementation_can_check_itself_by_the_vector(vector: dict[str, Any]) -> None:
    hexed = {name: bytes.fromhex(value[2:]) for name, value in vector["bytes"].items()}
    agreement, request, receipt = (
        kind.from_json(vector[name])
        for kind, name in (
            (Agreement, "agreement"),
            (UsageRequest, "request"),
            (UsageReceipt, "receipt"),
        )
    )
    ruling = Ruling.from_json(vector["ruling"])
    assert request.agreement_id == receipt.agreement_id == agreement.struct_hash()
    assert receipt.request == request.struct_hash()
    assert receipt.struct_hash() == hexed["receiptId"] == ruling.receipt
    settlement = Domain(vector["chainId"], vector["settlement"])
    disputes = Domain(vector["chainId"], vector["disputes"])
    for statement, domain, signature, signer in (
        (request, settlement, "requestSignature", agreement.buyer_key),
        (receipt, settlement, "receiptSignature", agreement.provider_key),
        (ruling, disputes, "rulingSignature", vector["arbiterKey"]),
    ):
        assert recover(statement.digest(domain), hexed[signature]) == signer
    assert hashlib.sha256(hexed["sealedAnswer"]).digest() == hexed["sealedHash"]
    answer = unseal(hexed["sealedAnswer"], hexed["contestSecret"], receipt_id=hexed["receiptId"])
    content = loads(answer)
    salt = bytes.fromhex(content["salt"][2:])
    committed = commit_bytes(salt, RESPONSE_DOMAIN, dumps(content["content"]))
    assert committed == receipt.response_commitment
