"""The test vectors themselves: complete, readable, and the same when they are made again."""

import ast
import json
import re
from pathlib import Path

import pytest

from fedspallm_secure import errors
from tests import make_vectors
from tests.vector_format import (
    VECTORS,
    Edit,
    Vector,
    big_base,
    dump,
    header_and_signature,
    load,
    load_all,
    parse,
    render,
    undump,
)
from tests.vectorkit.bases import BASES, edits_to
from tests.vectorkit.packages import Recordings, package_digest
from tests.vectorkit.primitives import seeded
from tests.vectorkit.world import hybrid_key

ROOT = Path(__file__).parent.parent
ALL = load_all()


def steps() -> dict[int, set[str]]:
    """The classes that the table of SPEC section 9 names for each step."""
    section = (ROOT / "docs/SPEC.md").read_text("utf-8").split("## 9. ")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", section, re.MULTILINE)
    return {int(number): set(re.findall(r"`(\w+)`", classes)) for number, classes in rows}


def test_made_again_they_are_the_same(tmp_path):
    make_vectors.write(tmp_path)
    made = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.*")}
    kept = {str(path.relative_to(VECTORS)): path.read_bytes() for path in VECTORS.rglob("*.*")}
    del kept["README.md"]
    assert made.keys() == kept.keys()
    assert [name for name in made if made[name] != kept[name]] == []


def test_a_vector_that_is_no_longer_made_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(make_vectors, "files", lambda: {"package/04-new.vec": "new"})
    (tmp_path / "package").mkdir()
    (tmp_path / "package/04-old.vec").write_text("old")
    make_vectors.write(tmp_path)
    assert [path.name for path in (tmp_path / "package").iterdir()] == ["04-new.vec"]


def test_there_are_enough_and_names_are_unique():
    names = [vector.name.lower() for vector in ALL]
    assert len(names) == len(set(names))
    assert sum(vector.expect != "success" for vector in ALL) >= 170
    assert sum(vector.expect == "success" for vector in ALL) >= 8


def test_names_begin_with_the_step():
    for vector in ALL:
        assert vector.name.startswith("good-" if vector.expect == "success" else f"{vector.step:02}-"), vector.name
        assert re.fullmatch(r"[a-z0-9-]+", vector.name), vector.name
        assert vector.comment.endswith("."), vector.name


def test_every_class_of_the_specification_occurs_at_its_step():
    table = steps()
    assert sorted(table) == list(range(1, 12)), "step 12 refuses nothing"
    found = {(vector.step, vector.expect) for vector in ALL if vector.expect != "success"}
    wanted = {(step, name) for step, names in table.items() for name in names}
    assert found == wanted - {(2, "HostileFile")}, "step 2 is a race, which no file can hold"
    for _, name in found:
        assert issubclass(getattr(errors, name), errors.FedSpaError)


def test_faults_are_of_single_packages():
    """No two vectors are the same package in the same situation."""
    situations = {(v.package(), v.now, v.recipient, v.awaited, v.seen, v.file, v.size) for v in ALL}
    assert len(situations) == len(ALL)


def test_what_vectors_name_is_there():
    parties = json.loads((VECTORS / "parties.json").read_text("utf-8"))
    used = set()
    for vector in ALL:
        home = parties["homes"][vector.recipient]
        used.add(vector.recipient)
        assert home["roster"] in parties["rosters"] and home["crl"] in parties["crls"]
        for name, digest in vector.seen:
            other = load(VECTORS / "package" / f"{name}.vec")
            assert package_digest(header_and_signature(other.package())[0]) == digest
    assert parties["homes"].keys() - used <= {"birch"}
    assert "PUBLIC TEST KEYS" in parties["warning"]


@pytest.mark.parametrize("length", [0, 1, 2, 15, 16, 17, 300])
def test_dumps_turn_back(length):
    data = seeded("dump", length)
    assert undump(dump(data)) == data


