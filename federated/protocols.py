"""The protocols that a job may name. Each module is imported when a job names it."""

from __future__ import annotations

import importlib

from federated.errors import BadInput
from federated.job import Job, Protocol

PROTOCOL_MODULES = {
    "intersection": ("federated.intersection", "INTERSECTION"),
    "aggregation": ("federated.horizontal", "AGGREGATION"),
    "analysis": ("federated.analysis", "ANALYSIS"),
    "boosting": ("federated.boosting", "BOOSTING"),
    "scorecard": ("federated.vertical.protocol", "SCORECARD"),
    "scoring": ("federated.scoring", "SCORING"),
}


def protocol_of(job: Job) -> Protocol:
    """Return the job's protocol after checking the specification; ``protocol_unknown``,
    ``spec_roles`` and the protocol's own codes.
    """
    if job.protocol not in PROTOCOL_MODULES:
        raise BadInput(
            "protocol_unknown",
            f"Unknown protocol {job.protocol}; known are {', '.join(sorted(PROTOCOL_MODULES))}.",
        )
    module, name = PROTOCOL_MODULES[job.protocol]
    protocol: Protocol = getattr(importlib.import_module(module), name)
    for party, part in job.parties.items():
        if part.role not in protocol.roles:
            raise BadInput(
                "spec_roles",
                f"{party} has the role {part.role}, which {job.protocol} does not define; its roles are {', '.join(protocol.roles)}.",
            )
    protocol.check(job)
    return protocol
