"""EIP-712 typed data for frozen dataclasses whose fields carry their Solidity type.

A statement is a frozen dataclass; each field is annotated with one of the aliases below
(``Uint64``, ``Bytes32``, ``MemberId`` …), which fixes its Solidity type, its Python value and its
JSON form at once, so one declaration gives the type string, the 32-byte word encoding, the closed
JSON schema and the tuple handed to a contract. Encoders are compiled once a class; hashing a
statement of fifteen fields takes some ten microseconds.

JSON forms: ``uint8``..``uint64`` are numbers (at most 2^53-1, RFC 8785), wider integers are decimal
strings, ``bytes`` and addresses are lowercase ``0x`` hex, member ids and codes are plain text.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin, get_type_hints

from chain.core.crypto import is_address, keccak256
from chain.core.errors import BadInput

_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,77}")
_CODE = re.compile(r"[a-z0-9][a-z0-9._-]{0,30}")
_MEMBER = re.compile(r"[0-9A-Z]{18}")
_JSON_INTEGER_LIMIT = 2**53


@dataclass(frozen=True, slots=True)
class Codec:
    """How one Solidity type is checked, encoded into a 32-byte word, handed to a contract and
    written as JSON.
    """

    solidity: str
    json_form: str
    """How ``docs/statements.md`` names the value's form in JSON."""
    encode: Callable[[Any], bytes]
    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]
    to_contract: Callable[[Any], Any]
    from_contract: Callable[[Any], Any]


def _refuse(sentence: str) -> typing.NoReturn:
    raise BadInput(
        "statement_malformed", sentence, hint="Compare the field with docs/statements.md."
    )


def _uint(bits: int) -> Codec:
    limit = 1 << bits

    def check(value: Any) -> int:
        if type(value) is not int or not 0 <= value < limit:
            _refuse(f"A uint{bits} is not an integer from 0 to 2^{bits}-1.")
        return value

    def from_json(value: Any) -> int:
        if bits <= 64:
            if type(value) is not int or value >= _JSON_INTEGER_LIMIT:
                _refuse(f"A uint{bits} in JSON is not a whole number below 2^53.")
            return check(value)
        if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
            _refuse(f"A uint{bits} in JSON is not a decimal string.")
        return check(int(value))

    return Codec(
        solidity=f"uint{bits}",
        json_form="number" if bits <= 64 else "decimal text",
        encode=lambda value: check(value).to_bytes(32, "big"),
        to_json=(lambda value: value) if bits <= 64 else str,
        from_json=from_json,
        to_contract=check,
        from_contract=int,
    )


def _bytes_n(size: int) -> Codec:
    def check(value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) != size:
            _refuse(f"A bytes{size} is not {size} bytes.")
        return value

    def from_json(value: Any) -> bytes:
        if not isinstance(value, str) or _HEX.fullmatch(value) is None:
            _refuse("A byte string in JSON is not lowercase 0x hexadecimal.")
        return check(bytes.fromhex(value[2:]))

    return Codec(
        solidity=f"bytes{size}",
        json_form="hex",
        encode=lambda value: check(value).ljust(32, b"\0"),
        to_json=lambda value: "0x" + value.hex(),
        from_json=from_json,
        to_contract=check,
        from_contract=bytes,
    )


def _text(size: int, json_form: str, pattern: re.Pattern[str], what: str) -> Codec:
    """Short ASCII text held in a ``bytes<size>``, zero-padded on the right; the empty text is all
    zeros.
    """

    def check(value: Any) -> str:
        if not isinstance(value, str) or (value and pattern.fullmatch(value) is None):
            _refuse(f"{what} has the wrong form.")
        return value

    def raw(value: Any) -> bytes:
        return check(value).encode("ascii").ljust(size, b"\0")

    return Codec(
        solidity=f"bytes{size}",
        json_form=json_form,
        encode=lambda value: raw(value).ljust(32, b"\0"),
        to_json=check,
        from_json=check,
        to_contract=raw,
        from_contract=lambda value: check(bytes(value).rstrip(b"\0").decode("ascii", "replace")),
    )


def _check_address(value: Any) -> str:
    if not isinstance(value, str) or not is_address(value):
        _refuse("An address is not lowercase 0x followed by 40 hexadecimal digits.")
    return value


