"""A log as it is published, with proofs beside it: written by us for others, and read from what others wrote."""

import json
from base64 import b64decode, b64encode
from pathlib import Path

from fedspallm_secure.crypto.merkle import Tree, is_consistent, leaf_hash, root_from_inclusion
from fedspallm_secure.crypto.notes import (
    Checkpoint,
    Note,
    NoteKey,
    NoteKind,
    cosign,
    cosigned_at,
    open_checkpoint,
    sign_checkpoint,
)
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.protocol.audit.inclusion import InclusionProof
from fedspallm_secure.protocol.audit.tiles import bundle_paths, encode_bundle, parse_bundle, tile_paths

SIZES = [1, 2, 3, 4, 7, 8, 9, 100, 255, 256, 257, 511, 512, 513, 599, 600]
AT = 1_800_000_000


def write(folder: Path, size: int = 600) -> None:
    """Publish a log of `size` entries, always the same one."""
    signer, witness_signer = Ed25519Signer(b"\x0a" * 32), Ed25519Signer(b"\x0b" * 32)
    log = NoteKey("lungs.example/log/hub", NoteKind.LOG, signer.public)
    witness = NoteKey("lungs.example/witness/eye", NoteKind.COSIGNER, witness_signer.public)
    entries = [b'{"seq":%d}' % index + b" " * (index % 5) for index in range(size)]
    tree = Tree(map(leaf_hash, entries))
    for tile in tile_paths(size):
        _put(folder / tile.path, tile.hashes(tree))
    for bundle in bundle_paths(size):
        _put(folder / bundle.path, encode_bundle(entries[bundle.start : bundle.start + bundle.width]))
    note = sign_checkpoint(signer, log, Checkpoint(log.name, size, tree.root()))
    cosigned = cosign(witness_signer, witness, note, AT)
    index = size * 2 // 3
    proof = InclusionProof(index, tuple(tree.inclusion(index, size)), cosigned, entries[index])
    _put(folder / "keys.txt", f"{log.vkey}\n{witness.vkey}\n".encode())
    _put(folder / "checkpoint.cosigned", cosigned.encode())
    _put(folder / "entry.tlog-proof", proof.encode())
    _put(folder / "proofs.json", json.dumps(_proofs(tree, [at for at in SIZES if at <= size])).encode())


def _proofs(tree: Tree, sizes: list[int]) -> dict[str, object]:
    pairs = [(old, size) for size in sizes for old in sizes if old <= size]
    return {
        "roots": {str(size): _text(tree.root(size)) for size in {*sizes, tree.size}},
        "inclusion": [
            {"index": old - 1, "size": size, "path": list(map(_text, tree.inclusion(old - 1, size)))}
            for old, size in pairs
        ],
        "consistency": [
            {"old": old, "size": size, "proof": list(map(_text, tree.consistency(old, size)))} for old, size in pairs
        ],
    }


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def read(folder: Path) -> tuple[Checkpoint, int]:
    """Verify a log that somebody published; its checkpoint, and how many proofs there were.

    Everything has to be what we would have written.  Raises AssertionError or an error of the package.
    """
    log, witness = map(NoteKey.parse, (folder / "keys.txt").read_text().splitlines())
    data = (folder / "checkpoint.cosigned").read_bytes()
    note = Note.parse(data)
    checkpoint = open_checkpoint(note, log)
    assert note.encode() == data
    assert note.only(log).encode() == (folder / "checkpoint").read_bytes()
    assert cosigned_at(note, witness) == AT
    tree = Tree()
    for bundle in bundle_paths(checkpoint.size):
        entries = parse_bundle((folder / bundle.path).read_bytes(), bundle.width)
        assert encode_bundle(entries) == (folder / bundle.path).read_bytes()
        for entry in entries:
            tree.append(leaf_hash(entry))
    assert (tree.size, tree.root()) == (checkpoint.size, checkpoint.root)
    for tile in tile_paths(checkpoint.size):
        assert (folder / tile.path).read_bytes() == tile.hashes(tree)
    expected = {found.path for found in (*tile_paths(tree.size), *bundle_paths(tree.size))}
    files = {path.relative_to(folder).as_posix() for path in (folder / "tile").rglob("*") if path.is_file()}
    assert files == expected
    return checkpoint, _read_proofs(json.loads((folder / "proofs.json").read_bytes()), tree)


def _read_proofs(proofs: dict[str, list[dict[str, object]]], tree: Tree) -> int:
    roots = {int(size): b64decode(root) for size, root in dict(proofs["roots"]).items()}
    assert roots == {size: tree.root(size) for size in roots}
    for one in proofs["inclusion"]:
        index, size, path = one["index"], one["size"], [b64decode(hash) for hash in one["path"]]
        assert path == tree.inclusion(index, size)
        assert root_from_inclusion(tree.leaf(index), index, size, path) == roots[size]
    for one in proofs["consistency"]:
        old, size, proof = one["old"], one["size"], [b64decode(hash) for hash in one["proof"]]
        assert proof == tree.consistency(old, size)
        assert is_consistent(old, roots[old], size, roots[size], proof)
    return len(proofs["inclusion"]) + len(proofs["consistency"])
