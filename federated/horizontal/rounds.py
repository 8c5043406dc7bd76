"""Secure aggregation (``secagg``) over the channels of a session.

Each of the five steps is one message from every member and one back. Before its keys go to the
aggregator, a member attests them to every peer over their own channel: it sends a digest of the
keys and a digest of what its vector is computed from. So the aggregator can neither pass off its
own keys as a peer's, nor make members start from different models.

A member that is gone, silent or stopped when its message is due is left out from there on; an
invalid message ends the sum for all. If a listed member cannot be reached by a peer, that peer's
part ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel, Message
from federated.errors import PeerFault
from federated.horizontal.secagg import (
    ADVERT_BYTES,
    CONFIRMATION_BYTES,
    NO_BASIS,
    SEALED_BYTES,
    SecureSumTerms,
    advert_digest,
)
from federated.horizontal.secagg_aggregator import Aggregator
from federated.horizontal.secagg_member import Member
from federated.horizontal.shamir import SHARE_BYTES
from federated.session import Session

ABSENT = frozenset({"peer_gone", "peer_silent", "peer_stalled", "peer_failed"})
_PIECE = 1 << 22  # elements of a vector in one message: 32 MiB at 64 bits

T = TypeVar("T")


@dataclass(frozen=True)
class SecureSum:
    """The exact sum (int64) of the survivors' vectors.

    ``present``: the members that stayed to the end.
    """

    total: NDArray[np.int64]
    survivors: tuple[str, ...]
    present: tuple[str, ...]


async def contribute(
    session: Session,
    aggregator: str,
    terms: SecureSumTerms,
    vector: NDArray[np.int64],
    basis: bytes = NO_BASIS,
) -> tuple[str, ...]:
    """Run a member's side of one sum; return the survivors.

    ``basis``: SHA-256 of what all members' vectors are computed from.

    Raises:
        BadInput: ``length_wrong``, ``value_out_of_range``; PeerFault: ``models_differ`` if a peer
            starts from something else, those of ``Member``, or the aggregator or a listed peer is
            gone.
    """
    channel = session.to(aggregator)
    member = Member(
        terms,
        session.party,
        session.randomness.child(f"secagg/{terms.label}").bytes(32),
    )
    advert = member.advertise()
    # Peers first: a member of the aggregator's list has attested to them, even if it is gone since.
    await send_to_peers(
        session,
        terms.members,
        "secagg/attestation",
        keys=advert_digest(terms, member.name, advert),
        basis=basis,
    )
    await channel.send("secagg/keys", advert=advert)
    roster = _unpack(await channel.receive("secagg/roster"), terms, ADVERT_BYTES)
    attested = {
        peer: await _attestation(session.to(peer), basis)
        for peer in roster
        if peer != session.party
    }
    await _send_table(channel, "secagg/shares", member.share(roster, attested), SEALED_BYTES)
    sealed = _unpack(await channel.receive("secagg/sealed"), terms, SEALED_BYTES)
    masked = await asyncio.to_thread(member.mask, vector, sealed, basis)
    for start in range(0, terms.length, _PIECE):
        await channel.send("secagg/masked", elements=masked[start : start + _PIECE])
    survivors = _names(await channel.receive("secagg/survivors"), terms)
    await _send_table(channel, "secagg/confirm", member.confirm(survivors), CONFIRMATION_BYTES)
    confirmations = _unpack(await channel.receive("secagg/confirmed"), terms, CONFIRMATION_BYTES)
    await _send_table(channel, "secagg/reveal", member.reveal(confirmations), SHARE_BYTES)
    return member.survivors


async def send_to_peers(
    session: Session,
    names: Collection[str],
    kind: str,
    **fields: bytes,
) -> None:
    """Send the same to all of these but this party; peers that are gone are skipped."""
    for name in names:
        if name != session.party:
            try:
                await session.to(name).send(kind, **fields)
            except PeerFault as fault:
                if fault.code not in ABSENT:
                    raise


async def aggregate(
    session: Session, terms: SecureSumTerms, *, absent: Collection[str] = ()
) -> SecureSum:
    """Run the aggregator's side of one sum over ``terms.members``.

    ``absent``: members lost before, which are not waited for.

    Raises:
        PeerFault: ``too_few_members`` if fewer than the threshold remain at some step, and those of
            ``Aggregator``.
    """
    aggregator = Aggregator(terms)
    members = _Members(session, [name for name in terms.members if name not in absent])
    roster = aggregator.collect_keys(await members.receive(_advert))
    await members.send(
        lambda name, channel: _send_table(channel, "secagg/roster", roster, ADVERT_BYTES),
    )
    routed = aggregator.route_shares(
        await members.receive(
            lambda channel: _table(channel, "secagg/shares", terms, SEALED_BYTES),
        ),
    )
    await members.send(
        lambda name, channel: _send_table(channel, "secagg/sealed", routed[name], SEALED_BYTES),
    )
    vectors = await members.receive(lambda channel: _vector(channel, terms))
    survivors = await asyncio.to_thread(aggregator.add_masked, vectors)
    del vectors
    await members.send(
        lambda name, channel: channel.send("secagg/survivors", members=list(survivors)),
    )
    confirmed = aggregator.route_confirmations(
        await members.receive(
            lambda channel: _table(channel, "secagg/confirm", terms, CONFIRMATION_BYTES),
        )
    )
    await members.send(
        lambda name, channel: _send_table(
            channel,
            "secagg/confirmed",
            confirmed[name],
            CONFIRMATION_BYTES,
        )
    )
    revealed = await members.receive(
        lambda channel: _table(channel, "secagg/reveal", terms, SHARE_BYTES),
    )
    return SecureSum(
        await asyncio.to_thread(aggregator.unmask, revealed),
        survivors,
        tuple(members.present),
    )


@dataclass
class _Members:
    """The members still present. They are received from in the terms' order: wires read ahead."""

    session: Session
    present: list[str]

    async def receive(self, read: Callable[[Channel], Awaitable[T]]) -> dict[str, T]:
        received = {name: await self._try(name, read) for name in self.present}
        self.present = [name for name, value in received.items() if value is not None]
        return {name: value for name, value in received.items() if value is not None}

    async def send(self, write: Callable[[str, Channel], Awaitable[None]]) -> None:
        for name in self.present:
            # A member that cannot be reached will be missing from the next step.
            await self._try(name, lambda channel, name=name: write(name, channel))  # type: ignore[misc]

    async def _try(self, name: str, act: Callable[[Channel], Awaitable[T]]) -> T | None:
        try:
            return await act(self.session.to(name))
        except PeerFault as fault:
            if fault.code in ABSENT:
                return None
            raise


