"""The network's work from the command line alone, over real nodes and a real validator."""

from __future__ import annotations

import datetime as dt
import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chain.core.loopback import free_ports
from chain.core.zone import city_zone
from chain.keys.files import create_person_key
from nodes import provision
from tests.scripts.town import (
    PEOPLE,
    CommandResult,
    Town,
    admin_key,
    eventually,
    grant_people,
    officer_key,
    output_of,
    publish_people,
    retried,
    run_command,
)

ROOT = Path(__file__).parents[2]
UNIT = "440703-000001"


# --- Governors ------------------------------------------------------------------------------------


def test_two_administrators_admit_a_member_with_their_own_keys(
    town: Town, admitted: dict[str, Any]
) -> None:
    assert list(admitted["first"]["approvals"]) == [town["operator"]]
    assert "outcome" not in admitted["first"]
    assert eventually(
        lambda: town.at("operator", "member", "proposal", admitted["proposal"])["executedAt"]
    )
    table = eventually(
        lambda: [
            line
            for line in output_of("member", "list", *town.node("supervisor")).splitlines()
            if town["bank"] in line
        ]
    )
    assert " active " in table[0]


def test_an_officers_key_approves_no_admission(town: Town, admitted: dict[str, Any]) -> None:
    proposal = town.at("operator", "member", "propose-lift", "--member", town["bank"])["proposalId"]
    refused = run_command(
        "member",
        "approve",
        proposal,
        *town.node("operator"),
        "--key",
        officer_key(town, "operator"),
        "--yes",
    )
    assert (refused.code, refused.err.splitlines()[-1].partition(":")[0]) == (
        2,
        "error[not_governor]",
    )


# --- Trade ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(town: Town, admitted: dict[str, Any]) -> str:
    credit = ("--category", "credit", "--purpose", "credit-assessment")
    asset_id = publish_people(town, *credit)
    retried("asset", "show", asset_id, *town.node("bank"), "--json")
    return asset_id


