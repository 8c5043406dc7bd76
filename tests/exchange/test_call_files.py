"""Calls by file: each cell is checked, nothing is spent before the start, no row is billed twice,
and what was spent is shown to the fen.
"""

from __future__ import annotations

from typing import Any

import pytest

from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError
from exchange.call_files import rules, service, store
from exchange.call_files.model import CallFileRequest, FileState, FileView, RowState
from exchange.call_files.runner import CallFileRunner
from exchange.catalogue import service as catalogue
from exchange.catalogue.model import CatalogueFilter, Step, Turn
from exchange.catalogue.worker import CatalogueReader
from exchange.metering import spent
from exchange.spending import service as spending
from exchange.spending.model import Alarm
from registry.identifiers import normalised_identifier
from registry.pages import PageRequest
from tests.exchange.conftest import Market

VALID = (4, 17, 90, 105, 118)
"""Numbers whose made-up codes have a right check character."""
PRICE = 50


def code(number: int) -> str:
    return f"92440700MA4W{number:06d}"


def table(*subjects: str) -> bytes:
    return ("subject\n" + "".join(f"{subject}\n" for subject in subjects)).encode()


@pytest.fixture(scope="module")
def grant(market: Market) -> bytes:
    market.offer()
    return market.grant()


@pytest.fixture
def agreement_id(market: Market, grant: bytes) -> bytes:
    found: bytes = market.open(grant, cap=1_000, lanes=2)
    return found


def add(market: Market, agreement_id: bytes, content: bytes, **changes: Any) -> FileView:
    wanted: dict[str, Any] = {"name": "review", "columns": ["seniority", "age"]}
    request = CallFileRequest(agreement_id=agreement_id, content=content, **(wanted | changes))
    return service.add(market.bank.context, request)


def run(market: Market, file_id: str, rounds: int = 20) -> FileView:
    """Rounds of a new runner, as of a new process, until the file ends or stops."""
    runner = CallFileRunner(market.bank.context)
    for _ in range(rounds):
        market.run(runner.round())
        shown = service.view(market.bank.context, file_id)
        if shown.file.state is not FileState.RUNNING:
            break
    return shown


def rows(market: Market, file_id: str) -> dict[int, tuple[RowState, str]]:
    found = service.rows(market.bank.context, file_id, PageRequest(200)).rows
    return {row.line: (row.state, row.code) for row in found}


def test_a_file_is_priced_before_anything_is_spent(market: Market, agreement_id: bytes) -> None:
    shown = add(market, agreement_id, table(*map(code, VALID), code(4), "  ", "9.24E+17"))
    assert shown.file.state is FileState.READY
    assert (shown.progress.valid, shown.progress.rows) == (5, 7)
    cost = shown.preview
    assert (cost.least, cost.most, cost.cap_left, cost.calls_left) == (250, 250, 1_000, 20)
    assert cost.fits
    assert spent.totals(market.bank.context, [agreement_id])[agreement_id].amount == 0


def test_a_file_runs_to_its_end_and_a_bad_row_has_its_code(
    market: Market, agreement_id: bytes
) -> None:
    context = market.bank.context
    unknown = code(960)
    shown = add(market, agreement_id, table(code(4), unknown, "9.24E+17", code(17).lower()))
    service.start(context, shown.file.id)
    ended = run(market, shown.file.id)
    assert ended.file.state is FileState.DONE
    assert rows(market, shown.file.id) == {
        2: (RowState.SERVED, ""),
        3: (RowState.REFUSED, "subject_unknown"),
        4: (RowState.INVALID, "subject_rounded"),
        5: (RowState.SERVED, ""),
    }
    results = {result.row.line: result for result in service.results(context, shown.file.id)}
    assert results[2].record == {"seniority": 4, "age": "30-39"}
    assert len(results[2].receipt) == 32
    assert results[3].record is None
    assert ended.progress.amount == 2 * PRICE
    used = spent.totals(context, [agreement_id])[agreement_id]
    assert (used.amount, used.units) == (2 * PRICE, 2)


