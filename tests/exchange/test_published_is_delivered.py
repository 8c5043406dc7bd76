"""Only what was granted and published is delivered: operations, purposes, consents, and sources
that change after publication.
"""

from __future__ import annotations

import asyncio
import csv
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chain.core.errors import BadInput, Conflict, Forbidden, QiaolianError
from chain.statements.grants import GrantDecision, Operation
from exchange.agreements import countersigning, proposals
from exchange.agreements import service as agreements
from exchange.agreements.model import ProposalRequest
from exchange.metering import buyer_rules
from exchange.metering import service as metering
from exchange.metering.gateway import Gateway
from exchange.metering.model import CallQuery, CallStatus
from nodes.config import SourceEntry
from nodes.sources import open_source
from registry.assets import changes, incidents, publication, serving
from registry.assets.changes import RowSample
from registry.assets.model import Description, Publication, VersionChanges
from registry.assets.store import OwnAsset, RecordSalt
from registry.grants import service as grants
from registry.grants.model import GrantRequest
from registry.pages import PageRequest
from tests.exchange.conftest import Market
from tests.support.node import sources_of

COLUMNS = ("age", "city", "income", "member")
KEY = "code"
SUBJECTS = [f"S{number:03d}" for number in range(40)]
MASKING = {"age": "range:10", "city": "keep", "income": "round:100", "member": "keep"}


def rows() -> list[dict[str, str]]:
    """The published table as it is written."""
    return [
        {
            KEY: code,
            "age": str(20 + index),
            "city": f"城{index}",
            "income": f"{1000 + index}.50",
            "member": "true" if index % 2 else "false",
        }
        for index, code in enumerate(SUBJECTS)
    ]


def write(path: Path, table: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)


class Shop:
    """A department's CSV file, published and under agreement."""

    def __init__(self, market: Market, path: Path) -> None:
        self.market, self.path = market, path
        self.context = market.department.context
        write(path, rows())
        entry = SourceEntry(url=f"csv://{path}", key=KEY)
        self.source: Any = open_source(
            "table", entry, home=path.parent, index_dir=path.parent / "index"
        )
        sources_of(self.context)["table"] = self.source
        self.asset_id = self.publish(
            "table", purposes={"statistics": False, "public-service": True}
        )
        market.asset_id = self.asset_id
        market.offer()
        self.agreement_id = self.open(Operation.USE)

    def publish(self, name: str, **changed: Any) -> bytes:
        description = Description("表", "Table", "For tests", 2, "test")
        made = publication.publish(
            self.context, Publication(name, "table", description, MASKING, **changed)
        )
        self.market.department.done(made.operation)
        self.market.settle()
        return made.asset_id

    def grant(self, operations: Operation, *, purpose: str = "statistics") -> bytes:
        market, now = self.market, self.context.now()
        wanted = GrantRequest(
            asset_id=self.asset_id,
            asset_version=1,
            owner=market.department.member,
            operations=int(operations),
            scene="test",
            purpose=purpose,
            columns=COLUMNS,
            not_before=now - 100,
            not_after=now + 10_000_000,
            max_uses=10_000,
        )
        made = market.run(grants.request(market.bank.context, wanted))
        market.bank.done(made.operation)
        market.settle()
        grant_id: bytes = made.grant_id
        decision = GrantDecision(
            version=1, grant_id=grant_id, approved=True, reason="agreed", deadline=2**40
        )
        signature = market.department.organisation.officer.sign_digest(
            decision.digest(self.context.domain("GrantRegistry"))
        )
        market.department.done(grants.decide(self.context, grant_id, decision, signature))
        market.settle()
        return grant_id

    def open(self, operations: Operation, *, purpose: str = "statistics") -> bytes:
        opened: bytes = self.market.open(
            self.grant(operations, purpose=purpose), cap=100_000, lanes=8
        )
        return opened

    def ask(self, *subjects: str, agreement_id: bytes | None = None, **changed: Any) -> list[Any]:
        """Calls made at once, so that they travel in few exchanges."""
        asked: dict[str, Any] = {"columns": COLUMNS, "purpose": "statistics"}
        queries = [CallQuery(subject=subject, **(asked | changed)) for subject in subjects]

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(
                *(
                    metering.call(
                        self.market.bank.context, agreement_id or self.agreement_id, query
                    )
                    for query in queries
                )
            )

        return list(self.market.run(all_of_them()))

    def incidents(self) -> list[tuple[str, tuple[str, ...], int | None]]:
        return [
            (found.kind, found.columns, None if found.position is None else found.position + 1)
            for found in incidents.listing(
                self.context, PageRequest(200), asset_id=self.asset_id
            ).rows
        ]

    def forget(self) -> None:
        """Reset the list of incidents and the file."""
        write(self.path, rows())
        self.context.database.write(
            lambda session: session.execute(sa.text("DELETE FROM asset_incident")) and None
        )


