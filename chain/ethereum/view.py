"""The node's own view of the chain: checked headers, and storage values proved under them.

A thread follows the headers. Each new header is checked by the engine's ``FinalityRule`` and linked
to the one before it (``header_chain``). Then every recently used storage value is proved again
under it (``storage_prover``), so that the next read is a dictionary look-up. Head and values are
published together, so a value is never older than the head. Permissions rest on these values, never
on a plain ``eth_call``.

A block with the state root of the one before changed nothing, so every value holds under it too. A
contract whose storage root did not change keeps its values. A block of an idle chain therefore
costs its header alone.

On a chain that makes empty blocks the next block is asked for shortly before it is expected, then
at short intervals until it is there (``block_timing``).

A header is refused if it lacks seals, has a wrong hash, does not follow the last header or differs
from a header already seen at its height; a proof is refused if it does not hold. The head then
stays where it is. After the stale bound nothing is allowed any more (``chain_view_stale``, or
``chain_header_refused`` with the reason). The view switches to another node after a refusal, and
when a node shows no new block for long although its engine makes empty ones.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from chain.core.errors import (
    BadInput,
    ChainUnavailable,
    QiaolianError,
    Unavailable,
)
from chain.ethereum.block_timing import BlockTiming
from chain.ethereum.deployment import Deployment
from chain.ethereum.finality import CheckedHeader, FinalityRule, header_refused
from chain.ethereum.header_chain import HeaderChain
from chain.ethereum.log_prover import LogProver
from chain.ethereum.outcome_prover import OutcomeProver
from chain.ethereum.proved_records import Key, ProvedRecords, StorageKey
from chain.ethereum.receipts import ProvedLogs
from chain.ethereum.rpc import Rpc, RpcRefused
from chain.ethereum.storage_proofs import StorageProof
from chain.ethereum.storage_prover import StorageProver, by_contract, proof_refused
from chain.ethereum.view_snapshot import ChainHead, ProvedStorage, RecordProofs, Snapshot

log = logging.getLogger("qiaolian.view")

MAX_WATCHED_KEYS = 4096
CLOCK_SECONDS = 5.0
"""A clock further ahead of the blocks' time is reported as the cause of a stale view."""
MAX_ATTEMPTS = 5
"""Requests for a proof, each under the chain's latest block, before a refusal is raised."""


Following = Callable[[ProvedRecords], Iterable[StorageKey]]
"""The records that proved ones name."""


