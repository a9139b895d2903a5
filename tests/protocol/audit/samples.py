"""One good entry of each type, for tests of their form and their order."""

from dataclasses import replace
from functools import cache
from typing import Any

from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, head_data
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.packages import NONE, Context, Header
from tests.protocol.audit.logs import FEDERATION, SERVER, SERVER_SIGNER
from tests.protocol.rounds.altering import HEX, OTHER_HEX

NORTH, SOUTH, WYN, VAULT = map(Party.parse, ("member/north", "member/south", "witness/wyn", "key-holder/vault"))
AT = 1_800_000_000
_CONTEXT = Context(
    type="contribution",
    federation=FEDERATION,
    roster=HEX,
    round=1,
    plan_hash=HEX,
    group="0",
    sender=NORTH,
    sender_key=HEX,
    recipient=SERVER,
    recipient_key=HEX,
    kem=Kem.X25519,
    sequence=1,
    created=AT,
    not_after=AT + 3600,
    body_type=PACKAGE_TYPES["contribution"].body,
)


@cache
def header(type: str = "contribution", sequence: int = 1) -> bytes:
    """A header that north may have signed."""
    context = replace(_CONTEXT, type=type, sequence=sequence, body_type=PACKAGE_TYPES[type].body)
    if type != "contribution":
        context = replace(context, group=NONE)
    return Header(context, bytes(Kem.X25519.wrap_size), body_length(5), bytes(32)).encode()


def head(type: str = "contribution", sequence: int = 1) -> dict[str, Any]:
    """What an entry shows of such a package."""
    return head_data(header(type, sequence), bytes(range(64)))


SIGNATURE = encode_base64(bytes(range(64)))
FILE = {"name": "model.safetensors", "size": 9, "sha256": HEX}
GOOD: dict[EntryType, tuple[Party, dict[str, Any]]] = {
    EntryType.GENESIS: (SERVER, {"root": HEX, "origin": f"{FEDERATION}/log/hub", "note_key": OTHER_HEX}),
    EntryType.ROSTER: (SERVER, {"version": 1, "hash": HEX, "document": OTHER_HEX}),
    EntryType.CERTIFICATE: (NORTH, {"key": HEX, "not_before": 0, "not_after": AT}),
    EntryType.REVOCATIONS: (SERVER, {"number": 3, "document": HEX}),
    EntryType.SOFTWARE: (SERVER, {"name": "fedspallm-secure/0.1.0"}),
    EntryType.WITNESSES: (SERVER, {"policy": HEX, "note_keys": [HEX, OTHER_HEX]}),
    EntryType.PREKEYS: (NORTH, {"hash": HEX, "document": OTHER_HEX}),
    EntryType.ROUND_OPEN: (SERVER, {"opening": ""}),
    EntryType.PLAN: (SERVER, {"hash": HEX, "document": OTHER_HEX}),
    EntryType.CONTRIBUTION: (NORTH, {"group": 0, "package": HEX, "deal": OTHER_HEX, "head": head()}),
    EntryType.REFUSAL: (
        NORTH,
        {"type": "contribution", "group": "0", "package": HEX, "check": "S3", "head": head()},
    ),
    EntryType.EQUIVOCATION: (NORTH, {"heads": [head(), head(sequence=2)]}),
    EntryType.SURVIVORS: (SERVER, {"hash": HEX, "document": OTHER_HEX}),
    EntryType.ENDORSEMENT: (WYN, {"survivors": HEX, "signature": SIGNATURE, "head": head("endorsement")}),
    EntryType.UNMASK_REQUEST: (SERVER, {"recipients": ["north", "south"]}),
    EntryType.UNMASK_RESPONSE: (NORTH, {"package": HEX, "head": head("unmask-response")}),
    EntryType.DECRYPT_CHALLENGE: (VAULT, {"group": 0, "package": HEX, "head": head("decrypt-challenge")}),
    EntryType.DECRYPT_RESPONSE: (VAULT, {"group": 0, "package": HEX, "head": head("decrypt-response")}),
    EntryType.COMPLAINT: (SERVER, {"group": 0, "check": "R4", "guilty": ["north"], "suspects": []}),
    EntryType.GROUP_ENDED: (SERVER, {"group": 1, "code": "BAD_DEALING", "named": ["north", "south"]}),
    EntryType.RESULT: (SERVER, {"hash": HEX, "document": OTHER_HEX}),
    EntryType.MODEL: (SERVER, {"result": HEX, "files": [{**FILE, "name": "config.json"}, FILE]}),
    EntryType.ABORT: (SERVER, {"code": "STOPPED"}),
    EntryType.RETENTION: (SERVER, {"removed": "answers", "reason": "the settings say so"}),
}
OUTSIDE = tuple(EntryType)[:7]  # of the table: those of no round


def entry(type: EntryType, seq: int = 0, round: int | None = None, **changes: Any) -> Entry:
    """The good entry of this type, with the server's signature; of round 1 where it belongs to one."""
    actor, data = GOOD[type]
    values = {
        "type": type,
        "federation": FEDERATION,
        "seq": seq,
        "round": (0 if type in OUTSIDE else 1) if round is None else round,
        "actor": actor,
        "at": AT,
        "data": data,
    }
    return Entry.make(SERVER_SIGNER, **{**values, **changes})
