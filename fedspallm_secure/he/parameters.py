"""The BFV parameters of a plan: the smallest that fit, how surely they decrypt, and what a vector costs under them.

Everybody finds the same parameters from the same three numbers, in integers; a plan that names others is refused.

**Security.** Ring degree 4096, ternary secrets, errors of standard deviation 3.2, and a modulus of at most 90 bits with
the auxiliary prime: the Homomorphic Encryption Standard (Albrecht et al. 2018, table 1) allows 109 bits for 128-bit
security.  Degree 8192 would be of use for moduli above that only, and no vector here needs one.

**Decryption.** SEAL encrypts under q*p and divides by the auxiliary prime p, rounding to nearest
(`Encryptor::encrypt_zero_internal`).  A fresh ciphertext of m then has c0 + c1 s = (q/t) m + v, where

    v = (e0 + u e + e1 s) / p + tau0 + tau1 s + epsilon        |tau0|, |epsilon| <= 1/2 in every coefficient

with secret s, u ternary, errors of at most 21 (a binomial of 42 coins), and what rounding leaves: tau1 is uniform on
[-1/2, 1/2], since p*q ciphertexts look uniform even to whoever knows s (ring-LWE with secret u).  So without tau1 s a
coefficient of v is at most 1 + 21 (2n + 1) / p; that of tau1 s is a sum of n such numbers with signs, sub-Gaussian with
variance proxy n/12.  Over N ciphertexts, for x = what is left of q/t (1/2 - 1/gamma) after N times the first part,

    P(a coefficient of the sum is wrong) <= 2 exp(-x^2 / (2 N n / 12))

and the sum of messages below t decrypts exactly otherwise (Bajard et al. 2016, lemma 1; gamma, SEAL's own prime, has 61
bits).  Over n coefficients and the most chunks that a vector may have, this has to stay below 2^-64.  It holds for
ciphertexts that were made as they should be; nobody proves that of others' (docs/adr/0028).
"""

from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, Self

from fedspallm_secure.crypto.encoding import canonical_json, fields, parse_canonical_json
from fedspallm_secure.errors import CapacityExceeded, FormatError
from fedspallm_secure.he.primes import coefficient_primes, plain_prime

DEGREE: Final = 4096  # n: coefficients of a polynomial, and slots of a chunk
AUXILIARY_BITS: Final = 30  # of p: above 21 (2n + 1), so that errors all but vanish
COEFFICIENT_BITS: Final = range(30, 61)  # of q; SEAL takes no larger prime
STANDARD_BITS: Final = 109  # the most that q*p may have for 128-bit security
FAILURE_BITS: Final = 64  # no sum of a round decrypts wrongly with probability 2^-64 or more
CHUNKS_LIMIT: Final = 1 << 16  # chunks of a vector: 4 GiB for each member
MEMBERS_LIMIT: Final = 10_000
SUM_LIMIT: Final = 1 << 31  # no kept sum reaches it (SPEC section 12)