def test_a_clerk_sees_how_far_a_publication_is(
    town: Town, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.cli.session.PROGRESS_SECONDS", 0.001)
    described = (
        "--title-zh",
        "人员信息二",
        "--title-en",
        "People too",
        "--description",
        "Test records",
        "--grade",
        "3",
        "--mask",
        "age=keep",
        *("--purpose", "statistics"),
    )
    answer = run_command(
        "asset",
        "publish",
        "--name",
        "people-too",
        "--source",
        "people",
        *described,
        *town.node("department"),
    )
    assert answer.code == 0
    looks = {line for line in answer.err.splitlines() if line.startswith("  … ")}
    rows = len(PEOPLE.splitlines()) - 1
    # Which of the two a look meets is chance; that there was one is not.
    assert looks
    assert looks <= {
        "  … people is being read",
        "  … 0 rows committed",
        f"  … {rows} rows committed",
    }
    own = {
        publication["assetId"]: publication
        for publication in town.at("department", "asset", "own")["publications"]
    }
    assert (own[published]["state"], own[published]["rows"]) == ("published", rows)
    assert "People too" in [item["titleEn"] for item in own.values()]
    again = run_command(
        "asset",
        "publish",
        "--name",
        "people-too",
        "--source",
        "people",
        *described,
        *town.node("department"),
    )
    assert (again.code, again.err.splitlines()[-1].partition(":")[0]) == (2, "error[asset_known]")


@pytest.fixture(scope="module")
def granted(town: Town, published: str) -> str:
    grant_id = grant_people(town, published, "credit-assessment")
    eventually(lambda: town.at("bank", "grant", "list", "--state", "approved")["grants"])
    return grant_id


@pytest.fixture(scope="module")
def agreed(town: Town, published: str, granted: str) -> str:
    share = (f"{town['department']}=9000", f"{town['operator']}=1000")
    town.at(
        *("department", "offer", "make", published, "--price", "50", "--max-cap", "100000"),
        *("--share", share[0], "--share", share[1]),
    )
    paid = town.at(
        "operator",
        "money",
        "deposit",
        "--member",
        town["bank"],
        "--amount",
        "10000",
        "--reference",
        "2026-11/1",
    )
    assert paid["outcome"]["state"] == "done"
    offer = ("offer", "show", published, "--provider", town["department"])
    assert "price: 0.50 yuan a call" in output_of(*offer, *town.node("bank"))
    seen = town.at("bank", *offer)["offerHash"]
    order = (
        "agreement",
        "open",
        "--grant",
        granted,
        "--cap",
        "2000",
        "--arbiter",
        town["supervisor"],
    )
    # What nobody is shown must be named, and what is named must be what is offered.
    assert code_of(*order, "--yes", *town.node("bank")) == (2, "offer_not_named")
    shown = run_command(*order, *town.node("bank"))
    assert "locked at once, owed at most: 20.00 yuan" in shown.err
    assert "error[confirmation_missing]: " in shown.err
    assert code_of(*order, "--yes", "--offer", "0x" + "11" * 32, *town.node("bank")) == (
        2,
        "offer_changed",
    )
    made = retried(*order, "--yes", "--offer", seen, *town.node("bank"), "--json")
    assert made["state"] == "open"
    eventually(
        lambda: town.at("department", "agreement", "show", made["agreementId"])["state"] == "open"
    )
    return str(made["agreementId"])


@pytest.fixture(scope="module")
def consents(town: Town, admitted: dict[str, Any]) -> dict[str, str]:
    """Two traders make a key each, have it certified at the department's counter, and let the bank
    query.
    """
    found = {}
    for code in ("A1", "B2"):
        certificate = certified(town, "department", code, "consent")
        consent = town.path(f"{code}.consent.json")
        output_of(
            *(
                "subject",
                "consent",
                "--key",
                str(key_of(town, code, "consent")),
                "--certified",
                str(certificate),
                "--bank",
                town["bank"],
            ),
            *("--deployment", str(town.deployment), "--out", str(consent), "--yes", "--json"),
        )
        registered = output_of(
            "subject", "register", str(consent), *town.stranger("operator"), "--json"
        )
        assert registered["recordedAt"]
        held = retried("subject", "deliver-consent", str(consent), *town.stranger("bank"), "--json")
        eventually(
            lambda file=consent: output_of(
                "subject", "status", str(file), *town.stranger("department"), "--json"
            )["recordedAt"]
        )
        found[code] = held["consent"]
    return found


def key_of(town: Town, code: str, purpose: str) -> Path:
    return town.path(f"{code}.{purpose}.key.json")


def certified(town: Town, office: str, code: str, purpose: str) -> Path:
    """A subject's fresh key, certified at an office's counter; the certificate's file."""
    key, certificate = key_of(town, code, purpose), town.path(f"{code}.{purpose}.certificate.json")
    output_of("subject", "key", "--key", str(key), "--code", code, "--purpose", purpose, "--json")
    output_of(
        "credit",
        "certify",
        f"{key}.request.json",
        "--out",
        str(certificate),
        *town.node(office),
        "--json",
    )
    return certificate


ASKED = ("--columns", "age,area", "--purpose", "credit-assessment")


@pytest.fixture(scope="module")
def called(town: Town, agreed: str, consents: dict[str, str]) -> dict[str, Any]:
    """A file of three subjects, of whom two consented."""
    rows = town.path("subjects.csv")
    rows.write_text(
        f"subject,consent\nA1,{consents['A1']}\nB2,{consents['B2']}\nC3,\n", encoding="utf-8"
    )
    one = town.at(
        "bank",
        "call",
        "one",
        "--agreement",
        agreed,
        "--subject",
        "A1",
        "--consent",
        consents["A1"],
        *ASKED,
    )
    summary = town.at(
        "bank", "call", "file", str(rows), "--agreement", agreed, *ASKED, "--batch", "2"
    )
    return {"one": one, "summary": summary, "rows": rows}


def test_what_failed_with_an_unknown_outcome_names_the_key_to_repeat_it_with(
    town: Town, agreed: str
) -> None:
    at = (
        "--url",
        "https://127.0.0.1:9",
        "--certificate",
        str(town.organisations["bank"].certificate),
        "--token-file",
        str(town.path("any")),
    )
    town.path("any").write_text("ql_any")
    call = ("call", "one", "--agreement", agreed, "--subject", "C3", *ASKED)
    assert (
        "repeat with --idempotency-key mine-1:"
        in run_command(*call, "--idempotency-key", "mine-1", *at).err
    )
    arguments = (
        "grant",
        "request",
        "--asset",
        town.at("bank", "asset", "list")["assets"][0]["assetId"],
        "--scene",
        "small-loan",
        "--purpose",
        "statistics",
        "--uses",
        "1",
    )
    first, second = (
        town.at("bank", *arguments, "--idempotency-key", "mine-2")["grantId"] for _ in range(2)
    )
    assert first == second


def test_a_call_brings_the_masked_record(called: dict[str, Any]) -> None:
    assert called["one"]["record"] == {"age": "30-39", "area": "华侨城"}
    assert (called["one"]["outcome"], called["one"]["amount"]) == ("served", 50)


def test_a_clerk_sees_that_a_source_changed_and_publishes_it_anew(
    town: Town, agreed: str, consents: dict[str, str], called: dict[str, Any]
) -> None:
    own = {
        publication["titleEn"]: publication["assetId"]
        for publication in town.at("department", "asset", "own")["publications"]
    }
    source, republish = (
        town.path("people.csv"),
        ("asset", "republish", own["People too"], *town.node("department")),
    )
    source.write_text(PEOPLE.replace("B2,42", "B2,43"), encoding="utf-8")
    try:
        refused = run_command(
            "call",
            "one",
            "--agreement",
            agreed,
            "--subject",
            "B2",
            "--consent",
            consents["B2"],
            *ASKED,
            *town.node("bank"),
        )
        assert (
            refused.code,
            "error[source_drift]" in refused.err,
            "newer version" in refused.err,
        ) == (2, True, True)
        (incident,) = town.at("department", "asset", "incidents")["incidents"]
        assert (incident["kind"], incident["row"], incident["calls"]) == ("record_differs", 2, 1)
        unconfirmed = run_command(*republish)
        assert (unconfirmed.code, unconfirmed.err.splitlines()[-1].partition(":")[0]) == (
            2,
            "error[confirmation_missing]",
        )
        made = run_command(*republish, "--yes", "--json")
        assert (made.json["assetVersion"], made.json["outcome"]["state"]) == (2, "done")
        assert "changed" in made.err
    finally:
        source.write_text(PEOPLE, encoding="utf-8")


def test_a_file_of_subjects_is_called_row_by_row(called: dict[str, Any]) -> None:
    summary = called["summary"]
    assert (summary["rows"], summary["outcomes"], summary["reasons"]) == (
        3,
        {"served": 2, "refused": 1},
        {"consent_missing": 1},
    )
    assert summary["amountFen"] == 100


def test_a_file_that_was_stopped_goes_on_and_is_billed_once(
    town: Town, agreed: str, called: dict[str, Any]
) -> None:
    results = Path(called["summary"]["file"])
    assert results.stat().st_mode & 0o077 == 0
    before = town.at("bank", "agreement", "show", agreed)
    whole = results.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    # As a power cut would leave it: the first row written, the second half-written, the third lost.
    results.write_text(lines[0] + lines[1][:40], encoding="utf-8")
    again = town.at("bank", "call", "file", str(called["rows"]), "--agreement", agreed, *ASKED)
    assert (again["outcomes"], again["amountFen"]) == ({"served": 2, "refused": 1}, 100)
    seqs = sorted(json.loads(line)["seq"] for line in whole.splitlines())
    after = [
        json.loads(line)
        for line in results.read_text(encoding="utf-8").splitlines()
        if line.endswith("}")
    ]
    assert sorted(item["seq"] for item in after) == seqs
    assert town.at("bank", "agreement", "show", agreed)["paid"] == before["paid"]


def test_a_file_goes_on_after_the_own_node_was_down(
    town: Town, agreed: str, consents: dict[str, str], called: dict[str, Any]
) -> None:
    bank = town.organisations["bank"]
    arguments = (
        "call",
        "file",
        str(called["rows"]),
        "--agreement",
        agreed,
        *ASKED,
        "--out",
        str(town.path("down.jsonl")),
        *town.node("bank"),
    )
    bank.node.kill()
    assert code_of(*arguments) == (4, "node_unreachable")
    provision.start_all([bank])
    # Under the same keys these are the calls that were made before: answered again, billed once.
    assert json.loads(run_command(*arguments, "--json").out)["outcomes"] == {
        "served": 2,
        "refused": 1,
    }


def test_a_row_without_a_subject_is_named_before_any_call_is_made(
    town: Town, agreed: str, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"subject": "A1"}\n{"subject": ""}\n', encoding="utf-8")
    refused = run_command(
        "call", "file", str(rows), "--agreement", agreed, *ASKED, *town.node("bank")
    )
    assert (refused.code, refused.err) == (
        2,
        "error[row_malformed]: Row 2 of rows.jsonl has no subject. Columns are subject and, where needed, consent.\n",
    )
    assert not (tmp_path / "rows.jsonl.results.jsonl").exists()


# --- Credit ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reported(
    town: Town, published: str, agreed: str, consents: dict[str, str], called: dict[str, Any]
) -> dict[str, Any]:
    """A report, the trader's dispute with the printout of the counter, the department's repair, and
    a report after it.
    """
    arguments = (
        "credit",
        "report",
        "--subject",
        "A1",
        "--consent",
        consents["A1"],
        "--part",
        f"{agreed}=age,area",
    )
    first = town.at("bank", *arguments)
    assert first["outcome"]["state"] == "done"
    printout = town.path("A1.record.json")
    town.at("department", "credit", "record", published, "--code", "A1", "--out", str(printout))
    certificate = certified(town, "department", "A1", "dispute")
    disputed = output_of(
        *("subject", "dispute", str(printout), "--column", "age", "--says", "born later"),
        *(
            "--key",
            str(key_of(town, "A1", "dispute")),
            "--certified",
            str(certificate),
            "--deployment",
            str(town.deployment),
        ),
        *(*town.stranger("department"), "--yes", "--json"),
    )
    repaired = town.path("A1.repaired.json")
    repaired.write_text(
        json.dumps({"id": "A1", "age": 29, "area": "华侨城", "note": "x"}), encoding="utf-8"
    )
    answer = ("credit", "answer", disputed["disputeId"], "--record", str(repaired))
    answered = town.at("department", *answer)
    assert answered["outcome"]["state"] == "done"
    return {"first": first, "dispute": disputed["disputeId"], "second": town.at("bank", *arguments)}


