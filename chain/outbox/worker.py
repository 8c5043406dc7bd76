"""The outbox worker: the only owner of a sending key's nonces.

Three loops run in three threads. *Signing* takes queued calls in the order of
``chain.outbox.rules``, assigns the next nonces and stores the signed bytes. *Sending* submits the
bytes to a chain node, in batches. *Watching* follows the blocks, finds its own transactions, proves
their outcomes under the blocks' headers and stores them. From time to time it also sweeps the calls
that have been in flight for long: bytes that a node has dropped are sent again unchanged.

Invariants across a kill between any two steps:

1. Bytes are durable before they are first sent, and a stored call is not signed again while its
   bytes can still enter a block. So a call takes effect at most once.
2. When the worker starts, it looks up every call that is not final and sends it again. So a call
   takes effect at least once.
3. Nonces are assigned by compare-and-swap in the database, so a second worker started by mistake
   cannot assign one twice.
4. Bytes are discarded, and their call signed again, only when the chain shows that another
   transaction has used their nonce (a database restored from an old backup, a key used elsewhere).
   Then they can never take effect.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from chain.core.database import Database
from chain.core.errors import Conflict, Unavailable
from chain.ethereum.finality import FinalityRule
from chain.ethereum.ledger import Ledger
from chain.ethereum.ledger.port import TransactionReceipt
from chain.ethereum.outcome_prover import OutcomeProver
from chain.ethereum.rpc import RpcRefused
from chain.ethereum.transactions import Signer, gas_for, sign_transaction
from chain.outbox.journal import FinalOutcome, Journal, QueuedCall, SignedCall
from chain.outbox.rules import next_calls

log = logging.getLogger("qiaolian.outbox")

T = TypeVar("T")

_NONCE_TAKEN = (
    "known transaction",
    "already known",
    "already imported",
    "already in the pool",
    "already exist",
)
"""Messages of engines that already have the same transaction."""

IDLE_SECONDS = 0.25
"""How often a worker without work looks for some; it begins with shorter pauses."""
QUIET_SECONDS = 5.0
"""How often it looks for blocks while no call is in flight; sending one wakes it."""
REPORT_SECONDS = 5.0
"""Seconds between two reports that the worker runs."""

_USED = ("nonce too low", "nonce is too low", "nonce is lower")


class OutboxWorker:
    """Sends one key's calls. ``run`` blocks until it is stopped, and continues where an earlier
    worker stopped.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        signer: Signer,
        rule: FinalityRule,
        *,
        batch: int = 200,
        max_in_flight: int = 3000,
        max_bulk_in_flight: int = 300,
        poll_seconds: float = 0.05,
        block_seconds: float = 0.25,
        resend_seconds: float = 5.0,
    ) -> None:
        self._ledger = ledger
        self._signer = signer
        self._address = signer.address
        self._journal = Journal(database, signer.address)
        self._prover = OutcomeProver(ledger.rpc, rule)
        self._batch = batch
        self._max_in_flight = max_in_flight
        self._max_bulk_in_flight = max_bulk_in_flight
        self._poll = poll_seconds
        self._block_poll = block_seconds
        self._resend = resend_seconds
        self._flight = _InFlight()
        self._sending: queue.SimpleQueue[list[SignedCall]] = queue.SimpleQueue()
        self._nonce = 0
        self._nonce_lock = threading.Lock()
        self._queued, self._sent = threading.Event(), threading.Event()

    def wake(self) -> None:
        """Look for queued calls now instead of after the poll interval, when a caller in this
        process has just queued one.
        """
        self._queued.set()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set.

        A chain that cannot be reached, or a full disk, is waited out. What no waiting repairs (a
        broken database, a programming error) ends all loops and is raised here.
        """
        failures: list[BaseException] = []
        if not _persist(stop, self._recover):
            return
        loops = [
            threading.Thread(
                target=self._run_loop,
                args=(loop, stop, failures),
                name=f"outbox-{name}",
                daemon=True,
            )
            for name, loop in (
                ("sign", self._sign_loop),
                ("send", self._send_loop),
                ("watch", self._watch_loop),
            )
        ]
        for thread in loops:
            thread.start()
        for thread in loops:
            thread.join()
        if failures:
            raise failures[0]

    def _run_loop(
        self,
        loop: Callable[[threading.Event], None],
        stop: threading.Event,
        failures: list[BaseException],
    ) -> None:
        """Run one loop; once it ends, the others need not wait out their pauses."""
        try:
            _guard(loop, stop, failures)
        finally:
            self._queued.set()
            self._sent.set()
            self._sending.put([])

    # --- starting ---------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Continue an earlier worker's calls: settle those in blocks by now, send the
        rest again.
        """
        self._height = self._ledger.height()
        self._nonce = self._journal.start(self._ledger.nonce(self._address))
        left = self._journal.in_flight()
        self._flight.add(left)
        for part in _chunks(left, self._batch):
            self._settle_found(self._ledger.receipts([call.tx_hash for call in part]))
        again = self._flight.all()
        for part in _chunks(again, self._batch):
            self._sending.put(part)
        if left:
            log.info(
                "outbox: %d calls were in flight, %d of them are in blocks",
                len(left),
                len(left) - len(again),
            )

    # --- signing ----------------------------------------------------------------------------------

    def _sign_loop(self, stop: threading.Event) -> None:
        pause = self._poll
        nothing_at: tuple[int | None, int] | None = None
        """Database version and calls in flight when nothing could be signed."""
        while not stop.is_set():
            in_flight = len(self._flight)
            found_at = (self._journal.version(), in_flight)
            waiting = []
            if found_at[0] is None or found_at != nothing_at:
                waiting = self._next_calls(in_flight)
                nothing_at = None if waiting else found_at
            if waiting:
                pause = self._poll
                self._sign(waiting)
                continue
            _pause(self._queued, pause)
            pause = min(pause * 1.25, max(self._poll, IDLE_SECONDS))

    def _next_calls(self, in_flight: int) -> list[QueuedCall]:
        """The calls that are signed next, while so many are in flight."""
        capacity = min(self._batch, self._max_in_flight - in_flight)
        bulk_capacity = self._max_bulk_in_flight - in_flight
        queued = self._journal.queued(capacity, bulk_capacity) if capacity > 0 else []
        return next_calls(queued, nonce=self._nonce, capacity=capacity, bulk_capacity=bulk_capacity)

    def _sign(self, waiting: Sequence[QueuedCall]) -> None:
        with self._nonce_lock:
            signed = [self._signed(call, self._nonce + index) for index, call in enumerate(waiting)]
            try:
                self._journal.store_signed(signed)
            except Conflict as conflict:
                log.warning("outbox: %s", conflict.sentence)
                self._nonce = self._journal.start(self._ledger.nonce(self._address))
                return
            self._nonce += len(signed)
        self._flight.add(signed)
        self._sending.put(signed)

    def _signed(self, call: QueuedCall, nonce: int) -> SignedCall:
        deployment = self._ledger.deployment
        made = sign_transaction(
            self._signer,
            chain_id=deployment.chain_id,
            nonce=nonce,
            to=deployment.address(call.contract),
            data=call.data,
            gas=gas_for(call.data),
        )
        return SignedCall(call.id, call.contract, call.data, nonce, made.raw, made.transaction_hash)

    # --- sending ----------------------------------------------------------------------------------

    def _send_loop(self, stop: threading.Event) -> None:
        while not stop.is_set():
            part = self._sending.get()
            still = [call for call in part if call.tx_hash in self._flight]
            if still:
                _persist(stop, lambda calls=still: self._send(calls))  # type: ignore[misc]
                self._sent.set()

    def _send(self, calls: Sequence[SignedCall]) -> None:
        answers = self._ledger.send([signed_call.raw for signed_call in calls])
        self._flight.touch(calls)
        refused: dict[int, str] = {}
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, RpcRefused):
                message = answer.message.lower()
                # A used nonce is most often this very transaction, in a block by now; the sweep
                # finds out.
                if not any(name in message for name in (*_NONCE_TAKEN, *_USED)):
                    refused[call.id] = answer.message
        self._journal.store_sent([call.id for call in calls if call.id not in refused])
        if refused:
            self._journal.store_notes(refused)
            log.warning(
                "outbox: a node refused %d calls for now: %s",
                len(refused),
                next(iter(refused.values())),
            )

    # --- watching ---------------------------------------------------------------------------------

    def _watch_loop(self, stop: threading.Event) -> None:
        swept, height = time.monotonic(), self._height
        reported = float("-inf")
        while not stop.is_set():
            if time.monotonic() - reported >= REPORT_SECONDS:
                self._journal.report_running(time.time())
                reported = time.monotonic()
            _persist(stop, self._follow)
            if time.monotonic() - swept >= self._resend:
                if len(self._flight) and self._height == height:
                    # Calls wait and no block comes: the node asked may have stopped, and still
                    # answer.
                    self._ledger.rpc.switch_node()
                _persist(stop, self._sweep)
                swept, height = time.monotonic(), self._height
            _pause(self._sent, self._block_poll if len(self._flight) else QUIET_SECONDS)

    def _follow(self) -> None:
        """Read the blocks since last time and settle the calls that are in them."""
        latest = self._ledger.height()
        if not len(self._flight):
            # Asked in this order: what is added from now on can only enter a block after
            # ``latest``.
            self._height = max(self._height, latest)
            return
        while self._height < latest:
            heights = range(self._height + 1, min(self._height + 20, latest) + 1)
            for block in self._ledger.blocks(heights):
                if block is None:
                    return
                if any(transaction in self._flight for transaction in block.transactions):
                    self._settle(block.height)
                self._height = block.height

    def _settle_found(self, receipts: Sequence[TransactionReceipt | None]) -> None:
        """Settle the blocks that a chain node reports for some calls."""
        for height in sorted({receipt.height for receipt in receipts if receipt is not None}):
            self._settle(height)

    def _settle(self, height: int) -> None:
        """Store the outcomes that a block is proved to have of calls in flight, then drop these. A
        call that a chain node only reports to be there stays in flight.
        """
        ended: list[tuple[SignedCall, bool]] = []
        for tx_hash, succeeded in self._prover.outcomes(height).items():
            call = self._flight.get(tx_hash)
            if call is not None:
                ended.append((call, succeeded))
        self._journal.store_outcomes(
            [self._outcome(call, height, succeeded=succeeded) for call, succeeded in ended]
        )
        self._flight.remove([call.tx_hash for call, _ in ended])

    def _outcome(self, call: SignedCall, height: int, *, succeeded: bool) -> FinalOutcome:
        if succeeded:
            return FinalOutcome(call.id, height)
        address = self._ledger.deployment.address(call.contract)
        reason = self._ledger.revert_reason(
            address, call.data, self._address, height, transaction_hash=call.tx_hash
        )
        log.warning("outbox: %s refused call %d: %s", call.contract, call.id, reason.code)
        return FinalOutcome(call.id, height, reason.code, reason.context)

    def _sweep(self) -> None:
        """Check the calls that have been in flight for long, lowest nonces first."""
        late = self._flight.untouched(self._resend)[: self._batch]
        if not late:
            return
        # One node answers both, so that nonce and receipts are of one state; taken twice before
        # bytes are given up.
        used = self._ledger.nonce(self._address)
        receipts = self._ledger.receipts([signed_call.tx_hash for signed_call in late])
        self._settle_found(receipts)
        missing = [call for call, receipt in zip(late, receipts, strict=True) if receipt is None]
        displaced = self._flight.suspect([call for call in missing if call.nonce < used])
        if displaced:
            log.warning(
                "outbox: another transaction used the nonce of %d calls; they are signed again",
                len(displaced),
            )
            with self._nonce_lock:
                self._nonce = self._journal.requeue([call.id for call in displaced], used)
            self._flight.remove([call.tx_hash for call in displaced])
        again = [call for call in missing if call.nonce >= used]
        if again:
            self._sending.put(again)


