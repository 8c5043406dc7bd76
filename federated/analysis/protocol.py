"""The protocol ``analysis``: one ``owner`` runs what one ``analyst`` submits.

Only the permitted result leaves the owner. The specification holds the SQL, so that an approval is
for exactly this analysis:

    {"job": "income-by-home", "protocol": "analysis", "purpose": "credit-assessment",
     "parties": {"tax": {"role": "owner", "source": "records", "columns": ["Home", "Income"]},
                 "bank": {"role": "analyst"}},
     "parameters": {"sql": "SELECT Home, count(*), avg(Income) FROM records GROUP BY Home"}}

The order of steps: the policy, the ledger and the count of releases allow it, before the gate is
asked and before anything is read; the gate approves; the source is read; the analysis is counted
and charged; it runs; what may be released is recorded; then it is sent.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet

from federated.analysis import answer
from federated.analysis.answer import Permitted, Row
from federated.analysis.confined import Computed, compute, encode_rows, failed
from federated.analysis.policy import ColumnRule, Policy
from federated.analysis.releases import Released, ReleaseFile, digests_of
from federated.analysis.statement import CompiledAnalysis, write
from federated.analysis.syntax import Analysis, Key, read
from federated.errors import BadInput, Conflict, PeerFault
from federated.horizontal.budget import Budget
from federated.job import Job, JobResult, Protocol, Table
from federated.session import Session

MAX_ROWS = 10_000
"""Rows of any result; a policy may allow fewer groups."""
_MAX_TEXT = 1 << 16


def check(job: Job) -> None:
    """Check a specification.

    Raises:
        BadInput: ``spec_roles``, ``spec_columns``, ``spec_parameters``, and those of ``read``.
    """
    owner, analyst = job.only("owner"), job.only("analyst")
    sources = job.parties[owner].source, job.parties[analyst].source
    if len(job.parties) != 2 or sources[0] is None or sources[1] is not None:
        raise BadInput(
            "spec_roles",
            "An analysis has an owner who brings a source, and an analyst who brings none.",
        )
    if set(job.parameters) != {"sql"}:
        raise BadInput("spec_parameters", "An analysis has one parameter: sql.")
    analysis = read(job.parameters["sql"])
    if analysis.table != job.parties[owner].source:
        raise BadInput(
            "spec_roles",
            f"The analysis reads {analysis.table}; the owner brings {job.parties[owner].source}.",
        )
    if set(job.parties[owner].columns) != analysis.columns():
        raise BadInput(
            "spec_columns",
            "The owner must bring exactly the columns that the analysis reads.",
        )


def admit(job: Job, party: str, settings: Mapping[str, Any]) -> None:
    """Check policy, budget and releases at the owner, before its gate is asked.

    Raises:
        The codes of ``Policy``, ``statement.write`` and ``Budget.balance``; Conflict:
            ``budget_exhausted``, ``releases_spent``.
    """
    if job.parties[party].role != "owner":
        return
    policy, _ = Policy.load(settings.get("policy"))
    analysis, statement, rules = _prepare(job, policy)
    if policy.noise is not None:
        answer.sigmas(analysis, statement, rules, policy.noise.micro_rho)
        left = Budget(settings["budget"]).balance().left
        if left < policy.noise.micro_rho:
            sentence = (
                f"The privacy budget has {left} micro-rho left; an analysis costs "
                f"{policy.noise.micro_rho}."
            )
            raise Conflict("budget_exhausted", sentence, left=left, needed=policy.noise.micro_rho)
    ReleaseFile(Path(settings["home"]), analysis.table, policy.period).read().begin(
        "",
        {},
        max_runs=policy.releases,
    )


async def owner(session: Session, table: Table | None, job: Job) -> JobResult:
    """Run the owner. Its ``released.json`` records what was released and what was withheld."""
    if table is None:
        raise BadInput("no_rows", "An owner needs rows.")
    # A replay uses the policy of the run, even if it has changed since.
    policy = Policy.parse(
        session.persist("policy", lambda: Policy.load(session.settings.get("policy"))[1]),
    )
    analysis, statement, rules = _prepare(job, policy)
    record = ReleaseFile(Path(session.settings["home"]), analysis.table, policy.period)
    digests = await asyncio.to_thread(digests_of, table, rules)
    # A replay neither counts nor charges again.
    await asyncio.to_thread(
        session.persist,
        "begun",
        lambda: _begin(session, job, policy, record, digests),
    )
    session.progress("analysis", 0.1)
    rows = await asyncio.to_thread(encode_rows, table, statement, rules)
    computed = await asyncio.to_thread(
        compute,
        rows,
        statement,
        policy.limits,
        max_groups=policy.max_groups,
    )
    session.progress("analysis", 0.7)

    def release() -> bytes:
        with record.changed() as released:
            return _release(released, computed, statement, table, policy).tobytes()

    allowed = np.frombuffer(
        await asyncio.to_thread(session.persist, "released", release),
        np.bool_,
    ).reshape(computed.sizes.shape)
    sizes, sums = computed.sizes, computed.sums
    if policy.noise is not None:
        noise = answer.sigmas(analysis, statement, rules, policy.noise.micro_rho)
        sizes, sums = answer.noisy(computed, noise, session.randomness.child("noise"))
    given = answer.table(analysis, statement, rules, computed, allowed, sizes, sums)
    await session.to(job.only("analyst")).send("analysis/result", rows=given)
    session.progress("analysis", 1.0)
    return _owner_record(job, policy, statement, allowed, given)


async def analyst(session: Session, table: Table | None, job: Job) -> JobResult:
    """Run the analyst: the result is in ``result.csv`` and ``result.parquet``."""
    analysis, peer = read(job.parameters["sql"]), job.only("owner")
    rows = (await session.to(peer).receive("analysis/result")).value("rows")
    if not _is_valid(rows, analysis):
        raise PeerFault(
            "message_malformed",
            f"{peer} sent a result that is not of this analysis.",
            peer=peer,
        )
    session.progress("analysis", 1.0)
    metrics = {"rows": len(rows), "missing": sum(value is None for row in rows for value in row)}
    return JobResult(metrics, await asyncio.to_thread(_files, rows, analysis))


def _prepare(
    job: Job, policy: Policy
) -> tuple[Analysis, CompiledAnalysis, Mapping[str, ColumnRule]]:
    analysis = read(job.parameters["sql"])
    rules = policy.permit(analysis, job)
    return (
        analysis,
        write(analysis, rules, min_rows=policy.min_rows, max_groups=policy.max_groups),
        rules,
    )


def _begin(
    session: Session,
    job: Job,
    policy: Policy,
    record: ReleaseFile,
    digests: Mapping[str, str],
) -> bytes:
    """Count the analysis and charge for it: both stay, whatever becomes of the run."""
    with record.changed() as released:
        released.begin("0x" + job.digest.hex(), digests, max_runs=policy.releases)
    if policy.noise is not None:
        Budget(Path(session.settings["budget"])).charge(
            "0x" + job.digest.hex(),
            policy.noise.micro_rho,
        )
    return b"begun"


def _release(
    released: Released,
    computed: Computed,
    statement: CompiledAnalysis,
    table: Table,
    policy: Policy,
) -> Permitted:
    holds = {name: ~np.isnan(table.columns[name]) for name in statement.values}
    try:
        return answer.permitted(released, computed, statement, holds, len(table), policy.min_rows)
    except (ValueError, IndexError) as error:
        raise failed("its process gave an answer that does not fit the source") from error


def _owner_record(
    job: Job,
    policy: Policy,
    statement: CompiledAnalysis,
    allowed: Permitted,
    given: list[Row],
) -> JobResult:
    metrics = {
        "groups": len(given),
        "groups_held_back": int((~allowed[:, 0]).sum()),
        "cells_held_back": int((~allowed[allowed[:, 0]]).sum()),
        "micro_rho": 0 if policy.noise is None else policy.noise.micro_rho,
    }
    about = {
        "sql": job.parameters["sql"],
        "ran": [statement.marked, statement.groups],
        "with": list(statement.parameters),
    }
    record = {
        "version": 1,
        "purpose": job.purpose,
        "period": policy.period,
        **about,
        **metrics,
        "result": given,
    }
    return JobResult(
        metrics,
        {"released.json": json.dumps(record, ensure_ascii=False, indent=1).encode()},
    )


# --- The analyst's files --------------------------------------------------------------------------


def _is_valid(rows: Any, analysis: Analysis) -> bool:
    """Return whether rows have the form of this analysis's result."""
    if not isinstance(rows, list) or len(rows) > (MAX_ROWS if analysis.keys else 1):
        return False
    if not all(isinstance(row, list) and len(row) == len(analysis.outputs) for row in rows):
        return False
    columns = ([row[index] for row in rows] for index in range(len(analysis.outputs)))
    return all(map(_fits, analysis.outputs, columns))


