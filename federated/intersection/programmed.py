"""An oblivious programmed function: for each of its rows a leader gets words that a follower chose for that identifier, or noise.

It cannot tell which of the two it has, and the follower does not learn what it asked: nobody knows which identifiers are common (Kolesnikov, Matania,
Pinkas, Rosulek, Trieu, CCS 2017; over cuckoo hashing as in Pinkas, Schneider, Tkachenko, Yanai, EUROCRYPT 2019). The leader puts its rows into
bins once, for all followers, so that a bin means the same row of it everywhere. With each follower in turn:

1. The batched function F of KKRT16: the leader gets F(j, x) for the row x of each full bin j; the follower can compute F(j, y) for each of its rows y
   in y's three bins: its entries.
2. The follower puts the words v of each entry into a key-value store under the key F(j, y), with pads made of that key over them, and sends the
   store's table.
3. The leader decodes its own key in each bin and takes the pads off. Where x is the follower's too it has v. Elsewhere its key is a value the
   follower never used, and the pads of it make noise of whatever it decodes. Empty bins get noise of its own.

2 and 3 may be repeated with other words for the same entries; pads are never used again.

**A duty.** What is programmed must look uniform to the leader, such as a share or a value under a one-time mask: else the words themselves
tell it which of its rows are common.

    leader    hello    offer    seats            u0 u1 u2            ...
    follower  hello           choice                       store    table  table ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput, Conflict
from federated.intersection import cuckoo
from federated.intersection.base_ot import Giver
from federated.intersection.batched import Placement, Receiver, Secret, Sender, arrange
from federated.intersection.cuckoo import FUNCTIONS
from federated.intersection.identifiers import MOST_BYTES, Tagging, tags_of
from federated.intersection.oprf import COLUMNS, Pads, permutation
from federated.intersection.pair import Pair, Terms, settle
from federated.intersection.store import Layout, Lines, Solver, decode
from federated.intersection.suites import Words, blocks, suite_of
from federated.session import Session

ATTEMPTS = 8  # at solving the store
_SENT = 1 << 20  # words in one message


# --- Leader -----------------------------------------------------------------------------------------------------------------------


async def seat(session: Session, ids: NDArray[np.bytes_], followers: Sequence[str], terms: Terms, label: str) -> Seating:
    """The leader's side: place the rows and meet each follower; ``label`` names this within the session.

    Raises:
        BadInput: ``parties_wrong``, ``reveal_not_offered``, ``ids_empty``, ``ids_malformed``, ``ids_repeat``, ``ids_too_many``, ``set_too_large``;
            Conflict: ``ids_form_differs``, ``terms_differ``, ``hashing_failed``; PeerFault: ``point_invalid``, ``message_malformed``.
    """
    if not followers or len({session.party, *followers}) != len(followers) + 1:
        raise BadInput("parties_wrong", "Rows are seated between one leader and one or more followers.")
    _require_unseen(terms)
    pairs = [await settle(session, follower, ids, terms, "receiver", label) for follower in followers]
    givers = [Giver(pair.channel, pair.suite, pair.value, pair.randomness.child("transfers")) for pair in pairs]
    for giver in givers:
        await giver.start()
    randomness = session.randomness.child(f"{label}/seats")
    # One key and one width for all, so that one placement serves them: identifiers padded further are as equal as before.
    tagging = Tagging(suite_of(terms.suite), max(pair.width for pair in pairs), randomness.bytes(32))
    placed = await asyncio.to_thread(arrange, tagging, ids, cuckoo.bins_in_part(pairs[0].own_rows), randomness)
    for pair in pairs:
        await pair.channel.send("intersection/seats", width=tagging.width, key=tagging.key(placed.attempt))
    seats = {}
    for place, (pair, giver) in enumerate(zip(pairs, givers, strict=True)):
        session.progress("seats", place / len(pairs))
        seats[pair.channel.peer] = await _seated(pair, giver, placed)
    session.progress("seats", 1.0)
    return Seating(placed.holder.reshape(-1), seats)


async def _seated(pair: Pair, giver: Giver, placed: Placement) -> _Seats:
    receiver = Receiver(pair, placed, await giver.finish(COLUMNS))
    keys = np.concatenate([await receiver.send_part(number) for number in range(FUNCTIONS)])
    attempt = (await pair.channel.receive("intersection/store")).integer("attempt", most=ATTEMPTS - 1)
    layout = Layout.of(FUNCTIONS * pair.peer_rows)
    return _Seats(pair, keys, layout, await asyncio.to_thread(_lines, pair, keys, layout, attempt))


@dataclass
class _Seats:
    """What the leader keeps of one follower: its values of F in full bins, and what they name in the store."""

    pair: Pair
    keys: Words
    layout: Layout
    lines: Lines
    received: int = 0


class Seating:
    """The leader's rows in bins, and what each follower programs for them. ``holder``: the row in each bin, (bins,), -1 in an empty one."""

    def __init__(self, holder: cuckoo.Bins, seats: dict[str, _Seats]) -> None:
        self.holder, self._seats = holder, seats

    async def receive(self, follower: str, words: int) -> Words:
        """What ``follower`` sends next, (bins, words): its words for the row of a bin that it has too, noise elsewhere; ``message_malformed``."""
        seats = self._seats[follower]
        number, seats.received = seats.received, seats.received + 1
        table = np.empty((seats.layout.slots, words), np.uint64)
        for piece in _pieces(table):
            message = await seats.pair.channel.receive("intersection/table")
            table[piece] = message.array("words", "uint64", [piece.stop - piece.start, words])
        return await asyncio.to_thread(self._read, seats, number, table)

    def _read(self, seats: _Seats, number: int, table: Words) -> Words:
        pair, words, full = seats.pair, table.shape[1], self.holder >= 0
        decoded = decode(table, seats.lines)
        Pads(pair.suite, pair.value, number, words).over(seats.keys, decoded)
        out = np.empty((len(self.holder), words), np.uint64)
        out[full] = decoded
        out[~full] = pair.randomness.child(f"noise/{number}").words(len(out) - len(decoded), words)
        return out


