"""Key files: what SPEC section 7 says byte by byte, and that nothing but the whole file and its password opens one."""

import base64
import json
import traceback
import unicodedata
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import example, given
from hypothesis import strategies as st

from fedspallm_secure.crypto import keyfiles, passwords
from fedspallm_secure.crypto.aead import encrypt
from fedspallm_secure.crypto.certificates import generate_tls_key
from fedspallm_secure.crypto.encoding import canonical_json
from fedspallm_secure.crypto.key_records import (
    PREKEYS_HELD_LIMIT,
    RECIPIENT_KEYS_LIMIT,
    RECORDS,
    JournalSecret,
    PrekeySecret,
    PrekeySecrets,
    Purpose,
    RecipientSecrets,
    Record,
    SigningSeed,
    TlsSecret,
    prekeys_from,
)
from fedspallm_secure.crypto.keyfiles import KEY_FILE_LIMIT, LockedKey, authority_uri, lock, unlock
from fedspallm_secure.crypto.passwords import (
    DEFAULT_KDF,
    KDF_LANES_LIMIT,
    KDF_MEMORY_LIMIT_KIB,
    KDF_PASSES_LIMIT,
    KdfParameters,
    Password,
    PasswordKey,
    argon2id,
)
from fedspallm_secure.crypto.sealing import Kem, RecipientKey, RecipientSecret
from fedspallm_secure.errors import (
    FedSpaError,
    FormatError,
    KeyStoreError,
    LimitExceeded,
    MissingExtra,
    OutOfMemory,
    UsageError,
    WrongPassword,
)

FAST = KdfParameters(memory_kib=64, passes=1, lanes=1)
WORDS = "correct horse battery staple"
PASSWORD = Password.from_text(WORDS)
KEY = PasswordKey.new(PASSWORD, FAST)
OWNER = "spiffe://lungs.example/member/north"
ROOT = authority_uri("lungs.example")


def records() -> dict[Purpose, Record]:
    return {
        Purpose.ROOT: SigningSeed(bytes(range(32))),
        Purpose.SIGNING: SigningSeed(bytes(range(1, 33))),
        Purpose.TLS: TlsSecret(generate_tls_key()),
        Purpose.RECIPIENT: RecipientSecrets(tuple(RecipientSecret.generate(kem) for kem in Kem)),
        Purpose.PREKEYS: PrekeySecrets(7, tuple(prekeys_from(7, 3))),
        Purpose.JOURNAL: JournalSecret(bytes(range(2, 34))),
        Purpose.LOG: SigningSeed(bytes(range(3, 35))),
        Purpose.COSIGNER: SigningSeed(bytes(range(4, 36))),
    }


def encoded(size: int) -> str:
    return base64.b64encode(bytes(size)).decode()


def owner_of(purpose: Purpose) -> str:
    return ROOT if purpose is Purpose.ROOT else OWNER


def changed(data: bytes, change) -> bytes:
    """The file with its JSON object changed, in canonical form again."""
    value = json.loads(data)
    change(value)
    return canonical_json(value) + b"\n"


# Opening what was locked


@pytest.mark.parametrize("purpose", Purpose)
def test_what_was_locked_opens_with_the_password_and_with_its_key(purpose):
    record, owner = records()[purpose], owner_of(purpose)
    data = lock(purpose, owner, record, KEY)
    for secret in (PASSWORD, KEY):
        for expected in (owner, None):
            found, key = unlock(data, secret, purpose, expected)
            assert found == record
            assert key.key == KEY.key
    assert lock(purpose, owner, record, KEY) != data  # every writing has a file key of its own


