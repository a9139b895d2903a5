"""Step 4 as far as the values go: each is of its type and yet no possible value."""

from tests.vector_format import Vector
from tests.vectorkit.cases import CONTRIBUTION, FILE, FORM, fault, home_of, with_ctx, with_fields
from tests.vectorkit.packages import Draft, context
from tests.vectorkit.primitives import Value, b64, quoted, seeded
from tests.vectorkit.world import HYBRID, LATEST, NOW

BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
TIME = NOW - 3_600


def of_ctx(name: str, comment: str, draft: Draft = FILE, **changes: Value) -> Vector:
    return fault(f"04-{name}", FORM, comment, with_ctx(draft, **changes).pack(), recipient=home_of(draft))


def of_header(name: str, comment: str, draft: Draft = FILE, **changes: Value) -> Vector:
    return fault(f"04-{name}", FORM, comment, with_fields(draft, **changes).pack(), recipient=home_of(draft))


def hexes() -> list[Vector]:
    """Every hex field too short, too long, of odd length, in upper case, not hex, empty."""
    found = []
    for field in ("body_root", "roster", "plan_hash", "sender_key", "recipient_key"):
        right = str({**CONTRIBUTION.ctx, **CONTRIBUTION.header_fields()}[field])
        wrong = {
            "short": (right[:-2], "is one byte too short"),
            "long": (right + "00", "is one byte too long"),
            "odd": (right[:-1], "has an odd number of digits"),
            "upper-case": (right.upper(), "is in upper case"),
            "not-hex": (right[:-1] + "g", "has a letter that is no digit"),
            "spaced": (right[:-1] + " ", "ends with a space"),
            "empty": ("", "is empty"),
        }
        make = of_header if field == "body_root" else of_ctx
        for how, (value, says) in wrong.items():
            name, comment = f"{field.replace('_', '-')}-{how}", f"{field} {says}."
            found.append(make(name, comment, CONTRIBUTION, **{field: value}))
    found.append(of_ctx("plan-hash-two-stars", "plan_hash is two stars.", plan_hash="**"))
    found.append(of_header("body-root-star", "body_root is a star.", body_root="*"))
    found.append(of_ctx("roster-star", "roster is a star.", roster="*"))
    return found


def with_both_signs() -> Draft:
    """A package whose `enc` has a plus or a slash in base64, so that the other alphabet makes a difference."""
    drafts = (FILE.but(name=f"alphabet {i}") for i in range(100))
    return next(draft for draft in drafts if {"+", "/"} & set(b64(draft.sealed_key())))


def encs() -> list[Vector]:
    sealed = FILE.sealed_key()
    text = b64(sealed)
    spare = text[:-2] + BASE64[BASE64.index(text[-2]) + 1] + "="
    signs = with_both_signs()
    other = b64(signs.sealed_key()).replace("+", "-").replace("/", "_")
    texts = {
        "unpadded": ("is without padding", text.rstrip("=")),
        "more-padding": ("has a padding character too many", text + "="),
        "spare-bits": ("has a spare bit that is not zero", spare),
        "space": ("holds a space", text[:40] + " " + text[40:]),
        "space-after": ("ends with a space", text + " "),
        "star": ("holds a character that is not of the alphabet", text[:40] + "*" + text[41:]),
        "padding-inside": ("has padding in the middle", b64(sealed[:40]) + b64(sealed[40:])),
        "hex": ("is hex", sealed.hex()),
        "empty": ("is empty", ""),
    }
    found = [of_header(f"enc-{name}", f"enc {says}.", enc=value) for name, (says, value) in texts.items()]
    found.append(of_header("enc-url-alphabet", "enc is in the other alphabet of base64.", signs, enc=other))
    short, long = FILE.but(name="short").file_key[:31], FILE.file_key + b"\0"
    for name, says, key in (("31", "of 31 bytes", short), ("33", "of 33 bytes", long), ("0", "of no bytes", b"")):
        data = FILE.sealed_key()[:32] + seeded("enc", len(key) + 16)
        found.append(of_header(f"enc-file-key-{name}", f"enc has the length of a file key {says}.", enc=b64(data)))
    found.append(of_header("enc-encapsulated-only", "enc has no ciphertext.", enc=b64(sealed[:32])))
    found.append(of_header("enc-of-hybrid-length", "enc is as long as for the other kem.", enc=b64(seeded("h", 1168))))
    hybrid = Draft(context(kem=HYBRID), enc=sealed)
    comment = "The kem is the hybrid one and enc as long as for x25519."
    found.append(fault("04-enc-too-short-for-hybrid", FORM, comment, hybrid.pack()))
    return found


def checkpoints() -> list[Vector]:
    """The checkpoint is base64 in its one spelling, of at most 1,024 bytes."""
    text = b64(b"log.example\n2\n")
    spare = text[:-2] + BASE64[BASE64.index(text[-2]) + 1] + "="
    texts = {
        "1025": ("has a byte too many", b64(bytes(1025))),
        "much-longer": ("is as long as the header may be", b64(bytes(40_000))),
        "unpadded": ("is without padding", text.rstrip("=")),
        "more-padding": ("has a padding character too many", text + "="),
        "spare-bits": ("has a spare bit that is not zero", spare),
        "space": ("holds a space", text[:4] + " " + text[4:]),
        "url-alphabet": ("is in the other alphabet of base64", "__8="),
        "star": ("is a star", "*"),
        "in-clear": ("is a note as it is, in one line", "log.example 20"),
    }
    found = [
        of_ctx(f"checkpoint-{name}", f"checkpoint {says}.", checkpoint=text) for name, (says, text) in texts.items()
    ]
    with_number = {**FILE.ctx, "checkpoint": 0}
    found.append(fault("04-checkpoint-number", FORM, "checkpoint is a number.", FILE.but(ctx=with_number).pack()))
    ctx = {name: value for name, value in FILE.ctx.items() if name != "checkpoint"}
    found.append(fault("04-checkpoint-missing", FORM, "checkpoint is missing.", FILE.but(ctx=ctx).pack()))
    return found


