"""View models of the pages of firms and citizens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chain.context import Context
from chain.core.zone import local_time
from chain.statements.credit import Consent
from chain.statements.members import Role
from exchange.agreements import service as agreements
from exchange.looks.model import AccountCheck, Gap
from exchange.metering.look_model import Look
from exchange.metering.model import CallStatus
from nodes.console.i18n import CHINESE, N_
from nodes.console.names import asset_name, member_name, purpose_name
from registry.credit.model import Dispute, DisputeState, StoredConsent, SubjectRecord
from registry.list_limits import MAX_ROWS
from registry.members import service as members
from registry.pages import PageRequest
from registry.purposes import KNOWN_PURPOSES
from registry.subjects.model import SubjectKey

PURPOSES: Mapping[str, str] = {
    "consent": N_("to give and withdraw consents"),
    "deal": N_("to sign a property deal"),
    "dispute": N_("to dispute a record"),
}
OUTCOMES: Mapping[CallStatus, str] = {
    CallStatus.ASKED: N_("asked, no answer yet"),
    CallStatus.SERVED: N_("answered"),
    CallStatus.REFUSED: N_("refused, nothing was delivered"),
    CallStatus.VOID: N_("answered, the payment was cancelled"),
    CallStatus.CONFLICT: N_("in dispute between the two nodes"),
}
GAPS: Mapping[Gap, str] = {
    Gap.POSITION_MISSING: N_("Calls are missing in between."),
    Gap.BEHIND_CHAIN: N_("The chain shows more calls than this node has stored."),
    Gap.SUBJECT_NOT_RECORDED: N_("It is not recorded whom these answered calls were about."),
    Gap.NOT_IN_LOG: N_("Receipts of calls about you are missing in this node's log."),
    Gap.BUYER_NAMES_MORE: N_("The other side lists calls about you that this node does not list."),
    Gap.BUYER_NAMES_LESS: N_("This node lists calls about you that the other side does not list."),
    Gap.BUYER_SILENT: N_("The other side did not answer; its list could not be compared."),
}
DISPUTES: Mapping[DisputeState, str] = {
    DisputeState.SENT: N_("being sent to the chain"),
    DisputeState.OPEN: N_("waits for the department's answer"),
    DisputeState.ANSWERED: N_("answered"),
}


@dataclass(frozen=True, slots=True)
class LookView:
    """A call that asked for the subject's record. ``outcome`` is a marked label."""

    who: str
    who_code: str
    asset: str
    purpose: str
    columns: str
    at: int
    outcome: str
    reason: str
    consent: str
    agreement_id: str
    lane: int
    seq: int
    proved: bool
    """Whether there is a receipt to prove."""


@dataclass(frozen=True, slots=True)
class FindingView:
    """Why an account is not complete. ``text`` is a marked label."""

    text: str
    who: str
    count: int


@dataclass(frozen=True, slots=True)
class CheckView:
    """What a check compared and found."""

    complete: bool
    looks: int
    agreements: int
    calls: int
    buyers: int
    height: int
    findings: list[FindingView]


@dataclass(frozen=True, slots=True)
class ConsentView:
    """A consent that this bank holds. ``state`` is a marked label."""

    id: str
    bank: str
    purpose: str
    not_before: int
    not_after: int
    recorded_at: int | None
    withdrawn_at: int | None
    state: str
    in_force: bool
    own_key: bool
    """Whether the key that is logged in gave it: only that key can withdraw it."""


@dataclass(frozen=True, slots=True)
class RecordView:
    """What a department holds of the subject in one asset."""

    asset: str
    asset_id: str
    version: int
    values: list[tuple[str, str]]
    commitment: str


@dataclass(frozen=True, slots=True)
class DisputeView:
    """A dispute of the subject's. ``state`` is a marked label."""

    id: str
    asset: str
    column: str
    says: str
    state: str
    upheld: bool | None


