"""An oblivious programmable PRF (OPPRF): a follower's words at a leader's matching rows.

For each of its rows the leader gets the words that a follower programmed for that identifier, or
noise if it programmed none. The leader cannot distinguish the two, and the follower does
not learn the leader's identifiers: no party knows which rows are common (Kolesnikov, Matania,
Pinkas, Rosulek, Trieu, CCS 2017; over cuckoo hashing, as in Pinkas, Schneider, Tkachenko, Yanai,
EUROCRYPT 2019). The leader places its rows into bins once, for all followers, so that a bin is the
same row everywhere. Then, with each follower:

1. The batched OPRF F of KKRT16: the leader gets F(j, x) for the row x of each full bin j; the
   follower can compute F(j, y) for each of its rows y in y's three bins: its entries.
2. The follower puts the words v of each entry into an OKVS under the key F(j, y), covered by pads
   derived from that key, and sends the OKVS's table.
3. The leader decodes its own key in each bin and removes the pads. Where x is the follower's too it
   has v. Elsewhere its key is a value that the follower never used, whose pads turn whatever is
   decoded into noise. In empty bins it draws noise of its own.

Steps 2 and 3 may be repeated with other words for the same entries; pads are never reused.

**Obligation.** Programmed words must look uniform to the leader, such as shares or values under a
one-time mask; otherwise the words themselves show which of its rows are common.

    leader    hello    offer    placement        u0 u1 u2           ...
    follower  hello           choice                       okvs    table  table ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput, Conflict
from federated.intersection import cuckoo
from federated.intersection.base_ot import OtSender
from federated.intersection.batch_oprf import (
    BatchOprfReceiver,
    BatchOprfSender,
    Placement,
    SenderSecret,
    place_rows,
)
from federated.intersection.cuckoo import FUNCTIONS
from federated.intersection.handshake import PsiSession, PsiTerms, handshake
from federated.intersection.identifiers import MAX_BYTES, Tagging, tags_of
from federated.intersection.okvs import KeySlots, OkvsLayout, Solver, decode
from federated.intersection.oprf import CODE_BITS, Pads, permutation
from federated.intersection.suites import Words, blocks, suite_of
from federated.session import Session

MAX_ATTEMPTS = 8  # at solving the OKVS
_MAX_WORDS = 1 << 20  # in one message


# --- Leader ---------------------------------------------------------------------------------------


async def lead_opprf(
    session: Session,
    ids: NDArray[np.bytes_],
    followers: Sequence[str],
    terms: PsiTerms,
    label: str,
) -> OpprfReceiver:
    """Run the leader's side: place the rows, and run the batched OPRF with each follower.

    ``label`` names this run within the session.

    Raises:
        BadInput: ``parties_wrong``, ``reveal_not_offered``, ``ids_empty``, ``ids_malformed``,
            ``ids_repeat``, ``ids_too_many``, ``set_too_large``; Conflict: ``ids_form_differs``,
            ``terms_differ``, ``hashing_failed``; PeerFault: ``point_invalid``,
            ``message_malformed``.
    """
    if not followers or len({session.party, *followers}) != len(followers) + 1:
        raise BadInput(
            "parties_wrong",
            "An OPPRF is between one leader and one or more followers, all different.",
        )
    _require_hidden(terms)
    psi_sessions = [
        await handshake(session, follower, ids, terms, "receiver", label) for follower in followers
    ]
    ot_senders = [
        OtSender(psi.channel, psi.suite, psi.value, psi.randomness.child("transfers"))
        for psi in psi_sessions
    ]
    for ot_sender in ot_senders:
        await ot_sender.start()
    randomness = session.randomness.child(f"{label}/placement")
    # One key and one width for all followers, so that one placement serves them all.
    tagging = Tagging(
        suite_of(terms.suite),
        max(psi.width for psi in psi_sessions),
        randomness.bytes(32),
    )
    placed = await asyncio.to_thread(
        place_rows,
        tagging,
        ids,
        cuckoo.bins_in_part(psi_sessions[0].own_rows),
        randomness,
    )
    for psi in psi_sessions:
        await psi.channel.send(
            "intersection/placement",
            width=tagging.width,
            key=tagging.key(placed.attempt),
        )
    followed = {}
    for index, (psi, ot_sender) in enumerate(zip(psi_sessions, ot_senders, strict=True)):
        session.progress("bins", index / len(psi_sessions))
        followed[psi.channel.peer] = await _evaluate_oprf(psi, ot_sender, placed)
    session.progress("bins", 1.0)
    return OpprfReceiver(placed.row_of_bin.reshape(-1), followed)


async def _evaluate_oprf(psi: PsiSession, ot_sender: OtSender, placed: Placement) -> _FollowerState:
    receiver = BatchOprfReceiver(psi, placed, await ot_sender.finish(CODE_BITS))
    keys = np.concatenate([await receiver.send_part(number) for number in range(FUNCTIONS)])
    attempt = (await psi.channel.receive("intersection/okvs")).integer(
        "attempt",
        maximum=MAX_ATTEMPTS - 1,
    )
    layout = OkvsLayout.of(FUNCTIONS * psi.peer_rows)
    return _FollowerState(
        psi,
        keys,
        layout,
        await asyncio.to_thread(_key_slots, psi, keys, layout, attempt),
    )


@dataclass
class _FollowerState:
    """What the leader keeps of one follower.

    ``keys``: F of the full bins, (full bins, 2); ``key_slots``: the slots they select in the OKVS;
    ``received``: tables so far.
    """

    psi: PsiSession
    keys: Words
    layout: OkvsLayout
    key_slots: KeySlots
    received: int = 0


class OpprfReceiver:
    """The leader's rows in bins, and the words that each follower programs for them.

    ``row_of_bin``: the row in each bin, (bins,), -1 in an empty one.
    """

    def __init__(self, row_of_bin: cuckoo.Bins, followers: dict[str, _FollowerState]) -> None:
        self.row_of_bin, self._followers = row_of_bin, followers

    async def receive(self, follower: str, words: int) -> Words:
        """Return the next words of ``follower``, (bins, words).

        Its programmed words in the bins of common rows, noise in all others; PeerFault
        ``message_malformed``.
        """
        state = self._followers[follower]
        number, state.received = state.received, state.received + 1
        table = np.empty((state.layout.slots, words), np.uint64)
        for piece in _pieces(table):
            message = await state.psi.channel.receive("intersection/table")
            table[piece] = message.array("words", "uint64", [piece.stop - piece.start, words])
        return await asyncio.to_thread(self._read, state, number, table)

    def _read(self, state: _FollowerState, number: int, table: Words) -> Words:
        psi, words, full = state.psi, table.shape[1], self.row_of_bin >= 0
        decoded = decode(table, state.key_slots)
        Pads(psi.suite, psi.value, number, words).over(state.keys, decoded)
        out = np.empty((len(self.row_of_bin), words), np.uint64)
        out[full] = decoded
        out[~full] = psi.randomness.child(f"noise/{number}").words(len(out) - len(decoded), words)
        return out


# --- Follower -------------------------------------------------------------------------------------


async def follow_opprf(
    session: Session,
    ids: NDArray[np.bytes_],
    leader: str,
    terms: PsiTerms,
    label: str,
) -> OpprfSender:
    """Run a follower's side.

    Raises:
        BadInput: ``reveal_not_offered``, ``ids_empty``, ``ids_malformed``, ``ids_repeat``,
            ``ids_too_many``, ``set_too_large``; Conflict: ``ids_form_differs``, ``terms_differ``,
            ``hashing_failed``; PeerFault: ``point_invalid``, ``message_malformed``.
    """
    _require_hidden(terms)
    psi = await handshake(session, leader, ids, terms, "sender", label)
    secret = await SenderSecret.draw(psi)
    message = await psi.channel.receive("intersection/placement")
    width, key = (
        message.integer("width", minimum=psi.width, maximum=MAX_BYTES),
        message.blob("key", 16),
    )
    sender = BatchOprfSender(
        psi,
        await asyncio.to_thread(tags_of, ids, width, psi.suite, key),
        secret,
    )
    await asyncio.to_thread(sender.prepare)
    keys = np.empty((FUNCTIONS, len(ids), 2), np.uint64)
    for number in range(FUNCTIONS):
        session.progress("bins", number / FUNCTIONS)
        await sender.receive_part(number)
        await asyncio.to_thread(sender.values, number, keys[number])
    opprf = await asyncio.to_thread(_solve, psi, sender.bins, keys.reshape(-1, 2))
    await psi.channel.send("intersection/okvs", attempt=opprf.attempt)
    session.progress("bins", 1.0)
    return opprf


def _solve(psi: PsiSession, bins: cuckoo.Bins, keys: Words) -> OpprfSender:
    layout = OkvsLayout.of(FUNCTIONS * psi.own_rows)
    for attempt in range(MAX_ATTEMPTS):
        solver = Solver.of(layout, _key_slots(psi, keys, layout, attempt))
        if solver is not None:
            return OpprfSender(psi, bins, keys, solver, attempt)
    raise Conflict(
        "hashing_failed",
        f"The key-value store could not be solved in {MAX_ATTEMPTS} attempts.",
        hint="Run the job again; it draws new keys.",
    )


class OpprfSender:
    """A follower's entries: each of its rows in each of the row's three bins.

    ``bin``: an entry's bin, counted over all parts, (entries,); ``row``: its row, (entries,);
    ``bins``: the number of bins; ``attempt``: the attempt at which the OKVS was solved.
    """

    def __init__(
        self,
        psi: PsiSession,
        bins: cuckoo.Bins,
        keys: Words,
        solver: Solver,
        attempt: int,
    ) -> None:
        part, rows = cuckoo.bins_in_part(psi.peer_rows), bins.shape[1]
        self.bins = FUNCTIONS * part
        self.bin = (bins + np.int32(part) * np.arange(FUNCTIONS, dtype=np.int32)[:, None]).reshape(
            -1,
        )
        self.row = np.tile(np.arange(rows, dtype=np.int32), FUNCTIONS)
        self.attempt = attempt
        self._psi, self._keys, self._solver, self._sent = psi, keys, solver, 0

    async def send(self, values: Words) -> None:
        """Program words for the entries, (entries, words). They must look uniform to the leader."""
        if values.ndim != 2 or len(values) != len(self.row):
            raise ValueError(
                f"{len(self.row)} entries need as many rows of words, not {values.shape}",
            )
        number, self._sent = self._sent, self._sent + 1
        table = await asyncio.to_thread(self._table, number, values)
        for piece in _pieces(table):
            await self._psi.channel.send("intersection/table", words=table[piece])

    def _table(self, number: int, values: Words) -> Words:
        padded = values.astype(np.uint64, copy=True)
        Pads(self._psi.suite, self._psi.value, number, values.shape[1]).over(self._keys, padded)
        return self._solver.encode(padded, self._psi.randomness.child(f"table/{number}"))


# --- Both -----------------------------------------------------------------------------------------


def _require_hidden(terms: PsiTerms) -> None:
    if terms.method != "kkrt" or terms.reveal != "nobody":
        raise BadInput(
            "reveal_not_offered",
            "An OPPRF needs terms that reveal the intersection to nobody.",
            hint="Set reveal to nobody and method to kkrt.",
        )


def _key_slots(psi: PsiSession, keys: Words, layout: OkvsLayout, attempt: int) -> KeySlots:
    return KeySlots.of(
        keys,
        layout,
        [
            permutation(psi.suite, psi.value, f"okvs/{attempt}/{kind}")
            for kind in ("thirds", "dense")
        ],
    )


def _pieces(table: Words) -> list[slice]:
    return list(blocks(len(table), max(1, _MAX_WORDS // table.shape[1])))
