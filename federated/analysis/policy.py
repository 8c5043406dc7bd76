"""An owner's policy: what submitted analyses may do with its sources. One TOML file, read strictly.

    period = "2026-q4"                     # releases within a period are checked against each
    other;
                                           # rows may not change within it
    purposes = ["credit-assessment"]
    functions = ["count", "sum", "avg"]
    min_rows = 10                        # in every group, and in the difference of any releases
    max_groups = 1000
    releases = 20                          # analyses of each source in a period

    [limits]
    rows = 2000000
    memory_mb = 1024
    seconds = 30

    [noise]                                # optional
    micro_rho = 5000                       # the cost of each analysis

    [sources.records.Home]
    type = "text"
    uses = ["group", "filter"]
    known = "values"                       # the submitter is assumed to know every row's value

    [sources.records.Income]
    type = "number"
    uses = ["aggregate"]
    low = 0                                # values beyond are taken as the bound
    high = 5000
    decimals = 0                           # decimal places
    known = "missing"                      # it is known which rows lack a value; values are not

A column that is not named here may not be used at all. A column without ``known`` is only
aggregated, and has a value in every row: which rows an answer is over, and whether it is released,
then depends on nothing that is not known.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from federated.analysis.syntax import Analysis, Function, Use
from federated.errors import BadInput, Forbidden
from federated.job import Job

MAX_VALUE = 2**31
"""The largest magnitude of a value, in units of its last decimal place.

Sums over ``MAX_ROWS`` then stay within 64 bits.
"""
MAX_ROWS = 1 << 24

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Known = Literal["values", "missing"]
"""What the owner assumes a submitter to know of a column, row by row.

Its values, or only which rows lack one.
"""


class ColumnRule(_Strict):
    """What may be done with a column.

    A column that selects rows has known values; one that may be aggregated is a number with bounds.
    """

    type: Literal["number", "text"]
    uses: tuple[Use, ...] = Field(min_length=1, strict=False)
    low: float | None = Field(default=None, allow_inf_nan=False, strict=False)
    high: float | None = Field(default=None, allow_inf_nan=False, strict=False)
    decimals: Annotated[int, Field(ge=0, le=9)] = 0
    known: Known | None = None

    @model_validator(mode="after")
    def _selects(self) -> ColumnRule:
        if self.known != "values" and {"group", "filter"} & set(self.uses):
            raise ValueError(
                'a column groups or filters only with known = "values": the submitter is assumed '
                "to know every row's value",
            )
        return self

    @model_validator(mode="after")
    def _bounded(self) -> ColumnRule:
        if "aggregate" not in self.uses:
            return self
        if (
            self.type != "number"
            or self.low is None
            or self.high is None
            or not self.low < self.high
        ):
            raise ValueError("a column that may be aggregated is a number with low below high")
        if self.bound > MAX_VALUE:
            raise ValueError("the bounds are too wide for this many decimal places")
        return self

    @property
    def bound(self) -> int:
        """The largest magnitude of a value, in units of its last decimal place."""
        return max(
            self.scaled(self.low or 0.0),
            -self.scaled(self.low or 0.0),
            self.scaled(self.high or 0.0),
            -self.scaled(self.high or 0.0),
        )

    def scaled(self, value: float) -> int:
        """Return a value in units of the last decimal place."""
        return round(value * 10.0**self.decimals)


class AnalysisLimits(_Strict):
    """What one analysis may use: rows of the source, megabytes, seconds."""

    rows: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 2_000_000
    memory_mb: Annotated[int, Field(ge=32, le=1 << 16)] = 1024
    seconds: Annotated[int, Field(ge=1, le=3600)] = 30


class Noise(_Strict):
    """Noise on every released number."""

    micro_rho: Annotated[int, Field(ge=1, le=10**9)]


class Policy(_Strict):
    """The whole policy."""

    period: _Name
    purposes: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(
        min_length=1,
        strict=False,
    )
    functions: tuple[Function, ...] = Field(min_length=1, strict=False)
    min_rows: Annotated[int, Field(ge=5, le=1_000_000)]
    max_groups: Annotated[int, Field(ge=1, le=10_000, alias="max_groups")] = 1000
    releases: Annotated[int, Field(ge=1, le=1000)]
    limits: AnalysisLimits = AnalysisLimits()
    noise: Noise | None = None
    sources: Mapping[_Name, Mapping[str, ColumnRule]]

    @classmethod
    def load(cls, path: Path | None) -> tuple[Policy, bytes]:
        """Read a policy and its bytes; ``policy_missing``, ``policy_malformed``."""
        if path is None:
            raise BadInput(
                "policy_missing",
                "This party has no policy for analyses.",
                hint="Write one, and name it in the configuration: policy.",
            )
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadInput(
                "policy_missing",
                f"The policy {path.name} cannot be read.",
                hint="See docs/protocols/analysis.md for one.",
            ) from error
        return cls.parse(data), data

    @classmethod
    def parse(cls, data: bytes) -> Policy:
        """Read a policy from the file's bytes; ``policy_malformed``."""
        try:
            return cls.model_validate(tomllib.loads(data.decode()))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadInput("policy_malformed", f"The policy: {where}: {first['msg']}.") from error
        except ValueError as error:
            raise BadInput("policy_malformed", f"The policy is not TOML: {error}.") from error

    def permit(self, analysis: Analysis, job: Job) -> Mapping[str, ColumnRule]:
        """Return the rules of the columns that the analysis uses, if it is allowed.

        Raises:
            Forbidden: ``purpose_not_allowed``, ``source_not_allowed``, ``column_not_allowed``,
                ``use_not_allowed``, ``function_not_allowed``.
        """
        if job.purpose not in self.purposes:
            raise Forbidden(
                "purpose_not_allowed",
                f"The policy does not allow the purpose {job.purpose}.",
                hint="Ask the owner what it allows.",
            )
        if analysis.table not in self.sources:
            raise Forbidden(
                "source_not_allowed",
                f"The policy does not name the source {analysis.table}; it is closed to analyses.",
            )
        rules = self.sources[analysis.table]
        for name, use in sorted(analysis.uses()):
            if name not in rules:
                raise Forbidden(
                    "column_not_allowed",
                    f"The policy does not allow the column {name}.",
                )
            if use not in rules[name].uses:
                raise Forbidden(
                    "use_not_allowed",
                    f"The policy does not allow to {use} with the column {name}.",
                )
        for function in sorted(analysis.functions()):
            if function not in self.functions:
                raise Forbidden(
                    "function_not_allowed",
                    f"The policy does not allow the function {function}.",
                )
        return {name: rules[name] for name in sorted(analysis.columns())}