def test_a_disputed_record_is_repaired_and_the_next_report_shows_both(
    reported: dict[str, Any],
) -> None:
    assert reported["first"]["report"]["disputes"] == []
    (shown,) = reported["second"]["report"]["disputes"]
    assert (shown["disputeId"], shown["upheld"]) == (reported["dispute"], True)
    assert (shown["before"]["age"], shown["after"]["age"]) == ("30-39", "20-29")


def test_a_withdrawn_consent_stops_calls(
    town: Town, agreed: str, consents: dict[str, str], reported: dict[str, Any]
) -> None:
    consent = town.path("B2.consent.json")
    back = (
        "subject",
        "withdraw",
        str(consent),
        "--key",
        str(key_of(town, "B2", "consent")),
        "--deployment",
        str(town.deployment),
    )
    assert output_of(*back, *town.stranger("operator"), "--yes", "--json")["withdrawnAt"]
    # The gateway's own view of the chain must have it before a call is tried, or the call would be
    # served and billed.
    eventually(
        lambda: output_of(
            "subject", "status", str(consent), *town.stranger("department"), "--json"
        )["withdrawnAt"]
    )
    refused = run_command(
        "call",
        "one",
        "--agreement",
        agreed,
        "--subject",
        "B2",
        "--consent",
        consents["B2"],
        *ASKED,
        *town.node("bank"),
    )
    assert refused.err.startswith("error[consent_withdrawn]: ")