def numbers() -> list[Vector]:
    """Counts, times and the two spellings of numbers."""
    found = [
        of_header("body-len-0", "body_len is 0.", body_len=0),
        of_header("body-len-0-no-tiles", "There is no body.", body_len=0, tiles=0),
        of_header("body-len-negative", "body_len is negative.", body_len=-99),
        of_header("body-len-71", "body_len is one less than the shortest body has.", body_len=71),
        of_header("body-len-between", "No plaintext gives this body_len.", body_len=16_460),
        of_header("body-len-whole-chunks", "body_len is that of full chunks without a last one.", body_len=56 + 16_400),
        of_header("body-len-15-of-16", "Only 15 bytes of the last tag would be there.", body_len=56 + 16_400 + 15),
        of_header("tiles-0", "tiles is 0.", tiles=0),
        of_header("tiles-2", "tiles is one more than body_len needs.", tiles=2),
        of_header("tiles-negative", "tiles is negative.", tiles=-1),
        of_header("tiles-1-of-2", "tiles is one less than body_len needs.", body_len=2**20 + 1),
        of_header("tiles-after-full", "body_len is one full tile and tiles counts a second.", body_len=2**20, tiles=2),
        of_ctx("round-negative", "round is negative.", CONTRIBUTION, round=-1),
        of_ctx("seq-0", "seq is 0.", seq=0),
        of_ctx("seq-negative", "seq is negative.", seq=-1),
        of_ctx("created-negative", "created is before 1970.", created=-1),
        of_ctx("created-too-late", "created is after the year 9999.", created=LATEST + 1, not_after=LATEST + 2),
        of_ctx("not-after-too-late", "not_after is after the year 9999.", not_after=LATEST + 1),
        of_ctx("times-in-milliseconds", "Times are in milliseconds.", created=1000 * TIME, not_after=1000 * NOW),
        of_ctx("not-after-is-created", "not_after is created.", created=TIME, not_after=TIME),
        of_ctx("not-after-before-created", "not_after is before created.", created=TIME, not_after=TIME - 1),
    ]
    gids = {
        "leading-zero": "01",
        "double-zero": "00",
        "negative": "-1",
        "empty": "",
        "plus": "+1",
        "fraction": "1.0",
        "exponent": "1e1",
        "space-before": " 1",
        "space-after": "1 ",
        "hexadecimal": "0x1",
        "underscore": "1_0",
        "arabic-digit": "\u0663",
        "superscript": "\u00b2",
        "two-stars": "**",
        "word": "seven",
    }
    return found + [
        of_ctx(f"gid-{name}", f"gid is no number in its one spelling: {quoted(value)}.", CONTRIBUTION, gid=value)
        for name, value in gids.items()
    ]


def words() -> list[Vector]:
    """Names and the words that are one of a list."""
    federations = {
        "empty": "",
        "upper-case": "Clinics.example",
        "64-characters": "c" * 64,
        "hyphen-first": "-clinics.example",
        "dot-last": "clinics.example.",
        "two-dots": "clinics..example",
        "underscore": "clinics_example",
        "uri": "spiffe://clinics.example",
        "cyrillic": "clin\u0456cs.example",
        "slash": "clinics.example/",
    }
    parties = {
        "no-role": "birch",
        "no-id": "member/",
        "empty": "",
        "unknown-role": "visitor/birch",
        "role-upper-case": "Member/birch",
        "id-upper-case": "member/Birch",
        "two-slashes": "member//birch",
        "three-parts": "member/birch/x",
        "uri": "spiffe://clinics.example/member/birch",
        "hyphen-first": "member/-birch",
        "hyphen-last": "member/birch-",
        "dot": "member/birch.a",
        "underscore": "member/birch_a",
        "64-characters": "member/" + "b" * 64,
        "space": "member/birch ",
        "cyrillic": "member/b\u0456rch",
        "backslash": "member\\birch",
        "star": "*",
    }
    found = [
        of_ctx(f"fed-{n}", f"fed is no federation's name: {quoted(value)}.", fed=value)
        for n, value in federations.items()
    ]
    for field in ("sender", "recipient"):
        for name, value in parties.items():
            comment = f"{field} is not the name of a party: {quoted(value)}."
            found.append(of_ctx(f"{field}-{name}", comment, **{field: value}))
    for name, value in (
        ("unknown", "x448"),
        ("upper-case", "X25519"),
        ("empty", ""),
        ("other-hybrid", "x25519-mlkem768"),
        ("number", "32"),
    ):
        found.append(of_ctx(f"kem-{name}", f"kem is not in the table: {quoted(value)}.", kem=value))
    for name, value in (("unknown", "text"), ("upper-case", "JSON"), ("empty", ""), ("star", "*")):
        found.append(of_ctx(f"body-type-{name}", f"body_type is none of two: {quoted(value)}.", body_type=value))
    return found


def vectors() -> list[Vector]:
    return [*hexes(), *encs(), *checkpoints(), *numbers(), *words()]
