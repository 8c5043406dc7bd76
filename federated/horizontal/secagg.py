"""Secure aggregation: the sum of the members' vectors and nothing else (Bonawitz et al., CCS 2017).

Two state machines without I/O, a ``Member`` and an ``Aggregator``, go through these steps. A member
that is missing from one is left out of the next:

1. *keys*: each member makes two X25519 keys and a self-mask seed, and advertises the public keys
   and a digest of the seed.
2. *shares*: each checks that the keys it receives are its peers', splits its masking key and its
   seed among all (Shamir), and seals one share of both for every peer.
3. *masked*: each adds to its vector the self-mask and, for every peer that shared, the pairwise
   mask: the lower name adds it, the higher subtracts it.
4. *survivors*: the aggregator names the members whose vectors arrived; each member confirms to each
   peer, under their pairwise key, the list it received.
5. *reveal*: members whose confirmations agree reveal one share each: of the self-mask seeds of
   survivors, of the masking keys of the others.

A member follows these rules, whatever messages it receives:

- It shares with no peer whose keys come from the aggregator alone: each peer attests its own keys,
  over a channel or by a signature.
- It answers *survivors* at most once and *reveal* at most once, and reveals for each peer either
  the seed's share or the key's, never both.
- It reveals nothing if its own vector is reported missing, or if fewer than ``threshold`` vectors
  would be in the sum.
- It reveals nothing unless ``threshold`` members including itself confirmed the same list, over the
  same keys, the same senders of shares and the same basis: what all vectors were computed from.

Since ``threshold`` is more than half, no two different lists find enough answers, even if the
aggregator lies to half of the members. How many members may collude with the aggregator is bounded
by that and by the sum itself: see ``min_threshold``. A step refused because of the peer is a
``PeerFault``; because of the caller, a ``BadInput``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput, Conflict, PeerFault
from federated.horizontal import masks, shamir
from federated.randomness import Randomness

ADVERT_BYTES = 3 * masks.KEY_BYTES  # sealing key, masking key, digest of the self-mask seed
SEALED_BYTES = 2 * shamir.SHARE_BYTES + masks.TAG_BYTES
CONFIRMATION_BYTES = 32
NO_BASIS = bytes(32)
MAX_MEMBERS = 256
MAX_LENGTH = 1 << 28


def min_threshold(members: int, colluders: int = 0) -> int:
    """Return the least threshold that is safe against ``colluders`` members.

    Colluders tell the aggregator all they know. A sum without their own parts must still be of two
    vectors or more: ``colluders + 2``. And two different lists of survivors must not both find
    enough answers where the colluders answer both: twice the threshold is more than ``members +
    colluders``.
    """
    return max(colluders + 2, (members + colluders) // 2 + 1)


@dataclass(frozen=True)
class SecureSumTerms:
    """What all parties agree on before one sum.

    ``label`` names the sum and must never be reused (job and round). ``length``: elements of a
    vector. ``bound``: the largest magnitude of one element. ``bits`` (32 or 64): the ring; the sum
    of all bounds stays below 2**(bits-1), so that no sum wraps. ``threshold`` members must remain.

    Raises:
        BadInput: ``too_few_members``, ``threshold_wrong``, ``ring_too_small``,
            ``aggregation_terms``.
    """

    label: str
    members: tuple[str, ...]
    length: int
    bound: int
    bits: int = 64
    threshold: int = 0  # 0: the least allowed, more than half

    def __post_init__(self) -> None:
        least = min_threshold(len(self.members))
        object.__setattr__(self, "threshold", self.threshold or least)
        if not 3 <= len(self.members) <= MAX_MEMBERS or len(set(self.members)) != len(self.members):
            raise BadInput(
                "too_few_members",
                f"A sum that hides its parts needs 3 to {MAX_MEMBERS} different members.",
            )
        if not least <= self.threshold <= len(self.members):
            raise BadInput(
                "threshold_wrong",
                f"The threshold must be from {least} (more than half) to {len(self.members)}.",
            )
        if self.bits not in (32, 64) or not 1 <= self.length <= MAX_LENGTH or self.bound < 1:
            raise BadInput(
                "aggregation_terms",
                f"Rings have 32 or 64 bits, vectors 1 to {MAX_LENGTH} "
                "elements, and the bound is at least 1.",
            )
        if len(self.members) * self.bound >= 1 << (self.bits - 1):
            raise BadInput(
                "ring_too_small",
                f"{len(self.members)} vectors up to {self.bound} could wrap in {self.bits} bits.",
                hint="Use 64 bits, or a lower clip.",
            )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the terms, bound into every key: members with other terms share no keys."""
        parts = [self.label, list(self.members), self.length, self.bound, self.bits, self.threshold]
        return hashlib.sha256(
            json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode(),
        ).digest()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ring's elements."""
        return np.dtype(f"uint{self.bits}")

    def point(self, member: str) -> int:
        """Return the point of this member's shares: 1 for the first."""
        return self.members.index(member) + 1

    def check_set(
        self,
        names: Collection[str],
        what: str,
        *,
        within: Collection[str] | None = None,
    ) -> None:
        """Check that these are enough different members, all of ``within``.

        Raises:
            PeerFault: ``too_few_members``, ``members_wrong``.
        """
        known = self.members if within is None else within
        if len(set(names)) != len(names) or not set(names) <= set(known):
            raise PeerFault(
                "members_wrong",
                f"The list of {what} names someone twice or someone who is not in this sum.",
            )
        if len(names) < self.threshold:
            raise PeerFault(
                "too_few_members",
                f"Only {len(names)} of {len(self.members)} {what}; "
                f"{self.threshold} are needed, so nothing is revealed.",
            )


