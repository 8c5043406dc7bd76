"""The verifier of ``chain/bundle/browser`` against the Python one: the same verdict, code and
sentences on recorded bundles, on bundles and trust files altered in one place, and on what is no
bundle at all.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import operator
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.bundle import trust as trust_files
from chain.bundle import verifier
from chain.core.canonical import dumps
from chain.core.crypto import address_of
from chain.core.errors import VerificationError
from chain.statements.catalogue import STATEMENTS, STRUCTS
from exchange.disputes.model import DisputeCase
from nodes.cli.main import main
from nodes.cli.verify import CHECKERS
from scripts import verifier_page
from scripts.statement_pages import VECTOR_DOMAIN, VECTOR_KEY
from tests.support import two_verifiers
from tests.support.changed_fields import changed_messages
from tests.support.two_verifiers import (
    BROWSER,
    accepted,
    ask,
    refusal,
    require_same,
    second_answer,
)

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "data" / "bundles"
DISPUTES = RECORDED / "disputes"
TRUST = (RECORDED / "trust.json").read_bytes()
DISPUTES_TRUST = (DISPUTES / "trust.json").read_bytes()
BYTES = {
    **{name: (RECORDED / f"{name}.json").read_bytes() for name in CHECKERS if name != "dispute"},
    **{f"dispute-{case}": (DISPUTES / f"{case}.json").read_bytes() for case in DisputeCase},
}
"""A bundle of each profile, and of each case of a dispute."""
OTHER_KINDS: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**53 - 1, "", "0x", "\0", "长", [], {}, [[]], {"a": []},
    "0x" + "00" * 32,
)  # fmt: skip

Place = tuple[Any, ...]
Change = Callable[[Any, Any], None]
"""Changes the value in a list or object under a key."""


@pytest.fixture(autouse=True)
def _second_verifier() -> None:
    two_verifiers.require_installed()


def trust_of(name: str) -> bytes:
    """The trust file of a recorded bundle's network."""
    return DISPUTES_TRUST if name.startswith("dispute-") else TRUST


def require_agreement(bundle: bytes, trust: bytes = TRUST) -> None:
    """Fail unless both verifiers answer the same on these files."""
    second = second_answer(bundle, trust)
    try:
        report = verifier.verify(bundle, trust_files.read(trust), CHECKERS)
    except VerificationError as error:
        require_same(refusal(error.code, error.exit_code), second)
    except Exception:  # as ``qiaolian verify`` reports what no checker foresaw
        require_same(refusal("bundle_malformed", 10), second)
    else:
        require_same(accepted(report), second)


@pytest.mark.parametrize("name", BYTES)
def test_a_recorded_bundle_is_valid_in_both_with_the_same_sentences(name: str) -> None:
    require_agreement(BYTES[name], trust_of(name))
    assert second_answer(BYTES[name], trust_of(name))["valid"]


# --- One change at a time -------------------------------------------------------------------------


