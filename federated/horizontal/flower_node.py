"""Starts Flower's SuperNode with two changes for which Flower 1.41 has no option.

Runs in Flower's environment.

- The app that the SuperLink distributes must have the digest that this party's operator expects
  (``QIAOLIAN_FAB``, SHA-256, hex); otherwise the node stops. Without that, whoever controls the
  SuperLink could run anything here.
- An idle node polls for messages every 0.1 s instead of every 3 s: a secure sum takes three
  exchanges, so that most of a round would be idle.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from flwr.supernode import start_client_internal as internal
from flwr.supernode.cli import flower_supernode

_IDLE = 0.1
_GET_FAB = 4  # its index among a connection's functions


def main() -> None:
    """Run the SuperNode with its usual arguments."""
    connect, expected = internal._init_connection, os.environ["QIAOLIAN_FAB"]

    @contextmanager
    def pinned(*args: Any, **more: Any) -> Iterator[tuple[Any, ...]]:
        with connect(*args, **more) as functions:
            get_fab = functions[_GET_FAB]

            def checked(fab_hash: str, run_id: int) -> Any:
                fab = get_fab(fab_hash, run_id)
                if hashlib.sha256(fab.content).hexdigest() != expected:
                    print(
                        "code_differs: the SuperLink distributes an app "
                        "that is not the expected one",
                        file=sys.stderr,
                        flush=True,
                    )
                    os._exit(1)  # its other threads would keep the process alive
                return fab

            yield (*functions[:_GET_FAB], checked, *functions[_GET_FAB + 1 :])

    internal._init_connection = pinned
    internal.time = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, _IDLE)))
    flower_supernode()


if __name__ == "__main__":
    main()
