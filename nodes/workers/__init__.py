"""Background workers of a node: event projection, expired proposals, delivery of deal steps,
proposed closings, registrations, files of calls, the catalogue's index, claims, checkpoints and
anchors, witnessing, other members' demands, uploaded files that nothing uses.

A worker is a coroutine run again and again; ``nodes.workers.scheduler`` says when. A round that
fails is reported (once for each new code) and tried again, with longer pauses while it keeps
failing. A round that could not do its work with some members only returns the error instead: health
shows it, and the others' work continues at the same pace.
"""

from __future__ import annotations

from collections.abc import Callable

from chain.context import Context
from chain.core.errors import QiaolianError
from chain.statements.members import Role
from exchange.agreements.proposal_ends import ProposalWorker
from exchange.call_files.runner import CallFileRunner
from exchange.catalogue.worker import CatalogueReader
from exchange.closing.worker import ClosingWorker
from exchange.conservation.service import ConservationMonitor
from exchange.conservation.worker import ConservationWorker
from exchange.disputes.worker import DisputeWorker
from exchange.reconciliation.runs import RunWorker
from exchange.settlement.claims import ClaimMonitor
from exchange.settlement.rules import ClaimPolicy
from exchange.supervision.service import WATCHERS
from nodes.assembly import AssembledNode
from nodes.restore_guard import RestoreGuardWorker
from nodes.workers.changes import DatabaseChanges
from nodes.workers.claims import ClaimWorker
from nodes.workers.clearing import ClearingWorker
from nodes.workers.demands import DemandsWorker
from nodes.workers.evidence import EvidenceWorker
from nodes.workers.projector import Projector
from nodes.workers.scheduler import Scheduler, Worker
from nodes.workers.uploads import UploadsWorker
from nodes.workers.witness import WitnessWorker
from registry.property.delivery import StepDelivery
from registry.property.register import RegistrationUpdater

RESTORE_GUARD_SECONDS = 0.1
"""Until it has come out well the node signs nothing, so a start waits for it."""
DELIVERY_SECONDS = 1.0
CATALOGUE_SECONDS = 2.0
PROPOSAL_SECONDS = 1.0
CALL_FILE_SECONDS = 0.2
CALL_FILE_IDLE_SECONDS = 5.0
"""A provider that did not answer is asked again."""
UPLOADS_SECONDS = 3_600.0
RECONCILIATION_SECONDS = 1.0
CONSERVATION_SECONDS = 30.0
CLAIM_IDLE_SECONDS = 5.0
"""Agreements become due by time alone, and an outbox that stopped changes nothing."""


def node_workers(node: AssembledNode) -> list[Worker]:
    """The workers that a node's configuration asks for."""
    settings, context = node.config.workers, node.context
    changes = DatabaseChanges(context.database, context.transaction_address).version
    guard = RestoreGuardWorker(context, node.restore_guard)
    workers = [
        Worker(
            "restore-guard", RESTORE_GUARD_SECONDS, guard.round, lambda: node.restore_guard.passed
        )
    ]
    if node.config.console is not None:
        workers.append(Worker("uploads", UPLOADS_SECONDS, UploadsWorker(context).round))
    if context.roles & Role.DEPARTMENT:
        demands = DemandsWorker(context)
        workers.append(Worker("demands", settings.peer_seconds, demands.round))
    clearing = ClearingWorker(context)
    workers.append(Worker("clearing", settings.peer_seconds, clearing.round))
    if settings.projector:
        workers += _projecting(context, settings.projector_seconds, changes)
    if settings.evidence:
        evidence = EvidenceWorker(context, anchor_seconds=settings.anchor_seconds)
        workers.append(
            Worker(
                "evidence",
                settings.checkpoint_seconds,
                evidence.round,
                version=lambda: (changes(), context.database.routine_commits),
                has_work=lambda: evidence.has_work,
            )
        )
    if context.roles & Role.BANK:
        files = CallFileRunner(context)
        workers.append(
            Worker(
                "call-files",
                CALL_FILE_SECONDS,
                files.round,
                version=changes,
                has_work=lambda: files.has_work,
                idle_seconds=CALL_FILE_IDLE_SECONDS,
            )
        )
    if settings.claims:
        policy = ClaimPolicy(settings.claim_min_fen, settings.claim_max_age_seconds)
        monitor = ClaimMonitor(context, policy)
        workers.append(
            Worker(
                "claims",
                settings.claim_seconds,
                ClaimWorker(monitor).round,
                version=changes,
                has_work=lambda: monitor.has_work,
                idle_seconds=CLAIM_IDLE_SECONDS,
            )
        )
    if node.config.witnesses:
        members = [member for member, peer in node.config.peers.items() if peer.log is not None]
        witness = WitnessWorker(context, members)
        workers.append(Worker("witness", settings.witness_seconds, witness.round, version=changes))
    if settings.projector and context.roles & WATCHERS:
        money = ConservationWorker(ConservationMonitor(context))
        workers.append(Worker("money", CONSERVATION_SECONDS, money.round))
    if node.config.role & Role.SUPERVISOR:
        runs = RunWorker(context)
        workers.append(
            Worker(
                "reconciliation",
                RECONCILIATION_SECONDS,
                runs.round,
                version=changes,
                has_work=lambda: runs.has_work,
            )
        )
    return workers


def _projecting(
    context: Context, projector_seconds: float, changes: Callable[[], object]
) -> list[Worker]:
    """The projector, and the workers that act on what it stores."""
    projector = Worker(
        "projector",
        projector_seconds,
        Projector(context).round,
        version=lambda: _height(context),
    )
    proposals, closings = ProposalWorker(context), ClosingWorker(context)
    disputes = DisputeWorker(context)
    deals, register = StepDelivery(context), RegistrationUpdater(context)
    catalogue = CatalogueReader(context)
    return [
        projector,
        *(
            Worker(name, seconds, worker.round, version=changes, has_work=has_work)
            for name, seconds, worker, has_work in (
                ("proposals", PROPOSAL_SECONDS, proposals, lambda: proposals.has_work),
                ("closings", PROPOSAL_SECONDS, closings, lambda: closings.has_work),
                ("catalogue", CATALOGUE_SECONDS, catalogue, lambda: catalogue.has_work),
                ("disputes", PROPOSAL_SECONDS, disputes, lambda: disputes.has_work),
                ("deals", DELIVERY_SECONDS, deals, lambda: deals.has_work),
                ("register", DELIVERY_SECONDS, register, lambda: register.has_work),
            )
        ),
    ]


def _height(context: Context) -> int | None:
    """The view's head; None before the first block."""
    try:
        return context.view.head.height
    except QiaolianError:
        return None


__all__ = ["Scheduler", "Worker", "node_workers"]
