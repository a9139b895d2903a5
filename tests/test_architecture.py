"""The shape of the project itself: sizes, words, codes, and documents that must not fall behind the code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fedspallm_secure
from fedspallm_secure import errors

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "fedspallm_secure").rglob("*.py"), *(ROOT / "cli").glob("*.py")])


def classes(root: type[errors.FedSpaError]) -> list[type[errors.FedSpaError]]:
    return [root, *(found for child in root.__subclasses__() for found in classes(child))]


def test_exit_codes_are_unique_and_documented():
    found = {error.__name__: error.exit_code for error in classes(errors.FedSpaError)}
    assert len(set(found.values())) == len(found)
    documented = re.findall(r"^\| (\d+) \| (\w+) \|", (ROOT / "docs/EXIT_CODES.md").read_text(), re.MULTILINE)
    assert {name: int(code) for code, name in documented} == found
    tree = errors.__doc__ or ""
    for name, code in found.items():
        assert re.search(rf"\b{name}\s+{code}\b", tree), f"{name} {code} is missing in the tree of errors.py"


def test_every_error_says_what_to_do():
    for error in classes(errors.FedSpaError):
        assert error.__doc__
        if not error.__subclasses__() and error is not errors.MissingExtra:
            assert error.hint, error.__name__


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_readable(source):
    text = source.read_text()
    assert len(text.splitlines()) <= 300
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "every module says what it is for"


def test_nine_functions_in_ten_are_short():
    lengths = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for source in SOURCES
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) * 9 // 10] <= 40


def test_public_names_are_sorted_and_there():
    names = fedspallm_secure.__all__
    assert names == sorted(names)
    for name in names:
        assert hasattr(fedspallm_secure, name)


def test_importing_the_package_and_its_pure_part_needs_no_torch():
    code = (
        "import sys; import fedspallm_secure, fedspallm_secure.protocol.plan, fedspallm_secure.storage.texts, "
        "fedprune_cli.main; assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_keep_masks_are_never_just_masks():
    """'mask' alone is reserved for secure aggregation; attention masks and mask expansion are what they are called."""
    allowed = re.compile(
        r"keep[-_ ]?masks?|un-?mask\w*|masking|masked[-_ ](?:vectors?|streams?|uploads?)|(?:pairwise|self)[-_ ]masks?"
        r"|attention[_ ]masks?|mask expansion|masked_fill",
        re.IGNORECASE,
    )
    for source in SOURCES:
        for number, line in enumerate(source.read_text().splitlines(), start=1):
            left = allowed.sub("", line)
            assert "mask" not in left.lower(), f"{source.relative_to(ROOT)}:{number}: {line.strip()}"


def test_readme_shows_the_commands_as_they_are():
    from fedprune_cli.main import cli

    text = (ROOT / "README.md").read_text()
    for command in cli.commands:
        assert f"fedprune {command}" in text
    options = {option for command in leaves(cli) for parameter in command.params for option in parameter.opts}
    for word in re.findall(r"`(--[a-z-]+)`", text):
        assert word in options, f"README names {word}, which no command has"


def leaves(command):
    """Every command below a group, at any depth."""
    children = getattr(command, "commands", None)
    return [command] if children is None else [leaf for child in children.values() for leaf in leaves(child)]


def test_readme_commands_parse():
    """Every command line of the README is one that the program takes: names, options and the number of arguments."""
    import click
    from fedprune_cli.main import cli

    lines = re.findall(
        r"^    fedprune (.*?)(?:\s+#.*)?$", (ROOT / "README.md").read_text().replace("\\\n", " "), re.MULTILINE
    )
    assert len(lines) > 15
    for line in lines:
        if line.startswith("error: ") or line.startswith("hint: "):
            continue
        # click keeps the help option that it first makes for a command: it has to know -h here too, or never will
        command, words, context = cli, line.split(), click.Context(cli, info_name="fedprune", **cli.context_settings)
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        made = command.make_context(command.name or "", words, parent=context)
        assert "-h" in command.get_help_option(made).opts


THREATS = (ROOT / "docs/THREAT_MODEL.md").read_text()
ATTACKS = {
    int(number): cells.split(" | ") for number, cells in re.findall(r"^\| T([0-9]+) \| (.*) \|$", THREATS, re.MULTILINE)
}  # number -> attack, what stops it, error, test


def threat_tests():
    """Every test of tests/threats: its name as it stands in the document -> docstring, and text of its module."""
    found = {}
    for path in sorted((ROOT / "tests/threats").glob("test_*.py")):
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[f"tests/threats/{path.name}::{node.name}"] = ast.get_docstring(node) or "", text
    return found


def test_the_threat_model_counts_its_attacks():
    assert list(ATTACKS) == list(range(1, len(ATTACKS) + 1))
    assert len(re.findall(r"^\| T[0-9]", THREATS, re.MULTILINE)) == len(ATTACKS)
    assert {len(cells) for cells in ATTACKS.values()} == {4}
    assert {int(number) for number in re.findall(r"\bT([0-9]+)\b", THREATS)} == set(ATTACKS)


def test_the_threat_model_names_its_tests_and_no_others():
    tests, named = threat_tests(), re.findall(r"tests/\w+/test_\w+\.py::\w+", THREATS)
    assert sorted(named) == sorted(tests)
    for number, (*_, cell) in ATTACKS.items():
        names = re.findall(r"^`([^`]+)`", cell)
        assert names or cell == "open", f"T{number} neither names a test nor is open"
        for name in names:
            assert tests[name][0].startswith(f"THREAT_MODEL T{number}: "), name


def test_the_threat_model_names_errors_that_its_tests_know():
    known, tests = {error.__name__ for error in classes(errors.FedSpaError)}, threat_tests()
    for number, (_, _, error, cell) in ATTACKS.items():
        named = set(re.findall(r"`([A-Z][A-Za-z]+)`", error))
        assert named <= known, f"T{number}"
        if cell != "open":
            text = tests[re.findall(r"`([^`]+)`", cell)[0]][1]
            assert all(re.search(rf"\b{name}\b", text) for name in named), f"T{number}"
            assert named or error.startswith("—"), f"T{number}"
