"""Tiles of sums, drawn and recomputed alone: what was changed in one is found if it is drawn, and only then."""

import json
from fractions import Fraction

import numpy as np
import pytest
from fedprune_cli.main import run

from fedspallm_secure.app.audit.replay_archive import Archive
from fedspallm_secure.app.audit.replay_log import LoggedRound, read_round
from fedspallm_secure.app.audit.replay_sums import Adding
from fedspallm_secure.app.audit.sampling import Sample, parse_share
from fedspallm_secure.app.rounds.planning import LayerBase
from fedspallm_secure.app.rounds.streams import Streams
from fedspallm_secure.app.stations import server_station
from fedspallm_secure.crypto.merkle import leaf_hash
from fedspallm_secure.crypto.notes import Checkpoint
from fedspallm_secure.errors import ForeignFile, TileMismatch, UsageError
from fedspallm_secure.protocol.limits import TILE_SIZE
from fedspallm_secure.protocol.rounds.deals import handover_size, vector_root
from fedspallm_secure.protocol.rounds.groups import MatrixShape
from fedspallm_secure.storage.log_folder import FolderLog
from fedspallm_secure.storage.package_reader import open_package
from tests import stationary
from tests.app.audit.replayed import Kept, flip, keep_archive, states
from tests.app.rounds.groups import group, random_streams
from tests.stationary import stations

SHAPE = MatrixShape("w", 600, 1000)  # 600,000 weights: one tile of counts, and three of sums
ALL = Sample(Fraction(1), bytes(32))
CHANGED = 1  # tile of the sums in which the lying server adds one


def wide_bases(gids, done: int) -> dict[int, LayerBase]:
    return {gid: LayerBase(f"{1000 * done + gid:064x}", (SHAPE,)) for gid in gids}


def made(folder, monkeypatch) -> Kept:
    monkeypatch.setattr(stationary, "tiny_bases", wide_bases)
    with stations(folder, members=4, layers=1) as found:
        keep_archive(found)
        found.model.files = lambda: ()
        found.run()
        assert found.model.done == [1]
        return Kept.of(found)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield made(tmp_path_factory.mktemp("honest"), patch)


@pytest.fixture(scope="module")
def lying(tmp_path_factory):
    """A server that adds one to a weight in the second tile of the sums, before it hashes and publishes them."""
    add_up = server_station.add_up

    def other(unmasking, vault):
        found = add_up(unmasking, vault)
        found.streams.total.view("<i4")[CHANGED * TILE_SIZE // 4 + 5] += 1
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_station, "add_up", other)
        yield made(tmp_path_factory.mktemp("lying"), patch)


def drawing(*tiles: int) -> Sample:
    """A third of the tiles of the sums, among them exactly these."""
    share = Fraction(len(tiles), 3)
    samples = (Sample(share, bytes([number]) * 32) for number in range(256))
    return next(one for one in samples if one.tiles(1, 0, "sums", 3) == list(tiles))


def test_a_sample_of_an_honest_round_passes(kept):
    report = kept.replay(sample=drawing(2))
    assert report.failure is None
    assert states(report)["sums"] is True
    assert report.step("sums").done == "2 tiles of 4 vectors in 1 groups"
    assert report.step("layers").why == "a sample gives no layer"
    assert (report.share, report.seed) == ("33.3333%", drawing(2).seed.hex())


def test_all_tiles_are_a_sample_too(kept):
    report = kept.replay(sample=ALL)
    assert report.failure is None
    assert report.step("sums").done.startswith("4 tiles")


def test_what_was_changed_is_found_in_the_tile_that_holds_it(lying):
    report = lying.replay(sample=drawing(CHANGED))
    assert [finding.text for finding in report.step("sums").findings] == [
        "group 0: tile 1 of the sums is not the one whose hash was kept",
        "group 0: tile 1 of the sums does not lead to the root in the result",
    ]
    assert report.failure.exit_code == 209
    assert lying.replay(sample=drawing(2)).failure is None  # nobody looked there
    assert {finding.text for finding in lying.replay().step("sums").findings} >= {
        "group 0: the tile hashes that were kept are not those of the sums"
    }


def test_archived_hashes_are_not_believed(kept, tmp_path):
    own = kept.copy(tmp_path)
    path = own.folder(1, "tiles", "0000.json")
    found = json.loads(path.read_text())
    found["sums"][0] = "ab" * 32
    path.write_text(json.dumps(found))
    (finding,) = own.replay(sample=drawing(2)).step("sums").findings
    assert finding.text == "group 0: tile 2 of the sums does not lead to the root in the result"
    del found["sums"][0]
    path.write_text(json.dumps(found))
    (finding,) = own.replay(sample=drawing(2)).step("sums").findings
    assert "2 tile hashes of sums were kept, not 3" in finding.text


def test_a_contribution_is_read_only_where_it_is_needed(kept, tmp_path):
    own = kept.copy(tmp_path)
    path = sorted(own.folder(1, "contributions").iterdir())[0]
    with open_package(path) as package:
        start = package.head.size - package.head.header.body_length
    flip(path, start + TILE_SIZE + 100)  # its second tile holds parts of the first two tiles of the sums
    assert own.replay(sample=drawing(2)).failure is None
    report = own.replay(sample=drawing(0))
    assert states(report)["contributions"] is False
    (finding,) = report.step("contributions").findings
    assert finding.member and finding.group == 0
    assert own.replay().failure is not None


