"""Publishing step by step: the file and its faults, masking, preview, registration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from chain.core.errors import QiaolianError
from chain.statements.members import Role
from exchange.agreements import offers
from nodes.console.accounts.model import PersonRole
from nodes.console.acts import service as acts
from nodes.console.acts.model import ActFilter
from nodes.console.publishing import service
from nodes.console.publishing.model import DraftState
from nodes.console.publishing.store import ConsoleDraft
from nodes.sources import Sources
from registry.assets import publication, publication_api, serving
from registry.pages import PageRequest
from registry.source_files import UNUSED_SECONDS
from registry.sources import ConfiguredSources
from tests.nodes.test_uploads import workbook
from tests.support.console import BASE, ConsolePerson, TestConsole, running_console
from tests.support.node import application
from tests.support.waiting import wait_for

FAULTY = "id,age,area\nA1,31,华侨城\nA1,42,north\n,53,south\n"
MENDED = "id,age,area\nA1,31,华侨城\nB2,42,north\nC3,53,south\n"
MASKED = {
    "columns": ["id", "age", "area"],
    "types": ["text", "integer", "text"],
    "rules": ["drop", "range", "keep"],
    "numbers": ["", "10", ""],
}
ABOUT = {
    "name": "employment",
    "title_zh": "从业信息",
    "title_en": "Employment",
    "description": "Seniority of insured persons",
    "grade": "3",
    "category": "social-security",
    "data_item": "",
    "purposes": ["statistics"],
    "no_consent": ["statistics"],
    "offered": "yes",
    "unit": "call",
    "price": "0.50",
    "max_cap": "1000",
    "max_per_call": "0.50",
    "max_units": "0",
    "max_days": "365",
    "buyers": "",
}


def with_sources(console: TestConsole) -> TestConsole:
    sources = Sources(console.config)
    console.context.services.put(ConfiguredSources(sources, sources.uploads))
    return console


@pytest.fixture
def department(tmp_path: Path) -> Iterator[TestConsole]:
    with running_console(tmp_path) as console:
        yield with_sources(console)


def send_file(
    person: ConsolePerson, page: str, action: str, content: str | bytes, name: str = "a.csv"
) -> httpx.Response:
    answer: httpx.Response = person.http.post(
        action,
        data=person.hidden(page),
        files={"file": (name, content)},
        headers={"origin": BASE, "accept-language": person.language},
    )
    return answer


def uploaded(person: ConsolePerson, content: str | bytes, name: str = "a.csv") -> str:
    """The page of a new draft."""
    answer = send_file(person, "/publish", "/publish/upload", content, name)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def filled(person: ConsolePerson, **changes: Any) -> str:
    """The page of a draft that is ready to be registered."""
    page = uploaded(person, MENDED)
    assert person.send(f"{page}/columns", f"{page}/columns", MASKED).status_code == 303
    about = {**ABOUT, **changes}
    answer = person.send(f"{page}/description", f"{page}/description", about)
    assert answer.status_code == 303, answer.text
    return page


def registered(console: TestConsole, page: str) -> DraftState:
    """The state of a draft once its registration has ended."""
    draft_id = page.rsplit("/", 1)[1]
    state = wait_for(
        lambda: (
            None
            if (found := service.find(console.context, draft_id).state) is DraftState.REGISTERING
            else found
        ),
        "the registration",
    )
    assert isinstance(state, DraftState)
    return state


def code_in(answer: httpx.Response) -> str:
    return answer.text.rsplit("<code>", 1)[1].split("</code>")[0] if "<code>" in answer.text else ""


def test_a_file_is_mended_previewed_and_registered(department: TestConsole) -> None:
    clerk = department.person(PersonRole.CLERK)
    page = uploaded(clerk, FAULTY)
    shown = clerk.page(page)
    assert "The same subject occurs twice" in shown
    assert "The subject is missing" in shown
    assert clerk.get(f"{page}/columns").status_code == 409
    answer = send_file(clerk, page, page.replace("/publish/", "/publish/upload/"), MENDED)
    assert answer.headers["location"] == page
    assert "No problem was found." in clerk.page(page)
    answer = clerk.send(f"{page}/columns", f"{page}/columns", MASKED)
    preview = clerk.page(answer.headers["location"])
    held, delivered = preview.split("<caption>As they are delivered")
    assert ">A1<" in held
    assert ">30-39<" in delivered
    assert ">A1<" not in delivered
    assert clerk.send(f"{page}/description", f"{page}/description", ABOUT).status_code == 303
    answer = clerk.send(f"{page}/registration", f"{page}/registration", {})
    assert registered(department, page) is DraftState.REGISTERED
    done = clerk.page(answer.headers["location"])
    assert "3 records are committed to" in done
    own = publication.own_versions(department.context, PageRequest(10)).rows[0].version
    assert own.masking == {"id": "drop", "age": "range:10", "area": "keep"}
    assert f"/operations/{own.operation}" in done
    offer = offers.find_offer(department.context, own.asset_id, 1)
    assert (offer.price, offer.max_cap, offer.buyers) == (50, 100_000, ())
    kinds = {
        (row.kind, row.object)
        for row in acts.listing(department.context, ActFilter(), PageRequest(50)).rows
    }
    assert {("publish", "draft"), ("change", "file"), ("view", "draft")} <= kinds


def test_a_form_that_is_sent_twice_makes_one_draft(department: TestConsole) -> None:
    clerk = department.person(PersonRole.CLERK)
    fields = clerk.hidden("/publish")
    places = {
        clerk.http.post(
            "/publish/upload",
            data=fields,
            files={"file": ("a.csv", MENDED)},
            headers={"origin": BASE},
        ).headers["location"]
        for _ in range(2)
    }
    assert len(places) == 1
    assert len(service.listing(department.context, PageRequest(10)).rows) == 1


def test_a_registered_draft_does_not_change(department: TestConsole) -> None:
    clerk = department.person(PersonRole.CLERK)
    page = filled(clerk, offered="no")
    clerk.send(f"{page}/registration", f"{page}/registration", {})
    assert registered(department, page) is DraftState.REGISTERED
    fields = clerk.hidden("/publish")
    for action, sent in (
        (f"{page}/registration", {}),
        (f"{page}/columns", MASKED),
        (f"{page}/description", ABOUT),
        (f"{page}/discard", {}),
    ):
        key = {**fields, "form_key": clerk.hidden("/publish")["form_key"]}
        answer = clerk.post(action, {**key, **sent})
        assert (answer.status_code, "draft_closed" in answer.text) == (409, True), action
    assert len(publication.own_versions(department.context, PageRequest(10)).rows) == 1


def test_a_refused_registration_says_why_and_is_sent_again(department: TestConsole) -> None:
    clerk = department.person(PersonRole.CLERK)
    page = filled(clerk)
    clerk.send(f"{page}/registration", f"{page}/registration", {})
    assert registered(department, page) is DraftState.REGISTERED
    second = filled(clerk)
    clerk.send(f"{second}/registration", f"{second}/registration", {})
    assert registered(department, second) is DraftState.FAILED
    assert "asset_known" in clerk.page(f"{second}/registration")
    answer = clerk.send(
        f"{second}/description", f"{second}/description", {**ABOUT, "name": "employment-2"}
    )
    assert answer.status_code == 303
    clerk.send(f"{second}/registration", f"{second}/registration", {})
    assert registered(department, second) is DraftState.REGISTERED


def test_a_registration_that_the_nodes_end_broke_off_is_taken_up(department: TestConsole) -> None:
    clerk, context = department.person(PersonRole.CLERK), department.context
    page = filled(clerk)
    draft_id = page.rsplit("/", 1)[1]
    own = publication.publish(context, service.find(context, draft_id).publication())

    def begun_elsewhere(session: Any) -> None:
        row = session.get(ConsoleDraft, draft_id)
        row.state, row.process = DraftState.REGISTERING, "another process"

    context.database.write(begun_elsewhere)
    assert "registration_broken_off" in clerk.page(f"{page}/registration")
    clerk.send(f"{page}/registration", f"{page}/registration", {})
    assert registered(department, page) is DraftState.REGISTERED
    assert service.find(context, draft_id).operation == own.operation
    assert offers.find_offer(context, own.asset_id, 1).price == 50


def test_a_second_person_confirms_what_the_first_proposed_and_nothing_else(
    tmp_path: Path,
) -> None:
    with running_console(tmp_path, two_persons=("asset.publish",)) as console:
        with_sources(console)
        clerk = console.person(PersonRole.CLERK)
        officer = console.person(PersonRole.CHIEF_DATA_OFFICER)
        page = filled(clerk)
        answer = clerk.send(f"{page}/registration", f"{page}/registration", {})
        assert answer.headers["location"] == "/approvals"
        changed = {**MASKED, "rules": ["drop", "keep", "keep"], "numbers": ["", "", ""]}
        assert clerk.send(f"{page}/columns", f"{page}/columns", changed).status_code == 303
        answer = officer.send(f"{page}/registration", f"{page}/registration", {})
        assert answer.headers["location"] == "/approvals"
        assert not publication.own_versions(console.context, PageRequest(10)).rows
        clerk.send(f"{page}/registration", f"{page}/registration", {})
        assert registered(console, page) is DraftState.REGISTERED


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"rules": ["drop", "range", "keep"], "numbers": ["", "", ""]}, "masking_rule_malformed"),
        ({"rules": ["drop", "keep", "range"], "numbers": ["", "", "10"]}, "masking_rule_unfit"),
        ({"types": ["integer", "integer", "text"]}, "key_not_text"),
        (
            {"types": ["text", "boolean", "text"], "rules": ["drop", "keep", "keep"]},
            "source_row_broken",
        ),
        ({"columns": ["id", "age", "other"]}, "column_unknown"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    department: TestConsole, changes: dict[str, Any], code: str
) -> None:
    clerk = department.person(PersonRole.CLERK)
    page = uploaded(clerk, MENDED)
    answer = clerk.send(f"{page}/columns", f"{page}/columns", {**MASKED, **changes})
    assert (answer.status_code, code in answer.text) == (422, True), answer.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"title_zh": "从\u202e业"}, "asset_description"),
        ({"purposes": [], "no_consent": []}, "purposes_missing"),
        (
            {"purposes": ["credit-assessment"], "no_consent": ["credit-assessment"]},
            "consent_always_needed",
        ),
        ({"price": "0", "max_units": "0"}, "no_cap"),
        ({"name": "Not A Code"}, "statement_field"),
    ],
)
def test_a_description_that_cannot_be_published_is_refused(
    department: TestConsole, changes: dict[str, Any], code: str
) -> None:
    clerk = department.person(PersonRole.CLERK)
    page = uploaded(clerk, MENDED)
    answer = clerk.send(f"{page}/description", f"{page}/description", {**ABOUT, **changes})
    assert answer.status_code == 422, answer.text
    assert code == "statement_field" or code in answer.text


def test_an_oversized_upload_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with running_console(tmp_path) as console:
        with_sources(console)
        clerk = console.person(PersonRole.CLERK)
        limit = console.config.limits.upload_bytes
        answer = clerk.http.post(
            "/publish/upload",
            content=b"x",
            headers={
                "origin": BASE,
                "content-type": "multipart/form-data; boundary=x",
                "content-length": str(limit + 100_000),
            },
        )
        assert (answer.status_code, "body_too_large" in answer.text) == (413, True)


def test_what_a_file_says_is_text_on_every_page(department: TestConsole) -> None:
    clerk = department.person(PersonRole.CLERK)
    hostile = "<script>alert(1)</script>𠮷"
    content = f'id,"{hostile}"\n"{hostile}",1\n"{hostile}",2\n'
    page = uploaded(clerk, content, f"{hostile}.csv")
    shown = clerk.page(page)
    assert "<script>alert" not in shown
    assert "&lt;script&gt;alert" in shown
    assert "<script>alert" not in clerk.page("/publish")


def test_only_a_departments_own_people_publish(tmp_path: Path) -> None:
    with running_console(tmp_path) as console:
        with_sources(console)
        for role in (PersonRole.AUDITOR, PersonRole.ADMINISTRATOR, PersonRole.MODELLER):
            assert console.person(role).get("/publish").status_code == 403
    (tmp_path / "bank").mkdir()
    with running_console(tmp_path / "bank", roles=Role.BANK) as bank:
        answer = bank.person(PersonRole.CLERK).get("/publish")
        assert (answer.status_code, "page_of_another_role" in answer.text) == (403, True)


def test_files_are_deleted_when_nothing_uses_them(department: TestConsole) -> None:
    clerk, context = department.person(PersonRole.CLERK), department.context
    files = serving.source_files(context)
    discarded = uploaded(clerk, MENDED)
    assert clerk.send(discarded, f"{discarded}/discard", {}).headers["location"] == "/publish"
    assert list(files.names()) == []
    draft = filled(clerk)
    clerk.send(f"{draft}/registration", f"{draft}/registration", {})
    assert registered(department, draft) is DraftState.REGISTERED
    uploaded(clerk, MENDED)
    service.remove_unused(context)
    assert len(files.names()) == 2
    department.clock.at += max(service.DRAFT_SECONDS, 3 * UNUSED_SECONDS) + 1
    service.remove_unused(context)
    own = publication.own_versions(context, PageRequest(10)).rows[0].version
    assert list(files.names()) == [own.source]


def test_an_unknown_draft_is_not_found(department: TestConsole) -> None:
    clerk = department.person(PersonRole.CLERK)
    assert clerk.get("/publish/" + "0" * 32).status_code == 404
    with pytest.raises(QiaolianError) as caught:
        service.create(department.context, "nothing")
    assert caught.value.code == "source_missing"


def test_the_next_version_is_what_was_shown(department: TestConsole) -> None:
    clerk, context = department.person(PersonRole.CLERK), department.context
    page = filled(clerk)
    clerk.send(f"{page}/registration", f"{page}/registration", {})
    assert registered(department, page) is DraftState.REGISTERED
    own = publication.own_versions(context, PageRequest(10)).rows[0].version
    asset = f"0x{own.asset_id.hex()}"
    changes, upload = f"/assets/{asset}/changes", f"/publish/upload/asset/{asset}"
    assert "The source holds what is registered." in clerk.page(changes)
    answer = send_file(clerk, changes, upload, FAULTY)
    assert (answer.status_code, "file_faulty" in answer.text) == (409, True)
    assert "The source holds what is registered." in clerk.page(changes)
    answer = send_file(clerk, changes, upload, MENDED.replace("42", "43") + "D4,20,east\n")
    assert answer.headers["location"] == changes, answer.text
    shown = clerk.page(changes)
    assert "Register version 2" in shown
    fields = {**clerk.hidden(changes), "fingerprint": _fingerprint(shown)}
    send_file(clerk, changes, upload, MENDED.replace("42", "44"))
    answer = clerk.post(changes, fields)
    assert (answer.status_code, "source_changed" in answer.text) == (409, True)
    answer = clerk.send(changes, changes, {"fingerprint": _fingerprint(clerk.page(changes))})
    assert "/operations/" in answer.headers["location"], answer.text
    versions = publication.own_versions(context, PageRequest(10)).rows
    assert [row.version.asset_version for row in versions] == [1, 2]
    assert list(serving.source_files(context).names()) == [own.source]


def _fingerprint(page: str) -> str:
    return page.split('name="fingerprint" value="')[1].split('"')[0]


# --- A system's upload ----------------------------------------------------------------------------


def api_of(console: TestConsole) -> TestClient:
    """The node's endpoints for publications."""
    router = publication_api.router
    return TestClient(application(console.context, [router], lambda *_caller: frozenset()))


