"""``qiaolian log``: the node's own evidence log, and forks of others' logs it caught as a witness."""

from __future__ import annotations

from scripts.people.show import Columns
from scripts.people.verb import PAGE, Noun, Verb, change, read, read_pages

FORKS: Columns = {"log": "origin", "found at": "foundAt", "one": "first", "other": "second"}

NOUN = Noun(
    (
        Verb("show", "size, newest checkpoint and anchor of the own log", read("/v1/log")),
        Verb("anchor", "checkpoint and anchor now", change("/v1/log/anchor"), role="administrator"),
        Verb(
            "forks",
            "forks of others' logs this node caught",
            read_pages("/v1/log/forks", within="forks", columns=FORKS),
            PAGE,
            "auditor",
        ),
    )
)
