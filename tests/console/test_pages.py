"""Rules that hold for every page: guards, acts, escaping, exports, forms that are sent twice."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

from chain.core.errors import Conflict
from chain.statements.assets import AssetRecord
from chain.statements.examples import example
from exchange.catalogue import store as index
from nodes.console.accounts import service as accounts
from nodes.console.accounts.erasure import forget_person
from nodes.console.accounts.model import PersonRole
from nodes.console.acts import service as acts
from nodes.console.acts.model import Act, ActFilter, ActKind, Actor
from nodes.console.acts.store import ConsoleAct, ConsolePersonKey
from nodes.console.domains import ROUTERS
from nodes.console.exports import csv_text, safe_cell
from nodes.console.formatting import moment
from nodes.console.permissions import guards_of
from nodes.console.submissions import service as submissions
from registry.assets import catalogue
from registry.assets.store import CatalogueAsset
from registry.evidence.store import PendingEntry
from registry.pages import PageRequest
from tests.support.console import PASSWORD, TestConsole

HOSTILE = "江门（测试）𠮷<script>alert(1)</script>\"'&"
PUBLIC = {
    "/login",
    "/login/code",
    "/login/openid",
    "/login/openid/callback",
    "/logout",
    "/language",
    "/invitations/{token}",
    "/my/login",
    "/my/login/challenge",
    "/my/login/request",
    "/my/help",
}
"""Pages that somebody who is not logged in needs."""


def add_asset(console: TestConsole, number: int) -> str:
    record = replace(example(AssetRecord), name=f"asset-{number}", category="other")
    row = CatalogueAsset(
        asset_id=number.to_bytes(32, "big"),
        holder=record.holder,
        name=record.name,
        asset_version=record.asset_version,
        grade=record.grade,
        category=record.category,
        data_item=record.data_item,
        row_count=record.row_count,
        metadata_hash=record.metadata_hash,
        record=record.to_json(),
        registered_at=number,
        changed_at=number,
    )
    asset_id = "0x" + row.asset_id.hex()

    def add(session: Session) -> None:
        session.add(row)
        session.flush()
        entry = catalogue.find_in(session, row.asset_id)
        assert entry is not None
        index.save_entry(session, entry)

    console.context.database.write(add)
    return asset_id


def recorded(console: TestConsole) -> list[tuple[str, str, str]]:
    rows = acts.listing(console.context, ActFilter(), PageRequest(200)).rows
    return [(row.kind, row.object, row.outcome) for row in rows]


def test_every_page_has_a_guard() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 15
    unguarded = {route.path for route in routes if not guards_of(route)}
    assert unguarded == PUBLIC


def test_an_administrator_sees_accounts_and_no_data(console: TestConsole) -> None:
    person = console.person(PersonRole.ADMINISTRATOR)
    for path in ("/assets", "/assets.csv", "/acts", "/proofs/assets/0x" + "11" * 32):
        answer = person.get(path)
        assert (answer.status_code, "person_role_missing" in answer.text) == (403, True)
    assert "/assets" not in person.page("/")
    assert person.get("/accounts").status_code == 200


@pytest.mark.parametrize("role", [role for role in PersonRole if role != PersonRole.ADMINISTRATOR])
def test_only_an_administrator_manages_accounts(console: TestConsole, role: PersonRole) -> None:
    person = console.person(role, login="wang")
    fields = {**person.hidden("/"), "login": "li.si", "name": "李四", "roles": "administrator"}
    assert person.get("/accounts").status_code == 403
    assert person.post("/accounts", fields).status_code == 403
    own = console.account_id("wang")
    for act in ("roles", "disable", "reset"):
        fields = {**person.hidden("/account"), "roles": "administrator"}
        assert person.post(f"/accounts/{own}/{act}", fields).status_code in (403, 422)
    assert {role} == accounts.account(console.context, own).roles


def test_the_only_administrator_stays(console: TestConsole) -> None:
    person = console.person(PersonRole.ADMINISTRATOR, login="root")
    own = console.account_id("root")
    page = f"/accounts/{own}"
    answer = person.send(page, f"{page}/disable", {})
    assert (answer.status_code, "last_administrator" in answer.text) == (409, True)
    answer = person.send(page, f"{page}/roles", {"roles": "clerk"})
    assert (answer.status_code, "last_administrator" in answer.text) == (409, True)
    assert person.get("/accounts").status_code == 200


def test_a_disabled_person_is_out_at_once(console: TestConsole) -> None:
    clerk = console.person(PersonRole.CLERK, login="wang")
    administrator = console.person(PersonRole.ADMINISTRATOR)
    page = f"/accounts/{console.account_id('wang')}"
    assert administrator.send(page, f"{page}/disable", {}).status_code == 303
    assert clerk.get("/assets").status_code == 303


def test_a_one_time_link_is_shown_once_and_used_once(console: TestConsole) -> None:
    administrator = console.person(PersonRole.ADMINISTRATOR)
    fields = {"login": "li.si", "name": HOSTILE, "roles": ["clerk", "auditor"]}
    answer = administrator.send("/accounts", "/accounts", fields)
    assert answer.status_code == 200
    path = "/invitations/" + answer.text.split("/invitations/")[1].split("<")[0]
    visitor = console.visitor()
    chosen = {"password": "orchid-harbour-tunnel", "repeated": "orchid-harbour-tunnel"}
    assert visitor.send(path, path, chosen).status_code == 303
    assert visitor.get("/acts").status_code == 200
    assert console.visitor().get(path).status_code == 404
    assert "<script>alert" not in administrator.page("/accounts")


def test_a_link_that_is_too_old_is_worth_nothing(console: TestConsole) -> None:
    token = accounts.invite(console.context, login="li.si", name="李四", roles=[PersonRole.CLERK])
    console.clock.at += accounts.INVITATION_SECONDS + 1
    assert console.visitor().get(f"/invitations/{token}").status_code == 404


def test_what_strangers_write_is_text_on_every_page(console: TestConsole) -> None:
    add_asset(console, 1)
    token = accounts.invite(
        console.context, login="li.si", name=HOSTILE, roles=[PersonRole.AUDITOR]
    )
    accounts.accept_invitation(console.context, token, PASSWORD)
    person = console.visitor()
    person.log_in("li.si", PASSWORD)
    person.get("/assets?holder=%22%3E%3Cscript%3E")
    for path in ("/", "/assets?q=<script>alert(1)</script>", "/acts", "/acts?object=<script>"):
        page = person.page(path)
        assert "<script>alert" not in page
        assert "object=<script>" not in page
    assert "江门（测试）𠮷" in person.page("/acts")


def test_a_list_is_read_in_pages_and_searched(console: TestConsole) -> None:
    for number in range(1, 31):
        add_asset(console, number)
    person = console.person(PersonRole.CLERK)
    first = person.page("/assets")
    assert first.count("<tr>") == 26
    assert "30 assets" in first
    following = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = person.page(following)
    assert second.count("<tr>") == 6
    assert 'rel="next"' not in second
    assert person.page("/assets?q=asset-30").count("<tr>") == 2
    assert person.get("/assets?cursor=nonsense").status_code == 422


def test_an_export_runs_no_formula_and_keeps_chinese(console: TestConsole) -> None:
    name = '=HYPERLINK("http://evil.example";"江门𠮷")'
    token = accounts.invite(console.context, login="li.si", name=name, roles=[PersonRole.AUDITOR])
    accounts.accept_invitation(console.context, token, PASSWORD)
    person = console.visitor()
    person.language = "zh-CN"
    person.log_in("li.si", PASSWORD)
    answer = person.get("/acts.csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert rows[0][:2] == ["时间", "人员"]
    assert {row[1] for row in rows[1:]} == {f"'{name} (li.si)"}


def test_a_page_without_an_icon_of_its_own_shows_the_consoles(console: TestConsole) -> None:
    visitor = console.visitor()
    answer = visitor.get("/favicon.ico")
    assert answer.status_code == 308
    icon = visitor.get(answer.headers["location"])
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1", "＝1", "＠x"])
def test_a_cell_that_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert safe_cell(text) == "'" + text


@pytest.mark.parametrize("value", ["", "a-b", "1=2", "江门", -5, 12, None])
def test_other_cells_stay_as_they_are(value: str | int | None) -> None:
    assert safe_cell(value) == ("" if value is None else str(value))
    assert csv_text(["a"], [[value]]).startswith("\ufeffa\r\n")


def test_every_view_and_export_names_the_person_in_the_log(console: TestConsole) -> None:
    asset = add_asset(console, 1)
    person = console.person(PersonRole.CLERK, login="wang")
    person.page("/assets")
    person.page(f"/assets/{asset}")
    person.get("/assets.csv")
    rows = acts.listing(console.context, ActFilter(), PageRequest()).rows[:3]
    assert [(row.kind, row.object, row.place) for row in rows] == [
        ("export", "catalogue", "GET /assets.csv"),
        ("view", "asset", "GET /assets/{asset_id}"),
        ("view", "catalogue", "GET /assets"),
    ]
    assert {row.person for row in rows} == {"某人 wang (wang)"}
    with console.context.database.read() as session:
        logged = {entry.digest for entry in session.query(PendingEntry)}
    assert {row.commitment for row in rows} <= logged


def test_the_log_and_the_acts_hold_no_name_in_clear(console: TestConsole) -> None:
    console.person(PersonRole.CLERK, login="wang").page("/assets")
    administrator = console.person(PersonRole.ADMINISTRATOR, login="wang-2")
    fields = {"login": "wang-3", "name": "某人", "roles": ["clerk"]}
    assert administrator.send("/accounts", "/accounts", fields).status_code == 200
    with console.context.database.read() as session:
        stored = [
            act.sealed + f"{act.place} {act.subject} {act.object}".encode()
            for act in session.query(ConsoleAct)
        ]
        leaves = [entry.leaf for entry in session.query(PendingEntry)]
    assert stored
    assert leaves
    assert not [data for data in (*stored, *leaves) if b"wang" in data or "某人".encode() in data]


def test_a_forgotten_persons_acts_stay_and_name_nobody(console: TestConsole) -> None:
    person = console.person(PersonRole.CLERK, login="wang")
    person.page("/assets")
    account = console.account_id("wang")
    before = acts.listing(console.context, ActFilter(account_id=account), PageRequest()).rows
    forget_person(console.context, account)
    after = acts.listing(console.context, ActFilter(account_id=account), PageRequest()).rows
    assert [row.commitment for row in after] == [row.commitment for row in before]
    assert {row.person for row in after} == {None}
    assert person.get("/assets").status_code == 303
    with console.context.database.read() as session:
        assert session.get(ConsolePersonKey, account) is None
    with pytest.raises(Conflict) as caught:
        accounts.reset(console.context, account)
    assert caught.value.code == "account_forgotten"


def test_an_act_that_cannot_be_recorded_is_not_done(console: TestConsole) -> None:
    actor = Actor("a" * 32, "wang", "王", "GET /assets")

    def change(session: Session) -> None:
        acts.append(session, console.context, actor, Act(ActKind.VIEW, "asset"))
        raise Conflict("grant_revoked", "The grant was revoked.")

    before = recorded(console)
    with pytest.raises(Conflict):
        console.context.database.write(change)
    assert recorded(console) == before


def test_a_form_that_is_sent_twice_is_carried_out_once(console: TestConsole) -> None:
    console.person(PersonRole.CLERK, login="wang")
    administrator = console.person(PersonRole.ADMINISTRATOR)
    page = f"/accounts/{console.account_id('wang')}"
    fields = {**administrator.hidden(page), "roles": ["auditor"]}
    answers = [administrator.post(f"{page}/roles", fields) for _ in range(3)]
    assert {(answer.status_code, answer.headers["location"]) for answer in answers} == {(303, page)}
    assert recorded(console).count(("change", "account", "done")) == 1
    other = administrator.post(f"{page}/roles", {**fields, "roles": ["clerk"]})
    assert (other.status_code, "form_key_reused" in other.text) == (409, True)


def test_a_refused_form_may_be_sent_again(console: TestConsole) -> None:
    administrator = console.person(PersonRole.ADMINISTRATOR, login="root")
    page = f"/accounts/{console.account_id('root')}"
    fields = administrator.hidden(page)
    assert administrator.post(f"{page}/disable", fields).status_code == 409
    console.person(PersonRole.ADMINISTRATOR)
    assert administrator.post(f"{page}/disable", fields).status_code == 303


def test_a_form_that_is_being_carried_out_is_not_begun_again(console: TestConsole) -> None:
    key, content = submissions.new_key(), bytes(32)
    assert submissions.begin(console.context, "a", key, content) is None
    with pytest.raises(Conflict) as caught:
        submissions.begin(console.context, "a", key, content)
    assert caught.value.code == "form_in_progress"
    assert submissions.begin(console.context, "b", key, content) is None
    submissions.finish(console.context, "a", key, "/done")
    assert submissions.begin(console.context, "a", key, content) == "/done"


def test_an_error_says_what_happened_and_whose_turn_it_is(console: TestConsole) -> None:
    person = console.person(PersonRole.CLERK)
    english = person.get("/proofs/assets/0x" + "11" * 32)
    assert english.status_code == 503
    assert "Whose turn it is" in english.text
    assert "retry-after" in english.headers
    person.language = "zh-CN"
    chinese = person.get("/assets/0x" + "11" * 32)
    assert (chinese.status_code, "没有" in chinese.text) == (404, True)
    assert "asset_unknown" in chinese.text
    assert person.get("/assets/nonsense").status_code == 422


def test_a_language_is_chosen_and_leads_back_to_the_page(console: TestConsole) -> None:
    person = console.person(PersonRole.CLERK)
    fields = {**person.hidden("/assets"), "language": "zh-CN", "target": "/assets?q=a"}
    answer = person.post("/language", {name: fields[name] for name in fields if name != "form_key"})
    assert answer.headers["location"] == "/assets?q=a"
    assert "数据目录" in person.page("/assets")
    away = {**fields, "target": "//evil.example"}
    away.pop("form_key", None)
    assert person.post("/language", away).headers["location"] == "/"


def test_an_unknown_static_file_is_not_there(console: TestConsole) -> None:
    visitor = console.visitor()
    for path in ("/static/../app.py", "/static/package.json", "/static/%2e%2e/app.py"):
        assert visitor.get(path).status_code in (303, 404)
    found = visitor.get("/static/console.css")
    assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = visitor.get("/static/console.css", **{"if-none-match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_filter_is_part_of_what_an_auditor_exports(console: TestConsole) -> None:
    console.person(PersonRole.CLERK, login="wang").page("/assets")
    auditor = console.person(PersonRole.AUDITOR)
    rows = auditor.get("/acts.csv?kind=view&object=catalogue").text.splitlines()
    assert len(rows) == 2
    assert "某人 wang (wang)" in rows[1]


def test_a_time_beyond_the_calendar_is_shown_as_a_number() -> None:
    assert "2027-01-15" in moment(1_800_000_000)
    for seconds in (2**40, 2**63, -(2**60)):
        assert str(seconds) in moment(seconds)
