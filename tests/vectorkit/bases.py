"""The packages that are too big to be kept: a recipe, and the changes that make faulty ones of them."""

from dataclasses import dataclass

from tests.vector_format import Edit, big_body, chunk_lengths, render_base, stream
from tests.vectorkit.packages import Draft, context

TWO_FULL_TILES = "16384*127 14280"
THREE_TILES = "16384*130 4000"


@dataclass(frozen=True)
class Base:
    """A computed package: name, why it is there, lengths of its chunks."""

    name: str
    comment: str
    chunks: str
    draft: Draft

    @property
    def plaintext(self) -> bytes:
        return stream(sum(chunk_lengths(self.chunks)))

    @property
    def body_start(self) -> int:
        return len(self.draft.pack()) - len(self.draft.sealed_body())

    def text(self) -> str:
        draft = self.draft
        head = draft.pack()[: self.body_start - 32 * len(draft.hashes())]
        return render_base(self.comment, draft.file_key, draft.salt, draft.info, self.chunks, head)


def base(name: str, comment: str, chunks: str) -> Base:
    draft = Draft(context(), name=f"base {name}")
    return Base(name, comment, chunks, draft.but(body=big_body(draft.file_key, draft.salt, draft.info, chunks)))


BASES = {
    made.name: made
    for made in (
        base("one-byte-less", "One chunk that is a byte shorter than a full one.", "16383"),
        base("one-full-chunk", "A full chunk and an empty one.", "16384 0"),
        base("three-chunks", "Two full chunks and a shorter one.", "16384*2 100"),
        base("big-two-tiles", "A body of two tiles, both full.", TWO_FULL_TILES),
        base("big-three-tiles", "A body of two full tiles and a shorter one.", THREE_TILES),
        base("odd-oversized-chunk", "Faulty: one chunk of 16,400 bytes.", "16400"),
        base("odd-short-chunk-first", "Faulty: the short chunk comes first.", "100 16384"),
        base("odd-halves", "Faulty: chunks of half the size.", "8192*4 100"),
    )
}


def edits_to(package: bytes, target: bytes, near: int = 24) -> list[Edit]:
    """Edits that make `target` of a package of the same length; changes that are near each other become one."""
    assert len(package) == len(target)
    runs: list[list[int]] = []
    if package != target:
        for i, (old, new) in enumerate(zip(package, target, strict=True)):
            if old != new and runs and i - runs[-1][1] < near:
                runs[-1][1] = i + 1
            elif old != new:
                runs.append([i, i + 1])
    assert sum(end - start for start, end in runs) < 2_000, "too much to write down as edits"
    return [Edit("edit", (start,), target[start:end]) for start, end in runs]
