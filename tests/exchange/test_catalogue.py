"""The catalogue's search finds Chinese and English words by an index, in every database, and an
asset's course says whose turn it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from chain.core.database import Base, Database
from chain.statements.assets import AssetRecord
from chain.statements.examples import example
from chain.statements.grants import GrantTerms
from exchange.agreements.model import AgreementStage
from exchange.catalogue import rules, store
from exchange.catalogue.model import (
    CatalogueDetails,
    CatalogueFilter,
    OfferSummary,
    OwnAgreement,
    OwnGrant,
    PriceBand,
    Step,
    Turn,
)
from registry.assets.model import CatalogueEntry
from registry.grants.model import GrantState
from registry.pages import PageRequest

NOW = 1_800_000_000
HOLDERS = ("11440700MB2C62170M", "11440700MB2C62171K")


def entry(number: int, **changes: object) -> CatalogueEntry:
    terms = {"name": f"asset-{number}", "category": "employment", "holder": HOLDERS[number % 2]}
    record = replace(example(AssetRecord), **(terms | changes))
    return CatalogueEntry(number.to_bytes(32, "big"), record, number, None, held=False)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Thirty assets; the seventh is described and on offer."""
    made = Database(database_url)
    Base.metadata.create_all(made.engine)

    def fill(session: Session) -> None:
        for number in range(1, 31):
            store.save_entry(session, entry(number))
        seventh = (7).to_bytes(32, "big")
        details = CatalogueDetails(
            "社保缴费记录", "Social security", "参保月数", ["Months", "paid_in"]
        )
        store.save_details(session, seventh, entry(7).record.asset_version, details)
        store.save_offers(session, HOLDERS[1], {seventh: OfferSummary("call", 99, 40 * 86_400)})

    made.write(fill)
    yield made
    made.close()


def found(database: Database, **wanted: object) -> list[int]:
    with database.read() as session:
        rows = store.search(session, PageRequest(200), CatalogueFilter(**wanted)).rows  # type: ignore[arg-type]
    return sorted(int.from_bytes(row.asset_id, "big") for row in rows)


def test_an_asset_is_found_by_parts_of_its_chinese_and_english_words(database: Database) -> None:
    for text in (
        "社保",
        "缴费记录",
        "保",
        "soc",
        "SOCIAL sec",
        "参保月",
        "months",
        "paid_in",
        "社保 emp",
    ):
        assert found(database, text=text) == [7], text
    for text in ("社费", "ocial", "asset-7 老", "！", "社保 nothing", "%", "'", '"'):
        assert found(database, text=text) == [], text
    assert found(database, text="asset-1") == [1, *range(10, 20)]
    assert len(found(database, text="ASSET")) == 30


def test_facets_narrow_a_search(database: Database) -> None:
    assert found(database, price=PriceBand.BELOW_YUAN.value) == [7]
    assert found(database, unit="call", min_days=40) == [7]
    assert found(database, min_days=41) == []
    assert found(database, column="Months") == [7]
    assert len(found(database, holder=HOLDERS[0])) == 15
    assert found(database, holder=HOLDERS[0], column="Months") == []


def test_facets_count_every_asset_that_matches_once(database: Database) -> None:
    with database.read() as session:
        groups = store.groups(session, CatalogueFilter(text="asset"), ("unit", "band"))
    assert sum(group.assets for group in groups) == 30
    assert {group.band: group.assets for group in groups if group.unit} == {"below-1": 1}


def test_a_search_is_read_in_pages(database: Database) -> None:
    seen, cursor = [], ""
    with database.read() as session:
        while True:
            page = store.search(session, PageRequest(7, cursor), CatalogueFilter(text="asset"))
            seen += [row.registered_at for row in page.rows]
            if page.next is None:
                break
            cursor = page.next
    assert seen == list(range(30, 0, -1))


def test_what_changes_at_the_holder_changes_in_the_index(database: Database) -> None:
    def change(session: Session) -> None:
        store.save_offers(session, HOLDERS[1], {})
        store.save_entry(session, replace(entry(8, name="renamed"), cancelled_at=40))

    database.write(change)
    assert found(database, unit="call") == []
    assert found(database, text="renamed", state="cancelled") == [8]
    assert found(database, text="asset-8") == []


def test_a_long_description_is_indexed_up_to_a_bound() -> None:
    assert (
        len(rules.index_terms(["江门" * 5_000, *(f"w{number}" for number in range(5_000))])) <= 400
    )
    assert len(rules.search_terms(" ".join(f"w{number}" for number in range(100)))) == 12


# --- Course ---------------------------------------------------------------------------------------


def grant(state: GrantState = GrantState.APPROVED, until: int = NOW + 1) -> OwnGrant:
    return OwnGrant(bytes(32), replace(example(GrantTerms), not_after=until), state, "")


def agreement(
    state: AgreementStage = AgreementStage.OPEN, until: int = NOW + 1, *, calls: bool = False
) -> OwnAgreement:
    return OwnAgreement(bytes(32), state, until, calls)


@pytest.mark.parametrize(
    ("own", "signed", "offered", "current", "turn", "ended"),
    [
        (None, None, None, Step.REQUEST, Turn.OWN, ""),
        (grant(GrantState.SENT), None, None, Step.DECISION, Turn.CHAIN, ""),
        (grant(GrantState.REQUESTED), None, None, Step.DECISION, Turn.PROVIDER, ""),
        (grant(GrantState.REFUSED), None, None, Step.REQUEST, Turn.OWN, "refused"),
        (grant(GrantState.REVOKED), None, None, Step.REQUEST, Turn.OWN, "revoked"),
        (grant(until=NOW - 1), None, None, Step.REQUEST, Turn.OWN, "expired"),
        (grant(), None, False, Step.OFFER, Turn.PROVIDER, ""),
        (grant(), None, True, Step.AGREEMENT, Turn.OWN, ""),
        (grant(), None, None, Step.AGREEMENT, Turn.OWN, ""),
        (grant(), agreement(AgreementStage.PROPOSED), None, Step.AGREEMENT, Turn.PROVIDER, ""),
        (grant(), agreement(AgreementStage.SIGNED), None, Step.AGREEMENT, Turn.CHAIN, ""),
        (grant(), agreement(), None, Step.CALL, Turn.OWN, ""),
        (grant(), agreement(calls=True), None, None, Turn.NOBODY, ""),
        (grant(), agreement(AgreementStage.FAILED), None, Step.AGREEMENT, Turn.OWN, "failed"),
        (grant(), agreement(AgreementStage.CLOSED), None, Step.AGREEMENT, Turn.OWN, "closed"),
    ],
)
def test_a_course_names_the_step_and_whose_turn_it_is(
    own: OwnGrant | None,
    signed: OwnAgreement | None,
    offered: bool | None,
    current: Step | None,
    turn: Turn,
    ended: str,
) -> None:
    course = rules.course(own, signed, offered=offered, now=NOW)
    assert (course.current, course.turn, course.ended) == (current, turn, ended)
    assert current not in course.done


def test_an_agreement_under_a_revoked_grant_is_not_called_complete() -> None:
    course = rules.course(grant(GrantState.REVOKED), agreement(), offered=None, now=NOW)
    assert (course.current, course.ended) == (Step.REQUEST, "revoked")