def look_view(context: Context, look: Look, language: str) -> LookView:
    """A look as its subject reads it."""
    agreement = agreements.load(context, look.position.agreement_id).agreement
    seen_here = agreement.provider == context.member
    who = agreement.buyer if seen_here else agreement.provider
    return LookView(
        who=member_name(context, agreement.buyer),
        who_code=agreement.buyer,
        asset=f"{asset_name(context, agreement.asset_id)}"
        + ("" if seen_here else f" ({member_name(context, who)})"),
        purpose=purpose_name(look.query.purpose, language),
        columns="、".join(look.query.columns),
        at=look.at,
        outcome=OUTCOMES[look.status],
        reason=look.reason,
        consent=look.query.consent,
        agreement_id="0x" + look.position.agreement_id.hex(),
        lane=look.position.lane,
        seq=look.position.seq,
        proved=bool(look.receipt),
    )


def check_view(context: Context, check: AccountCheck) -> CheckView:
    """A check as its subject reads it."""
    return CheckView(
        complete=check.complete,
        looks=check.looks,
        agreements=check.agreements,
        calls=check.calls,
        buyers=check.buyers,
        height=check.height,
        findings=[
            FindingView(GAPS[finding.gap], member_name(context, finding.buyer), finding.count)
            for finding in check.findings
        ],
    )


def consent_view(
    context: Context, held: StoredConsent, known: SubjectKey, language: str
) -> ConsentView:
    """A consent as its subject reads it."""
    consent, status, now = held.package.consent, held.status, context.now()
    if status.withdrawn_at:
        state = N_("withdrawn")
    elif not status.recorded_at:
        state = N_("not on the chain yet")
    elif now > consent.not_after:
        state = N_("its time is over")
    else:
        state = N_("valid")
    return ConsentView(
        id="0x" + status.consent_id.hex(),
        bank=member_name(context, consent.bank),
        purpose=purpose_name(consent.purpose, language),
        not_before=consent.not_before,
        not_after=consent.not_after,
        recorded_at=status.recorded_at or None,
        withdrawn_at=status.withdrawn_at or None,
        state=state,
        in_force=bool(status.recorded_at) and not status.withdrawn_at and now <= consent.not_after,
        own_key=consent.authority == known.key,
    )


def record_view(name: str, asset_id: bytes, found: SubjectRecord) -> RecordView:
    """A record as its subject reads it."""
    return RecordView(
        asset=name,
        asset_id="0x" + asset_id.hex(),
        version=found.asset_version,
        values=[(column, _text(value)) for column, value in found.record.items()],
        commitment="0x" + found.commitment.hex(),
    )


def dispute_view(context: Context, dispute: Dispute) -> DisputeView:
    """A dispute as its subject reads it."""
    claim = dispute.claim
    return DisputeView(
        id="0x" + dispute.dispute_id.hex(),
        asset=asset_name(context, dispute.statement.asset_id),
        column=str(claim.get("column", "")),
        says=str(claim.get("says", "")),
        state=DISPUTES[dispute.state],
        upheld=None if dispute.repair is None else dispute.repair.upheld,
    )


def purpose_choices(language: str) -> list[tuple[str, str]]:
    """The network's purposes, for a consent."""
    return [
        (purpose.code, purpose.title_zh if language == CHINESE else purpose.code)
        for purpose in KNOWN_PURPOSES.values()
    ]


def bank_choices(context: Context) -> list[tuple[str, str]]:
    """Code and name of the banks that this node knows as members."""
    found = members.listing(context, PageRequest(MAX_ROWS)).rows
    return [(one.member, one.name) for one in found if one.roles & Role.BANK]


def consent_about(context: Context, consent: Consent, language: str) -> dict[str, str]:
    """The labels and values that the signing panel shows of a consent."""
    return {
        N_("You allow"): f"{member_name(context, consent.bank)} ({consent.bank})",
        N_("to query your records for"): purpose_name(consent.purpose, language),
        N_("Until"): local_time(consent.not_after),
    }


def dispute_about(record: RecordView, column: str, says: str) -> dict[str, str]:
    """The labels and values that the signing panel shows of a dispute."""
    value = dict(record.values).get(column, "")
    return {N_("Record"): record.asset, N_("Value"): f"{column} = {value}", N_("You say"): says}


def roles_of(node: Role) -> Sequence[str]:
    """What this organisation is to the subject, as marked labels."""
    found = [
        (Role.DEPARTMENT, N_("a department that holds records")),
        (Role.BANK, N_("a bank that may query records with your consent")),
        (Role.AGENCY, N_("a party of property deals")),
    ]
    return [label for role, label in found if node & role]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
