"""Additively homomorphic encryption: the part of HEU (``sf-heu``) that SecureBoost needs, behind a
narrow, checked interface.

On the wire and in memory a ciphertext is a row of a ``uint8`` matrix: one number, little-endian, of
the scheme's fixed width. HEU's own framing is built here around these numbers, so that received
bytes never reach HEU's parser: a peer chooses only numbers, and each must be above zero and below
the modulus. (HEU does not check that in sums, and aborts the process on some malformed keys.)

HEU holds the interpreter lock while it computes. Work is done in pieces of about a second and keys
are generated in a child process, so that heartbeats continue.

Schemes: Okamoto-Uchiyama (Okamoto and Uchiyama, Eurocrypt 1998; n = p²q) in the short-exponent form
of Coron, Naccache and Paillier (1999), and Paillier (Eurocrypt 1999) in the form of Damgård, Jurik
and Nielsen (2010). Both moduli have 2048 bits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from heu import numpy as hnp
from heu import phe
from numpy.typing import NDArray

Ciphertexts = NDArray[np.uint8]
"""(count, width): one number per row, little-endian."""

_OU_SHORT_EXPONENT = 110
"""Bits of HEU's random exponents for Okamoto-Uchiyama at 2048 bits. A discrete logarithm in an
interval of 2**110 costs about 2**55 steps, which is too few: see ``PublicKey.encrypt``.
"""

_ADDITIONS_PER_PIECE = 1 << 17
"""Additions in one piece of ``sums``."""


@dataclass(frozen=True)
class Scheme:
    """One scheme at one key size.

    ``key_bits``: the size of generated keys. ``plaintext_bits``: sums with absolute value below
    2**plaintext_bits decrypt exactly, signs included. ``piece``: ciphertexts processed at once.
    """

    name: str
    schema: Any
    index: int  # HEU's own number of the schema, at the end of what it serialises
    numbers: int  # of a public key
    width: int  # bytes of a number
    key_bits: int
    modulus_bits: tuple[int, int]
    power: int  # ciphertexts are numbers below modulus**power
    plaintext_bits: int
    piece: int


OU = Scheme("ou", phe.SchemaType.OU, 1, 3, 260, 2048, (2046, 2060), 1, 672, 4096)
PAILLIER = Scheme("paillier", phe.SchemaType.ZPaillier, 4, 2, 516, 2048, (2046, 2048), 2, 2040, 512)
SCHEMES = {scheme.name: scheme for scheme in (OU, PAILLIER)}


class PublicKey:
    """The public key: encryption, and addition of ciphertexts."""

    def __init__(self, scheme: Scheme, numbers: Sequence[int]) -> None:
        self.scheme, self.numbers = scheme, tuple(numbers)
        self.bound = self.numbers[0] ** scheme.power
        self._kit = _kit(_key_frame(scheme, self.numbers))
        self._evaluator = self._kit.evaluator()
        self._encoder = phe.BigintEncoder(scheme.schema)
        self._blinding = None
        if scheme.index == OU.index:
            modulus, base, noise = self.numbers
            wider = (modulus, base, pow(noise, 1 << _OU_SHORT_EXPONENT, modulus))
            self._blinding = _kit(_key_frame(scheme, wider))

    @classmethod
    def from_bytes(cls, scheme: Scheme, data: bytes) -> PublicKey:
        """Read a peer's key; ``ValueError`` if its numbers are out of range."""
        if len(data) != scheme.numbers * scheme.width:
            raise ValueError("the key has another length")
        numbers = [
            int.from_bytes(data[at : at + scheme.width], "little")
            for at in range(0, len(data), scheme.width)
        ]
        modulus, least, most = numbers[0], *scheme.modulus_bits
        if not least <= modulus.bit_length() <= most or not modulus & 1:
            raise ValueError("the modulus has another size, or is even")
        if not all(1 < number < modulus**scheme.power for number in numbers[1:]):
            raise ValueError("a base is out of range")
        return cls(scheme, numbers)

    def to_bytes(self) -> bytes:
        """Return the key's numbers, each of the scheme's width."""
        return b"".join(number.to_bytes(self.scheme.width, "little") for number in self.numbers)

    # --- Encryption -------------------------------------------------------------------------------

    def encrypt(self, values: NDArray[np.object_]) -> Ciphertexts:
        """Encrypt integers.

        HEU blinds an Okamoto-Uchiyama plaintext with H**r, where r has 110 bits. A second
        encryption, of zero under the same key with H**(2**110) instead of H, extends r to 220 bits,
        about the order of H (224 bits).
        """
        piece = self.scheme.piece
        return self._whole(
            [self._encrypt(values[at : at + piece]) for at in range(0, len(values), piece)]
        )

    def _encrypt(self, values: NDArray[np.object_]) -> Ciphertexts:
        ciphertexts = self._kit.encryptor().encrypt(self._plain(values))
        if self._blinding is not None:
            zeros = self._plain(np.zeros(len(values), object))
            ciphertexts = self._evaluator.add(
                ciphertexts, self._blinding.encryptor().encrypt(zeros)
            )
        return self.dump(ciphertexts)

    def rerandomise(self, ciphertexts: Ciphertexts) -> Ciphertexts:
        """Return ciphertexts of the same plaintexts with new randomness."""
        return self.add(ciphertexts, self.encrypt(np.zeros(len(ciphertexts), object)))

    @cached_property
    def identity(self) -> Ciphertexts:
        """Return one neutral element, which hides nothing: for empty sums."""
        zero = self._plain(np.zeros(1, object))
        return self.dump(self._evaluator.mul(self._kit.encryptor().encrypt(zero), zero))

    # --- Sums -------------------------------------------------------------------------------------

    def add(self, left: Ciphertexts, right: Ciphertexts) -> Ciphertexts:
        """Return pairwise sums."""
        return self.dump(self._evaluator.add(self.load(left), self.load(right)))

    def sums(self, ciphertexts: Any, groups: Sequence[list[int]]) -> Ciphertexts:
        """Return for each group of row numbers the sum of these rows of a loaded array. Groups must
        not be empty.
        """
        return self._whole(
            [
                self.dump(self._evaluator.batch_select_sum(ciphertexts, piece))
                for piece in _pieces(groups)
            ]
        )

    def running_sums(self, ciphertexts: Ciphertexts, starts: NDArray[np.bool_]) -> Ciphertexts:
        """Return running sums that start again wherever ``starts`` is true, in log2 steps over the
        whole array.
        """
        count = len(ciphertexts)
        index = np.arange(count)
        first = np.maximum.accumulate(np.where(starts, index, 0)) if count else index
        current, step = self.load(np.concatenate([ciphertexts, self.identity])), 1
        while count and step <= int((index - first).max()):
            source = np.where(index - step >= first, index - step, count)
            current = self._evaluator.add(current, current[[*source.tolist(), count]])
            step *= 2
        return self.dump(current)[:count]

    def join(self, ciphertexts: Ciphertexts, slots: int, slot_bits: int) -> Ciphertexts:
        """Pack ``slots`` plaintexts into one, the first lowest: x0 + x1·2**b + x2·2**2b + … (cipher
        compressing in SecureBoost+).
        """
        piece = self.scheme.piece * slots
        return self._whole(
            [
                self._join(ciphertexts[at : at + piece], slots, slot_bits)
                for at in range(0, len(ciphertexts), piece)
            ]
        )

    def _join(self, ciphertexts: Ciphertexts, slots: int, slot_bits: int) -> Ciphertexts:
        joined = -(-len(ciphertexts) // slots)
        padded = np.concatenate(
            [ciphertexts, np.repeat(self.identity, joined * slots - len(ciphertexts), axis=0)]
        ).reshape(joined, slots, -1)
        shift = self._plain(np.full(joined, 1 << slot_bits, object))
        current = self.load(np.ascontiguousarray(padded[:, slots - 1]))
        for slot in range(slots - 2, -1, -1):
            current = self._evaluator.add(
                self._evaluator.mul(current, shift),
                self.load(np.ascontiguousarray(padded[:, slot])),
            )
        return self.dump(current)

    # --- Form -------------------------------------------------------------------------------------

    def check(self, ciphertexts: Ciphertexts) -> None:
        """Raise ``ValueError`` unless every number is above zero and below the bound."""
        if ciphertexts.ndim != 2 or ciphertexts.shape[1] != self.scheme.width:
            raise ValueError("ciphertexts have another width")
        words = np.frombuffer(np.ascontiguousarray(ciphertexts[:, ::-1]), ">u4").reshape(
            len(ciphertexts), self.scheme.width // 4
        )
        bound = np.frombuffer(self.bound.to_bytes(self.scheme.width, "big"), ">u4")
        differs = words != bound
        first = differs.argmax(axis=1)
        below = differs.any(axis=1) & (words[np.arange(len(words)), first] < bound[first])
        if not (below & words.any(axis=1)).all():
            raise ValueError("a ciphertext is not between zero and the modulus")

    def load(self, ciphertexts: Ciphertexts) -> Any:
        """Return HEU's array of checked numbers. An empty array is refused (HEU would crash)."""
        count, width = ciphertexts.shape
        if not count:
            raise ValueError("there are no ciphertexts to load")
        element = b"\xda" + (12 + width).to_bytes(2, "big") + b"\x91\xda" + width.to_bytes(2, "big")
        framed = np.empty((count, len(element) + width + 8), np.uint8)
        framed[:, : len(element)] = np.frombuffer(element, np.uint8)
        framed[:, len(element) : -8] = ciphertexts
        framed[:, -8:] = np.frombuffer(self.scheme.index.to_bytes(8, "little"), np.uint8)
        size = count.to_bytes(4, "big")
        return hnp.CiphertextArray.load_from(
            b"\x94\xce" + size + b"\x01\x01\xdd" + size + framed.tobytes()
        )

    def dump(self, array: Any) -> Ciphertexts:
        """Return the numbers of HEU's array. HEU omits leading zero bytes, so elements differ in
        length.
        """
        data, width = memoryview(array.serialize()), self.scheme.width
        out = bytearray(array.size * width)
        at = _elements_at(data)
        for index in range(0, len(out), width):
            at, number = _element(data, at)
            out[index : index + len(number)] = number
        return np.frombuffer(out, np.uint8).reshape(-1, width)

    def _whole(self, pieces: list[Ciphertexts]) -> Ciphertexts:
        return np.concatenate(pieces) if pieces else np.empty((0, self.scheme.width), np.uint8)

    def _plain(self, values: NDArray[np.object_]) -> Any:
        return hnp.array(values, self._encoder)


class SecretKey:
    """The secret key. It never leaves the active party and is generated for every run."""

    def __init__(self, scheme: Scheme, data: bytes) -> None:
        """Read ``to_bytes`` of the same scheme; only for bytes that this party generated."""
        self.scheme, self._data = scheme, data
        public, secret = _frames(data)
        self._kit = hnp.HeKit(
            phe.setup(phe.PublicKey.load_from(public), phe.SecretKey.load_from(secret))
        )
        self.public = PublicKey(scheme, _key_numbers(scheme, public))

    @classmethod
    def generate(cls, scheme: Scheme) -> bytes:
        """Generate a key pair of the scheme's size in a child process; return it as bytes."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", _GENERATE, scheme.name, str(scheme.key_bits)]
        process = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
        # The library may have written lines of its own before.
        return bytes.fromhex(process.stdout.splitlines()[-1].decode())

    def decrypt(self, ciphertexts: Ciphertexts) -> list[int]:
        """Return the signed plaintexts."""
        decryptor, piece = self._kit.decryptor(), self.scheme.piece
        pieces = (
            decryptor.decrypt(self.public.load(ciphertexts[at : at + piece])).to_numpy()
            for at in range(0, len(ciphertexts), piece)
        )
        return [int(value) for values in pieces for value in values]


_GENERATE = """
import sys
from federated.boosting.he import generated
print(generated(sys.argv[1], int(sys.argv[2])).hex())
"""


def generated(scheme: str, key_bits: int) -> bytes:
    """Generate a key pair with a modulus of ``key_bits`` bits in this process."""
    kit = phe.setup(SCHEMES[scheme].schema, key_bits)
    public = bytes(kit.public_key().serialize())
    return len(public).to_bytes(4, "big") + public + bytes(kit.secret_key().serialize())


def _pieces(groups: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """Yield consecutive groups with about ``_ADDITIONS_PER_PIECE`` members together."""
    piece, members = list[list[int]](), 0
    for group in groups:
        piece.append(group)
        members += len(group)
        if members >= _ADDITIONS_PER_PIECE:
            yield piece
            piece, members = [], 0
    if piece:
        yield piece


# --- HEU's framing: msgpack arrays of little-endian numbers with a sign bit, in byte strings with
# --- lengths of 8 or 16 bits


@lru_cache(4)
def _kit(frame: bytes) -> Any:
    """Return HEU's operations for a public key. Its tables take a second to build, so the last ones
    are cached.
    """
    return hnp.setup(phe.PublicKey.load_from(frame))


def _frames(data: bytes) -> tuple[bytes, bytes]:
    end = 4 + int.from_bytes(data[:4], "big")
    return data[4:end], data[end:]


def _key_frame(scheme: Scheme, numbers: Sequence[int]) -> bytes:
    width = scheme.width.to_bytes(2, "big")
    frame = bytes([0x90 + scheme.numbers + (scheme.index == OU.index)])
    for number in numbers:
        frame += b"\xda" + width + number.to_bytes(scheme.width, "little")
    if (
        scheme.index == OU.index
    ):  # the largest plaintext's bits: sizes HEU's tables, so it is never a peer's choice
        frame += b"\xcd" + scheme.plaintext_bits.to_bytes(2, "big")
    return frame + scheme.index.to_bytes(8, "little")


def _key_numbers(scheme: Scheme, frame: bytes) -> list[int]:
    numbers, at = [], 1
    for _ in range(scheme.numbers):
        start, size = _string(memoryview(frame), at)
        numbers.append(int.from_bytes(frame[start : start + size], "little"))
        at = start + size
    return numbers


def _elements_at(data: memoryview) -> int:
    """Return where the elements of a serialised matrix begin: after [rows, columns,
    dimensions, [ .
    """
    at = 1
    for _ in range(3):
        at += {0xCC: 2, 0xCD: 3, 0xCE: 5}.get(data[at], 1)
    return at + {0xDC: 3, 0xDD: 5}.get(data[at], 1)


def _element(data: memoryview, at: int) -> tuple[int, memoryview]:
    """Return the number of the element at an offset, and the offset of the next. An element is a
    string that holds [number] and HEU's schema.
    """
    start, size = _string(data, at)
    number, length = _string(data, start + 1)
    return start + size, data[number : number + length]


def _string(data: memoryview, at: int) -> tuple[int, int]:
    form = data[at]
    if form == 0xDA:
        return at + 3, data[at + 1] << 8 | data[at + 2]
    if form == 0xD9:
        return at + 2, data[at + 1]
    return at + 1, form & 0x1F
