"""Requests about logs to other members' nodes. What they answer is checked for its form alone."""

from __future__ import annotations

from typing import Any

from chain.context import Context
from chain.core import schema
from chain.core.canonical import dumps
from chain.core.errors import Conflict, QiaolianError
from registry.evidence.model import ShownHeads

MAX_HEADS = 8
"""Anchored checkpoints of one answer."""
MAX_NOTE_CHARACTERS = 10_000
MAX_LEAF_BYTES = 1_000
"""A leaf is a time, a digest and a kind: about 150 bytes."""
_FIELDS = {"at", "digest", "kind"}


async def fetch_heads(context: Context, member: str) -> ShownHeads:
    """A member's newest and anchored checkpoints; ``log_head_malformed``."""
    answer = await context.peers.get(member, "/v1/peer/log/head")
    shown: dict[str, Any] = answer if isinstance(answer, dict) else {}
    note, anchored = shown.get("note", ""), shown.get("anchored", [])
    if (
        not (note is None or _is_note(note))
        or not isinstance(anchored, list)
        or not all(map(_is_note, anchored))
    ):
        raise Conflict(
            "log_head_malformed",
            "A member's node does not show the head of its log in the form expected.",
            hint="Its operator should look at its log.",
        )
    return ShownHeads(note, anchored[:MAX_HEADS])


async def fetch_consistency(context: Context, member: str, old: int, new: int) -> list[bytes]:
    """A member's consistency path between two sizes of its log.

    Raises:
        ValueError: for what is no path.
    """
    answer = await context.peers.get(member, f"/v1/peer/log/consistency?old={old}&new={new}")
    try:
        return [schema.hash32(item) for item in answer["path"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("path") from error


async def send_cosignature(context: Context, member: str, size: int, line: str) -> None:
    """Send a cosignature to the member whose checkpoint it is under."""
    await context.peers.post(member, "/v1/peer/log/cosignatures", {"size": size, "line": line})


async def fetch_leaves(context: Context, member: str, start: int, end: int) -> list[bytes]:
    """Leaves of a member's log; ``log_copy_differs``."""
    path = f"/v1/peer/log/entries?start={start}&end={end}"
    return _leaves(await context.peers.get(member, path), end - start)


async def fetch_copied(context: Context, supervisor: str, start: int, end: int) -> list[bytes]:
    """Leaves of this node's own log from a supervisor's copy; ``log_copy_differs``."""
    path = f"/v1/peer/log/copied?start={start}&end={end}"
    return _leaves(await context.peers.get(supervisor, path), end - start)


async def fetch_witnessed(context: Context, supervisor: str) -> str | None:
    """The note of the last head of this node's log that a supervisor cosigned, None before the
    first; an answer of another form is a note that nobody signed.
    """
    answer = await context.peers.get(supervisor, "/v1/peer/log/seen")
    note = answer.get("note", "") if isinstance(answer, dict) else ""
    return None if note is None else str(note)


def differs() -> Conflict:
    """The refusal of leaves that are not those under a log's head."""
    return Conflict(
        "log_copy_differs",
        "The leaves that were returned are not those under the log's signed head.",
        hint="Nothing of them is stored. Ask the log's holder, or another supervisor.",
    )


def _is_note(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NOTE_CHARACTERS


def _leaves(answer: Any, most: int) -> list[bytes]:
    """The leaves of an answer, as the log hashed them: one at least, none beyond what was asked
    for.
    """
    received = answer.get("entries") if isinstance(answer, dict) else None
    if not isinstance(received, list) or not 0 < len(received) <= most:
        raise differs()
    if not all(isinstance(item, dict) and set(item) == _FIELDS for item in received):
        raise differs()
    try:
        leaves = [dumps(item) for item in received]
    except QiaolianError as error:
        raise differs() from error
    if any(len(leaf) > MAX_LEAF_BYTES for leaf in leaves):
        raise differs()
    return leaves
