"""``qiaolian node key``: a node's own keys: what the directory proves of them, their replacement,
their end.

A replacement is a row of steps, each durable before the next, and each found done when the command
is run again: the next key is made, two governors register it, it is put in use at the node's next
start, and the old key is ended once nothing needs it any more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from chain.core.errors import Conflict, NotFound, Unavailable
from chain.statements.members import KeyPurpose
from nodes.cli.command_group import Command, CommandGroup, arg, read
from nodes.cli.governance import proposed
from nodes.cli.output import Columns
from nodes.cli.session import CommandSession
from nodes.initialise import NODE_KEYS
from nodes.keyring import Keyring

REASON = "key-replaced"
_PURPOSES = {name: purpose for purpose, (name, _) in NODE_KEYS.items()}
_RESTARTED = {KeyPurpose.TRANSACTION: "`qiaolian node run` and `qiaolian node outbox`"}

KEYS: Columns = {
    "key": "name",
    "stage": "stage",
    "since block": "sinceBlock",
    "ended": "endedAtBlock",
    "needed by": lambda row: "; ".join(need["sentence"] for need in row["neededBy"]),
    "fingerprint": "fingerprint",
}


def _replace(session: CommandSession, arguments: argparse.Namespace) -> None:
    purpose, ring = _PURPOSES[arguments.purpose], Keyring(session.config)
    ring.publish()
    if ring.next(purpose) is None and (arguments.another or not ring.replaced(purpose)):
        ring.make_next(purpose)
    waiting = _put_next_in_use(session, ring, purpose, arguments.share_with) or _end_replaced(
        session, ring, purpose
    )
    if waiting:
        session.say(f"Not done yet: {waiting}. Run the same command again then.")
    else:
        session.say("One key is live. Make a backup of the node now: older ones lack it.")
    session.show(
        {
            "purpose": arguments.purpose,
            "key": _hex(ring.in_use(purpose)),
            "done": not waiting,
            "waitsFor": waiting or None,
        }
    )


def _put_next_in_use(
    session: CommandSession, ring: Keyring, purpose: KeyPurpose, share_with: list[str]
) -> str:
    """Have the next key registered and put in use, if there is one; what is waited for."""
    changed = ring.next(purpose) is not None
    if changed:
        entry = ring.make_next(purpose)
        key = _hex(entry.fingerprint)
        session.say(f"1/4 The next {NODE_KEYS[purpose][0]} key is in the key store: {key}")
        _require_usable(_row(session, key))
        if _row(session, key)["sinceBlock"] is None:
            proposal = proposed(
                session,
                "addKey",
                {"member": session.config.member, "key": entry.to_json()},
                share_with,
            )
            session.say(
                "2/4 Two governors approve it, each with: qiaolian "
                f"member approve {proposal} --key FILE"
            )
        if not _comes(
            session,
            lambda: _row(session, key)["sinceBlock"] is not None,
            "the governors' approvals",
        ):
            return "the approvals of two governors"
        session.say(f"2/4 The directory holds it since block {_row(session, key)['sinceBlock']}.")
        ring.put_in_use(purpose)
    restart = _RESTARTED.get(purpose, "`qiaolian node run`")
    session.say(f"3/4 In use from the next start on: restart {restart}.")
    if changed and purpose is KeyPurpose.TLS:
        # This command knows the node by its old certificate; the next one that reaches it has
        # proved that it shows the new one.
        return f"the restart of {restart}"
    return (
        ""
        if _comes(
            session, lambda: _row(session, _hex(ring.in_use(purpose)))["loaded"], "the restart"
        )
        else f"the restart of {restart}"
    )


def _require_usable(row: dict[str, Any]) -> None:
    if row["endedAtBlock"] is not None:
        raise Conflict(
            "key_ended",
            f"The next {row['purpose']} key ended in block "
            f"{row['endedAtBlock']} before it was used.",
            hint=f"Move {row['name']}.key.json out of the key store and run the command again.",
        )


def _end_replaced(session: CommandSession, ring: Keyring, purpose: KeyPurpose) -> str:
    """End what was replaced, as far as nothing needs it; what is waited for."""
    for fingerprint in ring.replaced(purpose):
        waiting = _needed_by(session, _hex(fingerprint))
        if waiting:
            return waiting
        _ended(session, ring, purpose, fingerprint, reason=REASON, stolen=False)
    return ""


def _needed_by(session: CommandSession, old: str) -> str:
    """What the old key is needed by, once what passes by itself had time to pass."""
    lasting = [need["sentence"] for need in _row(session, old)["neededBy"] if not need["passes"]]
    if lasting:
        session.say(
            f"4/4 The old key {old} stays live and signs for what pins it, and for nothing else."
        )
        return "; ".join(lasting)
    _request_anchor(session)
    _comes(session, lambda: not _row(session, old)["neededBy"], "what still needs the old key")
    return "; ".join(need["sentence"] for need in _row(session, old)["neededBy"])


def _request_anchor(session: CommandSession) -> None:
    """What the old key signed is to be anchored; the node does so by itself within a minute."""
    session.client.post("/v1/log/anchor", {})


def _ended(
    session: CommandSession,
    ring: Keyring,
    purpose: KeyPurpose,
    fingerprint: bytes,
    *,
    reason: str,
    stolen: bool,
) -> None:
    """End a key on the chain unless it has ended, and note that in its file's name."""
    old = _hex(fingerprint)
    height = _row(session, old)["endedAtBlock"]
    if height is None:
        answer = session.client.post(
            f"/v1/node/keys/{old}/end", {"reason": reason, "stolen": stolen}
        )
        height = session.operation_outcome(answer["operation"])["height"]
    if fingerprint in ring.replaced(purpose):
        ring.mark_ended(purpose, fingerprint, height)
    session.say(f"The key {old} ended in block {height}.")


