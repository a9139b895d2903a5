"""Where a server or a member stands, without a password: it has to agree with what their machines know."""

import json
import os
import re
import time

import pytest

from fedspallm_secure.app.courier.exporting import export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.service.control import rounds_of
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.shelf import Shelf
from fedspallm_secure.app.service.status import live_path, status_of
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import MissingInput, RecordDamaged, StorageError
from fedspallm_secure.protocol.rounds.member_state import State as MemberStage
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.records_member import Closed
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.anchor import Anchor
from tests.app.service.stages import FEDERATION_TOML, drive, open_round, settle, write_configs
from tests.stationary import SERVER, Stations, stations


@pytest.fixture
def found(tmp_path):
    with stations(tmp_path, members=4, layers=3) as made:
        write_configs(tmp_path, made.names)
        yield made


def at_server(found: Stations, **more):
    return status_of(found.ceremony.folder / "federation.toml", now=found.now, **more)


def at_member(found: Stations, name: str):
    return status_of(found.ceremony.folder / f"{name}.toml", now=found.now)


def agrees(found: Stations) -> None:
    """What is shown is what the machines know."""
    shown, station = at_server(found), found.server.station
    if station is not None:
        machine, part = station.machine, shown["round"]
        assert part["state"] == machine.state.name.lower()
        for group in part["groups"]:
            here = {member for gid, member in machine.received if gid == group["layer"]}
            assert set(group["delivered"]) == here
            end = machine.ended.get(group["layer"])
            assert group["ended"] == (None if end is None else end.code.value)
        assert set(part["endorsements"]["here"]) == machine.endorsements.keys()
        assert set(part["answers"]["here"]) == {f"member/{id}" for id in machine.answers}
        if machine.survivors is not None and machine.state is not State.FINISHED:
            awaited = machine.asked() - machine.answers.keys()
            assert set(part["answers"]["awaited"]) == {f"member/{id}" for id in awaited}
    for name, member in found.members.items():
        shown = at_member(found, name)
        if member.machine.accepted is None:
            assert shown["state"] == "waiting for a plan"
        else:
            assert shown["state"] == member.machine.state.name.lower()
            assert {one["layer"] for one in shown["round"]["layers"] if one["state"] == "due"} == {
                group.gid for group in member.due()
            }
        assert set((shown["follows"] or {"missing": []})["missing"]) == member.results.missing()


@pytest.mark.slow
@pytest.mark.parametrize("profile", [Profile.THREE_TRIP, Profile.TWO_TRIP], ids=["three", "two"])
def test_it_agrees_with_the_machines_all_the_way(tmp_path, profile):
    with stations(tmp_path, members=4, layers=2, profile=profile) as found:
        write_configs(tmp_path, found.names)
        seen = set()
        for _ in range(60):
            agrees(found)
            seen.add(at_server(found)["state"])
            moved = found.carry()
            agrees(found)
            moved += found.server.work_through()
            agrees(found)
            moved += found.server.tick()
            agrees(found)
            seen.add(at_server(found)["state"])
            for station in found.members.values():
                moved += station.work_through()
                for group in station.due():
                    station.contribute_layer(group)
                    moved += 1
            if not moved:
                break
        agrees(found)
        assert seen >= {"offers", "collecting", "unmasking", "finished", "done"}
        assert ("endorsing" in seen) == (profile is Profile.THREE_TRIP)
        shown = at_server(found)
        assert shown["round"]["result"] is not None
        assert (shown["rounds"], shown["round"]["over"]) == ({"done": 1, "of": 1, "failed": 0}, True)
        assert at_member(found, "north")["round"]["result"] == shown["round"]["result"]


def test_before_anything_has_run(tmp_path):
    made = Stations(tmp_path, members=3)
    write_configs(tmp_path, made.names)
    for name in ("federation", "north"):
        shown = status_of(tmp_path / f"{name}.toml")
        assert (shown["state"], shown["running"], shown["round"]) == ("not begun", False, None)
        assert shown["disk_free"] > 0


