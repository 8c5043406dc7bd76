"""The rows of one node of the made-up network, inserted in bulk through the stores' own tables.

Signatures are made up and log entries of generated records are left out: pages neither check nor
count them. What a page proves is looked up on the chain, which has no record of most of it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from chain.core.database import Base, PreparedStatement
from chain.core.zone import DAY_SECONDS, day_start, local_time, month_start
from chain.keys.files import Secp256k1Signer
from chain.statements.credit import Consent, CreditDispute, CreditQuery
from chain.statements.examples import example
from chain.statements.members import KeyPurpose, Role, SubjectKeyCertificate
from chain.statements.property import DealStep, DealTerms
from chain.statements.trade import UsageReceipt, UsageRequest
from exchange.catalogue.rules import index_terms
from exchange.columns import Fen
from nodes.routers import load_tables
from registry.credit.model import ConsentPackage
from registry.credit.signing import Subject
from scripts.benches.console.network import (
    COLUMNS,
    LANES,
    PRICE,
    PURPOSE,
    YEAR,
    MadeAgreement,
    MadeNetwork,
    hashed,
    subject,
)

Row = dict[str, Any]
Rows = Iterator[tuple[str, Iterable[Row]]]
Say = Callable[[str], None]

AT_ONCE = 5_000
FIRST_NUMBER = 1_000_000
"""Generated rows are numbered from here, where a node numbers its own from 1."""
_KEYS = (KeyPurpose.ADMIN, KeyPurpose.TRANSACTION, KeyPurpose.STATEMENT, KeyPurpose.LOG)
_SIGNATURE, _NO_REASON = bytes(65), ""
_PLACE = ("agreementId", "lane", "seq")
_BLANKS: Mapping[type, Any] = {
    int: 0,
    float: 0.0,
    bool: False,
    str: "",
    bytes: b"",
    dict: {},
    list: [],
}


def fill(
    url: str,
    network: MadeNetwork,
    member: str,
    roles: Role,
    say: Say,
    *,
    filled: str | None = None,
) -> int:
    """Insert a node's rows into its database, which no process has open; how many.

    Args:
        filled: the database of a node that was filled before; what all nodes have is copied.
    """
    load_tables()
    engine, count = sa.create_engine(url), 0
    try:
        with engine.connect() as connection:
            is_sqlite = engine.dialect.name == "sqlite"
            if is_sqlite:
                for setting in _QUICK:
                    connection.exec_driver_sql(f"PRAGMA {setting}")
            copied = _copy(connection, filled) if is_sqlite and filled is not None else frozenset()
            for name, rows in node_rows(network, member, roles):
                if name not in copied:
                    count += _insert(connection, Base.metadata.tables[name], rows)
                    connection.commit()
    finally:
        engine.dispose()
    say(f"{count:,} rows for {', '.join(str(role.name) for role in roles)}")
    return count


_QUICK = ("synchronous=OFF", "cache_size=-1000000")
"""Of SQLite, for a database that need not survive a fall of the machine; a node sets its own when
it opens it.
"""
_SHARED = frozenset(
    (
        "member_directory",
        "member_key",
        "asset_catalogue",
        "exchange_catalogue",
        "exchange_catalogue_column",
        "exchange_catalogue_term",
    )
)
"""Tables that are the same at every node: most of the rows."""


def _copy(connection: sa.Connection, url: str) -> frozenset[str]:
    """Copy what all nodes have from another SQLite database; the tables."""
    path = sa.make_url(url).database
    connection.commit()
    connection.exec_driver_sql("ATTACH DATABASE ? AS filled", (path,))
    for name in sorted(_SHARED):
        connection.exec_driver_sql(f"INSERT OR IGNORE INTO {name} SELECT * FROM filled.{name}")  # noqa: S608
    connection.commit()
    connection.exec_driver_sql("DETACH DATABASE filled")
    return _SHARED


def _insert(connection: sa.Connection, table: sa.Table, rows: Iterable[Row]) -> int:
    """Insert rows as prepared statements do: a million calls would take minutes otherwise. A row
    that the node has of its own stays.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    blank = {column.name: _blank(column) for column in table.c if _needs_value(column)}
    converted = {
        column.name: converter
        for column in table.c
        if (converter := _CONVERTERS.get(type(column.type))) is not None
    }
    statement = PreparedStatement(insert(table).on_conflict_do_nothing())
    count, remaining = 0, iter(rows)
    while part := [{**blank, **row} for row in itertools.islice(remaining, AT_ONCE)]:
        for name in converted.keys() & part[0].keys():
            for row in part:
                row[name] = converted[name](row[name])
        text, values = statement.compile(connection.dialect, part[0])
        connection.exec_driver_sql(text, [values(row) for row in part])
        count += len(part)
    return count


