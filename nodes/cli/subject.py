"""``qiaolian subject``: keys, consents and disputes of a firm or citizen, who needs no account.

A key serves one purpose. An issuer that knows the subject certifies it. Any member's node relays
what is signed here and cannot alter it. The files hold the openings of the subject's commitments
and are private (0600).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from chain.core.errors import BadInput
from chain.keys.files import create_person_key, passphrase_file
from chain.keys.passphrase import chosen_passphrase, warn
from nodes.cli.command_group import KEY_OPTIONS, OUT, Command, CommandGroup, arg
from nodes.cli.credit import IDENTITY, identity_of
from nodes.cli.output import when
from nodes.cli.passphrases import given_passphrase
from nodes.cli.session import CommandSession, json_bytes, read_json
from registry.credit.signing import (
    Subject,
    consent_of,
    dispute_of,
    require_certificate,
    sign_consent,
    subject_of,
    withdrawal_of,
)

PURPOSES = ("consent", "dispute", "deal")
CERTIFICATE = arg(
    "--certified",
    type=Path,
    required=True,
    metavar="FILE",
    help="the issuer's certificate of this key",
)
SIGNED = arg("consent", type=Path, help="the file that `qiaolian subject consent` wrote")


def request_file(key: Path) -> Path:
    """Return the path of a key's request."""
    return key.with_name(key.name + ".request.json")


def _key(session: CommandSession, arguments: argparse.Namespace) -> None:
    path: Path = arguments.key
    passphrase = chosen_passphrase(path.name, given_passphrase(path, arguments.passphrase_file))
    subject = Subject(identity_of(arguments), key=create_person_key(path, passphrase))
    session.save(request_file(path), json_bytes(subject.request(purpose=arguments.purpose)))
    session.show(
        {"key": str(path), "address": subject.key.address, "request": str(request_file(path))}
    )
    if passphrase is None:
        warn(path, passphrase_file(path))
    session.say(
        "Take the request to the issuer that knows you; it certifies "
        "the key. Show the request to nobody else."
    )


def _subject(session: CommandSession, arguments: argparse.Namespace) -> Subject:
    request = arguments.request or request_file(arguments.key)
    return subject_of(read_json(request, "subject's request"), session.key())


def _consent(session: CommandSession, arguments: argparse.Namespace) -> None:
    subject, certificate = (
        _subject(session, arguments),
        read_json(arguments.certified, "certificate"),
    )
    require_certificate(certificate, subject, purpose="consent")
    now = int(time.time())
    consent = consent_of(
        subject, bank=arguments.bank, purpose=arguments.purpose, now=now, days=arguments.days
    )
    session.confirm_statement(
        consent,
        subject.key,
        about={
            "lets": consent.bank,
            "query your records for": consent.purpose,
            "until": when(consent.not_after),
        },
    )
    signed = sign_consent(
        subject, consent, certificate, domain=session.deployment.domain("CreditLedger"), now=now
    )
    made = {
        "consent": "0x" + signed.consent_id.hex(),
        "package": signed.package,
        "registration": signed.relayed,
    }
    session.save(arguments.out, json_bytes(made))
    session.show({"consent": made["consent"], "file": str(arguments.out)})
    session.say(
        "Next: qiaolian subject register (any member's node), then qiaolian subject "
        "deliver-consent (the bank's)."
    )


def _register(session: CommandSession, arguments: argparse.Namespace) -> None:
    made = _signed(arguments)
    answer = session.client.post("/v1/consents", made["registration"])
    session.show({**answer, **_consent_status(session, made["consent"], "recordedAt")})


def _deliver_consent(session: CommandSession, arguments: argparse.Namespace) -> None:
    session.show(session.client.post("/v1/consents/held", _signed(arguments)["package"]))


def _withdraw(session: CommandSession, arguments: argparse.Namespace) -> None:
    made = _signed(arguments)
    withdrawal = withdrawal_of(bytes.fromhex(made["consent"][2:]), now=int(time.time()))
    about = {name: made["package"]["consent"][name] for name in ("bank", "purpose")}
    signature = session.sign(
        withdrawal,
        session.key(),
        about={"takes back your consent to": about["bank"], "for": about["purpose"]},
    )
    answer = session.client.post(
        "/v1/consents/withdrawals", {"withdrawal": withdrawal.to_json(), "signature": signature}
    )
    session.show({**answer, **_consent_status(session, made["consent"], "withdrawnAt")})


