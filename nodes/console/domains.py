"""The folders of pages and their lines in the menu. A new folder is added here, once."""

from __future__ import annotations

from nodes.console.accounts import pages as accounts
from nodes.console.acts import pages as acts
from nodes.console.agreements import pages as agreements
from nodes.console.approvals import pages as approvals
from nodes.console.assets import pages as assets
from nodes.console.banking import pages as banking
from nodes.console.call_files import pages as call_files
from nodes.console.calls import pages as calls
from nodes.console.clearing import pages as clearing
from nodes.console.consents import pages as consents
from nodes.console.deals import pages as deals
from nodes.console.demands import pages as demands
from nodes.console.disputes import pages as disputes
from nodes.console.earnings import pages as earnings
from nodes.console.grants import pages as grants
from nodes.console.health import pages as health
from nodes.console.layout import pages as layout
from nodes.console.members import pages as members
from nodes.console.network import pages as network
from nodes.console.operations import pages as operations
from nodes.console.proofs import pages as proofs
from nodes.console.publishing import pages as publishing
from nodes.console.record_disputes import pages as record_disputes
from nodes.console.reports import pages as reports
from nodes.console.signing import pages as signing
from nodes.console.spending import pages as spending
from nodes.console.statements import pages as statements
from nodes.console.subjects import consent_pages as subject_consents
from nodes.console.subjects import login_pages as subject_login
from nodes.console.subjects import pages as subjects
from nodes.console.supervision import pages as supervision
from nodes.console.usage import pages as usage
from nodes.console.webhooks import pages as webhooks

_FOLDERS = (
    layout,
    assets,
    publishing,
    demands,
    grants,
    agreements,
    calls,
    call_files,
    reports,
    consents,
    spending,
    usage,
    earnings,
    record_disputes,
    deals,
    disputes,
    members,
    network,
    supervision,
    clearing,
    banking,
    statements,
    health,
    operations,
    proofs,
    signing,
    approvals,
    acts,
    accounts,
    subject_login,
    subject_consents,
    subjects,
    webhooks,
)

ROUTERS = tuple(folder.router for folder in _FOLDERS)
NAVIGATION = tuple(entry for folder in _FOLDERS for entry in folder.NAVIGATION)
SUBJECT_NAVIGATION = subjects.SUBJECT_NAVIGATION
