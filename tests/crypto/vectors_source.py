"""Published test vectors, run through our own functions; the tests and the script that prints the figures both use it.

`run_all` gives for every file how many vectors it has for us and how many of them did what they have to do.  Those of
Wycheproof are in `wycheproof.py`; the files here come from the package `cryptography-vectors`.
"""

import base64
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cryptography_vectors
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedspallm_secure.crypto import labels, sealing, signing
from fedspallm_secure.crypto.body import BodyDecryptor, decryption_room
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.errors import CannotDecrypt
from tests.crypto import reference, wycheproof
from tests.crypto.wycheproof import Ran, mlkem_public, unwraps

FOLDER = Path(str(cryptography_vectors.__file__)).parent
_FILE_KEY = bytes(range(32))


def records(path: str) -> Iterator[dict[str, str]]:
    """The records of a file of `name = value` lines; each begins with its count."""
    record: dict[str, str] = {}
    for line in (FOLDER / path).read_text().splitlines():
        name, separator, value = line.partition("=")
        if not separator or line.startswith("#"):
            continue
        if name.strip().lower() == "count" and record:
            yield record
            record = {}
        record[name.strip()] = value.strip()
    yield record


def mlkem_answers(path: str) -> Iterator[Ran]:
    """unwrap, with the record's ciphertext and with its invalid one, and the public key."""
    for record in records(path):
        seed = bytes.fromhex(record["d"] + record["z"])
        found = unwraps(seed, bytes.fromhex(record["ct"]), bytes.fromhex(record["ss"]))
        if found == "accepted":
            found = unwraps(seed, bytes.fromhex(record["ct_n"]), bytes.fromhex(record["ss_n"]))
        if mlkem_public(seed).hex() != record["pk"]:
            found = "another public key"
        yield Ran(f"count {record['count']}", "accepted", found)


def ed25519_signatures(path: str) -> Iterator[Ran]:
    """Ed25519Signer and verify_raw; a line is seed and key, key, message, signature and message."""
    for number, line in enumerate((FOLDER / path).read_text().splitlines(), start=1):
        seed, public, message, signed = (bytes.fromhex(field) for field in line.split(":")[:4])
        signer = signing.Ed25519Signer(seed[:32])
        same = signer.public == public and signer.sign(message) == signed[:64]
        verified = signing.verify_raw(public, message, signed[:64])
        yield Ran(f"line {number}", "accepted", "accepted" if same and verified else "another signature")


def x25519_answers(path: str) -> Iterator[Ran]:
    """sealing.x25519."""
    for record in records(path):
        shared = sealing.x25519(bytes.fromhex(record["INPUT_SCALAR"]), bytes.fromhex(record["INPUT_U"]))
        same = shared.hex() == record["OUTPUT_U"]
        yield Ran(f"count {record['COUNT']}", "accepted", "accepted" if same else "another secret")


def hkdf_answers(path: str) -> Iterator[Ran]:
    """labels.hkdf_sha256."""
    for record in records(path):
        secret, salt, info = (bytes.fromhex(record[name]) for name in ("IKM", "salt", "info"))
        same = labels.hkdf_sha256(secret, salt, info, int(record["L"])).hex() == record["OKM"]
        yield Ran(f"count {record['COUNT']}", "accepted", "accepted" if same else "another key")


def _load(path: str) -> Any:
    return json.loads((FOLDER / path).read_text())


def _opens(kem: Kem, secret: bytes, wrapped: bytes, info: bytes) -> str:
    try:
        file_key = sealing.unwrap(wrapped, RecipientSecret(kem, secret), info)
    except CannotDecrypt:
        return "refused"
    return "accepted" if file_key == _FILE_KEY else "another file key"


def hpke(path: str) -> Iterator[Ran]:
    """unwrap, for the vectors of RFC 9180 in base mode with DHKEM(X25519, HKDF-SHA256).

    Their messages are no file keys and have AAD, so a file key is sealed as the vector's sender would have sealed it:
    under its key and base nonce in our suite, under what follows by hand from its shared secret in the others.
    """
    for vector in _load(path):
        if (vector["mode"], vector["kem_id"]) != (0, reference.DHKEM):
            continue
        enc, secret, shared, info = (bytes.fromhex(vector[name]) for name in ("enc", "skRm", "shared_secret", "info"))
        wrapped = reference.hpke_seal(reference.DHKEM, enc, shared, info, _FILE_KEY)
        if (vector["kdf_id"], vector["aead_id"]) == (reference.HKDF_SHA256, reference.AES_256_GCM):
            cipher = AESGCM(bytes.fromhex(vector["key"]))
            wrapped = enc + cipher.encrypt(bytes.fromhex(vector["base_nonce"]), _FILE_KEY, b"")
        suite = f"kdf {vector['kdf_id']} aead {vector['aead_id']}"
        yield Ran(suite, "accepted", _opens(Kem.X25519, secret, wrapped, info))


def xwing(path: str) -> Iterator[Ran]:
    """unwrap and recipient_key, for the X-Wing vectors; none is in our suite, so sealed by hand from the shared secret.

    Their secret keys are the seed of 32 bytes that X-Wing expands with SHAKE-256; ours are what it expands to.
    """
    for vector in _load(path):
        if (vector["mode"], vector["kem_id"]) != (0, reference.XWING):
            continue
        enc, seed, shared, info = (bytes.fromhex(vector[name]) for name in ("enc", "skRm", "shared_secret", "info"))
        secret = hashlib.shake_256(seed).digest(96)
        found = _opens(Kem.HYBRID, secret, reference.hpke_seal(reference.XWING, enc, shared, info, _FILE_KEY), info)
        if RecipientSecret(Kem.HYBRID, secret).recipient_key.public.hex() != vector["pkRm"]:
            found = "another public key"
        yield Ran(f"kdf {vector['kdf_id']} aead {vector['aead_id']}", "accepted", found)


