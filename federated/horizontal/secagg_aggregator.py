"""The aggregator's side of a secure sum; ``secagg`` has the protocol."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import PeerFault
from federated.horizontal import shamir
from federated.horizontal.secagg import (
    ADVERT_BYTES,
    CONFIRMATION_BYTES,
    SEALED_BYTES,
    SecureSumTerms,
    add_pair_mask,
    add_self_mask,
    is_private_key,
    require_size,
    seed_digest,
)


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
            require_size(name, advert, ADVERT_BYTES)
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
                require_size(name, sealed_message, SEALED_BYTES)
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
                require_size(name, confirmation, CONFIRMATION_BYTES)
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
        key_is_right = owner not in self.survivors and is_private_key(secret, advert[32:64])
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
