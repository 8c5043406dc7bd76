"""Specifications of intersections: which are refused, before anything is opened."""

from __future__ import annotations

from typing import Any

import pytest

from federated.errors import BadInput
from federated.intersection import INTERSECTION, PsiTerms
from federated.job import Job, Party

BANK, TAX = Party("receiver", "loans"), Party("sender", "returns")


def job_of(parties: dict[str, Party] | None = None, **parameters: Any) -> Job:
    return Job(
        "match",
        "intersection",
        "credit-assessment",
        parties or {"bank": BANK, "tax": TAX},
        parameters,
    )


def refused(code: str) -> Any:
    return pytest.raises(BadInput, check=lambda error: error.code == code)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"method": "ecdh", "reveal": "size", "suite": "sm"},
        {"pad_to": "power_of_two"},
        {"reveal": "both", "pad_to": 1},
    ],
)
def test_sound_specifications_pass(parameters: dict[str, Any]) -> None:
    INTERSECTION.check(job_of(**parameters))


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"method": "hash"}, "method_unknown"),
        ({"method": ["kkrt"]}, "method_unknown"),
        ({"suite": "rsa"}, "suite_unknown"),
        ({"reveal": "everybody"}, "reveal_unknown"),
        ({"reveal": {}}, "reveal_unknown"),
        ({"reveal": "nobody"}, "reveal_not_offered"),
        ({"reveal": "nobody", "method": "ecdh"}, "reveal_not_offered"),
        ({"reveal": "size"}, "reveal_not_offered"),
        ({"pad_to": 0}, "spec_parameters"),
        ({"pad_to": True}, "spec_parameters"),
        ({"pad_to": 1.5}, "spec_parameters"),
        ({"pad_to": "power_of_three"}, "spec_parameters"),
        ({"pad_to": 1 << 25}, "spec_parameters"),
        ({"salt": "x"}, "spec_parameters"),
    ],
)
def test_unsound_parameters_are_refused(parameters: dict[str, Any], code: str) -> None:
    with refused(code):
        INTERSECTION.check(job_of(**parameters))


def test_an_intersection_that_nobody_learns_is_refused_by_itself_and_sent_to_the_scorecard() -> (
    None
):
    assert PsiTerms.read({"reveal": "nobody"}).reveal == "nobody"
    with pytest.raises(BadInput, check=lambda error: "scorecard" in (error.hint or "")):
        INTERSECTION.check(job_of(reveal="nobody"))


@pytest.mark.parametrize(
    ("parties", "code"),
    [
        ({"bank": BANK, "tax": BANK}, "spec_roles"),
        ({"bank": BANK, "tax": TAX, "water": TAX}, "spec_roles"),
        ({"bank": BANK, "tax": Party("sender")}, "spec_roles"),
        ({"bank": BANK, "tax": Party("sender", "returns", ("Income",))}, "spec_columns"),
    ],
)
def test_unsound_parties_are_refused(parties: dict[str, Party], code: str) -> None:
    with refused(code):
        INTERSECTION.check(job_of(parties))


def test_padded_sizes() -> None:
    assert [PsiTerms().padded(rows) for rows in (1, 1024, 1025, 10**6)] == [
        1024,
        1024,
        2048,
        1_000_448,
    ]
    assert [PsiTerms(pad_to="power_of_two").padded(rows) for rows in (1, 2, 3, 10**6)] == [
        1,
        2,
        4,
        1 << 20,
    ]


@pytest.mark.parametrize(
    "terms", [PsiTerms(), PsiTerms(method="ecdh"), PsiTerms(method="ecdh", suite="sm")]
)
def test_sets_above_the_limit_are_refused(terms: PsiTerms) -> None:
    assert terms.padded(terms.max_rows) == terms.max_rows
    with refused("set_too_large"):
        terms.padded(terms.max_rows + 1)