def _fits(output: Any, values: list[Any]) -> bool:
    present = [value for value in values if value is not None]
    if isinstance(output, Key):
        texts = all(isinstance(value, str) and len(value) <= _MAX_TEXT for value in present)
        return texts or all(isinstance(value, float) and math.isfinite(value) for value in present)
    if output.function == "count":
        return all(type(value) is int and abs(value) < 2**53 for value in present)
    return all(isinstance(value, float) and math.isfinite(value) for value in present)


def _files(rows: list[Row], analysis: Analysis) -> dict[str, bytes]:
    arrays = []
    for index, output in enumerate(analysis.outputs):
        arrays.append(pa.array([row[index] for row in rows], _type(output, rows, index)))
    result = pa.table(arrays, names=[output.name for output in analysis.outputs])
    text, binary = io.BytesIO(), io.BytesIO()
    csv.write_csv(result, text)
    parquet.write_table(result, binary)
    return {"result.csv": text.getvalue(), "result.parquet": binary.getvalue()}


def _type(output: Any, rows: list[Row], index: int) -> pa.DataType:
    if isinstance(output, Key):
        return pa.string() if any(isinstance(row[index], str) for row in rows) else pa.float64()
    return pa.int64() if output.function == "count" else pa.float64()


ANALYSIS = Protocol("analysis", {"owner": owner, "analyst": analyst}, check, admit)
