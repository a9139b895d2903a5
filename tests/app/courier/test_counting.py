"""Progress of copies: in a unit that fits, and never more of it than there is."""

import pytest

from fedspallm_secure.app.courier.counting import Counter


class Told:
    """Keeps what was told."""

    def __init__(self) -> None:
        self.said: list[tuple[int, int, str]] = []

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        self.said.append((done, total, unit))

    def say(self, line: str) -> None:
        raise AssertionError(line)


@pytest.mark.parametrize(
    ("total", "pieces", "said"),
    [
        (0, [0], []),
        (2867, [2867], [(3, 3, "KiB")]),
        (2867, [1000, 1867], [(3, 3, "KiB")]),
        ((1 << 20) - 1, [(1 << 20) - 1], [(1024, 1024, "KiB")]),
        (1 << 20, [1 << 20], [(1, 1, "MiB")]),
        (5 << 19, [1 << 20, 3 << 19], [(1, 3, "MiB"), (3, 3, "MiB")]),
    ],
)
def test_progress_of_a_copy(total, pieces, said):
    told = Told()
    counter = Counter(told, "copy", total)
    for piece in pieces:
        counter(piece)
    assert told.said == said