# --- Settlement and proof -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settled(town: Town, agreed: str, reported: dict[str, Any]) -> str:
    """Acknowledgement, and a cooperative closing."""
    town.at("bank", "agreement", "acknowledge", agreed)
    closed = retried("agreement", "close", agreed, *town.node("bank"), "--json")
    assert closed["way"] in ("cooperative", "closed")
    return agreed


def final(town: Town, name: str, agreement: str) -> dict[str, Any] | None:
    """The totals by which the chain closed an agreement, once a node has seen it."""
    found: dict[str, Any] = town.at(name, "agreement", "show", agreement)
    settlement: dict[str, Any] = found["finalSettlement"]
    return settlement if (found["state"], settlement["state"]) == ("closed", "settled") else None


def test_closed_is_paid_for_what_was_served_and_the_rest_is_back(town: Town, settled: str) -> None:
    balance = town.at("bank", "agreement", "balance", settled)
    assert (balance["opened"], balance["paid"], balance["refunded"], balance["locked"]) == (
        "2000",
        "250",
        "1750",
        "0",
    )
    for name in ("bank", "department"):
        shown = eventually(lambda name=name: final(town, name, settled))
        assert (shown["units"], shown["amount"]) == (5, "250")
    account = output_of("money", "account", *town.node("bank"))
    assert "deposited = withdrawn + free + locked + bonded: holds" in account
    assert "97.50 yuan" in account


def test_an_open_agreement_is_listed_with_its_block_and_cannot_be_withdrawn(
    town: Town, agreed: str
) -> None:
    (row,) = [
        row
        for row in town.at("bank", "agreement", "list")["agreements"]
        if row["agreementId"] == agreed
    ]
    assert (row["reason"], row["stateSince"], row["openedAt"] > 0) == (None, None, True)
    assert code_of("agreement", "withdraw", agreed, *town.node("bank")) == (2, "agreement_open")


def test_a_buyer_sees_a_providers_offer_before_it_orders(town: Town, agreed: str) -> None:
    (offer,) = town.at("bank", "offer", "list", "--provider", town["department"])["offers"]
    assert (offer["price"], offer["maxCap"]) == (50, 100_000)
    assert code_of("offer", "list", "--provider", "nobody", *town.node("bank")) == (
        2,
        "peer_unknown",
    )
    assert town.at("bank", "offer", "list")["offers"] == []


def test_earnings_are_ordered_out_once(town: Town, settled: str) -> None:
    for _ in range(2):
        assert (
            town.at("department", "money", "withdraw", "--amount", "100", "--order", "earnings/1")[
                "outcome"
            ]["state"]
            == "done"
        )

    def withdrawn() -> list[str]:
        payments = town.at("department", "money", "payments")["payments"]
        return [
            payment["amount"]
            for payment in payments
            if (payment["member"], payment["kind"]) == (town["department"], "withdrawn")
        ]

    assert eventually(withdrawn) == ["100"]