class _InFlight:
    """The calls whose outcome is not known yet, shared by the three loops."""

    def __init__(self) -> None:
        self._calls: dict[bytes, SignedCall] = {}
        self._touched: dict[bytes, float] = {}
        self._suspected: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, tx_hash: bytes) -> bool:
        return tx_hash in self._calls

    def get(self, tx_hash: bytes) -> SignedCall | None:
        return self._calls.get(tx_hash)

    def add(self, calls: Sequence[SignedCall]) -> None:
        now = time.monotonic()
        with self._lock:
            for call in calls:
                self._calls[call.tx_hash] = call
                self._touched[call.tx_hash] = now

    def touch(self, calls: Sequence[SignedCall]) -> None:
        """Record that the calls were just sent."""
        now = time.monotonic()
        with self._lock:
            self._touched.update(
                (call.tx_hash, now) for call in calls if call.tx_hash in self._calls
            )

    def remove(self, hashes: Sequence[bytes]) -> None:
        with self._lock:
            for tx_hash in hashes:
                self._calls.pop(tx_hash, None)
                self._touched.pop(tx_hash, None)
                self._suspected.pop(tx_hash, None)

    def all(self) -> list[SignedCall]:
        with self._lock:
            return sorted(self._calls.values(), key=lambda call: call.nonce)

    def untouched(self, seconds: float) -> list[SignedCall]:
        """Calls last sent at least ``seconds`` ago, by nonce."""
        before = time.monotonic() - seconds
        with self._lock:
            late = [
                self._calls[tx_hash] for tx_hash, since in self._touched.items() if since <= before
            ]
        return sorted(late, key=lambda call: call.nonce)

    def suspect(self, calls: Sequence[SignedCall]) -> list[SignedCall]:
        """Count the calls whose nonce is used without a receipt; those counted three times."""
        with self._lock:
            for call in calls:
                self._suspected[call.tx_hash] = self._suspected.get(call.tx_hash, 0) + 1
            return [call for call in calls if self._suspected[call.tx_hash] >= 3]


def _persist(stop: threading.Event, step: Callable[[], None]) -> bool:
    """Do a step, again and again while what it needs is unavailable; False if asked to
    stop first.
    """
    pause = 0.2
    while not stop.is_set():
        try:
            step()
            return True
        except (Unavailable, RpcRefused) as error:
            log.warning("outbox: %s (%s)", error.sentence, error.code)
            stop.wait(pause)
            pause = min(pause * 2, 5.0)
    return False


def _pause(event: threading.Event, seconds: float) -> None:
    """Wait for the event at most so long, and clear it."""
    event.wait(seconds)
    event.clear()


def _guard(
    loop: Callable[[threading.Event], None], stop: threading.Event, failures: list[BaseException]
) -> None:
    try:
        while not stop.is_set():
            try:
                loop(stop)
            except (Unavailable, RpcRefused) as error:
                log.warning("outbox: %s (%s)", error.sentence, error.code)
                stop.wait(1.0)
    except BaseException as error:  # handed to ``run``, which raises it in the caller's thread
        log.error("outbox: the %s loop ended: %s", threading.current_thread().name, error)
        failures.append(error)
        stop.set()


def _chunks(items: Sequence[T], size: int) -> list[list[T]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