def test_who_has_not_offered(found):
    found.silent = {"west"}
    found.carry()
    found.server.work_through()
    rows = {row["member"]: row for row in at_server(found)["members"]}
    assert {name for name, row in rows.items() if row["offered"] is None} == {"west"}
    assert (rows["north"]["prekeys"], rows["north"]["layers"], rows["north"]["software"]) == (2, 0, "test/1")
    assert rows["north"]["last_heard"] is not None
    assert rows["west"]["last_heard"] is None


def test_who_is_awaited_while_collecting(found):
    open_round(found, ("west",))
    shown = at_server(found)
    part = shown["round"]
    assert (part["round"], part["step"], part["target"], shown["rounds"]["of"]) == (1, 1, "50 %", 1)
    assert [group["awaited"] for group in part["groups"]] == [["west"]] * 3
    assert part["deadline"] == found.now + 3600
    rows = {row["member"]: row for row in shown["members"]}
    assert (rows["west"]["delivered"], rows["west"]["due"], rows["west"]["plan_fetched"]) == (0, 3, None)
    assert (rows["north"]["delivered"], rows["north"]["prekeys"]) == (3, 1)
    assert rows["north"]["plan_fetched"] is not None
    assert [(one["recipient"], one["type"]) for one in shown["leaving"]] == [
        ("member/west", "log"),
        ("member/west", "plan"),
    ]
    assert shown["outbox"]["packages"] == 2


def test_layers_that_end_without_a_sum(tmp_path):
    with stations(tmp_path, members=4, layers=3, attempts=1) as found:
        write_configs(tmp_path, found.names, FEDERATION_TOML + "[rounds]\nattempts = 1\n")
        open_round(found, ("west", "south"))
        found.now += 4000
        settle(found)
        shown = at_server(found)
        groups = shown["round"]["groups"]
        assert {group["ended"] for group in groups} == {"TOO_FEW_CONTRIBUTIONS"}
        assert not any(group["awaited"] for group in groups)
        assert (shown["state"], shown["rounds"]["failed"]) == ("given up", 1)
        assert {one["state"] for one in at_member(found, "north")["round"]["layers"]} == {"ended"}


def test_an_attempt_that_cannot_succeed_is_none(found):
    open_round(found, ("west",))
    found.now += 4000
    settle(found)
    shown = at_server(found)
    assert (shown["state"], shown["rounds"]["failed"]) == ("given up", 1)


def test_a_member_from_layer_to_layer(found):
    found.carry()
    found.step()
    found.carry()
    member = found.members["north"]
    member.work_through()
    states = lambda: [one["state"] for one in at_member(found, "north")["round"]["layers"]]  # noqa: E731
    assert states() == ["due"] * 3
    groups = member.due()
    member.contribute_layer(groups[0])
    assert states() == ["waits", "due", "due"]
    shown = at_member(found, "north")
    assert (shown["prekeys"], shown["round"]["due"], shown["round"]["list"]) == (1, 2, False)
    assert [(one["type"], one["packages"]) for one in shown["leaving"]] == [("contribution", 1)]
    assert shown["by_hand"]
    found.carry()
    assert states() == ["sent", "due", "due"]
    found.server.work_through()
    found.carry()
    member.work_through()
    assert states() == ["received", "due", "due"]
    member.freeze(groups[1], type("Frozen", (), {"hash": bytes(32)})())
    assert states() == ["received", "lost", "due"]
    assert at_member(found, "north")["last_contact"] is not None


def test_what_the_service_at_work_seals_is_not_lost(found, monkeypatch):
    monkeypatch.setattr(Live, "_write_on", lambda self: None)  # two who write at once would spoil each other's file
    found.carry()
    found.step()
    found.carry()
    member = found.members["north"]
    member.work_through()
    member.freeze(member.due()[1], type("Frozen", (), {"hash": bytes(32)})())
    live = Live(live_path(found.data("member/north")))
    states = lambda: [one["state"] for one in at_member(found, "north")["round"]["layers"]]  # noqa: E731
    for lost, state in (((1, []), "sealing"), ((1, [1]), "lost"), ((7, [1]), "sealing")):
        live.lost(*lost)
        live._write()
        assert states() == ["due", state, "due"]
    live.close()
    assert states() == ["due", "lost", "due"]