def test_no_row_is_billed_twice_after_a_crash(market: Market, agreement_id: bytes) -> None:
    """The calls are made and their outcomes are not stored with the rows, as when a process dies
    between the two.
    """
    context = market.bank.context
    shown = add(market, agreement_id, table(*map(code, VALID)))
    service.start(context, shown.file.id)
    run(market, shown.file.id)

    def forget(session: Any) -> None:
        lost = {"state": RowState.WAITING.value, "code": "", "units": 0, "amount": 0}
        store.set_rows(session, shown.file.id, {line: lost for line in range(2, 7)})
        store.set_state(session, shown.file.id, FileState.RUNNING)

    context.database.write(forget)
    market.bank.restarted()
    ended = run(market, shown.file.id)
    assert (ended.file.state, ended.progress.amount) == (FileState.DONE, 5 * PRICE)
    assert spent.totals(context, [agreement_id])[agreement_id].amount == 5 * PRICE


def test_a_stopped_file_calls_nothing_and_goes_on_where_it_was(
    market: Market, agreement_id: bytes
) -> None:
    context = market.bank.context
    shown = add(market, agreement_id, table(*map(code, VALID)))
    service.start(context, shown.file.id)
    service.stop(context, shown.file.id)
    assert run(market, shown.file.id, rounds=2).progress.ended == 0
    with pytest.raises(Conflict, match="nothing is being called"):
        service.stop(context, shown.file.id)
    service.start(context, shown.file.id)
    assert run(market, shown.file.id).file.state is FileState.DONE
    with pytest.raises(Conflict) as caught:
        service.start(context, shown.file.id)
    assert caught.value.code == "file_not_startable"


def test_a_file_over_the_cap_is_not_started(market: Market, grant: bytes) -> None:
    context = market.bank.context
    agreement_id = market.open(grant, cap=4 * PRICE)
    shown = add(market, agreement_id, table(*map(code, VALID)))
    assert not shown.preview.fits
    with pytest.raises(Conflict) as caught:
        service.start(context, shown.file.id)
    assert caught.value.code == "file_over_cap"
    assert spent.totals(context, [agreement_id])[agreement_id].amount == 0


def test_a_refusal_that_every_row_would_get_stops_the_file(market: Market, grant: bytes) -> None:
    context = market.bank.context
    agreement_id = market.open(grant, cap=4 * PRICE)
    shown = add(market, agreement_id, table(*map(code, VALID[:4])))
    service.start(context, shown.file.id)
    for number in VALID[1:]:
        market.call(agreement_id, number)
    stopped = run(market, shown.file.id)
    assert (stopped.file.state, stopped.file.stop_code) == (FileState.STOPPED, "cap_reached")
    assert set(rows(market, shown.file.id).values()) == {(RowState.WAITING, "cap_reached")}
    keys = [row.key for row in service.rows(context, shown.file.id, PageRequest()).rows]
    assert all(key.endswith("-1") for key in keys), "a refused call's key is used up"
    assert spent.totals(context, [agreement_id])[agreement_id].amount == 4 * PRICE


