"""A member's side of a secure sum; ``secagg`` has the protocol."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput, Conflict, PeerFault
from federated.horizontal import masks, shamir
from federated.horizontal.secagg import (
    ADVERT_BYTES,
    NO_BASIS,
    SecureSumTerms,
    add_pair_mask,
    add_self_mask,
    advert_digest,
    pair_label,
    seed_digest,
)
from federated.randomness import Randomness


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
