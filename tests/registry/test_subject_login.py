"""Log-in of firms and citizens with a certified one-time key: attacks on the challenge, the key, the
certificate and the session.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chain.core.crypto import new_private_key
from chain.keys.files import Secp256k1Signer
from chain.statements.login import SubjectLogin, origin_hash
from chain.statements.members import KeyPurpose
from chain.statements.signing_files import SignatureFile, SignRequest
from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import PersonRole
from nodes.console.accounts.store import ConsoleFailure
from nodes.console.acts import service as acts
from nodes.console.acts.model import ActFilter
from nodes.console.acts.store import ConsoleAct
from nodes.console.subjects import service
from nodes.console.subjects.store import SubjectChallenge, SubjectSession
from registry.credit.certificates import show_certificate
from registry.pages import PageRequest
from registry.subjects import service as subjects
from tests.registry.conftest import Network, Person
from tests.support.console import BASE, ConsolePerson, TestConsole
from tests.support.node_console import console_of

COLUMNS = {"subject": "", "seniority": 3, "job": "fixed"}


@dataclass
class Visitor:
    """A subject's browser at one console."""

    console: TestConsole
    browser: ConsolePerson

    def challenge(self, address: str) -> str:
        """The page that asks for the signature."""
        answer = self.browser.post(
            "/my/login/challenge",
            {"csrf": self.browser.hidden("/my/login")["csrf"], "key": address},
        )
        assert answer.status_code == 200, answer.text
        return str(answer.text)

    def send(
        self, page: str, key: bytes, *, change: Callable[[SubjectLogin], Any] | None = None
    ) -> Any:
        """The signature of the page's request; ``change`` alters the statement before signing."""
        request = SignRequest.from_bytes(field(page, "request").encode())
        statement = request.statement
        assert isinstance(statement, SubjectLogin)
        if change is not None:
            statement = change(statement)
        digest = statement.digest(request.domain)
        signature = SignatureFile(digest, Secp256k1Signer(key).sign_digest(digest)).to_bytes()
        return self.browser.http.post(
            "/my/login",
            data={
                "csrf": field(page, "csrf"),
                "form_key": field(page, "form_key"),
                "statement": json.dumps(statement.to_json()),
            },
            files={"signature_file": ("s.json", signature, "application/json")},
            headers={"origin": BASE, "accept-language": "en"},
        )

    def log_in(self, person: Person) -> Any:
        return self.send(self.challenge(person.address), person.key)

    @property
    def inside(self) -> bool:
        return self.browser.get("/my").status_code == 200


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return html.unescape(found[1])


@pytest.fixture(scope="module")
def console(network: Network) -> TestConsole:
    return console_of(network["tax"])


@pytest.fixture
def visitor(console: TestConsole) -> Visitor:
    return Visitor(console, console.visitor())


@pytest.fixture
def person(network: Network) -> Person:
    """A trader whose key the tax department has certified for disputes."""
    made = Person(f"P{time.time_ns()}")
    network.certify("tax", made, "dispute")
    return made


@pytest.fixture(autouse=True)
def no_wait(console: TestConsole) -> Iterator[None]:
    """Failures of one test do not slow down the next."""
    yield
    console.context.database.write(lambda session: session.query(ConsoleFailure).delete())


def refused(answer: Any, code: str = "subject_login_refused") -> bool:
    assert (
        "set-cookie" not in answer.headers or "qiaolian-session" not in answer.headers["set-cookie"]
    )
    return answer.status_code >= 400 and code in answer.text


def test_a_certified_key_opens_its_own_pages(visitor: Visitor, person: Person) -> None:
    answer = visitor.log_in(person)
    assert (answer.status_code, answer.headers["location"]) == (303, "/my")
    page = visitor.browser.page("/my")
    assert person.identity["name"] in page
    assert "Who looked at my records" in page


def test_a_signature_counts_once(visitor: Visitor, person: Person) -> None:
    page = visitor.challenge(person.address)
    assert visitor.send(page, person.key).status_code == 303
    visitor.browser.http.cookies.clear()
    again = Visitor(visitor.console, visitor.console.visitor())
    assert refused(again.send(page, person.key), "csrf_refused")
    fresh = again.challenge(person.address)
    old = SignRequest.from_bytes(field(page, "request").encode()).statement
    assert refused(again.send(fresh, person.key, change=lambda _: old))
    assert not again.inside