def test_a_provider_that_cannot_be_reached_is_asked_again(
    market: Market, agreement_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = market.bank.context
    monkeypatch.setattr("exchange.metering.buyer.RETRY_SECONDS", 0.0)
    shown = add(market, agreement_id, table(code(4)))
    service.start(context, shown.file.id)
    peers: Any = context.peers
    peers.broken = True
    try:
        failure = market.run(CallFileRunner(context).round())
    finally:
        peers.broken = False
    assert isinstance(failure, QiaolianError)
    waiting = service.view(context, shown.file.id)
    assert (waiting.file.state, waiting.progress.left) == (FileState.RUNNING, 1)
    assert waiting.file.waiting_code == failure.code
    ended = run(market, shown.file.id)
    assert (ended.file.state, ended.file.waiting_code) == (FileState.DONE, "")
    assert spent.totals(context, [agreement_id])[agreement_id].amount == PRICE


def test_a_removed_file_is_gone_and_its_calls_stay(market: Market, agreement_id: bytes) -> None:
    context = market.bank.context
    shown = add(market, agreement_id, table(code(4)))
    service.start(context, shown.file.id)
    with pytest.raises(Conflict) as caught:
        service.remove(context, shown.file.id)
    assert caught.value.code == "file_running"
    run(market, shown.file.id)
    service.remove(context, shown.file.id)
    with pytest.raises(NotFound):
        service.view(context, shown.file.id)
    assert spent.totals(context, [agreement_id])[agreement_id].amount == PRICE


def test_only_the_buyer_hands_in_files_for_granted_columns(
    market: Market, agreement_id: bytes
) -> None:
    with pytest.raises(Forbidden) as caught:
        add(market, agreement_id, table(code(4)), columns=["seniority", "job"])
    assert caught.value.code == "column_not_granted"
    request = CallFileRequest("x", agreement_id, ["seniority"], table(code(4)))
    with pytest.raises(Forbidden) as refused:
        service.add(market.department.context, request)
    assert refused.value.code == "not_buyer"
    with pytest.raises(NotFound):
        service.view(market.bank.context, "0" * 32)


def test_spending_is_the_sum_of_the_receipts_to_the_fen(market: Market, grant: bytes) -> None:
    context = market.bank.context
    agreement_id = market.open(grant, cap=5 * PRICE, lanes=2)
    for number in VALID[:4]:
        market.call(agreement_id, number)
    found, _ = spending.spending(context, PageRequest(200))
    row = next(one for one in found.agreements if one.agreement_id == agreement_id)
    assert (row.amount, row.units, row.left) == (4 * PRICE, 4, PRICE)
    assert row.months[found.months[-1]] == 4 * PRICE
    assert sum(row.months.values()) == row.amount
    assert Alarm.CAP_NEAR in row.alarms
    assert row.forecast.cap_at is not None
    assert found.by_month[found.months[-1]] == found.total


def test_the_catalogue_is_read_from_chain_and_holder_and_says_whose_turn_it_is(
    market: Market, agreement_id: bytes
) -> None:
    context = market.bank.context
    reader = CatalogueReader(context)
    assert market.run(reader.round()) is None
    found = catalogue.search(context, PageRequest(), CatalogueFilter(text="人员", column="age"))
    (row,) = found.rows
    assert (row.asset_id, row.unit, row.price) == (market.asset_id, "call", PRICE)
    assert "code" not in row.columns, "a column that never leaves is no column of the catalogue"
    nothing = CatalogueFilter(text="人员", column="code")
    assert catalogue.search(context, PageRequest(), nothing).rows == []
    before = market.run(catalogue.course(context, market.asset_id))
    assert (before.current, before.turn) == (Step.CALL, Turn.OWN)
    market.call(agreement_id, 4)
    after = market.run(catalogue.course(context, market.asset_id))
    assert (after.current, after.turn) == (None, Turn.NOBODY)


# --- Reading, without a market --------------------------------------------------------------------


def problems(content: bytes) -> list[tuple[int, str]]:
    return [(row.line, row.problem) for row in rules.read_file(content).rows if row.problem]


def test_identifiers_are_read_in_the_nodes_one_form() -> None:
    read = rules.read_file(f"\ufeffSubject,Consent\n　{code(4).lower()} ,\n".encode())
    assert read.rows[0].subject == code(4)
    assert normalised_identifier("４４０７０１１９９００１０１００１x") == "44070119900101001X"


def test_a_file_in_gb18030_with_chinese_headings_is_read() -> None:
    content = f"名称,主体,同意\n某店,{code(4)},0x{'ab' * 32}\n".encode("gb18030")
    read = rules.read_file(content)
    assert (read.rows[0].subject, read.rows[0].consent) == (code(4), "0x" + "ab" * 32)
    assert list(read.unused_columns) == ["名称"]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("9.24407E+17", "subject_rounded"),
        (code(5), "subject_check_character"),
        ("440701199001010010", "subject_check_character"),
        ("x" * 257, "subject_malformed"),
        ("a\u202eb", "subject_malformed"),
    ],
)
def test_a_cell_that_is_no_identifier_is_named_with_its_line(cell: str, problem: str) -> None:
    assert problems(table("A1", cell, "A2")) == [(3, problem)]


def test_a_row_of_many_lines_and_a_repeated_subject_are_named_by_their_own_line() -> None:
    content = b'subject,note\nA1,"two\nlines"\nA2,\nA1,\n,x\n'
    assert problems(content) == [(5, "row_repeated"), (6, "subject_missing")]
    assert problems(b"subject,consent\nA1,0x12\n") == [(2, "consent_malformed")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "file_header_missing"),
        (b"name\nA1\n", "file_header_missing"),
        (b"subject,subject\nA1,A2\n", "file_header_missing"),
        (b"subject\n\n\n", "file_empty"),
        (b"PK\x03\x04rest", "file_not_text"),
        (b"%PDF-1.7", "file_not_text"),
        (b"subject\nA\x001\n", "file_not_text"),
        (b"subject\n\xff\xff\n", "file_encoding"),
        (b'subject\n"A1\n', "csv_malformed"),
        (b"subject\n" + b"A\n" * 50_001, "file_too_long"),
    ],
)
def test_what_is_no_table_of_subjects_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        rules.read_file(content)
    assert caught.value.code == problem
