"""A good message with one fault in it, wherever there can be one, and messages that nobody would write."""

from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.errors import FormatError

Case = tuple[str, Any]  # what is wrong, and the value with it


def faults(value: Any) -> list[Case]:
    """What a closed schema with ordered arrays refuses, whatever it is about."""
    return list(_faults(value, "it"))


def _faults(value: Any, at: str) -> Iterator[Case]:
    others: list[Any] = [True, 1, "1", [], {}]
    yield from ((f"{at} is {other!r}", other) for other in others if type(other) is not type(value))
    if type(value) is dict:
        yield f"{at} has more", {**value, "more": 1}
        for name, member in value.items():
            yield f"{at} lacks {name}", {other: value[other] for other in value if other != name}
            yield from ((what, {**value, name: bad}) for what, bad in _faults(member, f"{at}.{name}"))
    elif type(value) is list:
        if value != value[::-1]:
            yield f"{at} is turned", value[::-1]
        for i, element in enumerate(value):
            yield f"{at}[{i}] is there twice", [*value[:i], element, *value[i:]]
            yield from ((what, [*value[:i], bad, *value[i + 1 :]]) for what, bad in _faults(element, f"{at}[{i}]"))
    elif type(value) is int:
        yield f"{at} is negative", -1
    elif type(value) is str:
        yield f"{at} has a space", f"{value} "
        yield f"{at} has an accent", f"\u00e9{value}"


def replaced(value: Any, *path: str | int, by: Any) -> Any:
    """A copy of `value` with what stands at `path` replaced."""
    if not path:
        return by
    first, *rest = path
    if type(value) is dict:
        return {**value, first: replaced(value[first], *rest, by=by)}
    assert type(value) is list and type(first) is int
    return [*value[:first], replaced(value[first], *rest, by=by), *value[first + 1 :]]


HEX, OTHER_HEX = "0a" * 32, "0b" * 32
_INTEGERS = st.integers(-2, 12) | st.sampled_from([2**53 - 1, 10**9])
_STRINGS = st.sampled_from(
    ["", "*", "7", "07", "a", "b", "-", "A", "member/a", "witness/a", "server/a"]
) | st.sampled_from(
    [HEX, OTHER_HEX, HEX[:-1], HEX.upper(), *(encode_base64(bytes(size)) for size in (0, 32, 64)), "STOPPED"]
)
_SCALARS = st.booleans() | _INTEGERS | _STRINGS


def any_json(names: list[str]) -> st.SearchStrategy[Any]:
    """Any JSON, with members called `names`."""
    return st.recursive(
        _SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names), inner, max_size=7),
        max_leaves=12,
    )


def near(good: Any) -> st.SearchStrategy[Any]:
    """`good`, or any JSON in place of some of what is in it; nothing that is nested too deep to be written."""
    return _near(good).filter(_can_be_written)


def _can_be_written(value: Any) -> bool:
    try:
        canonical_json(value)
    except FormatError:
        return False
    return True


@st.composite
def _near(draw: st.DrawFn, good: Any) -> Any:
    if draw(st.integers(0, 9)) == 0:
        return draw(any_json(sorted(good) if type(good) is dict and good else ["id"]))
    if type(good) is dict and good:
        chosen = draw(st.sampled_from(sorted(good)))
        return {**good, chosen: draw(_near(good[chosen]))}
    if type(good) is list and good:
        chosen = draw(st.integers(0, len(good) - 1))
        return [*good[:chosen], draw(_near(good[chosen])), *good[chosen + 1 :]]
    return draw({int: _INTEGERS, str: _STRINGS}.get(type(good), st.just(good)))


def refuses(parse: Callable[[bytes], Any], data: bytes) -> bool:
    """Whether `parse` raises FormatError, and no other error; if it does not, what it read is written as it was."""
    try:
        found = parse(data)
    except FormatError:
        return True
    assert found.encode() == data
    return False