_CONVERTERS: Mapping[type, Callable[[Any], str]] = {
    sa.JSON: lambda value: json.dumps(value, separators=(",", ":")),
    Fen: str,
}
"""How values are written where the driver does not take them as they are."""


def _needs_value(column: sa.Column[Any]) -> bool:
    is_numbered = column.primary_key and column.autoincrement is True
    return not (column.nullable or is_numbered)


def _blank(column: sa.Column[Any]) -> Any:
    if isinstance(column.type, Fen):
        return 0
    is_list = column.default is not None and column.default.is_callable
    return [] if is_list else _BLANKS.get(column.type.python_type, {})


def node_rows(network: MadeNetwork, member: str, roles: Role) -> Rows:
    """Every table of a node of these roles."""
    yield from _members(network)
    yield from _catalogue(network)
    yield from _agreements(network, member)
    yield from _disputes(network)
    yield from _persons(network, member)
    if roles & (Role.DEPARTMENT | Role.BANK | Role.SUPERVISOR):
        yield from _deals(network, disclosed=not roles & Role.SUPERVISOR)
    if roles & Role.DEPARTMENT:
        yield from _own_assets(network)
        yield from _gateway(network, member)
    if roles & Role.BANK:
        yield from _purchases(network, member)
        yield from _consents(network, member)
    if roles & (Role.SUPERVISOR | Role.OPERATOR):
        yield from _flows(network)
        yield from _clearing(network)
    if roles & Role.SUPERVISOR:
        yield from _supervision(network)


# --- Every node -----------------------------------------------------------------------------------