def one_of_each_shape(value: Any, shape: str = "", path: Place = ()) -> Iterator[tuple[str, Place]]:
    """The path of everything in a JSON value with its shape, e.g. ``.statements[].type``."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for place, item in items:
        inner = f"{shape}.{place}" if isinstance(value, dict) else f"{shape}[]"
        yield inner, (*path, place)
        yield from one_of_each_shape(item, inner, (*path, place))


def shapes(data: bytes) -> dict[str, Place]:
    """One place of each shape."""
    return dict(one_of_each_shape(json.loads(data)))


def changes(data: bytes, shapes: Mapping[str, Place]) -> Iterator[list[bytes]]:
    """For each place, the file with that place altered, left out, repeated, and replaced by each
    other kind of value.
    """
    for path in shapes.values():
        yield [changed(data, path, change) for change in (_alter, _drop, _repeat, *REPLACEMENTS)]


def shapes_in_turn() -> dict[str, dict[str, Place]]:
    """Each shape in one of the bundles that have it: the one with the fewest so far."""
    places = {name: shapes(data) for name, data in BYTES.items()}
    owners: dict[str, list[str]] = {}
    for name, found in places.items():
        for shape in found:
            owners.setdefault(shape, []).append(name)
    turns: dict[str, dict[str, Place]] = {name: {} for name in places}
    for shape, names in sorted(owners.items(), key=lambda item: len(item[1])):
        owner = min(names, key=lambda name: len(turns[name]))
        turns[owner][shape] = places[owner][shape]
    return turns


def changed(data: bytes, path: Place, change: Change) -> bytes:
    value = json.loads(data)
    change(functools.reduce(operator.getitem, path[:-1], value), path[-1])
    return dumps(value)


def _alter(parent: Any, key: Any) -> None:
    old = parent[key]
    if isinstance(old, str):
        parent[key] = old[:-1] + ("1" if old[-1:] != "1" else "2")
    elif isinstance(old, list):
        old.reverse()
    elif isinstance(old, int):
        parent[key] = old + 1


def _repeat(parent: Any, key: Any) -> None:
    if isinstance(parent, list):
        parent.insert(key, parent[key])


def _drop(parent: Any, key: Any) -> None:
    del parent[key]


def _replacement(other: Any) -> Change:
    def replace(parent: Any, key: Any) -> None:
        parent[key] = other

    return replace


REPLACEMENTS = [_replacement(other) for other in OTHER_KINDS]


@pytest.mark.parametrize("name", BYTES)
def test_both_answer_the_same_on_a_bundle_changed_in_one_place(name: str) -> None:
    """Each shape is changed in one bundle and one way here; in the long run in every bundle that
    has it, and in every way.
    """
    for number, ways in enumerate(changes(BYTES[name], shapes_in_turn()[name])):
        require_agreement(ways[number % len(ways)], trust_of(name))


@pytest.mark.long
@pytest.mark.parametrize("name", BYTES)
def test_both_answer_the_same_on_a_bundle_changed_in_one_place_in_every_way(name: str) -> None:
    for ways in changes(BYTES[name], shapes(BYTES[name])):
        for data in ways:
            require_agreement(data, trust_of(name))


def signed_fields(name: str) -> Iterator[tuple[str, bytes]]:
    """A bundle with one field of one statement changed: one statement of each type, every field that
    the type has.
    """
    value, seen = json.loads(BYTES[name]), set()
    for place, element in enumerate(value["statements"]):
        if element["type"] in seen:
            continue
        seen.add(element["type"])
        kind, message = STATEMENTS[element["type"]], element["message"]
        for field, other in changed_messages(kind, message):
            value["statements"][place]["message"] = other
            yield f"{element['type']}.{field}", dumps(value)
            value["statements"][place]["message"] = message


@pytest.mark.parametrize("name", BYTES)
def test_both_refuse_a_statement_with_one_signed_field_changed(name: str) -> None:
    """The changed statement is signed by nobody known, or of no known version."""
    trust = trust_files.read(trust_of(name))
    for what, data in signed_fields(name):
        with pytest.raises(VerificationError) as refused:
            two_verifiers.verify(data, trust, CHECKERS)
        codes = {"signer_unknown", "signature_malformed", "certificate_twice"}
        if what.endswith(".version"):
            codes.add("wrong_version")  # a type with two known versions has the other one then
        assert refused.value.code in codes, what


def test_both_answer_the_same_on_a_trust_file_changed_in_one_place() -> None:
    for number, ways in enumerate(changes(TRUST, shapes(TRUST))):
        require_agreement(BYTES["grant"], ways[number % 4])
        require_agreement(BYTES["grant"], ways[4 + number % (len(ways) - 4)])


def test_true_is_no_chain_id() -> None:
    trust, bundle = json.loads(TRUST), json.loads(BYTES["grant"])
    trust["chainId"], bundle["chain"]["chainId"] = 1, True
    require_agreement(dumps(bundle), dumps(trust))
    assert second_answer(dumps(bundle), dumps(trust))["code"] == "other_chain"


# --- What is no bundle ----------------------------------------------------------------------------

NUMBERS = ("-0", "01", "1.", "1.0", "1e5", "1e", "-", "+1", "NaN", "-Infinity", "9007199254740992",
           "-9007199254740991", "123456789012345678901")  # fmt: skip
TEXTS = (r'"\ud800"', r'"\ud83d\ude00"', r'"\ude00\ud83d"', r'"\u00e9"', '"é"', r'"\x"', '"\t"',
         r'"\u12"', '"\x7f"', r'"\/"', '"', '"\\', r'{"a":1,"a":2}', r'{"b":1,"a":2}',
         r'{"\ue000":1,"\ud83d\ude00":2}', '{"\ue000":1,"😀":2}', '{"😀":2,"\ue000":1}',
         '{"a" :1}', "{,}", "[1,]", "[1 2]", '{"a"}', '{"__proto__":1}', '{"2":1,"10":1}',
         '{"10":1,"2":1}', "tru", "nullx", "[" * 65 + "]" * 65, "[" * 64 + "]" * 64, '["' + "[" * 70,
         '["' + "[" * 70 + '"]', " 1", "1 ", "\ufeff1")  # fmt: skip


@pytest.mark.parametrize("text", [*NUMBERS, *TEXTS, *(f'{{"a":{number}}}' for number in NUMBERS)])
def test_both_read_json_alike(text: str) -> None:
    require_agreement(text.encode())


@pytest.mark.parametrize("data", [b"", b"\xff", b'"\xc0\x80"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf1"])
def test_both_refuse_bytes_that_are_no_text(data: bytes) -> None:
    require_agreement(data)


@given(st.text('[]{}:,"\\ue019aétrnul.-+ \n', max_size=20))
def test_both_read_any_short_text_alike(text: str) -> None:
    require_agreement(text.encode())


@given(st.data())
@pytest.mark.parametrize("name", BYTES)
def test_both_answer_the_same_on_a_changed_byte(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(BYTES[name]) - 1))
    mask = data.draw(st.integers(1, 255))
    changed = bytearray(BYTES[name])
    changed[place] ^= mask
    require_agreement(bytes(changed), trust_of(name))


def test_a_size_limit_is_counted_in_bytes_by_both() -> None:
    size = len(BYTES["grant"])
    assert second_answer(BYTES["grant"], TRUST, max_bytes=size)["valid"]
    assert second_answer(BYTES["grant"], TRUST, max_bytes=size - 1)["code"] == "json_too_large"


# --- Statements -----------------------------------------------------------------------------------


def published_vectors() -> dict[str, dict[str, str]]:
    """The vectors of ``docs/statements.md`` by type: the message, hashes and signature."""
    text = (ROOT / "docs" / "statements.md").read_text(encoding="utf-8")
    found = {}
    for name, section in re.findall(r"^### (\w+)(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL):
        (message,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
        hashes = dict(re.findall(r"^- (.+) `(0x[0-9a-f]+)`$", section, re.MULTILINE))
        found[name] = {"message": message, **hashes}
    return found


VECTORS = published_vectors()


@pytest.mark.parametrize("name", [*STATEMENTS, *STRUCTS])
def test_a_statement_has_the_hashes_and_signer_of_its_published_vector(name: str) -> None:
    vector = VECTORS[name]
    question = {
        "kind": "vector",
        "type": name,
        "message": two_verifiers.text(vector["message"].encode()),
        "chainId": VECTOR_DOMAIN.chain_id,
        "contract": VECTOR_DOMAIN.contract,
        "signature": vector.get("signature"),
    }
    answer = ask(question)
    assert answer["typeHash"] == vector["type hash"]
    assert answer["structHash"] == vector["struct hash"]
    if name in STATEMENTS:
        assert answer["digest"] == vector["digest"]
        assert answer["signer"] == address_of(VECTOR_KEY)


# --- The page -------------------------------------------------------------------------------------


def test_the_sources_are_well_typed() -> None:
    done = subprocess.run(
        [BROWSER / "node_modules" / ".bin" / "tsc", "--project", BROWSER],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_committed_page_is_what_its_sources_give() -> None:
    """Rebuilt, it has the same bytes, so that anybody can check the released SHA-256."""
    assert verifier_page.PAGE.read_text(encoding="utf-8") == verifier_page.page()
    assert verifier_page.CODES.read_text(encoding="utf-8") == verifier_page.codes()


def test_the_page_allows_its_own_script_and_style_and_nothing_else() -> None:
    page = verifier_page.PAGE.read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    for tag in ("script", "style"):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")


def test_the_command_writes_the_page_and_prints_its_sha256(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "verifier.html"
    assert main(["verifier", "--out", str(out)]) == 0
    data = verifier_page.PAGE.read_bytes()
    assert out.read_bytes() == data
    assert capsys.readouterr().out.startswith(hashlib.sha256(data).hexdigest())


def test_a_page_that_cannot_be_written_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verifier", "--out", str(tmp_path / "none" / "verifier.html")]) == 2
    assert "file_unwritable" in capsys.readouterr().err