def pair_label(terms: SecureSumTerms, use: str, first: str, second: str) -> bytes:
    """Return the label of a key for one use, from one member to another."""
    ends = b"".join(
        len(name.encode()).to_bytes(2, "big") + name.encode() for name in (first, second)
    )
    return use.encode() + b"/" + terms.digest + ends


def add_pair_mask(
    terms: SecureSumTerms,
    vector: NDArray[Any],
    key: bytes,
    peer_key: bytes,
    owner: str,
    peer: str,
    *,
    undo: bool = False,
) -> None:
    """Add the mask that ``owner`` puts on its vector for ``peer``, or remove it."""
    low, high = sorted((owner, peer))
    mask_key = masks.agree(key, peer_key, pair_label(terms, "mask", low, high))
    masks.add_mask(vector, mask_key, subtract=(owner == high) != undo)


def add_self_mask(
    terms: SecureSumTerms,
    vector: NDArray[Any],
    seed: bytes,
    owner: str,
    *,
    undo: bool = False,
) -> None:
    """Add a member's self-mask, or remove it."""
    key = hmac.digest(
        seed,
        b"qiaolian.secagg.v1/" + pair_label(terms, "self", owner, owner),
        "sha256",
    )
    masks.add_mask(vector, key, subtract=undo)


def seed_digest(seed: bytes) -> bytes:
    """Return the advertised digest of a self-mask seed.

    It detects a wrong reconstruction.
    """
    return hashlib.sha256(b"qiaolian.secagg.v1/seed" + seed).digest()


def advert_digest(terms: SecureSumTerms, name: str, advert: bytes) -> bytes:
    """Return the attestation of a member: that it advertised these keys in this sum."""
    return hashlib.sha256(
        b"qiaolian.secagg.v1/" + pair_label(terms, "advert", name, name) + advert,
    ).digest()


# --- A member -------------------------------------------------------------------------------------