def test_tiles_are_those_that_were_signed(kept, tmp_path):
    """A tile that was changed together with its hash: the hashes are not those of the signed root."""
    own = kept.copy(tmp_path)
    path = sorted(own.folder(1, "contributions").iterdir())[0]
    with open_package(path) as package:
        head = package.head
    start = head.size - head.header.body_length
    place = start + TILE_SIZE + 100
    flip(path, place)
    data = bytearray(path.read_bytes())
    hashes = start - 32 * head.header.tiles
    data[hashes + 32 : hashes + 64] = leaf_hash(data[start + TILE_SIZE : start + 2 * TILE_SIZE])
    path.write_bytes(data)
    (finding,) = own.replay(sample=drawing(2)).step("contributions").findings  # whatever tile is drawn
    assert "the list of tile hashes is not the one that was signed" in finding.text


def test_the_command_draws_tiles_and_can_do_so_again(kept, monkeypatch, capsys):
    monkeypatch.setenv("FEDPRUNE_PASSWORD", "open sesame")
    words = ["audit", "replay", "1", "--home", str(kept.home), "--data", str(kept.data), "--without-model"]
    assert run([*words, "--sample", "5%", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["sample"], len(first["seed"])) == ("5%", 64)
    assert run([*words, "--sample", "5%", "--seed", first["seed"]]) == 0
    assert f"5% of the tiles, drawn from --seed {first['seed']}" in capsys.readouterr().out


def test_other_seeds_draw_other_tiles():
    share = Fraction(1, 10)
    drawn = {tuple(Sample(share, bytes([seed]) * 32).tiles(1, 0, "sums", 1000)) for seed in range(5)}
    assert len(drawn) == 5
    assert all(len(set(tiles)) == 100 and list(tiles) == sorted(tiles) for tiles in drawn)
    assert Sample(share, bytes(32)).tiles(1, 0, "sums", 1) == [0]
    assert Sample(share, bytes(32)).tiles(1, 0, "sums", 11) != Sample(share, bytes(32)).tiles(1, 0, "counts", 12)[:2]


@pytest.mark.parametrize(("text", "share"), [("5%", Fraction(1, 20)), ("0.25", Fraction(1, 4)), ("100%", 1), ("1", 1)])
def test_shares(text, share):
    assert parse_share(text) == share


@pytest.mark.parametrize(
    "text", ["", "%", "0", "0%", "101%", "-5%", "1/3", "5 %", "nan", "1e-3", "1e99999999", "1000%", "½", "5%%"]
)
def test_what_is_no_share(text):
    with pytest.raises(UsageError):
        parse_share(text)


# What is added, and how a package is read


@pytest.mark.parametrize("count_bits", [None, 8, 16])
@pytest.mark.parametrize("sum_bits", [16, 32])
@pytest.mark.parametrize("size", [1, 3, 7, 64, 1 << 20])
def test_pieces_of_any_size_add_up_to_the_same(count_bits, sum_bits, size):
    plan = group(sum_bits=sum_bits, count_bits=count_bits)
    vectors = [random_streams(plan, seed) for seed in range(3)]
    total, before = Streams.empty(plan), handover_size(*plan.deal_form)
    for vector in vectors:
        adding = Adding(plan, total)
        handed = np.random.default_rng(1).bytes(before)
        data = memoryview(handed + b"".join(part.tobytes() for part in vector.parts))
        for start in range(0, len(data), size):
            adding.write(data[start : start + size])
        assert bytes(adding.handover) == handed
        assert adding.root() == vector_root([part.data for part in vector.parts])
    for index, word in enumerate((plan.counts.word, plan.sums.word)):
        expected = sum(vector.parts[index].view(word).astype(np.uint64) for vector in vectors)
        assert (total.parts[index].view(word) == expected.astype(word)).all()


def test_a_vector_of_another_length_is_refused():
    plan = group()
    length = handover_size(*plan.deal_form) + plan.count_size + plan.sum_size
    short = Adding(plan, Streams.empty(plan))
    short.write(memoryview(bytes(length - 1)))
    with pytest.raises(TileMismatch, match="shorter"):
        short.root()
    with pytest.raises(TileMismatch, match="longer"):
        Adding(plan, Streams.empty(plan)).write(memoryview(bytes(length + 1)))


def test_any_piece_of_a_package_is_that_of_the_whole(kept):
    site = kept.site()
    found = next(iter(logged(kept).contributions.values()))
    archive, whole = Archive(kept.folder(1), site.secrets), bytearray()
    archive.contribution_through(found, whole.extend)
    with archive.contribution(found) as sealed:
        length = sealed.head.header.plaintext_length
        assert len(whole) == length
        for start, size in ((0, 1), (0, 20_000), (16_383, 2), (1_000_000, 100_000), (length - 5, 5), (length - 1, 1)):
            assert sealed.plain(start, size) == whole[start : start + size]
        assert sealed.plain(0, length) == whole


def test_an_answer_that_is_longer_than_any_may_be_is_not_read(kept):
    archive, found = Archive(kept.folder(1), kept.site().secrets), next(iter(logged(kept).answers.values()))
    length = len(archive.answer(found, 1 << 20)[1])
    assert archive.answer(found, length)[0] == found.head
    with pytest.raises(ForeignFile, match="longer than any may be"):
        archive.answer(found, length - 1)


def logged(kept: Kept) -> LoggedRound:
    source = FolderLog(kept.data / "log")
    size = Checkpoint.of_note(source.note()).size
    return read_round(source, size, kept.site().home.root, 1, lambda *_: None)
