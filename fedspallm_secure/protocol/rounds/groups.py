"""One group of a plan: a decoder layer, its matrices, its cohort, and the widths of its vector (SPEC section 16.2)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fedspallm_secure.crypto.encoding import decode_hex, fields
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.errors import CapacityExceeded, FormatError
from fedspallm_secure.he.parameters import Parameters
from fedspallm_secure.protocol.limits import TILE_SIZE
from fedspallm_secure.protocol.rounds.limits import COHORT_LIMIT, GROUP_LIMIT, MATRIX_SIDE_LIMIT
from fedspallm_secure.secagg.fields import CountField, SumWord
from fedspallm_secure.secagg.graphs import Graph, circulant, complete, isolated

CHUNK_LENGTH = 4  # bytes before an encrypted chunk that say how long it is; zeros fill what it could have been
_WHAT = "a group of the plan"
_NAME = re.compile(r"[!-~]{1,256}")  # printable ASCII without space, as checkpoints name their tensors
_SCHEMA: dict[str, type] = {
    "gid": int,
    "base": str,
    "matrices": list,
    "cohort": list,
    "shares": int,
    "survivors": int,
    "degree": int,
    "count_bits": int,
    "sum": dict,
    "cipher": dict,
}


@dataclass(frozen=True, slots=True)
class MatrixShape:
    """A matrix of the vector, stored row-major as (rows, columns)."""

    name: str
    rows: int
    columns: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise FormatError(f"{self.name[:64]!r} is no name of a matrix")
        if not (1 <= self.rows <= MATRIX_SIDE_LIMIT and 1 <= self.columns <= MATRIX_SIDE_LIMIT):
            raise FormatError(f"matrix {self.name} is {self.rows} x {self.columns}")

    @property
    def weights(self) -> int:
        """rows * columns."""
        return self.rows * self.columns

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"name": self.name, "rows": self.rows, "columns": self.columns}

    @classmethod
    def from_dict(cls, value: Any) -> "MatrixShape":
        """Read it back.  Raises FormatError."""
        return cls(**fields(value, {"name": str, "rows": int, "columns": int}, "a matrix of the plan"))


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A group as the plan has it.

    base: digest of the base weights, hex; cohort: member ids, sorted; shares: t; survivors: n_min; degree: k, 0 for a
    complete graph; sums: None under `votes`; cipher: what vectors are encrypted with, None where they are not.
    """

    gid: int
    base: str
    matrices: tuple[MatrixShape, ...]
    cohort: tuple[str, ...]
    shares: int
    survivors: int
    degree: int
    counts: CountField
    sums: SumWord | None
    cipher: Parameters | None = None

    def __post_init__(self) -> None:
        decode_hex(self.base, HASH_SIZE, f"{_WHAT}: base")
        if not 0 <= self.gid < GROUP_LIMIT:
            raise FormatError(f"{_WHAT}: gid {self.gid} is out of range")
        names = [matrix.name for matrix in self.matrices]
        if not names or len(set(names)) != len(names):
            raise FormatError(f"group {self.gid} has no matrices, or one of them twice")
        size = len(self.cohort)
        if not 1 <= size <= COHORT_LIMIT or not is_ascending(self.cohort):
            raise FormatError(f"the cohort of group {self.gid} is empty, too large, or not in order, each member once")
        for member in self.cohort:
            Party(Role.MEMBER.value, member)
        if not 1 <= self.shares <= size or not self.shares <= self.survivors <= size:
            raise FormatError(f"group {self.gid}: {self.shares} shares, {self.survivors} survivors of {size} members")
        if self.degree and (self.degree % 2 or not 2 <= self.degree < size or self.shares > self.degree + 1):
            raise FormatError(f"group {self.gid}: a graph of degree {self.degree} over {size} members")
        if self.counts.members != size or (self.sums is not None and self.sums.members != size):
            raise FormatError(f"group {self.gid}: the formats are for another number of members")
        if self.cipher is not None and self.degree:
            raise FormatError(f"group {self.gid}: nobody has neighbours where vectors are encrypted")

    @property
    def weights(self) -> int:
        """N, over all matrices."""
        return sum(matrix.weights for matrix in self.matrices)

    @property
    def count_size(self) -> int:
        """Bytes of the count stream."""
        return self.counts.size(self.weights)

    @property
    def sum_size(self) -> int:
        """Bytes of the sum stream; 0 under `votes`."""
        return 0 if self.sums is None else self.sums.size(self.weights)

    @property
    def upload_size(self) -> int:
        """Bytes of the streams as they travel: as long as they were, or longer where they are encrypted."""
        if self.cipher is None:
            return self.count_size + self.sum_size
        return self.cipher.chunks(self.weights) * self.upload_tile

    @property
    def upload_tile(self) -> int:
        """Bytes of a leaf under the vector root: encrypted, a chunk is one (SPEC section 24.3)."""
        return TILE_SIZE if self.cipher is None else CHUNK_LENGTH + self.cipher.chunk_most

    @property
    def neighbours(self) -> int:
        """k: how many neighbours each member has."""
        return 0 if self.cipher is not None else self.degree or len(self.cohort) - 1

    @property
    def deal_form(self) -> tuple[int, int]:
        """How many neighbours a deal has, and envelopes: one for each, or one for the key holder."""
        return self.neighbours, self.neighbours if self.cipher is None else 1

    def graph(self, seed: bytes) -> Graph:
        """Who is whose neighbour.  seed: 32 bytes of the plan, used unless everybody or nobody has neighbours."""
        size = len(self.cohort)
        if self.cipher is not None:
            return isolated(size)
        return circulant(size, self.degree, seed, self.gid) if self.degree else complete(size)

    def to_dict(self) -> dict[str, Any]:
        """Plain data under the names of SPEC section 16.2."""
        word = self.sums
        return {
            "gid": self.gid,
            "base": self.base,
            "matrices": [matrix.to_dict() for matrix in self.matrices],
            "cohort": list(self.cohort),
            "shares": self.shares,
            "survivors": self.survivors,
            "degree": self.degree,
            "count_bits": self.counts.bits,
            "sum": {} if word is None else {"bits": word.bits, "fraction": word.fraction, "bound": word.bound},
            "cipher": {} if self.cipher is None else self.cipher.to_dict(),
        }

    @classmethod
    def from_dict(cls, value: Any) -> "GroupPlan":
        """Read it back.  Raises FormatError; CapacityExceeded where the numbers could overflow (check P12)."""
        found = fields(value, _SCHEMA, _WHAT)
        size = len(found["cohort"])
        if not all(type(member) is str for member in found["cohort"]):
            raise FormatError(f"{_WHAT}: the cohort holds something else than ids")
        word = None
        if found["sum"]:
            form = fields(found["sum"], {"bits": int, "fraction": int, "bound": int}, f"{_WHAT}: sum")
            word = SumWord(form["bits"], form["fraction"], form["bound"], size)
        counts = CountField(found["count_bits"], size)
        if counts != CountField.for_cohort(size):
            raise CapacityExceeded(f"counts of {counts.bits} bits are not the smallest for {size} members", check="P12")
        return cls(
            gid=found["gid"],
            base=found["base"],
            matrices=tuple(map(MatrixShape.from_dict, found["matrices"])),
            cohort=tuple(found["cohort"]),
            shares=found["shares"],
            survivors=found["survivors"],
            degree=found["degree"],
            counts=counts,
            sums=word,
            cipher=Parameters.from_dict(found["cipher"]) if found["cipher"] else None,
        )