def test_dumps_are_those_of_xxd():
    """By xxd's own rule for turning a dump back: hex digits stand in columns 10 to 48, and nothing else counts."""
    for vector in ALL:
        lines = dump(vector.dump).splitlines()
        assert bytes.fromhex("".join(line[10:49].replace(" ", "") for line in lines)) == vector.dump
        assert [int(line[:8], 16) for line in lines] == list(range(0, len(vector.dump), 16))
    known = [  # what xxd 2022-01-14 prints
        "00000000: 4142 4300 7f20 e282 ac30 3132 3334 3536  ABC.. ...0123456",
        "00000010: 37                                       7",
    ]
    assert dump(b"ABC\0\x7f \xe2\x82\xac01234567").splitlines() == known


@pytest.mark.parametrize(
    "change",
    [
        ("00000000: 41", "00000001: 41"),
        ("4142 43", "4142 44"),
        ("4142 43", "41 42 43"),
        ("4142", "4142  "),
        ("ABC", "ABD"),
        ("ABC", "ABC "),
        ("43 ", "4G "),
        ("\n", "\n\n"),
    ],
)
def test_a_dump_that_contradicts_itself_is_refused(change):
    text = dump(b"ABC")
    assert change[0] in text
    with pytest.raises(ValueError, match="dump"):
        undump(text.replace(*change))


SMALL = Vector("04-x", "PackageFormatError", 4, "A sentence: with a colon.", 7, "alder", dump=b"ABC")


@pytest.mark.parametrize(
    "change",
    [
        ("step: 4", "step: 04"),
        ("now: 7", "Now: 7"),
        ("now: 7\n", "now: 7\nnow: 7\n"),
        ("now: 7\nrecipient: alder", "recipient: alder\nnow: 7"),
        ("step: 4", "step:4"),
        ("\n\n", "\n"),
        ("recipient: alder\n", ""),
        ("recipient: alder\n", "recipient: alder\ncut: 1 2\n"),
    ],
)
def test_a_vector_written_otherwise_is_refused(change):
    text = render(SMALL)
    assert parse("04-x", text) == SMALL
    assert change[0] in text
    with pytest.raises((ValueError, KeyError)):
        parse("04-x", text.replace(*change, 1))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (Edit("edit", (1,), b"xy"), b"0xy3456789"),
        (Edit("insert", (10,), b"xy"), b"0123456789xy"),
        (Edit("delete", (2, 3)), b"0156789"),
        (Edit("swap", (1, 5, 2)), b"0563412789"),
        (Edit("copy", (1, 5, 2)), b"0123412789"),
        (Edit("cut", (4,)), b"0123"),
    ],
)
def test_edits(edit, expected):
    assert edit.apply(b"0123456789") == expected


def test_edits_lead_from_one_package_to_the_other():
    old, new = bytes(200), bytes(50) + b"\1" + bytes(9) + b"\2" + bytes(130) + b"\3" + bytes(8)
    edits = edits_to(old, new)
    assert [edit.numbers for edit in edits] == [(50,), (191,)]
    for edit in edits:
        old = edit.apply(old)
    assert old == new


@pytest.mark.parametrize("name", sorted(BASES))
def test_bases_are_what_the_kit_packs(name):
    """The recipe gives the very package that the faults were made of."""
    assert big_base(name) == BASES[name].draft.pack()


def test_a_sealing_that_is_not_recorded_is_said_to_be():
    with pytest.raises(SystemExit, match="--record"):
        Recordings().sealed(hybrid_key("member/alder"), bytes(32), bytes(32))


def test_a_new_sealing_opens_and_a_false_one_is_noticed():
    recordings, key = Recordings(record=True), hybrid_key("member/alder")
    recordings.sealed(key, bytes(32), seeded("file key"))
    with pytest.raises(SystemExit, match="does not hold"):
        recordings.sealed(key, bytes(32), seeded("another file key"))


@pytest.mark.parametrize(
    "source",
    [*sorted((ROOT / "tests/vectorkit").glob("*.py")), ROOT / "tests/make_vectors.py", ROOT / "tests/vector_format.py"],
    ids=lambda path: path.stem,
)
def test_the_kit_stands_on_its_own_feet(source):
    """Vectors that the library had made would only say that it agrees with itself."""
    text = source.read_text("utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(name.startswith("fedspallm_secure") for name in names), f"{source}:{node.lineno}"