def test_a_challenge_counts_in_the_browser_that_asked_for_it(
    visitor: Visitor, person: Person
) -> None:
    page = visitor.challenge(person.address)
    theirs = SignRequest.from_bytes(field(page, "request").encode()).statement
    thief = Visitor(visitor.console, visitor.console.visitor())
    own = thief.challenge(person.address)
    assert refused(thief.send(own, person.key, change=lambda _: theirs))


@pytest.mark.parametrize(
    "change",
    [
        lambda login: replace(login, node="91440700MA4WTEYT1X"),
        lambda login: replace(login, origin=origin_hash("https://phish.example")),
        lambda login: replace(login, challenge=b"\1" * 32),
        lambda login: replace(login, expires_at=login.expires_at + 86_400),
    ],
    ids=["node", "origin", "challenge", "expiry"],
)
def test_a_statement_with_one_field_changed_is_refused(
    visitor: Visitor, person: Person, change: Callable[[SubjectLogin], SubjectLogin]
) -> None:
    assert refused(visitor.send(visitor.challenge(person.address), person.key, change=change))
    assert not visitor.inside


def test_another_nodes_challenge_opens_nothing_here(
    network: Network, visitor: Visitor, person: Person
) -> None:
    other = Visitor(console := console_of(network["registrar"]), console.visitor())
    page = other.challenge(person.address)
    foreign = SignRequest.from_bytes(field(page, "request").encode()).statement
    assert refused(
        visitor.send(visitor.challenge(person.address), person.key, change=lambda _: foreign)
    )


