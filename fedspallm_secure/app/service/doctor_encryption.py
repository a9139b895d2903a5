"""Checks of what rounds with a key holder need: the library that encrypts, keys that are large enough, and room.

The library is only looked for: it is loaded in processes of its own (`he.sandbox`).
"""

import shutil
from importlib.util import find_spec

from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig
from fedspallm_secure.app.service.doctor_machine import existing
from fedspallm_secure.app.service.findings import Finding, Findings, Patient, amount, bad, good, note
from fedspallm_secure.app.service.key_holder import parameters_of
from fedspallm_secure.he.parameters import CHUNKS_LIMIT
from fedspallm_secure.secagg.thresholds import Profile

_LIBRARY = "tenseal"
_FIX = "pip install 'fedspallm-secure[he]'"


def encryption(patient: Patient) -> Findings:
    """Nothing for who takes part in no such rounds."""
    config = patient.config
    if isinstance(config, KeyHolderConfig):
        yield _library("the key holder decrypts with it")
        yield _keys(patient, config)
        yield _room(patient, config)
    elif patient.server is not None and patient.server.rounds.profile is Profile.ONE_TRIP:
        yield _library("the server adds up with it")
    elif patient.member is not None and Profile.ONE_TRIP in patient.member.policy.profiles:
        yield _library("you encrypt with it")


def _library(why: str) -> Finding:
    if find_spec(_LIBRARY) is None:
        return bad("encryption", f"TenSEAL is not installed, and {why}", _FIX)
    return good("encryption", f"TenSEAL is installed; {why}")


def _keys(patient: Patient, config: KeyHolderConfig) -> Finding:
    """Whether there are such keys, and whether everybody fits into a sum."""
    most = parameters_of(config).members
    text = f"they are for sums over {most} members at most; the roster has {patient.members}"
    if patient.members > most:
        return note("cipher keys", text, f"if cohorts may be larger, raise [keys] members in {config.file}")
    return good("cipher keys", text)


def _room(patient: Patient, config: KeyHolderConfig) -> Finding:
    """Whether the largest sum that there can be finds room; how large those of a round are, its plan says."""
    largest = CHUNKS_LIMIT * parameters_of(config).chunk_most
    free = shutil.disk_usage(existing(patient.data)).free
    text = f"{amount(free)} are free at {patient.data}; of each layer its sum lies there, of {amount(largest)} at most"
    if free < largest:
        return note("disk", text, "see that there is room for the layers of your federation")
    return good("disk", text)