@pytest.mark.parametrize("purpose", Purpose)
def test_a_reader_made_from_the_specification_alone_opens_the_file(purpose):
    record, owner = records()[purpose], owner_of(purpose)
    text = lock(purpose, owner, record, KEY).decode()
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    outer = json.loads(text)
    assert list(outer) == sorted(outer)
    ciphertext = base64.b64decode(outer.pop("ciphertext"))
    context = json.dumps(outer, sort_keys=True, separators=(",", ":")).encode()
    kdf = outer["kdf"]
    assert (outer["format"], outer["purpose"], outer["owner"]) == ("fedspallm-secure/1 key", purpose.value, owner)
    assert kdf["name"] == "argon2id"
    password_key = Argon2id(
        salt=base64.b64decode(kdf["salt"]),
        length=32,
        iterations=kdf["passes"],
        lanes=kdf["lanes"],
        memory_cost=kdf["memory_kib"],
    ).derive(WORDS.encode())
    parts = (b"fsps/1/key/keystore", context)
    info = (2).to_bytes(8, "little") + b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    salt = base64.b64decode(outer["file_salt"])
    file_key = HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(password_key)
    plaintext = json.loads(AESGCM(file_key).decrypt(bytes(12), ciphertext, context))
    if isinstance(record, SigningSeed):
        assert plaintext == {"ed25519": base64.b64encode(record.seed).decode()}
    elif isinstance(record, TlsSecret):
        assert plaintext == {"p256": base64.b64encode(record.pkcs8).decode()}
    elif isinstance(record, RecipientSecrets):
        assert [key["kem"] for key in plaintext["keys"]] == ["mlkem768-x25519", "x25519"]
        assert [len(base64.b64decode(key["secret"])) for key in plaintext["keys"]] == [96, 32]
    elif isinstance(record, JournalSecret):
        assert plaintext == {"aes256": base64.b64encode(record.key).decode()}
    else:
        assert plaintext["next"] == 7
        assert [key["index"] for key in plaintext["keys"]] == [7, 8, 9]
        assert {len(base64.b64decode(key["secret"])) for key in plaintext["keys"]} == {128}


def test_the_default_cost_is_that_of_the_specification():
    assert (DEFAULT_KDF.memory_kib, DEFAULT_KDF.passes, DEFAULT_KDF.lanes) == (256 * 1024, 3, 4)


@pytest.mark.slow
def test_the_default_cost_works():
    key = PasswordKey.new(PASSWORD)
    data = lock(Purpose.SIGNING, OWNER, records()[Purpose.SIGNING], key)
    assert unlock(data, PASSWORD, Purpose.SIGNING, OWNER)[1].key == key.key


# Every other file and every other password


def refusal(data: bytes, purpose: Purpose, secret: Password | PasswordKey = PASSWORD) -> FedSpaError:
    with pytest.raises(FedSpaError) as caught:
        unlock(data, secret, purpose, owner_of(purpose), "my.key")
    assert str(caught.value)
    return caught.value


@pytest.mark.parametrize("purpose", [Purpose.SIGNING, Purpose.ROOT, Purpose.TLS])
def test_every_flipped_bit_is_refused(purpose):
    data = lock(purpose, owner_of(purpose), records()[purpose], KEY)
    found = set()
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            found.add(type(refusal(bytes(damaged), purpose)))
    assert found <= {FormatError, WrongPassword, KeyStoreError}
    assert {FormatError, WrongPassword} <= found


def test_every_truncation_and_every_added_byte_is_refused():
    data = lock(Purpose.SIGNING, OWNER, records()[Purpose.SIGNING], KEY)
    for length in range(len(data)):
        assert type(refusal(data[:length], Purpose.SIGNING)) is FormatError
    for position in range(len(data) + 1):
        for extra in (b"\n", b" ", b"\0", b"0", b"A", data[position : position + 1]):
            if extra:
                assert isinstance(refusal(data[:position] + extra + data[position:], Purpose.SIGNING), FedSpaError)
    assert type(refusal(data + data, Purpose.SIGNING)) is FormatError


@given(st.binary(max_size=300))
@example(b"")
@example(b"\n")
@example(b"{}\n")
@example(b"[" * 200 + b"\n")
def test_any_bytes_are_refused_by_one_of_our_errors(data):
    assert type(refusal(data, Purpose.SIGNING)) is FormatError


