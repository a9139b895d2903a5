"""Mutated packages: what a courier, a member of the federation or a bad disk can make of good ones.

    python -m tests.attacks.mutations COUNT SEED     in a process of its own; prints the figures as JSON

Every choice is drawn from the seed; the keys are new each time.  A mutant that came out as one of the good packages is
drawn again.  Nothing is accepted unless a mutant is opened, so the good packages are opened at the end.
"""

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import rfc8785

from fedspallm_secure.app import packages
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.crypto.merkle import node_hash, root
from fedspallm_secure.crypto.sealing import Kem, wrap
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.packages import Context
from tests.attacks.stage import (
    BODY_START,
    CHUNK,
    MIB,
    RECIPIENT,
    SENDER,
    THIEF,
    THIRD,
    Outcome,
    Parts,
    Stage,
    body_of,
    peak_memory,
)

SIZES = (0, 100, 16_384, 70_000, 2 * MIB + MIB // 2 + 777)  # empty, one chunk, exactly one, several, several tiles
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519


@dataclass(frozen=True)
class Good:
    """A good package and what it holds.  regions: name -> first and last offset of each of its parts."""

    name: str
    data: bytes
    plain: bytes
    parts: Parts

    @property
    def regions(self) -> dict[str, tuple[int, int]]:
        head, tiles, end = 12 + len(self.parts.header), 32 * len(self.parts.hashes), len(self.data)
        body = head + 64 + tiles
        edges = {
            "magic": (0, 8),
            "length": (8, 12),
            "header": (12, head),
            "signature": (head, head + 64),
            "tile hashes": (head + 64, body),
            "salt": (body, body + 24),
            "commitment": (body + 24, body + BODY_START),
            "chunks": (body + BODY_START, end - 16),
            "last tag": (end - 16, end),
        }
        return {name: span for name, span in edges.items() if span[0] < span[1]}

    @property
    def body_start(self) -> int:
        return len(self.data) - len(self.parts.body)

    @property
    def chunk_ends(self) -> list[int]:
        """Where chunks end, the last one excepted, and where tiles do."""
        ends = {self.body_start + end for end in range(BODY_START, len(self.parts.body), CHUNK)}
        ends |= {self.body_start + end for end in range(MIB, len(self.parts.body), MIB)}
        return sorted(ends)

    @property
    def part_ends(self) -> list[int]:
        """Every boundary of the format, and one byte before and after it."""
        ends = {span[0] for span in self.regions.values()} | {len(self.data)}
        near = {end + off for end in ends for off in (-1, 0, 1)}
        return sorted(end for end in near if 0 <= end < len(self.data))


class Corpus:
    """Good packages from the sender, and for the splices one of each size by somebody else and for somebody else."""

    def __init__(self, stage: Stage, draw: random.Random) -> None:
        self.stage, self.draw = stage, draw
        self.good = [
            self._make(f"{size} bytes, {kem.value}", draw.randbytes(size), kem) for size in SIZES for kem in Kem
        ]
        self.others = [
            self._make("other", draw.randbytes(size), kem, sender, recipient)
            for size in SIZES
            for kem, sender, recipient in (
                (Kem.X25519, SENDER, RECIPIENT),  # the same parties once more
                (Kem.X25519, THIEF, RECIPIENT),
                (Kem.HYBRID, SENDER, THIRD),
            )
        ]
        self.known = {made.data for made in (*self.good, *self.others)}
        self.thief = stage.federation[THIEF]
        fields = self.good[0].parts.fields
        names = [*fields, *fields["ctx"]]
        names.remove("ctx")
        draw.shuffle(names)
        self.turns = cycle(names)  # whose turn it is to be edited

    def _make(self, name: str, plain: bytes, kem: Kem, sender: str = SENDER, recipient: str = RECIPIENT) -> Good:
        data = self.stage.seal(plain, sender, recipient, kem)
        return Good(name, data, plain, Parts.of(data))

    def other(self, good: Good) -> Good:
        """A package to splice with, as often as not of the same length."""
        same = [made for made in self.others if len(made.plain) == len(good.plain)]
        return self.draw.choice(same if self.draw.random() < 0.5 else self.others)

    def large(self) -> Good:
        return self.draw.choice([made for made in self.good if len(made.parts.hashes) > 1])

    def as_thief(self, parts: Parts) -> Parts:
        """The same header in the thief's name, signed by it."""
        leaf = self.thief.leaf
        return parts.with_context(sender=THIEF, sender_key=leaf.key_id).signed(self.thief.signer)


Mutation = Callable[[Corpus, Good, random.Random], bytes]
MUTATIONS: dict[str, Mutation] = {}


def mutation(function: Mutation) -> Mutation:
    MUTATIONS[function.__name__.replace("_", " ")] = function
    return function


def put(data: bytes, start: int, piece: bytes) -> bytes:
    return data[:start] + piece + data[start + len(piece) :]


@mutation
def one_bit(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    """Each region is as likely as any other, however small it is."""
    start, end = draw.choice(list(good.regions.values()))
    place = draw.randrange(start, end)
    return put(good.data, place, bytes([good.data[place] ^ 1 << draw.randrange(8)]))


@mutation
def several_bits(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    data = good.data
    for _ in range(draw.randint(2, 8)):
        data = one_bit(corpus, replace(good, data=data), draw)
    return data


@mutation
def zeroed(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    """A piece that the disk gave back as zeros."""
    start, end = draw.choice(list(good.regions.values()))
    first = draw.randrange(start, end)
    return put(good.data, first, bytes(draw.randint(1, end - first)))


@mutation
def cut_at_a_chunk(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    return good.data[: draw.choice(good.chunk_ends)]


@mutation
def cut_at_a_part(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    return good.data[: draw.choice(good.part_ends)]


@mutation
def cut_anywhere(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    return good.data[: draw.randrange(len(good.data))]


@mutation
def cut_in_front(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    return good.data[draw.randrange(1, len(good.data)) :]


@mutation
def appended(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    more = [b"\0", b"\n", draw.randbytes(draw.randint(1, 100)), bytes(MIB), good.data, corpus.other(good).data]
    return good.data + draw.choice(more)


@mutation
def inserted(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    place = draw.choice([*good.part_ends, *good.chunk_ends])
    return good.data[:place] + draw.randbytes(draw.choice([1, 16, 32, 64, CHUNK])) + good.data[place:]


@mutation
def body_of_another(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    other = corpus.other(good).parts
    return replace(good.parts, hashes=other.hashes, body=other.body).join()


@mutation
def only_the_body_of_another(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    return replace(good.parts, body=corpus.other(good).parts.body).join()


@mutation
def hashes_of_another(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    return replace(good.parts, hashes=corpus.other(good).parts.hashes).join()


@mutation
def signature_of_another(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    return replace(good.parts, signature=corpus.other(good).parts.signature).join()


@mutation
def header_of_another(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    return replace(good.parts, header=corpus.other(good).parts.header).join()


@mutation
def root_of_another(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    """Body, hashes and everything in the header that speaks of them, but not the signature."""
    return good.parts.with_body(corpus.other(good).parts.body).join()


@mutation
def enc_of_another(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    fields = {**good.parts.fields, "enc": corpus.other(good).parts.fields["enc"]}
    return corpus.as_thief(good.parts.with_fields(fields)).join()


@mutation
def tail_of_another(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    other, place = corpus.other(good).data, draw.choice([*good.part_ends, *good.chunk_ends])
    return good.data[:place] + other[place:]


@mutation
def signature_spelled_otherwise(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    """S + n times the group order, which satisfies the equation but is no canonical S; or a negated R."""
    parts = good.parts
    s = int.from_bytes(parts.signature[32:], "little") + GROUP_ORDER * draw.randint(1, 14)
    if draw.random() < 0.5 and s < 2**256:
        return replace(parts, signature=parts.signature[:32] + s.to_bytes(32, "little")).join()
    flipped = bytes([*parts.signature[:31], parts.signature[31] ^ 0x80])
    return replace(parts, signature=flipped + parts.signature[32:]).join()


def moved(pieces: list[bytes], draw: random.Random) -> list[bytes]:
    """Two of the pieces swapped, one there twice, one in the place of another, one left out, or all reversed."""
    first, second = draw.sample(range(len(pieces)), 2)
    made = list(pieces)
    way = draw.randrange(5)
    if way == 0:
        made[first], made[second] = made[second], made[first]
    elif way == 1:
        made.insert(first, made[first])
    elif way == 2:
        made[first] = made[second]
    elif way == 3:
        del made[first]
    else:
        made.reverse()
    return made


def with_moved_tiles(corpus: Corpus, draw: random.Random) -> tuple[Parts, Parts]:
    """A package of several tiles, and the same with its tiles moved and their hashes with them; the header stays."""
    parts = corpus.large().parts
    pairs = moved([tile + hash_ for tile, hash_ in zip(parts.tiles, parts.hashes, strict=True)], draw)
    tiles = [pair[:-32] for pair in pairs]
    return parts, replace(parts, hashes=tuple(pair[-32:] for pair in pairs), body=b"".join(tiles))


@mutation
def tiles_moved(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    parts, changed = with_moved_tiles(corpus, draw)
    return replace(parts, body=changed.body).join()


@mutation
def tiles_and_hashes_moved(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    return with_moved_tiles(corpus, draw)[1].join()


@mutation
def hashes_moved(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    parts, changed = with_moved_tiles(corpus, draw)
    return replace(parts, hashes=changed.hashes).join()


@mutation
def tiles_moved_and_header_made_to_fit(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    parts, changed = with_moved_tiles(corpus, draw)
    fields = {
        **parts.fields,
        "tiles": len(changed.hashes),
        "body_len": len(changed.body),
        "body_root": root(changed.hashes).hex(),
    }
    fitting = changed.with_fields(fields)
    return (fitting if draw.random() < 0.5 else corpus.as_thief(fitting)).join()


@mutation
def chunks_moved_and_header_made_to_fit(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    body = good.parts.body
    chunks = [body[start : start + CHUNK] for start in range(BODY_START, len(body), CHUNK)]
    if len(chunks) < 2:
        chunks = [chunks[0][:8], chunks[0][8:]]
    fitting = good.parts.with_body(body[:BODY_START] + b"".join(moved(chunks, draw)))
    return (fitting if draw.random() < 0.5 else corpus.as_thief(fitting)).join()


@mutation
def hash_tree_with_fewer_leaves(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    """Inner nodes given as leaves: the root is the signed one."""
    parts = corpus.large().parts
    hashes = list(parts.hashes)
    hashes[:2] = [node_hash(*hashes[:2])]
    if draw.random() < 0.5:
        return replace(parts, hashes=tuple(hashes)).join()
    return replace(parts, hashes=tuple(hashes)).with_fields({**parts.fields, "tiles": len(hashes)}).join()


def edited(corpus: Corpus, parts: Parts, draw: random.Random) -> Parts:
    """Another sound value in one field of the header; if it was about the sender, it still is."""
    fields = parts.fields
    context = fields["ctx"]
    federation = corpus.stage.federation
    hexes = [draw.randbytes(32).hex(), federation[THIEF].leaf.key_id]
    keys = [key.key_id for name in (RECIPIENT, THIEF, THIRD) for key in federation[name].entry.key_statement.keys]
    outer = {
        "body_len": [fields["body_len"] + step for step in (-1, 1, CHUNK, -CHUNK, MIB)],
        "body_root": hexes,
        "tiles": [fields["tiles"] + step for step in (-1, 1, 2)],
        "enc": [encode_base64(draw.randbytes(size)) for size in (len(decode_base64(fields["enc"], "enc")), 80, 1168)],
    }
    inner = {
        "v": [0, 2, 3],
        "type": ["plan", "result", "abort", "gossip", "FILE"],
        "fed": ["hearts.example", "lungs.example.org", "lungs-example", "Lungs.example"],
        "roster": hexes,
        "round": [1, 2, -1, 2**53 - 1],
        "plan_hash": [*hexes, "**", ""],
        "gid": ["0", "1", "00", ""],
        "sender": [THIEF, "member/nobody", RECIPIENT, "server/hub", THIRD],
        "sender_key": [*hexes, federation[RECIPIENT].leaf.key_id],
        "recipient": [THIEF, SENDER, THIRD, "server/hub", "member/nobody"],
        "recipient_key": [*keys, *hexes],
        "kem": ["x25519", "mlkem768-x25519", "p256"],
        "seq": [context["seq"] + step for step in (-1, 1, 1000)] + [0, 2**53 - 1],
        "created": [context["created"] + step for step in (-1, 1, -(10**6), 10**6)],
        "not_after": [context["not_after"] + step for step in (-1, 1, -(10**6), 10**6)],
        "checkpoint": [encode_base64(draw.randbytes(size)) for size in (1, 600, 1024, 1025)] + ["", "*"],
        "body_type": ["json", "text"],
    }
    name = next(corpus.turns)
    if name in outer:
        return parts.with_fields({**fields, name: draw.choice(outer[name])})
    return parts.with_context(**{name: draw.choice(inner[name])})


@mutation
def header_edited(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    return edited(corpus, good.parts, draw).join()


@mutation
def header_edited_and_signed_by_a_thief(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    """The sender is left, so the thief's signature is not that of the sender's key."""
    return edited(corpus, good.parts, draw).signed(corpus.thief.signer).join()


@mutation
def header_signed_by_a_thief(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    parts = good.parts
    if draw.random() < 0.5:
        parts = parts.with_context(sender_key=corpus.thief.leaf.key_id)
    return parts.signed(corpus.thief.signer).join()


@mutation
def header_taken_over_by_a_thief(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    """A sound header of the thief's over somebody else's body: only the recipient's key notices."""
    parts = good.parts if draw.random() < 0.5 else edited(corpus, good.parts, draw)
    return corpus.as_thief(parts).join()


@mutation
def wrapped_anew(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    """Another file key in the header, of the thief's own choosing, with the old body or one of the thief's."""
    as_thief = draw.random() < 0.5
    parts = corpus.as_thief(good.parts) if as_thief else good.parts
    context = Context.from_dict(parts.fields["ctx"])
    keys = corpus.stage.federation[RECIPIENT].entry.key_statement.keys
    key = next(key for key in keys if key.kem is context.kem)
    file_key = draw.randbytes(32)
    fields = {**parts.fields, "enc": encode_base64(wrap(file_key, key, context.info))}
    parts = parts.with_fields(fields)
    if not as_thief and draw.random() < 0.5:  # all in the thief's hands, but for the sender's name
        parts = parts.with_body(body_of(b"from the thief", file_key, context))
    return parts.signed(corpus.thief.signer).join()


@mutation
def header_spelled_otherwise(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    """The same header in another spelling, with the old signature or, in the thief's name, a good one."""
    parts = good.parts if draw.random() < 0.5 else corpus.as_thief(good.parts)
    header, fields = parts.header, parts.fields
    spellings = [
        lambda: json.dumps(fields).encode(),
        lambda: json.dumps(dict(reversed(fields.items())), separators=(",", ":")).encode(),
        lambda: json.dumps(fields, indent=1).encode(),
        lambda: header + draw.choice([b" ", b"\n", b"\0", b"\r\n"]),
        lambda: draw.choice([b" ", b"\n", b"\xef\xbb\xbf", b"\t"]) + header,
        lambda: header.replace(b'"v":1', draw.choice([b'"v":1.0', b'"v":1e0', b'"v":01', b'"v":+1', b'"v":true'])),
        lambda: header.replace(b'"round":0', b'"round":-0'),
        lambda: header.replace(b'"file"', b'"\\u0066ile"'),
        lambda: header.replace(b'"*"', b'"\\u002a"'),
        lambda: header.replace(b"/", b"\\/"),
        lambda: header.replace(b'"tiles":', b'"tiles":0,"tiles":'),
        lambda: header.replace(b'"body_root":"', b'"body_root":"A').replace(b'","ctx"', b'" ,"ctx"'),
        lambda: rfc8785.dumps({**fields, "extra": 1}),
        lambda: rfc8785.dumps({**fields, "ctx": {**fields["ctx"], "extra": ""}}),
        lambda: rfc8785.dumps({name: value for name, value in fields.items() if name != draw.choice(list(fields))}),
        lambda: header.decode().encode(draw.choice(["utf-16", "utf-16-le", "utf-8-sig", "utf-7"])),
    ]
    spelled = replace(parts, header=draw.choice(spellings)())
    return (spelled if parts is good.parts else spelled.signed(corpus.thief.signer)).join()


@mutation
def length_field(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    size = len(good.parts.header)
    lengths = [0, 1, size - 1, size + 1, size + 64, 65_536, 65_537, 2**31, 2**32 - 1, draw.randrange(2**32)]
    return replace(good.parts, length=draw.choice(lengths)).join()


@mutation
def random_bytes(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    noise = draw.randbytes(draw.choice([0, 1, 7, 100, 5000]))
    start = draw.choice([b"", b"FSPKG1\r\n", good.data[:12], good.data[: 12 + len(good.parts.header)]])
    return start + noise


@mutation
def text_mode(corpus: Corpus, good: Good, draw: random.Random) -> bytes:
    """What a transfer in text mode makes of it."""
    before, after = draw.choice([(b"\r\n", b"\n"), (b"\n", b"\r\n"), (b"\r", b"\n"), (b"\x00", b"")])
    return good.data.replace(before, after)


def mutants(corpus: Corpus, draw: random.Random) -> Iterator[tuple[str, str, bytes]]:
    """Kind, name of the good package, and mutant; every kind in turn, and of the cuts at chunks and parts each one."""
    cuts = {name: cycle(all_cuts(corpus, name)) for name in ("cut at a chunk", "cut at a part")}
    for kind in cycle([*MUTATIONS, "cut at a chunk"]):  # of which there are most, so it has two turns
        while True:
            good = draw.choice(corpus.good)
            if kind in cuts:
                good, end = next(cuts[kind])
                made = good.data[:end]
            else:
                made = MUTATIONS[kind](corpus, good, draw)
            if made not in corpus.known:
                break
        yield kind, good.name, made


def all_cuts(corpus: Corpus, kind: str) -> list[tuple[Good, int]]:
    """Every place of this kind in every good package, in an order drawn from the seed."""
    found = [
        (good, end) for good in corpus.good for end in (good.chunk_ends if kind == "cut at a chunk" else good.part_ends)
    ]
    random.Random(len(found)).shuffle(found)
    return found


def run(count: int, seed: int, folder: Path) -> Outcome:
    """Open `count` mutants, and verify and inspect them too; accepted means that one was opened."""
    draw, outcome = random.Random(seed), Outcome()
    with Stage(folder) as stage:
        corpus = Corpus(stage, draw)
        with outcome.measuring():
            for kind, name, data in islice(mutants(corpus, draw), count):
                attempt(stage, outcome, kind, name, data)
        for good in corpus.good:  # nothing above has kept a good one out
            path = stage.medium / "good.fspkg"
            path.write_bytes(good.data)
            if stage.open(path) != good.plain:
                raise AssertionError(f"{good.name} does not open any more")
    return outcome


def attempt(stage: Stage, outcome: Outcome, kind: str, name: str, data: bytes) -> None:
    """One mutant: it must be refused, with one of our errors, and nothing but itself may lie about afterwards."""
    path = stage.medium / "mutant.fspkg"
    path.write_bytes(data)
    with outcome.judging(kind, name):
        stage.open(path)
    for check in (packages.inspect, stage.verify):
        try:
            check(path)  # a thief's sound signature may verify: what it signs is in its own name
        except FedSpaError:
            pass
        except Exception as error:
            outcome.crashes.append(f"{kind}, {name}: {check.__name__}: {type(error).__name__}: {error}")
    outcome.published += [f"{kind}, {name}: {left}" for left in stage.left_behind()]
    around = sorted(entry.name for entry in stage.medium.iterdir())
    if around != ["mutant.fspkg"] or path.read_bytes() != data or (stage.home / "evidence").exists():
        outcome.published.append(f"{kind}, {name}: {around}")
    path.unlink()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = run(int(sys.argv[1]), int(sys.argv[2]), Path(scratch))
    sys.stdout.write(json.dumps({**found.as_dict(), "failures": found.failures, "peak_kib": peak_memory()}) + "\n")
