"""The people of the demo: each has keys of its own, and nobody signs for another.

A chief data officer and an administrator belong to an organisation but keep their keys outside its
node. A trader or citizen has one key per purpose, certified by the office that knows the person;
the office sees the key's address only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.credit.signing import Subject


@dataclass(frozen=True)
class Trader:
    """A sole trader who consented to a bank: the consent's commitment is how calls name it."""

    subject: Subject
    package: Mapping[str, Any]
    commitment: str

    @property
    def code(self) -> str:
        """The trader's 统一社会信用代码."""
        return self.subject.identity["code"]
