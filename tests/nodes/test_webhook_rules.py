"""Rules of webhooks: addresses, signatures, retries."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from qiaolian_client import webhooks
from sqlalchemy.orm import Session

from chain.core.errors import BadInput
from chain.ethereum.ledger import Event as ChainEvent
from chain.statements.members import Role
from nodes.store import NodeCursor
from nodes.webhooks import events, rules, store
from nodes.webhooks.model import EventKind
from tests.support.console import make_context

INNER = (
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "fe80::1%eth0",
    "fc00::1",
    "ff02::1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "64:ff9b::7f00:1",
)


@pytest.mark.parametrize("address", INNER)
def test_no_inner_address_is_reached(address: str) -> None:
    assert not rules.is_allowed(address, ())


@pytest.mark.parametrize("address", ["203.119.25.1", "8.8.8.8", "::ffff:8.8.8.8", "2400:3200::1"])
def test_a_public_address_is_reached(address: str) -> None:
    assert rules.is_allowed(address, ())


def test_an_inner_network_is_reached_only_where_the_configuration_names_it() -> None:
    allowed = (ipaddress.ip_network("10.20.0.0/16"),)
    assert rules.is_allowed("10.20.3.4", allowed)
    assert rules.is_allowed("::ffff:10.20.3.4", allowed)
    assert not rules.is_allowed("10.21.3.4", allowed)
    assert not rules.is_allowed("127.0.0.1", allowed)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://core.bank.example/hook",
        "http://localhost/hook",
        "ftp://core.bank.example/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user:word@core.bank.example/",
        "https://core.bank.example:0/",
        "https://core.bank.example:99999/",
        "https://core.bank.example/#part",
        "https://core.bank.example/a b",
        "https://core.bank.example/\r\nx-injected: 1",
        "https://core.bank.example/江门",
        "https://core.bank.example/" + "x" * 500,
        "https://[::1",
    ],
)
def test_what_is_no_address_of_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(BadInput) as refused:
        rules.require_url(url)
    assert refused.value.code == "webhook_url_refused"


@pytest.mark.parametrize(
    "url", ["https://a.example/x?y=1", "http://127.0.0.1:8080/", "https://[::1]/"]
)
def test_an_address_with_tls_or_on_loopback_is_taken(url: str) -> None:
    rules.require_url(url)


def test_attempts_follow_ever_more_slowly_and_end_after_three_days() -> None:
    delays = [rules.retry_delay(attempts) for attempts in range(1, 100)]
    assert delays[:4] == [5, 10, 20, 40]
    assert delays == sorted(delays)
    assert delays[-1] == 3_600
    assert not rules.is_given_up(since=0, now=3 * 86_400 - 1)
    assert rules.is_given_up(since=0, now=3 * 86_400)


BODY = (
    b'{"at":1,"data":{},"id":"evt_1","kind":"webhook.test","member":"M","object":"webhook",'
    b'"subject":"wh_1"}'
)
SIGNED = rules.signature(["whsec_a"], at=1_000, body=BODY)


def test_a_receiver_reads_a_delivery_that_its_node_signed() -> None:
    event = webhooks.verify(BODY, SIGNED, secret="whsec_a", now=1_100)
    assert (event.id, event.kind, event.subject) == ("evt_1", "webhook.test", "wh_1")


def test_while_a_secret_is_rotated_either_counts() -> None:
    signed = rules.signature(["whsec_new", "whsec_old"], at=1_000, body=BODY)
    for secret in ("whsec_new", "whsec_old"):
        webhooks.verify(BODY, signed, secret=secret, now=1_000)


@pytest.mark.parametrize(
    ("body", "signature", "secret", "now"),
    [
        (BODY.replace(b"wh_1", b"wh_2"), SIGNED, "whsec_a", 1_000),
        (BODY, SIGNED, "whsec_b", 1_000),
        (BODY, SIGNED, "whsec_a", 1_301),
        (BODY, SIGNED, "whsec_a", 699),
        (BODY, SIGNED.replace("t=1000", "t=1001"), "whsec_a", 1_000),
        (BODY, SIGNED + ",t=1000", "whsec_a", 1_000),
        (BODY, SIGNED.replace("v1=", "v0="), "whsec_a", 1_000),
        (BODY, "t=1000", "whsec_a", 1_000),
        (BODY, "t=1000,v1=", "whsec_a", 1_000),
        (BODY, "t=１０００,v1=é", "whsec_a", 1_000),
        (BODY, "", "whsec_a", 1_000),
        (b"[]", rules.signature(["whsec_a"], at=1_000, body=b"[]"), "whsec_a", 1_000),
    ],
)
def test_anything_else_is_refused(body: bytes, signature: str, secret: str, now: int) -> None:
    with pytest.raises(webhooks.DeliveryRefused):
        webhooks.verify(body, signature, secret=secret, now=now)


def test_an_upgrade_that_takes_all_events_again_tells_no_system_twice(tmp_path: Path) -> None:
    context = make_context(tmp_path, lambda: 1.0, Role.BANK)
    found = [
        ChainEvent(
            "TradeSettlement", "NoticeGiven", {"agreementId": bytes([height]) * 32}, height, b"", 0
        )
        for height in (6, 7, 8)
    ]

    def change(session: Session) -> set[str]:
        session.add(NodeCursor(name="webhooks", height=7, block_hash=b""))
        session.add(
            store.WebhookRow(
                id="a",
                url="https://example.gov.cn",
                description="",
                kinds=[EventKind.AGREEMENT_NOTICE],
                created_at=0,
                active=True,
                disabled_reason="",
                secret=b"",
            )
        )
        session.flush()
        events.note(session, found, context)
        return {event.subject for event in store.new_events(session, limit=10)}

    assert context.database.write(change) == {"0x" + "08" * 32}
    context.ledger.close()
    context.database.close()
