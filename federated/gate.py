"""The gate: who must say yes before a source is opened.

``Gate`` is the port. On the network it will be the owner's node, which consumes the grant on the chain and waits until that is final; here it is a
folder of approvals that a data officer fills. A use counts once for a job, and is written down before the yes is given. Inside Flower the folder is
asked for a plan, by the plan's digest.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from federated.errors import Forbidden
from federated.horizontal.files import write_whole

if TYPE_CHECKING:  # Flower's own environment imports this module without what jobs need
    from federated.job import Job


class Agreed(Protocol):
    """What all parties of a computation have agreed on, under one digest: a job, or a plan of ``federated.horizontal.training``."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole of it."""


class Gate(Protocol):
    """Says yes, or raises ``Forbidden``."""

    async def permit(self, job: Job, party: str, *, now: int) -> bytes:
        """Allow this party's source to be opened for this job, and count the use.

        Gives the beacon that is mixed into the run's seeds: 32 bytes nobody could know when the seeds were committed to (on the network, the hash
        of the final block that counts the use).
        """


class FolderGate:
    """Approvals as files ``<digest of the job>.json``: ``{"job": …, "uses": 3, "notAfter": seconds, "by": text}``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def permit(self, job: Agreed, party: str, *, now: int) -> bytes:
        """Yes if an approval of exactly this specification stands; the beacon is random.

        Raises:
            Forbidden: ``gate_refused`` without an approval, ``approval_ended`` after its time, ``uses_spent`` when all uses are counted.
        """
        path = self._folder / f"{job.digest.hex()}.json"
        try:
            approval = json.loads(path.read_text(encoding="utf-8"))
            spec, uses, not_after = approval["spec"], int(approval["uses"]), int(approval["notAfter"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Forbidden("gate_refused", f"Nobody at {party} has approved this job.", hint="Ask the data officer to approve it.") from error
        if spec != "0x" + job.digest.hex():
            raise Forbidden("gate_refused", f"The approval found at {party} is of another job.", hint="Ask the data officer to approve this one.")
        if now > not_after:
            raise Forbidden("approval_ended", f"The approval of this job at {party} has ended.")
        if not self._count(job, uses):
            raise Forbidden("uses_spent", f"All {uses} approved uses of this job at {party} are spent.")
        return os.urandom(32)

    def approve(self, job: Agreed, *, uses: int, not_after: int, by: str) -> Path:
        """Write an approval down, as the data officer."""
        path = self._folder / f"{job.digest.hex()}.json"
        value = {"job": job.name, "spec": "0x" + job.digest.hex(), "uses": uses, "notAfter": not_after, "by": by}
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(value, ensure_ascii=False, indent=1).encode())
        return path

    def _count(self, job: Agreed, uses: int) -> bool:
        """Take one of the uses: a file that only one attempt can create."""
        spent = self._folder / "spent"
        spent.mkdir(parents=True, exist_ok=True)
        taken = [each for each in os.listdir(spent) if re.fullmatch(rf"{job.digest.hex()}\.\d+", each)]
        for number in range(len(taken), uses):
            try:
                os.close(os.open(spent / f"{job.digest.hex()}.{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                continue
            return True
        return False