def test_a_system_uploads_a_workbook_and_publishes_from_it(department: TestConsole) -> None:
    api, caller = api_of(department), {"x-local": "system"}
    content = workbook(["编号", "年龄"], ["A1", 31], ["B2", 42])
    asked = {"name": "人员.xlsx", "key": "编号"}
    made = api.post("/v1/uploads", params=asked, content=content, headers=caller)
    assert made.status_code == 200, made.text
    found = made.json()
    assert (found["kind"], found["sheet"], found["rows"], found["publishable"]) == (
        "excel",
        "人员",
        2,
        True,
    )
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    wanted = {"source": found["source"], "masking": {"编号": "drop", "年龄": "range:10"}}
    shown = api.post("/v1/assets/preview", json=wanted, headers=caller).json()
    assert [row["delivered"]["年龄"] for row in shown["rows"]] == ["30-39", "40-49"]
    faulty = api.post("/v1/uploads", params={"name": "a.csv"}, content=FAULTY, headers=caller)
    assert [row["kind"] for row in faulty.json()["faults"]] == ["key_repeated", "key_empty"]


def test_an_upload_over_the_limit_or_of_a_stranger_is_refused(tmp_path: Path) -> None:
    with running_console(tmp_path) as console:
        limits = console.config.limits.model_copy(update={"upload_bytes": 1_000})
        console.config = console.config.model_copy(update={"limits": limits})
        api, asked = api_of(with_sources(console)), {"name": "a.csv"}
        for caller, content, status in (
            ({"x-local": "clerk"}, b"x" * 1_001, 413),
            ({"x-local": "auditor"}, b"id,a\n1,x\n", 403),
            ({}, b"id,a\n1,x\n", 401),
        ):
            answer = api.post("/v1/uploads", params=asked, content=content, headers=caller)
            assert answer.status_code == status, answer.text
        assert api.post("/v1/uploads", headers={"x-local": "clerk"}).status_code == 422
        assert list(serving.source_files(console.context).names()) == []