def test_nothing_of_a_round_that_is_over_is_lost(found, monkeypatch):
    monkeypatch.setattr(Live, "_write_on", lambda self: None)
    found.carry()
    found.step()
    found.carry()
    member = found.members["north"]
    member.work_through()
    member.freeze(member.due()[1], type("Frozen", (), {"hash": bytes(32)})())
    live = Live(live_path(found.data("member/north")))
    live.lost(1, [1])
    live._write()
    assert at_member(found, "north")["lost"] == {"round": 1, "layers": [1]}
    with member.post.journal.transaction():
        member.post.journal.append(1, [Closed("ab" * 32)])
    shown = at_member(found, "north")
    assert (shown["running"], shown["state"], shown["lost"]) == (True, "closed", {})
    live.close()


@pytest.mark.parametrize("party", ["server/hub", "member/north"])
def test_an_old_copy_says_so(found, party):
    found.carry()
    name = "federation" if party == "server/hub" else "north"
    path = found.ceremony.folder / f"{name}.toml"
    path.write_text(path.read_text().replace("data =", 'anchor = "anchors"\ndata ='))
    anchor = found.post(party).anchoring._anchor

    def look():
        return status_of(path, now=found.now)

    assert "trouble" not in look()
    anchor.write(1000)
    before = anchor.path.read_bytes()
    assert re.match(r"this home is older than .* its anchor, .*, to 1000; stop: .* enrol again", look()["trouble"])
    found.close(party)
    assert "to 1000" in look()["trouble"]
    assert anchor.path.read_bytes() == before
    anchor.path.write_bytes(b"{}")
    assert "damaged" in look()["trouble"]
    anchor.path.unlink()
    assert "trouble" not in look() and not anchor.path.exists()


def test_an_old_copy_from_before_the_first_start(tmp_path):
    with stations(tmp_path, members=4, layers=1) as found:
        path = tmp_path / "north.toml"
        write_configs(tmp_path, ["north"])
        path.write_text(path.read_text().replace("data =", 'anchor = "anchors"\ndata ='))
        found.post("member/north").anchoring._anchor.write(1000)
        tables = found.post("member/north").journal.connection
        tables.execute("DROP TABLE facts")
        shown = status_of(path, now=found.now)
        assert shown["state"] == "not begun" and "to 1000" in shown["trouble"]


def test_what_is_counted_during_a_look_makes_no_old_copy(found, monkeypatch):
    path = found.ceremony.folder / "north.toml"
    path.write_text(path.read_text().replace("data =", 'anchor = "anchors"\ndata ='))
    register, read = found.post("member/north").journal.register, Anchor.read

    def meanwhile(anchor):
        anchor.write(register.next_sequence())
        return read(anchor)

    monkeypatch.setattr(Anchor, "read", meanwhile)
    assert "trouble" not in status_of(path, now=found.now)


def test_a_declined_plan_is_seen_at_both_ends(found):
    found.members["north"].policy = Policy(SERVER, 1, software=frozenset({"other/1"}))
    found.members["north"].renew()
    open_round(found, ("west",))
    shown = at_member(found, "north")
    assert (shown["state"], shown["declined"]["round"], shown["declined"]["check"]) == ("waiting for a plan", 1, "P14")
    assert [(one["type"], one["check"]) for one in shown["refused"]] == [("plan", "P14")]
    assert shown["follows"]["round"] == 1
    assert at_member(found, "south")["declined"] is None
    part = at_server(found)["round"]
    assert [(one["member"], one["check"]) for one in part["declined"]] == [("north", "P14")]
    assert "do not trust" in part["declined"][0]["reason"]
    assert {group["ended"] for group in part["groups"]} == {"TOO_FEW_CONTRIBUTIONS"}  # a cohort of four needs all
    (row,) = rounds_of(found.ceremony.folder / "federation.toml")
    assert [(one["member"], one["check"]) for one in row["declined"]] == [("north", "P14")]


