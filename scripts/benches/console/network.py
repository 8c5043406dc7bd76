"""The large network that the bench's rows tell of: members, assets, grants, agreements and their
calls. Everything follows from a number, so that every node's rows fit those of the others.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from chain.core.zone import DAY_SECONDS
from chain.ethereum.deployment import Deployment
from chain.statements.assets import AssetRecord
from chain.statements.examples import example
from chain.statements.grants import GrantTerms, Operation
from chain.statements.trade import Agreement, MeteredUnit, Share
from scripts.demo_steps.records import organisation_code, trader_code

COLUMNS = ("Records", "Expenses", "Seniority", "Assets")
PURPOSE = "credit-assessment"
PRICE = 60
"""Fen a call."""
LANES = 2
YEAR = 365
HOT_PARTS = 10
"""One part in so many of all calls belongs to the first agreement."""
_CATEGORIES = ("credit", "tax", "social-security", "housing", "utilities", "market", "health")
_SUBJECTS = ("纳税信用", "参保缴费", "公积金缴存", "不动产登记", "用水用电", "行政处罚", "经营许可")


@dataclass(frozen=True)
class Scale:
    """How much there is."""

    assets: int = 100_000
    calls: int = 1_000_000
    """Of each department and each bank that the bench runs."""
    members: int = 1_000
    agreements: int = 4_000
    own_assets: int = 2_000
    acts: int = 300_000
    """Acts of persons at each node."""
    others: int = 20_000
    """Rows of a list that is not named here, such as consents and findings."""


@dataclass(frozen=True, slots=True)
class MadeAgreement:
    """An agreement with its parties and the calls under it."""

    number: int
    agreement_id: bytes
    agreement: Agreement
    terms: GrantTerms
    state: str


@dataclass
class MadeNetwork:
    """The network around one department and one bank that the bench runs."""

    scale: Scale
    deployment: Deployment
    department: str
    bank: str
    now: int = field(default_factory=lambda: int(time.time()))

    @functools.cached_property
    def banks(self) -> list[str]:
        """Codes of the made-up banks: three members in ten."""
        return [organisation_code("91", 1_000 + n) for n in range(self.scale.members * 3 // 10)]

    @functools.cached_property
    def departments(self) -> list[str]:
        """Codes of the made-up departments."""
        count = self.scale.members - len(self.banks)
        return [organisation_code("11", 1_000 + n) for n in range(count)]

    def holder(self, number: int) -> str:
        """Who holds an asset; the first ones are the department's."""
        if number < self.scale.own_assets:
            return self.department
        return self.departments[number % len(self.departments)]

    def asset(self, number: int) -> tuple[bytes, AssetRecord]:
        """An asset: its id, and the record of its latest version."""
        record = replace(
            _RECORD,
            holder=self.holder(number),
            data_item="",
            name=f"asset-{number}",
            asset_version=1,
            grade=1 + number % 5,
            category=_CATEGORIES[number % len(_CATEGORIES)],
            row_count=1_000 + number % 9_000,
            parents=(),
        )
        return hashed("asset", number), record

    def title(self, number: int) -> str:
        """An asset's Chinese title."""
        return f"{_SUBJECTS[number % len(_SUBJECTS)]}信息{number}"

    @functools.cached_property
    def agreements(self) -> list[MadeAgreement]:
        """Agreements of all members: a quarter of the department with the bank, a quarter each of
        the department and of the bank with others, and a quarter between others.
        """
        return [self._agreement(number) for number in range(self.scale.agreements)]

    def of(self, member: str) -> list[MadeAgreement]:
        """The agreements that a member provides or buys under."""
        return [
            made
            for made in self.agreements
            if member in (made.agreement.provider, made.agreement.buyer)
        ]

    def _agreement(self, number: int) -> MadeAgreement:
        quarter, own = number * 4 // self.scale.agreements, self.scale.own_assets
        asset = number % own if quarter < 2 else own + number
        provider = self.department if quarter < 2 else self.holder(asset)
        buyer = self.bank if quarter % 2 == 0 else self.banks[number % len(self.banks)]
        ends_at = self.now + (number % YEAR - YEAR + 30) * DAY_SECONDS
        terms = replace(
            _TERMS,
            asset_id=hashed("asset", asset),
            asset_version=1,
            owner=provider,
            grantee=buyer,
            operations=int(Operation.USE),
            scene="small-loan",
            purpose=PURPOSE,
            not_before=ends_at - YEAR * DAY_SECONDS,
            not_after=ends_at,
            max_uses=10**6,
            nonce=hashed("grant", number),
        )
        agreement = replace(
            _AGREEMENT,
            grant_id=terms.struct_hash(),
            asset_id=terms.asset_id,
            asset_version=1,
            provider=provider,
            buyer=buyer,
            purpose=PURPOSE,
            unit=int(MeteredUnit.CALL),
            price=PRICE,
            cap=PRICE * 200_000,
            max_units=200_000,
            max_per_call=PRICE,
            lanes=LANES,
            starts_at=terms.not_before,
            ends_at=ends_at,
            shares=(Share(provider, 10_000),),
            nonce=hashed("agreement", number),
        )
        state = "open" if ends_at > self.now else "closed"
        return MadeAgreement(number, agreement.struct_hash(), agreement, terms, state)

    def calls_of(self, member: str) -> Iterator[tuple[MadeAgreement, int]]:
        """A member's agreements and how many calls each has, all together ``scale.calls``."""
        own = self.of(member)
        hot = self.scale.calls // HOT_PARTS
        for place, made in enumerate(own):
            others = self.scale.calls - hot
            even = others * (place + 1) // len(own) - others * place // len(own)
            yield made, even + (hot if place == 0 else 0)

    def day_of_call(self, made: MadeAgreement, index: int, count: int) -> int:
        """Unix seconds at which a call was asked: even over the agreement's time until now."""
        since = made.agreement.starts_at
        until = min(self.now - 60, made.agreement.ends_at)
        return since + max(0, until - since) * (index + 1) // (count + 1)


@functools.cache
def subject(number: int) -> str:
    """The code of the firm that a call is about; 5,000 firms."""
    return trader_code(1 + number % 5_000)


def hashed(kind: str, number: int) -> bytes:
    """A 32-byte id."""
    return hashlib.sha256(f"{kind} {number}".encode()).digest()


_RECORD, _TERMS, _AGREEMENT = example(AssetRecord), example(GrantTerms), example(Agreement)
