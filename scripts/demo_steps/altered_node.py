"""A node whose owner altered the program: its receipts commit to another answer than it sends.

The demo starts it in place of ``python -m nodes``, with a department's own configuration and keys.
"""

from __future__ import annotations

import sys

from chain.statements.commitment import commit_bytes
from exchange.metering import receipts
from nodes.__main__ import main


def _commit_to_another(salt: bytes, domain: str, content: bytes) -> bytes:
    return commit_bytes(salt, domain, content + b" ")


if __name__ == "__main__":
    vars(receipts)["commit_bytes"] = _commit_to_another
    sys.exit(main())
