"""The persons of the demo and their keys.

A chief data officer and an administrator belong to an organisation, and their keys are stored
outside its node. A trader or citizen has one key per purpose, certified by an issuer that knows the
person; the issuer sees the key's address only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.credit.signing import Subject


@dataclass(frozen=True)
class Trader:
    """A sole trader who consented to a bank; calls name the consent's commitment."""

    subject: Subject
    package: Mapping[str, Any]
    commitment: str

    @property
    def code(self) -> str:
        """The trader's 统一社会信用代码."""
        return self.subject.identity["code"]
