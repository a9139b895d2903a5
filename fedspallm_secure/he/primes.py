"""The prime moduli of BFV with batching: found here as SEAL finds them, so that a plan can be judged without it."""

from collections.abc import Iterator

_WITNESSES = (
    2,
    3,
    5,
    7,
    11,
    13,
    17,
    19,
    23,
    29,
    31,
    37,
)  # decide every number below 3.3e24 (Sorenson and Webster, 2015)


def is_prime(number: int) -> bool:
    """Whether `number`, below 2^64, is prime: Miller and Rabin's test with bases that leave no doubt."""
    if number < 2:
        return False
    for prime in _WITNESSES:
        if number % prime == 0:
            return number == prime
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(number, base, odd, twos) for base in _WITNESSES)


def _passes(number: int, base: int, odd: int, twos: int) -> bool:
    power = pow(base, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False


def coefficient_primes(degree: int, bits: tuple[int, ...]) -> tuple[int, ...]:
    """What SEAL's `CoeffModulus::Create(degree, bits)` gives.

    For each size the largest primes of exactly that many bits that are 1 modulo 2 * degree, each once; where a size
    stands several times the first place gets the smallest of them, as SEAL hands them out.
    """
    left = {size: list(_downwards(degree, size, bits.count(size))) for size in set(bits)}
    return tuple(left[size].pop() for size in bits)


def _downwards(degree: int, bits: int, count: int) -> Iterator[int]:
    step = 2 * degree
    number = ((1 << bits) - 1) // step * step + 1
    while number >> bits:
        number -= step
    while count:
        if number < 1 << bits - 1:
            raise ValueError(f"there are too few primes of {bits} bits for degree {degree}")
        if is_prime(number):
            count -= 1
            yield number
        number -= step


def plain_prime(degree: int, least: int, without: tuple[int, ...] = ()) -> int:
    """The smallest prime from `least` on, none of `without`, that is 1 modulo 2 * degree, as batching needs it."""
    step = 2 * degree
    number = -(-(least - 1) // step) * step + 1
    while number in without or not is_prime(number):
        number += step
    return number
