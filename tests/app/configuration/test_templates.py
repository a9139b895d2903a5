"""Templates: they parse to the defaults, name every key, fill in what is given, and never overwrite."""

import re
from pathlib import Path

import pytest

from fedspallm_secure.app.configuration import templates
from fedspallm_secure.app.configuration.federation import FederationConfig, read_federation
from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig, read_key_holder
from fedspallm_secure.app.configuration.member import MemberConfig, read_member
from fedspallm_secure.app.configuration.reading import (
    FEDERATION,
    KEY_HOLDER,
    MEMBER,
    WITNESS,
    parse_configuration,
    sections,
)
from fedspallm_secure.app.configuration.witness import WitnessConfig, read_witness
from fedspallm_secure.errors import OutputExists, UsageError

DOCUMENT = Path(__file__).parents[3] / "docs/CONFIGURATION.md"
FILLED = {
    FEDERATION: {"server": {"home": "hub"}, "model": {"path": "models/llama"}},
    MEMBER: {
        "member": {"home": "north"},
        "server": {"id": "hub", "url": "https://hub.example.org:8443"},
        "model": {"path": "models/llama"},
        "texts": {"files": ["north.jsonl"]},
    },
    WITNESS: {"witness": {"home": "wyn"}, "server": {"id": "hub", "url": "https://hub.example.org:8443"}},
    KEY_HOLDER: {
        "holder": {"home": "vault"},
        "server": {"id": "hub", "url": "https://hub.example.org:8443"},
        "keys": {"members": 5},
    },
}
KINDS = {FEDERATION: FederationConfig, MEMBER: MemberConfig, WITNESS: WitnessConfig, KEY_HOLDER: KeyHolderConfig}
all_kinds = pytest.mark.parametrize("name", KINDS)


def bare(name: str) -> bytes:
    """The least file of this kind."""
    lines = []
    for section, keys in FILLED[name].items():
        lines += [f"[{section}]", *(f"{key} = {templates._spell(value)}" for key, value in keys.items())]
    return "\n".join(lines).encode()


@all_kinds
def test_a_template_parses_to_the_defaults(name, tmp_path):
    path, kind = tmp_path / name, KINDS[name]
    text = templates.template(kind, name, FILLED[name])
    assert parse_configuration(text.encode(), path, kind) == parse_configuration(bare(name), path, kind)


@all_kinds
def test_a_template_names_every_key_with_a_comment_above_it(name):
    text = templates.template(KINDS[name], name, FILLED[name])
    heads = re.findall(r"^\[(\w+)\]$", text, re.MULTILINE)
    assert heads == list(KINDS[name].model_fields)
    parts = re.split(r"^\[\w+\]$", text, flags=re.MULTILINE)[1:]
    for part, (section, model) in zip(parts, sections(KINDS[name]).items(), strict=True):
        for key, field in model.model_fields.items():
            assert re.search(rf"^# .+\n(# )?{key} = .+$", part, re.MULTILINE), f"[{section}] {key}"
            assert field.description, f"[{section}] {key}"
            assert field.description.endswith("."), f"[{section}] {key}"
    assert max(map(len, text.splitlines())) <= 120


@all_kinds
def test_examples_behind_a_hash_are_allowed(name, tmp_path):
    """Whoever takes away the # in front of an example has a file that is read; of alternatives one at a time."""
    path, kind = tmp_path / name, KINDS[name]
    text = templates.template(kind, name, FILLED[name])
    examples = re.findall(r"^# (\w+ = .+)$", text, re.MULTILINE)
    assert bool(examples) == (name in (FEDERATION, MEMBER))
    for example in examples:
        changed = text.replace(f"# {example}", example, 1)
        if example.startswith("colluders"):
            changed = changed.replace("min_cohort = 3", "min_cohort = 4")
        parse_configuration(changed.encode(), path, kind)


def test_values_are_filled_in_and_read_back(tmp_path):
    odd = 'we"ird\\ ñ [x] # = ☃'
    filled = {
        "server": {"home": tmp_path / odd, "listen": ["127.0.0.1:0"]},
        "model": {"path": odd},
        "rounds": {"members": ["north", "south", "west"], "spread": True, "min_cohort": 3, "seed": 7},
        "pruning": {"pattern": "2:4"},
    }
    path = tmp_path / "federation.toml"
    found = templates.write_federation_template(path, filled)
    assert found == read_federation(path)
    assert (found.server.home, found.model.path) == (tmp_path / odd, tmp_path / odd)
    assert found.rounds.spread is True
    assert str(found.pruning.targets[0]) == "2:4"
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten_and_nothing_wrong_is_written(tmp_path):
    path = tmp_path / "member.toml"
    path.write_text("mine")
    with pytest.raises(OutputExists):
        templates.write_member_template(path, FILLED[MEMBER])
    assert path.read_text() == "mine"
    path.unlink()
    with pytest.raises(UsageError, match="url"):
        templates.write_member_template(path, {**FILLED[MEMBER], "server": {"id": "hub", "url": "hub"}})
    assert list(tmp_path.iterdir()) == []
    assert templates.write_member_template(path, FILLED[MEMBER]) == read_member(path)
    path = tmp_path / "witness.toml"
    assert templates.write_witness_template(path, FILLED[WITNESS]) == read_witness(path)
    path = tmp_path / "key-holder.toml"
    assert templates.write_key_holder_template(path, FILLED[KEY_HOLDER]) == read_key_holder(path)


def test_what_has_no_place_in_a_template():
    with pytest.raises(ValueError, match="not known"):
        templates.template(FederationConfig, FEDERATION, {**FILLED[FEDERATION], "limits": {"archived": True}})
    with pytest.raises(ValueError, match="home has no default"):
        templates.template(FederationConfig, FEDERATION, {"model": {"path": "x"}})


@all_kinds
def test_the_document_shows_the_templates(name):
    assert f"```toml\n{templates.template(KINDS[name], name, FILLED[name])}```\n" in DOCUMENT.read_text()