@pytest.fixture(scope="module")
def shop(market: Market, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(market, tmp_path_factory.mktemp("shop") / "table.csv")


@pytest.fixture(autouse=True)
def _whole(shop: Shop) -> Iterator[None]:
    yield
    shop.forget()


def served(index: int) -> dict[str, Any]:
    """What an untouched record is delivered as."""
    low, income = (20 + index) // 10 * 10, (1000 + index) // 100 * 100
    return {
        "age": f"{low}-{low + 9}",
        "city": f"城{index}",
        "income": str(income),
        "member": index % 2 == 1,
    }


# --- Operations, purposes, consents ---------------------------------------------------------------


@pytest.mark.parametrize("operation", [Operation.TRAIN, Operation.COMPUTE])
def test_no_record_is_delivered_for_training_or_computing_even_where_that_is_granted(
    shop: Shop, operation: Operation
) -> None:
    agreement_id = shop.open(
        operation | Operation.USE if operation == Operation.TRAIN else operation
    )
    (result,) = shop.ask(SUBJECTS[0], agreement_id=agreement_id, operation=operation)
    assert (result.status, result.reason, result.amount, result.content) == (
        CallStatus.REFUSED,
        "operation_delivers_nothing",
        0,
        None,
    )
    assert "joint model" in buyer_rules.refusal_hint(result.reason)


def test_an_operation_outside_the_grant_is_refused(shop: Shop) -> None:
    (result,) = shop.ask(SUBJECTS[0], operation=Operation.EXPORT)
    assert (result.reason, result.amount) == ("operation_not_granted", 0)


@pytest.mark.parametrize("name", ["steal", "", "USE", "use,view", "vıew", "use "])
def test_an_unknown_operation_is_refused_before_anything_is_signed(name: str) -> None:
    with pytest.raises(BadInput) as refused:
        CallQuery.from_json(
            {
                "columns": ["age"],
                "consent": "",
                "operation": name,
                "purpose": "statistics",
                "subject": "S000",
            }
        )
    assert (refused.value.code, "compute" in refused.value.hint) == ("query_malformed", True)


def test_consent_is_asked_for_where_the_asset_version_lists_that_it_is_needed(shop: Shop) -> None:
    agreement_id = shop.open(Operation.USE, purpose="public-service")
    (result,) = shop.ask(SUBJECTS[0], agreement_id=agreement_id, purpose="public-service")
    assert (result.status, result.reason, result.amount) == (
        CallStatus.REFUSED,
        "consent_missing",
        0,
    )
    (free,) = shop.ask(SUBJECTS[0])
    assert free.status == CallStatus.SERVED


@pytest.fixture
def unlisted(shop: Shop) -> Iterator[None]:
    """The published version's purposes as another metadata would list them; the gateway reads them
    again.
    """
    original = serving.own_published(shop.context, shop.asset_id, 1).metadata.document

    def set_to(metadata: dict[str, Any]) -> None:
        def change(session: Any) -> None:
            session.get_one(OwnAsset, (shop.asset_id, 1)).asset_metadata = metadata

        shop.context.database.write(change)
        shop.market.department.restarted()

    set_to({**original, "purposes": {"anti-fraud": {"consent": False}}})
    yield
    set_to(dict(original))


def test_a_purpose_the_version_does_not_list_is_refused_at_signing_and_at_the_call(
    shop: Shop, unlisted: None
) -> None:
    (result,) = shop.ask(SUBJECTS[0])
    assert (result.status, result.reason, result.amount) == (
        CallStatus.REFUSED,
        "purpose_not_listed",
        0,
    )
    signed = agreements.load(shop.market.bank.context, shop.agreement_id)
    assert signed.terms is not None
    bank, another = shop.market.bank, replace(signed.agreement, nonce=b"\x07" * 32)
    with pytest.raises(Forbidden) as refused:
        countersigning.countersign(
            shop.context, bank.member, another, signed.terms, bank.context.sign(another)
        )
    assert refused.value.code == "purpose_not_listed"
    with pytest.raises(Conflict) as shown:
        shop.market.run(
            proposals.propose(
                bank.context,
                ProposalRequest(grant_id=another.grant_id, cap=1000, offer_hash=bytes(32)),
            )
        )
    assert shown.value.code == "metadata_differs"


def test_a_version_from_before_purposes_were_listed_delivers_nothing_without_consent(
    shop: Shop,
) -> None:
    original = dict(serving.own_published(shop.context, shop.asset_id, 1).metadata.document)
    _set_metadata(shop, {name: value for name, value in original.items() if name != "purposes"})
    try:
        (result,) = shop.ask(SUBJECTS[0])
        assert (result.reason, result.amount) == ("consent_missing", 0)
    finally:
        _set_metadata(shop, original)


def _set_metadata(shop: Shop, metadata: dict[str, Any]) -> None:
    def change(session: Any) -> None:
        session.get_one(OwnAsset, (shop.asset_id, 1)).asset_metadata = metadata

    shop.context.database.write(change)
    shop.market.department.restarted()


# --- Sources that change --------------------------------------------------------------------------


def altered(edit: Callable[[list[dict[str, str]]], Any]) -> list[dict[str, str]]:
    table = rows()
    edit(table)
    return table


def renamed(table: list[dict[str, str]]) -> None:
    for row in table:
        row["town"] = row.pop("city")


def widened(table: list[dict[str, str]]) -> None:
    for row in table:
        row["more"] = "x"


@pytest.mark.parametrize(
    ("edit", "incident"),
    [
        (lambda table: table[3].update(age="24"), ("record_differs", (), 4)),
        (lambda table: table[3].update(age="约30"), ("type_differs", ("age",), 4)),
        (lambda table: table[3].update(income="12,50"), ("type_differs", ("income",), 4)),
        (lambda table: table[3].update(age=""), ("record_differs", (), 4)),
        (lambda table: table.pop(3), ("record_missing", (), 4)),
        (renamed, ("columns_differ", ("city", "town"), 4)),
        (widened, ("columns_differ", ("more",), 4)),
    ],
)
def test_a_record_that_changed_is_refused_unbilled_and_its_owner_is_told_in_which_way(
    shop: Shop,
    edit: Callable[[list[dict[str, str]]], Any],
    incident: tuple[str, tuple[str, ...], int],
) -> None:
    write(shop.path, altered(edit))
    (result,) = shop.ask(SUBJECTS[3])
    assert (result.status, result.reason, result.amount, result.content) == (
        CallStatus.REFUSED,
        "source_drift",
        0,
        None,
    )
    assert shop.incidents() == [incident]
    assert incidents.total(shop.context) == 1


def test_a_row_that_was_never_published_is_refused(shop: Shop) -> None:
    write(shop.path, altered(lambda table: table.append({**table[0], KEY: "S999"})))
    (new, unknown) = shop.ask("S999", "S998")
    assert (new.reason, new.amount, unknown.reason) == ("source_drift", 0, "subject_unknown")
    assert shop.incidents() == [("record_unpublished", (), None)]


def test_a_drifted_record_leaves_the_others_of_its_exchange_alone(shop: Shop) -> None:
    write(shop.path, altered(lambda table: table[3].update(age="约30")))
    results = shop.ask(*SUBJECTS[:8])
    assert [result.reason for result in results] == ["", "", "", "source_drift", "", "", "", ""]
    assert [result.content["record"] for result in results if result.content] == [
        served(index) for index in range(8) if index != 3
    ]


def test_the_same_values_written_in_another_way_are_the_published_record(shop: Shop) -> None:
    write(shop.path, altered(lambda table: table[3].update(income="1003.5")))
    (result,) = shop.ask(SUBJECTS[3])
    assert result.content == {"record": served(3)}


def test_whatever_a_source_raises_for_one_subject_is_that_calls_refusal_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = shop.source.lookup

    def broken(subject: str) -> Any:
        if subject == SUBJECTS[2]:
            raise KeyError("city")
        return look_up(subject)

    monkeypatch.setattr(shop.source, "lookup", broken)
    results = shop.ask(*SUBJECTS[:4])
    assert [(result.reason, result.amount) for result in results] == [
        ("", 50),
        ("", 50),
        ("source_drift", 0),
        ("", 50),
    ]
    assert shop.incidents() == [("source_broken", (), None)]


def test_a_rule_that_cannot_mask_what_was_published_refuses_that_call(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a version published before rules were held against the columns' types."""
    trade = shop.market.run(Gateway.of(shop.context).trade(shop.agreement_id))
    monkeypatch.setitem(trade.served.masking, "city", "range:10")
    refused, narrower = shop.ask(SUBJECTS[0]), shop.ask(SUBJECTS[1], columns=("age",))
    assert [(result.reason, result.amount) for result in (*refused, *narrower)] == [
        ("source_drift", 0),
        ("", 50),
    ]
    assert shop.incidents() == [("masking_failed", ("city",), 1)]


def test_an_unpublished_salt_serves_nothing(shop: Shop) -> None:
    """A record that was published and whose salt was destroyed since is not delivered."""
    with shop.context.database.read() as session:
        row = (
            session.query(RecordSalt)
            .filter_by(asset_id=shop.asset_id, asset_version=1, position=7)
            .one()
        )
    original = {"salt": row.salt}

    def put(salt: bytes) -> None:
        change = (
            sa.update(RecordSalt)
            .where(RecordSalt.asset_id == shop.asset_id, RecordSalt.position == 7)
            .values(salt=salt)
        )
        shop.context.database.write(lambda session: session.execute(change) and None)

    put(b"")
    try:
        (result,) = shop.ask(SUBJECTS[7])
        assert (result.reason, result.amount) == ("source_drift", 0)
    finally:
        put(original["salt"])


ODD = [
    "",
    "约30",
    "0",
    "-1",
    "9" * 14,
    "nan",
    "1e9",
    "true",
    "false",
    " ",
    "'",
    "x\ny",
    '"',
    "０",
    "12.50",
    "None",
    "城0",
]


@pytest.mark.parametrize("rounds", [20, pytest.param(100, marks=pytest.mark.long)])
def test_random_alterations_ten_a_round_are_each_refused_and_bill_nothing(
    shop: Shop, rounds: int
) -> None:
    chance = random.Random(20260)  # reproducible alterations, no secret
    altered_calls, untouched, before = 0, 0, incidents.total(shop.context)
    for _ in range(rounds):
        table, originals, positions = rows(), rows(), chance.sample(range(len(SUBJECTS)), 12)
        touched = positions[:10]
        for index in touched:
            column = chance.choice(COLUMNS)
            others = [
                value
                for value in (*ODD, originals[chance.choice(positions[10:])][column])
                if value != originals[index][column]
            ]
            table[index][column] = chance.choice(others)
        chance.shuffle(table)
        write(shop.path, table)
        results = shop.ask(*(SUBJECTS[index] for index in positions))
        for index, result in zip(positions, results, strict=True):
            if index in touched:
                assert (result.status, result.reason, result.amount, result.content) == (
                    CallStatus.REFUSED,
                    "source_drift",
                    0,
                    None,
                )
                altered_calls += 1
            else:
                assert result.content == {"record": served(index)}
                untouched += 1
    assert (altered_calls, untouched) == (10 * rounds, 2 * rounds)
    assert incidents.total(shop.context) - before == 10 * rounds


# --- Publishing the change ------------------------------------------------------------------------


def test_a_changed_source_is_shown_then_published_as_the_next_version(
    market: Market, tmp_path: Path
) -> None:
    shop = Shop.__new__(Shop)
    shop.market, shop.path, shop.context = market, tmp_path / "next.csv", market.department.context
    write(shop.path, rows())
    shop.source = open_source(
        "table",
        SourceEntry(url=f"csv://{shop.path}", key=KEY),
        home=tmp_path,
        index_dir=tmp_path / "index",
    )
    before, sources_of(shop.context)["table"] = (
        sources_of(shop.context).get("table"),
        shop.source,
    )
    asset_id, market.asset_id = market.asset_id, b""
    try:
        shop.asset_id = market.asset_id = shop.publish("next", purposes={"statistics": False})
        market.offer()
        shop.agreement_id = shop.open(Operation.USE)
        _republished(shop)
    finally:
        market.asset_id = asset_id
        if before is not None:
            sources_of(shop.context)["table"] = before


def _republished(shop: Shop) -> None:
    def edit(table: list[dict[str, str]]) -> None:
        table[3]["age"] = "99"
        del table[5]
        table.append({**table[0], KEY: "S900"})
        widened(table)

    write(shop.path, altered(edit))
    found = changes.compare(shop.context, shop.asset_id, VersionChanges())
    assert (found.added, found.removed) == (RowSample(1, [41]), 1)
    assert found.changed.count == 39  # the new column is part of every record
    assert (found.columns_added, found.columns_removed, found.next_version) == (("more",), (), 2)
    assert found.masking["more"] == "drop"
    again = altered(edit)
    again[0]["age"] = "21"
    write(shop.path, again)
    with pytest.raises(Conflict) as moved:
        changes.republish(
            shop.context, shop.asset_id, VersionChanges(), fingerprint=found.fingerprint
        )
    assert moved.value.code == "source_changed"
    assert serving.own_version(shop.context, shop.asset_id, 2) is None
    write(shop.path, altered(edit))
    made = changes.republish(
        shop.context, shop.asset_id, VersionChanges(), fingerprint=found.fingerprint
    )
    shop.market.department.done(made.operation)
    shop.market.settle()
    assert (made.asset_version, made.require_record().row_count) == (2, 40)
    (old,) = shop.ask(SUBJECTS[3])
    assert (old.reason, old.amount) == ("source_drift", 0)
    for node in (shop.market.bank, shop.market.department):
        shown = agreements.view(node.context, shop.agreement_id)
        assert (shown.newer_version, "Version 2" in shown.hint) == (2, True)
    assert serving.published_record(shop.context, shop.asset_id, 2, SUBJECTS[3])["age"] == 99


def test_a_changed_source_whose_rules_no_longer_fit_is_not_published(shop: Shop) -> None:
    write(shop.path, altered(lambda table: table[3].update(age="约30")))
    with pytest.raises(QiaolianError) as refused:
        changes.compare(shop.context, shop.asset_id, VersionChanges())
    assert (refused.value.code, refused.value.context["column"], refused.value.context["line"]) == (
        "source_row_broken",
        "age",
        5,
    )


def test_a_repaired_record_is_what_is_delivered_whatever_the_source_says(
    market: Market, shop: Shop
) -> None:
    repaired = {KEY: SUBJECTS[4], "age": 77, "city": "城4", "income": "12.50", "member": False}
    made = publication.correct(shop.context, shop.asset_id, overrides={SUBJECTS[4]: repaired})
    market.department.done(made.operation)
    content = serving.published_record(shop.context, shop.asset_id, made.asset_version, SUBJECTS[4])
    assert (content["age"], content["income"]) == (77, "12.5")
    write(shop.path, altered(lambda table: table[4].update(age="1")))
    assert (
        serving.published_record(shop.context, shop.asset_id, made.asset_version, SUBJECTS[4])
        == content
    )
    with pytest.raises(BadInput) as refused:
        publication.correct(
            shop.context, shop.asset_id, overrides={SUBJECTS[4]: {**repaired, "age": "约30"}}
        )
    assert (refused.value.code, refused.value.context["column"]) == ("record_malformed", "age")