def base_digest(matrices: Iterable[tuple[MatrixShape, bytes]]) -> str:
    """Digest of the base weights of a group, hex (SPEC section 16.2).

    matrices: in the order of the vector, each with the SHA-256 of its float32 values, little-endian, row-major.
    """
    parts: list[bytes] = []
    for shape, hashed in matrices:
        parts += [shape.name.encode(), shape.rows.to_bytes(8, "little"), shape.columns.to_bytes(8, "little"), hashed]
    return digest(Label.DIGEST_BASE, *parts).hex()


def model_digest(bases: Iterable[str]) -> str:
    """Digest of a model before any round, hex (SPEC section 16).  bases: of all its groups, in order, hex."""
    return digest(Label.DIGEST_MODEL, *map(bytes.fromhex, bases)).hex()


def layer_digest(matrices: Iterable[tuple[MatrixShape, bytes, bytes]]) -> str:
    """Digest of the pruned weights of a group, hex (SPEC section 16.4).

    matrices: in the order of the vector, each with the SHA-256 of its packed keep-mask and that of its float32 values,
    little-endian, row-major, +0 where dropped.
    """
    parts: list[bytes] = []
    for shape, keep, values in matrices:
        parts += [shape.name.encode(), shape.rows.to_bytes(8, "little"), shape.columns.to_bytes(8, "little")]
        parts += [keep, values]
    return digest(Label.DIGEST_LAYER, *parts).hex()


def is_ascending(items: Sequence[Any]) -> bool:
    """Whether the items are in strictly ascending order, hence each there once."""
    return all(earlier < later for earlier, later in pairwise(items))
