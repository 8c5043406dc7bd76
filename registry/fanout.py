"""Work for several members at once: each has its own time budget and its own failure, and none ends
or delays the others' work.

Every loop over members goes through here. What one member's node answers, or that it does not
answer, is an outcome of that member alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import TypeVar

from chain.core.errors import QiaolianError, Unavailable

log = logging.getLogger("qiaolian.fanout")

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

MAX_AT_ONCE = 16


async def for_each(
    keys: Iterable[K],
    work: Callable[[K], Awaitable[T]],
    *,
    seconds: float,
    at_once: int = MAX_AT_ONCE,
) -> dict[K, T | QiaolianError]:
    """Run the work of all keys concurrently, each within ``seconds``; results and errors by key.

    Work that is not done in time is cancelled and becomes ``peer_timeout``. An unexpected exception
    becomes ``peer_answer_unreadable`` and is logged.
    """
    semaphore = asyncio.Semaphore(at_once)
    wanted = list(dict.fromkeys(keys))
    outcomes = await asyncio.gather(*(_outcome(key, work, seconds, semaphore) for key in wanted))
    return dict(zip(wanted, outcomes, strict=True))


async def _outcome(
    key: K, work: Callable[[K], Awaitable[T]], seconds: float, semaphore: asyncio.Semaphore
) -> T | QiaolianError:
    async with semaphore:
        try:
            async with asyncio.timeout(seconds):
                return await work(key)
        except QiaolianError as error:
            return error
        except TimeoutError:
            return Unavailable(
                "peer_timeout",
                f"Another member's node did not answer within {seconds:g} s.",
                hint="It is asked again in the next round.",
            )
        except Exception as error:
            log.warning("the work with one member failed", exc_info=error)
            return Unavailable(
                "peer_answer_unreadable",
                "What another member's node answered cannot be used.",
                hint="Its operator should look at its log; this node's log has the place.",
            )
