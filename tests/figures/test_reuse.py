"""A few rounds with crashes; and that a home which is put back would be seen, and whatever else is watched."""

from fedspallm_secure.secagg import masking
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.keystreams import Stream
from fedspallm_secure.secagg.masking import add_keystreams, member_terms
from tests.figures.reuse import PutBack, Task, Watch, run

AGAIN = ("used again", "keys derived again", "keys shared with a third", "wrong sums")
CONTEXT = GroupContext("lungs.example", 1, bytes(32), 0)


def test_nothing_is_used_again_in_a_few_rounds():
    found = run(Task(8, 1))
    assert {name: found[name] for name in AGAIN} == dict.fromkeys(AGAIN, 0)
    assert found["crashes"] > 3 and found["sums"] > 3
    assert found["pairs of key and tile"] > 1_000
    assert found["of these once more after a crash"] > 0


def test_a_home_that_is_put_back_uses_keystreams_again():
    found = run(Task(6, 1), PutBack)
    assert found["used again"] > 0 and found["keys derived again"] > 0


def masked(watch: Watch, user: str, seed: int, edges, size: int = 200) -> None:
    watch.user = user
    add_keystreams(bytearray(size), member_terms(CONTEXT, seed, edges, Stream.SUM), 4)


def test_what_is_watched():
    before = masking.stream_key, masking.write_keystream, masking.TILE
    with Watch().watching() as watch:
        masked(watch, "ash", 1, [(10, False), (11, False)])
        masked(watch, "fir", 2, [(10, True)])
        found = watch.figures()
        assert found["pairs of key and tile"] == 5 * 4  # 200 bytes are four tiles of at most 64
        assert (found["used again"], found["keys"], found["keys shared with a third"]) == (0, 4, 0)
        masked(watch, "elm", 3, [(10, True)])  # an edge has two ends
        assert watch.figures()["keys shared with a third"] == 1
        masked(watch, "oak", 2, [])  # and a self seed one owner
        assert watch.figures()["keys shared with a third"] == 2
        masked(watch, "ash", 4, [(11, False)], size=64)
        assert (watch.figures()["used again"], watch.figures()["keys derived again"]) == (1, 1)
        masked(watch, "server", 1, [])
        assert watch.figures()["used again"] == 1 and watch.figures()["taken off by the server"] == 4
    assert (masking.stream_key, masking.write_keystream, masking.TILE) == before
