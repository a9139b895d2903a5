"""Where a party of rounds stands, for whoever looks on: no password, and nothing is disturbed.

Two things are put together: the journal, which says what has happened, and `live.json`, which says what a running
service is doing at this moment.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.configuration.either import Either, anchor_of, data_of, home_of, read_either
from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig
from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.expiry import home_warnings
from fedspallm_secure.app.service.live import read_contacts, read_live
from fedspallm_secure.app.service.status_key_holder import key_holder_facts
from fedspallm_secure.app.service.status_member import member_facts
from fedspallm_secure.app.service.status_server import server_facts
from fedspallm_secure.app.service.status_witness import witness_facts
from fedspallm_secure.app.service.watched import watch
from fedspallm_secure.app.stations.anchoring import Anchoring
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.anchor import Anchor, anchor_folder
from fedspallm_secure.storage.files import disk_errors
from fedspallm_secure.storage.home import Home, open_home

_LIVE: Final = "live.json"
_NOTHING: Final = {"packages": 0, "bytes": 0}


def status_of(path: Path, now: int | None = None) -> dict[str, Any]:
    """Where the party stands whose configuration file this is, as plain data.

    now: Unix seconds, for tests.  Raises what reading the configuration and the home raises, StorageError and
    RecordDamaged.
    """
    config = read_either(path)
    home = open_home(home_of(config))
    return facts_of(path, config, home, int(time.time()) if now is None else now)


def facts_of(path: Path, config: Either, home: Home, now: int) -> dict[str, Any]:
    """As `status_of`, for those who have read configuration and home already."""
    data = data_of(config)
    found: dict[str, Any] = {
        "config": str(path),
        "role": home.party.role.value,
        "party": str(home.party),
        "federation": home.federation,
        "now": now,
        "warnings": home_warnings(home, now),
        **_service(data),
    }
    if trouble := _old_copy(config, home):
        found["trouble"] = trouble
    with watch(home.path / folder.REGISTER) as watched:
        if not watched.has_begun():
            return {**found, "state": "not begun", "round": None, **_places(data)}
        boxes, untold = watched.boxes(now), watched.untold()
        if isinstance(config, MemberConfig):
            told = member_facts(watched, config, home, now, _lost(found))
        elif isinstance(config, FederationConfig):
            told = {**server_facts(watched, config, home, now), "leaving": watched.leaving(now, 50)}
        elif isinstance(config, KeyHolderConfig):
            told = key_holder_facts(watched, config, now)
        else:
            told = witness_facts(watched, config, home, now)
    contacts = read_contacts(data) | found.get("contacts", {})
    return {**found, **told, "untold": untold, **_last_heard(told, contacts), **_places(data), **boxes}


def _old_copy(config: Either, home: Home) -> str:
    """What the anchor says against this home, in words; empty if nothing.  Nothing is written."""
    register = home.path / folder.REGISTER

    def counted() -> int:
        with watch(register) as watched:  # a look of its own, after that at the anchor, which never goes ahead of it
            return watched.counted()

    with watch(register) as watched:
        mark = watched.mark()
    try:
        if mark is not None:
            Anchoring(Anchor(anchor_folder(anchor_of(config)), home.identity, mark), counted, sole=False)
    except FedSpaError as error:
        return f"{error}; {error.hint}"
    return ""


def _last_heard(told: dict[str, Any], contacts: Mapping[str, float]) -> dict[str, Any]:
    """Contacts count as well as packages: whoever asks whether something waits is there."""

    def newest(packages: int | None, peer: str) -> int | None:
        return max(packages or 0, int(contacts.get(peer, 0))) or None

    if "members" in told:
        rows = told["members"]
        return {
            "members": [{**row, "last_heard": newest(row["last_heard"], f"member/{row['member']}")} for row in rows]
        }
    return {"last_contact": newest(told["last_contact"], told["server"])}


def _lost(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Round and layers that an earlier process was killed in the middle of, as the running one says, if one runs."""
    return {"round": 0, "layers": [], **(found.get("lost") or {})} if found["running"] else None


def live_path(data: Path) -> Path:
    """Where a running service says what it is doing."""
    return data / _LIVE


def _service(data: Path) -> dict[str, Any]:
    """What the running service says; the clock is the real one, for its file has the real time, too."""
    live = read_live(live_path(data), time.time())
    try:
        return {"running": False} if live is None else _said(live)
    except (KeyError, TypeError):  # of another version, or not of this program
        return {"running": False}


def _said(live: dict[str, Any]) -> dict[str, Any]:
    names = ("pid", "started", "phase", "trouble", "contacts", "errors", "bytes")
    return {
        "running": True,
        **{name: live[name] for name in names},
        "trouble_since": live.get("trouble_since"),
        "lost": live.get("lost"),
        "transfers": [_with_estimate(one, "size") for one in live["transfers"]],
        "work": [_with_estimate(one, "total") for one in live["work"]],
    }


def _with_estimate(moving: dict[str, Any], whole: str) -> dict[str, Any]:
    """left: seconds that the rest takes at this rate, None at a standstill."""
    rate = moving["rate"]
    return {**moving, "left": round((moving[whole] - moving["done"]) / rate) if rate > 0 else None}


def _places(data: Path) -> dict[str, Any]:
    """The disk, and packages that arrive: how many bytes of each are there."""
    there = next(path for path in (data, *data.absolute().parents) if path.exists())
    with disk_errors(there):
        disk = os.statvfs(there)
    part = data / "spool" / "part"
    arriving = []
    for path in sorted(part.glob("*.part")) if part.exists() else ():
        role, _, rest = path.name.partition("-")
        try:
            arriving.append({"sender": f"{role}/{rest.partition('.')[0]}", "bytes": path.stat().st_size})
        except FileNotFoundError:
            continue  # it has arrived meanwhile
    return {
        "data": str(data),
        "disk_free": disk.f_bavail * disk.f_frsize,
        "arriving": arriving,
        "inbox": dict(_NOTHING),
        "outbox": dict(_NOTHING),
    }