@dataclass
class Member:
    """One member's side of one sum.

    Its secrets derive from ``seed``: 32 fresh random bytes, used for this sum only.

    Call ``advertise``, ``share``, ``mask``, ``confirm``, ``reveal`` in this order, once each; out
    of order is ``step_out_of_order``. ``dump`` and ``load`` carry a member across processes between
    steps; what they carry is as secret as the seed.
    """

    terms: SecureSumTerms
    name: str
    seed: bytes
    step: int = 0
    roster: dict[str, bytes] = field(default_factory=dict)
    sealed: dict[str, bytes] = field(default_factory=dict)
    survivors: tuple[str, ...] = ()
    basis: bytes = NO_BASIS

    def __post_init__(self) -> None:
        if self.name not in self.terms.members or len(self.seed) != 32:
            raise BadInput("members_wrong", f"{self.name} is not a member of this sum.")

    def advertise(self) -> bytes:
        """Step 1: return the public keys, for everybody."""
        self._advance(0)
        keys = [masks.public_key(self._secret(part)) for part in ("sealing", "masking")]
        return b"".join(keys) + seed_digest(self._secret("self"))

    def share(self, roster: Mapping[str, bytes], attested: Mapping[str, bytes]) -> dict[str, bytes]:
        """Step 2: from all advertised keys, return a sealed pair of shares for every other member.

        ``attested``: each peer's ``advert_digest``, received from the peer itself. Whoever could
        put its own keys into the roster could open what is sealed here, and remove this party's
        masks before anything is revealed.

        Raises:
            PeerFault: ``keys_differ`` if a peer did not attest its keys; ``too_few_members``,
                ``members_wrong``, ``roster_wrong``.
        """
        self._advance(1)
        self.terms.check_set(roster, "members have sent keys")
        if (
            any(len(advert) != ADVERT_BYTES for advert in roster.values())
            or roster.get(self.name) != self._advert()
        ):
            raise PeerFault(
                "roster_wrong",
                "The list of keys has one of the wrong length, or "
                "another key under this party's own name.",
            )
        if len(
            {part for advert in roster.values() for part in (advert[:32], advert[32:64])},
        ) != 2 * len(roster):
            raise PeerFault("roster_wrong", "The list of keys has the same key twice.")
        for peer, advert in roster.items():
            if peer != self.name and not hmac.compare_digest(
                attested.get(peer, b""),
                advert_digest(self.terms, peer, advert),
            ):
                raise PeerFault(
                    "keys_differ",
                    f"The keys that the aggregator sent as {peer}'s are "
                    f"not those that {peer} attests.",
                    peer=peer,
                )
        self.roster = dict(roster)
        points = [self.terms.point(name) for name in roster]
        keys, seeds = (
            shamir.split(
                self._secret(part),
                self.terms.threshold,
                points,
                self._randomness().child(f"split/{part}"),
            )
            for part in ("masking", "self")
        )
        return {
            peer: masks.seal(
                self._agree("seal", self.name, peer),
                keys[self.terms.point(peer)] + seeds[self.terms.point(peer)],
            )
            for peer in roster
            if peer != self.name
        }

    def mask(
        self,
        vector: NDArray[np.int64],
        sealed: Mapping[str, bytes],
        basis: bytes = NO_BASIS,
    ) -> NDArray[Any]:
        """Step 3: return this party's vector under its masks.

        ``sealed``: the shares sent to this party, by sender. ``basis``: SHA-256 of what all vectors
        of the sum are computed from. The confirmations of members with different ones differ, and
        nothing is revealed.

        Raises:
            BadInput: ``length_wrong``, ``value_out_of_range``; PeerFault: ``too_few_members``,
                ``members_wrong``, ``shares_altered``.
        """
        if vector.shape != (self.terms.length,) or vector.dtype != np.int64:
            raise BadInput(
                "length_wrong",
                f"A vector of {self.terms.length} integers (int64) was agreed on, not "
                f"{vector.dtype} {list(vector.shape)}.",
            )
        if int(vector.max()) > self.terms.bound or int(vector.min()) < -self.terms.bound:
            raise BadInput(
                "value_out_of_range",
                f"The vector has an element beyond the agreed bound of {self.terms.bound}.",
                hint="Clip it first.",
            )
        self._advance(2)
        self.terms.check_set([*sealed, self.name], "members have sent shares", within=self.roster)
        self.sealed, self.basis = dict(sealed), basis
        self._open_all()  # send nothing to peers whose shares could not be revealed later
        masked = vector.astype(self.terms.dtype)  # two's complement: reduction mod 2**bits
        add_self_mask(self.terms, masked, self._secret("self"), self.name)
        for peer in sealed:
            add_pair_mask(
                self.terms,
                masked,
                self._secret("masking"),
                self.roster[peer][32:64],
                self.name,
                peer,
            )
        return masked

    def confirm(self, survivors: Sequence[str]) -> dict[str, bytes]:
        """Step 4: return for each other survivor the confirmation of what this party received.

        Raises:
            PeerFault: ``both_secrets`` if another list was already answered; ``too_few_members``,
                ``members_wrong``.
        """
        if self.step > 3 and tuple(survivors) != self.survivors:
            raise PeerFault(
                "both_secrets",
                "A second list of survivors was sent: answering it "
                "could reveal both secrets of a member.",
            )
        self._advance(3)
        self.terms.check_set(survivors, "members have sent vectors", within=self._senders())
        if self.name not in survivors:
            raise PeerFault(
                "members_wrong",
                "This party's vector is reported missing, but it was sent.",
            )
        self.survivors = tuple(survivors)
        return {
            peer: self._confirmation(self.name, peer) for peer in survivors if peer != self.name
        }

    def reveal(self, confirmations: Mapping[str, bytes]) -> dict[str, bytes]:
        """Step 5: return one share for every member that shared.

        It is of the member's seed if its vector is in the sum, of its key if not.

        Raises:
            PeerFault: ``survivors_differ`` if a peer received something else; ``too_few_members``,
                ``members_wrong``.
        """
        self._advance(4)
        self.terms.check_set(
            [*confirmations, self.name],
            "members have confirmed",
            within=self.survivors,
        )
        for peer, confirmation in confirmations.items():
            if not hmac.compare_digest(confirmation, self._confirmation(peer, self.name)):
                raise PeerFault(
                    "survivors_differ",
                    f"{peer} received another list of keys, shares or survivors than this party, "
                    "or starts from another basis.",
                    peer=peer,
                )
        shares = self._open_all()
        return {
            owner: shares[owner][1 if owner in self.survivors else 0] for owner in self._senders()
        }

    def dump(self) -> bytes:
        """Return the state as JSON. Store it where the seed may be stored."""
        hexed = [
            {name: value.hex() for name, value in table.items()}
            for table in (self.roster, self.sealed)
        ]
        return json.dumps(
            [self.name, self.seed.hex(), self.step, *hexed, list(self.survivors), self.basis.hex()],
            ensure_ascii=False,
        ).encode()

    @classmethod
    def load(cls, terms: SecureSumTerms, data: bytes) -> Member:
        """Return a dumped member."""
        name, seed, step, roster, sealed, survivors, basis = json.loads(data)
        keys, shares = (
            {peer: bytes.fromhex(value) for peer, value in table.items()}
            for table in (roster, sealed)
        )
        return cls(
            terms,
            name,
            bytes.fromhex(seed),
            step,
            keys,
            shares,
            tuple(survivors),
            bytes.fromhex(basis),
        )

    def _advance(self, step: int) -> None:
        if self.step != step:
            raise Conflict(
                "step_out_of_order",
                f"Step {step + 1} of a sum was requested; step {self.step + 1} is next.",
            )
        self.step += 1

    def _randomness(self) -> Randomness:
        return Randomness(self.seed, "secagg")

    def _secret(self, part: str) -> bytes:
        return self._randomness().child(part).bytes(32)

    def _advert(self) -> bytes:
        return Member(self.terms, self.name, self.seed).advertise()

    def _agree(self, use: str, first: str, second: str) -> bytes:
        peer = second if first == self.name else first
        try:
            return masks.agree(
                self._secret("sealing"),
                self.roster[peer][:32],
                pair_label(self.terms, use, first, second),
            )
        except ValueError:
            raise PeerFault(
                "roster_wrong",
                f"{peer} advertised an invalid key.",
                peer=peer,
            ) from None

    def _senders(self) -> list[str]:
        return [name for name in self.terms.members if name in self.sealed or name == self.name]

    def _open_all(self) -> dict[str, tuple[bytes, bytes]]:
        """Return the (key share, seed share) of every member for this party; ``shares_altered``."""
        points = [self.terms.point(name) for name in self.roster]
        own = [
            shamir.split(
                self._secret(part),
                self.terms.threshold,
                points,
                self._randomness().child(f"split/{part}"),
            )[self.terms.point(self.name)]
            for part in ("masking", "self")
        ]
        opened = {self.name: (own[0], own[1])}
        for peer, data in self.sealed.items():
            try:
                pair = masks.unseal(self._agree("seal", peer, self.name), data)
            except ValueError:
                raise PeerFault(
                    "shares_altered",
                    f"The shares from {peer} do not open: altered, or meant for another sum.",
                    peer=peer,
                ) from None
            opened[peer] = (pair[: shamir.SHARE_BYTES], pair[shamir.SHARE_BYTES :])
        return opened

    def _confirmation(self, sender: str, recipient: str) -> bytes:
        confirmed = [
            {name: self.roster[name].hex() for name in self.terms.members if name in self.roster},
            self._senders(),
            [name for name in self.terms.members if name in self.survivors],
            self.basis.hex(),
        ]
        key = self._agree("confirm", sender, recipient)
        return hmac.digest(
            key,
            json.dumps(confirmed, ensure_ascii=False, separators=(",", ":")).encode(),
            "sha256",
        )


