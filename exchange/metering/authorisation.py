"""Whether a call may be served: one decision on records of the chain that were proved under one
block.

``authorise`` asks, in this order: the agreement is open and covers the request; buyer, keys and
asset are in force; the grant allows the use; the asset version lists the purpose and delivers the
columns; the subject consents where the purpose needs it. A served call that is repeated is not
decided again: ``require_not_withdrawn`` asks only whether a right was withdrawn since.

Pure: no chain, no database, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.core.errors import BadInput, Conflict, Forbidden, QiaolianError
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
from chain.statements.grants import GrantTerms
from chain.statements.trade import Agreement, UsageRequest
from exchange.metering import gateway_rules
from exchange.metering.gateway_rules import UnknownSubjects
from exchange.metering.model import CallQuery
from registry.credit.model import CheckedPackage, ConsentPackage
from registry.credit.rules import consent_records, require_consent
from registry.grants.rules import require_allows, require_delivering
from registry.masking import require_columns
from registry.purposes import ListedPurposes

ShownConsent = CheckedPackage | QiaolianError | None
"""The consent sent with a call: checked, its error, or none."""


@dataclass(frozen=True)
class Rights:
    """The rights that calls under one agreement rest on, apart from on-chain records. Constant for
    the agreement's lifetime.
    """

    agreement_id: bytes
    agreement: Agreement
    terms: GrantTerms
    columns: tuple[str, ...]
    """The grant's."""
    masking: Mapping[str, str]
    """The asset version's rule for each column."""
    purposes: ListedPurposes

    @property
    def records(self) -> tuple[StorageKey, ...]:
        """The chain's records that every call needs."""
        agreement = self.agreement
        return (
            *agreement_records(self.agreement_id),
            freeze_record(self.agreement_id),
            grant_record(agreement.grant_id),
            member_record(agreement.buyer),
            key_record(agreement.provider_key),
            key_record(agreement.buyer_key),
            asset_record(agreement.asset_id),
            hold_record(agreement.asset_id),
        )


def records_of_consent(query: CallQuery, consent: ShownConsent) -> tuple[StorageKey, ...]:
    """The records that say whether the consent a query names is in force."""
    named = tuple(consent_record(commitment) for commitment in _commitment(query))
    return (*named, *(consent_records(consent) if isinstance(consent, CheckedPackage) else ()))


def authorise(
    rights: Rights,
    request: UsageRequest,
    query: CallQuery,
    consent: ShownConsent,
    records: ProvedRecords,
    *,
    unknown: UnknownSubjects,
    stopped: bool,
    now: int,
) -> None:
    """Refuse a call that may not be served, each reason with its own code.

    Args:
        records: ``rights.records`` and ``records_of_consent``, proved under one block.
        unknown: the latest refusals with ``subject_unknown`` under the grant.
        stopped: whether the owner has stopped the grant, though the chain may not have it yet.
        now: Unix seconds.

    Raises:
        Forbidden, Conflict, BadInput: what ``gateway_rules.require_servable``, ``require_parties``,
        ``registry.grants.rules.require_allows``,
            ``registry.credit.rules.require_consent`` raise; ``too_many_unknown_subjects``,
            ``purpose_not_listed``, ``column_unknown``, ``column_withheld``.
    """
    state = records.agreement(rights.agreement_id)
    opened, ended = state.opened_at != 0, state.notice_at != 0 or state.closed_at != 0
    gateway_rules.require_servable(rights.agreement, request, opened=opened, ended=ended, now=now)
    require_not_frozen(rights, records)
    require_parties(rights, records)
    require_delivering(query.operation)
    unknown.require_below(now)
    require_allows(
        rights.terms,
        records.grant(rights.agreement.grant_id),
        stopped=stopped,
        granted_columns=rights.columns,
        operation=query.operation,
        purpose=query.purpose,
        columns=query.columns,
        now=now,
    )
    rights.purposes.require(query.purpose)
    require_columns(query.columns, rights.masking)
    if rights.purposes.needs_consent(query.purpose):
        if isinstance(consent, QiaolianError):
            raise consent
        bank = rights.agreement.buyer
        require_consent(
            consent,
            records,
            commitment=query.consent,
            subject=query.subject,
            bank=bank,
            purpose=query.purpose,
            now=now,
        )


def require_not_frozen(rights: Rights, records: ProvedRecords) -> None:
    """No supervisor has frozen the agreement: ``agreement_frozen``."""
    if records.freeze(rights.agreement_id).held:
        raise Forbidden(
            "agreement_frozen",
            "A supervisor has frozen the agreement.",
            hint="What was delivered is still paid; ask the supervisor.",
        )


def require_parties(rights: Rights, records: ProvedRecords) -> None:
    """The buyer is active, the asset neither held nor cancelled, and both pinned keys are in force.

    Raises:
        Forbidden: ``not_active``, ``asset_held``, ``asset_cancelled``; Conflict: ``key_ended``.
    """
    agreement = rights.agreement
    if not records.member(agreement.buyer).live:
        raise Forbidden("not_active", "The buyer is suspended or removed.")
    if records.hold(agreement.asset_id).held:
        raise Forbidden("asset_held", "The asset is under a dispute hold.")
    if not records.asset(agreement.asset_id).live:
        raise Forbidden("asset_cancelled", "The asset was cancelled.")
    if not all(records.key(key).live for key in (agreement.provider_key, agreement.buyer_key)):
        raise Conflict(
            "key_ended", "A key that the agreement pins, the buyer's or the provider's, has ended."
        )


def require_not_withdrawn(
    rights: Rights, query: CallQuery, records: ProvedRecords, *, stopped: bool
) -> None:
    """No right that a served call depends on was withdrawn since, by the chain's records and the
    owner's own stop.

    A void takes a served call out of the totals, so nothing that the buyer sends beside its signed
    request, and no mere passing of time, is asked here: the consent is the one that the signed
    query names.

    Raises:
        Forbidden, Conflict: what ``require_parties`` raises, ``grant_revoked``,
            ``consent_withdrawn``.
    """
    require_parties(rights, records)
    if stopped or records.grant(rights.agreement.grant_id).revoked_at:
        raise Forbidden("grant_revoked", "The grant was revoked.")
    if rights.purposes.needs_consent(query.purpose) and any(
        records.consent(commitment).withdrawn_at for commitment in _commitment(query)
    ):
        raise Forbidden("consent_withdrawn", "The subject withdrew the consent.")


def require_repeated(query: CallQuery, package: Any, *, purposes: ListedPurposes) -> None:
    """A repetition carries the consent that the call was served with, where the purpose needs one:
    ``consent_missing``, ``consent_malformed``.

    A call that was served without a consent, before the asset's purposes were listed, is repeated
    without one.
    """
    if not query.consent or not purposes.needs_consent(query.purpose):
        return
    hint = "Send the request as it was first sent; its answer does not change."
    if package is None:
        raise Forbidden(
            "consent_missing",
            "The request is repeated without the consent it was served with.",
            hint=hint,
        )
    if "0x" + ConsentPackage.from_json(package).consent_id().hex() != query.consent:
        raise BadInput(
            "consent_malformed",
            "The request is repeated with another consent than it was served with.",
            hint=hint,
        )


def _commitment(query: CallQuery) -> tuple[bytes, ...]:
    """The consent that a query names, if it names one by its form."""
    if len(query.consent) != 66:
        return ()
    try:
        return (bytes.fromhex(query.consent[2:]),)
    except ValueError:
        return ()
