"""What readiness shows to whom, and what each check finds."""

from __future__ import annotations

import pytest

from chain.core.errors import Unavailable
from chain.ethereum.records import KeyRecord
from chain.statements.members import KeyPurpose
from nodes.clocks import ClockStatus, judge, offset_to_peer
from nodes.findings import (
    Cosigning,
    PeerStatus,
    State,
    WorkerStatus,
    of_certificate,
    of_clock,
    of_cosignatures,
    of_keys,
    of_peer_clocks,
    of_peers,
    of_worker,
)
from nodes.readiness import Dependency, for_strangers, readiness_of
from nodes.workers.status import WorkerMonitor
from registry.uscc import with_check_character

BANK = with_check_character("11440700MB2N0D001")
OTHER = with_check_character("11440700MB2N0D002")
THIRD = with_check_character("11440700MB2N0D003")
NOW = 1_800_000_000.0
DAY = 86_400


def part(
    name: str, state: State, *, code: str = "", detail: str = "", required: bool = True
) -> Dependency:
    return Dependency(
        name=name, state=state, code=code, detail=detail, hint="do it", required=required
    )


# --- What is shown to whom ------------------------------------------------------------------------


def test_strangers_see_that_claims_are_at_risk_and_neither_how_much_nor_until_when() -> None:
    detail = "1060 fen under 1 agreement are acknowledged and not claimed; they can be lost after 2026-03-02."
    claims = part("claims", State.FAILING, code="claims_at_risk", detail=detail)
    outbox = part("outbox", State.FAILING, code="outbox_lagging", detail="waited 130 s")
    shown = for_strangers(readiness_of([outbox, claims]))
    assert shown.dependencies[0] == outbox
    assert (shown.dependencies[1].up, shown.dependencies[1].code) == (False, "claims_at_risk")
    assert not any(
        character.isdigit()
        for character in shown.dependencies[1].detail + shown.dependencies[1].hint
    )


def test_strangers_see_no_other_member_and_no_worker() -> None:
    peers = part(
        "peers",
        State.WARNING,
        code="peer_unreachable",
        detail=f"{OTHER} does not answer",
        required=False,
    )
    clocks = part(
        "peer clocks",
        State.WARNING,
        code="peer_clock_off",
        detail=f"{OTHER} is off",
        required=False,
    )
    worker = part(
        "worker witness", State.WARNING, code="witness_incomplete", detail=OTHER, required=False
    )
    shown = for_strangers(readiness_of([peers, clocks, worker]))
    assert OTHER not in shown.model_dump_json()
    assert [(found.name, found.state) for found in shown.dependencies] == [
        ("peers", State.WARNING),
        ("peer clocks", State.WARNING),
        ("workers", State.WARNING),
    ]


def test_a_node_is_ready_while_only_parts_fail_that_it_does_not_require() -> None:
    source = part("source people", State.FAILING, required=False)
    assert (readiness_of([source]).ready, readiness_of([source]).state) == (True, State.FAILING)
    assert not readiness_of([part("keys", State.FAILING)]).ready
    assert readiness_of([part("certificate", State.WARNING)]).ready


# --- Keys and certificates ------------------------------------------------------------------------


def record(purpose: KeyPurpose, *, end: int = 0, start: int = 7, member: str = BANK) -> KeyRecord:
    return KeyRecord(start, end, int(purpose), 1, member)


def test_an_ended_key_is_named_with_its_purpose_and_block() -> None:
    records = {
        KeyPurpose.STATEMENT: record(KeyPurpose.STATEMENT, end=131),
        KeyPurpose.TLS: record(KeyPurpose.TLS),
    }
    found = of_keys(records, BANK)
    assert (found.state, found.code) == (State.FAILING, "key_ended")
    assert "STATEMENT key ended in block 131" in found.detail
    assert "TLS" not in found.detail


@pytest.mark.parametrize(
    "recorded",
    [
        record(KeyPurpose.LOG, start=0),
        record(KeyPurpose.LOG, member=OTHER),
        record(KeyPurpose.TOKEN),
    ],
)
def test_a_key_that_the_directory_does_not_hold_for_this_member_and_purpose_fails(
    recorded: KeyRecord,
) -> None:
    found = of_keys({KeyPurpose.TLS: record(KeyPurpose.TLS), KeyPurpose.LOG: recorded}, BANK)
    assert (found.state, found.code) == (State.FAILING, "key_not_in_directory")
    assert "LOG key" in found.detail


def test_a_node_that_is_not_admitted_yet_is_warned_of_it() -> None:
    found = of_keys({KeyPurpose.LOG: record(KeyPurpose.LOG, start=0)}, BANK)
    assert (found.state, found.code) == (State.WARNING, "not_admitted")


