"""A call is authorised by records proved under one block: pure rules, no chain, database or clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from chain.core.errors import BadInput, QiaolianError, Unavailable
from chain.ethereum.proved_records import (
    ProvedRecords,
    StorageKey,
    agreement_records,
    asset_record,
    consent_record,
    freeze_record,
    grant_record,
    hold_record,
    key_record,
    member_record,
)
from chain.statements.credit import Consent
from chain.statements.examples import example
from chain.statements.grants import GrantTerms, Operation
from chain.statements.members import KeyPurpose, Role, SubjectKeyCertificate
from chain.statements.trade import Agreement, UsageRequest
from exchange.metering.authorisation import (
    Rights,
    ShownConsent,
    authorise,
    records_of_consent,
    require_not_withdrawn,
)
from exchange.metering.gateway_rules import UnknownSubjects
from exchange.metering.model import CallQuery, GatewayLimits
from registry.credit.model import CheckedPackage, ConsentPackage
from registry.purposes import ListedPurposes

NOW = 1_000_000
BANK, OFFICE = "91440703QL00000498", "11440703QL0000030K"
PROVIDER_KEY, BUYER_KEY, OFFICE_KEY, SUBJECT_KEY = (
    "0x" + f"{number:040x}" for number in range(1, 5)
)
CONSENT, AGREEMENT = b"\x0c" * 32, b"\x0a" * 32
OPENED, APPROVED, HELD = 1, 1 << 48, 1 << 96 | 1


def member(code: str) -> int:
    return int.from_bytes(code.encode().ljust(18, b"\0"), "big")


def key(of: str) -> int:
    return 1 | KeyPurpose.STATEMENT << 96 | member(of) << 112


AGREED = replace(
    example(Agreement),
    buyer=BANK,
    provider=OFFICE,
    provider_key=PROVIDER_KEY,
    buyer_key=BUYER_KEY,
    price=60,
    max_per_call=600,
    starts_at=NOW - 10,
    ends_at=NOW + 10,
)
TERMS = replace(
    example(GrantTerms),
    operations=Operation.USE,
    purpose="credit-assessment",
    not_before=NOW - 10,
    not_after=NOW + 10,
)
RIGHTS = Rights(
    AGREEMENT,
    AGREED,
    TERMS,
    ("Income", "Debt"),
    {"Income": "clear", "Debt": "drop", "Rent": "clear"},
    ListedPurposes({"credit-assessment": True}),
)
QUERY = CallQuery(
    subject="A1", columns=("Income",), purpose="credit-assessment", consent="0x" + CONSENT.hex()
)
PACKAGE = CheckedPackage(
    ConsentPackage(
        replace(
            example(Consent),
            bank=BANK,
            purpose="credit-assessment",
            authority=SUBJECT_KEY,
            not_before=NOW - 10,
            not_after=NOW + 10,
        ),
        bytes(65),
        bytes(32),
        replace(
            example(SubjectKeyCertificate), issuer=OFFICE, not_before=NOW - 10, not_after=NOW + 10
        ),
        bytes(65),
        {"code": "A1"},
        bytes(32),
    ),
    CONSENT,
    OFFICE_KEY,
)
RECORDS: Mapping[StorageKey, int] = {
    **dict(zip(agreement_records(AGREEMENT), (0, 0, OPENED), strict=True)),
    freeze_record(AGREEMENT): 0,
    grant_record(AGREED.grant_id): 1 | APPROVED,
    member_record(BANK): 1 | Role.BANK << 192,
    member_record(OFFICE): 1 | Role.DEPARTMENT << 192,
    key_record(PROVIDER_KEY): key(OFFICE),
    key_record(BUYER_KEY): key(BANK),
    key_record(OFFICE_KEY): key(OFFICE),
    asset_record(AGREED.asset_id): 1,
    hold_record(AGREED.asset_id): 0,
    consent_record(CONSENT): 1 | int(SUBJECT_KEY, 16) << 96,
}


REQUEST = replace(example(UsageRequest), expiry=NOW + 5, max_amount=600, max_units=1)


@dataclass(frozen=True)
class Asked:
    """A call that may be served; each test changes one thing of it."""

    records: Mapping[StorageKey, int] = field(default_factory=dict)
    """Storage values that differ from ``RECORDS``."""
    query: CallQuery = QUERY
    consent: ShownConsent = PACKAGE
    request: UsageRequest = REQUEST
    stopped: bool = False
    refused_before: int = 0
    now: int = NOW


def proved(changed: Mapping[StorageKey, int]) -> ProvedRecords:
    return ProvedRecords(7, b"\x07" * 32, NOW, {**RECORDS, **changed})


def decide(asked: Asked) -> str:
    """The code of a refusal; empty where the call may be served."""
    unknown = UnknownSubjects.of(
        GatewayLimits(unknown_subjects=1, unknown_seconds=100), [NOW] * asked.refused_before
    )
    try:
        authorise(
            RIGHTS,
            asked.request,
            asked.query,
            asked.consent,
            proved(asked.records),
            unknown=unknown,
            stopped=asked.stopped,
            now=asked.now,
        )
    except QiaolianError as error:
        return error.code
    return ""


def test_the_unchanged_call_may_be_served_on_exactly_the_records_that_are_named() -> None:
    assert decide(Asked()) == ""
    assert {*RIGHTS.records, *records_of_consent(QUERY, PACKAGE)} == set(RECORDS)


LAST = agreement_records(AGREEMENT)[2]
REFUSED = {
    "agreement_not_open": Asked({LAST: 0}),
    "agreement_in_notice": Asked({LAST: OPENED | 2 << 48}),
    "agreement_ended": Asked(now=NOW + 11),
    "request_expired": Asked(now=NOW + 6),
    "over_max_per_call": Asked(request=replace(Asked().request, max_amount=601)),
    "max_amount_too_low": Asked(request=replace(Asked().request, max_amount=59)),
    "not_active": Asked({member_record(BANK): 1 | 2 << 48}),
    "agreement_frozen": Asked({freeze_record(AGREEMENT): HELD}),
    "asset_held": Asked({hold_record(AGREED.asset_id): HELD}),
    "asset_cancelled": Asked({asset_record(AGREED.asset_id): 1 | 2 << 96}),
    "operation_delivers_nothing": Asked(query=replace(QUERY, operation=Operation.TRAIN)),
    "too_many_unknown_subjects": Asked(refused_before=1),
    "grant_not_live": Asked({grant_record(AGREED.grant_id): 1}),
    "operation_not_granted": Asked(query=replace(QUERY, operation=Operation.VIEW)),
    "column_not_granted": Asked(query=replace(QUERY, columns=("Rent",))),
    "column_withheld": Asked(query=replace(QUERY, columns=("Debt",))),
    "consent_missing": Asked(consent=None),
    "consent_withdrawn": Asked(
        {consent_record(CONSENT): RECORDS[consent_record(CONSENT)] | 2 << 48}
    ),
    "consent_bad_signature": Asked({key_record(OFFICE_KEY): key(BANK)}),
    "issuer_not_department": Asked({member_record(OFFICE): 1 | Role.BANK << 192}),
    "consent_other_subject": Asked(query=replace(QUERY, subject="B2")),
}


@pytest.mark.parametrize(("code", "asked"), REFUSED.items())
def test_one_thing_changed_is_refused_with_its_own_code(code: str, asked: Asked) -> None:
    assert decide(asked) == code


@pytest.mark.parametrize("address", [PROVIDER_KEY, BUYER_KEY])
def test_a_pinned_key_that_has_ended_serves_nothing(address: str) -> None:
    assert (
        decide(Asked({key_record(address): RECORDS[key_record(address)] | 2 << 48})) == "key_ended"
    )


@pytest.mark.parametrize(
    "asked", [Asked({grant_record(AGREED.grant_id): 1 | APPROVED | 3 << 144}), Asked(stopped=True)]
)
def test_a_revoked_or_stopped_grant_serves_nothing(asked: Asked) -> None:
    assert decide(asked) == "grant_revoked"


def test_a_consent_that_does_not_hold_together_is_refused_with_its_own_code_and_after_what_concerns_the_grant() -> (
    None
):
    broken = BadInput("consent_malformed", "A consent package lacks a part.")
    assert decide(Asked(consent=broken)) == "consent_malformed"
    assert decide(Asked(consent=broken, stopped=True)) == "grant_revoked"


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_that_was_not_proved_allows_nothing(record: StorageKey) -> None:
    missing = ProvedRecords(
        7, b"\x07" * 32, NOW, {name: value for name, value in RECORDS.items() if name != record}
    )
    unknown = UnknownSubjects.of(GatewayLimits())
    with pytest.raises(Unavailable) as caught:
        authorise(
            RIGHTS,
            Asked().request,
            QUERY,
            PACKAGE,
            missing,
            unknown=unknown,
            stopped=False,
            now=NOW,
        )
    assert caught.value.code == "record_not_proved"


def test_a_repetition_is_withheld_only_where_a_right_was_withdrawn() -> None:
    require_not_withdrawn(RIGHTS, QUERY, proved({LAST: OPENED | 2 << 48}), stopped=False)
    for code, changed in {
        "consent_withdrawn": {consent_record(CONSENT): RECORDS[consent_record(CONSENT)] | 2 << 48},
        "grant_revoked": {grant_record(AGREED.grant_id): 1 | APPROVED | 3 << 144},
        "asset_held": {hold_record(AGREED.asset_id): HELD},
    }.items():
        with pytest.raises(QiaolianError) as caught:
            require_not_withdrawn(RIGHTS, QUERY, proved(changed), stopped=False)
        assert caught.value.code == code