async def _attestation(channel: Channel, basis: bytes) -> bytes:
    """Return the digest of its keys that a peer attests, if it starts from the same basis."""
    message = await channel.receive("secagg/attestation")
    if message.blob("basis", len(basis)) != basis:
        sentence = (
            f"{channel.peer} starts from another model than this "
            "party: the aggregator sent different models."
        )
        raise PeerFault("models_differ", sentence, peer=channel.peer)
    return message.blob("keys", 32)


async def _advert(channel: Channel) -> bytes:
    return (await channel.receive("secagg/keys")).blob("advert", ADVERT_BYTES)


async def _table(channel: Channel, kind: str, terms: SecureSumTerms, size: int) -> dict[str, bytes]:
    return _unpack(await channel.receive(kind), terms, size)


async def _vector(channel: Channel, terms: SecureSumTerms) -> NDArray[Any]:
    pieces = []
    for start in range(0, terms.length, _PIECE):
        message = await channel.receive("secagg/masked")
        pieces.append(
            message.array("elements", terms.dtype.name, [min(_PIECE, terms.length - start)]),
        )
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


async def _send_table(channel: Channel, kind: str, table: Mapping[str, bytes], size: int) -> None:
    """Send names and as many byte strings of one size, as rows."""
    rows = np.frombuffer(b"".join(table.values()), np.uint8).reshape(len(table), size)
    await channel.send(kind, members=list(table), rows=rows)


def _unpack(message: Message, terms: SecureSumTerms, size: int) -> dict[str, bytes]:
    names = _names(message, terms)
    rows = message.array("rows", "uint8", [len(names), size])
    return {name: rows[index].tobytes() for index, name in enumerate(names)}


def _names(message: Message, terms: SecureSumTerms) -> Sequence[str]:
    value = message.value("members")
    names = [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
    if names != value or len(set(names)) != len(names):
        raise PeerFault(
            "message_malformed",
            f"{message.peer} sent an invalid list of members.",
            peer=message.peer,
        )
    if not set(names) <= set(terms.members):
        raise PeerFault(
            "members_wrong",
            f"{message.peer} names a party that is not in this sum.",
            peer=message.peer,
        )
    return names