def test_the_supervisor_reconciles_and_finds_nothing(town: Town, settled: str) -> None:
    assert run_command("reconcile", *town.node("supervisor")).code == 0
    assert town.at("department", "reconcile", settled)["agree"] is True


@pytest.fixture(scope="module")
def trust(town: Town) -> Path:
    """Made at the operator's node: deployment, validators and the witness's key as its
    configuration has them.
    """
    path = town.path("trust.json")
    output_of(
        "trust",
        "make",
        *town.node("operator"),
        "--witness",
        town["supervisor"],
        "--out",
        str(path),
        "--json",
    )
    return path


def test_a_trust_file_asks_to_be_compared_by_another_way(town: Town, trust: Path) -> None:
    shown = output_of("trust", "show", str(trust))
    assert town["supervisor"] in shown
    assert (
        "compare the genesis, the validators and the witnesses' keys with what the organisations concerned tell you by another way"
        in shown
    )


@pytest.mark.parametrize("profile", ["trade", "lane", "grant", "credit"])
def test_a_bundle_of_each_proof_profile_is_written_and_verified(
    town: Town, settled: str, granted: str, reported: dict[str, Any], trust: Path, profile: str
) -> None:
    commands = {
        "trade": ("department", "agreement", "bundle", settled, "--seq", "1"),
        "lane": ("department", "agreement", "lane-bundle", settled),
        "grant": ("department", "grant", "bundle", granted),
        "credit": ("bank", "credit", "bundle", reported["second"]["queryId"]),
    }
    at, *arguments = commands[profile]
    for name in ("department", "bank"):
        town.at(name, "log", "anchor")
    bundle = town.path(f"{profile}.json")
    retried(*arguments, "--out", str(bundle), *town.node(at))
    verified = output_of("verify", str(bundle), "--trust", str(trust), "--json")
    assert (verified["valid"], verified["story"]) == (True, profile)


def test_a_revoked_grant_is_refused_with_its_code(town: Town, settled: str, granted: str) -> None:
    back = town.at(
        "department",
        "grant",
        "revoke",
        granted,
        "--reason",
        "contract-ended",
        "--key",
        officer_key(town, "department"),
        "--yes",
    )
    assert back["outcome"]["state"] == "done"
    assert town.at("department", "grant", "show", granted)["state"] == "revoked"
    assert town.at("department", "grant", "list", "--state", "approved")["grants"] == []


# --- Property -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registered(town: Town, admitted: dict[str, Any]) -> dict[str, Any]:
    """A home sold: keys certified and title stated by the registration centre, signed by both
    people at the agent's, every step taken.
    """
    units = town.path("units.csv")
    units.write_text(f"number,owner\n{UNIT},P-1\n440703-000002,P-1\n", encoding="utf-8")
    town.at("department", "unit", "enter", str(units))
    certificates = {code: certified(town, "department", code, "deal") for code in ("P-1", "P-2")}
    address = json.loads(certificates["P-1"].read_text())["certificate"]["key"]
    title, deal = town.path("title.json"), town.path("deal.json")
    town.at("department", "unit", "title", UNIT, "--owner-key", address, "--out", str(title))
    drawn = town.at(
        *(
            "agency",
            "deal",
            "draw",
            "--title",
            str(title),
            "--seller",
            str(certificates["P-1"]),
            "--buyer",
            str(certificates["P-2"]),
        ),
        *(
            "--tax-authority",
            town["department"],
            "--notary",
            town["agency"],
            "--bank",
            town["bank"],
            "--unit",
            UNIT,
            "--area",
            "1200000",
        ),
        *(
            "--price",
            "98000000",
            "--loan",
            "60000000",
            "--months-held",
            "70",
            "--only-home",
            "--buyer-homes",
            "0",
            "--out",
            str(deal),
        ),
    )
    for code in ("P-1", "P-2"):
        key = str(key_of(town, code, "deal"))
        output_of(
            "deal",
            "sign",
            str(deal),
            "--key",
            key,
            "--deployment",
            str(town.deployment),
            *town.stranger("agency"),
            "--yes",
            "--json",
        )
    steps = (
        ("agency", "agent"),
        ("department", "tax"),
        ("bank", "mortgage", "--contract", "抵押-1"),
        ("agency", "notary", "--certificate-number", "公证-1"),
        ("department", "register", "--certificate-number", "粤(2026)江门市不动产权第0000001号"),
    )
    taken = [
        retried("deal", "step", drawn["dealId"], *arguments, *town.node(at), "--json")
        for at, *arguments in steps
    ]
    return {"deal": drawn["dealId"], "taken": taken}