def _members(network: MadeNetwork) -> Rows:
    codes = [*network.banks, *network.departments]
    yield (
        "member_directory",
        (
            {
                "member": code,
                "name": f"{'银行' if code.startswith('91') else '局'} {number}",
                "roles": int(Role.BANK if code.startswith("91") else Role.DEPARTMENT),
                "admitted_at": 1,
                "suspended_at": 2 if number % 100 == 0 else 0,
            }
            for number, code in enumerate(codes)
        ),
    )
    yield (
        "member_key",
        (
            {
                "fingerprint": hashed(f"key {int(purpose)}", number),
                "member": code,
                "purpose": int(purpose),
                "algorithm": 1,
                "from_height": 1,
            }
            for number, code in enumerate(codes)
            for purpose in _KEYS
        ),
    )
    yield (
        "member_proposal",
        (
            {
                "proposal_id": hashed("proposal", number),
                "proposer": network.department,
                "function": "suspend",
                "arguments": {"member": codes[number % len(codes)], "reason": "overdue"},
                "nonce": str(number),
                "deadline": network.now - number * 3_600,
                "executed_at": 1,
            }
            for number in range(network.scale.others // 40)
        ),
    )


def _catalogue(network: MadeNetwork) -> Rows:
    numbers = range(network.scale.assets)
    yield "asset_catalogue", map(lambda number: _catalogue_asset(network, number), numbers)
    yield "exchange_catalogue", map(lambda number: _index_row(network, number), numbers)
    yield (
        "exchange_catalogue_column",
        (
            {"column": column, "number": FIRST_NUMBER + number}
            for number in numbers
            for column in _delivered(number)
        ),
    )
    yield (
        "exchange_catalogue_term",
        (
            {"term": term, "number": FIRST_NUMBER + number}
            for number in numbers
            for term in set(index_terms(_texts(network, number)))
        ),
    )


def _catalogue_asset(network: MadeNetwork, number: int) -> Row:
    asset_id, record = network.asset(number)
    return {
        "asset_id": asset_id,
        "holder": record.holder,
        "name": record.name,
        "asset_version": record.asset_version,
        "grade": record.grade,
        "category": record.category,
        "data_item": record.data_item,
        "row_count": record.row_count,
        "metadata_hash": record.metadata_hash,
        "record": record.to_json(),
        "registered_at": 1 + number,
        "changed_at": 1 + number,
        "held": number % 5_000 == 0,
    }


def _index_row(network: MadeNetwork, number: int) -> Row:
    asset_id, record = network.asset(number)
    return {
        "number": FIRST_NUMBER + number,
        "asset_id": asset_id,
        "registered_at": 1 + number,
        "holder": record.holder,
        "name": record.name,
        "title_zh": network.title(number),
        "title_en": f"Records {number}",
        "version": 1,
        "category": record.category,
        "grade": record.grade,
        "rows": record.row_count,
        "state": "held" if number % 5_000 == 0 else "usable",
        "unit": "call" if number % 3 else "",
        "price": number % 7 * 50 if number % 3 else -1,
        "max_days": number % 365,
        "columns": list(_delivered(number)),
        "described": 1,
    }


def _delivered(number: int) -> tuple[str, ...]:
    return (*COLUMNS[: 1 + number % 4], f"Column{number % 500}")


def _texts(network: MadeNetwork, number: int) -> tuple[str, ...]:
    _, record = network.asset(number)
    columns = _delivered(number)
    return (record.name, record.category, network.title(number), f"Records {number}", *columns)


def _agreements(network: MadeNetwork, member: str) -> Rows:
    yield (
        "exchange_agreement",
        (_agreement_row(network, member, made) for made in network.agreements),
    )
    yield "grants", (_grant_row(network, made) for made in network.of(member))
    yield (
        "exchange_payment",
        (
            {
                "height": FIRST_NUMBER + made.number,
                "log_index": index,
                "kind": "paid",
                "member": made.agreement.provider,
                "agreement_id": made.agreement_id,
                "amount": 1_000,
            }
            for made in network.agreements
            for index in range(3)
        ),
    )


def _agreement_row(network: MadeNetwork, member: str, made: MadeAgreement) -> Row:
    agreement = made.agreement
    sides = {agreement.provider: "provider", agreement.buyer: "buyer"}
    is_closed = made.state == "closed"
    return {
        "agreement_id": made.agreement_id,
        "added": (network.now - network.scale.agreements + made.number) * 10**9,
        "side": sides.get(member, "observer"),
        "state": made.state,
        "provider": agreement.provider,
        "buyer": agreement.buyer,
        "agreement": agreement.to_json(),
        "terms": made.terms.to_json(),
        "provider_signature": _SIGNATURE,
        "buyer_signature": _SIGNATURE,
        "opened_at": 1 + made.number,
        "closed_at": 2 + made.number if is_closed else None,
        "paid": 3_000 if is_closed else 0,
        "refunded": agreement.cap - 3_000 if is_closed else 0,
    }


def _grant_row(network: MadeNetwork, made: MadeAgreement) -> Row:
    ended = made.state == "closed" and made.number % 10 == 0
    return {
        "grant_id": made.terms.struct_hash(),
        "added": (network.now - network.scale.agreements + made.number) * 10**9,
        "owner": made.terms.owner,
        "grantee": made.terms.grantee,
        "terms": made.terms.to_json(),
        "scope": {"columns": list(COLUMNS)},
        "scope_salt": bytes(32),
        "requested_at": 1,
        "approved_at": 2,
        "revoked_at": 3 if ended else None,
    }


def _disputes(network: MadeNetwork) -> Rows:
    count, agreements = network.scale.others // 20, network.agreements
    yield (
        "exchange_dispute",
        (
            {
                "receipt_id": hashed("dispute", number),
                "agreement_id": agreements[number % len(agreements)].agreement_id,
                "receipt": replace(
                    _RECEIPT, agreement_id=agreements[number % len(agreements)].agreement_id
                ).to_json(),
                "claimed_at": 1 + number,
                "ended_at": 2 + number,
                "outcome": 1,
            }
            for number in range(count)
        ),
    )


def _persons(network: MadeNetwork, member: str) -> Rows:
    kinds, objects = ("view", "export", "use", "change", "log-in"), ("asset", "grant", "call")
    yield (
        "console_account",
        (
            {
                "id": f"{number:032x}",
                "login": f"person-{number}",
                "name": f"人员 {number}",
                "roles": ["clerk"],
                "state": "active",
                "created_at": network.now,
            }
            for number in range(min(300, network.scale.members))
        ),
    )
    # ``copy`` comes last and once: a filter by a rare kind has to find it at the other end.
    yield (
        "console_act",
        (
            {
                "at": network.now - network.scale.acts + number,
                "account_id": f"{number % 300:032x}",
                "kind": kinds[number % 5] if number else "copy",
                "object": objects[number % 3],
                "subject": f"0x{number % 1_000:064x}",
                "place": "GET /assets/{asset_id}",
                "outcome": "done",
                "commitment": hashed("act", number),
                "sealed": bytes(300),
            }
            for number in range(network.scale.acts)
        ),
    )
    yield (
        "console_proposal",
        (
            {
                "action": "grant.approve",
                "subject": f"0x{number:064x}",
                "account_id": f"{number:032x}",
                "page": "/grants",
                "at": network.now - number,
            }
            for number in range(20)
        ),
    )
    yield from _webhooks(network)


def _webhooks(network: MadeNetwork) -> Rows:
    events = range(network.scale.others)
    yield (
        "webhook",
        (
            {
                "id": f"wh_{number:021d}",
                "url": "https://example.org/hook",
                "kinds": ["grant.requested"],
                "disabled_reason": "by_hand",
                "created_at": network.now,
            }
            for number in range(20)
        ),
    )
    yield (
        "webhook_event",
        (
            {
                "id": f"{number:036d}",
                "kind": "grant.requested",
                "object": "grant",
                "subject": f"0x{number:064x}",
                "at": network.now - number,
                "data": {},
                "spread": True,
            }
            for number in events
        ),
    )
    yield (
        "webhook_delivery",
        (
            {
                "webhook_id": f"wh_{number % 2:021d}",
                "event_id": f"{number:036d}",
                "state": "delivered",
                "created_at": network.now - number,
                "attempts": 1,
                "status": 204,
                "changed_at": network.now - number,
            }
            for number in events
        ),
    )


def _deals(network: MadeNetwork, *, disclosed: bool) -> Rows:
    terms = [
        replace(_DEAL, unit=hashed("unit", number // 2), nonce=hashed("deal", number))
        for number in range(network.scale.others // 4)
    ]
    yield (
        "property_deal",
        (
            {
                "deal_id": deal.struct_hash(),
                "added": (network.now - number) * 10**9,
                "unit": deal.unit,
                "seller": deal.seller,
                "buyer": deal.buyer,
                "terms": deal.to_json(),
                "certificates": [],
                "opened_at": 1,
                "registered_at": 2 if number % 3 else 0,
            }
            for number, deal in enumerate(terms)
        ),
    )
    yield (
        "property_step",
        (
            {
                "deal_id": deal.struct_hash(),
                "step": step,
                "statement": replace(_STEP, deal_id=deal.struct_hash(), step=step).to_json(),
                "signature": _SIGNATURE if disclosed else None,
                "height": 1,
            }
            for deal in terms
            for step in (1, 2, 3)
        ),
    )


# --- A department ---------------------------------------------------------------------------------


def _own_assets(network: MadeNetwork) -> Rows:
    own = range(network.scale.own_assets)
    yield "asset_own", map(lambda number: _own_asset(network, number), own)
    yield (
        "exchange_offer",
        (
            {
                "asset_id": hashed("asset", number),
                "asset_version": 1,
                "offer": _offer(network, number),
                "changed_at": network.now,
            }
            for number in own
        ),
    )
    yield (
        "asset_record",
        (
            {
                "asset_id": hashed("asset", number),
                "asset_version": 1,
                "position": position,
                "subject": subject(position),
                "salt": bytes(32),
                "commitment": bytes(32),
            }
            for number in own
            for position in range(20)
        ),
    )
    yield (
        "asset_incident",
        (
            {
                "asset_id": hashed("asset", number % len(own)),
                "asset_version": 1,
                "kind": "record_differs",
                "columns": "[]",
                "position": number,
                "calls": 1,
                "first_at": network.now - number,
                "last_at": network.now,
            }
            for number in range(network.scale.others // 4)
        ),
    )
    yield "credit_dispute", map(lambda number: _record_dispute(network, number), own)
    yield (
        "demand_received",
        (
            {
                "bank": network.banks[number % len(network.banks)],
                "demand_id": f"{number:032x}",
                "content": _demand(network, number),
                "posted_at": network.now - number,
            }
            for number in range(network.scale.others // 10)
        ),
    )
    yield (
        "console_draft",
        (
            {
                "draft_id": f"{number:032x}",
                "source": "records",
                "content": _DRAFT,
                "state": "open",
                "created_at": network.now - number,
                "changed_at": network.now,
            }
            for number in range(200)
        ),
    )


_DRAFT: Row = {
    "types": {},
    "masking": {},
    "name": "",
    "description": None,
    "dataItem": "",
    "purposes": {},
    "terms": None,
}


def _own_asset(network: MadeNetwork, number: int) -> Row:
    asset_id, record = network.asset(number)
    document = {
        "titleZh": network.title(number),
        "titleEn": f"Records {number}",
        "description": "",
        "grade": record.grade,
        "category": record.category,
        "masking": dict.fromkeys(COLUMNS, "keep"),
        "purposes": {PURPOSE: {"consent": True}},
        "schema": {"key": "code", "columns": dict.fromkeys(COLUMNS, "text")},
    }
    return {
        "asset_id": asset_id,
        "asset_version": 1,
        "source": "records",
        "state": "published",
        "masking": document["masking"],
        "metadata": document,
        "record": record.to_json(),
        "operation": f"asset/{number}",
    }


def _offer(network: MadeNetwork, number: int) -> Row:
    return {
        "assetId": "0x" + hashed("asset", number).hex(),
        "assetVersion": 1,
        "unit": "call",
        "price": PRICE,
        "maxCap": 10_000_000,
        "maxUnits": 0,
        "maxPerCall": PRICE,
        "maxLanes": LANES,
        "maxSeconds": YEAR * DAY_SECONDS,
        "closeWindowBlocks": 10,
        "closeWindowSeconds": 10,
        "shares": [{"member": network.department, "basisPoints": 10_000}],
        "buyers": [],
        "bond": 0,
        "bondFromEarnings": False,
        "stake": 0,
    }


def _record_dispute(network: MadeNetwork, number: int) -> Row:
    statement = replace(
        _CREDIT_DISPUTE,
        department=network.department,
        asset_id=hashed("asset", number),
        raised_at=network.now - number,
    )
    return {
        "dispute_id": statement.struct_hash(),
        "subject": subject(number),
        "asset_id": statement.asset_id,
        "dispute": statement.to_json(),
        "signature": _SIGNATURE,
        "authority": statement.authority,
        "raised_at": statement.raised_at,
        "claim": {"column": "Records", "says": "不符"},
        "old_record": {"Records": "yes"},
        "opened_at": 1,
    }


def _demand(network: MadeNetwork, number: int) -> Row:
    return {
        "demandId": f"{number:032x}",
        "title": f"需求 {number}",
        "text": "需要企业的纳税信用记录。",
        "purpose": PURPOSE,
        "columns": list(COLUMNS),
        "postedAt": network.now - number,
    }


def _gateway(network: MadeNetwork, member: str) -> Rows:
    yield "exchange_gateway_call", _gateway_calls(network, member)
    yield "exchange_usage", _usage(network, member)
    yield "exchange_usage_month", _usage_by_month(network, member)
    yield (
        "exchange_claimed",
        (
            {
                "agreement_id": made.agreement_id,
                "lane": lane,
                "seq": count // LANES,
                "units": count // LANES,
                "amount": count // LANES * PRICE,
                "height": 2,
            }
            for made, count in network.calls_of(member)
            for lane in range(LANES)
        ),
    )


def _gateway_calls(network: MadeNetwork, member: str) -> Iterator[Row]:
    for made, count in network.calls_of(member):
        for index in range(count):
            request, receipt = _statements(made, index)
            seq = index // LANES + 1
            yield {
                "agreement_id": made.agreement_id,
                "lane": index % LANES,
                "seq": seq,
                "status": "refused" if _is_refused(index) else "served",
                "reason": "consent_missing" if _is_refused(index) else _NO_REASON,
                "request": request,
                "request_hash": bytes(32),
                "request_signature": _SIGNATURE,
                "receipt": receipt,
                "receipt_hash": (made.number * 10**7 + index).to_bytes(32, "big"),
                "receipt_signature": _SIGNATURE,
                "units": seq,
                "amount": seq * PRICE,
                "grant_id": made.agreement.grant_id,
                "at": network.day_of_call(made, index, count),
                "subject": subject(index),
            }


def _is_refused(index: int) -> bool:
    return index % 50 == 49


def _statements(made: MadeAgreement, index: int) -> tuple[str, str]:
    """The texts of a request and of its receipt."""
    place = (
        f'"agreementId":"0x{made.agreement_id.hex()}",'
        f'"lane":{index % LANES},"seq":{index // LANES + 1},'
    )
    return "{" + place + _REQUEST_TEXT, "{" + place + _RECEIPT_TEXT


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _usage_by_month(network: MadeNetwork, member: str) -> Iterator[Row]:
    """The sums of each agreement's days."""
    months: dict[tuple[bytes, int], Row] = {}
    for row in _usage(network, member):
        month = month_start(row["day"])
        key = (row["agreement_id"], month)
        known = months.get(key)
        if known is None:
            months[key] = {"month": month, **row}
            del months[key]["day"], months[key]["columns"]
            continue
        for name in ("served", "refused", "units", "amount"):
            known[name] += row[name]
    yield from months.values()


def _usage(network: MadeNetwork, member: str) -> Iterator[Row]:
    """Counts by day: what the calls add up to."""
    for made, count in network.calls_of(member):
        counts: dict[tuple[int, str], list[int]] = {}
        for index in range(count):
            day = day_start(network.day_of_call(made, index, count))
            columns = _text([] if _is_refused(index) else sorted(COLUMNS[: 1 + index % 2]))
            entry = counts.setdefault((day, columns), [0, 0])
            entry[_is_refused(index)] += 1
        for (day, columns), (served, refused) in counts.items():
            yield {
                "agreement_id": made.agreement_id,
                "day": day,
                "columns": columns,
                "asset_id": made.agreement.asset_id,
                "buyer": made.agreement.buyer,
                "served": served,
                "refused": refused,
                "units": served,
                "amount": served * PRICE,
            }


# --- A bank ---------------------------------------------------------------------------------------


def _purchases(network: MadeNetwork, member: str) -> Rows:
    yield "exchange_buyer_call", _buyer_calls(network, member)
    own, files = network.of(member), range(200)
    yield (
        "exchange_call_file",
        (
            {
                "id": f"{number:032x}",
                "added": (network.now - number) * 10**9,
                "name": f"名单 {number}.csv",
                "agreement_id": own[number % len(own)].agreement_id,
                "columns": list(COLUMNS),
                "unused_columns": [],
                "state": "done",
                "made_at": network.now - number,
                "started_at": network.now - number,
                "ended_at": network.now,
            }
            for number in files
        ),
    )
    yield (
        "exchange_call_file_row",
        (
            {
                "file_id": f"{number:032x}",
                "line": line,
                "subject": subject(line),
                "state": "refused" if _is_refused(line) else "served",
                "code": "consent_missing" if _is_refused(line) else _NO_REASON,
                "units": 1,
                "amount": PRICE,
            }
            for number in files
            for line in range(2, network.scale.others if number == 0 else 50)
        ),
    )


def _buyer_calls(network: MadeNetwork, member: str) -> Iterator[Row]:
    for made, count in network.calls_of(member):
        for index in range(count):
            request, receipt = _statements(made, index)
            seq, number = index // LANES + 1, made.number * 10**7 + index
            yield {
                "agreement_id": made.agreement_id,
                "lane": index % LANES,
                "seq": seq,
                "idempotency_key": f"call-{number}",
                "status": "refused" if _is_refused(index) else "served",
                "reason": "consent_missing" if _is_refused(index) else _NO_REASON,
                "request": request,
                "request_hash": bytes(32),
                "request_signature": _SIGNATURE,
                "query": f'{{"query":{{"subject":"{subject(index)}",{_QUERY_TEXT}',
                "subject": subject(index),
                "receipt": receipt,
                "receipt_hash": number.to_bytes(32, "big"),
                "receipt_signature": _SIGNATURE,
                "answer": _ANSWER,
                "units": seq,
                "amount": seq * PRICE,
                "asked_at": network.day_of_call(made, index, count),
            }


_QUERY_TEXT = f'"columns":{_text(list(COLUMNS))}}},"salt":"0x{"00" * 32}","consent":null}}'
_ANSWER = _text(
    {"content": {"record": dict.fromkeys(COLUMNS, "31"), "proof": None}, "salt": "0x" + "00" * 32}
)


def _consents(network: MadeNetwork, bank: str) -> Rows:
    count = network.scale.others
    packages = (_package(network, bank, number) for number in range(count))
    yield (
        "credit_consent",
        (
            {
                "commitment": package.consent_id(),
                "subject": package.subject(),
                "authority": package.consent.authority,
                "package": package.to_json(),
            }
            for package in packages
        ),
    )
    yield "credit_query", (_report(network, bank, number) for number in range(count))
    yield (
        "demand_own",
        (
            {
                "demand_id": f"{number:032x}",
                "content": _demand(network, number),
                "posted_at": network.now - number,
            }
            for number in range(count // 20)
        ),
    )
    yield (
        "demand_answer",
        (
            {
                "demand_id": f"{number:032x}",
                "department": network.departments[answer],
                "asset_id": hashed("asset", number),
                "answered_at": network.now - number,
            }
            for number in range(count // 20)
            for answer in range(3)
        ),
    )


def _package(network: MadeNetwork, bank: str, number: int) -> ConsentPackage:
    """A signed consent: its page checks both signatures."""
    key = Secp256k1Signer(hashed("subject", number))
    identity = {"code": subject(number), "kind": "sole-trader"}
    consenting = Subject(identity, salt=hashed("identity", number), key=key)
    consent = replace(
        _CONSENT,
        subject=consenting.commitment,
        bank=bank,
        purpose=PURPOSE,
        not_before=network.now - DAY_SECONDS,
        not_after=network.now + YEAR * DAY_SECONDS,
        authority=key.address,
    )
    certificate = replace(
        _CERTIFICATE,
        issuer=network.department,
        subject=consent.subject,
        key=consent.authority,
        purpose="consent",
        not_before=consent.not_before,
        not_after=consent.not_after,
    )
    domain = network.deployment.domain
    return ConsentPackage(
        consent=consent,
        signature=key.sign(consent, domain(consent.contract)),
        salt=hashed("salt", number),
        certificate=certificate,
        certificate_signature=_ISSUER.sign(certificate, domain(certificate.contract)),
        identity=identity,
        identity_salt=consenting.salt,
    )


def _report(network: MadeNetwork, bank: str, number: int) -> Row:
    query = replace(
        _QUERY, bank=bank, report=hashed("report", number), issued_at=network.now - number
    )
    record = {
        "department": network.department,
        "assetId": "0x" + hashed("asset", number % network.scale.own_assets).hex(),
        "record": dict.fromkeys(COLUMNS, "31"),
        "disputed": False,
        "repaired": None,
    }
    return {
        "query_hash": query.struct_hash(),
        "added": (network.now - number) * 10**9,
        "subject": subject(number),
        "statement": query.to_json(),
        "signature": _SIGNATURE,
        "report": {"subject": subject(number), "records": [record], "disputes": []},
        "report_salt": bytes(32),
        "receipts": [],
        "disputes": [],
        "operation": f"query/{number}",
    }


# --- Supervisor and operator ----------------------------------------------------------------------


def _flows(network: MadeNetwork) -> Rows:
    yield (
        "supervision_agreement",
        (
            {
                "agreement_id": made.agreement_id,
                "provider": made.agreement.provider,
                "buyer": made.agreement.buyer,
                "asset_id": made.agreement.asset_id,
                "grant_id": made.agreement.grant_id,
                "opened_at": made.agreement.starts_at,
                "closed_at": made.agreement.ends_at if made.state == "closed" else None,
            }
            for made in network.agreements
        ),
    )
    days = [local_time(network.now - back * DAY_SECONDS)[:10] for back in range(YEAR)]
    months = sorted({day[:7] for day in days})
    parties = {
        (made.agreement.provider, made.agreement.buyer, made.agreement.asset_id): made.number
        for made in network.agreements
    }
    yield (
        "supervision_flow",
        (
            {
                "period": period,
                "provider": provider,
                "buyer": buyer,
                "asset_id": asset_id,
                "calls": 10,
                "units": 10,
                "amount": 10 * PRICE,
            }
            for (provider, buyer, asset_id), number in parties.items()
            for period in (*days[number % 12 :: 12], *months)
        ),
    )
    hour = network.now // 3_600 * 3_600
    yield (
        "supervision_hour",
        ({"hour": hour - back * 3_600, "calls": 100, "amount": 6_000} for back in range(24 * YEAR)),
    )


def _clearing(network: MadeNetwork) -> Rows:
    members, a_day = [*network.banks, *network.departments], max(4, network.scale.members // 2)
    days = [local_time(network.now - back * DAY_SECONDS)[:10] for back in range(1, YEAR)]
    yield (
        "exchange_movement",
        (
            {
                "height": 2 * FIRST_NUMBER - place,
                "log_index": index,
                "at": network.now - (place + 1) * DAY_SECONDS,
                "day": day,
                "kind": "paid",
                "member": members[index % len(members)],
                "agreement_id": network.agreements[index % len(network.agreements)].agreement_id,
                "amount": 100,
            }
            for place, day in enumerate(days)
            for index in range(a_day)
        ),
    )
    yield (
        "exchange_day_sum",
        (
            {"day": day, "member": member, "kind": "paid", "amount": 100, "entries": 1}
            for day in days
            for member in members[:a_day]
        ),
    )
    yield (
        "exchange_day",
        ({"day": day, "kind": "paid", "amount": 100 * a_day, "entries": a_day} for day in days),
    )
    yield (
        "exchange_day_closing",
        (
            {
                "day": day,
                "opening": 0,
                "totals": _text({"paid": [str(100 * a_day), a_day]}),
                "height": 2 * FIRST_NUMBER,
                "closed_at": network.now,
                "digest": hashed("day", place),
            }
            for place, day in enumerate(days)
            if place > 2
        ),
    )


def _supervision(network: MadeNetwork) -> Rows:
    hour = network.now // 3_600 * 3_600
    yield (
        "evidence_copied_hour",
        (
            {
                "hour": hour - back * 3_600,
                "origin": f"qiaolian/{code}/0",
                "entries": 20,
                "receipts": 10,
            }
            for code in network.departments
            for back in range(48)
        ),
    )
    yield (
        "credit_anchored_query",
        (
            {
                "query_hash": hashed("query", number),
                "bank": network.banks[number % len(network.banks)],
                "height": 1 + number,
            }
            for number in range(network.scale.others)
        ),
    )
    yield (
        "reconciliation_run",
        (
            {
                "state": "done",
                "started_at": network.now - number * 3_600,
                "finished_at": network.now - number * 3_600 + 60,
                "agreements": network.scale.agreements,
                "conserved": True,
            }
            for number in range(YEAR)
        ),
    )
    kinds = ("gap", "unreachable", "unclaimed", "price", "revoked_use")
    yield (
        "reconciliation_finding",
        (
            {
                "agreement_id": made.agreement_id,
                "provider": made.agreement.provider,
                "buyer": made.agreement.buyer,
                "kind": kinds[number % 5],
                "sentence": "Positions are missing.",
                "side": "buyer",
                "first_seen": network.now - number,
                "last_seen": network.now,
                "due_at": network.now + DAY_SECONDS,
                "settled_at": network.now if number % 4 else None,
            }
            for number, made in zip(
                range(network.scale.others), itertools.cycle(network.agreements), strict=False
            )
        ),
    )


_RECEIPT = replace(example(UsageReceipt), outcome=1, reason="")
_REQUEST_TEXT, _RECEIPT_TEXT = (
    _text({name: value for name, value in fields.items() if name not in _PLACE})[1:]
    for fields in (
        example(UsageRequest).to_json(),
        {**_RECEIPT.to_json(), "units": 1, "amount": str(PRICE)},
    )
)
"""What all calls have in common, after the opening brace and the place."""
_CREDIT_DISPUTE, _QUERY = example(CreditDispute), example(CreditQuery)
_ISSUER = Secp256k1Signer(hashed("issuer", 0))
_CONSENT, _CERTIFICATE = example(Consent), example(SubjectKeyCertificate)
_DEAL, _STEP = example(DealTerms), example(DealStep)
