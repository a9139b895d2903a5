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
        r"keep[-_ ]?masks?|unmask-re\w+|attention[_ ]masks?|mask expansion|masked_fill|Masked", re.IGNORECASE
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
        command, words, context = cli, line.split(), click.Context(cli, info_name="fedprune")
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        command.make_context(command.name or "", words, parent=context)