def test_a_home_is_sold_from_draft_to_registration(town: Town, registered: dict[str, Any]) -> None:
    assert all(item["outcome"]["state"] == "done" for item in registered["taken"])
    shown = retried("deal", "show", registered["deal"], *town.node("department"), "--json")
    assert [step["step"] for step in shown["steps"]] == [
        "seller",
        "buyer",
        "agent",
        "tax",
        "mortgage",
        "notary",
        "register",
    ]
    taxes = town.at("department", "deal", "taxes", registered["deal"])
    assert taxes == next(step["record"] for step in shown["steps"] if step["step"] == "tax")


def test_a_unit_is_held_and_released_by_an_order(town: Town, registered: dict[str, Any]) -> None:
    order = (
        "440703-000002",
        "--court",
        "江门市蓬江区人民法院",
        "--number",
        "(2026)粤0703执1号",
        "--date",
        "2026-11-01",
    )
    until = (dt.date.today() + dt.timedelta(days=90)).isoformat()
    assert (
        town.at("department", "unit", "hold", *order, "--until", until)["outcome"]["state"]
        == "done"
    )
    held = eventually(lambda: town.at("department", "unit", "holds")["holds"])
    last_second = dt.datetime.fromtimestamp(held[0]["endsAt"], city_zone())
    assert (held[0]["number"], f"{last_second:%Y-%m-%d %H:%M:%S}") == (
        order[0],
        f"{until} 23:59:59",
    )
    # Another node sees the hold a moment later.
    end_hold = ("unit", "end-hold", town["department"], held[0]["unit"], *town.node("agency"))
    assert eventually(lambda: "has not ended yet" in run_command(*end_hold).err)
    assert town.at("department", "unit", "lift", *order)["outcome"]["state"] == "done"


def test_a_price_changed_in_the_agents_file_is_not_signed(
    town: Town, registered: dict[str, Any], tmp_path: Path
) -> None:
    drawn = json.loads(town.path("deal.json").read_text())
    drawn["content"]["price"] = "1"
    changed = tmp_path / "deal.json"
    changed.write_text(json.dumps(drawn), encoding="utf-8")
    key = str(key_of(town, "P-1", "deal"))
    refused = run_command(
        "deal",
        "sign",
        str(changed),
        "--key",
        key,
        "--deployment",
        str(town.deployment),
        *town.stranger("agency"),
        "--yes",
    )
    assert refused.err.startswith("error[deal_differs]: ")


# --- The node -------------------------------------------------------------------------------------


def test_health_reports_each_part_of_a_node(town: Town, admitted: dict[str, Any]) -> None:
    up = output_of("health", *town.stranger("bank"))
    assert {line.split()[0]: line.split()[1] for line in up.splitlines()[1:]}.items() >= {
        "database": "ok",
        "chain": "ok",
        "keys": "ok",
        "clock": "ok",
    }.items()


# --- Before a signature ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(town: Town, published: str) -> str:
    """A grant asked for and not decided."""
    arguments = (
        "grant",
        "request",
        "--asset",
        published,
        "--scene",
        "marketing",
        "--purpose",
        "statistics",
        "--uses",
        "9",
    )
    return str(town.at("bank", *arguments)["grantId"])


BASE_ONLY = """
import sys
from nodes.cli.main import main
code = main(sys.argv[1:])
sys.exit(99 if {"pydantic", "fastapi", "sqlalchemy", "eth_abi", "urllib3", "httptools"} & set(sys.modules) else code)
"""
"""The command as it runs where only the base package is installed."""


