"""A random name of the running process: work that it began differs from what a process that ended
left behind.
"""

from __future__ import annotations

import os
import secrets
from functools import lru_cache


def process_token() -> str:
    """The name, which a forked process has of its own."""
    return _token(os.getpid())


@lru_cache(maxsize=1)
def _token(_pid: int) -> str:
    return secrets.token_hex(16)
