"""Names: what may name a federation or a party, and one spelling of each."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.identity import Party, Role, check_federation
from fedspallm_secure.errors import FormatError

ids = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
roles = st.sampled_from([role.value for role in Role])

GOOD_IDS = ["a", "0", "north", "north-hospital", "a--b", "0-9", "a" * 63]
BAD_IDS = {
    "nothing": "",
    "too long": "a" * 64,
    "capital": "North",
    "hyphen first": "-a",
    "hyphen last": "a-",
    "dot": "a.b",
    "underscore": "a_b",
    "slash": "a/b",
    "parent folder": "..",
    "space": "a b",
    "space at the end": "a ",
    "line feed at the end": "a\n",
    "nought byte": "a\0",
    "umlaut": "münchen",
    "full-width digit": "\uff11",
    "Arabic digit": "\u0661",
    "long s": "\u017f",
    "Kelvin sign": "\u212a",
    "percent": "%61",
}


def test_the_roles_are_those_of_the_specification():
    assert [role.value for role in Role] == ["server", "member", "key-holder", "witness", "auditor"]


@given(roles, ids)
def test_a_party_is_written_and_read_in_one_way(role, identifier):
    party = Party(role, identifier)
    assert Party.parse(str(party)) == party
    assert str(party) == f"{role}/{identifier}"
    assert party.role.value == role
    assert party.uri("lungs.example") == f"spiffe://lungs.example/{role}/{identifier}"


@given(st.text("serverm/ab-A.\n 0", max_size=12) | st.tuples(roles, st.text(max_size=8)).map("/".join))
def test_any_text_is_a_party_or_a_format_error(text):
    try:
        party = Party.parse(text)
    except FormatError:
        return
    assert str(party) == text
    assert re.fullmatch(r"(server|member|key-holder|witness|auditor)/[a-z0-9]([a-z0-9-]*[a-z0-9])?", text)


@pytest.mark.parametrize("identifier", GOOD_IDS)
def test_good_ids(identifier):
    assert Party.parse(f"member/{identifier}").id == identifier


@pytest.mark.parametrize("name", BAD_IDS)
def test_bad_ids(name):
    with pytest.raises(FormatError, match="cannot name a party"):
        Party("member", BAD_IDS[name])
    with pytest.raises(FormatError):
        Party.parse(f"member/{BAD_IDS[name]}")


@pytest.mark.parametrize(
    "role", ["", "Member", "members", "member ", " member", "root", "authority", "key_holder", "*", "\uff4dember"]
)
def test_bad_roles(role):
    with pytest.raises(FormatError, match="is no role; roles are server, member"):
        Party(role, "north")


@pytest.mark.parametrize("text", ["", "member", "north", "member north", "member\\north"])
def test_what_is_not_role_and_id(text):
    with pytest.raises(FormatError, match="is not ROLE/ID, for example member/north"):
        Party.parse(text)


@pytest.mark.parametrize(
    "text", ["member/north/", "member//north", "/member/north", "/", "/north", "member/", "spiffe://f/member/north"]
)
def test_slashes_in_other_places(text):
    with pytest.raises(FormatError):
        Party.parse(text)


def test_parties_are_sorted_by_role_then_id():
    """The order of a roster."""
    parties = [
        Party("server", "a"),
        Party("member", "b"),
        Party("auditor", "z"),
        Party("member", "a-b"),
        Party("member", "a"),
    ]
    ordered = ["auditor/z", "member/a", "member/a-b", "member/b", "server/a"]
    assert [str(party) for party in sorted(parties)] == ordered


@pytest.mark.parametrize("name", ["a", "lungs.example", "a-b.c-d", "0.1", "a" * 63, "xn--mnchen-3ya"])
def test_good_federations(name):
    assert check_federation(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 64,
        "Lungs.example",
        ".a",
        "a.",
        "-a",
        "a-",
        "a..b",
        "a/b",
        "a_b",
        "a b",
        "a\n",
        "a:1",
        "münchen",
        "a@b",
        "*",
    ],
)
def test_bad_federations(name):
    with pytest.raises(FormatError, match="cannot name a federation"):
        check_federation(name)


@given(st.text("ab-.0A/\n", max_size=8))
def test_federations_are_those_of_the_pattern(name):
    good = re.fullmatch(r"[a-z0-9.-]{1,63}", name) and name[0] not in ".-" and name[-1] not in ".-" and ".." not in name
    try:
        assert check_federation(name) == name and good
    except FormatError:
        assert not good