def _check_bool(value: Any) -> bool:
    if type(value) is not bool:
        _refuse("A bool is neither true nor false.")
    return value


_ADDRESS = Codec(
    solidity="address",
    json_form="hex",
    encode=lambda value: bytes.fromhex(_check_address(value)[2:]).rjust(32, b"\0"),
    to_json=_check_address,
    from_json=_check_address,
    to_contract=_check_address,
    from_contract=lambda value: str(value).lower(),
)
_BOOL = Codec(
    solidity="bool",
    json_form="boolean",
    encode=lambda value: int(_check_bool(value)).to_bytes(32, "big"),
    to_json=_check_bool,
    from_json=_check_bool,
    to_contract=_check_bool,
    from_contract=bool,
)

Uint8 = Annotated[int, _uint(8)]
Uint16 = Annotated[int, _uint(16)]
Uint32 = Annotated[int, _uint(32)]
Uint64 = Annotated[int, _uint(64)]
Uint128 = Annotated[int, _uint(128)]
Uint256 = Annotated[int, _uint(256)]
Bytes32 = Annotated[bytes, _bytes_n(32)]
Address = Annotated[str, _ADDRESS]
Bool = Annotated[bool, _BOOL]
MemberId = Annotated[
    str, _text(18, "member id", _MEMBER, "A member id (18-character unified social credit code)")
]
"""An organisation's 统一社会信用代码 as text; ``bytes18`` in Solidity. Empty means none."""
_WHAT_CODE = "A code or name (lowercase letters, digits, dot, dash, underscore; at most 31)"
Code = Annotated[str, _text(32, "code", _CODE, _WHAT_CODE)]
"""A short public code such as a purpose; right-padded ``bytes32`` in Solidity. Empty means none."""

ZERO32 = b"\0" * 32


def encode_code(value: str) -> bytes:
    """A code's ``bytes32`` form, for contract calls that take one outside a struct."""
    return _text(32, "code", _CODE, _WHAT_CODE).to_contract(value)  # type: ignore[no-any-return]


def encode_member(value: str) -> bytes:
    """A member id's ``bytes18`` form."""
    return _text(18, "member id", _MEMBER, "A member id").to_contract(value)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Domain:
    """The EIP-712 domain: one chain and one contract, so a signature cannot be used on another
    network or contract.
    """

    chain_id: int
    contract: str