# --- The aggregator -------------------------------------------------------------------------------


@dataclass
class Aggregator:
    """The side that learns the sum.

    It never has a vector without at least one mask on it that it cannot compute itself. Every step
    takes what arrived from the members still present, and returns what goes to each of them.
    """

    terms: SecureSumTerms
    roster: dict[str, bytes] = field(default_factory=dict)
    senders: tuple[str, ...] = ()
    survivors: tuple[str, ...] = ()
    _sum: NDArray[Any] | None = None

    def collect_keys(self, adverts: Mapping[str, bytes]) -> dict[str, bytes]:
        """Step 1: return the roster, which goes to every member in it."""
        self.terms.check_set(adverts, "members have sent keys")
        for name, advert in adverts.items():
            _check_size(name, advert, ADVERT_BYTES)
        self.roster = {name: adverts[name] for name in self.terms.members if name in adverts}
        return self.roster

    def route_shares(
        self,
        shares: Mapping[str, Mapping[str, bytes]],
    ) -> dict[str, dict[str, bytes]]:
        """Step 2: return recipient to sender to sealed shares, from sender to recipient."""
        self.terms.check_set(shares, "members have sent shares", within=self.roster)
        self.senders = self._ordered(shares)
        for name, sent in shares.items():
            if set(sent) != set(self.roster) - {name}:
                raise PeerFault(
                    "members_wrong",
                    f"{name} has not sealed shares for exactly the other members.",
                    peer=name,
                )
            for sealed_message in sent.values():
                _check_size(name, sealed_message, SEALED_BYTES)
        return {
            to: {name: shares[name][to] for name in self.senders if name != to}
            for to in self.senders
        }

    def add_masked(self, vectors: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """Step 3: return the survivors, whose list goes to each of them."""
        self.terms.check_set(vectors, "members have sent vectors", within=self.senders)
        self.survivors = self._ordered(vectors)
        total = np.zeros(self.terms.length, self.terms.dtype)
        for name in self.survivors:
            if vectors[name].shape != total.shape or vectors[name].dtype != total.dtype:
                raise PeerFault(
                    "message_malformed",
                    f"{name} sent a vector of another length or ring.",
                    peer=name,
                )
            np.add(total, vectors[name], out=total)
        self._sum = total
        return self.survivors

    def route_confirmations(
        self,
        confirmations: Mapping[str, Mapping[str, bytes]],
    ) -> dict[str, dict[str, bytes]]:
        """Step 4: return recipient to sender to confirmation, from sender to recipient."""
        self.terms.check_set(confirmations, "members have confirmed", within=self.survivors)
        confirmed = self._ordered(confirmations)
        for name, sent in confirmations.items():
            if set(sent) != set(self.survivors) - {name}:
                raise PeerFault(
                    "members_wrong",
                    f"{name} has not confirmed to exactly the other survivors.",
                    peer=name,
                )
            for confirmation in sent.values():
                _check_size(name, confirmation, CONFIRMATION_BYTES)
        return {
            to: {name: confirmations[name][to] for name in confirmed if name != to}
            for to in confirmed
        }

    def unmask(self, revealed: Mapping[str, Mapping[str, bytes]]) -> NDArray[np.int64]:
        """Step 5: return the exact sum of the survivors' vectors.

        Raises:
            PeerFault: ``too_few_members``, ``members_wrong``, ``share_wrong`` if shares do not give
                what was advertised, ``sum_out_of_range``.
        """
        self.terms.check_set(revealed, "members have revealed shares", within=self.survivors)
        for name, given in revealed.items():
            if set(given) != set(self.senders):
                raise PeerFault(
                    "members_wrong",
                    f"{name} has not revealed one share for each member.",
                    peer=name,
                )
        assert self._sum is not None, "vectors come before shares"
        for owner in self.senders:
            secret = self._combine(owner, {name: given[owner] for name, given in revealed.items()})
            if owner in self.survivors:
                add_self_mask(self.terms, self._sum, secret, owner, undo=True)
            else:
                # Survivors added for a missing member the opposite of what it would have added
                # itself.
                for peer in self.survivors:
                    add_pair_mask(
                        self.terms,
                        self._sum,
                        secret,
                        self.roster[peer][32:64],
                        owner,
                        peer,
                    )
        total = self._sum.view(f"int{self.terms.bits}").astype(np.int64)
        bound = len(self.survivors) * self.terms.bound
        if int(total.max()) > bound or int(total.min()) < -bound:
            raise PeerFault(
                "sum_out_of_range",
                "The sum is beyond that of vectors within the bound: "
                "a member sent an invalid vector.",
            )
        return total

    def _combine(self, owner: str, shares: Mapping[str, bytes]) -> bytes:
        advert = self.roster[owner]
        try:
            enough = list(shares.items())[: self.terms.threshold]
            secret = shamir.combine({self.terms.point(name): share for name, share in enough})
        except ValueError:
            secret = b""
        seed_is_right = owner in self.survivors and seed_digest(secret) == advert[64:]
        key_is_right = owner not in self.survivors and _is_private_key(secret, advert[32:64])
        if not seed_is_right and not key_is_right:
            raise PeerFault(
                "share_wrong",
                f"The shares of {owner}'s secret do not give what it "
                "advertised: a share was altered.",
                peer=owner,
            )
        return secret

    def _ordered(self, names: Collection[str]) -> tuple[str, ...]:
        return tuple(name for name in self.terms.members if name in names)


def _is_private_key(secret: bytes, public: bytes) -> bool:
    return bool(secret) and masks.public_key(secret) == public


def _check_size(name: str, data: bytes, size: int) -> None:
    if len(data) != size:
        raise PeerFault(
            "message_malformed",
            f"{name} sent {len(data)} bytes; {size} are required.",
            peer=name,
        )
