"""Packing and its inverse in Python's integers, written from the description and used by tests alone."""

from fractions import Fraction


def base(members, bound):
    return (members + 1) * (2 * bound * members + 1)


def packed(parameters, keep, values):
    """Slots as whole numbers.  values: None where only votes are summed."""
    radix, k = base(parameters.members, parameters.bound), parameters.per_slot
    numbers = []
    for index, kept in enumerate(keep):
        number = 0
        if kept:
            number = 1
            if values is not None:
                number += (parameters.members + 1) * (int(values[index]) + parameters.bound)
        numbers.append(number)
    return [
        sum(number * radix**place for place, number in enumerate(numbers[start : start + k]))
        for start in range(0, len(numbers), k)
    ]


def unpacked(parameters, slots, weights, survivors):
    """Counts and sums, or None where no `survivors` members can have made them."""
    radix, k = base(parameters.members, parameters.bound), parameters.per_slot
    counts, sums = [], []
    for number in range(len(slots) * k):
        slot, place = divmod(number, k)
        digit = slots[slot] // radix**place % radix
        if not 0 <= slots[slot] < radix**k:
            return None
        if number >= weights:
            if digit:
                return None
            continue
        count, total = digit % (parameters.members + 1), digit // (parameters.members + 1)
        total -= count * parameters.bound
        if count > survivors or abs(total) > count * parameters.bound:
            return None
        counts.append(count)
        sums.append(total)
    return counts, sums


def failure_log2(parameters, q, p, chunks):
    """log2 of the bound on a wrong decryption, in floating point, from the formula of the module's text."""
    import math

    n, members = 4096, parameters.members
    x = Fraction(q, parameters.plain_modulus) * (Fraction(1, 2) - Fraction(1, 1 << 60))
    x -= members * (1 + Fraction(21 * (2 * n + 1), p))
    variance = members * n / 12
    return math.log2(2 * n * chunks) - float(x) ** 2 / (2 * variance) * math.log2(math.e)
