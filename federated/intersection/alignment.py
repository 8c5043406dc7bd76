"""Alignment: the rows that several parties have in common, in one order at all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput, Conflict
from federated.intersection.handshake import PsiTerms
from federated.intersection.psi import (
    receive_common_rows,
    run_receiver,
    run_sender,
    send_common_rows,
)
from federated.intersection.suites import Words
from federated.session import Session

_LABEL = "alignment"


async def align(
    session: Session,
    ids: NDArray[np.bytes_],
    *,
    leader: str,
    followers: Sequence[str],
    terms: PsiTerms | None = None,
) -> NDArray[np.int64]:
    """Return the numbers of this party's rows that are common to all parties.

    They have the same random order at every party.

    The leader runs one intersection with each follower, as its receiver, and then sends the common
    rows to each. Call it at most once in a session. Shape: (common rows,).

    Leakage: the leader learns its intersection with every single follower; a follower learns which
    of its rows are common to all, and nothing of the others' remaining rows. Followers exchange no
    messages.

    Raises:
        Conflict: ``intersection_empty`` at every party, ``ids_form_differs``, ``terms_differ``,
            ``hashing_failed``; BadInput: ``ids_empty``, ``ids_malformed``, ``ids_repeat``,
            ``ids_too_many``, ``set_too_large``, ``parties_wrong``, ``reveal_not_offered``;
            PeerFault.
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
        rows = await _lead(session, ids, followers, terms)
    else:
        rows = await _follow(session, ids, leader, terms)
    if not len(rows):
        raise Conflict(
            "intersection_empty",
            "The parties have no identifier in common.",
            hint="Check that all use the same kind of identifier.",
        )
    return rows


async def _lead(
    session: Session,
    ids: NDArray[np.bytes_],
    followers: Sequence[str],
    terms: PsiTerms,
) -> NDArray[np.int64]:
    common, tags_with = np.ones(len(ids), np.bool_), dict[str, Words]()
    for index, follower in enumerate(followers):
        session.progress("alignment", index / len(followers))
        tags_with[follower], found = await run_receiver(session, follower, ids, terms, _LABEL)
        common &= found
    rows = np.flatnonzero(common)
    rows = rows[session.randomness.child(_LABEL).permutation(len(rows))]
    for follower in followers:
        await send_common_rows(session.to(follower), tags_with[follower][rows])
    return rows


async def _follow(
    session: Session,
    ids: NDArray[np.bytes_],
    leader: str,
    terms: PsiTerms,
) -> NDArray[np.int64]:
    tags = await run_sender(session, leader, ids, terms, _LABEL)
    return await receive_common_rows(session.to(leader), tags)
