"""``qiaolian node recover``: brings a node restored from an old backup up to date before it signs.

Run while the node is stopped, by a person who knows why the database is old; nothing of this
happens by itself at a start. In order:

1. Take the chain's events up to its head, so that agreements opened since the backup are known.
2. Find the lost end of the evidence log (``registry.evidence.recovery``). What is found is stored
   together with a hold on every agreement, so that a kill between this step and the next leaves
   nothing that could be signed twice.
3. Restore lost agreements and sequence positions from the other parties
   (``exchange.metering.recovery``), which releases the holds one by one.

Each step can be repeated; what is whole already is left as it is.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict
from chain.core.printable import printable
from exchange.metering import recovery as lanes
from nodes.assembly import AssembledNode, assemble
from nodes.config import NodeConfig
from nodes.exclusive import exclusive_process
from nodes.migrate import upgrade
from nodes.workers.projector import Projector
from registry.evidence import log as evidence_log
from registry.evidence import recovery as log

VIEW_SECONDS = 30.0
_SHOWN_AGAIN = frozenset(
    ("UsageRequest", "UsageReceipt", "ReceiptVoid", "Voucher", "Agreement", evidence_log.LOG_KEY)
)
"""Kinds of entries whose statements the other party of an agreement shows again, and the one that
records nothing but itself.
"""


@dataclass(frozen=True)
class RecoveryReport:
    """The outcome of a recovery."""

    size: int
    """The log's entries now."""
    entries: int
    """Of these, how many came back."""
    unmatched: Counter[str]
    """Entries that came back without what they record, by kind."""
    agreements: Sequence[lanes.AgreementRecovery]

    @property
    def complete(self) -> bool:
        """Whether every agreement can be used again."""
        return all(agreement.refusal is None for agreement in self.agreements)

    def lines(self) -> Iterator[str]:
        """For people."""
        if self.entries:
            yield (
                f"The evidence log lacked {self.entries} entries. A supervisor's copy of them "
                f"was checked and taken; it continues at {self.size}."
            )
        else:
            yield (
                "The evidence log lacks nothing that the chain or a "
                f"supervisor has seen; it has {self.size} entries."
            )
        for agreement in self.agreements:
            name = "0x" + agreement.agreement_id.hex()
            if agreement.positions:
                yield (
                    f"Agreement {name}: {agreement.positions} positions were shown by the "
                    "other party, checked and taken."
                )
            if agreement.refusal is not None:
                yield (
                    f"Agreement {name} is not recovered ({agreement.refusal.code}): "
                    f"{agreement.refusal.sentence}"
                )
        if self.unmatched:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.unmatched.items()))
            yield f"In the log again, without what they record: {kinds}."
            yield (
                "Steps of deals follow from their parties once the node "
                "runs; the rest was in the lost database alone."
            )
        if not self.complete:
            yield (
                "Nothing is signed under what is not recovered. Run this again when the other "
                "party answers, or give notice and agree again."
            )


def run(config: NodeConfig) -> int:
    """Recover and say what came of it; 0 when every agreement can be used again, 2 otherwise."""
    with _stopped(config), exclusive_process("node", config.database_url):
        upgrade(config.database_url, lock_dir=config.data)
        node = assemble(config)
        try:
            recovered = asyncio.run(_recover(node))
        finally:
            node.close()
    for line in recovered.lines():
        print(printable(line))
    return 0 if recovered.complete else 2


@contextmanager
def _stopped(config: NodeConfig) -> Iterator[None]:
    """Hold the address that the node listens at, so that it neither runs nor starts meanwhile."""
    family = socket.AF_INET6 if ":" in config.listen.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.listen.host, config.listen.port))
            listener.listen()
        except OSError as error:
            raise Conflict(
                "node_running",
                "The node runs: its address is in use.",
                hint="Stop `qiaolian node run`, then recover.",
            ) from error
        yield


async def _recover(node: AssembledNode) -> RecoveryReport:
    context = node.context
    try:
        await asyncio.to_thread(lambda: context.view.start(wait_seconds=VIEW_SECONDS))
        await Projector(context).round()
        found = await log.find_lost_entries(context)
        # Only now: the heads that are signed next are those that were just proved.
        node.restore_guard.record(None)
        if found is not None:
            await context.database.awrite(lambda session: _restore(session, context, found))
        outcomes = await lanes.recover_all(context)
    finally:
        node.peers.close()
    size = await asyncio.to_thread(evidence_log.log_size, context)
    bare = await asyncio.to_thread(_unmatched, context, found)
    return RecoveryReport(size, 0 if found is None else len(found.leaves), bare, outcomes)


def _restore(session: Session, context: Context, found: log.LostEntries) -> None:
    log.restore_entries(context, session, found)
    lanes.hold(session, context, found.start)


def _unmatched(context: Context, found: log.LostEntries | None) -> Counter[str]:
    if found is None:
        return Counter()
    with context.database.read() as session:
        return Counter(
            kind
            for kind, _ in evidence_log.entries_since(session, found.start)
            if kind not in _SHOWN_AGAIN
        )
