"""Reports how far a plan is: to a bar, to a function, or to nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int], None]
Progress = bool | Callable[[int, int], None]


@contextmanager
def reporter(progress: Progress, total: int) -> Iterator[Report]:
    """A function that takes the number of items done."""
    if callable(progress):
        yield lambda done: progress(done, total)
    elif progress:
        from tqdm.auto import tqdm

        with tqdm(total=total, unit="call") as bar:

            def advance(done: int) -> None:
                bar.update(done - bar.n)

            yield advance
    else:
        yield lambda done: None
