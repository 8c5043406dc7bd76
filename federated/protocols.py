"""The protocols that a job may name. Each module is imported when a job names it."""

from __future__ import annotations

from collections.abc import Callable

from federated.errors import BadInput
from federated.job import Job, Protocol


def _intersection() -> Protocol:
    from federated.intersection import INTERSECTION

    return INTERSECTION


def _aggregation() -> Protocol:
    from federated.horizontal import AGGREGATION

    return AGGREGATION


def _analysis() -> Protocol:
    from federated.analysis import ANALYSIS

    return ANALYSIS


def _boosting() -> Protocol:
    from federated.boosting import BOOSTING

    return BOOSTING


def _scorecard() -> Protocol:
    from federated.vertical.protocol import SCORECARD

    return SCORECARD


def _scoring() -> Protocol:
    from federated.scoring import SCORING

    return SCORING


PROTOCOLS: dict[str, Callable[[], Protocol]] = {
    "intersection": _intersection,
    "aggregation": _aggregation,
    "analysis": _analysis,
    "boosting": _boosting,
    "scorecard": _scorecard,
    "scoring": _scoring,
}
"""The protocols by name; each is imported when a job names it."""


def protocol_of(job: Job) -> Protocol:
    """Return the job's protocol after checking the specification; ``protocol_unknown``,
    ``spec_roles`` and the protocol's own codes.
    """
    if job.protocol not in PROTOCOLS:
        raise BadInput(
            "protocol_unknown",
            f"Unknown protocol {job.protocol}; known are {', '.join(sorted(PROTOCOLS))}.",
        )
    protocol = PROTOCOLS[job.protocol]()
    for party, part in job.parties.items():
        if part.role not in protocol.roles:
            raise BadInput(
                "spec_roles",
                f"{party} has the role {part.role}, which {job.protocol} does not define; its "
                f"roles are {', '.join(protocol.roles)}.",
            )
    protocol.check(job)
    return protocol
