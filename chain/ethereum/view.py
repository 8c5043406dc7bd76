"""The node's own view of the chain: sealed headers it checked itself, and contract words proved
under them.

A thread follows the headers. Each new one is checked by the engine's ``FinalityRule``, linked to
the one before it, and then every word that was used lately is proved again under it, so that the
next look-up is a dictionary read. A word is never older than the head: head and words are published
together. What is read here may allow something; what a plain ``eth_call`` says may not.

A contract whose storage root did not change keeps its words; only where it changed are they proved
again, so an idle chain costs one account proof a contract and block.

What is refused: a header without enough seals or with a wrong hash, a header that does not follow
from the last one, another header at a height already seen, a proof that does not hold. Then the
head stays where it is and, after the stale bound, nothing is allowed any more
(``chain_view_stale``, or ``chain_header_refused`` with the reason). Another node is asked after a
refusal, and where a node shows no new block for long though its engine makes empty ones.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import contracts
from chain.core.errors import (
    BadInput,
    ChainUnavailable,
    Malformed,
    QiaolianError,
    Unavailable,
    VerificationError,
)
from chain.ethereum import storage_proofs
from chain.ethereum.deployment import Deployment
from chain.ethereum.eip712 import encode_member
from chain.ethereum.finality import CheckedHeader, FinalityRule, header_refused
from chain.ethereum.proved_records import Key, ProvedRecords, StorageKey
from chain.ethereum.receipts import BlockLogs, ProvedLogs, bloom_bits, may_have_logs, receipts_root
from chain.ethereum.rpc import Call, Rpc, RpcRefused
from chain.ethereum.storage_proofs import StorageProof

log = logging.getLogger("qiaolian.view")

MAX_LINKED_HEADERS = 64
"""Up to so many missed headers are fetched to check the links; after a longer absence the seals
alone decide.
"""
MAX_WATCHED_KEYS = 4096
MAX_SLOTS_PER_CALL = 100
MAX_STORED_HEADERS = 512
LAGS_KEPT = 16
"""How many blocks the clock is compared with: the one that was seen soonest counts."""
CLOCK_SECONDS = 5.0
"""A clock that is further from the time of the blocks is named as the cause of a stale view."""
MAX_LOGS = 5_000
"""Once so many logs are read, the range of blocks ends."""
MAX_ATTEMPTS = 5
"""So often a proof is asked for, each time under the chain's latest block, before its refusal
stands.
"""


@dataclass(frozen=True)
class ChainHead:
    """The latest header that was checked."""

    height: int
    block_hash: bytes
    timestamp: int
    seen_at: float
    """Unix seconds when this node first saw it (when it was last confirmed, on a test chain that
    makes no empty blocks).
    """


@dataclass(frozen=True, slots=True)
class ProvedValue:
    """A storage word and the block it was proved in."""

    value: int
    height: int
    block_hash: bytes


@dataclass(frozen=True)
class ProvedStorage:
    """What a bundle carries of one word: the proof, and the header it hangs on."""

    proof: StorageProof
    header: CheckedHeader


@dataclass
class _Snapshot:
    """One head and what is proved under it."""

    header: CheckedHeader
    head: ChainHead
    roots: dict[str, bytes] = field(default_factory=dict)
    """Storage root by contract name."""
    values: dict[StorageKey, int] = field(default_factory=dict)


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
            watch_seconds: words used within this time are proved again at each block.
            stall_seconds: a node that shows no new block for so long is left for the next, on a
                chain that makes empty blocks.
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
        self._poll = poll_seconds
        self._watch = watch_seconds
        self._still = stall_seconds
        self._clock = clock
        self._lags: deque[float] = deque(maxlen=LAGS_KEPT)
        self._snapshot: _Snapshot | None = None
        self._headers: dict[int, CheckedHeader] = {}
        self._used: dict[StorageKey, float] = {}
        self._slots: dict[StorageKey, bytes] = {}
        self._bloom_bits = [bloom_bits(address) for address in deployment.contracts.values()]
        self._problem: QiaolianError | None = None
        self._stepping = threading.Lock()
        self._advanced = threading.Condition()
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    # --- lifecycle --------------------------------------------------------------------------------

    def start(self, *, wait_seconds: float = 0.0) -> None:
        """Begin to follow; with ``wait_seconds``, return once the view is fresh or raise what
        stands in the way.
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
        """Wait until the head is at least that high; raises what stands in the way after
        ``timeout`` seconds.

        The view looks at once instead of after its poll interval.
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

    # --- what may be believed ---------------------------------------------------------------------

    @property
    def head(self) -> ChainHead:
        """The latest checked header, however old; ``chain_view_stale`` before the first."""
        return self._require_snapshot().head

    @property
    def age(self) -> float:
        """Seconds since the head: by this node's sight of it and, on a chain that makes empty
        blocks, by its own timestamp.
        """
        return self._age(self._require_snapshot().head)

    @property
    def clock_offset(self) -> float | None:
        """This node's clock minus the time of the blocks, in seconds, as far as the way of a block
        to this node does not explain it; None before the first blocks, and on a chain that makes no
        empty ones.
        """
        lags = list(self._lags)
        return min(lags) if lags and self._rule.makes_empty_blocks else None

    @property
    def last_error(self) -> QiaolianError | None:
        """Why the last look at the chain failed, or None."""
        return self._problem

    def require_fresh(self) -> ChainHead:
        """The head, if it is within the stale bound.

        Raises:
            Unavailable: ``chain_view_stale``, or what kept the view from advancing
                (``chain_header_refused``, ``chain_wrong_id``, ``chain_unreachable``).
        """
        return self._fresh().head

    def proved_value(
        self, contract: str, variable: str, key: Key, *more_keys: Key, offset: int = 0
    ) -> ProvedValue:
        """One word of a mapping, proved under the head; a dictionary read when it was used lately,
        else one request.

        Args:
            variable: the state variable's name without its leading underscore.
            key: ``bytes32`` or ``bytes18`` as bytes, a member id as text, or an integer;
                ``more_keys`` for nested mappings.
            offset: which word, for a value that takes several.

        Raises:
            Unavailable: as ``require_fresh``; ``chain_proof_refused`` when the node's proof does
                not hold.
        """
        return self.proved_values([StorageKey(contract, variable, (key, *more_keys), offset)])[0]

    def proved_values(
        self, wanted: Sequence[StorageKey], *, watch: bool = True
    ) -> list[ProvedValue]:
        """Several words, all proved under one head; what is not known yet is fetched in one
        exchange.

        Args:
            watch: prove them again at each block while they are in use; without it they are proved
                under this head only.
        """
        snapshot = self._snapshot_with(wanted, watch=watch)
        head = snapshot.head
        return [
            ProvedValue(snapshot.values[storage_key], head.height, head.block_hash)
            for storage_key in wanted
        ]

    def proved(self, wanted: Iterable[StorageKey], *, watch: bool = True) -> ProvedRecords:
        """Records proved under one block, for a decision that reads nothing else; raises and
        watches as ``proved_values``.
        """
        records = tuple(dict.fromkeys(wanted))
        snapshot = self._snapshot_with(records, watch=watch)
        head = snapshot.head
        return ProvedRecords(
            head.height,
            head.block_hash,
            head.timestamp,
            {record: snapshot.values[record] for record in records},
        )

    async def aproved(self, wanted: Iterable[StorageKey]) -> ProvedRecords:
        """``proved`` for coroutines: leaves the event loop free while a record that is not known
        yet is fetched.
        """
        records = tuple(dict.fromkeys(wanted))
        snapshot = self._fresh()
        if all(record in snapshot.values for record in records):
            return self.proved(records)
        return await asyncio.to_thread(self.proved, records)

    async def aproved_value(
        self, contract: str, variable: str, key: Key, *more_keys: Key, offset: int = 0
    ) -> ProvedValue:
        """``proved_value`` for coroutines: leaves the event loop free while a word that is not
        known yet is fetched.
        """
        return (
            await self.aproved_values([StorageKey(contract, variable, (key, *more_keys), offset)])
        )[0]

    async def aproved_values(self, wanted: Sequence[StorageKey]) -> list[ProvedValue]:
        """``proved_values`` for coroutines."""
        snapshot = self._fresh()
        if all(storage_key in snapshot.values for storage_key in wanted):
            return self.proved_values(wanted)
        return await asyncio.to_thread(self.proved_values, wanted)

    def proof(
        self,
        contract: str,
        variable: str,
        key: Key,
        *more_keys: Key,
        offset: int = 0,
        height: int | None = None,
    ) -> ProvedStorage:
        """A word and its header for a bundle: at the head, or at ``height`` where the engine keeps
        that state.
        """
        storage_key = StorageKey(contract, variable, (key, *more_keys), offset)
        for attempt in range(MAX_ATTEMPTS):
            try:
                if attempt:
                    self._step()
                header = self._fresh().header if height is None else self.header(height)
                return ProvedStorage(
                    self._prove(header, contract, [self._slot(storage_key)])[1][0], header
                )
            except QiaolianError as error:
                # At a height asked for, looking again cannot help.
                if height is not None or not _may_retry(error, attempt):
                    raise
        raise _proof_refused("The chain node gives no proof for its latest block.")

    def header(self, height: int) -> CheckedHeader:
        """A checked header at or below the head.

        Raises:
            Unavailable: ``chain_header_refused`` when it does not check.
            BadInput: ``height_ahead`` for a height the chain has not reached.
        """
        stored = self._headers.get(height)
        if stored is not None:
            return stored
        if height > self.head.height:
            raise BadInput("height_ahead", f"The chain view has not reached block {height}.")
        return self._checked(self._rpc.call(*_spread(self._rule.request(height))), height)

    def headers(self, first: int, last: int) -> list[CheckedHeader]:
        """The headers of consecutive blocks at or below the head.

        The last one's seals are checked. Each other is the parent that the next one names, which
        proves it as well and costs a tenth.

        Raises:
            Unavailable: ``chain_header_refused`` when one does not check, or the nodes' own
                failures.
            BadInput: ``height_ahead`` for a height the chain has not reached.
        """
        later = self.header(last)
        below = range(last - 1, first - 1, -1)
        known = {
            height: header for height in below if (header := self._headers.get(height)) is not None
        }
        missing = [height for height in below if height not in known]
        answers = self._batch([self._rule.request(height) for height in missing])
        known.update(
            (height, self._read(answer)) for height, answer in zip(missing, answers, strict=True)
        )
        found = [later]
        for height in below:
            if known[height].height != height or known[height].block_hash != found[-1].parent_hash:
                raise header_refused(
                    f"The chain node's block {height} does not lead to block {height + 1}."
                )
            found.append(known[height])
        return found[::-1]

    def logs(self, first: int, last: int) -> ProvedLogs:
        """What the network's contracts logged in consecutive blocks at or below the head, proved to
        be all of it.

        A header's bloom proves that a block has no log of ours; the logs of any other come from its
        receipts, all of them, whose root is the header's. Covers at least one block, and stops
        early where there are many logs. A node whose answer does not hold is left for the next one.

        Raises:
            Unavailable: ``chain_receipts_refused`` when no node's receipts hold; as ``headers``.
            BadInput: ``height_ahead``.
        """
        for remaining in reversed(range(len(self._rpc.urls))):
            try:
                return self._logs(first, last)
            except BadInput:
                raise
            except QiaolianError as error:
                log.warning("view: %s (%s)", error.sentence, error.code)
                self._rpc.switch_node()
                if not remaining:
                    raise
        raise AssertionError("unreachable")

    # --- following --------------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._step()
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
                # Whatever a node answers, the following goes on: with another node.
                log.exception("view: an answer of the chain node could not be read")
                self._report(header_refused("What the chain node answered cannot be read."))
                self._rpc.switch_node()
            self._wake.wait(self._poll)
            self._wake.clear()

    def _is_stalled(self) -> bool:
        """Whether blocks should have come by now: the node asked may have stopped, and still
        answer.
        """
        return (
            self._rule.makes_empty_blocks
            and self._clock() - self._require_snapshot().head.seen_at > self._still
        )

    def _report(self, error: QiaolianError) -> None:
        if self._problem is None or self._problem.code != error.code:
            log.warning("view: %s (%s)", error.sentence, error.code)
        self._problem = error

    def _step(self) -> None:
        """Look once: take the latest header if it is new, and prove the words in use under it."""
        with self._stepping:
            header = self._checked(self._rpc.call(*_spread(self._rule.request(None))), None)
            before = self._snapshot
            if before is not None and header.height <= before.header.height:
                self._same_or_older(before, header)
                return
            if before is not None:
                self._require_linked(before.header, header)
            head = ChainHead(header.height, header.block_hash, header.timestamp, self._clock())
            if before is not None:
                self._lags.append(head.seen_at - head.timestamp)
            snapshot = _Snapshot(header, head)
            self._renew(before, snapshot)
            self._publish(snapshot)

    def _publish(self, snapshot: _Snapshot) -> None:
        self._headers[snapshot.header.height] = snapshot.header
        while len(self._headers) > MAX_STORED_HEADERS:
            del self._headers[next(iter(self._headers))]
        self._snapshot = snapshot
        self._problem = None
        with self._advanced:
            self._advanced.notify_all()

    def _same_or_older(self, before: _Snapshot, header: CheckedHeader) -> None:
        known = self._headers.get(header.height)
        if known is not None and known.block_hash != header.block_hash:
            raise header_refused(f"The chain node gave a second, different block {header.height}.")
        if header.height == before.header.height:
            self._problem = None
            if not self._rule.makes_empty_blocks:
                head = ChainHead(header.height, header.block_hash, header.timestamp, self._clock())
                self._snapshot = _Snapshot(before.header, head, before.roots, before.values)

    def _require_linked(self, old: CheckedHeader, new: CheckedHeader) -> None:
        """Check the chain of parent hashes from the last head to the new one."""
        missing = range(old.height + 1, new.height)
        if len(missing) > MAX_LINKED_HEADERS:
            return
        answers = self._rpc.batch([self._rule.request(height) for height in missing])
        between = [
            self._checked(answer, height) for answer, height in zip(answers, missing, strict=True)
        ]
        for parent, child in zip([old, *between], [*between, new], strict=True):
            if child.parent_hash != parent.block_hash:
                raise header_refused(
                    f"The chain node's block {child.height} does not follow block {parent.height}."
                )
        self._headers.update((header.height, header) for header in between)

    def _checked(self, answer: Any, height: int | None) -> CheckedHeader:
        if isinstance(answer, RpcRefused):
            raise answer
        if not isinstance(answer, dict):
            raise header_refused("The chain node gave no header.")
        header = self._rule.check(answer)
        if height is not None and header.height != height:
            raise header_refused(f"The chain node gave block {header.height} for block {height}.")
        return header

    def _renew(self, before: _Snapshot | None, snapshot: _Snapshot) -> None:
        """Carry the words in use over to a new head, proved again where their contract changed."""
        if before is None:
            return
        since = time.monotonic() - self._watch
        if len(self._used) > MAX_WATCHED_KEYS:
            newest = sorted(self._used.items(), key=lambda item: item[1])[-MAX_WATCHED_KEYS:]
            self._used = dict(newest)
        watched = [storage_key for storage_key, used in list(self._used.items()) if used >= since]
        self._used = {storage_key: self._used[storage_key] for storage_key in watched}
        by_contract: dict[str, list[StorageKey]] = {}
        for storage_key in watched:
            by_contract.setdefault(storage_key.contract, []).append(storage_key)
        changed = self._contracts_changed(before, snapshot, list(by_contract))
        for contract, storage_keys in by_contract.items():
            if contract not in changed:
                snapshot.values.update(
                    (storage_key, before.values[storage_key])
                    for storage_key in storage_keys
                    if storage_key in before.values
                )
        self._prove_into(
            snapshot, [storage_key for contract in changed for storage_key in by_contract[contract]]
        )

    def _contracts_changed(
        self, before: _Snapshot, snapshot: _Snapshot, names: Sequence[str]
    ) -> list[str]:
        calls = [self._proof_call(snapshot.header, name, []) for name in names]
        for name, answer in zip(names, self._batch(calls), strict=True):
            snapshot.roots[name] = self._storage_root(snapshot.header, name, answer)
        return [name for name in names if before.roots.get(name) != snapshot.roots[name]]

    # --- logs -------------------------------------------------------------------------------------

    def _logs(self, first: int, last: int) -> ProvedLogs:
        headers = self.headers(first, last)
        ours = [header for header in headers if may_have_logs(header.logs_bloom, self._bloom_bits)]
        blocks: list[BlockLogs] = []
        for header in ours:
            # One block an exchange: what members can put into a block is bounded, and fits into an
            # answer.
            (answer,) = self._rpc.batch([self._rule.receipts_request(header.height)])
            blocks.append(self._block_logs(header, answer))
            if sum(len(block.logs) for block in blocks) >= MAX_LOGS:
                return ProvedLogs(header.height, header.block_hash, tuple(blocks))
        return ProvedLogs(headers[-1].height, headers[-1].block_hash, tuple(blocks))

    def _block_logs(self, header: CheckedHeader, answer: Any) -> BlockLogs:
        """A block's logs, once its receipts have the root that the header names."""
        if isinstance(answer, RpcRefused) or not isinstance(answer, list):
            raise _receipts_refused(f"The chain node gives no receipts of block {header.height}.")
        try:
            receipts = [self._rule.receipt(item) for item in answer]
        except (Malformed, AttributeError) as error:
            raise _receipts_refused(
                f"The chain node's receipts of block {header.height} cannot be read."
            ) from error
        if receipts_root([receipt.encoding for receipt in receipts]) != header.receipts_root:
            raise _receipts_refused(
                f"The chain node's receipts of block {header.height} are not that block's."
            )
        return BlockLogs(
            header.height,
            header.block_hash,
            tuple(found for receipt in receipts for found in receipt.logs),
        )

    def _read(self, answer: Any) -> CheckedHeader:
        if not isinstance(answer, dict):
            raise header_refused("The chain node gave no header.")
        return self._rule.read(answer)

    def _snapshot_with(self, wanted: Sequence[StorageKey], *, watch: bool) -> _Snapshot:
        """A fresh snapshot that has every record wanted."""
        snapshot = self._fresh()
        if any(record not in snapshot.values for record in wanted):
            snapshot = self._fetch(wanted)
        if watch:
            self._used.update(dict.fromkeys(wanted, time.monotonic()))
        return snapshot

    # --- proving ----------------------------------------------------------------------------------

    def _fetch(self, wanted: Sequence[StorageKey]) -> _Snapshot:
        """Prove what is missing under the head, and give the snapshot that has it all."""
        for attempt in range(MAX_ATTEMPTS):
            try:
                if attempt:
                    self._step()
                snapshot = self._fresh()
                self._prove_into(
                    snapshot,
                    [
                        storage_key
                        for storage_key in dict.fromkeys(wanted)
                        if storage_key not in snapshot.values
                    ],
                )
                return snapshot
            except QiaolianError as error:
                if not _may_retry(error, attempt):
                    raise
                log.debug("view: %s", error.sentence)
        raise _proof_refused("The chain node gives no proof for its latest block.")

    def _prove_into(self, snapshot: _Snapshot, storage_keys: Sequence[StorageKey]) -> None:
        by_contract: dict[str, list[StorageKey]] = {}
        for storage_key in storage_keys:
            by_contract.setdefault(storage_key.contract, []).append(storage_key)
        parts = [
            (contract, group[start : start + MAX_SLOTS_PER_CALL])
            for contract, group in by_contract.items()
            for start in range(0, len(group), MAX_SLOTS_PER_CALL)
        ]
        calls = [
            self._proof_call(
                snapshot.header, contract, [self._slot(storage_key) for storage_key in part]
            )
            for contract, part in parts
        ]
        for (contract, part), answer in zip(parts, self._batch(calls), strict=True):
            root, found = self._read_proof(
                snapshot.header, contract, [self._slot(storage_key) for storage_key in part], answer
            )
            snapshot.roots[contract] = root
            snapshot.values.update(
                (storage_key, proof.value) for storage_key, proof in zip(part, found, strict=True)
            )

    def _prove(
        self, header: CheckedHeader, contract: str, slots: Sequence[bytes]
    ) -> tuple[bytes, list[StorageProof]]:
        answer = self._batch([self._proof_call(header, contract, slots)])[0]
        return self._read_proof(header, contract, slots, answer)

    def _proof_call(self, header: CheckedHeader, contract: str, slots: Sequence[bytes]) -> Call:
        address = self.deployment.address(contract)
        return "eth_getProof", (address, ["0x" + slot.hex() for slot in slots], hex(header.height))

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        answers = self._rpc.batch(calls)
        for answer in answers:
            if isinstance(answer, RpcRefused):
                raise answer
        return answers

    def _storage_root(self, header: CheckedHeader, contract: str, answer: Any) -> bytes:
        try:
            nodes = [bytes.fromhex(item[2:]) for item in answer["accountProof"]]
            return storage_proofs.account_storage_root(
                header.state_root, self.deployment.address(contract), nodes
            )
        except (VerificationError, KeyError, TypeError, ValueError, IndexError) as error:
            raise _proof_refused(f"The chain node's proof of {contract} does not hold.") from error

    def _read_proof(
        self, header: CheckedHeader, contract: str, slots: Sequence[bytes], answer: Any
    ) -> tuple[bytes, list[StorageProof]]:
        """Check every slot of an answer under the header: the account once, then each slot under
        its storage root.
        """
        root = self._storage_root(header, contract, answer)
        address = self.deployment.address(contract)
        try:
            found = [StorageProof.from_rpc(answer, place) for place in range(len(slots))]
            for slot, proof in zip(slots, found, strict=True):
                if proof.slot != slot or proof.address != address:
                    raise _proof_refused(
                        f"The chain node proved another word of {contract} than the one asked for."
                    )
                if storage_proofs.storage_value(root, slot, proof.storage_proof) != proof.value:
                    raise _proof_refused(
                        f"The chain node's proof of {contract} shows another value."
                    )
        except (VerificationError, IndexError) as error:
            raise _proof_refused(f"The chain node's proof of {contract} does not hold.") from error
        return root, found

    def _slot(self, storage_key: StorageKey) -> bytes:
        known = self._slots.get(storage_key)
        if known is None:
            if len(self._slots) > 4 * MAX_WATCHED_KEYS:
                self._slots.clear()
            known = self._slots[storage_key] = storage_slot(storage_key)
        return known

    # --- freshness --------------------------------------------------------------------------------

    def _require_snapshot(self) -> _Snapshot:
        snapshot = self._snapshot
        if snapshot is None:
            raise self._problem_or(_stale("The chain view has not seen a block yet.", None))
        return snapshot

    def _fresh(self) -> _Snapshot:
        snapshot = self._require_snapshot()
        age = self._age(snapshot.head)
        if age > self.stale_seconds:
            raise self._problem_or(
                self._clock_ahead()
                or _stale(f"The chain view is {age:.0f} s old.", snapshot.head.height)
            )
        return snapshot

    def _clock_ahead(self) -> Unavailable | None:
        """A stale view that comes of this node's clock: blocks arrive, and all of them look old."""
        offset = self.clock_offset
        if (
            offset is None
            or offset < CLOCK_SECONDS
            or self._clock() - self._require_snapshot().head.seen_at > self.stale_seconds
        ):
            return None
        return Unavailable(
            "chain_view_stale",
            f"This node's clock is {offset:.0f} s ahead of the time of new blocks, so each counts as old.",
            hint="Set this machine's clock by a time server. If it is right, the chain node lags behind: use another.",
        )

    def _problem_or(self, stale: Unavailable) -> QiaolianError:
        problem = self._problem
        return problem if isinstance(problem, Unavailable) else stale

    def _age(self, head: ChainHead) -> float:
        now = self._clock()
        return max(
            now - head.seen_at, now - head.timestamp if self._rule.makes_empty_blocks else 0.0
        )


