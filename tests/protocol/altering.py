"""Statements that differ from a good one in one member, signed again."""

from typing import Any

from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.protocol.statements import Statement, make_statement


class Absent:
    """A member that is left out; its name is the same in every process, for the names of tests."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent()


def altered(statement: Statement, *signers: Signer, **changes: Any) -> bytes:
    """The file of `statement` with some members changed, or left out if ABSENT, signed by `signers`."""
    value = {name: member for name, member in {**statement.value, **changes}.items() if member is not ABSENT}
    return make_statement(statement.type, value, signers).encode()


def schema_faults(statement: Statement) -> list[dict[str, Any]]:
    """Changes that every closed schema refuses: a member too many, one too few, one of another type."""
    faults: list[dict[str, Any]] = [{"more": 1}]
    for name, member in statement.value.items():
        faults.append({name: ABSENT})
        others: list[Any] = [True, 1, "1", [], {}]
        faults += [{name: other} for other in others if type(other) is not type(member)]
    return faults


TIMES = [-1, 253_402_300_800]  # outside of what X.509 can write
NAMES = [
    {"federation": "Lungs.example"},
    {"federation": ""},
    {"role": "king"},
    {"role": ""},
    {"id": "North"},
    {"id": "north/east"},
    {"id": ""},
]
