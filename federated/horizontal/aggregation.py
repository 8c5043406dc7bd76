"""The protocol ``aggregation``: horizontal federated training over secure sums.

Parties with the same columns of different rows train one model; the aggregator sees sums only.
Roles: three or more ``member`` and one ``aggregator``, which brings no data. Parameters are those
of ``training``. Every round is one secure sum. The aggregator sends the new common parameters to
all members, which compare them with one another before each sum and after the last. A private
training is charged to each member's own ledger before the first round, as a whole.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np

from federated.errors import BadInput, NotFound, PeerFault
from federated.horizontal.budget import Budget
from federated.horizontal.models import Vector, digest_of
from federated.horizontal.privacy import DELTA, epsilon
from federated.horizontal.rounds import ABSENT, aggregate, contribute, send_to_peers
from federated.horizontal.training import TrainingPlan, feature_names
from federated.job import Job, JobResult, Protocol, Table
from federated.session import Session


def plan_of(job: Job) -> TrainingPlan:
    """Return the job's training plan. Its name is bound to the whole specification."""
    return TrainingPlan.read("0x" + job.digest.hex(), job.with_role("member"), job.parameters)


def check(job: Job) -> None:
    """Check a specification.

    Raises:
        BadInput: ``spec_roles``, ``spec_columns``, ``spec_parameters``, ``too_few_members`` and
            others of ``TrainingPlan``.
    """
    aggregator = job.only("aggregator")
    if job.parties[aggregator].source is not None:
        raise BadInput("spec_roles", "The aggregator brings no data: give it no source.")
    plan = plan_of(job)
    needed = {*plan.parameters["features"], plan.parameters["label"]}
    for name in plan.members:
        if job.parties[name].source is None or set(job.parties[name].columns) != needed:
            raise BadInput(
                "spec_columns",
                f"{name} must bring a source with exactly the features and the label.",
            )


async def member(session: Session, table: Table | None, job: Job) -> JobResult:
    """Run a member.

    ``session.settings["budget"]`` is the path of its ledger, if the training is private.
    """
    if table is None:
        raise BadInput("no_rows", "A member needs rows.")
    plan, aggregator = plan_of(job), job.only("aggregator")
    rows, labels = await asyncio.to_thread(plan.prepare, table.columns)
    if plan.private:
        session.persist("budget", lambda: _charge(session, plan))  # a replay does not charge again
    randomness, common, survivors = (
        session.randomness.child("training"),
        plan.initial(),
        plan.members,
    )
    for number in plan.sums:
        vector = await asyncio.to_thread(
            plan.contribution,
            number,
            common,
            rows,
            labels,
            randomness,
        )
        survivors = await contribute(
            session,
            aggregator,
            plan.terms(number),
            vector,
            digest_of(common),
        )
        message = await session.to(aggregator).receive("aggregation/model")
        common = message.array("parameters", "float64", [plan.model.size])
        if not np.isfinite(common).all():
            raise PeerFault(
                "message_malformed",
                f"{aggregator} sent parameters that are not finite numbers.",
                peer=aggregator,
            )
        session.progress("training", (number + 1) / plan.rounds)
    await _compare(session, survivors, common)
    return JobResult(
        metrics={"rounds": plan.rounds, "micro_rho": plan.cost},
        files={"model.json": model_file(plan, common)},
    )


async def aggregator(session: Session, table: Table | None, job: Job) -> JobResult:
    """Run the aggregator."""
    plan = plan_of(job)
    common, absent, survivors = plan.initial(), frozenset[str](), list[int]()
    metrics: dict[str, Any] = {}
    for number in plan.sums:
        result = await aggregate(session, plan.terms(number), absent=absent)
        survivors.append(len(result.survivors))
        if number == plan.rounds:
            metrics = plan.evaluation(result.total)
        else:
            common = plan.step(common, result.total, result.survivors)
        absent = frozenset(plan.members) - set(result.present)
        await _send(session, result.present, common)
        session.progress("training", (number + 1) / plan.rounds)
    metrics |= {
        "rounds": plan.rounds,
        "survivors": survivors,
        "micro_rho": plan.cost,
        "epsilon": epsilon(plan.cost),
        "delta": DELTA if plan.private else 0,
    }
    return JobResult(metrics=metrics, files={"model.json": model_file(plan, common)})


def model_file(plan: TrainingPlan, common: Vector) -> bytes:
    """Return the model with what its use requires, as JSON."""
    given = plan.parameters
    layout = {name: given[name] for name in ("model", "label", "positive", "features")} | (
        {"hidden": given["hidden"]} if given["model"] == "neural" else {}
    )
    value = {
        "version": 1,
        **layout,
        "columns": feature_names(given["features"]),
        "parameters": common.tolist(),
    }
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


async def _compare(session: Session, peers: tuple[str, ...], common: Vector) -> None:
    """Check that all members of the last sum that are still present end with the same model."""
    digest = digest_of(common)
    await send_to_peers(session, peers, "aggregation/final", model=digest)
    for peer in peers:
        if peer != session.party and await _final(session, peer) not in (digest, None):
            raise PeerFault(
                "models_differ",
                f"{peer} ends with another model than this party: the "
                "aggregator sent different models.",
                peer=peer,
            )


async def _final(session: Session, peer: str) -> bytes | None:
    """Return the digest of a peer's last model; None if the peer is gone."""
    try:
        return (await session.to(peer).receive("aggregation/final")).blob("model", 32)
    except PeerFault as fault:
        if fault.code in ABSENT:
            return None
        raise


def _charge(session: Session, plan: TrainingPlan) -> bytes:
    path = session.settings.get("budget")
    if path is None:
        raise NotFound(
            "budget_missing",
            "A private training needs this party's privacy ledger.",
            hint="Name it in the party's settings: budget.",
        )
    return str(Budget(Path(path)).charge(plan.name, plan.cost).left).encode()


async def _send(session: Session, present: tuple[str, ...], common: Vector) -> None:
    for name in present:
        try:
            await session.to(name).send("aggregation/model", parameters=common)
        except PeerFault as fault:
            if fault.code not in ABSENT:  # a member that is gone is missing from the next round
                raise


AGGREGATION = Protocol("aggregation", {"aggregator": aggregator, "member": member}, check)
