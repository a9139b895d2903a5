"""Steps 1 to 4 as far as the text goes: files, magic, header length, canonical JSON."""

import base64
import json

from tests.vector_format import Edit, Vector
from tests.vectorkit.cases import CONTRIBUTION, FILE, FORM, exchanged, fault, home_of
from tests.vectorkit.packages import MAGIC
from tests.vectorkit.primitives import canonical, u32
from tests.vectorkit.sealing import body_length

LARGEST = 12 + 65_536 + 64 + 32 * -(-body_length(2**36) // 2**20) + body_length(2**36)


def kinds_of_file() -> list[Vector]:
    package, found = FILE.pack(), []
    for kind, comment in (
        ("symbolic-link", "The name is a symbolic link to a sound package."),
        ("hard-link", "The file with the sound package has a second name."),
    ):
        found.append(fault(f"01-{kind}", "HostileFile", comment, package, file=kind))
    for kind in ("directory", "pipe", "socket", "device"):
        comment = f"Under the name lies a {kind} instead of a file."
        found.append(fault(f"01-{kind}", "HostileFile", comment, b"", file=kind))
    comment = "The file is one byte longer than the largest package; it begins with a sound one, the rest is a hole."
    found.append(fault("01-too-large", "LimitExceeded", comment, package, file="sparse", size=LARGEST + 1))
    return found


def magics() -> list[Vector]:
    package = FILE.pack()
    rest = package[8:]
    table = {
        "first-byte": ("The first byte of the magic is another one.", b"GSPKG1\r\n" + rest),
        "lower-case": ("The magic is in lower case.", b"fspkg1\r\n" + rest),
        "version-2": ("The magic is that of a version that does not exist.", b"FSPKG2\r\n" + rest),
        "line-feed-first": ("Carriage return and line feed have changed places.", b"FSPKG1\n\r" + rest),
        "spaces": ("Two spaces stand for carriage return and line feed.", b"FSPKG1  " + rest),
        "text-mode": ("A transfer in text mode made LF of every CR LF.", package.replace(b"\r\n", b"\n")),
        "text-mode-back": ("A transfer in text mode made CR LF of every LF.", package.replace(b"\n", b"\r\n")),
        "byte-order-mark": ("A byte-order mark stands before the magic.", b"\xef\xbb\xbf" + package),
        "line-before": ("An empty line stands before the magic.", b"\r\n" + package),
        "base64": ("The whole package is in base64.", base64.b64encode(package)),
        "gzip": ("The file begins like one of gzip.", b"\x1f\x8b\x08\x00\x00\x00\x00\x00" + rest),
        "zip": ("The file begins like a ZIP archive.", b"PK\x03\x04\x14\x00\x00\x00" + rest),
        "zeros": ("Eight zero bytes stand for the magic.", bytes(8) + rest),
        "missing": ("The file begins with the header length.", rest),
    }
    return [fault(f"03-magic-{name}", FORM, comment, data) for name, (comment, data) in table.items()]


def header_lengths() -> list[Vector]:
    package = FILE.pack()
    size = int.from_bytes(package[8:12], "little")
    rest, room = package[12:], len(package) - 12
    table = {
        "0": (0, "The header length is 0."),
        "65537": (65_537, "The header length is one more than the limit."),
        "65536": (65_536, "The header length is the limit, and the file is shorter."),
        "2-31": (2**31, "The header length would be negative as a signed number."),
        "largest": (2**32 - 1, "The header length is the largest number of four bytes."),
        "beyond-end": (room + 1, "The header would end one byte after the file."),
        "no-signature": (room, "The header would end where the file ends."),
        "short-signature": (room - 63, "The signature would end one byte after the file."),
    }
    found = [
        fault(f"03-header-length-{name}", FORM, comment, MAGIC + u32(value) + rest)
        for name, (value, comment) in table.items()
    ]
    for value in (65_537, 2**20):
        comment = f"The header length is {value}, and the file is long enough for that."
        edit = Edit("edit", (8,), u32(value))
        name = f"03-header-length-{value}-there"
        found.append(fault(name, FORM, comment, b"", base="big-two-tiles", edits=[edit]))
    big = MAGIC + size.to_bytes(4, "big") + rest
    found.append(fault("03-header-length-big-endian", FORM, "The header length is big-endian.", big))
    for end in (0, 1, 7, 8, 11, 12, 13, 12 + size // 2, 12 + size, 13 + size, 12 + size + 32, 12 + size + 63):
        where = "before the header" if end < 13 else "in the header" if end < 12 + size else "before the signature ends"
        found.append(fault(f"03-cut-at-{end:04}", FORM, f"The file ends after {end} bytes, {where}.", package[:end]))
    for name, change in (("short", -1), ("long", 1)):
        comment = f"The header length is one too {name}."
        found.append(fault(f"04-header-length-{name}", FORM, comment, MAGIC + u32(size + change) + rest))
    return found


def shapes() -> dict[str, tuple[str, str | bytes]]:
    """Headers that are wrong as a whole."""
    text = FILE.text()
    fields = FILE.header_fields()
    tiles_first = '{"tiles":1,' + exchanged(text, ',"tiles":1}', "}")[1:]
    v_first = exchanged(exchanged(text, ',"v":1}', "}"), '"ctx":{', '"ctx":{"v":1,')
    return {
        "byte-order-mark": ("The header begins with a byte-order mark.", b"\xef\xbb\xbf" + text.encode()),
        "utf-16": ("The header is UTF-16.", text.encode("utf-16-le")),
        "space-before": ("A space stands before the header's object.", " " + text),
        "space-after": ("A space stands after the header's object.", text + " "),
        "line-feed-after": ("A line feed stands after the header's object.", text + "\n"),
        "zero-after": ("A zero byte stands after the header's object.", text + "\0"),
        "brace-after": ("There is a closing brace too many.", text + "}"),
        "brace-missing": ("The last closing brace is missing.", text[:-1]),
        "object-after": ("A second object follows the first.", text + "{}"),
        "twice": ("The header stands there twice.", text + text),
        "indented": ("The header is spread over lines.", json.dumps(fields, indent=1, sort_keys=True)),
        "spaced": ("Spaces follow colons and commas.", json.dumps(fields, sort_keys=True)),
        "order-top": ("The members of the header are not sorted.", tiles_first),
        "order-ctx": ("The members of ctx are not sorted.", v_first),
        "array": ("The header is an array with the object in it.", f"[{text}]"),
        "string": ("The header is a string with the object in it.", canonical(text)),
        "number": ("The header is a number.", "1"),
        "true": ("The header is a boolean.", "true"),
        "null": ("The header is null.", "null"),
        "empty-object": ("The header is an empty object.", "{}"),
        "ctx-in-string": ("ctx is a string with the object in it.", canonical({**fields, "ctx": canonical(FILE.ctx)})),
        "ctx-in-array": ("ctx is an array with the object in it.", canonical({**fields, "ctx": [FILE.ctx]})),
        "single-quotes": ("Strings are in single quotes.", text.replace('"', "'")),
        "blank": ("The header is spaces.", " " * 40),
        "binary": ("The header is no text at all.", bytes(range(128, 168))),
    }


EDITS: dict[str, tuple[str, str, str]] = {
    "space-after-colon": ("A space follows a colon.", '"gid":"*"', '"gid": "*"'),
    "tab-after-comma": ("A tab follows a comma.", ',"gid"', ',\t"gid"'),
    "trailing-comma": ("A comma follows the last member.", '"tiles":1}', '"tiles":1,}'),
    "comment": ("There is a comment.", '"tiles":1}', '"tiles":1/*one*/}'),
    "duplicate-top": ("A member of the header is there twice.", '"tiles":1', '"tiles":1,"tiles":1'),
    "duplicate-top-other": ("A member is there twice with other values.", '"tiles":1', '"tiles":2,"tiles":1'),
    "duplicate-ctx": ("A member of ctx is there twice.", '"gid":"*"', '"gid":"*","gid":"*"'),
    "duplicate-ctx-other": ("A member of ctx is there twice with other values.", '"seq":17', '"seq":16,"seq":17'),
    "duplicate-escaped": ("A member is there twice, once escaped.", '"gid":"*"', '"gid":"*","\\u0067id":"*"'),
    "unknown-top": ("The header has a member that the table does not list.", '"tiles":1}', '"tiles":1,"zone":1}'),
    "unknown-ctx": ("ctx has a member that the table does not list.", '"v":1}', '"v":1,"via":"x"}'),
    "unknown-empty-name": ("ctx has a member with an empty name.", '"ctx":{', '"ctx":{"":1,'),
    "name-upper-case": ("The name of a member is in upper case.", '"ctx":{"body_type"', '"ctx":{"BODY_TYPE"'),
    "float": ("An integer is written with a fraction.", '"round":0', '"round":0.0'),
    "fraction": ("A number has a fraction.", '"seq":17', '"seq":17.5'),
    "exponent": ("An integer is written with an exponent.", '"tiles":1}', '"tiles":1e0}'),
    "minus-zero": ("Zero has a sign.", '"round":0', '"round":-0'),
    "leading-zero": ("An integer begins with zero.", '"seq":17', '"seq":017'),
    "plus": ("An integer has a plus sign.", '"seq":17', '"seq":+17'),
    "hexadecimal": ("An integer is hexadecimal.", '"seq":17', '"seq":0x11'),
    "integer-2-53": ("An integer is 2^53.", '"seq":17', '"seq":9007199254740992'),
    "integer-minus-2-53": ("An integer is -2^53.", '"v":1}', '"v":-9007199254740992}'),
    "integer-2-64": ("An integer is 2^64 + 17.", '"seq":17', '"seq":18446744073709551633'),
    "integer-5000-digits": ("An integer has 5,000 digits.", '"seq":17', '"seq":' + "1" * 5000),
    "nan": ("A number is NaN.", '"seq":17', '"seq":NaN'),
    "infinity": ("A number is Infinity.", '"seq":17', '"seq":Infinity'),
    "null-member": ("A member is null.", '"gid":"*"', '"gid":null'),
    "true-for-v": ("true stands for 1.", '"v":1}', '"v":true}'),
    "true-for-tiles": ("true stands for 1.", '"tiles":1', '"tiles":true'),
    "true-for-seq": ("true stands for 1.", '"seq":17', '"seq":true'),
    "false-for-round": ("false stands for 0.", '"round":0', '"round":false'),
    "control-raw": ("A string holds a control character as it is.", '"type":"file"', '"type":"fi\x01le"'),
    "line-feed-raw": ("A string goes on in the next line.", '"type":"file"', '"type":"fi\nle"'),
    "control-escaped": ("A string holds an escaped line feed.", '"type":"file"', '"type":"fi\\nle"'),
    "zero-escaped": ("A string holds U+0000.", '"type":"file"', '"type":"file\\u0000"'),
    "delete": ("A string holds U+007F.", '"type":"file"', '"type":"file\x7f"'),
    "next-line": ("A string holds U+0085.", '"type":"file"', '"type":"file\x85"'),
    "not-nfc": ("A string is not in normal form C: e and a combining accent.", '"type":"file"', '"type":"cafe\u0301"'),
    "not-nfc-single": ("A string is not in normal form C: the angstrom sign.", '"type":"file"', '"type":"\u212b"'),
    "surrogate-alone": ("A string holds half a surrogate pair.", '"type":"file"', '"type":"\\ud83d"'),
    "surrogates-reversed": ("A surrogate pair is reversed.", '"type":"file"', '"type":"\\ude00\\ud83d"'),
    "surrogates-escaped": ("A surrogate pair is escaped.", '"type":"file"', '"type":"\\ud83d\\ude00"'),
    "letter-escaped": ("A letter is escaped that needs none.", '"type":"file"', '"type":"\\u0066ile"'),
    "accent-escaped": ("A letter is escaped that needs none.", '"type":"file"', '"type":"caf\\u00e9"'),
    "slash-escaped": ("A slash is escaped.", '"sender":"member/birch"', '"sender":"member\\/birch"'),
    "name-escaped": ("The name of a member is escaped.", '"gid"', '"\\u0067id"'),
    "bad-escape": ("There is an escape that JSON does not have.", '"type":"file"', '"type":"\\file"'),
    "string-open": ("A string does not end.", '"tiles":1}', '"tiles":"1}'),
    "too-deep": ("Values are nested nine deep.", '"gid":"*"', '"gid":[[[[[[["*"]]]]]]]'),
    "much-too-deep": ("Arrays are nested 1,500 deep.", '"gid":"*"', '"gid":' + "[" * 1500 + "]" * 1500),
}

BYTES: dict[str, tuple[str, bytes]] = {
    "byte-ff": ("A string holds the byte 0xFF.", b"fi\xffle"),
    "continuation-alone": ("A string holds half a UTF-8 sequence.", b"fi\x80le"),
    "sequence-cut": ("A UTF-8 sequence is cut.", b"file\xc3"),
    "overlong": ("A letter is in an overlong UTF-8 sequence.", b"\xc1\xa6ile"),
    "surrogate-bytes": ("A surrogate is in UTF-8.", b"\xed\xa0\xbdfile"),
    "beyond-unicode": ("A UTF-8 sequence is beyond U+10FFFF.", b"\xf4\x90\x80\x80"),
    "latin-1": ("A string is in Latin-1.", "café".encode("latin-1")),
}


def texts() -> list[Vector]:
    """Headers that are wrong as a text, each signed as it stands."""
    headers = shapes()
    text = FILE.text()
    headers |= {name: (comment, exchanged(text, old, new)) for name, (comment, old, new) in EDITS.items()}
    for name, (comment, value) in BYTES.items():
        headers[name] = (comment, text.encode().replace(b'"type":"file"', b'"type":"' + value + b'"'))
    return [fault(f"04-json-{name}", FORM, comment, FILE.pack(header)) for name, (comment, header) in headers.items()]


def members() -> list[Vector]:
    """Every member missing once and of a wrong type once."""
    found, fields = [], CONTRIBUTION.header_fields()
    home = home_of(CONTRIBUTION)
    for inside, names in ((False, fields), (True, CONTRIBUTION.ctx)):
        where = "ctx" if inside else "the header"
        for name in sorted(names):
            value = names[name]
            rest = {key: names[key] for key in names if key != name}
            wrong = {**rest, name: str(value) if isinstance(value, int) else 1 if isinstance(value, str) else []}
            for how, changed in (("missing", rest), ("wrong-type", wrong)):
                says = "is missing" if how == "missing" else "is of another type"
                header = canonical({**fields, "ctx": changed} if inside else changed)
                comment = f"The member {name} of {where} {says}."
                vector = f"04-{how}-{name.replace('_', '-')}"
                found.append(fault(vector, FORM, comment, CONTRIBUTION.pack(header), recipient=home))
    return found


def vectors() -> list[Vector]:
    return [*kinds_of_file(), *magics(), *header_lengths(), *texts(), *members()]
