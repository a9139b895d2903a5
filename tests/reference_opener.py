"""A second opener of packages: slow, obvious, whole file in memory, written from docs/SPEC.md and nothing else."""

import base64
import hashlib
import json
import re
import unicodedata

from cryptography import x509
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from nacl.bindings import crypto_sign_open

NAT, INT, TEXT = "(0|[1-9][0-9]*)", "(0|-?[1-9][0-9]*)", r'"([^"\\\x00-\x1f\x7f-\x9f]|\\["\\])*"'
HEX, ID, ROLE = '"[0-9a-f]{64}"', "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "(server|member|key-holder|witness|auditor)"
FED, PARTY = r'"(?![a-z0-9.-]*\.\.)[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?"', f'"{ROLE}/{ID}"'  # as canonical JSON
CTX = {"v": INT, "type": TEXT, "fed": FED, "roster": HEX, "round": NAT, "plan_hash": rf'({HEX}|"\*")'}
CTX |= {"gid": rf'"({NAT}|\*)"', "sender": PARTY, "sender_key": HEX, "recipient": PARTY, "recipient_key": HEX}
CTX |= {
    "kem": '"(x25519|mlkem768-x25519)"',
    "seq": "[1-9][0-9]*",
    "created": NAT,
    "not_after": NAT,
    "checkpoint": '"[A-Za-z0-9+/]*=*"',
}
CTX = ",".join(f'"{name}":{form}' for name, form in sorted({**CTX, "body_type": '"(bytes|json)"'}.items()))
HEADER = rf'\{{"body_len":{NAT},"body_root":{HEX},"ctx":(?P<ctx>\{{{CTX}\}}),"enc":"[A-Za-z0-9+/]*=*","tiles":{NAT}\}}'
KEMS = {"x25519": (80, hpke.KEM.X25519), "mlkem768-x25519": (1168, hpke.KEM.MLKEM768_X25519)}
TYPES = """file * * bytes 36, prekeys member server bytes 20, offer member server json 20,
opening server (witness|member) json 20,
beacon witness server json 20, plan server (member|auditor) json 28, contribution member server bytes 36,
receipt server member bytes 20, survivors server (member|witness) json 26, endorsement (member|witness) server json 20,
unmask-request server member json 28, unmask-response member server json 28, result server (member|auditor) bytes 36,
layer server (member|auditor) bytes 36, abort server * json 20, log server (member|auditor) json 28,
checkpoint server witness json 20, cosignature witness server json 20, decline member server json 20"""
TYPES = {name: row for name, *row in (line.replace("*", ROLE).split() for line in TYPES.split(","))}  # log2 of size
OUTSIDE = ("file", "prekeys", "offer", "log", "checkpoint", "cosignature")  # of rounds
PROFILE = {x509.BasicConstraints(False, None): True, x509.KeyUsage(True, *[False] * 8): True}  # value: critical
PROFILE |= {x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.25.253809565053869446045003847362290417585")]): False}


class Refused(Exception): ...  # with the step of section 9 that failed and the name of its error class


def pae(*parts):
    return len(parts).to_bytes(8, "little") + b"".join(len(p).to_bytes(8, "little") + p for p in parts)


def digest(label, *parts):
    return hashlib.sha256(pae(label, *parts)).hexdigest()


def tree(leaves):
    left = 1 << (len(leaves) - 1).bit_length() - 1 if len(leaves) > 1 else 0
    return hashlib.sha256(b"\1" + tree(leaves[:left]) + tree(leaves[left:])).digest() if left else leaves[0]


def open_package(data, roster, crl, root, fed, me, secrets, now, skew, awaited, register):
    text, crl, root = roster.split(b"\n")[1], x509.load_der_x509_crl(crl), x509.load_der_x509_certificate(root)
    parties = {f"{p['role']}/{p['id']}": p for p in json.loads(text)["parties"]}
    certs = {p: x509.load_der_x509_certificate(base64.b64decode(q["signing_certificate"])) for p, q in parties.items()}
    ski = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    root_key, aki = root.public_key().public_bytes_raw(), x509.AuthorityKeyIdentifier(ski, None, None)
    try:  # what goes wrong is what `at` says, unless the check that fails names something else
        at, h = (3, "PackageFormatError"), int.from_bytes(data[8:12], "little")
        raw, signature, rest = data[12 : 12 + h], data[12 + h : 76 + h], data[76 + h :]
        assert data[:8] == b"FSPKG1\r\n" and 1 <= h <= 65536 and len(signature) == 64
        at = 4, "PackageFormatError"
        info = re.fullmatch(HEADER, raw.decode())["ctx"].encode()
        header, ctx, info = json.loads(raw), json.loads(info), bytes.fromhex(digest(b"fsps/1/kem", info))
        size, tiles, enc = header["body_len"], header["tiles"], base64.b64decode(header["enc"])
        assert all(abs(value) < 2**53 for value in [size, tiles, *ctx.values()] if isinstance(value, int))
        length = size - 56 - 16 * ((size - 56) // 16400 + 1)
        assert length >= 0 and size == 56 + length + 16 * (length // 16384 + 1) and tiles == -(-size // 2**20)
        assert base64.b64encode(enc).decode() == header["enc"] and len(enc) == KEMS[ctx["kem"]][0]
        shown = base64.b64decode(ctx["checkpoint"])
        assert base64.b64encode(shown).decode() == ctx["checkpoint"] and len(shown) <= 1024
        assert ctx["created"] < ctx["not_after"] <= 253402300799 and unicodedata.is_normalized("NFC", ctx["type"])
        assert ctx["v"] == 1 and ctx["type"] in TYPES, (5, "UnknownVersion")
        assert ctx["fed"] == fed, (5, "WrongFederation")
        assert ctx["roster"] == digest(b"fsps/1/digest/roster", text), (5, "WrongRoster")
        kem, key = secrets.get(ctx["recipient_key"], ("", None))
        assert ctx["recipient"] == me and ctx["kem"] == kem, (5, "WrongRecipient")
        at = 5, "UnknownSender"
        leaf, sender_key = certs[ctx["sender"]], certs[ctx["sender"]].public_key().public_bytes_raw()
        assert ctx["sender_key"] == digest(b"fsps/1/digest/signing-key", sender_key)
        at = 5, "NotAllowed"
        senders, recipients, body_type, log = TYPES[ctx["type"]]
        assert re.fullmatch(f"{senders}/.*", ctx["sender"]) and re.fullmatch(f"{recipients}/.*", me)
        assert (ctx["type"] in OUTSIDE) == (ctx["round"] == 0) == (ctx["plan_hash"] == "*")
        assert ctx["body_type"] == body_type and length <= 2 ** int(log) and (ctx["round"] or ctx["gid"] == "*")
        at = 6, "CertificateRefused"
        assert crypto_sign_open(leaf.signature + leaf.tbs_certificate_bytes, root_key) and leaf.issuer == root.subject
        name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{fed}/{ctx['sender']}")])
        own = leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert {e.value: e.critical for e in leaf.extensions} == PROFILE | {name: False, own: False, aki: False}
        assert leaf.not_valid_after_utc <= root.not_valid_after_utc
        begin = max(leaf.not_valid_before_utc, root.not_valid_before_utc).timestamp()
        assert begin <= now <= leaf.not_valid_after_utc.timestamp(), (6, "CertificateExpired")
        assert crypto_sign_open(crl.signature + crl.tbs_certlist_bytes, root_key) and crl.issuer == root.subject
        num = crl.extensions.get_extension_for_class(x509.CRLNumber).value
        assert {e.value: e.critical for e in crl.extensions} == {num: False, aki: False} and 0 < num.crl_number < 2**53
        begin, end = crl.last_update_utc.timestamp() - skew, crl.next_update_utc.timestamp()
        assert begin <= now <= end and num.crl_number >= json.loads(text)["crl_number"], (6, "RevocationListStale")
        assert crl.get_revoked_certificate_by_serial_number(leaf.serial_number) is None, (6, "CertificateRevoked")
        _, said, signed, _ = base64.b64decode(parties[me]["key_statement"]).split(b"\n")
        signed = base64.b64decode(signed.split()[1]) + pae(b"fsps/1/sign/key-statement", said)
        said = json.loads(crypto_sign_open(signed, certs[me].public_key().public_bytes_raw())[-len(said) :])
        assert said["not_before"] <= now <= said["not_after"], (6, "CertificateExpired")
        assert ctx["created"] <= now + skew and now <= ctx["not_after"], (6, "PackageExpired")
        at = 7, "BadSignature"
        crypto_sign_open(signature + pae(b"FSPKG1", raw), sender_key)
        row = register.get((fed, ctx["round"], ctx["type"], ctx["sender"], ctx["sender_key"], ctx["seq"]))
        assert row != digest(b"fsps/1/digest/package", raw), (8, "ReplayedPackage")
        assert row is None, (8, "Equivocation")
        assert awaited.items() <= (ctx | {"length": length}).items(), (9, "NotAwaited")
        assert len(rest) >= 32 * tiles + size, (10, "Truncated")
        assert len(rest) <= 32 * tiles + size, (10, "TrailingBytes")
        leaves, body = [rest[32 * i : 32 * i + 32] for i in range(tiles)], rest[32 * tiles :]
        found = [hashlib.sha256(b"\0" + body[i << 20 : i + 1 << 20]).digest() for i in range(tiles)]
        assert tree(leaves).hex() == header["body_root"] and found == leaves, (10, "TileMismatch")
        at = 11, "CannotDecrypt"
        suite = hpke.Suite(KEMS[kem][1], hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
        purpose = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + body[:24] + info
        made = HKDFExpand(hashes.SHA512(), 76, purpose).derive(suite.decrypt(enc, key, info))
        assert made[44:] == body[24:56]
        base, chunks = int.from_bytes(made[32:44], "big"), [body[i : i + 16400] for i in range(56, size, 16400)]
        nonces = [(base ^ i).to_bytes(12, "big") for i in range(len(chunks))]
        return b"".join(AESGCM(made[:32]).decrypt(*pair, b"") for pair in zip(nonces, chunks, strict=True))
    except Exception as fault:
        raise Refused(*fault.args[0] if isinstance(fault, AssertionError) and fault.args else at) from fault