class Struct:
    """Base of every typed struct; see the module's text."""

    VERSIONS: ClassVar[tuple[int, ...]] = (1,)
    """The values of ``version`` whose meaning this program knows."""

    @classmethod
    @functools.cache
    def _codecs(cls) -> tuple[tuple[str, Codec], ...]:
        hints = get_type_hints(cls, include_extras=True)
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        return tuple((field.name, _codec_of(hints[field.name])) for field in fields)

    @classmethod
    @functools.cache
    def type_string(cls) -> str:
        """The EIP-712 ``encodeType``: this struct, then the ones it refers to in alphabetical
        order.
        """
        referred: dict[str, str] = {}
        return _type_definition(cls, referred) + "".join(
            referred[name] for name in sorted(referred)
        )

    @classmethod
    @functools.cache
    def type_hash(cls) -> bytes:
        """keccak256 of the type string."""
        return keccak256(cls.type_string().encode())

    def struct_hash(self) -> bytes:
        """The EIP-712 ``hashStruct``: 32 bytes. Used as the id of what the struct describes.

        Raises:
            BadInput: ``statement_malformed`` for a field outside its type.
        """
        words = [self.type_hash()]
        words.extend(codec.encode(getattr(self, name)) for name, codec in self._codecs())
        return keccak256(b"".join(words))

    def to_json(self) -> dict[str, Any]:
        """The struct as a JSON object with Solidity's camelCase field names."""
        return {camel(name): codec.to_json(getattr(self, name)) for name, codec in self._codecs()}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the closed JSON form: exactly the struct's fields, each in its type's form."""
        codecs = cls._codecs()
        if not isinstance(value, dict) or set(value) != {camel(name) for name, _ in codecs}:
            _refuse(f"A {cls.__name__} does not have exactly the fields of its type.")
        return cls(**{name: codec.from_json(value[camel(name)]) for name, codec in codecs})

    def require_json_safe(self) -> None:
        """Refuse what its JSON form cannot carry, such as a uint64 from 2^53 on: it could be
        signed, and nobody could show it.
        """
        type(self).from_json(self.to_json())

    def require_known_version(self) -> None:
        """Refuse a struct of a version whose meaning this program does not know:
        ``wrong_version``.
        """
        version = getattr(self, "version", None)
        if version not in (None, *self.VERSIONS):
            raise BadInput(
                "wrong_version",
                f"A {type(self).__name__} is of version {version}, "
                "which this program does not know.",
            )

    def to_contract(self) -> tuple[Any, ...]:
        """The struct as the tuple a contract call takes."""
        return tuple(codec.to_contract(getattr(self, name)) for name, codec in self._codecs())

    @classmethod
    def from_contract(cls, value: Any) -> Self:
        """Read the tuple (or mapping by field name) that a contract call or event gives."""
        codecs = cls._codecs()
        items = (
            [value[camel(name)] for name, _ in codecs] if isinstance(value, dict) else list(value)
        )
        return cls(
            **{
                name: codec.from_contract(item)
                for (name, codec), item in zip(codecs, items, strict=True)
            }
        )


class Statement(Struct):
    """A struct that is signed. ``contract`` names the contract whose address is in its domain."""

    contract: ClassVar[str]

    def digest(self, domain: Domain) -> bytes:
        """The 32-byte digest that is signed: keccak256(0x1901 ‖ domain separator ‖ struct hash)."""
        return signing_digest(domain, self.struct_hash())


DOMAIN_NAME = "Qiaolian"
DOMAIN_VERSION = "1"
_DOMAIN_PREFIX = (
    keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    + keccak256(DOMAIN_NAME.encode())
    + keccak256(DOMAIN_VERSION.encode())
)


@functools.lru_cache(maxsize=1024)
def domain_separator(domain: Domain) -> bytes:
    """The EIP-712 domain separator of a chain and contract."""
    return keccak256(
        _DOMAIN_PREFIX
        + domain.chain_id.to_bytes(32, "big")
        + bytes.fromhex(domain.contract[2:]).rjust(32, b"\0")
    )


def signing_digest(domain: Domain, struct_hash: bytes) -> bytes:
    """The 32-byte digest that is signed for a struct hash (EIP-712)."""
    return keccak256(b"\x19\x01" + domain_separator(domain) + struct_hash)


@functools.cache
def camel(name: str) -> str:
    """``max_units`` as ``maxUnits``."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _codec_of(annotation: Any) -> Codec:
    if get_origin(annotation) is Annotated:
        codec = get_args(annotation)[1]
        assert isinstance(codec, Codec)
        return codec
    if get_origin(annotation) is tuple:
        return _array(_codec_of(get_args(annotation)[0]))
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return _nested(annotation)
    raise TypeError(f"{annotation!r} has no Solidity type")


def _nested(struct: type[Struct]) -> Codec:
    return Codec(
        solidity=struct.__name__,
        json_form="object",
        encode=lambda value: value.struct_hash(),
        to_json=lambda value: value.to_json(),
        from_json=struct.from_json,
        to_contract=lambda value: value.to_contract(),
        from_contract=struct.from_contract,
    )


def _array(item: Codec) -> Codec:
    def from_json(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > 256:
            _refuse("An array is not a list of at most 256 items.")
        return tuple(item.from_json(entry) for entry in value)

    return Codec(
        solidity=item.solidity + "[]",
        json_form="list",
        encode=lambda value: keccak256(b"".join(item.encode(entry) for entry in value)),
        to_json=lambda value: [item.to_json(entry) for entry in value],
        from_json=from_json,
        to_contract=lambda value: [item.to_contract(entry) for entry in value],
        from_contract=lambda value: tuple(item.from_contract(entry) for entry in value),
    )


def _type_definition(struct: type[Struct], referred: dict[str, str]) -> str:
    hints = get_type_hints(struct, include_extras=True)
    members = []
    for name, codec in struct._codecs():
        members.append(f"{codec.solidity} {camel(name)}")
        inner = hints[name]
        if get_origin(inner) is tuple:
            inner = get_args(inner)[0]
        if isinstance(inner, type) and issubclass(inner, Struct) and inner.__name__ not in referred:
            referred[inner.__name__] = ""
            referred[inner.__name__] = _type_definition(inner, referred)
    return f"{struct.__name__}({','.join(members)})"