def _consent_status(session: CommandSession, consent: str, wanted: str) -> dict[str, Any]:
    """Return the consent's status on the chain, after what was sent is in a block."""
    look = f"/v1/consents/{consent}"
    return session.wait_until(
        lambda: dict(session.client.get(look)),
        lambda found: found[wanted] is not None,
        "the chain to have it",
    )


def _status(session: CommandSession, arguments: argparse.Namespace) -> None:
    session.show(session.client.get(f"/v1/consents/{_signed(arguments)['consent']}"))


def _signed(arguments: argparse.Namespace) -> dict[str, Any]:
    made = read_json(arguments.consent, "consent")
    if not isinstance(made, dict) or set(made) != {"consent", "package", "registration"}:
        raise BadInput(
            "consent_malformed",
            f"{arguments.consent.name} is not a file of `qiaolian subject consent`.",
        )
    return made


def _dispute(session: CommandSession, arguments: argparse.Namespace) -> None:
    subject, certificate = (
        _subject(session, arguments),
        read_json(arguments.certified, "certificate"),
    )
    require_certificate(certificate, subject, purpose="dispute")
    held = read_json(arguments.record, "record")
    try:
        department, asset_id, record = (
            held["department"],
            bytes.fromhex(held["assetId"][2:]),
            bytes.fromhex(held["commitment"][2:]),
        )
        about = {"department": department, "record": dict(held["record"])}
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            "record_malformed",
            f"{arguments.record.name} is not what `qiaolian credit record --out` writes.",
        ) from error
    claim = {"column": arguments.column, "says": arguments.says}
    draft = dispute_of(
        subject,
        department=department,
        asset_id=asset_id,
        record=record,
        claim=claim,
        now=int(time.time()),
    )
    signature = session.sign(draft.dispute, subject.key, about={**about, "claim": claim})
    session.client.post("/v1/certificates/shown", subject.shown(certificate))
    session.show(session.client.post("/v1/disputes", draft.body(bytes.fromhex(signature[2:]))))


REQUEST = arg(
    "--request", type=Path, metavar="FILE", help="the key's request file (default KEY.request.json)"
)
GROUP = CommandGroup(
    (
        Command(
            "key",
            "make a key for one purpose, and the request to have it certified",
            _key,
            (
                arg("--key", type=Path, required=True, metavar="FILE", help="the key file to make"),
                arg(
                    "--passphrase-file",
                    type=Path,
                    metavar="FILE",
                    help="a file with the passphrase it is to have",
                ),
                arg("--code", required=True, help="the code your issuer knows you by"),
                IDENTITY,
                arg("--purpose", required=True, choices=PURPOSES, help="what the key is to sign"),
            ),
            role=None,
            node=False,
        ),
        Command(
            "consent",
            "sign a consent to one bank, for one purpose and period",
            _consent,
            (
                arg("--bank", required=True, metavar="MEMBER", help="who may query"),
                arg(
                    "--purpose",
                    default="credit-assessment",
                    help="a code (default credit-assessment)",
                ),
                arg("--days", type=int, default=30, help="for how long (default 30)"),
                CERTIFICATE,
                REQUEST,
                OUT,
                *KEY_OPTIONS,
            ),
            role=None,
            node=False,
        ),
        Command(
            "register",
            "put a signed consent on the chain, through any member's node",
            _register,
            (SIGNED,),
            role=None,
        ),
        Command(
            "deliver-consent",
            "give a signed consent to its bank, at the bank's node",
            _deliver_consent,
            (SIGNED,),
            role=None,
        ),
        Command("status", "show a consent's status on the chain", _status, (SIGNED,), role=None),
        Command(
            "withdraw",
            "take a consent back, through any member's node",
            _withdraw,
            (SIGNED, *KEY_OPTIONS),
            role=None,
        ),
        Command(
            "dispute",
            "dispute a record, at the node of the department that holds it",
            _dispute,
            (
                arg(
                    "record",
                    type=Path,
                    help="what the department's counter wrote for you "
                    "(`qiaolian credit record --out`)",
                ),
                arg("--column", required=True, help="which value is wrong"),
                arg("--says", required=True, help="what is wrong with it"),
                CERTIFICATE,
                REQUEST,
                *KEY_OPTIONS,
            ),
            role=None,
        ),
    )
)
