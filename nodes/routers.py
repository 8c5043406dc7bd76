"""The domains' endpoints, tables and event projections."""

# The modules of the domains are imported by the process that needs them: the outbox process and the
# migrations need the tables and no web framework.
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from chain.context import Context
from chain.ethereum.ledger import Event

if TYPE_CHECKING:
    from fastapi import APIRouter


def routers() -> Sequence[APIRouter]:
    """The routers of all domains, in the order in which paths are matched: the busiest first."""
    from exchange.agreements import api as agreements
    from exchange.banking import api as banking
    from exchange.call_files import api as call_files
    from exchange.catalogue import api as catalogue
    from exchange.clearing import api as clearing
    from exchange.closing import api as closing
    from exchange.conservation import api as conservation
    from exchange.disputes import api as disputes
    from exchange.looks import api as looks
    from exchange.metering import api as metering
    from exchange.reconciliation import api as reconciliation
    from exchange.reports import api as reports
    from exchange.settlement import api as settlement
    from exchange.spending import api as spending
    from exchange.supervision import api as supervision
    from exchange.usage import api as usage
    from registry.assets import api as assets
    from registry.assets import publication_api as publications
    from registry.credit import api as credit
    from registry.credit import consent_api as consents
    from registry.demands import api as demands
    from registry.evidence import api as evidence
    from registry.grants import api as grants
    from registry.members import api as members
    from registry.property import api as properties
    from registry.property import register_api as property_register

    return (
        metering.router,
        members.router,
        publications.router,
        assets.router,
        grants.router,
        consents.router,
        credit.router,
        property_register.router,
        properties.router,
        evidence.router,
        agreements.router,
        settlement.router,
        closing.router,
        conservation.router,
        usage.router,
        demands.router,
        disputes.router,
        reconciliation.router,
        reports.router,
        call_files.router,
        catalogue.router,
        spending.router,
        looks.router,
        banking.router,
        clearing.router,
        supervision.router,
    )


def load_tables() -> None:
    """Import every module that declares tables on ``chain.core.database.Base``."""
    import chain.outbox.store  # noqa: F401
    import exchange.agreements.store
    import exchange.approvals.store
    import exchange.banking.store
    import exchange.call_files.store
    import exchange.catalogue.store
    import exchange.clearing.store
    import exchange.closing.store
    import exchange.disputes.store
    import exchange.metering.recovery_store
    import exchange.metering.store
    import exchange.reconciliation.store
    import exchange.settlement.store
    import exchange.supervision.store
    import exchange.usage.store  # noqa: F401
    import nodes.console.accounts.store
    import nodes.console.acts.store
    import nodes.console.approvals.store
    import nodes.console.publishing.store
    import nodes.console.subjects.store
    import nodes.console.submissions.store
    import nodes.store
    import nodes.webhooks.store  # noqa: F401
    import registry.assets.incident_store
    import registry.assets.store
    import registry.credit.store
    import registry.demands.store
    import registry.evidence.store
    import registry.evidence.witness_store
    import registry.grants.store
    import registry.idempotency
    import registry.members.store
    import registry.property.register_store
    import registry.property.store  # noqa: F401


def apply_events(session: Session, events: Sequence[Event], context: Context) -> None:
    """Project the chain's events into every package's tables, in the caller's transaction."""
    from exchange import projection as exchange_projection
    from nodes.webhooks import events as webhook_events
    from registry import projection as registry_projection

    registry_projection.apply(session, events, context)
    exchange_projection.apply(session, events, context)
    webhook_events.note(session, events, context)
