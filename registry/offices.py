"""Offices: the members that say whose a one-time key is. Pure.

A department knows people and firms by its office. What a bank, an agency or the operator says of a key is its own word in its own matter, and counts
nowhere: any member could make a key and call it a firm's.
"""

from __future__ import annotations

from collections.abc import Callable

from chain.bundle import Facts
from chain.errors import Forbidden, Inconsistent
from chain.statements import Role
from chain.words import MemberWord, telling

OFFICE = Role.DEPARTMENT
"""Roles are given at admission and never changed, so that an office was one as long as it was a member."""


def require_office(word: MemberWord) -> None:
    """Refuse the word of a member that is no active department: ``issuer_not_office``."""
    if not word.live or not word.has_role(OFFICE):
        raise Forbidden(
            "issuer_not_office",
            "The key is not certified by an active department.",
            hint="Whose a key is, the department that knows the person says.",
        )


def require_shown_office(facts: Facts, member: str, *, at: int) -> None:
    """The same of a bundle: the member is shown to be a department that was active in block ``at``; ``issuer_not_office``, ``state_not_proved``."""
    word = member_at(lambda *names: facts.word(*names).value, member, at)
    if not word.live_at(at) or not word.has_role(OFFICE):
        raise Inconsistent("issuer_not_office", f"A subject's key is certified by {member}, which was no active department then.")


def member_at(read: Callable[..., int], member: str, at: int) -> MemberWord:
    """The word that tells of a member's standing in block ``at``.

    ``read`` gives a word by contract, variable and keys; that of a bundle in the making also adds it.
    """

    def word(variable: str, *keys: str | int) -> MemberWord:
        return MemberWord.decode(read("MemberDirectory", variable, *keys))

    return telling(word("members", member), at, lambda lifted: word("earlierMembers", member, lifted))


def shown_member(facts: Facts, member: str) -> MemberWord:
    """What a bundle proves of a member's standing; ``state_not_proved``."""
    return MemberWord.decode(facts.word("MemberDirectory", "members", member).value)
