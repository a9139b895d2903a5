"""Labels: one table in the code, the same in the specification, and no two that could be mixed up."""

import ast
import re
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.labels import Label, derive_key, digest, hkdf_sha256

ROOT = Path(__file__).parents[2]


def documented() -> list[str]:
    section = (ROOT / "docs/SPEC.md").read_text().split("\n## 2. Labels\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \| \S.* \|$", section, re.MULTILINE)


def test_the_specification_lists_exactly_the_labels_of_the_code():
    assert documented() == [label.value for label in Label]


def test_no_label_is_written_twice():
    """Python would take a second name of a value for an alias of the first and say nothing."""
    tree = ast.parse((ROOT / "fedspallm_secure/crypto/labels.py").read_text())
    table = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "Label")
    written = [
        node.value.value for node in table.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    ]
    assert written == [label.value for label in Label]
    assert len(set(written)) == len(written)


def test_no_label_is_the_beginning_of_another():
    for first, second in permutations(Label, 2):
        assert not second.encoded.startswith(first.encoded), f"{first.value} begins {second.value}"


def test_labels_are_plain():
    for label in Label:
        assert re.fullmatch(r"FSPKG1|fsps/1(/[a-z-]+)+", label.value)
        assert label.encoded == label.value.encode()


@given(st.binary(max_size=20))
def test_every_label_gives_another_digest_and_another_key(data):
    assert len({digest(label, data) for label in Label}) == len(Label)
    assert len({derive_key(b"secret", label, data, b"salt") for label in Label}) == len(Label)


@given(*[st.binary(max_size=6)] * 3, *[st.binary(max_size=6)] * 3)
def test_keys_depend_on_secret_context_and_salt(secret, context, salt, other_secret, other_context, other_salt):
    one = derive_key(secret, Label.KEY_KEYSTORE, context, salt.ljust(6, b"."))
    two = derive_key(other_secret, Label.KEY_KEYSTORE, other_context, other_salt.ljust(6, b"."))
    same = (secret, context, salt.ljust(6, b".")) == (other_secret, other_context, other_salt.ljust(6, b"."))
    assert (one == two) == same


def test_a_shorter_key_is_the_beginning_of_a_longer_one():
    """HKDF's nature, and why a size never tells two purposes apart: only labels do."""
    long = derive_key(b"secret", Label.KEY_KEYSTORE, b"", b"salt", 64)
    assert derive_key(b"secret", Label.KEY_KEYSTORE, b"", b"salt") == long[:32]


def test_the_largest_size_of_the_rfc():
    assert len(hkdf_sha256(b"", b"", b"", 255 * 32)) == 8160
    with pytest.raises(ValueError, match="8160"):
        hkdf_sha256(b"", b"", b"", 255 * 32 + 1)