def test_when_a_round_was_opened_does_not_change(tmp_path):
    with stations(tmp_path, members=4, layers=1, schedule=("1/4", "1/2")) as found:
        write_configs(tmp_path, found.names)
        open_round(found, ("west",))
        before = rounds_of(tmp_path / "federation.toml")[0]["opened"]
        assert before == found.now
        found.silent.clear()
        found.now += 100
        found.run()
        rows = rounds_of(tmp_path / "federation.toml")
        assert [row["opened"] for row in rows] == [before, found.now]


def test_contacts_count_as_well_as_packages(found):
    open_round(found, ("west",))
    folder = found.ceremony.folder
    for data, peer in (("data-hub", "member/west"), ("data-north", "server/hub")):
        live = Live(folder / data / "live.json")
        live.contact(peer)
        live.close()
    now = int(time.time())
    rows = {row["member"]: row["last_heard"] for row in at_server(found)["members"]}
    assert abs(rows["west"] - now) < 60
    assert abs(at_member(found, "north")["last_contact"] - now) < 60
    (folder / "data-hub" / "contacts.json").write_text('{"member/west": "x"}')
    assert at_server(found)["members"]


def test_a_bundle_of_receipts_alone_is_something_that_was_heard(found, tmp_path):
    found.carry()
    found.server.work_through()
    assert found.server.tick()
    before = at_server(found)["members"][0]["last_heard"]
    found.now += 500
    hub, north = found.server.post, found.members["north"].post
    for number, (sender, recipient) in enumerate(((hub, north), (north, hub))):
        medium = tmp_path / f"medium-{number}"
        medium.mkdir()
        (made,) = export(sender, medium, None, [recipient.party], False, "", Silent())
        with open_medium(medium) as opened:
            import_from(recipient, opened, Silent())
    assert not made.bundle.contents.files and made.bundle.contents.received
    rows = {row["member"]: row["last_heard"] for row in at_server(found)["members"]}
    assert rows["north"] == found.now > before and rows["south"] == before


def test_who_comes_without_a_package_is_heard_of(found):
    live = Live(found.data("server/hub") / "live.json")
    shelf = Shelf(found.server.post.spool, live, found.server.post.why_awaited)
    for name, call in (("north", shelf.again), ("south", shelf.last_sequence)):
        call(Party.parse(f"member/{name}"))
    assert live.snapshot()["contacts"].keys() == {"member/north", "member/south"}
    live.close()


def test_what_a_server_hands_out_counts_as_down(found):
    open_round(found, ("west",))
    post, live = found.server.post, Live(found.data("server/hub") / "live.json")
    shelf = Shelf(post.spool, live, post.why_awaited)
    north = Party.parse("member/north")
    waits = shelf.listing(north, 0, 100)
    sizes = [shelf.departure(north, one.digest).stat().st_size for one in waits]
    assert live.snapshot()["bytes"] == {"up": 0, "down": 0} and sizes
    for one in waits:
        shelf.departed(north, one.digest)
    assert live.snapshot()["bytes"] == {"up": 0, "down": sum(sizes)}
    assert live.snapshot()["transfers"] == []
    live.close()


def test_members_without_a_certificate_are_marked(found):
    open_round(found, ("west",))
    certificates = lambda: {row["member"]: row["certificate"] for row in at_server(found)["members"]}  # noqa: E731
    assert set(certificates().values()) == {""}
    found.ceremony.take("server/hub", found.ceremony.revoke("member/north"))
    found.now += 1
    assert certificates() == {"north": "withdrawn", "south": "", "west": "", "east": ""}


