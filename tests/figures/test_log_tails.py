"""A few kills of whoever writes a log; and that the figure tells when something is lost."""

import pytest

from fedspallm_secure.storage import log_folder
from tests.figures import log_tails
from tests.figures.log_tails import KINDS, SERVICE, Task, Writing, run

PUBLISHING = KINDS[1]


@pytest.mark.parametrize("again", [(), (3,)])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost(kind, again):
    counts, failures = run(Task(kind, 3, 40, again))
    assert failures == []
    assert counts["kills"] == counts[f"kills of {kind}"] >= 3
    assert not again or counts["killed once more"] > 0


class Eager(Writing):
    """Acknowledges before anything is durable."""

    def take_step(self, journal, store, step):
        self.tell(b"%d" % (store.size + 2 + step))
        super().take_step(journal, store, step)

    def run(self, report):
        self.tell = report
        super().run(report)


@pytest.mark.slow
def test_who_acknowledges_too_early_fails_the_figure(monkeypatch):
    monkeypatch.setattr(log_tails, "Writing", Eager)
    assert run(Task(SERVICE, 0, 6))[1]


def test_a_checkpoint_that_comes_first_fails_the_figure(monkeypatch):
    def hasty(store, folder, note, cosigned):
        log_folder._replace(folder / "checkpoint", note)
        log_folder.publish(store, folder, note, cosigned)

    monkeypatch.setattr("tests.storage.logs.publish", hasty)
    assert run(Task(PUBLISHING, 8, 20))[1]