def _may_retry(error: QiaolianError, attempt: int) -> bool:
    """Whether the refusal may come of a block that was made meanwhile, and looking again is worth
    it.

    An engine that keeps no old state refuses the question; one that is just making a block may
    prove by the new block's state already. A proof that does not hold is never taken, and the last
    look's refusal stands.
    """
    return isinstance(error, RpcRefused) or (
        error.code == "chain_proof_refused" and attempt + 1 < MAX_ATTEMPTS
    )


def storage_slot(storage_key: StorageKey) -> bytes:
    """The storage slot of a word, by the compiler's layout (Solidity: mappings and structs in
    storage).
    """
    try:
        base: int | bytes = contracts.artifact(storage_key.contract).storage[storage_key.variable]
    except KeyError:
        raise BadInput(
            "variable_unknown",
            f"{storage_key.contract} keeps no variable named {storage_key.variable}.",
        ) from None
    for key in storage_key.keys:
        base = storage_proofs.mapping_slot(_key_bytes(key), base)
    number = base if isinstance(base, int) else int.from_bytes(base, "big")
    return ((number + storage_key.offset) % (1 << 256)).to_bytes(32, "big")


def _key_bytes(key: Key) -> bytes:
    if isinstance(key, int):
        return key.to_bytes(32, "big")
    return encode_member(key) if isinstance(key, str) else key


def _spread(call: Call) -> tuple[Any, ...]:
    return (call[0], *call[1])


def _stale(sentence: str, height: int | None) -> Unavailable:
    return ChainUnavailable(
        "chain_view_stale",
        sentence + " Nothing is allowed on an old view.",
        hint="Check that the validators make blocks and that this node reaches one; the request can be repeated.",
        height=height,
    )


def _receipts_refused(sentence: str) -> Unavailable:
    return ChainUnavailable(
        "chain_receipts_refused",
        sentence,
        hint="The chain node is faulty, keeps no old receipts, or lies: use another one and tell its operator.",
    )


def _proof_refused(sentence: str) -> Unavailable:
    return ChainUnavailable(
        "chain_proof_refused",
        sentence,
        hint="The chain node is faulty or lies: use another one and tell its operator.",
    )
