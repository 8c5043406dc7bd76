"""``qiaolian node key``: a node's own keys: what the directory proves of them, their replacement, their end.

A replacement is a row of steps, each durable before the next, and each found done when the command is run again: the next key is made, two
governors register it, it is put in use at the node's next start, and the old key is ended once nothing needs it any more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from chain.errors import Conflict, Unavailable
from chain.statements import KeyPurpose
from nodes.initialise import NODE_KEYS
from nodes.keyring import Keyring
from scripts.people.desk import Desk
from scripts.people.governance import proposed
from scripts.people.show import Columns
from scripts.people.verb import Noun, Verb, arg, read

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


def _replace(desk: Desk, arguments: argparse.Namespace) -> None:
    purpose, ring = _PURPOSES[arguments.purpose], Keyring(desk.config)
    ring.publish()
    if ring.next(purpose) is None and (arguments.another or not ring.replaced(purpose)):
        ring.make_next(purpose)
    waiting = _put_next_in_use(desk, ring, purpose, arguments.share_with) or _end_replaced(desk, ring, purpose)
    if waiting:
        desk.say(f"Not done yet: {waiting}. Run the same command again then.")
    else:
        desk.say("One key is live. Make a backup of the node now: older ones lack it.")
    desk.show({"purpose": arguments.purpose, "key": _hex(ring.in_use(purpose)), "done": not waiting, "waitsFor": waiting or None})


def _put_next_in_use(desk: Desk, ring: Keyring, purpose: KeyPurpose, share_with: list[str]) -> str:
    """Have the next key registered and put in use, if there is one; what is waited for."""
    changed = ring.next(purpose) is not None
    if changed:
        entry = ring.make_next(purpose)
        key = _hex(entry.fingerprint)
        desk.say(f"1/4 The next {NODE_KEYS[purpose][0]} key is in the key store: {key}")
        _require_usable(_row(desk, key))
        if _row(desk, key)["sinceBlock"] is None:
            proposal = proposed(desk, "addKey", {"member": desk.config.member, "key": entry.to_json()}, share_with)
            desk.say(f"2/4 Two governors approve it, each with: qiaolian member approve {proposal} --key FILE")
        if not _comes(desk, lambda: _row(desk, key)["sinceBlock"] is not None, "the governors' approvals"):
            return "the approvals of two governors"
        desk.say(f"2/4 The directory holds it since block {_row(desk, key)['sinceBlock']}.")
        ring.put_in_use(purpose)
    restart = _RESTARTED.get(purpose, "`qiaolian node run`")
    desk.say(f"3/4 In use from the next start on: restart {restart}.")
    if changed and purpose is KeyPurpose.TLS:
        # This command knows the node by its old certificate; the next one that reaches it has proved that it shows the new one.
        return f"the restart of {restart}"
    return "" if _comes(desk, lambda: _row(desk, _hex(ring.in_use(purpose)))["loaded"], "the restart") else f"the restart of {restart}"


def _require_usable(row: dict[str, Any]) -> None:
    if row["endedAtBlock"] is not None:
        raise Conflict(
            "key_ended",
            f"The next {row['purpose']} key ended in block {row['endedAtBlock']} before it was used.",
            hint=f"Move {row['name']}.key.json out of the key store and run the command again.",
        )


def _end_replaced(desk: Desk, ring: Keyring, purpose: KeyPurpose) -> str:
    """End what was replaced, as far as nothing needs it; what is waited for."""
    for fingerprint in ring.replaced(purpose):
        waiting = _needed_by(desk, _hex(fingerprint))
        if waiting:
            return waiting
        _ended(desk, ring, purpose, fingerprint, reason=REASON, stolen=False)
    return ""


def _needed_by(desk: Desk, old: str) -> str:
    """What the old key is needed by, once what passes by itself had time to pass."""
    lasting = [need["sentence"] for need in _row(desk, old)["neededBy"] if not need["passes"]]
    if lasting:
        desk.say(f"4/4 The old key {old} stays live and signs for what pins it, and for nothing else.")
        return "; ".join(lasting)
    _request_anchor(desk)
    _comes(desk, lambda: not _row(desk, old)["neededBy"], "what still needs the old key")
    return "; ".join(need["sentence"] for need in _row(desk, old)["neededBy"])


def _request_anchor(desk: Desk) -> None:
    """What the old key signed is to be anchored; the node does so by itself within a minute."""
    desk.client.post("/v1/log/anchor", {})


def _ended(desk: Desk, ring: Keyring, purpose: KeyPurpose, fingerprint: bytes, *, reason: str, stolen: bool) -> None:
    """End a key on the chain unless it has ended, and note that in its file's name."""
    old = _hex(fingerprint)
    height = _row(desk, old)["endedAtBlock"]
    if height is None:
        answer = desk.client.post(f"/v1/node/keys/{old}/end", {"reason": reason, "stolen": stolen})
        height = desk.ended(answer["operation"])["height"]
    if fingerprint in ring.replaced(purpose):
        ring.mark_ended(purpose, fingerprint, height)
    desk.say(f"The key {old} ended in block {height}.")


def _end(desk: Desk, arguments: argparse.Namespace) -> None:
    purpose, ring = _PURPOSES[arguments.purpose], Keyring(desk.config)
    ring.publish()
    held = [*ring.replaced(purpose), ring.in_use(purpose)]
    fingerprint = held[0] if arguments.fingerprint is None else bytes.fromhex(arguments.fingerprint.removeprefix("0x"))
    _ended(desk, ring, purpose, fingerprint, reason=arguments.reason, stolen=arguments.stolen)


def _comes(desk: Desk, ready: Callable[[], bool], what: str) -> bool:
    """Whether it comes within the time to wait; a node that is being restarted is waited for too."""

    def look() -> bool:
        try:
            return ready()
        except Unavailable:
            return False

    try:
        return desk.until(look, bool, what)
    except Unavailable:
        return False


def _row(desk: Desk, fingerprint: str) -> dict[str, Any]:
    """What the node says of one of its keys."""
    rows: list[dict[str, Any]] = desk.client.get("/v1/node/keys")["keys"]
    found = next((row for row in rows if row["fingerprint"] == fingerprint), None)
    if found is None:
        raise Conflict("key_missing", "The node does not see this key in its key store.", hint="Is --node the directory of the node that runs?")
    return found


def _hex(fingerprint: bytes) -> str:
    return "0x" + fingerprint.hex()


PURPOSE = arg("purpose", choices=sorted(_PURPOSES), help="which of the node's own keys")
NOUN = Noun(
    (
        Verb(
            "show",
            "the node's own keys, proved from the directory, and what still needs a replaced one",
            read("/v1/node/keys", within="keys", columns=KEYS),
            role="administrator",
        ),
        Verb(
            "replace",
            "put another key in the place of one; run again, it goes on where it stopped",
            _replace,
            (
                PURPOSE,
                arg("--share-with", action="append", default=[], metavar="MEMBER", help="a governor whose node is handed the proposal; repeated"),
                arg("--another", action="store_true", help="begin once more although the key replaced last is still needed"),
            ),
            role="administrator",
        ),
        Verb(
            "end",
            "end a replaced key, or with --stolen any at once",
            _end,
            (
                PURPOSE,
                arg("--fingerprint", metavar="0x…", help="which one (default: the one replaced first, else the one in use)"),
                arg("--reason", default=REASON, help=f"a code (default {REASON})"),
                arg("--stolen", action="store_true", help="at once, whatever needs it: what it signs from then on is void"),
            ),
            role="administrator",
        ),
    )
)
