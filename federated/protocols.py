"""The protocols a job may name. Each is loaded only when it is asked for."""

from __future__ import annotations

import importlib

from federated.errors import BadInput
from federated.job import Job, Protocol

_ROOMS = {
    "intersection": ("federated.intersection", "INTERSECTION"),
    "aggregation": ("federated.horizontal", "AGGREGATION"),
    "analysis": ("federated.analysis", "ANALYSIS"),
    "boosting": ("federated.boosting", "BOOSTING"),
    "scorecard": ("federated.vertical.protocol", "SCORECARD"),
    "scoring": ("federated.scoring", "SCORING"),
}


def protocol_of(job: Job) -> Protocol:
    """The job's protocol, once its specification is found sound; ``protocol_unknown``, ``spec_roles`` and the protocol's own codes."""
    if job.protocol not in _ROOMS:
        raise BadInput("protocol_unknown", f"There is no protocol {job.protocol}; there are {', '.join(sorted(_ROOMS))}.")
    module, name = _ROOMS[job.protocol]
    protocol: Protocol = getattr(importlib.import_module(module), name)
    for party, each in job.parties.items():
        if each.role not in protocol.roles:
            raise BadInput("spec_roles", f"{party} has the role {each.role}, which {job.protocol} has not; it has {', '.join(protocol.roles)}.")
    protocol.check(job)
    return protocol