# --- Follower ---------------------------------------------------------------------------------------------------------------------


async def take_seats(session: Session, ids: NDArray[np.bytes_], leader: str, terms: Terms, label: str) -> Programmed:
    """The follower's side.

    Raises:
        BadInput: ``reveal_not_offered``, ``ids_empty``, ``ids_malformed``, ``ids_repeat``, ``ids_too_many``, ``set_too_large``;
            Conflict: ``ids_form_differs``, ``terms_differ``, ``hashing_failed``; PeerFault: ``point_invalid``, ``message_malformed``.
    """
    _require_unseen(terms)
    pair = await settle(session, leader, ids, terms, "sender", label)
    secret = await Secret.draw(pair)
    message = await pair.channel.receive("intersection/seats")
    width, key = message.integer("width", least=pair.width, most=MOST_BYTES), message.blob("key", 16)
    sender = Sender(pair, await asyncio.to_thread(tags_of, ids, width, pair.suite, key), secret)
    await asyncio.to_thread(sender.prepare)
    keys = np.empty((FUNCTIONS, len(ids), 2), np.uint64)
    for number in range(FUNCTIONS):
        session.progress("seats", number / FUNCTIONS)
        await sender.receive_part(number)
        await asyncio.to_thread(sender.values, number, keys[number])
    programmed = await asyncio.to_thread(_programmed, pair, sender.bins, keys.reshape(-1, 2))
    await pair.channel.send("intersection/store", attempt=programmed.attempt)
    session.progress("seats", 1.0)
    return programmed


def _programmed(pair: Pair, bins: cuckoo.Bins, keys: Words) -> Programmed:
    layout = Layout.of(FUNCTIONS * pair.own_rows)
    for attempt in range(ATTEMPTS):
        solver = Solver.of(layout, _lines(pair, keys, layout, attempt))
        if solver is not None:
            return Programmed(pair, bins, keys, solver, attempt)
    raise Conflict("hashing_failed", f"The store could not be solved {ATTEMPTS} times.", hint="Run the job again; it draws new keys.")


class Programmed:
    """The follower's entries: each of its rows in each of its three bins.

    ``bin`` (entries,): the bin, counted over all parts; ``row`` (entries,): its own row; ``bins``: how many bins there are; ``attempt``: the one at
    which the store was solved.
    """

    def __init__(self, pair: Pair, bins: cuckoo.Bins, keys: Words, solver: Solver, attempt: int) -> None:
        part, rows = cuckoo.bins_in_part(pair.peer_rows), bins.shape[1]
        self.bins = FUNCTIONS * part
        self.bin = (bins + np.int32(part) * np.arange(FUNCTIONS, dtype=np.int32)[:, None]).reshape(-1)
        self.row = np.tile(np.arange(rows, dtype=np.int32), FUNCTIONS)
        self.attempt = attempt
        self._pair, self._keys, self._solver, self._sent = pair, keys, solver, 0

    async def send(self, values: Words) -> None:
        """Program words for the entries, (entries, words). They must look uniform to the leader."""
        if values.ndim != 2 or len(values) != len(self.row):
            raise ValueError(f"{len(self.row)} entries need as many rows of words, not {values.shape}")
        number, self._sent = self._sent, self._sent + 1
        table = await asyncio.to_thread(self._table, number, values)
        for piece in _pieces(table):
            await self._pair.channel.send("intersection/table", words=table[piece])

    def _table(self, number: int, values: Words) -> Words:
        padded = values.astype(np.uint64, copy=True)
        Pads(self._pair.suite, self._pair.value, number, values.shape[1]).over(self._keys, padded)
        return self._solver.encode(padded, self._pair.randomness.child(f"table/{number}"))


# --- Both -------------------------------------------------------------------------------------------------------------------------


def _require_unseen(terms: Terms) -> None:
    if terms.method != "kkrt" or terms.reveal != "nobody":
        raise BadInput("reveal_not_offered", "Rows are seated for an intersection that nobody learns.", hint="Set reveal to nobody, method to kkrt.")


def _lines(pair: Pair, keys: Words, layout: Layout, attempt: int) -> Lines:
    return Lines.of(keys, layout, [permutation(pair.suite, pair.value, f"store/{attempt}/{kind}") for kind in ("thirds", "dense")])


def _pieces(table: Words) -> list[slice]:
    return list(blocks(len(table), max(1, _SENT // table.shape[1])))
