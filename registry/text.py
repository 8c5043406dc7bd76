"""Text that people read and judge by: names of members and assets. Nothing in it may hide, or look
like something else.
"""

from __future__ import annotations

import unicodedata


def is_plain(value: object, *, limit: int) -> bool:
    """Whether it is text of 1 to ``limit`` characters in normal form C, without controls, changes
    of direction or invisible ends.

    Two names that print alike should be one text: composed and decomposed letters, zero-width and
    bidirectional marks, line ends would make them two.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= limit or value != value.strip():
        return False
    return unicodedata.is_normalized("NFC", value) and not any(
        unicodedata.category(name) in _HIDDEN for name in value
    )


_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
