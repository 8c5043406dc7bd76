"""The gate: approval by the data owner before a source is opened.

``ApprovalGate`` is the port. In a network the owner's node implements it: it consumes the grant on
the chain and waits for finality. Here it is a folder of approvals that a data officer writes. One
use is counted per job, and recorded before the approval is returned. Flower members ask the same
folder for a plan, by the digest of the plan.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from federated.errors import Forbidden
from federated.horizontal.files import write_atomically

if TYPE_CHECKING:  # Flower's own environment imports this module without what jobs need
    from federated.job import Job


class Approvable(Protocol):
    """What all parties of a computation have agreed on, under one digest: a job, or a plan of
    ``federated.horizontal.training``.
    """

    @property
    def name(self) -> str:
        """The name of the job or plan."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole job or plan."""


class ApprovalGate(Protocol):
    """Approves a job, or raises ``Forbidden``."""

    async def permit(self, job: Job, party: str, *, now: int) -> bytes:
        """Allow this party's source to be opened for this job, and count the use.

        Returns the beacon that is mixed into the run's seeds: 32 bytes that nobody could know when
        the seeds were committed to (in a network, the hash of the final block that counts the use).
        """


class FolderGate:
    """Approvals as files ``<digest of the job>.json``: ``{"job": …, "uses": 3, "notAfter": seconds,
    "by": text}``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def permit(self, job: Approvable, party: str, *, now: int) -> bytes:
        """Approve if there is a valid approval of exactly this specification. The beacon is random.

        Raises:
            Forbidden: ``gate_refused`` without an approval, ``approval_ended`` after its end,
                ``uses_spent`` when all uses are counted.
        """
        path = self._folder / f"{job.digest.hex()}.json"
        try:
            approval = json.loads(path.read_text(encoding="utf-8"))
            spec, uses, not_after = (
                approval["spec"],
                int(approval["uses"]),
                int(approval["notAfter"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Forbidden(
                "gate_refused",
                f"This job is not approved at {party}.",
                hint="Ask the data officer to approve it.",
            ) from error
        if spec != "0x" + job.digest.hex():
            raise Forbidden(
                "gate_refused",
                f"The approval at {party} is for another job.",
                hint="Ask the data officer to approve this one.",
            )
        if now > not_after:
            raise Forbidden("approval_ended", f"The approval of this job at {party} has ended.")
        if not self._count(job, uses):
            raise Forbidden(
                "uses_spent", f"All {uses} approved uses of this job at {party} are used up."
            )
        return os.urandom(32)

    def approve(self, job: Approvable, *, uses: int, not_after: int, by: str) -> Path:
        """Write an approval, as the data officer."""
        path = self._folder / f"{job.digest.hex()}.json"
        value = {
            "job": job.name,
            "spec": "0x" + job.digest.hex(),
            "uses": uses,
            "notAfter": not_after,
            "by": by,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(value, ensure_ascii=False, indent=1).encode())
        return path

    def _count(self, job: Approvable, uses: int) -> bool:
        """Take one use: a file that only one attempt can create."""
        spent = self._folder / "spent"
        spent.mkdir(parents=True, exist_ok=True)
        taken = [
            name for name in os.listdir(spent) if re.fullmatch(rf"{job.digest.hex()}\.\d+", name)
        ]
        for number in range(len(taken), uses):
            try:
                os.close(
                    os.open(
                        spent / f"{job.digest.hex()}.{number}",
                        os.O_CREAT | os.O_EXCL | os.O_WRONLY,
                        0o600,
                    )
                )
            except FileExistsError:
                continue
            return True
        return False