def cobblestone(path: str) -> Iterator[Ran]:
    """BodyDecryptor, for the vectors with AES-256-GCM.

    The file derives its keys with SHA-256, Cobblestone-256 does with SHA-512; so each vector is carried over first.
    Where the file says what plaintext comes before a fault, exactly that comes, fed in pieces no larger than a chunk.
    In one piece, what came with the fault does not come.
    """
    for vector in _load(path)["vectors"]:
        if vector["aead"] != "AEAD_AES_256_GCM":
            continue
        body = base64.b64decode(vector["ciphertext"] or "")
        if vector.get("compressed"):
            body = zlib.decompress(body)
        key, context = bytes.fromhex(vector["key"]), vector["context"].encode()
        carried = carry_over(key, context, body)
        assert len(carried) == len(body)
        released = (vector.get("payload_length", 0), vector.get("payload_sha256", hashlib.sha256().hexdigest()))
        expected = {"success": "accepted", "failure": "refused"}[vector["expect"]]
        runs = [decrypt_in_pieces(key, context, carried, size) for size in (5_000, 1 << 14, 1 << 23)]
        as_said = [run[1:] == released for run in runs]
        ends = {run[0] for run in runs}
        as_said[2] |= expected == "refused" and runs[2][1] == 0
        found = ends.pop() if len(ends) == 1 and all(as_said) else f"another plaintext: {runs}"
        yield Ran(vector["name"], expected, found)


_WRITERS_KEY = b"YELLOW SUBMARINE YELLOW SUBMARIN"  # what the vectors with a wrong key or context were made with


def carry_over(key: bytes, context: bytes, body: bytes) -> bytes:
    """The body with every right commitment and every authentic chunk made anew under the keys that SHA-512 gives.

    A chunk that stands in the wrong place keeps its number, and what was not authentic stays as it is.
    """
    salt, commitment, chunks = body[:24], body[24:56], body[56:]
    for writers_key, writers_context in ((key, context), (_WRITERS_KEY, b"")):
        old = reference.cobblestone_keys(writers_key, salt, writers_context, "sha256")
        if old[2] == commitment:
            new = reference.cobblestone_keys(writers_key, salt, writers_context)
            starts = range(0, len(chunks), 16_400)
            moved = [
                _carry_chunk(chunks[start : start + 16_400], at, len(starts), old, new)
                for at, start in enumerate(starts)
            ]
            return salt + new[2] + b"".join(moved)
    return body


def _carry_chunk(chunk: bytes, at: int, count: int, old: tuple[bytes, ...], new: tuple[bytes, ...]) -> bytes:
    for number in (at, *range(count)):
        try:
            plaintext = AESGCM(old[0]).decrypt(reference.counted(old[1], number), chunk, b"")
        except InvalidTag:
            continue
        return AESGCM(new[0]).encrypt(reference.counted(new[1], number), plaintext, b"")
    return chunk


def decrypt_in_pieces(key: bytes, context: bytes, body: bytes, size: int) -> tuple[str, int, str]:
    """Outcome, and length and SHA-256 of the plaintext that came out."""
    length, hasher, buffer = 0, hashlib.sha256(), bytearray(decryption_room(size))
    try:
        decryptor = BodyDecryptor(key, context)
        for start in range(0, len(body), size):
            count = decryptor.update_into(body[start : start + size], buffer)
            length += count
            hasher.update(buffer[:count])
        last = decryptor.finish()
        hasher.update(last)
        return "accepted", length + len(last), hasher.hexdigest()
    except CannotDecrypt:
        return "refused", length, hasher.hexdigest()


SUITES: dict[str, Callable[[str], Iterator[Ran]]] = {
    "Signature/wycheproof/ed25519_test.json": wycheproof.ed25519,
    "Protocol/wycheproof/x25519_test.json": wycheproof.x25519,
    "Protocol/wycheproof/hkdf_sha256_test.json": wycheproof.hkdf,
    "Cipher/wycheproof/aes_gcm_test.json": wycheproof.aes_gcm,
    "Protocol/wycheproof/mlkem_768_test.json": wycheproof.mlkem_decapsulate,
    "Protocol/wycheproof/mlkem_768_encaps_test.json": wycheproof.mlkem_public_keys,
    "Protocol/wycheproof/mlkem_768_keygen_seed_test.json": wycheproof.mlkem_generate,
    "asymmetric/Ed25519/sign.input": ed25519_signatures,
    "asymmetric/X25519/rfc7748.txt": x25519_answers,
    "asymmetric/MLKEM/kat_MLKEM_768.rsp": mlkem_answers,
    "KDF/rfc-5869-HKDF-SHA256.txt": hkdf_answers,
    "HPKE/test-vectors.json": hpke,
    "HPKE/hpke-pq-test-vectors.json": xwing,
    "chunked-encryption/vectors.json": cobblestone,
}


def run(file: str) -> list[Ran]:
    """All vectors of one file of `SUITES`."""
    return list(SUITES[file](file))


def outcomes(ran: list[Ran]) -> Counter[str]:
    """How many vectors had each outcome."""
    return Counter(vector.found for vector in ran)


def run_all() -> dict[str, tuple[int, int]]:
    """For every file: how many vectors were run, and how many of them did what they have to do."""
    ran = {file: run(file) for file in SUITES}
    return {file: (len(found), sum(one.found == one.expected for one in found)) for file, found in ran.items()}
