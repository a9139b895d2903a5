"""Where a witness stands, as its journal shows it without a password."""

from typing import Any, Final

from fedspallm_secure.app.configuration.witness import WitnessConfig
from fedspallm_secure.app.service.visits import server_of
from fedspallm_secure.app.service.watched import Watched
from fedspallm_secure.app.stations.note_statements import read_stated
from fedspallm_secure.crypto.encoding import decode_base64
from fedspallm_secure.crypto.notes import Checkpoint, Note, cosigned_at
from fedspallm_secure.protocol.rounds.witness import WitnessSigned
from fedspallm_secure.storage.home import Home

_SHOWN: Final = 20  # refusals, and kinds of packages that leave


def witness_facts(watched: Watched, config: WitnessConfig, home: Home, now: int) -> dict[str, Any]:
    """Everything that is known of a witness, as plain data.  Times are Unix seconds."""
    number, server = watched.last_round(), str(server_of(config.server))
    signed = watched.records(number, WitnessSigned.from_dict) if number else []
    log = _log(watched)
    last = max(watched.heard().get(server, 0), watched.departed_last())
    own = watched.fact("note key", "own")
    evidence = sorted(path.name for path in home.evidence.glob("*.json")) if home.evidence.is_dir() else []
    return {
        "state": "waiting for a checkpoint" if log is None else "cosigning",
        "server": server,
        "by_hand": not config.server.url,
        "round": None,
        "vkey": "" if own is None else read_stated(own).key.vkey,
        "log": log,
        "signed": {"round": number, "types": sorted(one.type for one in signed)} if number else None,
        "evidence": evidence,
        "leaving": watched.leaving(now, _SHOWN),
        "last_contact": last or None,
        "refused": watched.refused(number, _SHOWN),
        "refusals": dict(watched.refusals()),
    }


def checkpoint_facts(note: Note) -> dict[str, Any]:
    """Origin, size and root (hex) of a checkpoint that was verified before."""
    found = Checkpoint.parse(note.text)
    return {"origin": found.origin, "size": found.size, "root": found.root.hex()}


def _log(watched: Watched) -> dict[str, Any] | None:
    """The newest checkpoint that was cosigned, and when."""
    own, pinned = watched.fact("note key", "own"), watched.fact("note key", "pinned")
    if own is None or pinned is None:
        return None
    origin = read_stated(pinned).key.name
    kept = watched.fact(f"cosigned {origin}", str(watched.fact("cosigned", origin)))
    if kept is None:
        return None
    note = Note.parse(decode_base64(kept, "a cosigned checkpoint"))
    return {**checkpoint_facts(note), "at": cosigned_at(note, read_stated(own).key)}
