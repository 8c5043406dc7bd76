"""Alignment: one order of rows at several parties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput, Conflict, PeerFault
from federated.intersection.handshake import PsiTerms
from federated.intersection.identifiers import MAX_ROWS
from federated.intersection.psi import (
    receive_common_rows,
    run_receiver,
    run_sender,
    send_common_rows,
)
from federated.intersection.suites import Words
from federated.session import Session

_LABEL = "alignment"


@dataclass(frozen=True)
class AlignedRows:
    """Rows of all parties in one order.

    ``rows``: the number of this party's row, (rows,); -1 where it has none. ``had_by``: which rows
    a follower has, (rows,); at the leader of every follower, at a follower of itself.
    """

    rows: NDArray[np.int64]
    had_by: Mapping[str, NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(self.rows)


async def align(
    session: Session,
    ids: NDArray[np.bytes_],
    *,
    leader: str,
    followers: Sequence[str],
    terms: PsiTerms | None = None,
) -> AlignedRows:
    """Put rows into the same random order at every party: those that all parties have, or with
    ``join`` ``left`` all rows of the leader.

    The leader runs one intersection with each follower, as its receiver, and then sends the common
    rows to each. Call it at most once in a session.

    Leakage: the leader learns its intersection with every single follower. With ``inner`` a
    follower learns which of its rows are common to all; with ``left`` it learns the number of the
    leader's rows, and which of its own rows the leader has. Followers exchange no messages.

    Raises:
        Conflict: ``intersection_empty`` at every party if a follower has no row in common with the
            leader, or with ``inner`` if no row is common to all; ``ids_form_differs``,
            ``terms_differ``, ``hashing_failed``; BadInput: ``ids_empty``, ``ids_malformed``,
            ``ids_repeat``, ``ids_too_many``, ``set_too_large``, ``parties_wrong``,
            ``reveal_not_offered``; PeerFault.
    """
    names, terms = [leader, *followers], terms or PsiTerms()
    if len(names) < 2 or len(set(names)) != len(names) or session.party not in names:
        raise BadInput(
            "parties_wrong",
            "An alignment is between one leader and one or more followers, this party among them.",
        )
    if terms.reveal != "receiver":
        raise BadInput(
            "reveal_not_offered",
            "An alignment reveals what its model needs; leave reveal at receiver.",
        )
    if session.party == leader:
        aligned = await _lead(session, ids, followers, terms)
    else:
        aligned = await _follow(session, ids, leader, terms)
    if not len(aligned):
        raise Conflict(
            "intersection_empty",
            "The parties have no identifier in common.",
            hint="Check that all use the same kind of identifier.",
        )
    return aligned


async def _lead(
    session: Session,
    ids: NDArray[np.bytes_],
    followers: Sequence[str],
    terms: PsiTerms,
) -> AlignedRows:
    had_by, tags_with = {}, dict[str, Words]()
    for index, follower in enumerate(followers):
        session.progress("alignment", index / len(followers))
        tags_with[follower], had_by[follower] = await run_receiver(
            session, follower, ids, terms, _LABEL
        )
    rows = _joined_rows(np.stack([*had_by.values()]), terms.join)
    rows = rows[session.randomness.child(_LABEL).permutation(len(rows))]
    had_by = {follower: had[rows] for follower, had in had_by.items()}
    for follower, had in had_by.items():
        channel = session.to(follower)
        if terms.join == "left":
            await channel.send("alignment/had", count=len(rows), had=np.packbits(had))
        await send_common_rows(channel, tags_with[follower][rows[had]])
    return AlignedRows(rows, had_by)


def _joined_rows(had: NDArray[np.bool_], join: str) -> NDArray[np.int64]:
    """Return the rows of a join, (followers, rows); none if a follower has none of them."""
    if join == "inner":
        return np.flatnonzero(had.all(0))
    return np.arange(had.shape[1] if had.any(1).all() else 0)


async def _follow(
    session: Session,
    ids: NDArray[np.bytes_],
    leader: str,
    terms: PsiTerms,
) -> AlignedRows:
    tags = await run_sender(session, leader, ids, terms, _LABEL)
    channel = session.to(leader)
    if terms.join == "inner":
        rows = await receive_common_rows(channel, tags)
        return AlignedRows(rows, {session.party: np.ones(len(rows), np.bool_)})
    message = await channel.receive("alignment/had")
    count = message.integer("count", maximum=MAX_ROWS)
    packed = message.array("had", "uint8", [-(-count // 8)])
    had = np.unpackbits(packed, count=count).astype(np.bool_)
    rows = np.full(count, -1, np.int64)
    own = await receive_common_rows(channel, tags)
    if len(own) != int(had.sum()):
        raise PeerFault(
            "message_malformed", f"{leader} names other rows than it announced.", peer=leader
        )
    rows[had] = own
    return AlignedRows(rows, {session.party: had})
