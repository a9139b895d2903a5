"""Passwords, and how they become keys: Argon2id (RFC 9106, SPEC section 7).

Nothing here shows a password or a key when printed.  Python cannot promise that they leave memory: strings and bytes
are copied, and freed without being overwritten.  So both are made late and held briefly, and whoever can read the
memory or the swap of this process can read them.
"""

import unicodedata
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import FormatError, MissingExtra, OutOfMemory, UsageError

PASSWORD_LIMIT: Final = 1024  # bytes in UTF-8
KDF_MEMORY_LIMIT_KIB: Final = 2 << 20  # KiB, so 2 GiB
KDF_PASSES_LIMIT: Final = 10
KDF_LANES_LIMIT: Final = 16
SALT_SIZE: Final = 16  # bytes
_KEY_SIZE = 32  # bytes
_TEXT_LIMIT = 4 * PASSWORD_LIMIT  # characters, more than any text within the limit decomposes into


@dataclass(frozen=True, slots=True)
class KdfParameters:
    """The cost of one guess.  memory_kib: KiB; passes over it; lanes: threads (RFC 9106 section 3.1).

    The bounds are those of SPEC section 7, so that a file cannot make its reader compute for ever.
    """

    memory_kib: int = 256 << 10
    passes: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.lanes <= KDF_LANES_LIMIT:
            raise FormatError(f"Argon2id takes 1 to {KDF_LANES_LIMIT} lanes here, not {self.lanes}")
        if not 1 <= self.passes <= KDF_PASSES_LIMIT:
            raise FormatError(f"Argon2id takes 1 to {KDF_PASSES_LIMIT} passes here, not {self.passes}")
        if not 8 * self.lanes <= self.memory_kib <= KDF_MEMORY_LIMIT_KIB:
            raise FormatError(
                f"Argon2id takes {8 * self.lanes} to {KDF_MEMORY_LIMIT_KIB} KiB with {self.lanes} lanes here, "
                f"not {self.memory_kib}"
            )


DEFAULT_KDF: Final = KdfParameters()


@dataclass(frozen=True, slots=True, eq=False)
class Password:
    """What a person typed.  encoded: UTF-8 of the text in Unicode normal form C, 1 to 1024 bytes."""

    encoded: bytes = field(repr=False)

    @classmethod
    def from_text(cls, text: str) -> "Password":
        """Take a text.  Raises UsageError, which does not repeat it, for one that is empty, too long or no Unicode."""
        if not text:
            raise UsageError("the password is empty", hint="choose a long one: it protects the keys of this party")
        if len(text) <= _TEXT_LIMIT:
            if any("\ud800" <= character <= "\udfff" for character in text):  # encode() would repeat the text
                raise UsageError("the password is not valid UTF-8", hint="whatever it comes from must write UTF-8")
            encoded = unicodedata.normalize("NFC", text).encode()
            if len(encoded) <= PASSWORD_LIMIT:
                return cls(encoded)
        raise UsageError(f"the password is longer than {PASSWORD_LIMIT} bytes", hint="is it the one you meant?")


def argon2id(
    password: bytes,
    salt: bytes,
    parameters: KdfParameters,
    size: int = _KEY_SIZE,
    *,
    secret: bytes | None = None,
    associated: bytes | None = None,
) -> bytes:
    """Argon2id as in RFC 9106, `size` bytes.  Raises OutOfMemory, or MissingExtra where the library was built without.

    secret, associated: K and X of the RFC, which only its test vectors use.
    """
    try:
        return Argon2id(
            salt=salt,
            length=size,
            iterations=parameters.passes,
            lanes=parameters.lanes,
            memory_cost=parameters.memory_kib,
            ad=associated,
            secret=secret,
        ).derive(password)
    except MemoryError:
        needed = f"{parameters.memory_kib / 1024:.0f} MiB"
        raise OutOfMemory(
            f"turning the password into a key takes {needed} of memory, which this machine does not have",
            hint="close other programs; a key file opens only with the memory it was made with",
        ) from None
    except UnsupportedAlgorithm:
        raise MissingExtra(
            "this build of the cryptography package has no Argon2id", hint="install its wheel from the package index"
        ) from None


@dataclass(frozen=True, slots=True, eq=False)
class PasswordKey:
    """What Argon2id made of a password; kept while a file is rewritten.  salt: 16 bytes; key: 32 bytes."""

    parameters: KdfParameters = field(repr=False)
    salt: bytes = field(repr=False)
    key: bytes = field(repr=False)

    @classmethod
    def new(cls, password: Password, parameters: KdfParameters = DEFAULT_KDF) -> "PasswordKey":
        """Derive under a new salt; one result may lock several files.  Raises OutOfMemory."""
        return cls.derive(password, parameters, random_bytes(SALT_SIZE))

    @classmethod
    def derive(cls, password: Password, parameters: KdfParameters, salt: bytes) -> "PasswordKey":
        """Derive under the salt that stands in a file.  Raises OutOfMemory."""
        return cls(parameters, salt, argon2id(password.encoded, salt, parameters))
