"""The two halves of a round's key: what the key holder keeps, and what everybody gets."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from fedspallm_secure.errors import FormatError

KEY_LIMIT: Final = 1 << 20  # bytes of either half; a public one has about 134,000


class SecretKey:
    """The secret half, as bytes that only the key holder has.

    Held in one place that `wipe` overwrites; whoever makes copies of `view` answers for them.  The process that makes
    or uses the key has copies too, for as long as it runs.  It is never shown, hashed, compared or pickled.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        """Copy `data`, which the caller wipes if it can.  Raises FormatError for an impossible length."""
        if not 1 <= len(data) <= KEY_LIMIT:
            raise FormatError(f"a secret key has 1 to {KEY_LIMIT} bytes, not {len(data)}")
        self._data = bytearray(data)

    @property
    def view(self) -> memoryview:
        """The bytes, to be written to where they belong.  Raises ValueError once they were wiped."""
        if not self._data:
            raise ValueError("this secret key was wiped")
        return memoryview(self._data).toreadonly()

    def wipe(self) -> None:
        """Overwrite the bytes and forget them.  Raises BufferError while a view is in use; they are zero even then."""
        wipe(self._data)
        self._data.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wipe()

    def __repr__(self) -> str:
        return "SecretKey(...)"

    def __reduce__(self) -> str:
        raise TypeError("a secret key is not pickled")

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new key.  public: a TenSEAL context with the public key and no other, to be signed by the key holder."""

    secret: SecretKey = field(repr=False)
    public: bytes = field(repr=False)


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite a buffer with zeros, in place."""
    buffer[:] = bytes(len(buffer))
