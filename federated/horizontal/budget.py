"""The ledger of a party's privacy budget: one JSON file, integers only, written atomically.

    {"version": 1, "unit": "micro-rho", "limit": 500000, "spent": 120000,
     "charges": [{"for": "0x…", "amount": 120000}]}

A charge is recorded before the first message that depends on data, and is never given back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federated.errors import BadInput, Conflict, NotFound
from federated.horizontal.files import locked, write_atomically

MAX_AMOUNT = 10**15  # a billion rho; more is a typing error


@dataclass(frozen=True)
class Balance:
    """Micro-rho allowed and spent."""

    limit: int
    spent: int

    @property
    def left(self) -> int:
        """Micro-rho that may still be spent."""
        return self.limit - self.spent


class Budget:
    """A ledger file. Several processes may use it at once: each change is made under a lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def create(cls, path: Path, limit: int) -> Budget:
        """Create a ledger with this limit in micro-rho; ``budget_exists``, ``budget_wrong``."""
        _check(limit, least=0)
        budget = cls(path)
        with budget._locked():
            if path.exists():
                raise Conflict(
                    "budget_exists",
                    f"A privacy ledger already exists at {path.name}; it is not replaced.",
                )
            budget._write(
                {"version": 1, "unit": "micro-rho", "limit": limit, "spent": 0, "charges": []},
            )
        return budget

    def balance(self) -> Balance:
        """Return what was spent; ``budget_missing``, ``budget_damaged``."""
        ledger = self._read()
        return Balance(ledger["limit"], ledger["spent"])

    def charge(self, purpose: str, amount: int) -> Balance:
        """Spend this many micro-rho for a purpose, or nothing at all.

        Raises:
            Conflict: ``budget_exhausted``, ``budget_damaged``; BadInput: ``budget_wrong``;
                NotFound: ``budget_missing``.
        """
        _check(amount, least=1)
        with self._locked():
            ledger = self._read()
            left = ledger["limit"] - ledger["spent"]
            if amount > left:
                raise Conflict(
                    "budget_exhausted",
                    f"The privacy budget has {left} micro-rho left; {amount} are needed.",
                    left=left,
                    needed=amount,
                )
            ledger["spent"] += amount
            ledger["charges"].append({"for": purpose, "amount": amount})
            self._write(ledger)
        return Balance(ledger["limit"], ledger["spent"])

    def _read(self) -> dict[str, Any]:
        try:
            ledger = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotFound(
                "budget_missing",
                "There is no privacy ledger for this data.",
                hint="Make one with the limit its owner has set.",
            ) from None
        except (OSError, ValueError) as error:
            raise Conflict(
                "budget_damaged",
                "The privacy ledger cannot be read.",
                hint="Restore it; do not start a new one.",
            ) from error
        if not _is_consistent(ledger):
            raise Conflict(
                "budget_damaged",
                "The privacy ledger does not add up.",
                hint="Restore it; do not start a new one.",
            )
        return dict(ledger)

    def _write(self, ledger: dict[str, Any]) -> None:
        write_atomically(self._path, json.dumps(ledger, ensure_ascii=False, indent=1).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._path.parent.is_dir():
            raise NotFound("budget_missing", "There is no folder for the privacy ledger.")
        with locked(self._path.with_name(self._path.name + ".lock")):
            yield


def _check(amount: int, *, least: int) -> None:
    if type(amount) is not int or not least <= amount <= MAX_AMOUNT:
        raise BadInput(
            "budget_wrong",
            f"An amount of privacy budget is an integer from {least} to {MAX_AMOUNT} micro-rho.",
        )


def _is_consistent(ledger: Any) -> bool:
    try:
        amounts = [charge["amount"] for charge in ledger["charges"]]
        numbers = [ledger["limit"], ledger["spent"], *amounts]
        whole = all(type(number) is int and number >= 0 for number in numbers)
        known = ledger["version"] == 1 and ledger["unit"] == "micro-rho"
        return whole and known and sum(amounts) == ledger["spent"] <= ledger["limit"]
    except (KeyError, TypeError):
        return False
