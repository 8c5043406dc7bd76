"""Every error code is registered, under the classes it is raised as, in both languages."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import contracts
from chain.core import errors
from chain.core.error_codes import PACKAGES, error_classes, error_code, error_codes, problem_type
from chain.core.errors import Forbidden, NotFound
from chain.ethereum.ledger.abi import snake_case
from nodes.cli.main import main
from nodes.exclusive import Kind
from nodes.problems import problem
from scripts.error_pages import PAGE, page
from tests.support.error_sites import ErrorSites, RaiseSite, string_constants

ROOT = Path(__file__).parents[2]
SOURCES = (*PACKAGES, "scripts")
COMPOSED = {f"{kind}_running" for kind in get_args(Kind)}
"""Codes that the program composes; all others are literal."""


@functools.cache
def sites() -> ErrorSites:
    return ErrorSites.of(ROOT, SOURCES)


def contract_errors() -> set[str]:
    """The custom errors of all contracts, as codes."""
    return {
        snake_case(item["name"])
        for path in (Path(contracts.__file__).parent / "artifacts").glob("*.json")
        for item in json.loads(path.read_text(encoding="utf-8"))["abi"]
        if item["type"] == "error"
    }


def unregistered(found: ErrorSites) -> list[RaiseSite]:
    return [site for site in found.all if site.code not in error_codes()]


def of_other_class(found: ErrorSites) -> list[RaiseSite]:
    return [
        site
        for site in found.all
        if site.code in error_codes()
        and not {
            site.error_class,
            found.public_class(site.error_class, error_classes()),
            *(_SET_BY_CODE.get(site.code, ())),
        }
        & {error_class.name for error_class in error_codes()[site.code].classes}
    ]


_SET_BY_CODE = {
    "internal_error": ("InternalError",),
    "start_failed": ("StartFailed",),
    "request_invalid": ("RequestInvalid",),
}
"""Codes whose status or exit code is set where they are raised."""


def test_every_literal_code_is_registered() -> None:
    assert unregistered(sites()) == []


def test_every_code_is_registered_under_each_class_it_is_raised_as() -> None:
    assert of_other_class(sites()) == []


_ONE_FAULT_OF_TWO = {
    "chain_bad_answer": "decoding does not know which chain node answered",
    "members_wrong": "of this party's own plan, or of a peer's",
    "too_few_members": "of this party's own plan, or of a peer's",
}
"""Codes that one class lays on the caller and the other on a peer or chain node."""


def test_a_code_is_raised_as_one_class() -> None:
    """A caller that knows the code knows the status. Contracts and the verifier have their own."""
    several = {
        code
        for code, entry in error_codes().items()
        if len([found for found in entry.classes if found.name not in _OF_PROOFS]) > 1
    }
    assert several == set(_ONE_FAULT_OF_TWO)


_OF_PROOFS = {
    "Reverted",
    *(
        name
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, errors.VerificationError)
    ),
}


def test_every_contract_error_is_registered() -> None:
    named = {
        code
        for code, found in error_codes().items()
        if "Reverted" in {error_class.name for error_class in found.classes}
    }
    assert contract_errors() - named == set()


def test_no_registered_code_is_unused() -> None:
    literals = {
        text
        for package in SOURCES
        for path in (ROOT / package).rglob("*.py")
        for text in string_constants(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert set(error_codes()) - literals - contract_errors() - COMPOSED == set()


def test_no_class_is_registered_that_no_raise_site_has() -> None:
    found = sites()
    raised = {
        (site.code, found.public_class(site.error_class, error_classes())) for site in found.all
    }
    literal = {site.code for site in found.all}
    needless = [
        (code, error_class.name)
        for code, entry in error_codes().items()
        for error_class in entry.classes
        if code in literal
        and len(entry.classes) > 1
        and (code, error_class.name) not in raised
        and not (error_class.name == "Reverted" and code in contract_errors())
        and code not in COMPOSED | _CODES_FROM_TABLES
    ]
    assert needless == []


_CODES_FROM_TABLES = {"code_differs"}
"""Codes that are also raised out of a table of literals."""


def test_the_check_finds_an_unregistered_code_through_a_helper() -> None:
    source = """
class QiaolianError(Exception): ...
class Conflict(QiaolianError): ...
def fail(sentence, code):
    raise Conflict(code, sentence)
def refuse(code):
    fail("No.", code=code)
refuse("never_registered")
raise Conflict("grant_revoked" if x else "not_registered", "No.")
"""
    found = ErrorSites({"module": ast.parse(source)})
    assert {site.code for site in unregistered(found)} == {"never_registered", "not_registered"}
    assert {site.code for site in of_other_class(found)} == {"grant_revoked"}


def test_every_meaning_is_in_both_languages() -> None:
    chinese = re.compile("[\u4e00-\u9fff]")
    codes = [(entry.sentence, entry.next_step) for entry in error_codes().values()]
    classes = [(entry.meaning, entry.next_step) for entry in error_classes().values()]
    for text in (text for pair in codes + classes for text in pair):
        assert text.en
        assert not chinese.search(text.en), text
        assert chinese.search(text.zh), text


def test_classes_have_the_status_and_exit_code_of_the_program() -> None:
    from chain.core import errors
    from chain.ethereum import rpc
    from chain.ethereum.ledger import abi
    from federated.errors import PeerFault
    from nodes.bodies import BodyTooLarge
    from nodes.rates import RateLimited

    classes: set[type[errors.QiaolianError]] = {
        PeerFault,
        BodyTooLarge,
        RateLimited,
        abi.Reverted,
        rpc.RpcRefused,
    } | {
        item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, errors.QiaolianError)
    }
    for item in classes:
        if item.__name__ in error_classes():
            registered = error_classes()[item.__name__]
            assert (registered.status, registered.exit_code) == (item.status, item.exit_code)


def test_the_page_is_what_the_registry_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m scripts.error_pages"


def test_a_problem_refers_to_the_page() -> None:
    body = json.loads(problem(Forbidden("grant_revoked", "Revoked."), member="")[1])
    assert body["code"] == "grant_revoked"
    assert body["type"] == problem_type("grant_revoked")
    document, _, anchor = body["type"].partition("#")
    assert document == f"/docs/{PAGE.stem}.html"
    assert f'<a id="{anchor}"></a>' in PAGE.read_text(encoding="utf-8")


def test_the_command_prints_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["error", "grant_revoked"]) == 0
    printed = capsys.readouterr().out
    assert error_code("grant_revoked").sentence.en in printed
    assert error_code("grant_revoked").sentence.zh in printed


def test_an_unknown_code_names_similar_ones() -> None:
    with pytest.raises(NotFound) as refused:
        error_code("grant_revokd")
    assert refused.value.code == "error_unknown"
    assert "grant_revoked" in refused.value.hint


def test_verification_reads_no_registry() -> None:
    command = (
        "import sys, nodes.cli.verify; "
        "assert not {'tomllib', 'chain.core.error_codes'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", command], check=True, cwd=ROOT)