_ERROR_LIMIT = 21  # the largest error that SEAL draws
_GAMMA = 1 << 60  # below SEAL's gamma
_LOG2_E = Fraction(14426, 10_000)  # rounded down
_CHUNK_OVERHEAD = 1024  # bytes for SEAL's and TenSEAL's headers, and what compression may add
# Of CPU, by `python -m benchmarks p14` at commit 220b783 on an AMD EPYC; what a plan shows is for orientation.
# Keystreams: 4096 numbers each, one at a member and one of every member at the key holder (SPEC section 24.3).
_SECONDS_PER_CHUNK = {"encrypt": 0.0015, "add": 0.00025, "decrypt": 0.0010, "keystream": 0.00007}
_WHAT = "the encryption parameters"
_SCHEMA: dict[str, type] = {
    "scheme": str,
    "degree": int,
    "plain_modulus": int,
    "coefficient_bits": list,
    "members": int,
    "bound": int,
    "per_slot": int,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a vector comes to, before anybody makes it.

    chunks: ciphertexts; member_bytes: the most that a member sends; encrypt_seconds: of CPU, at a member;
    add_seconds: at the server, for all members; decrypt_seconds: at the key holder.
    """

    weights: int
    chunks: int
    member_bytes: int
    encrypt_seconds: float
    add_seconds: float
    decrypt_seconds: float

    @property
    def bytes_per_weight(self) -> float:
        """Of what a member sends."""
        return self.member_bytes / self.weights

    def to_dict(self) -> dict[str, Any]:
        """Plain data, to show."""
        return {**asdict(self), "bytes_per_weight": round(self.bytes_per_weight, 3)}


@dataclass(frozen=True, slots=True)
class Parameters:
    """A set that `choose` gives.  Made by it alone, and by readers that compare with it.

    members: n_max, the most ciphertexts in a sum; bound: V, the largest size of a summed value, 0 where only votes are
    counted; per_slot: k, weights that share a slot; plain_modulus: t; coefficient_bits: of q and of p.
    """

    members: int
    bound: int
    per_slot: int
    plain_modulus: int
    coefficient_bits: tuple[int, int]

    @property
    def base(self) -> int:
        """What a weight's number stays below in every sum: (n_max + 1) (2 V n_max + 1), and so the radix of a slot."""
        return field_base(self.members, self.bound)

    @property
    def weights_per_chunk(self) -> int:
        """k * 4096."""
        return self.per_slot * DEGREE

    @property
    def chunk_most(self) -> int:
        """The most bytes of a chunk: two polynomials in words of 64 bits, and the headers."""
        return 2 * DEGREE * 8 + _CHUNK_OVERHEAD

    @property
    def chunk_least(self) -> int:
        """The fewest bytes of a chunk: a genuine one looks random and cannot be compressed below this."""
        return 2 * DEGREE * (self.coefficient_bits[0] - 1) // 8

    @property
    def bytes_per_slot(self) -> float:
        """The most bytes of a chunk over its slots."""
        return self.chunk_most / DEGREE

    @property
    def failure_bits(self) -> int:
        """b, rounded down: a round's sum decrypts wrongly with a probability below 2^-b."""
        return _failure_bits(self.members, self.plain_modulus, self.coefficient_bits)

    def chunks(self, weights: int) -> int:
        """How many ciphertexts a vector of `weights` weights takes.  Raises CapacityExceeded for none or too many."""
        if weights < 1:
            raise CapacityExceeded(
                f"a vector of {weights} weights cannot be encrypted", hint="plan at least one matrix"
            )
        found = -(-weights // self.weights_per_chunk)
        if found > CHUNKS_LIMIT:
            size, most = found * self.chunk_most >> 20, CHUNKS_LIMIT * self.chunk_most >> 20
            raise CapacityExceeded(
                f"encrypted, {weights:,} weights are {size:,} MiB for each member; at most {most:,} MiB are sent",
                hint="plan fewer layers in a round, sum votes only, or use secure aggregation by pairwise keys",
            )
        return found

    def cost(self, weights: int, members: int | None = None) -> Cost:
        """What such a vector costs.  members: how many take part, n_max if None.  Raises CapacityExceeded."""
        count = self.chunks(weights)
        added = self.members if members is None else members
        seconds = _SECONDS_PER_CHUNK
        return Cost(
            weights,
            count,
            count * self.chunk_most,
            count * (seconds["encrypt"] + seconds["keystream"]),
            count * seconds["add"] * added,
            count * (seconds["decrypt"] + seconds["keystream"] * added),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a plan."""
        return {
            "scheme": "bfv",
            "degree": DEGREE,
            "plain_modulus": self.plain_modulus,
            "coefficient_bits": list(self.coefficient_bits),
            "members": self.members,
            "bound": self.bound,
            "per_slot": self.per_slot,
        }

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Read it back.  Raises FormatError for all but what `choose` gives, CapacityExceeded where that is nothing."""
        found = fields(value, _SCHEMA, _WHAT)
        chosen = choose(found["members"], found["bound"])
        # Through the one encoding, since True == 1 and 4096 == 4096.0 in Python.
        if canonical_json(found) != chosen.encode():
            raise FormatError(f"{_WHAT} are not those that follow from {chosen.members} members and {chosen.bound}")
        return cls(**asdict(chosen))

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.to_dict())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read it back; data: already bounded by the caller.  Raises as `from_dict`."""
        return cls.from_dict(parse_canonical_json(data, _WHAT))


@lru_cache(maxsize=64)
def choose(members: int, bound: int = 0) -> Parameters:
    """The smallest parameters for sums over at most `members`, of votes and values from -bound to bound.

    As many weights share a slot as the largest modulus allows; then plain and ciphertext modulus are the smallest that
    hold them.  bound: 0 for votes alone; what `SumWord.bound` is.  Raises CapacityExceeded where nothing fits.
    """
    if not 2 <= members <= MEMBERS_LIMIT:
        raise CapacityExceeded(f"sums over 2 to {MEMBERS_LIMIT} members are encrypted, not over {members}")
    if bound < 0 or members * bound >= SUM_LIMIT:
        raise CapacityExceeded(f"{members} values of size {bound} are outside the range of kept sums")
    base, widest = field_base(members, bound), max(COEFFICIENT_BITS)
    found, per_slot = None, 1
    while (fitting := _fitting(members, base**per_slot, widest)) is not None:
        found, per_slot = fitting, per_slot + 1
    if found is None:
        raise CapacityExceeded(
            f"no modulus of {widest} bits holds sums over {members} members of values up to {bound}",
            hint="plan smaller cohorts, or sums of 16 bits",
        )
    per_slot -= 1
    smallest = next(bits for bits in COEFFICIENT_BITS if _fitting(members, base**per_slot, bits) is not None)
    modulus = _fitting(members, base**per_slot, smallest)
    assert modulus is not None  # noqa: S101  (it was just found)
    return Parameters(members, bound, per_slot, modulus, (smallest, AUXILIARY_BITS))


def field_base(members: int, bound: int) -> int:
    """One more than the largest number that a weight's votes and shifted values add up to."""
    return (members + 1) * (2 * bound * members + 1)


def _fitting(members: int, least: int, bits: int) -> int | None:
    """The plain modulus for numbers below `least` under a q of `bits` bits, None where sums would not decrypt."""
    if least >> bits:
        return None
    moduli = (bits, AUXILIARY_BITS)
    modulus = plain_prime(DEGREE, least, coefficient_primes(DEGREE, moduli))
    return modulus if _failure_bits(members, modulus, moduli) > FAILURE_BITS else None


def _failure_bits(members: int, modulus: int, bits: tuple[int, int]) -> int:
    q, p = coefficient_primes(DEGREE, bits)
    room = Fraction(q, modulus) * (Fraction(1, 2) - Fraction(1, _GAMMA))
    x = room - members * (1 + Fraction(_ERROR_LIMIT * (2 * DEGREE + 1), p))
    if x <= 0:
        return 0
    exponent = x * x * 6 / (members * DEGREE) * _LOG2_E
    union = 1 + (DEGREE.bit_length() - 1) + (CHUNKS_LIMIT.bit_length() - 1)  # log2 of 2 * n * chunks
    return max(0, int(exponent - union))
