"""Whose signature it is: a signer's member, by the node's own proved view of the directory."""

from __future__ import annotations

from chain.context import Context
from chain.crypto import recover
from chain.eip712 import Statement
from chain.errors import Forbidden
from chain.statements import KeyPurpose
from chain.view import Word
from chain.words import KeyWord, MemberWord


def fingerprint_of(address: str) -> bytes:
    """A secp256k1 key's place in the directory: its address, left-padded to 32 bytes."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def member_that_signed(context: Context, statement: Statement, signature: bytes, *purposes: KeyPurpose) -> str:
    """The member whose live key, of one of the purposes, signed; empty when it is nobody's.

    A suspended member's statements still count here; ``require_signed_by`` asks for an active one.
    """
    signer = recover(statement.digest(context.domain(statement.contract)), signature)
    word = KeyWord.decode(context.view.word("MemberDirectory", "keys", fingerprint_of(signer)).value)
    return word.member if word.live and word.purpose in purposes else ""


def require_signed_by(context: Context, member: str, statement: Statement, signature: bytes, *purposes: KeyPurpose) -> None:
    """Refuse a statement that is not signed with a live key of an active member: ``wrong_signer``."""
    found = member_that_signed(context, statement, signature, *purposes)
    if not found or found != member or not _active(context, member):
        name = type(statement).__name__
        raise Forbidden("wrong_signer", f"The {name} is not signed with a live key of the member it should be by.")


def require_signed_at(context: Context, member: str, statement: Statement, signature: bytes, height: int, *purposes: KeyPurpose) -> None:
    """The same of a statement that the chain took from its active member in that block: the key was live then, whatever became of it since."""
    signer = recover(statement.digest(context.domain(statement.contract)), signature)
    word = KeyWord.decode(context.view.word("MemberDirectory", "keys", fingerprint_of(signer)).value)
    if word.member != member or word.purpose not in purposes or not word.live_at(height):
        name = type(statement).__name__
        raise Forbidden("wrong_signer", f"The {name} is not signed with a key of the member it should be by that was live when the chain took it.")


def _active(context: Context, member: str) -> bool:
    (word,) = context.view.words([Word("MemberDirectory", "members", (member,))])
    return MemberWord.decode(word.value).live
