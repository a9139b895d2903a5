"""Units of systemd know the exit codes after which a service must not start again by itself, and no others."""

import re
from pathlib import Path

import pytest

from fedspallm_secure import errors
from tests.test_architecture import classes

UNITS = sorted((Path(__file__).parent.parent / "examples/deploy").glob("*.service"))
# What a service can end with and only a person can put right, by the comment in the units.  Not CertificateRefused and
# CertificateExpired: those may be of another party, and a clock may be wrong until the network is there.  Not
# HostileFile: that is also a text which was just being written.
CONFIGURATION = (errors.UsageError, errors.MissingInput, errors.MissingExtra)
BY_HAND = (*CONFIGURATION, errors.RecordDamaged, errors.RolledBack, errors.KeyStoreError, errors.CertificateRevoked)
# Of keys: those that exist already are in the way of nobody but who makes keys, and without prekeys a service goes on.
OF_COMMANDS = {errors.KeyFileExists, errors.PrekeysExhausted}


def final_codes() -> list[int]:
    found = {error for parent in BY_HAND for error in classes(parent)}
    return sorted(error.exit_code for error in found - OF_COMMANDS)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_does_not_start_again_what_a_restart_cannot_cure(unit):
    text = unit.read_text()
    restart = re.findall(r"^Restart=(.*)$", text, re.MULTILINE)
    codes = re.findall(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)
    if "Type=oneshot" in text:  # a timer starts it again, or nobody
        assert restart == codes == []
        return
    assert restart == ["on-failure"]
    assert [int(code) for code in codes[0].split()] == final_codes()