CHANGES = {
    "owner": lambda v: v.update(owner=OWNER.replace("north", "south")),
    "memory": lambda v: v["kdf"].update(memory_kib=65),
    "salt": lambda v: v["kdf"].update(salt=encoded(16)),
    "file salt": lambda v: v.update(file_salt=encoded(32)),
    "ciphertext": lambda v: v.update(ciphertext=base64.b64encode(base64.b64decode(v["ciphertext"])[::-1]).decode()),
    "all of the ciphertext": lambda v: v.update(ciphertext=encoded(16)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_password_and_a_changed_file_are_not_told_apart(change):
    data = lock(Purpose.SIGNING, OWNER, records()[Purpose.SIGNING], KEY)
    wrong_key = PasswordKey(KEY.parameters, KEY.salt, bytes(32))
    others = [Password.from_text(words) for words in (" ", WORDS[:-1], WORDS + " ", WORDS.upper())]
    attempts = [(data, secret) for secret in (wrong_key, *others)] + [(changed(data, change), PASSWORD)]
    for file, secret in attempts:
        with pytest.raises(WrongPassword) as caught:
            unlock(file, secret, Purpose.SIGNING, None, "my.key")
        assert str(caught.value) == "my.key does not open: the password is wrong, or the file was changed"
        assert caught.value.__cause__ is None


def test_a_file_locked_anew_under_another_password_does_not_open_with_the_old_key():
    other = PasswordKey.new(PASSWORD, FAST)
    data = lock(Purpose.SIGNING, OWNER, records()[Purpose.SIGNING], other)
    assert type(refusal(data, Purpose.SIGNING, KEY)) is WrongPassword


@pytest.mark.parametrize("purpose", Purpose)
def test_a_file_of_another_purpose_or_owner_is_refused_before_anything_is_computed(purpose, monkeypatch):
    data = lock(purpose, owner_of(purpose), records()[purpose], KEY)
    monkeypatch.setattr(passwords, "Argon2id", None)
    for other in set(Purpose) - {purpose}:
        with pytest.raises(KeyStoreError, match=f"my.key holds a {purpose.value} key, not a {other.value} key"):
            unlock(data, PASSWORD, other, None, "my.key")
    with pytest.raises(KeyStoreError, match=r"my.key belongs to .*, not to .*south") as caught:
        unlock(data, PASSWORD, purpose, OWNER.replace("north", "south"), "my.key")
    assert type(caught.value) is KeyStoreError
    assert "--home" in caught.value.hint


@pytest.mark.parametrize("purpose", Purpose)
def test_a_file_that_claims_another_purpose_or_owner_does_not_open(purpose):
    """What stands outside of the encryption is bound to it: a key cannot be moved to another party or use."""
    data = lock(purpose, owner_of(purpose), records()[purpose], KEY)
    for other in set(Purpose) - {purpose}:
        claim = changed(data, lambda value, o=other: value.update(purpose=o.value, owner=owner_of(o)))
        with pytest.raises(WrongPassword):
            unlock(claim, PASSWORD, other, None)
    new_owner = owner_of(purpose).replace("lungs", "hearts")
    with pytest.raises(WrongPassword):
        unlock(changed(data, lambda value: value.update(owner=new_owner)), PASSWORD, purpose, new_owner)


# Bounds


OUT_OF_BOUNDS = {
    "memory too large": {"memory_kib": KDF_MEMORY_LIMIT_KIB + 1},
    "memory absurd": {"memory_kib": 2**53 - 1},
    "memory too small": {"memory_kib": 7},
    "memory too small for its lanes": {"memory_kib": 8 * 16 - 1, "lanes": 16},
    "memory negative": {"memory_kib": -1},
    "no pass": {"passes": 0},
    "too many passes": {"passes": KDF_PASSES_LIMIT + 1},
    "no lane": {"lanes": 0},
    "too many lanes": {"lanes": KDF_LANES_LIMIT + 1, "memory_kib": 1 << 20},
}


@pytest.mark.parametrize("values", OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_costs_out_of_bounds_are_refused_before_anything_is_computed(values, monkeypatch):
    data = lock(Purpose.SIGNING, OWNER, records()[Purpose.SIGNING], KEY)
    monkeypatch.setattr(passwords, "Argon2id", None)
    error = refusal(changed(data, lambda value: value["kdf"].update(values)), Purpose.SIGNING)
    assert type(error) is FormatError
    assert "my.key: Argon2id takes" in str(error)
    with pytest.raises(FormatError, match="Argon2id takes"):
        KdfParameters(**({"memory_kib": 64, "passes": 1, "lanes": 1} | values))


@pytest.mark.parametrize(("memory", "passes", "lanes"), [(8, 1, 1), (128, 10, 16), (KDF_MEMORY_LIMIT_KIB, 1, 1)])
def test_costs_at_the_bounds_are_accepted(memory, passes, lanes):
    KdfParameters(memory, passes, lanes)


MALFORMED = {
    "another format": lambda v: v.update(format="fedspallm-secure/2 key"),
    "another purpose": lambda v: v.update(purpose="backup"),
    "purpose as a number": lambda v: v.update(purpose=1),
    "no owner": lambda v: v.pop("owner"),
    "one member more": lambda v: v.update(note="x"),
    "another KDF": lambda v: v["kdf"].update(name="argon2i"),
    "one KDF member more": lambda v: v["kdf"].update(secret="x"),
    "true for one": lambda v: v["kdf"].update(passes=True),
    "cost as a string": lambda v: v["kdf"].update(memory_kib="64"),
    "short salt": lambda v: v["kdf"].update(salt=base64.b64encode(bytes(15)).decode()),
    "long salt": lambda v: v["kdf"].update(salt=base64.b64encode(bytes(17)).decode()),
    "short file salt": lambda v: v.update(file_salt=base64.b64encode(bytes(31)).decode()),
    "no tag": lambda v: v.update(ciphertext=base64.b64encode(bytes(15)).decode()),
    "no base64": lambda v: v.update(ciphertext="*" * 40),
    "kdf as a list": lambda v: v.update(kdf=[]),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_other_forms_are_refused_by_name_before_anything_is_computed(change, monkeypatch):
    data = lock(Purpose.SIGNING, OWNER, records()[Purpose.SIGNING], KEY)
    monkeypatch.setattr(passwords, "Argon2id", None)
    error = refusal(changed(data, change), Purpose.SIGNING)
    assert type(error) is FormatError
    assert str(error).startswith("my.key: ")
    assert error.hint


BAD_OWNERS = [
    "",
    "north",
    "member/north",
    "lungs.example/member/north",
    "http://lungs.example/member/north",
    "spiffe://lungs.example",
    "spiffe://lungs.example/",
    "spiffe://lungs.example/member",
    "spiffe://lungs.example/member/north/x",
    "spiffe://lungs.example/doctor/north",
    "spiffe://lungs.example/authority/other",
    "spiffe://Lungs.example/member/north",
    "spiffe:///member/north",
    "spiffe://a..b/member/north",
    "SPIFFE://lungs.example/member/north",
]


@pytest.mark.parametrize("owner", BAD_OWNERS)
def test_what_is_no_owner_owns_no_key(owner):
    for purpose in (Purpose.SIGNING, Purpose.ROOT):
        with pytest.raises(FormatError):
            lock(purpose, owner, records()[purpose], KEY)
        good = lock(purpose, owner_of(purpose), records()[purpose], KEY)
        assert type(refusal(changed(good, lambda value: value.update(owner=owner)), purpose)) is FormatError


def test_only_the_authority_owns_a_root_key_and_it_owns_no_other():
    with pytest.raises(FormatError, match="cannot own a root key"):
        lock(Purpose.ROOT, OWNER, records()[Purpose.ROOT], KEY)
    with pytest.raises(FormatError, match="cannot own a signing key"):
        lock(Purpose.SIGNING, ROOT, records()[Purpose.SIGNING], KEY)
    assert ROOT == "spiffe://lungs.example/authority/root"
    with pytest.raises(FormatError):
        authority_uri("Lungs")


def test_a_record_of_another_purpose_is_not_locked():
    with pytest.raises(TypeError):
        lock(Purpose.TLS, OWNER, records()[Purpose.SIGNING], KEY)


def test_files_are_bounded_before_they_are_parsed(monkeypatch):
    with pytest.raises(LimitExceeded, match=r"my\.key is larger than 4194304 bytes"):
        unlock(b" " * KEY_FILE_LIMIT + b"\n", PASSWORD, Purpose.SIGNING, None, "my.key")
    monkeypatch.setattr(keyfiles, "KEY_FILE_LIMIT", 600)
    with pytest.raises(LimitExceeded):
        lock(Purpose.PREKEYS, OWNER, records()[Purpose.PREKEYS], KEY)


def test_the_largest_prekey_file_fits_into_a_key_file():
    one = PrekeySecret.generate(2**53 - 2).to_dict()
    plaintext = canonical_json({"next": 2**53 - 2, "keys": [one] * PREKEYS_HELD_LIMIT})
    assert len(plaintext) * 4 / 3 + 1000 < KEY_FILE_LIMIT


def test_a_claim_can_be_read_without_a_password(monkeypatch):
    data = lock(Purpose.TLS, OWNER, records()[Purpose.TLS], KEY)
    monkeypatch.setattr(passwords, "Argon2id", None)
    claim = LockedKey.parse(data, "my.key")
    assert (claim.purpose, claim.owner, claim.parameters, claim.salt) == (Purpose.TLS, OWNER, FAST, KEY.salt)


# What was locked but is no key


def forged(purpose: Purpose, plaintext: bytes) -> bytes:
    """A file that opens with the password and holds `plaintext`."""
    empty = LockedKey(purpose, owner_of(purpose), FAST, KEY.salt, bytes(32), b"")
    ciphertext = encrypt(keyfiles._file_key(KEY, empty), bytes(12), plaintext, empty.header)
    return canonical_json({**empty.to_dict(), "ciphertext": base64.b64encode(ciphertext).decode()}) + b"\n"


def p384() -> str:
    der, form, none = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return base64.b64encode(ec.generate_private_key(ec.SECP384R1()).private_bytes(der, form, none)).decode()


def ed25519() -> str:
    der, form, none = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return base64.b64encode(Ed25519PrivateKey.generate().private_bytes(der, form, none)).decode()


def encrypted() -> str:
    der, form = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
    key = ec.generate_private_key(ec.SECP256R1())
    return base64.b64encode(key.private_bytes(der, form, serialization.BestAvailableEncryption(b"x"))).decode()


NO_RECORDS = [
    (Purpose.SIGNING, {"ed25519": encoded(31)}),
    (Purpose.SIGNING, {"ed25519": encoded(32), "x": 1}),
    (Purpose.SIGNING, {}),
    (Purpose.SIGNING, "secret words"),
    (Purpose.ROOT, {"ed25519": encoded(64)}),
    (Purpose.LOG, {"ed25519": encoded(31)}),
    (Purpose.COSIGNER, {"aes256": encoded(32)}),
    (Purpose.TLS, {"p256": encoded(40)}),
    (Purpose.TLS, {"p256": p384()}),
    (Purpose.TLS, {"p256": ed25519()}),
    (Purpose.TLS, {"p256": encrypted()}),
    (Purpose.RECIPIENT, {"keys": []}),
    (Purpose.RECIPIENT, {"keys": [{"kem": "x448", "secret": encoded(32)}]}),
    (Purpose.RECIPIENT, {"keys": [{"kem": "x25519", "secret": encoded(96)}]}),
    (Purpose.RECIPIENT, {"keys": [{"kem": "x25519", "secret": encoded(32)}] * 2}),
    (Purpose.RECIPIENT, {"keys": [1]}),
    (Purpose.PREKEYS, {"next": 0, "keys": [{"index": 0, "secret": encoded(127)}]}),
    (Purpose.PREKEYS, {"next": 0, "keys": [{"index": 1, "secret": encoded(128)}]}),
    (Purpose.PREKEYS, {"next": 0, "keys": [{"index": True, "secret": encoded(128)}]}),
    (Purpose.PREKEYS, {"next": -1, "keys": []}),
    (Purpose.PREKEYS, {"next": 2**53 - 1, "keys": [{"index": 2**53 - 1, "secret": encoded(128)}]}),
    (Purpose.PREKEYS, {"next": 3, "keys": [{"index": i, "secret": encoded(128)} for i in (3, 5)]}),
    (Purpose.PREKEYS, {"next": 3, "keys": [{"index": i, "secret": encoded(128)} for i in (3, 3)]}),
    (Purpose.JOURNAL, {"aes256": encoded(31)}),
    (Purpose.JOURNAL, {"aes256": 1}),
]


@pytest.mark.parametrize(("purpose", "value"), NO_RECORDS)
def test_what_opens_but_is_no_key_is_refused_without_showing_it(purpose, value):
    error = refusal(forged(purpose, canonical_json(value)), purpose)
    assert type(error) is FormatError
    assert str(error) == f"my.key opens, but what it holds is not a {purpose.value} key"
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("plaintext", [b"", b"{", b'{"ed25519": "x"}', b"\xff", b"[" * 1000])
def test_what_opens_but_is_no_json_is_refused_without_showing_it(plaintext):
    error = refusal(forged(Purpose.SIGNING, plaintext), Purpose.SIGNING)
    assert type(error) is FormatError
    assert error.__context__ is None


# Records


def test_every_purpose_has_its_record_and_both_come_back_equal():
    assert set(RECORDS) == set(Purpose)
    for purpose, record in records().items():
        assert type(record) is RECORDS[purpose]
        assert RECORDS[purpose].from_dict(record.to_dict()) == record
        canonical_json(record.to_dict())


def test_a_tls_record_gives_a_key_on_p256():
    record = TlsSecret(generate_tls_key())
    assert record.load().curve.name == "secp256r1"
    assert TlsSecret(generate_tls_key()) != record


def test_recipient_records_are_bounded():
    keys = tuple(RecipientSecret.generate(Kem.X25519) for _ in range(RECIPIENT_KEYS_LIMIT + 1))
    RecipientSecrets(keys[:-1])
    for bad in ((), keys):
        with pytest.raises(FormatError):
            RecipientSecrets(bad)


def test_a_leaf_is_both_public_keys():
    secret = PrekeySecret.generate(5)
    assert len(secret.leaf) == 1248
    assert RecipientKey(Kem.HYBRID, secret.leaf[32:]) == secret.recipient.recipient_key
    assert RecipientSecret(Kem.X25519, secret.exchange).recipient_key.public == secret.leaf[:32]
    with pytest.raises(FormatError):
        PrekeySecret(5, bytes(32), RecipientSecret.generate(Kem.X25519))
    with pytest.raises(FormatError):
        PrekeySecret(5, bytes(31), secret.recipient)
    with pytest.raises(FormatError):
        PrekeySecret(-1, bytes(32), secret.recipient)


def test_prekeys_follow_one_another():
    keys = tuple(prekeys_from(4, 3))
    assert PrekeySecrets(4, keys).end == 7
    assert PrekeySecrets(9, ()).end == 9
    for first, chosen in ((5, keys), (4, keys[::2]), (4, keys[::-1]), (4, keys[:1] * 2)):
        with pytest.raises(FormatError):
            PrekeySecrets(first, chosen)
    with pytest.raises(FormatError, match="at most"):
        PrekeySecrets(4, keys[:1] * (PREKEYS_HELD_LIMIT + 1))


def test_nothing_shows_its_secrets():
    data = lock(Purpose.SIGNING, OWNER, records()[Purpose.SIGNING], KEY)
    shown = [repr(item) + str(item) for item in (PASSWORD, KEY, LockedKey.parse(data, "x"), *records().values())]
    for text, item in zip(shown, [PASSWORD, KEY, None, *records().values()], strict=True):
        assert WORDS not in text
        assert repr(KEY.key)[2:10] not in text
        assert "\\x" not in text or item is None  # salts of a file are public
    assert repr(PASSWORD) == "Password()"
    assert repr(KEY) == "PasswordKey()"


# Passwords


def test_every_spelling_of_a_text_is_one_password():
    composed, decomposed = "Käsebrötchen", unicodedata.normalize("NFD", "Käsebrötchen")
    assert composed != decomposed
    assert Password.from_text(decomposed).encoded == composed.encode()


@pytest.mark.parametrize("text", ["x" * 1025, "ä" * 513, "x" * 10**7, "\N{COMBINING DIAERESIS}" * 600])
def test_passwords_are_bounded(text):
    with pytest.raises(UsageError, match="longer than 1024 bytes"):
        Password.from_text(text)


def test_the_bound_counts_what_is_used():
    assert len(Password.from_text("x" * 1024).encoded) == 1024
    assert len(Password.from_text(unicodedata.normalize("NFD", "\u1f82" * 341)).encoded) == 1023


def test_an_empty_password_is_refused():
    with pytest.raises(UsageError, match="the password is empty"):
        Password.from_text("")


@pytest.mark.parametrize("text", ["secret\udcff", "secret\ud800"])
def test_what_is_no_unicode_is_refused_and_not_repeated(text):
    with pytest.raises(UsageError, match="not valid UTF-8") as caught:
        Password.from_text(text)
    assert "secret" not in "".join(traceback.format_exception(caught.value)).replace("from_text(text)", "")
    assert caught.value.__context__ is None


# Argon2id


def vectors() -> list[dict[str, str]]:
    text = (Path(cryptography_vectors.__file__).parent / "KDF" / "argon2id.txt").read_text()
    cases: list[dict[str, str]] = []
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if not equals or line.startswith("#"):
            continue
        if name.strip() == "COUNT":
            cases.append({})
        else:
            cases[-1][name.strip()] = value.strip()
    return cases


@pytest.mark.parametrize("case", vectors(), ids=lambda case: f"{case['memcost']}-{case['lanes']}-{case['length']}")
def test_published_vectors_hold(case):
    """The first is that of RFC 9106 section 5.3."""
    optional = {name: bytes.fromhex(case[name]) if name in case else None for name in ("secret", "ad")}
    parameters = KdfParameters(int(case["memcost"]), int(case["iter"]), int(case["lanes"]))
    password, salt = bytes.fromhex(case["pass"]), bytes.fromhex(case["salt"])
    result = argon2id(
        password, salt, parameters, int(case["length"]), secret=optional["secret"], associated=optional["ad"]
    )
    assert result.hex() == case["output"]


def test_all_published_vectors_are_there():
    assert len(vectors()) == 6
    assert vectors()[0]["output"].startswith("0d640df58d78766c08c037a34a8b53c9")


@pytest.mark.parametrize(("cause", "error"), [(MemoryError(), OutOfMemory), (UnsupportedAlgorithm("x"), MissingExtra)])
def test_a_machine_that_cannot_derive_says_why(monkeypatch, cause, error):
    def fail(**_):
        raise cause

    monkeypatch.setattr(passwords, "Argon2id", fail)
    with pytest.raises(error) as caught:
        PasswordKey.new(PASSWORD)
    assert caught.value.hint
    if error is OutOfMemory:
        assert "256 MiB" in str(caught.value)


@pytest.mark.parametrize("index", [-1, 1 << 53])
def test_an_index_of_a_prekey_fits_into_canonical_json(index):
    good = PrekeySecret.generate(0)
    with pytest.raises(FormatError, match="is no index"):
        PrekeySecret(index, good.exchange, good.recipient)
