"""A check of where the anchor of a home lies: apart from what it is held against, and where it can be written."""

from fedspallm_secure.app.configuration.either import anchor_of
from fedspallm_secure.app.service.doctor_machine import existing, is_writable
from fedspallm_secure.app.service.findings import Findings, Patient, bad, good, note
from fedspallm_secure.app.stations.anchoring import Anchoring
from fedspallm_secure.storage.anchor import Anchor, anchor_folder, check_apart, prepare_anchors

_FIRST = "the next start makes it; if home and work folder were put back from a copy, do not start, but enrol anew"


def anchor(patient: Patient) -> Findings:
    """Whether the anchor lies apart from home and work folder, can be written, and is not ahead of the home."""
    home, data, named = patient.home, patient.data, anchor_of(patient.config)
    folder = anchor_folder(named) if named is None else prepare_anchors(named, home.path, data)
    check_apart(folder, home.path, data)
    other = f"name another folder under anchor in {patient.config.file}"
    if not is_writable(existing(folder)):
        yield bad("anchor", f"{existing(folder)} cannot be written", f"chown or chmod it, or {other}")
        return
    with home.open_register() as register:
        found = Anchor(folder, home.identity, register.mark())
        there = found.read() is not None
        Anchoring(found, register.last_sequence, sole=False)
        made = register.last_sequence()
    if made and not there:
        yield note("anchor", f"there is none in {folder}, though this home has counted to {made}", _FIRST)
    else:
        shared = existing(folder).stat().st_dev == home.path.stat().st_dev
        aside = "; it is on the disk of the home, and of no use where the whole disk is put back" if shared else ""
        yield good("anchor", f"{found.path} can be written{aside}")