def test_a_challenge_that_is_too_old_is_refused(
    visitor: Visitor, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visitor.challenge(person.address)
    later = time.time() + service.CHALLENGE_SECONDS + 1
    monkeypatch.setattr(visitor.console.context, "clock", lambda: later)
    assert refused(visitor.send(page, person.key))


def test_another_key_signs_for_nobody(network: Network, visitor: Visitor, person: Person) -> None:
    stranger = Person("P-other")
    network.certify("tax", stranger, "dispute")
    assert refused(visitor.send(visitor.challenge(person.address), stranger.key))
    assert refused(visitor.send(visitor.challenge(person.address), new_private_key()))


def test_known_and_unknown_keys_get_the_same_answers(visitor: Visitor, person: Person) -> None:
    unknown = Secp256k1Signer(key := new_private_key()).address
    for address, signer in ((unknown, key), (person.address, new_private_key())):
        page = visitor.challenge(address)
        assert "What you sign" in page
        assert refused(visitor.send(page, signer))


def test_an_expired_certificate_opens_nothing_and_ends_a_session(
    visitor: Visitor, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert visitor.log_in(person).status_code == 303
    after = time.time() + 366 * 86_400
    late = Visitor(visitor.console, visitor.console.visitor())
    page = late.challenge(person.address)
    monkeypatch.setattr(subjects, "require_valid", _at(subjects.require_valid, after))
    assert refused(late.send(page, person.key), "certificate_expired")
    assert not visitor.inside


def _at(require_valid: Any, now: float) -> Any:
    """``require_valid`` by a clock of its own, so that only the certificate is too old."""

    def at(context: Any, known: Any) -> None:
        require_valid(replace(context, clock=lambda: now), known)

    return at


def test_a_suspended_issuer_opens_nothing_and_ends_sessions(
    network: Network, visitor: Visitor, person: Person
) -> None:
    assert visitor.log_in(person).status_code == 303
    with network.suspended("tax"):
        late = Visitor(visitor.console, visitor.console.visitor())
        assert refused(late.log_in(person), "wrong_signer")
        assert not visitor.inside


def test_a_certificate_that_a_stranger_showed_opens_no_record(
    network: Network, visitor: Visitor
) -> None:
    made = Person("P-shown")
    certificate, signature = network.vouch("registrar", made, "dispute")
    show_certificate(
        network["tax"].context,
        certificate,
        signature,
        identity=made.identity,
        identity_salt=made.salt,
    )
    assert refused(visitor.log_in(made))


def test_a_log_in_gets_a_session_of_its_own(visitor: Visitor, person: Person) -> None:
    visitor.browser.page("/my/login")
    jar = visitor.browser.http.cookies.jar
    (visitor_cookie,) = (item for item in jar if "visitor" in item.name)
    chosen, name = "subject-chosen-by-somebody", visitor_cookie.name.replace("visitor", "session")
    visitor.browser.http.cookies.set(name, chosen, domain=visitor_cookie.domain, path="/")
    assert not visitor.inside
    assert visitor.log_in(person).status_code == 303
    (token,) = (item.value for item in jar if item.name == name)
    assert token
    assert token.startswith(service.TOKEN_PREFIX)
    assert (len(token) > 40, token != chosen) == (True, True)
    with visitor.console.context.database.read() as database:
        stored = {row.digest for row in database.query(SubjectSession)}
    assert accounts.digest_of(token) in stored
    assert accounts.digest_of(chosen) not in stored


def test_a_session_ends_with_the_log_out_and_when_it_is_idle(
    visitor: Visitor, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.log_in(person)
    cookies = dict(visitor.browser.http.cookies)
    answer = visitor.browser.post("/logout", {"csrf": field(visitor.browser.page("/my"), "csrf")})
    assert answer.headers["location"] == "/my/login"
    visitor.browser.http.cookies.update(cookies)
    assert not visitor.inside
    again = Visitor(visitor.console, visitor.console.visitor())
    again.log_in(person)
    assert again.inside
    later = time.time() + 3_600
    monkeypatch.setattr(service, "_valid", lambda context, key: subjects.find(context, key))
    monkeypatch.setattr(visitor.console.context, "clock", lambda: later)
    assert not again.inside


def test_a_subject_holds_no_role_of_the_organisation(visitor: Visitor, person: Person) -> None:
    visitor.log_in(person)
    for path in ("/assets", "/grants", "/acts", "/accounts", "/members", "/health", "/deals"):
        answer = visitor.browser.get(path)
        assert (answer.status_code, path) == (403, path)
    assert visitor.browser.get("/account").status_code == 403
    assert visitor.browser.get("/").headers["location"] == "/my"


def test_persons_of_the_organisation_do_not_enter_a_subjects_pages(console: TestConsole) -> None:
    clerk = console.person(PersonRole.CLERK, PersonRole.AUDITOR)
    for path in ("/my", "/my/looks", "/my/records", "/my/deals"):
        assert "page_of_subjects" in clerk.get(path).text


def test_failures_are_slowed_down(visitor: Visitor, person: Person) -> None:
    for _ in range(6):
        answer = visitor.send(visitor.challenge(person.address), new_private_key())
    assert refused(answer, "login_wait") or refused(
        visitor.send(visitor.challenge(person.address), person.key), "login_wait"
    )


def test_strangers_fill_the_challenges_only_so_far(
    visitor: Visitor, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_CHALLENGES", 0)
    answer = visitor.browser.post(
        "/my/login/challenge",
        {"csrf": visitor.browser.hidden("/my/login")["csrf"], "key": person.address},
    )
    assert (answer.status_code, "login_busy" in answer.text) == (503, True)


def test_unused_challenges_are_forgotten(
    visitor: Visitor, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.challenge(person.address)
    later = int(time.time()) + service.CHALLENGE_SECONDS + 10
    monkeypatch.setattr(visitor.console.context, "clock", lambda: later)
    visitor.challenge(person.address)
    with visitor.console.context.database.read() as session:
        assert {row.expires_at > later for row in session.query(SubjectChallenge)} == {True}


@pytest.mark.parametrize("key", ["", "0x", "0x" + "g" * 40, "<script>alert(1)</script>", "0x12"])
def test_a_text_that_is_no_address_is_refused(visitor: Visitor, key: str) -> None:
    answer = visitor.browser.post(
        "/my/login/challenge", {"csrf": visitor.browser.hidden("/my/login")["csrf"], "key": key}
    )
    assert answer.status_code >= 400
    assert "<script>alert" not in answer.text


def test_a_form_of_another_site_begins_nothing(visitor: Visitor, person: Person) -> None:
    csrf = visitor.browser.hidden("/my/login")["csrf"]
    fields = {"csrf": csrf, "key": person.address}
    answer = visitor.browser.post("/my/login/challenge", fields, origin="https://phish.example")
    assert (answer.status_code, "csrf_refused" in answer.text) == (403, True)


def test_the_log_in_and_each_look_are_recorded_without_a_name_in_clear(
    visitor: Visitor, person: Person
) -> None:
    visitor.log_in(person)
    visitor.browser.page("/my/records")
    account = service.account_id_of(_known(visitor, person))
    found = acts.listing(visitor.console.context, ActFilter(account), PageRequest(20)).rows
    assert [(act.kind, act.object) for act in found][::-1][:2] == [
        ("log-in", "session"),
        ("view", "own-records"),
    ]
    assert all(person.code in (act.person or "") or "person" in (act.person or "") for act in found)
    with visitor.console.context.database.read() as session:
        raw = [bytes(row.sealed) + row.subject.encode() for row in session.query(ConsoleAct)]
    assert not any(person.code.encode() in data for data in raw)


def _known(visitor: Visitor, person: Person) -> Any:
    known = subjects.find(visitor.console.context, person.address)
    assert known is not None
    return known


# --- What a session reaches -----------------------------------------------------------------------


def test_a_subject_sees_its_own_record_and_no_other(
    network: Network, visitor: Visitor, person: Person
) -> None:
    other = Person("P-neighbour")
    network.publish(
        "tax",
        [
            {**COLUMNS, "subject": person.code, "job": "江门<b>own</b>"},
            {**COLUMNS, "subject": other.code, "job": "neighbours-job"},
        ],
    )
    visitor.log_in(person)
    page = visitor.browser.page("/my/records")
    assert html.escape("江门<b>own</b>") in page
    assert "neighbours-job" not in page
    assert "<b>own</b>" not in page


def test_a_dispute_is_signed_by_the_subjects_own_key(
    network: Network, visitor: Visitor, person: Person
) -> None:
    asset = "0x" + network.publish("tax", [{**COLUMNS, "subject": person.code}]).hex()
    visitor.log_in(person)
    path = f"/my/records/{asset}/dispute"
    page = visitor.browser.page(f"{path}?column=seniority&says=two years are missing")
    request = SignRequest.from_bytes(field(page, "request").encode())
    digest = request.statement.digest(request.domain)

    def sent(key: bytes) -> Any:
        names = ("csrf", "form_key", "statement", "column", "says", "claim_salt")
        signature = SignatureFile(digest, Secp256k1Signer(key).sign_digest(digest)).to_bytes()
        return visitor.browser.http.post(
            path,
            data={name: field(page, name) for name in names},
            files={"signature_file": ("s.json", signature)},
            headers={"origin": BASE},
        )

    assert "wrong_authority" in sent(new_private_key()).text
    assert sent(person.key).status_code == 303
    assert "two years are missing" in visitor.browser.page("/my/records")
    unknown = visitor.browser.get(f"{path}?column=nothing&says=x")
    assert (unknown.status_code, "column_unknown" in unknown.text) == (422, True)


@pytest.mark.parametrize(
    "path",
    [
        "/my/looks/0x" + "11" * 32 + "/0/1/bundle.json",
        "/my/deals/0x" + "11" * 32,
        "/my/deals/0x" + "11" * 32 + "/bundle.json",
        "/my/deals/0x" + "11" * 32 + "/sign/seller",
        "/my/records/0x" + "11" * 32 + "/dispute?column=a&says=b",
        "/my/consents/0x" + "11" * 32 + "/withdrawal",
    ],
)
def test_guessed_ids_lead_nowhere(visitor: Visitor, person: Person, path: str) -> None:
    visitor.log_in(person)
    assert visitor.browser.get(path).status_code == 404


# --- Giving a consent -----------------------------------------------------------------------------


def given_by(network: Network, visitor: Visitor, made: Person) -> Any:
    """The page with the first signature, after the form."""
    request = {
        "identity": made.identity,
        "identitySalt": "0x" + made.salt.hex(),
        "key": made.address,
        "purpose": "consent",
    }
    return visitor.browser.http.post(
        "/my/consents/new",
        data={
            "csrf": field(visitor.browser.page("/my/consents/new"), "csrf"),
            "bank": network["bank"].member,
            "purpose": "credit-assessment",
            "days": "30",
        },
        files={"request": ("me.json.request.json", json.dumps(request))},
        headers={"origin": BASE},
    )


def signed_step(
    visitor: Visitor, page: str, path: str, key: bytes, *names: str, **changed: str
) -> Any:
    request = SignRequest.from_bytes(field(page, "request").encode())
    digest = request.statement.digest(request.domain)
    signature = SignatureFile(digest, Secp256k1Signer(key).sign_digest(digest)).to_bytes()
    fields = {name: field(page, name) for name in ("csrf", "form_key", "statement", *names)}
    return visitor.browser.http.post(
        path,
        data=fields | changed,
        files={"signature_file": ("s.json", signature)},
        headers={"origin": BASE},
    )


@pytest.fixture
def consenting(network: Network, visitor: Visitor) -> Person:
    """A trader whose key is certified for consents, logged in at the tax department."""
    made = Person(f"C{time.time_ns()}")
    network.certify("tax", made, "consent")
    assert visitor.log_in(made).status_code == 303
    return made


def test_a_consent_is_given_in_two_signatures_held_by_its_bank_and_withdrawn_there(
    network: Network, visitor: Visitor, consenting: Person
) -> None:
    key = consenting.key
    first = given_by(network, visitor, consenting).text
    second = signed_step(visitor, first, "/my/consents/new/registration", key, "draft").text
    names = ("draft", "consent_signature")
    done = signed_step(visitor, second, "/my/consents/new/given", key, *names)
    assert done.status_code == 303, done.text
    consent = done.headers["location"].rsplit("/", 1)[1]
    network["tax"].done(f"consent/{consent[2:]}")
    network.sync()
    assert "#" in visitor.browser.page(f"/my/consents/{consent}")
    bank = Visitor(console := console_of(network["bank"]), console.visitor())
    assert bank.log_in(consenting).status_code == 303
    page = bank.browser.page("/my/consents")
    assert consent in page
    assert "valid" in page
    path = f"/my/consents/{consent}/withdrawal"
    assert signed_step(bank, bank.browser.page(path), path, key).status_code == 303
    network["bank"].done(f"consent-withdrawal/{consent[2:]}")
    network.sync()
    assert "withdrawn" in bank.browser.page("/my/consents")


def test_a_consent_under_another_key_or_changed_between_the_steps_is_refused(
    network: Network, visitor: Visitor, consenting: Person
) -> None:
    first = given_by(network, visitor, consenting).text
    other = signed_step(visitor, first, "/my/consents/new/registration", new_private_key(), "draft")
    assert "consent_bad_signature" in other.text
    draft = field(first, "draft").replace("credit-assessment", "statistics")
    changed = signed_step(
        visitor, first, "/my/consents/new/registration", consenting.key, draft=draft
    )
    assert "signature_of_another_statement" in changed.text


def test_a_request_file_of_another_key_gives_no_consent(
    network: Network, visitor: Visitor, consenting: Person
) -> None:
    answer = given_by(network, visitor, replace(consenting, salt=b"\1" * 32))
    assert (answer.status_code, "identity_differs" in answer.text) == (422, True)


def test_a_key_for_disputes_gives_no_consent(
    network: Network, visitor: Visitor, person: Person
) -> None:
    visitor.log_in(person)
    answer = given_by(network, visitor, person)
    assert (answer.status_code, "certificate_wrong_purpose" in answer.text) == (422, True)


def test_without_a_session_every_page_leads_to_the_log_in(visitor: Visitor) -> None:
    for path in ("/my", "/my/looks", "/my/consents", "/my/records", "/my/deals"):
        answer = visitor.browser.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/my/login?")


def test_a_console_may_serve_no_subjects(network: Network, person: Person) -> None:
    console = console_of(network["tax"], subjects=False)
    browser = console.visitor()
    for path in ("/my/login", "/my/help"):
        assert browser.get(path).status_code == 404


def test_a_key_for_deals_opens_deals_and_no_record(network: Network) -> None:
    made = Person("P-buyer")
    network.certify("registrar", made, "deal")
    console = console_of(network["registrar"])
    visitor = Visitor(console, console.visitor())
    assert visitor.log_in(made).status_code == 303
    assert "My property deals" in visitor.browser.page("/my")
    assert "No deal here names your key." in visitor.browser.page("/my/deals")


def test_the_node_does_not_sign_log_ins(network: Network, visitor: Visitor) -> None:
    key = network["tax"].organisation.signers[KeyPurpose.STATEMENT]
    page = visitor.challenge(key.address)
    request = SignRequest.from_bytes(field(page, "request").encode())
    signature = key.sign_digest(request.statement.digest(request.domain))
    answer = visitor.browser.http.post(
        "/my/login",
        data={name: field(page, name) for name in ("csrf", "form_key", "statement")}
        | {"signature": "0x" + signature.hex()},
        headers={"origin": BASE},
    )
    assert refused(answer)
