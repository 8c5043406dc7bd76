"""What a demand and its answer must be. Pure."""

from __future__ import annotations

import re
from typing import Any

from chain.core.errors import BadInput
from registry.demands.model import Demand
from registry.purposes import require_known
from registry.text import is_plain

MAX_OPEN = 200
"""Open demands of one bank."""
MAX_TITLE, MAX_TEXT, MAX_NOTE = 100, 2_000, 400
MAX_COLUMNS, MAX_COLUMN = 50, 64
_ID = re.compile(r"[0-9a-f]{32}")


def require_demand(demand: Demand) -> Demand:
    """The demand, if it is one: ``demand_malformed``, ``purpose_unknown``."""
    if not isinstance(demand.demand_id, str) or _ID.fullmatch(demand.demand_id) is None:
        raise _malformed("its id is not 32 hexadecimal digits")
    if type(demand.posted_at) is not int or not 0 <= demand.posted_at < 2**53:
        raise _malformed("its time is none")
    if not is_plain(demand.title, limit=MAX_TITLE):
        raise _malformed(f"its title has 1 to {MAX_TITLE} visible characters")
    if not _is_text(demand.text, MAX_TEXT):
        raise _malformed(f"its text has 1 to {MAX_TEXT} visible characters")
    if len(demand.columns) > MAX_COLUMNS or not all(
        is_plain(name, limit=MAX_COLUMN) for name in demand.columns
    ):
        raise _malformed(f"it names at most {MAX_COLUMNS} columns of {MAX_COLUMN} characters")
    if not isinstance(demand.purpose, str):
        raise _malformed("its purpose is none")
    require_known(demand.purpose)
    return demand


def require_note(note: str) -> str:
    """A department's note, which may be empty: ``demand_malformed``."""
    if note and not _is_text(note, MAX_NOTE):
        raise _malformed(f"the note has at most {MAX_NOTE} visible characters")
    return note


def read_demand(value: Any) -> Demand:
    """A demand that another node sent: ``demand_malformed``, ``purpose_unknown``."""
    try:
        demand = Demand.from_json(value)
    except (KeyError, TypeError) as error:
        raise _malformed("it lacks a field") from error
    return require_demand(demand)


def _is_text(value: object, limit: int) -> bool:
    """Text of several lines, each plain or empty."""
    if not isinstance(value, str) or not value.strip() or len(value) > limit:
        return False
    lines = map(str.strip, value.split("\n"))
    return all(not line or is_plain(line, limit=limit) for line in lines)


def _malformed(what: str) -> BadInput:
    return BadInput("demand_malformed", f"The demand is not well-formed: {what}.")
