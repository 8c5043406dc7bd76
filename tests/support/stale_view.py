"""A chain view that is too old to allow anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chain.ethereum.view import ChainView


@contextmanager
def stale(chain_view: ChainView) -> Iterator[None]:
    """While the view's age allows nothing, whatever its last poll met.

    A throw-away chain that is just making a block may prove by the new block's state, and until
    its next poll the view would give that as the reason.
    """
    view: Any = chain_view
    bound, view.stale_seconds = view.stale_seconds, -1.0
    view._last_error_or = lambda too_old: too_old
    try:
        yield
    finally:
        view.stale_seconds = bound
        del view._last_error_or
