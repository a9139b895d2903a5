"""Certificate profiles: the file that is shipped, and every way in which another one is refused."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.profiles import DAY, DEVELOPMENT, PACKAGE_SIGNING, Profiles
from fedspallm_secure.errors import FormatError

TEXT = (Path(__file__).parents[2] / "certs/profiles.toml").read_text()


def test_the_shipped_file_is_what_the_code_uses():
    profiles, table = Profiles.parse(TEXT), tomllib.loads(TEXT)
    assert profiles.organisation == table["subject"]["organisation"]
    for name in ("root", "signing", "tls"):
        profile = getattr(profiles, name)
        for key, value in table[name].items():
            assert getattr(profile, key) == (tuple(value) if isinstance(value, list) else value)
    assert profiles.key_statement_days == table["key_statement"]["validity_days"]
    assert profiles.prekeys_days == table["prekeys"]["validity_days"]
    assert profiles.crl_days == table["crl"]["validity_days"] == 45


def test_the_usage_of_signing_leaves_is_that_of_the_specification():
    spec = (Path(__file__).parents[2] / "docs/SPEC.md").read_text()
    assert f"`{PACKAGE_SIGNING}` (package signing)" in spec


def test_lifetimes_and_warnings():
    signing = Profiles.parse(TEXT).signing
    end = signing.until(1000)
    assert end == 1000 + 365 * DAY
    assert not signing.warns(end, end - 60 * DAY)
    assert signing.warns(end, end - 60 * DAY + 1)


def test_development_says_so():
    assert Profiles.parse(TEXT).for_development().organisation == DEVELOPMENT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[crl]", "[clr]"),
        ("[crl]", "[other]\n[crl]"),
        ("validity_days = 45", "validity_days = 45\nwarn_days = 7"),
        ("validity_days = 45", ""),
        ("validity_days = 45", "validity_days = 0"),
        ("validity_days = 45", "validity_days = 91"),
        ("validity_days = 45", "validity_days = 45.0"),
        ("validity_days = 45", "validity_days = true"),
        ("validity_days = 3650", "validity_days = 7301"),
        ("warn_days = 365", "warn_days = 3650"),
        ("warn_days = 365", "warn_days = -1"),
        ('["keyCertSign", "cRLSign"]', '["keyCertSign"]'),
        ('["digitalSignature"]', '["digitalSignature", "keyAgreement"]'),
        ('["clientAuth"]', '["clientAuth", "serverAuth"]'),
        ('server_extended_usages = ["serverAuth"]', ""),
        (PACKAGE_SIGNING, "2.25.1"),
        ('"fedspallm-secure federation"', '""'),
        ('"fedspallm-secure federation"', f'"{65 * "x"}"'),
        ('"fedspallm-secure federation"', '"line\\nfeed"'),
        ('"fedspallm-secure federation"', "7"),
        ("[subject]", "[subject"),
        ("[subject]", "x = " + 2000 * "["),
    ],
)
def test_anything_else_is_refused(old, new):
    assert old in TEXT
    with pytest.raises(FormatError):
        Profiles.parse(TEXT.replace(old, new, 1))


@given(st.text(max_size=80))
def test_any_text_is_refused_with_one_class(text):
    with pytest.raises(FormatError):
        Profiles.parse(text)