@pytest.mark.parametrize(
    ("days", "state", "code"),
    [
        (825, State.OK, ""),
        (40, State.WARNING, "certificate_ends_soon"),
        (-1, State.FAILING, "certificate_expired"),
    ],
)
def test_a_certificate_is_warned_of_before_its_end(days: int, state: State, code: str) -> None:
    found = of_certificate(NOW + days * DAY, NOW)
    assert (found.state, found.code) == (state, code)


def test_a_peers_certificate_that_ends_soon_is_a_warning_that_names_the_member() -> None:
    found = of_peers([PeerStatus(OTHER)], {OTHER: NOW + 3 * DAY, THIRD: NOW + 300 * DAY}, NOW)
    assert (found.state, found.code) == (State.WARNING, "peer_certificate_ends_soon")
    assert OTHER in found.detail
    assert THIRD not in found.detail


# --- Clocks ---------------------------------------------------------------------------------------


def test_a_clock_that_differs_from_the_blocks_is_named_with_its_offset() -> None:
    found = of_clock(-600.0, 5.0)
    assert (found.state, found.code) == (State.FAILING, "clock_off")
    assert "600 s behind" in found.detail


def test_peers_that_lie_do_not_make_a_clock_wrong_that_agrees_with_the_blocks() -> None:
    status = judge(0.4, {OTHER: 600.0, THIRD: 600.0})
    assert not status.own_off
    assert status.peers == {OTHER: -599.6, THIRD: -599.6}


def test_a_chain_node_that_lags_behind_does_not_make_a_clock_wrong_that_agrees_with_the_peers() -> (
    None
):
    assert not judge(90.0, {OTHER: 0.0, THIRD: 0.0}).own_off
    assert judge(90.0, {}).own_off


def test_without_block_time_most_peers_decide_and_one_alone_does_not() -> None:
    assert judge(None, {OTHER: 600.0, THIRD: 601.0}).own_off
    one_of_two = judge(None, {OTHER: 600.0, THIRD: 0.0})
    assert (one_of_two.own_off, set(one_of_two.peers)) == (False, {OTHER})
    alone = judge(None, {OTHER: 600.0})
    assert (alone.own_off, alone.peers, alone.undecided) == (False, {}, (OTHER, 600.0))
    assert of_peer_clocks(alone).code == "clocks_differ"
    assert judge(None, {}) == ClockStatus()


def test_a_slow_answer_shows_no_offset_and_a_wrong_date_none_at_all() -> None:
    date = b"Fri, 15 Jan 2027 08:00:00 GMT"
    assert offset_to_peer(NOW - 1, NOW + 40, date) == 0.0
    assert offset_to_peer(NOW + 600, NOW + 601, date) == 598.0
    assert offset_to_peer(NOW - 600, NOW - 599, date) == -599.0
    assert offset_to_peer(NOW, NOW, b"yesterday") is None


# --- Workers and witnesses ------------------------------------------------------------------------


def failed(times: int, *, partial: bool = False) -> WorkerMonitor:
    monitor = WorkerMonitor(lambda: NOW)
    monitor.succeeded("witness")
    for _ in range(times):
        monitor.begun("witness")
        monitor.failed(
            "witness", Unavailable("peer_unreachable", "It is away.", hint="wait"), partial=partial
        )
    return monitor


def test_a_worker_that_keeps_failing_is_reported_with_its_age() -> None:
    (status,) = failed(3).statuses()
    soon = of_worker(status, NOW + 60)
    assert (soon.state, soon.code) == (State.WARNING, "peer_unreachable")
    assert "3 times in 60 s (last success 60 s ago)" in soon.detail
    assert of_worker(status, NOW + 3_601).state == State.FAILING
    (once,) = failed(1).statuses()
    assert of_worker(once, NOW + 60).state == State.OK


def test_work_that_fails_with_some_members_only_stays_a_warning() -> None:
    (status,) = failed(3, partial=True).statuses()
    assert of_worker(status, NOW + 3_601).state == State.WARNING


def test_a_success_ends_the_failures_of_a_worker() -> None:
    monitor = failed(5)
    monitor.succeeded("witness")
    (status,) = monitor.statuses()
    assert of_worker(status, NOW).state == State.OK


def test_a_round_that_does_not_end_is_reported() -> None:
    found = of_worker(WorkerStatus("projector", running_since=NOW - 400), NOW)
    assert (found.state, found.code) == (State.WARNING, "worker_stuck")


def test_a_log_that_no_witness_cosigns_is_reported_with_its_age() -> None:
    found = of_cosignatures(Cosigning(int(NOW) - 900, int(NOW) - 800), NOW)
    assert (found.state, found.code) == (State.WARNING, "cosignature_late")
    assert "800 s" in found.detail
    assert "900 s ago" in found.detail
    assert of_cosignatures(Cosigning(int(NOW) - 900, None), NOW).state == State.OK