class ChainView:
    """Follows one chain. Thread-safe."""

    def __init__(
        self,
        rpc_urls: str | Sequence[str],
        deployment: Deployment,
        rule: FinalityRule,
        *,
        stale_seconds: float = 15.0,
        poll_seconds: float = 0.4,
        watch_seconds: float = 30.0,
        stall_seconds: float = 5.0,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            clock: this machine's clock, in Unix seconds.
            rule: ``KaiaIbft(validators)``; in tests on anvil ``UnsealedForTestsOnly()``.
            poll_seconds: longest pause between two requests for a block that may be there.
            watch_seconds: values read within this time are proved again at each block.
            stall_seconds: without a new block for so long, the view switches to the next node
                (only on a chain that makes empty blocks).
        """
        urls = (rpc_urls,) if isinstance(rpc_urls, str) else tuple(rpc_urls)
        self.deployment = deployment
        self.stale_seconds = stale_seconds
        self._rpc = Rpc(
            urls,
            chain_id=deployment.chain_id,
            genesis_hash=deployment.genesis_hash,
            timeout=timeout,
        )
        self._rule = rule
        self._poll_seconds = poll_seconds
        self._watch_seconds = watch_seconds
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._timing = BlockTiming(poll_seconds)
        self._snapshot: Snapshot | None = None
        self._headers = HeaderChain(self._rpc, rule)
        self._prover = StorageProver(self._rpc, deployment)
        self._logs = LogProver(self._rpc, rule, deployment)
        self._outcomes = OutcomeProver(self._rpc, rule)
        self._used: dict[StorageKey, float] = {}
        self._last_error: QiaolianError | None = None
        self._polling = threading.Lock()
        self._advanced = threading.Condition()
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    # --- lifecycle --------------------------------------------------------------------------------

    def start(self, *, wait_seconds: float = 0.0) -> None:
        """Start following; with ``wait_seconds``, wait until the view is fresh or raise the error
        that prevents it.
        """
        self._thread = threading.Thread(target=self._follow, name="chain-view", daemon=True)
        self._thread.start()
        if wait_seconds:
            self.wait_for_height(0, wait_seconds)

    def stop(self) -> None:
        """Stop following."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._rpc.close()

    def wait_for_height(self, height: int, timeout: float) -> ChainHead:
        """Wait until the head is at least that high; after ``timeout`` seconds raise the error that
        prevents it.

        The view polls at once instead of after its interval.
        """
        with self._advanced:
            if self._snapshot is None or self._snapshot.head.height < height:
                self._wake.set()
            self._advanced.wait_for(
                lambda: self._snapshot is not None and self._snapshot.head.height >= height, timeout
            )
        head = self.require_fresh()
        if head.height < height:
            raise _stale(f"The chain view is at block {head.height} and waits for {height}.", None)
        return head

    # --- proved reads -----------------------------------------------------------------------------

    @property
    def head(self) -> ChainHead:
        """The latest checked header, however old; ``chain_view_stale`` before the first."""
        return self._require_snapshot().head

    @property
    def age(self) -> float:
        """Seconds since the head was first seen; on a chain that makes empty blocks also since its
        timestamp, whichever is longer.
        """
        return self._age(self._require_snapshot().head)

    @property
    def clock_offset(self) -> float | None:
        """This node's clock minus the blocks' time, in seconds: the smallest difference lately, so
        that network delay counts least. None before the first blocks, and on a chain that makes
        no empty ones.
        """
        return self._timing.clock_offset if self._rule.makes_empty_blocks else None

    @property
    def last_error(self) -> QiaolianError | None:
        """Why the last poll failed, or None."""
        return self._last_error

    def require_fresh(self) -> ChainHead:
        """The head, if it is no older than the stale bound.

        Raises:
            Unavailable: ``chain_view_stale``, or what prevented the view from advancing
                (``chain_header_refused``, ``chain_wrong_id``, ``chain_unreachable``).
        """
        return self._fresh().head

    def proved(
        self,
        wanted: Iterable[StorageKey],
        *,
        following: Following | None = None,
        watch: bool = True,
    ) -> ProvedRecords:
        """Records proved under one block, for a decision that reads nothing else of the chain: a
        look-up if they were read lately, else one exchange.

        Args:
            following: the further records that those proved so far name, such as the member of a
                key; all are proved under one block.
            watch: prove them again at each block while they are read; otherwise they are proved
                under this head only.

        Raises:
            Unavailable: as ``require_fresh``; ``chain_proof_refused`` when the node's proof does
                not hold.
        """
        records = dict.fromkeys(wanted)
        for _ in range(MAX_ATTEMPTS):
            found = self._snapshot_with(records, watch=watch).records(records)
            named = dict.fromkeys(following(found)) if following is not None else {}
            if named.keys() <= records.keys():
                return found
            records |= named
        raise proof_refused("The records to be proved together name others in each block.")

    async def aproved(
        self, wanted: Iterable[StorageKey], *, following: Following | None = None
    ) -> ProvedRecords:
        """``proved`` for coroutines: leaves the event loop free while a missing record is
        fetched.
        """
        records = dict.fromkeys(wanted)
        snapshot = self._fresh()
        if following is None and records.keys() <= snapshot.values.keys():
            self._watch(records)
            return snapshot.records(records)
        return await asyncio.to_thread(self.proved, records, following=following)

    def proof(
        self,
        contract: str,
        variable: str,
        key: Key,
        *more_keys: Key,
        offset: int = 0,
        height: int | None = None,
    ) -> ProvedStorage:
        """A storage proof and its header for a bundle; see ``proofs``."""
        record = StorageKey(contract, variable, (key, *more_keys), offset)
        proved = self.proofs([record], height=height)
        return ProvedStorage(proved.proofs[record], proved.header)

    def proofs(self, records: Collection[StorageKey], *, height: int | None = None) -> RecordProofs:
        """Storage proofs to be stored or shown: at the head, or at ``height`` if the engine stores
        that state.
        """
        for attempt in range(MAX_ATTEMPTS):
            try:
                if attempt:
                    self._poll_once()
                header = self._fresh().header if height is None else self.header(height)
                proofs: dict[StorageKey, StorageProof] = {}
                for _, _, proved in self._prover.prove(header, records):
                    proofs.update(proved)
                return RecordProofs(header, proofs)
            except QiaolianError as error:
                # At a given height another attempt cannot help.
                if height is not None or not _may_retry(error, attempt):
                    raise
        raise proof_refused("The chain node gives no proof for its latest block.")

    def header(self, height: int) -> CheckedHeader:
        """A checked header at or below the head.

        Raises:
            Unavailable: ``chain_header_refused`` when it does not check, or the nodes' failures.
            BadInput: ``height_ahead`` for a height the chain has not reached.
        """
        return self._headers.header(height, head=self.head.height)

    def headers(self, first: int, last: int) -> list[CheckedHeader]:
        """The checked headers of consecutive blocks at or below the head; raises as ``header``."""
        return self._headers.headers(first, last, head=self.head.height)

    def logs(self, first: int, last: int) -> ProvedLogs:
        """All logs of the network's contracts in consecutive blocks at or below the head, proved to
        be complete.

        A header's bloom proves that a block has no such log; the logs of other blocks come from
        all their receipts, whose root is the header's. Covers at least one block and stops early
        after many logs. If a node's answer does not hold, the next node is asked.

        Raises:
            Unavailable: ``chain_receipts_refused`` when no node's receipts hold; as ``headers``.
            BadInput: ``height_ahead``.
        """
        for remaining in reversed(range(len(self._rpc.urls))):
            try:
                return self._logs.logs(self.headers(first, last))
            except BadInput:
                raise
            except QiaolianError as error:
                log.warning("view: %s (%s)", error.sentence, error.code)
                self._rpc.switch_node()
                if not remaining:
                    raise
        raise AssertionError("unreachable")

    def outcomes(self, height: int) -> Mapping[bytes, bool]:
        """Whether each transaction of a block at or below the head succeeded, by its hash, proved
        under its checked header; raises as ``OutcomeProver.outcomes``, and ``height_ahead``.
        """
        if height > self.head.height:
            raise BadInput("height_ahead", f"The chain view has not reached block {height}.")
        return self._outcomes.outcomes(height)

    def quiet_head(self, first: int) -> CheckedHeader | None:
        """The head, if every block from ``first`` up to it is stored and has, by its bloom, no log
        of the network's contracts; else None. Asks no node.
        """
        head = self._require_snapshot().header
        for height in range(first, head.height + 1):
            header = self._headers.stored(height)
            if header is None or self._logs.may_have(header):
                return None
        return head

    # --- following --------------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._poll_once()
                if self._is_stalled():
                    self._rpc.switch_node()
            except QiaolianError as error:
                self._report(error)
                if not isinstance(error, Unavailable) or error.code in (
                    "chain_header_refused",
                    "chain_proof_refused",
                ):
                    self._rpc.switch_node()
            except Exception:
                # The view continues with another node, whatever this one answers.
                log.exception("view: an answer of the chain node could not be read")
                self._report(header_refused("What the chain node answered cannot be read."))
                self._rpc.switch_node()
            self._wake.wait(self._pause())
            self._wake.clear()

    def _pause(self) -> float:
        """Seconds until the next block is asked for."""
        if not self._rule.makes_empty_blocks or self._last_error is not None:
            return self._poll_seconds
        return self._timing.pause()

    def _is_stalled(self) -> bool:
        """Whether new blocks are overdue: the node may have stopped following and still answer."""
        return (
            self._rule.makes_empty_blocks
            and self._clock() - self._require_snapshot().head.seen_at > self._stall_seconds
        )

    def _report(self, error: QiaolianError) -> None:
        if self._last_error is None or self._last_error.code != error.code:
            log.warning("view: %s (%s)", error.sentence, error.code)
        self._last_error = error

    def _poll_once(self) -> None:
        """Poll once: take the latest header if it is new, and prove the values in use under it."""
        with self._polling:
            header = self._headers.latest()
            before = self._snapshot
            if before is not None and header.height <= before.header.height:
                self._timing.missed()
                self._same_or_older(before, header)
                return
            if before is not None:
                self._headers.require_linked(before.header, header)
            head = ChainHead(header.height, header.block_hash, header.timestamp, self._clock())
            self._timing.advanced(None if before is None else before.head, head)
            snapshot = Snapshot(header, head)
            self._renew(before, snapshot)
            self._publish(snapshot)

    def _publish(self, snapshot: Snapshot) -> None:
        self._headers.store(snapshot.header)
        self._snapshot = snapshot
        self._last_error = None
        with self._advanced:
            self._advanced.notify_all()

    def _same_or_older(self, before: Snapshot, header: CheckedHeader) -> None:
        known = self._headers.stored(header.height)
        if known is not None and known.block_hash != header.block_hash:
            raise header_refused(f"The chain node gave a second, different block {header.height}.")
        if header.height == before.header.height:
            self._last_error = None
            if not self._rule.makes_empty_blocks:
                head = ChainHead(header.height, header.block_hash, header.timestamp, self._clock())
                self._snapshot = Snapshot(before.header, head, before.roots, before.values)

    def _renew(self, before: Snapshot | None, snapshot: Snapshot) -> None:
        """Carry the values in use over to a new head; prove those of changed contracts again."""
        if before is None:
            return
        since = time.monotonic() - self._watch_seconds
        if len(self._used) > MAX_WATCHED_KEYS:
            newest = sorted(self._used.items(), key=lambda item: item[1])[-MAX_WATCHED_KEYS:]
            self._used = dict(newest)
        watched = [storage_key for storage_key, used in list(self._used.items()) if used >= since]
        self._used = {storage_key: self._used[storage_key] for storage_key in watched}
        if snapshot.header.state_root == before.header.state_root:
            self._keep(before, snapshot, watched)
            return
        groups = by_contract(watched)
        changed = self._contracts_changed(before, snapshot, list(groups))
        for contract, storage_keys in groups.items():
            if contract not in changed:
                self._keep(before, snapshot, storage_keys)
        self._prove_into(
            snapshot, [storage_key for contract in changed for storage_key in groups[contract]]
        )

    def _keep(
        self, before: Snapshot, snapshot: Snapshot, storage_keys: Iterable[StorageKey]
    ) -> None:
        """Take over values whose contract, or whose chain, is in the same state as before."""
        for storage_key in storage_keys:
            if storage_key in before.values:
                snapshot.values[storage_key] = before.values[storage_key]
                root = before.roots.get(storage_key.contract)
                if root is not None:
                    snapshot.roots[storage_key.contract] = root

    def _contracts_changed(
        self, before: Snapshot, snapshot: Snapshot, names: Sequence[str]
    ) -> list[str]:
        snapshot.roots.update(self._prover.storage_roots(snapshot.header, names))
        return [name for name in names if before.roots.get(name) != snapshot.roots[name]]

    def _snapshot_with(self, wanted: Collection[StorageKey], *, watch: bool) -> Snapshot:
        """A fresh snapshot that has every record wanted."""
        snapshot = self._fresh()
        if any(record not in snapshot.values for record in wanted):
            snapshot = self._fetch(wanted)
        if watch:
            self._watch(wanted)
        return snapshot

    def _watch(self, records: Iterable[StorageKey]) -> None:
        """Prove the records again at each block for a while."""
        self._used.update(dict.fromkeys(records, time.monotonic()))

    # --- proving ----------------------------------------------------------------------------------

    def _fetch(self, wanted: Collection[StorageKey]) -> Snapshot:
        """Prove what is missing under the head; returns the snapshot that has everything."""
        for attempt in range(MAX_ATTEMPTS):
            try:
                if attempt:
                    self._poll_once()
                snapshot = self._fresh()
                self._prove_into(
                    snapshot,
                    [record for record in wanted if record not in snapshot.values],
                )
                return snapshot
            except QiaolianError as error:
                if not _may_retry(error, attempt):
                    raise
                log.debug("view: %s", error.sentence)
        raise proof_refused("The chain node gives no proof for its latest block.")

    def _prove_into(self, snapshot: Snapshot, storage_keys: Sequence[StorageKey]) -> None:
        for contract, root, proofs in self._prover.prove(snapshot.header, storage_keys):
            snapshot.roots[contract] = root
            snapshot.values.update((key, proof.value) for key, proof in proofs.items())

    # --- freshness --------------------------------------------------------------------------------

    def _require_snapshot(self) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is None:
            raise self._last_error_or(_stale("The chain view has not seen a block yet.", None))
        return snapshot

    def _fresh(self) -> Snapshot:
        snapshot = self._require_snapshot()
        age = self._age(snapshot.head)
        if age > self.stale_seconds:
            raise self._last_error_or(
                self._clock_ahead()
                or _stale(f"The chain view is {age:.0f} s old.", snapshot.head.height)
            )
        return snapshot

    def _clock_ahead(self) -> Unavailable | None:
        """The error if this node's clock makes the view stale: new blocks arrive and look old."""
        offset = self.clock_offset
        if (
            offset is None
            or offset < CLOCK_SECONDS
            or self._clock() - self._require_snapshot().head.seen_at > self.stale_seconds
        ):
            return None
        return Unavailable(
            "chain_view_stale",
            f"This node's clock is {offset:.0f} s ahead of the time of new blocks, "
            "so each counts as old.",
            hint="Set this machine's clock by a time server. "
            "If it is right, the chain node lags behind: use another.",
        )

    def _last_error_or(self, stale: Unavailable) -> QiaolianError:
        error = self._last_error
        return error if isinstance(error, Unavailable) else stale

    def _age(self, head: ChainHead) -> float:
        now = self._clock()
        return max(
            now - head.seen_at, now - head.timestamp if self._rule.makes_empty_blocks else 0.0
        )


def _may_retry(error: QiaolianError, attempt: int) -> bool:
    """Whether a new block may have caused the refusal, so that another attempt can succeed.

    An engine that keeps no old state refuses the question; one that is just making a block may
    prove by the new block's state already. A proof that does not hold is never taken, and the last
    look's refusal stands.
    """
    return isinstance(error, RpcRefused) or (
        error.code == "chain_proof_refused" and attempt + 1 < MAX_ATTEMPTS
    )


def _stale(sentence: str, height: int | None) -> Unavailable:
    return ChainUnavailable(
        "chain_view_stale",
        sentence + " Nothing is allowed on an old view.",
        hint="Check that the validators make blocks and that this node reaches one; "
        "the request can be repeated.",
        height=height,
    )
