"""Publishing: whole or not there, every record committed, one source for a data item."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.core.canonical import dumps
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.eip712 import encode_code
from chain.log import merkle
from chain.statements.commitment import opens
from registry.assets import catalogue, committing, peers, publication, serving
from registry.assets import status as asset_status
from registry.assets.model import Description, Publication
from registry.assets.rules import RECORD_DOMAIN, asset_id_of, require_description
from registry.assets.store import RecordSalt
from registry.masking import mask, masked, require_rules
from registry.sources import SourceColumn
from registry.uscc import ALPHABET, require_valid, with_check_character
from tests.registry.conftest import Network
from tests.support.node import sources_of

PURPOSES = {"credit-assessment": True}
RECORDS = [
    {"subject": f"S{index:05d}", "Age": 20 + index % 50, "Job": "fixed"} for index in range(50)
]


def test_a_published_asset_is_on_the_chain_and_in_everyones_catalogue(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS, masking={"Age": "range:10", "Job": "keep"})
    row = network["bank"].call("GET", f"/v1/assets/0x{asset_id.hex()}", role="clerk")
    assert (row["holder"], row["rowCount"], row["grade"]) == (network["tax"].member, 50, 3)
    assert row["metadata"]["masking"] == {"subject": "drop", "Age": "range:10", "Job": "keep"}
    record = serving.latest_own_version(network["tax"].context, asset_id).require_record()
    assert network.ledger.assets.record_hash(asset_id, 1) == record.struct_hash()
    found = network["bank"].call("GET", f"/v1/assets?q={row['name']}", role="system")["assets"]
    assert [item["assetId"] for item in found] == [row["assetId"]]


def test_every_record_opens_its_commitment_under_the_registered_root(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    record = serving.latest_own_version(network["tax"].context, asset_id).require_record()
    with network["tax"].context.database.read() as session:
        rows = (
            session.query(RecordSalt)
            .filter_by(asset_id=asset_id)
            .order_by(RecordSalt.position)
            .all()
        )
    assert merkle.root_of([merkle.leaf_hash(row.commitment) for row in rows]) == record.records_root
    for row, content in zip(rows, RECORDS, strict=True):
        assert opens(row.commitment, salt=row.salt, domain=RECORD_DOMAIN, record=content)
    assert len({row.salt for row in rows}) == len(RECORDS)


def test_a_publication_that_breaks_off_leaves_nothing_registered_and_can_be_repeated(
    network: Network,
) -> None:
    node = network["tax"]
    name = f"asset-{secrets.token_hex(4)}"

    class Broken:
        def __init__(self) -> None:
            self.name, self.broken = name, True

        def schema(self) -> Any:
            return _rows(network, RECORDS).schema()

        def rows(self) -> Iterator[dict[str, Any]]:
            for index, item in enumerate(RECORDS):
                if self.broken and index == 30:
                    raise BadInput("source_row_broken", "Line 31 of the source is broken.")
                yield item

        def lookup(self, key: str) -> None:
            return None

    source = Broken()
    sources_of(node.context)[name] = source
    wanted = Publication(name, name, _description(), {"Age": "keep"}, purposes=PURPOSES)
    with pytest.raises(BadInput) as refused:
        publication.publish(node.context, wanted)
    assert refused.value.code == "source_row_broken"
    asset_id = asset_id_of(node.member, name)
    with pytest.raises(NotFound):
        serving.served_version(node.context, asset_id, 1)
    source.broken = False
    made = publication.publish(node.context, wanted)
    node.done(made.operation)
    assert made.require_record().row_count == 50
    with node.context.database.read() as session:
        assert session.query(RecordSalt).filter_by(asset_id=asset_id).count() == 50


def test_a_long_publication_tells_how_far_it_is_and_is_not_begun_twice(network: Network) -> None:
    node, name = network["tax"], f"asset-{secrets.token_hex(4)}"
    asset_id, seen = asset_id_of(node.member, name), list[Any]()

    def own() -> dict[str, Any]:
        found = node.call("GET", "/v1/publications?limit=200", role="clerk")["publications"]
        return next(item for item in found if item["assetId"] == f"0x{asset_id.hex()}")

    class Watched:
        def __init__(self) -> None:
            self.name, self._rows = (
                name,
                [
                    {"subject": f"S{place}", "Age": 1}
                    for place in range(committing.ROWS_PER_WRITE + 10)
                ],
            )
            self.schema = _rows(network, self._rows).schema

        def rows(self) -> Iterator[dict[str, Any]]:
            for index, row in enumerate(self._rows):
                if index in (5, len(self._rows) - 1):
                    seen.append(own())
                    with pytest.raises(
                        Conflict, check=lambda error: error.code == "publication_running"
                    ):
                        publication.publish(node.context, wanted)
                yield row

        def lookup(self, key: str) -> None:
            return None

    sources_of(node.context)[name] = Watched()
    wanted = Publication(name, name, _description(), {"Age": "keep"}, purposes=PURPOSES)
    made = publication.publish(node.context, wanted)
    assert [(item["state"], item["rows"], item["operation"]) for item in seen] == [
        ("publishing", 0, None),
        ("publishing", committing.ROWS_PER_WRITE, None),
    ]
    node.done(made.operation)
    assert (own()["state"], own()["rows"], own()["operation"]) == (
        "published",
        committing.ROWS_PER_WRITE + 10,
        made.operation,
    )


def test_the_same_name_twice_is_refused(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    own = serving.latest_own_version(network["tax"].context, asset_id)
    wanted = Publication(own.source, own.source, _description(), {}, purposes=PURPOSES)
    with pytest.raises(Conflict) as refused:
        publication.publish(network["tax"].context, wanted)
    assert refused.value.code == "asset_known"


def test_a_data_item_has_one_source(network: Network) -> None:
    item = f"item-{secrets.token_hex(4)}"
    ended = []
    for owner in ("tax", "registrar"):
        node, name = network[owner], f"asset-{secrets.token_hex(4)}"
        sources_of(node.context)[name] = _rows(network, RECORDS, name)
        made = publication.publish(
            node.context,
            Publication(name, name, _description(), {}, data_item=item, purposes=PURPOSES),
        )
        ended.append(node.outcome(made.operation))
    assert [status.state for status in ended] == ["done", "reverted"]
    assert ended[1].code == "data_item_taken"
    # What the chain refused was never published: the name is free, and the next version number is
    # still the first.
    again = publication.publish(
        node.context, Publication(name, name, _description(), {}, purposes=PURPOSES)
    )
    node.done(again.operation)
    assert again.asset_version == 1
    with pytest.raises(Conflict):
        publication.publish(
            node.context, Publication(name, name, _description(), {}, purposes=PURPOSES)
        )


def test_a_correction_is_the_next_version_and_serves_the_repaired_record(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    context = network["tax"].context
    repaired = {**RECORDS[3], "Age": 99}
    made = publication.correct(context, asset_id, overrides={"S00003": repaired})
    network["tax"].done(made.operation)
    assert serving.served_version(context, asset_id, 2).lookup("S00003") == repaired
    assert serving.served_version(context, asset_id, 1).lookup("S00003") == RECORDS[3]
    assert network.ledger.assets.asset(asset_id).latest_version == 2
    with pytest.raises(NotFound) as refused:
        publication.correct(context, asset_id, overrides={"S99999": repaired})
    assert refused.value.code == "record_unknown"


def test_metadata_that_is_not_what_was_registered_is_refused(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    tax, bank = network["tax"].context, network["bank"].context
    from registry.assets.store import OwnAsset

    def forge(session: Any) -> None:
        row = session.get(OwnAsset, (asset_id, 1))
        row.asset_metadata = {**row.asset_metadata, "titleEn": "Something else"}

    tax.database.write(forge)
    with pytest.raises(Conflict) as refused:
        asyncio.run(peers.describe(bank, asset_id))
    assert refused.value.code == "metadata_differs"


def test_a_supervisor_holds_and_releases_and_the_holder_cancels(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    supervisor, path = network["supervisor"], f"/v1/assets/0x{asset_id.hex()}"
    for _ in range(2):
        supervisor.done(
            supervisor.call("POST", path + "/hold", {"reason": "dispute"}, role="officer")[
                "operation"
            ]
        )
        assert supervisor.call("GET", path.replace("/v1", "/v1"), role="clerk")["held"]
        supervisor.done(supervisor.call("POST", path + "/release", role="officer")["operation"])
        assert not network.ledger.assets.hold(asset_id).held
    network["tax"].done(
        network["tax"].call("POST", path + "/cancel", {"reason": "replaced"}, role="clerk")[
            "operation"
        ]
    )
    assert not network.ledger.assets.asset(asset_id).live
    assert catalogue.find(network["tax"].context, asset_id).cancelled_at is not None


def test_a_strangers_hold_is_refused_by_the_chain(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    operation = asset_status.set_hold(network["bank"].context, asset_id, reason=encode_code("envy"))
    assert network["bank"].outcome(operation).state == "reverted"


def test_a_publication_of_4454_rows_is_counted_whole(network: Network) -> None:
    records = [
        {"subject": f"S{index:05d}", "Age": index % 90, "Job": "fixed", "Assets": index * 7}
        for index in range(4454)
    ]
    asset_id = network.publish("tax", records)
    assert (
        serving.latest_own_version(network["tax"].context, asset_id).require_record().row_count
        == 4454
    )
    assert catalogue.find(network["bank"].context, asset_id).record.row_count == 4454


@pytest.mark.parametrize(
    "missing", [{"title_zh": ""}, {"title_en": ""}, {"description": ""}, {"grade": 0}], ids=str
)
def test_a_description_lacking_a_part_is_refused(missing: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        require_description(replace(_description(), **missing))


@pytest.mark.parametrize("hidden", ["\u202e", "\u200b", "\0", "\ue000", "e\u0301", " "])
def test_a_title_in_which_something_hides_is_refused(hidden: str) -> None:
    require_description(replace(_description(), description="two\nlines", title_zh="从业信息"))
    for name in ("title_zh", "title_en", "description"):
        changed: dict[str, Any] = {name: "Employment" + hidden}
        with pytest.raises(BadInput) as refused:
            require_description(replace(_description(), **changed))
        assert refused.value.code == "asset_description"


# --- Masking --------------------------------------------------------------------------------------


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_a_range_holds_its_value_and_nothing_finer(value: int, width: int) -> None:
    low, high = (int(part) for part in _split(masked(value, f"range:{width}")))
    assert low <= value <= high
    assert high - low == width - 1
    assert masked(low, f"range:{width}") == masked(value, f"range:{width}")


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_rounding_is_to_the_nearest_multiple(value: int, step: int) -> None:
    rounded = masked(value, f"round:{step}")
    assert rounded % step == 0
    assert abs(rounded - value) * 2 <= step


@given(st.text(max_size=30), st.integers(1, 10))
def test_a_prefix_shows_no_more_than_its_length(value: str, length: int) -> None:
    shown = masked(value, f"prefix:{length}")
    assert len(shown) == len(value)
    assert shown[:length] == value[:length]
    assert set(shown[length:]) <= {"*"}


@pytest.mark.parametrize("rule", ["keep", "constant", "range:10", "round:10", "prefix:2"])
def test_an_absent_value_stays_absent(rule: str) -> None:
    assert masked(None, rule) is None


@pytest.mark.parametrize(
    "rule",
    ["range:0", "range:-1", "keep:1", "hash", "", "range:" + "9" * 13, "range:1e3", "keep\n"],
)
def test_a_malformed_rule_is_refused(rule: str) -> None:
    with pytest.raises(BadInput) as refused:
        require_rules({"Age": rule}, [SourceColumn("Age", "integer")])
    assert refused.value.code == "masking_rule_malformed"


def test_a_column_without_a_rule_never_leaves_the_gateway() -> None:
    rules = require_rules(
        {"Age": "keep"}, [SourceColumn("Age", "integer"), SourceColumn("Job", "text")]
    )
    with pytest.raises(Forbidden) as refused:
        mask({"Age": 1, "Job": "x"}, ["Job"], rules)
    assert refused.value.code == "column_withheld"
    with pytest.raises(BadInput) as unknown:
        mask({"Age": 1}, ["Height"], rules)
    assert unknown.value.code == "column_unknown"


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("secret", "range:10"),
        ("约30", "round:10"),
        (True, "range:10"),
        (True, "prefix:1"),
        ("1e5", "round:1"),
    ],
)
def test_a_value_its_rule_does_not_fit_is_an_error_and_never_hidden_silently(
    value: Any, rule: str
) -> None:
    with pytest.raises(BadInput) as refused:
        mask({"Age": value}, ["Age"], {"Age": rule})
    assert (refused.value.code, refused.value.context) == ("masking_failed", {"column": "Age"})


# --- Codes ----------------------------------------------------------------------------------------


@given(st.text(ALPHABET, min_size=17, max_size=17), st.integers(0, 17), st.integers(1, 30))
def test_one_wrong_letter_never_passes(first17: str, position: int, shift: int) -> None:
    code = with_check_character(first17)
    assert require_valid(code) == code
    wrong = ALPHABET[(ALPHABET.index(code[position]) + shift) % 31]
    with pytest.raises(BadInput):
        require_valid(code[:position] + wrong + code[position + 1 :])


@pytest.mark.parametrize("code", ["", "1" * 17, "91440703MA00000I0O", None, 5])
def test_what_is_no_code_is_refused(code: Any) -> None:
    with pytest.raises(BadInput) as refused:
        require_valid(code)
    assert refused.value.code == "wrong_check_character"


def test_metadata_is_hashed_in_canonical_form(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    own = serving.latest_own_version(network["tax"].context, asset_id)
    assert (
        own.require_record().metadata_hash
        == hashlib.sha256(dumps(dict(own.metadata.document))).digest()
    )


def _split(shown: str) -> tuple[str, str]:
    cut = shown.index("-", 1)
    return shown[:cut], shown[cut + 1 :]


def _description() -> Description:
    return Description("数据", "Data", "for tests", 3, "test")


def _rows(network: Network, records: list[dict[str, Any]], name: str = "rows") -> Any:
    sources = sources_of(network["tax"].context)
    kind = type(next(source for source in sources.values() if hasattr(source, "records")))
    return kind(name, records)