def at_terminal(arguments: Sequence[str], typed: str) -> CommandResult:
    """Run a command with somebody at the terminal who types one line."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, (typed + "\n").encode())
        command = [sys.executable, "-c", BASE_ONLY, *arguments]
        ran = subprocess.run(
            command,
            stdin=theirs,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=120,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    return CommandResult(ran.returncode, ran.stdout, ran.stderr)


def refusal(town: Town, asked: str) -> tuple[str, ...]:
    """The officer's command on a machine of the officer's own: the node is reached over the net,
    the network's contracts are the own copy.
    """
    token = town.path("officer.token")
    token.write_text(
        json.loads((town.organisations["department"].plan.directory / "handout.json").read_text())[
            "officer"
        ]
    )
    arguments = (
        "grant",
        "refuse",
        asked,
        "--reason",
        "wrong-purpose",
        "--key",
        officer_key(town, "department"),
        "--json",
    )
    return (
        *arguments,
        *town.stranger("department"),
        "--token-file",
        str(token),
        "--deployment",
        str(town.deployment),
    )


def test_nothing_is_signed_without_confirmation(town: Town, asked: str) -> None:
    nobody = run_command(*refusal(town, asked))
    assert nobody.err.splitlines()[-1].startswith("error[confirmation_missing]: ")
    no = at_terminal(refusal(town, asked), "no")
    assert (no.code, no.err.endswith("error[not_signed]: Nothing was signed.\n")) == (2, True)
    assert town.at("department", "grant", "show", asked)["state"] == "requested"


def test_what_is_signed_is_shown_first(town: Town, asked: str) -> None:
    yes = at_terminal(refusal(town, asked), "yes")
    assert yes.code == 0, yes.err
    shown = yes.err
    for part in (
        "grantee: ",
        town["bank"],
        "columns: age, area",
        "scene and purpose: marketing, statistics",
        "approved: no",
        "reason: wrong-purpose",
    ):
        assert part in shown
    assert eventually(lambda: town.at("department", "grant", "show", asked)["state"] == "refused")


# --- Bad input ------------------------------------------------------------------------------------


def code_of(*arguments: str) -> tuple[int, str]:
    refused = run_command(*arguments)
    last = refused.err.strip().splitlines()[-1]
    assert "Traceback" not in refused.err
    return refused.code, last.partition("]")[0].removeprefix("error[")


def test_keys_that_cannot_sign_are_refused_each_with_its_code(
    town: Town, asked: str, tmp_path: Path
) -> None:
    def approve(*options: str) -> tuple[int, str]:
        return code_of("grant", "approve", asked, *town.node("department"), "--yes", *options)

    other = tmp_path / "other.json"
    create_person_key(other)
    wrong = tmp_path / "wrong"
    wrong.write_text("not the passphrase\n")
    damaged = tmp_path / "damaged.json"
    damaged.write_bytes(Path(officer_key(town, "department")).read_bytes()[:-40])
    (tmp_path / "damaged.json.passphrase").write_text("x\n")
    alone = tmp_path / "alone.json"
    alone.write_bytes(other.read_bytes())
    assert approve("--key", str(other)) == (2, "wrong_signer")
    assert approve("--key", admin_key(town, "department")) == (2, "wrong_signer")
    assert approve("--key", officer_key(town, "department"), "--passphrase-file", str(wrong)) == (
        2,
        "key_passphrase_wrong",
    )
    assert approve("--key", str(tmp_path / "none.json")) == (2, "key_missing")
    assert approve("--key", str(damaged)) == (2, "key_file_corrupt")
    assert approve("--key", str(alone)) == (2, "key_passphrase_missing")


def test_an_officer_is_shown_what_the_grant_is_about_and_who_gets_it_before_signing(
    town: Town, asked: str
) -> None:
    shown = run_command(
        "grant",
        "approve",
        asked,
        *town.node("department"),
        "--key",
        officer_key(town, "department"),
    )
    assert shown.err.splitlines()[-1].startswith("error[confirmation_missing]")
    terms = town.at("department", "grant", "show", asked)["terms"]
    published = town.at("department", "asset", "show", terms["assetId"])["metadata"]
    assert f"title: {published['titleZh']} / {published['titleEn']}" in shown.err
    for member in (terms["owner"], terms["grantee"]):
        assert f"{town.at('department', 'member', 'show', member)['name']} ({member})" in shown.err
    for text in (
        terms["purpose"],
        terms["scene"],
        f"uses at most: {terms['maxUses']}",
        "from: ",
        "until: ",
        "columns: ",
    ):
        assert text in shown.err


def test_unknown_ids_are_refused_each_with_its_code(town: Town, admitted: dict[str, Any]) -> None:
    unknown = "0x" + "ab" * 32
    expected = {
        ("asset", "show"): "asset_unknown",
        ("grant", "show"): "grant_unknown",
        ("agreement", "show"): "unknown_agreement",
        ("deal", "show"): "deal_unknown",
        ("member", "show"): "member_unknown",
        ("member", "proposal"): "proposal_unknown",
    }
    found = {
        arguments: code_of(*arguments, unknown, *town.node("operator")) for arguments in expected
    }
    assert found == {arguments: (2, code) for arguments, code in expected.items()}
    assert code_of("grant", "show", "not-hex", *town.node("operator")) == (2, "field_malformed")


def test_who_has_no_token_or_the_wrong_one_is_refused(
    town: Town, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("grant", "list", *town.stranger("department"))
    assert code_of(*arguments) == (2, "token_missing")
    monkeypatch.setenv("QIAOLIAN_TOKEN", "ql_unknown")
    assert code_of(*arguments) == (2, "access_token_unknown")
    handout = json.loads(
        (town.organisations["department"].plan.directory / "handout.json").read_text()
    )
    monkeypatch.setenv("QIAOLIAN_TOKEN", handout["clerk"])
    assert run_command(*arguments).code == 0
    approve = (
        "grant",
        "approve",
        asked,
        *town.node("department"),
        "--yes",
        "--key",
        officer_key(town, "department"),
    )
    assert code_of(*approve) == (2, "role_missing")
    clerk = tmp_path / "token"
    clerk.write_text(handout["officer"] + "\n")
    assert run_command(*arguments, "--token-file", str(clerk)).code == 0
    assert code_of(*arguments, "--token-file", str(tmp_path / "none")) == (
        2,
        "token_file_unreadable",
    )


def test_a_node_that_is_down_or_not_trusted_is_reported(
    town: Town, admitted: dict[str, Any]
) -> None:
    (port,) = free_ports(1)
    certificate = str(town.organisations["operator"].certificate)
    at = (
        "--url",
        f"https://127.0.0.1:{port}",
        "--certificate",
        certificate,
        "--token-file",
        __file__,
    )
    assert code_of("subject", "status", __file__, *at[:4]) == (2, "file_malformed")
    consent = town.path("down.json")
    consent.write_text(json.dumps({"consent": "0x" + "ab" * 32, "package": {}, "registration": {}}))
    assert code_of("subject", "status", str(consent), *at[:4]) == (4, "node_unreachable")
    other = ("--url", town.organisations["supervisor"].url, "--certificate", certificate)
    assert code_of("subject", "status", str(consent), *other) == (4, "node_wrong_certificate")
    assert code_of(
        "subject",
        "status",
        str(consent),
        "--url",
        "http://127.0.0.1:1",
        "--certificate",
        certificate,
    ) == (2, "url_malformed")
    assert code_of(
        "subject", "status", str(consent), "--url", town.organisations["supervisor"].url
    ) == (2, "certificate_missing")


def test_a_subjects_certificate_for_another_purpose_signs_nothing(
    town: Town, consents: dict[str, str], reported: dict[str, Any], tmp_path: Path
) -> None:
    arguments = (
        "subject",
        "consent",
        "--key",
        str(key_of(town, "A1", "consent")),
        "--bank",
        town["bank"],
        "--deployment",
        str(town.deployment),
    )
    other = str(town.path("A1.dispute.certificate.json"))
    assert code_of(
        *arguments, "--certified", other, "--out", str(tmp_path / "c.json"), "--yes"
    ) == (
        2,
        "certificate_mismatch",
    )
    assert not (tmp_path / "c.json").exists()
    assert code_of(
        "subject",
        "key",
        "--key",
        str(key_of(town, "A1", "consent")),
        "--code",
        "A1",
        "--purpose",
        "consent",
    ) == (2, "key_exists")


def test_a_contract_call_refused_by_the_chain_is_reported_with_the_chains_code(
    town: Town, settled: str
) -> None:
    refused = code_of(
        "money", "withdraw", "--amount", "99999999", "--order", "too-much", *town.node("department")
    )
    assert refused[0] == 2
    assert refused[1] not in ("", "reverted")


# --- After a loss ---------------------------------------------------------------------------------


def carried_out(town: Town, *arguments: str) -> None:
    """A change of the directory proposed at the operator's and approved by two administrators."""
    proposal = town.at("operator", "member", *arguments, "--share-with", town["supervisor"])[
        "proposalId"
    ]
    for name in ("operator", "supervisor"):
        town.at(name, "member", "approve", proposal, "--key", admin_key(town, name), "--yes")
    eventually(lambda: town.at("operator", "member", "proposal", proposal)["executedAt"])


def test_a_lost_officers_key_is_ended_and_another_signs(
    town: Town, published: str, asked: str
) -> None:
    new = town.path("new-officer.json")
    output_of("key", "make", str(new), "--purpose", "approval", "--json")
    lost = output_of("key", "show", officer_key(town, "department"), "--json")["address"]
    arguments = (
        "grant",
        "request",
        "--asset",
        published,
        "--scene",
        "small-loan",
        "--purpose",
        "statistics",
        "--uses",
        "1",
    )
    grant = town.at("bank", *arguments)["grantId"]
    approve = ("grant", "approve", grant, *town.node("department"), "--yes", "--key")
    assert code_of(*approve, str(new)) == (2, "wrong_signer")
    carried_out(
        town,
        "propose-end-key",
        "--fingerprint",
        "0x" + lost[2:].rjust(64, "0"),
        "--reason",
        "key-lost",
    )
    carried_out(
        town, "propose-add-key", "--member", town["department"], "--public", f"{new}.public.json"
    )
    eventually(lambda: run_command(*approve, str(new)).code == 0)
    assert code_of(*approve, officer_key(town, "department")) == (2, "wrong_signer")
    assert eventually(lambda: town.at("department", "grant", "show", grant)["state"] == "approved")