def test_what_was_refused_has_its_check(found):
    open_round(found, ("west",))
    path = found.server.post.journal
    with path.transaction():
        path.connection.execute(
            "INSERT INTO inbox VALUES (?, 'member/west', 'a key', 'contribution', 1, '2', 9, 10, ?, 'refused', ?)",
            ("cd" * 32, found.now, "S4: a row does not give its commitment"),
        )
    shown = at_server(found)
    (one,) = shown["refused"]
    assert (one["sender"], one["layer"], one["check"]) == ("member/west", 2, "S4")
    assert shown["refusals"] == {"S4": 1}
    assert shown["round"]["groups"][2]["awaited"] == ["west"]


def test_it_writes_nothing_and_waits_for_nobody(found):
    open_round(found, ("west",))
    folder = found.ceremony.folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "register" not in path.name}
    with found.server.post.journal.transaction():
        shown = at_server(found)
    assert shown["state"] == "collecting"
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "register" not in path.name}
    assert after == before


def test_it_is_plain_data(found):
    open_round(found, ("west",))
    for shown in (at_server(found), at_member(found, "north")):
        assert json.loads(json.dumps(shown, allow_nan=False)) == shown
        assert "open sesame" not in json.dumps(shown)


def write_live(found, **changes):
    data = found.ceremony.folder / "data-hub"
    move = {"key": "k", "direction": "down", "peer": "member/west", "type": "contribution", "round": 1, "group": "2"}
    facts = {
        "pid": os.getpid(), "at": time.time(), "started": 1.0, "phase": "collecting",
        "trouble": "", "errors": {}, "contacts": {}, "bytes": {"up": 0, "down": 5},
        "transfers": [{**move, "done": 100, "size": 300, "rate": 20}],
        "work": [{"task": "prune", "done": 1, "total": 5, "unit": "layers", "rate": 0}],
    }  # fmt: skip
    (data / "live.json").write_text(json.dumps(facts | changes))


def test_what_the_running_service_says(found):
    write_live(found)
    shown = at_server(found)
    assert (shown["running"], shown["pid"], shown["phase"]) == (True, os.getpid(), "collecting")
    assert shown["transfers"][0]["left"] == 10
    assert shown["work"][0]["left"] is None


def test_a_service_that_is_silent_does_not_run(found):
    write_live(found, at=time.time() - 60)
    shown = at_server(found)
    assert not shown["running"]
    assert "phase" not in shown


@pytest.mark.parametrize(
    "changes",
    [{"transfers": 7}, {"transfers": [{"rate": "x"}]}, {"work": [{}]}, {"transfers": [{"rate": 1}]}],
    ids=["no list", "no number", "no rate", "no size"],
)
def test_a_file_of_another_form_is_not_believed(found, changes):
    write_live(found, **changes)
    assert not at_server(found)["running"]


def test_packages_that_arrive(found):
    found.carry()
    (found.ceremony.folder / "data-hub/spool/part/member-north.abc.part").write_bytes(bytes(70))
    assert at_server(found)["arriving"] == [{"sender": "member/north", "bytes": 70}]


def test_what_cannot_be_read(found, tmp_path):
    open_round(found)
    with pytest.raises(MissingInput):
        status_of(tmp_path / "nothing.toml")
    found.__exit__()
    register = tmp_path / "server-hub/register.sqlite"
    for path in tmp_path.glob("server-hub/register.sqlite*"):
        path.write_bytes(b"x" * 5000)
    with pytest.raises(RecordDamaged):
        at_server(found)
    register.unlink()
    with pytest.raises(StorageError):
        at_server(found)


def test_after_everybody_has_gone(found):
    open_round(found, ("west",))
    found.__exit__()
    assert at_server(found)["state"] == "collecting"
    assert at_member(found, "north")["state"] == MemberStage.PLANNED.name.lower()


def test_a_stage_is_reached(found):
    drive(found, State.UNMASKING, silent=())
    shown = at_server(found)
    assert sorted(shown["round"]["answers"]["awaited"]) == sorted(f"member/{name}" for name in found.names)
    assert {one["state"] for one in at_member(found, "north")["round"]["layers"]} == {"listed"}
