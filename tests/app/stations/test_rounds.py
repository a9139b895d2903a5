"""Rounds between stations on disk."""

from dataclasses import replace

import pytest

from fedspallm_secure.errors import UsageError
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.records_member import ReceiptHeld, read_member_record
from tests.stationary import DIGEST, HUB, stations


def test_a_round(tmp_path):
    with stations(tmp_path, members=4) as found:
        found.run()
        assert found.server.waiting == "all rounds are done"
        assert not found.server.told
        assert all(not station.told for station in found.members.values())
        assert found.model.done == [1]
        for work in found.works.values():
            assert work.taken == [(1, 0), (1, 1)]


def test_receipts_stay_with_the_member(tmp_path):
    """A round later they are what shows that a contribution was received."""
    with stations(tmp_path, members=4) as found:
        found.run()
        public = found.server.post.signer.public
        for station in found.members.values():
            records = station.post.journal.records(1, read_member_record)
            held = {record.gid: record.statement for record in records if isinstance(record, ReceiptHeld)}
            assert held == station.machine.receipts and set(held) == {0, 1}
            for statement in held.values():
                Receipt.parse(statement).statement.verify_by(public)


def test_more_steps_can_be_added_when_all_are_done(tmp_path):
    with stations(tmp_path, members=4, layers=1, schedule=("1/4",)) as found:
        found.run()
        assert found.server.waiting == "all rounds are done"
        found.agenda = replace(found.agenda, schedule=("1/4", "1/2"))
        found.reopen(HUB)
        found.run()
        assert (found.model.done, found.server.waiting) == ([1, 2], "all rounds are done")
        assert all(work.taken == [(1, 0), (2, 0)] for work in found.works.values())


def test_steps_that_are_done_and_the_model_stay_as_they_were(tmp_path):
    with stations(tmp_path, members=4, layers=1, schedule=("1/4", "1/2"), prekeys=4) as found:
        found.run()
        assert found.model.done == [1, 2]
        for schedule in (("1/4", "1/3", "3/4"), ("1/2",), ("1/4", "3/5")):
            found.agenda = replace(found.agenda, schedule=schedule)
            found.reopen(HUB)
            with pytest.raises(UsageError, match=r"rounds went to 25 %, 50 %, and the steps under .pruning. are"):
                found.server.tick()
        found.agenda = replace(found.agenda, schedule=("1/4", "1/2", "3/4"))
        found.reopen(HUB)
        found.model.origin = lambda: "cd" * 32
        with pytest.raises(
            UsageError, match=f"began with the model {DIGEST[:16]}, and that under .model. path is cdcd"
        ):
            found.server.tick()
        del found.model.origin
        found.run()
        assert found.model.done == [1, 2, 3]
