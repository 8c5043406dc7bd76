"""A dry run of a party's own source before a job: everything at once that would make the job fail,
or the party's columns useless. It opens one file and sends nothing.

A named person runs it, and each look is appended to ``checks.jsonl`` in the party's folder before
the source is opened. A fault would end the job; a warning states a figure, and the job would run.
Bins, label and evidence are checked for scorecards only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.core.errors import QiaolianError
from federated.errors import BadInput
from federated.evaluation import RankingCurve
from federated.job import Job, Table
from federated.party import PartyConfig
from federated.protocols import protocol_of
from federated.randomness import Randomness
from federated.sources import ColumnsUnknown, ExaminedSource, examine
from federated.vertical.binned_columns import BinnedColumns
from federated.vertical.binning import ColumnConstant
from federated.vertical.plan import ScorecardPlan, read_plan
from registry.subject_codes import is_official

LEAK_AUC = 0.99
"""A column that ranks the label this well alone was probably written after the outcome."""
MIN_INFORMATION = 0.02
"""Information values below this are called unpredictive (Siddiqi, *Credit Risk Scorecards*)."""
RARE_LABEL = 0.01
MANY_MISSING = 0.5

LOG = "checks.jsonl"


@dataclass(frozen=True)
class Finding:
    """Something about the source. ``fault``: whether the job would fail because of it."""

    code: str
    sentence: str
    fault: bool


@dataclass(frozen=True)
class SourceCheck:
    """The result of a look. ``rows``: of the source, 0 if it cannot be read."""

    rows: int
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> int:
        """How many findings would end the job."""
        return sum(finding.fault for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the form that programs read."""
        return {"rows": self.rows, "findings": [asdict(finding) for finding in self.findings]}


def check_source(config: PartyConfig, job: Job, *, by: str) -> SourceCheck:
    """Look at the source that a party brings into a job. Raises the errors of the specification:
    it is correct before a source is opened.
    """
    protocol_of(job).check(job)
    part = job.parties[config.name]
    entry = config.source(part.source)
    _record(config.home / LOG, job, str(part.source), by)
    findings: list[Finding] = []
    columns = list(part.columns)
    try:
        try:
            source = examine(
                config.home / entry.path,
                key=entry.key,
                columns=columns,
                source_format=entry.source_format,
            )
        except ColumnsUnknown as error:
            findings.append(_fault(error))
            if entry.key in error.names:
                return SourceCheck(0, tuple(findings))
            columns = [name for name in columns if name not in error.names]
            source = examine(
                config.home / entry.path,
                key=entry.key,
                columns=columns,
                source_format=entry.source_format,
            )
    except BadInput as error:
        return SourceCheck(0, (*findings, _fault(error)))
    findings += map(_fault, source.errors)
    findings += _identifiers(source)
    findings += _columns(source)
    if job.protocol == "scorecard":
        findings += _scorecard(source, job, config.name)
    return SourceCheck(source.report.rows, tuple(findings))


def _record(path: Path, job: Job, source: str, by: str) -> None:
    line = {"at": int(time.time()), "by": by, "job": job.name, "source": source}
    line["specification"] = f"0x{job.digest.hex()}"
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _fault(error: QiaolianError) -> Finding:
    return Finding(error.code, f"{error.sentence} {error.hint or ''}".rstrip(), True)


def _warning(code: str, sentence: str) -> Finding:
    return Finding(code, sentence, False)


# --- Every protocol -------------------------------------------------------------------------------


def _identifiers(source: ExaminedSource) -> Iterator[Finding]:
    rows, changed = source.report.rows, source.report.ids_changed
    if changed:
        yield _warning(
            "ids_changed",
            f"{changed:,} of {rows:,} identifiers have other blanks, width or case than their "
            "common form, and are matched in that form.",
        )
    if source.ids is None:
        return
    lengths = np.char.str_len(source.ids)
    codes = [code.decode("utf-8", "replace") for code in source.ids[lengths == 18].tolist()]
    wrong = sum(not is_official(code) for code in codes)
    if wrong:
        yield _warning(
            "wrong_check_character",
            f"{wrong:,} of {len(codes):,} identifiers of 18 characters have a wrong letter or "
            "check character, so they match nobody's correct ones.",
        )
    if 0 < len(codes) < rows:
        yield _warning(
            "ids_mixed",
            f"{len(codes):,} of {rows:,} identifiers have 18 characters, the others do not: they "
            "match only where the peers write them alike.",
        )


