"""Property deals in the console of each party: drawn up, signed step by step, registered, printed."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from chain.keys.files import Secp256k1Signer
from chain.statements.property import StepKind
from chain.statements.signing_files import SignatureFile, SignRequest
from nodes.console.accounts.model import PersonRole
from nodes.console.deals.views import GROUNDS, TAXES
from registry.pages import PageRequest
from registry.property import deals
from registry.property.course import StepState, course_of
from registry.property.model import DealSearch, DealStage
from registry.property.tax import TaxFacts, compute, sources_of
from tests.registry.conftest import Network
from tests.registry.test_deals import Drawn, Sale, put_up
from tests.support.console import BASE, ConsolePerson, TestConsole
from tests.support.node_console import console_of

ORGANISATIONS = ("agency", "tax", "bank", "registrar")


@pytest.fixture(scope="module")
def consoles(network: Network) -> dict[str, TestConsole]:
    return {name: console_of(network[name]) for name in (*ORGANISATIONS, "operator")}


@pytest.fixture(scope="module")
def clerks(consoles: dict[str, TestConsole]) -> dict[str, ConsolePerson]:
    return {name: console.person(PersonRole.CLERK) for name, console in consoles.items()}


@pytest.fixture
def sale(network: Network, person: Callable[[], Any]) -> Sale:
    return put_up(network, person(), person())


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return html.unescape(found[1])


def signature_file(page: str, key: bytes) -> bytes:
    """What ``qiaolian sign`` writes for the request that a page offers."""
    request = SignRequest.from_bytes(hidden(page, "request").encode())
    digest = request.statement.digest(request.domain)
    return SignatureFile(digest, Secp256k1Signer(key).sign_digest(digest)).to_bytes()


def sign_as_person(clerk: ConsolePerson, deal: str, side: str, key: bytes) -> Any:
    path = f"/deals/{deal}/sign/{side}"
    page = clerk.page(path)
    fields = {name: hidden(page, name) for name in ("csrf", "form_key", "statement")}
    return clerk.http.post(
        path,
        data=fields,
        files={"signature_file": ("s.json", signature_file(page, key), "application/json")},
        headers={"origin": BASE},
    )


def operation_of(answer: Any) -> str:
    assert answer.status_code == 303, answer.text
    location: str = answer.headers["location"]
    assert location.startswith("/operations/"), location
    return location.removeprefix("/operations/").partition("?")[0].replace("%2F", "/")


def test_a_deal_goes_from_draft_to_title_by_its_parties_pages(
    network: Network, sale: Sale, clerks: dict[str, ConsolePerson]
) -> None:
    agency = clerks["agency"]
    fields = {
        **agency.hidden("/deals/new"),
        "unit": sale.number,
        "area": "120.00",
        "price": "1,050,000",
        "loan": "600000",
        "months_held": "12",
        "buyer_homes": "0",
        "bank": network["bank"].member,
        "tax_authority": network["tax"].member,
        "notary": network["agency"].member,
        "days": "30",
    }
    title = {"title": sale.title.to_json(), "signature": "0x" + sale.title_signature.hex()}
    made = agency.http.post(
        "/deals/new",
        data=fields,
        files={
            "title": ("t.json", json.dumps(title)),
            "seller": ("s.json", json.dumps(sale.seller_key.to_json())),
            "buyer": ("b.json", json.dumps(sale.buyer_key.to_json())),
        },
        headers={"origin": BASE},
    )
    assert made.status_code == 303, made.text
    deal = made.headers["location"].removeprefix("/deals/")
    for side, who in (("seller", sale.seller), ("buyer", sale.buyer)):
        network["agency"].done(operation_of(sign_as_person(agency, deal, side, who.key)))
    network.sync()
    for step, name, number in (
        ("agent", "agency", ""),
        ("tax", "tax", ""),
        ("mortgage", "bank", "M-1"),
        ("notary", "agency", "N-1"),
        ("register", "registrar", "R-1"),
    ):
        clerk = clerks[name]
        assert "Sign for the organisation" in clerk.page(f"/deals/{deal}"), step
        answer = clerk.send(
            f"/deals/{deal}", f"/deals/{deal}/steps/{step}", {"number": number} if number else {}
        )
        network[name].done(operation_of(answer))
        network.sync()
    for name in ORGANISATIONS:
        page = clerks[name].page(f"/deals/{deal}")
        assert "registered" in page
        assert "Sign for the organisation" not in page
        assert page.count('<li class="done">') == len(StepKind)
        assert "R-1" in page
        assert sale.buyer.address in page
        assert deal in clerks[name].page(f"/deals?q={sale.number}&state=registered")
        assert deal not in clerks[name].page(f"/deals?q={sale.number}&state=open")
        assert "600,000.00" in clerks[name].page(f"/deals/{deal}/certificate")
    assert "Signed steps" in clerks["bank"].page(f"/proofs/deals/{deal}")
    assert "税务总局" in clerks["tax"].page(f"/deals/{deal}")
    bundle = clerks["registrar"].get(f"/deals/{deal}/bundle.json")
    assert (bundle.status_code, b"property" in bundle.content) == (200, True)


@pytest.fixture
def drawn(sale: Sale) -> Drawn:
    return sale.draw_up()


def test_another_persons_key_signs_nothing(
    network: Network, drawn: Drawn, clerks: dict[str, ConsolePerson]
) -> None:
    deal = "0x" + drawn.id.hex()
    answer = sign_as_person(clerks["agency"], deal, "seller", drawn.sale.buyer.key)
    assert (answer.status_code, "wrong_party" in answer.text) == (403, True)


def test_a_signature_for_the_other_side_is_refused(
    drawn: Drawn, clerks: dict[str, ConsolePerson]
) -> None:
    clerk, deal = clerks["agency"], "0x" + drawn.id.hex()
    page = clerk.page(f"/deals/{deal}/sign/buyer")
    answer = clerk.http.post(
        f"/deals/{deal}/sign/seller",
        data={name: hidden(page, name) for name in ("csrf", "form_key", "statement")},
        files={"signature_file": ("s.json", signature_file(page, drawn.sale.buyer.key))},
        headers={"origin": BASE},
    )
    assert (answer.status_code, "other_deal" in answer.text) == (422, True)


def test_a_step_out_of_its_turn_or_of_another_party_is_refused(
    drawn: Drawn, clerks: dict[str, ConsolePerson]
) -> None:
    deal = "0x" + drawn.id.hex()
    for name, step, code in (
        ("tax", "tax", "out_of_order"),
        ("bank", "tax", "wrong_party"),
        ("registrar", "seller", "wrong_party"),
        ("tax", "keys", "unknown_step"),
    ):
        clerk = clerks[name]
        fields = {**clerk.hidden("/account"), "number": "1"}
        answer = clerk.post(f"/deals/{deal}/steps/{step}", fields)
        assert code in answer.text, (name, step, answer.text)


def test_persons_sign_at_the_agents_node_alone(
    drawn: Drawn, clerks: dict[str, ConsolePerson], consoles: dict[str, TestConsole]
) -> None:
    path = f"/deals/0x{drawn.id.hex()}/sign/seller"
    assert "page_of_another_role" in clerks["bank"].get(path).text
    auditor = consoles["agency"].person(PersonRole.AUDITOR)
    assert "person_role_missing" in auditor.get(path).text
    assert "page_of_another_role" in clerks["operator"].get("/deals").text


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"price": "12.345"}, "amount_malformed"),
        ({"price": "=1"}, "amount_malformed"),
        ({"area": "-3"}, "amount_malformed"),
        ({"days": "180"}, "deal_days_out_of_range"),
        ({"loan": "2000000"}, "loan_above_price"),
    ],
)
def test_a_draft_with_a_wrong_field_sends_nothing(
    sale: Sale, clerks: dict[str, ConsolePerson], changed: dict[str, str], code: str
) -> None:
    clerk = clerks["agency"]
    network = sale.network
    fields = {
        "unit": sale.number,
        "area": "120",
        "price": "1050000",
        "loan": "0",
        "months_held": "12",
        "buyer_homes": "0",
        "tax_authority": network["tax"].member,
        "notary": network["agency"].member,
        "days": "30",
    }
    title = {"title": sale.title.to_json(), "signature": "0x" + sale.title_signature.hex()}
    sent = {**clerk.hidden("/deals/new"), **fields, **changed}
    answer = clerk.http.post(
        "/deals/new",
        data=sent,
        files={
            "title": ("t.json", json.dumps(title)),
            "seller": ("s.json", json.dumps(sale.seller_key.to_json())),
            "buyer": ("b.json", json.dumps(sale.buyer_key.to_json())),
        },
        headers={"origin": BASE},
    )
    assert (answer.status_code >= 400, code in answer.text) == (True, True), answer.text
    assert sale.number not in clerk.page(f"/deals?q={sale.number}").split("<tbody>")[1]


def test_a_list_finds_deals_by_number_id_and_state(network: Network, drawn: Drawn) -> None:
    context = network["agency"].context

    def found(text: str, stage: DealStage | None = None) -> list[bytes]:
        rows = deals.listing(context, PageRequest(200), DealSearch(text, stage)).rows
        return [overview.deal.deal_id for overview in rows]

    number = drawn.sale.number
    for text in (number, number[3:], "0x" + drawn.id.hex(), "0x" + drawn.terms.unit.hex()):
        assert found(text) == [drawn.id]
    assert found(number, DealStage.DRAFT) == [drawn.id]
    assert found(number, DealStage.REGISTERED) == []
    for text in ("%", "_", "440703-%", "' or 1=1 --", "0x" + "zz" * 32):
        assert found(text) == []


def test_the_course_names_what_is_due(drawn: Drawn) -> None:
    def states() -> dict[StepKind, StepState]:
        return {step.step: step.state for step in course_of(drawn.at("agency"))}

    first = states()
    assert first[StepKind.SELLER] is first[StepKind.AGENT] is StepState.NEXT
    assert first[StepKind.TAX] is StepState.LATER
    drawn.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT)
    after = states()
    assert after[StepKind.AGENT] is StepState.DONE
    assert after[StepKind.TAX] is StepState.NEXT
    assert after[StepKind.REGISTER] is StepState.LATER


@pytest.mark.parametrize("months", [1, 24, 61])
@pytest.mark.parametrize("homes", [0, 1, 2])
@pytest.mark.parametrize("original", [None, 50_000_000])
def test_every_tax_line_names_its_rule_and_its_legal_source(
    months: int, homes: int, original: int | None
) -> None:
    sheet = compute(TaxFacts(100_000_000, 1_500_000, months, True, homes, original))
    for line in sheet.lines:
        assert line.tax in TAXES
        assert line.ground in GROUNDS
        names = [source.name for source in sources_of(line)]
        assert len(names) >= 2 + (line.ground == "further-home"), line