def _end(session: CommandSession, arguments: argparse.Namespace) -> None:
    purpose, ring = _PURPOSES[arguments.purpose], Keyring(session.config)
    ring.publish()
    held = [*ring.replaced(purpose), ring.in_use(purpose)]
    fingerprint = (
        held[0]
        if arguments.fingerprint is None
        else bytes.fromhex(arguments.fingerprint.removeprefix("0x"))
    )
    _ended(session, ring, purpose, fingerprint, reason=arguments.reason, stolen=arguments.stolen)


def _comes(session: CommandSession, ready: Callable[[], bool], what: str) -> bool:
    """Whether it comes within the time to wait; a node that is being restarted is
    waited for too.
    """

    def look() -> bool:
        try:
            return ready()
        except Unavailable:
            return False

    try:
        return session.wait_until(look, bool, what)
    except Unavailable:
        return False


def _row(session: CommandSession, fingerprint: str) -> dict[str, Any]:
    """What the node says of one of its keys."""
    rows: list[dict[str, Any]] = session.client.get("/v1/node/keys")["keys"]
    found = next((row for row in rows if row["fingerprint"] == fingerprint), None)
    if found is None:
        raise NotFound(
            "key_missing",
            "The node does not see this key in its key store.",
            hint="Is --node the directory of the node that runs?",
        )
    return found


def _hex(fingerprint: bytes) -> str:
    return "0x" + fingerprint.hex()


PURPOSE = arg("purpose", choices=sorted(_PURPOSES), help="which of the node's own keys")
GROUP = CommandGroup(
    (
        Command(
            "show",
            "the node's own keys, proved from the directory, and what still needs a replaced one",
            read("/v1/node/keys", within="keys", columns=KEYS),
            role="administrator",
        ),
        Command(
            "replace",
            "put another key in the place of one; run again, it continues where it stopped",
            _replace,
            (
                PURPOSE,
                arg(
                    "--share-with",
                    action="append",
                    default=[],
                    metavar="MEMBER",
                    help="a governor whose node is handed the proposal; "
                    "repeated (else all that this node knows)",
                ),
                arg(
                    "--another",
                    action="store_true",
                    help="begin once more although the key replaced last is still needed",
                ),
            ),
            role="administrator",
        ),
        Command(
            "end",
            "end a replaced key, or with --stolen any at once",
            _end,
            (
                PURPOSE,
                arg(
                    "--fingerprint",
                    metavar="0x…",
                    help="which one (default: the one replaced first, else the one in use)",
                ),
                arg("--reason", default=REASON, help=f"a code (default {REASON})"),
                arg(
                    "--stolen",
                    action="store_true",
                    help="at once, whatever needs it: what it signs from then on is void",
                ),
            ),
            role="administrator",
        ),
    )
)