def _columns(source: ExaminedSource) -> Iterator[Finding]:
    rows = source.report.rows
    for name, count in source.report.missing.items():
        if count > MANY_MISSING * rows:
            yield _warning(
                "column_sparse",
                f"The column {name} has no value in {count:,} of {rows:,} rows.",
            )
    names = list(source.columns)
    for place, name in enumerate(names):
        values = source.columns[name]
        if values.dtype.kind == "f" and np.isinf(values).any():
            count = int(np.isinf(values).sum())
            yield Finding(
                "column_malformed",
                f"The column {name} has an infinite value in {count:,} of {rows:,} rows.",
                True,
            )
        for other in names[:place]:
            if _alike(values, source.columns[other]):
                yield _warning(
                    "column_repeated", f"The columns {other} and {name} have the same values."
                )


def _alike(left: NDArray[Any], right: NDArray[Any]) -> bool:
    if left.dtype != right.dtype or len(set(left[:50].tolist())) == 1:
        return False
    return np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


# --- Scorecards -----------------------------------------------------------------------------------


def _scorecard(source: ExaminedSource, job: Job, party: str) -> Iterator[Finding]:
    plan, roles = read_plan(job)
    try:
        roles.require_rows(source.report.rows)
    except BadInput as error:
        yield _fault(error)
    own = {
        name: source.columns[name]
        for name in roles.columns.get(party, ())
        if name in source.columns
    }
    bad: NDArray[np.bool_] | None = None
    if party == roles.label:
        known, findings = _label(source, plan)
        yield from findings
        bad = known
    yield from _evidence(own, bad, plan, plan.special_values(party), source.report.rows)


def _label(
    source: ExaminedSource, plan: ScorecardPlan
) -> tuple[NDArray[np.bool_] | None, list[Finding]]:
    """Return which rows are bad, if all labels are valid, and what is wrong."""
    findings: list[Finding] = []
    empty = np.zeros(source.report.rows, "S1")
    table = Table(empty, source.columns)
    if plan.test_column is not None and plan.test_column in source.columns:
        try:
            plan.tested(table, Randomness(bytes(32)))  # nothing is drawn with a test column
        except BadInput as error:
            findings.append(_fault(error))
    if plan.label not in source.columns:
        return None, findings
    try:
        bad = plan.outcomes(table)
    except BadInput as error:
        return None, [*findings, _fault(error)]
    rarer = min(int(bad.sum()), int((~bad).sum()))
    if not rarer:
        kind = "bad" if bad.all() else "good"
        findings.append(Finding("one_class", f"All {len(bad):,} rows are {kind}.", True))
        return None, findings
    if rarer < RARE_LABEL * len(bad):
        findings.append(
            _warning(
                "label_rare",
                f"{rarer:,} of {len(bad):,} rows have the rarer label, 1 in {len(bad) // rarer:,}: "
                "rank and probabilities of the test rows will be uncertain.",
            )
        )
    return bad, findings


def _evidence(
    own: Mapping[str, NDArray[Any]],
    bad: NDArray[np.bool_] | None,
    plan: ScorecardPlan,
    special: Mapping[str, Sequence[float]],
    rows: int,
) -> Iterator[Finding]:
    for name, values in own.items():
        if values.dtype.kind == "f" and np.isinf(values).any():
            continue
        if values.dtype.kind != "f":
            different = len({value for value in values if value is not None})
            if 2 * different > rows:
                yield _warning(
                    "column_scattered",
                    f"The column {name} has {different:,} different texts in {rows:,} rows: only "
                    "frequent ones get a bin of their own.",
                )
        try:
            binned = BinnedColumns.of({name: values}, plan, special)
        except ColumnConstant as error:
            yield _warning("column_constant", f"{error.sentence} It would be left out.")
            continue
        except BadInput as error:
            yield _fault(error)
            continue
        if bad is None:
            continue
        (evidence,) = binned.own_evidence(bad, plan)
        exact = _rates(binned.codes[0], bad)
        auc = RankingCurve.of(exact, bad).auc()
        if auc >= LEAK_AUC:
            yield _warning(
                "column_leaks",
                f"The column {name} alone ranks the label with AUC {auc:.4f}: it was probably "
                "written after the outcome was known.",
            )
        elif evidence.information_value < MIN_INFORMATION:
            yield _warning(
                "column_without_evidence",
                f"The column {name} has an information value of "
                f"{evidence.information_value:.4f}: it says little about the label.",
            )


def _rates(codes: NDArray[np.int64], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the bad rate of each row's bin."""
    shifted = codes + 1  # a row without a bin is in bin 0
    rows = np.bincount(shifted)
    return np.asarray((np.bincount(shifted, bad) / np.maximum(rows, 1))[shifted], np.float64)
