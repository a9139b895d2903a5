"""Texts as silos keep them: what is read, and every way in which a file can be the wrong one."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import (
    FedSpaError,
    ForeignFile,
    InputError,
    LimitExceeded,
    MissingExtra,
    MissingInput,
    UsageError,
)
from fedspallm_secure.storage import texts
from fedspallm_secure.storage.texts import TextFile

SPECIAL = "naïve — 日本語 \N{GRINNING FACE}\r\n\ttab"


def documents(path: Path, field: str = "text") -> list[str]:
    return list(TextFile("silo", path, field).documents())


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(path: Path, *records: object) -> Path:
    return written(path, "".join(json.dumps(record) + "\n" for record in records))


def table(path: Path, columns: dict[str, object]) -> Path:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.table(columns), path)
    return path


# What is read


def test_a_text_file_is_one_document_exactly_as_it_stands(tmp_path):
    assert documents(written(tmp_path / "a.txt", SPECIAL)) == [SPECIAL]


def test_json_lines_are_one_document_each_in_file_order(tmp_path):
    records = [{"text": SPECIAL}, {"text": "two", "id": 5}, {"id": 6, "text": "three\n"}]
    assert documents(lines(tmp_path / "a.jsonl", *records)) == [SPECIAL, "two", "three\n"]


def test_parquet_rows_are_one_document_each_in_file_order(tmp_path):
    rows = [SPECIAL, *[f"row {number}" for number in range(600)]]
    assert documents(table(tmp_path / "a.parquet", {"id": list(range(601)), "text": rows})) == rows


def test_the_field_can_be_named(tmp_path):
    assert documents(lines(tmp_path / "a.jsonl", {"body": "x", "text": "y"}), "body") == ["x"]
    assert documents(table(tmp_path / "a.parquet", {"body": ["x"], "text": ["y"]}), "body") == ["x"]
    assert documents(table(tmp_path / "b.parquet", {"a.b": ["x"]}), "a.b") == ["x"]


def test_empty_documents_and_empty_lines_are_left_out(tmp_path):
    assert documents(written(tmp_path / "a.txt", "")) == []
    assert documents(written(tmp_path / "a.jsonl", '\n{"text": ""}\n  \r\n{"text": "x"}\n\n')) == ["x"]
    assert documents(written(tmp_path / "b.jsonl", "")) == []
    assert documents(table(tmp_path / "a.parquet", {"text": ["", "x", ""]})) == ["x"]


def test_the_last_line_may_lack_its_end_and_lines_may_end_as_on_windows(tmp_path):
    assert documents(written(tmp_path / "a.jsonl", '{"text": "a"}\r\n{"text": "b"}')) == ["a", "b"]


def test_endings_are_known_in_capitals_too(tmp_path):
    assert documents(written(tmp_path / "A.TXT", "x")) == ["x"]
    assert documents(lines(tmp_path / "A.JSONL", {"text": "x"})) == ["x"]


def test_strings_in_other_parquet_layouts_are_strings(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    for number, column in enumerate(
        (pyarrow.array(["a", "b"]).dictionary_encode(), pyarrow.array(["a", "b"], pyarrow.large_string()))
    ):
        assert documents(table(tmp_path / f"{number}.parquet", {"text": column})) == ["a", "b"]


@given(st.lists(st.text(min_size=1), max_size=5))
def test_any_documents_come_back_from_json_lines_and_parquet(tmp_path_factory, found):
    folder = tmp_path_factory.mktemp("texts")
    assert documents(lines(folder / "a.jsonl", *[{"text": text} for text in found])) == found
    assert documents(table(folder / "a.parquet", {"text": found or ["", ""]})) == found


# What is refused


def test_a_missing_file_is_refused_by_silo_and_path(tmp_path):
    for name in ("a.txt", "a.jsonl", "a.parquet"):
        with pytest.raises(MissingInput, match=f"{name} .text of silo. does not exist"):
            documents(tmp_path / name)


def test_a_folder_is_no_text(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(MissingInput, match="not a file"):
        documents(tmp_path / "a.txt")


@pytest.mark.parametrize("name", ["a.csv", "a", "a.txt.gz", "a.json", ".txt"])
def test_other_endings_are_refused_with_those_that_are_read(tmp_path, name):
    with pytest.raises(ForeignFile, match=r"\.txt, \.jsonl or \.parquet"):
        documents(written(tmp_path / name, "x"))


@pytest.mark.parametrize("content", [b"caf\xe9", b"\xff\xfeh", b"ok \xed\xa0\x80"])
def test_text_that_is_not_utf_8_is_refused_with_the_position(tmp_path, content):
    with pytest.raises(ForeignFile, match=r"a\.txt is not UTF-8 text: .* at byte \d+"):
        documents(written(tmp_path / "a.txt", content))
    with pytest.raises(ForeignFile, match=r"a\.jsonl.* not UTF-8"):
        documents(written(tmp_path / "a.jsonl", b'{"text": "' + content + b'"}\n'))


def test_zero_bytes_are_the_sign_of_something_else(tmp_path):
    with pytest.raises(ForeignFile, match="zero bytes"):
        documents(written(tmp_path / "a.txt", "text in UTF-16".encode("utf-16-le")))


BAD_LINES = {
    "no JSON": b"hello",
    "half a record": b'{"text": "x"',
    "two records on a line": b'{"text": "x"} {"text": "y"}',
    "a list": b'["text"]',
    "a string": b'"text"',
    "null": b"null",
    "deeply nested": b"[" * 200_000,
    "field missing": b'{"body": "x"}',
    "field is a number": b'{"text": 5}',
    "field is null": b'{"text": null}',
    "field is a list": b'{"text": ["x"]}',
}


@pytest.mark.parametrize("content", BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_refused_with_its_number(tmp_path, content):
    with pytest.raises(ForeignFile, match=r"a\.jsonl, line 3"):
        documents(written(tmp_path / "a.jsonl", b'{"text": "x"}\n\n' + content + b'\n{"text": "y"}\n'))


def test_documents_before_a_bad_line_are_read(tmp_path):
    """A stream: whoever needs the first document only never meets the bad line."""
    stream = TextFile("silo", written(tmp_path / "a.jsonl", '{"text": "x"}\nhello\n')).documents()
    assert next(stream) == "x"
    with pytest.raises(ForeignFile):
        next(stream)


def test_a_missing_field_is_refused_with_its_name_and_the_remedy(tmp_path):
    for path in (lines(tmp_path / "a.jsonl", {"body": "x"}), table(tmp_path / "a.parquet", {"body": ["x"]})):
        with pytest.raises(ForeignFile, match="'text'") as caught:
            documents(path)
        assert "--field, or [texts] field in member.toml" in caught.value.hint


def test_a_number_of_many_digits_in_a_line_is_a_foreign_file(tmp_path):
    with pytest.raises(ForeignFile, match="line 1"):
        documents(written(tmp_path / "a.jsonl", '{"text": "x", "n": ' + "1" * 5000 + "}\n"))


def test_half_a_surrogate_pair_is_a_foreign_file(tmp_path):
    r"""JSON may say "\ud800", which is no text in any encoding."""
    with pytest.raises(ForeignFile):
        documents(written(tmp_path / "a.jsonl", '{"text": "\\ud800"}\n'))


@pytest.mark.parametrize("column", [[1, 2], [b"x"], ["x", None], [{"text": "x"}], [["x"]], [1.5], [True]])
def test_a_parquet_column_of_something_else_is_refused(tmp_path, column):
    with pytest.raises(ForeignFile, match="'text' does not hold text"):
        documents(table(tmp_path / "a.parquet", {"text": column}))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello world, this is no parquet file at all PAR1", b"PAR1" * 50])
def test_what_is_no_parquet_is_a_foreign_file(tmp_path, content):
    pytest.importorskip("pyarrow")
    with pytest.raises(ForeignFile, match=r"a\.parquet"):
        documents(written(tmp_path / "a.parquet", content))


def test_a_damaged_parquet_file_is_read_or_refused_never_a_crash(tmp_path):
    path = table(tmp_path / "a.parquet", {"text": [f"row {number}" for number in range(50)]})
    whole = path.read_bytes()
    for position in range(0, len(whole), len(whole) // 60):
        for damaged in (whole[:position], whole[:position] + bytes([whole[position] ^ 8]) + whole[position + 1 :]):
            path.write_bytes(damaged)
            try:
                documents(path)
            except InputError as error:
                assert str(path) in str(error)


def test_a_damaged_parquet_page_is_a_foreign_file_not_a_missing_one(tmp_path):
    path = table(tmp_path / "a.parquet", {"text": ["hello " * 100, "world " * 100]})
    whole = bytearray(path.read_bytes())
    whole[40:80] = b"\xff" * 40
    path.write_bytes(whole)
    with pytest.raises(ForeignFile):
        documents(path)


@given(st.binary(max_size=60))
def test_any_bytes_are_text_or_one_of_our_errors(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("texts")
    for ending in ("txt", "jsonl", "parquet"):
        try:
            found = documents(written(folder / f"a.{ending}", content))
        except FedSpaError:
            continue
        assert all(isinstance(text, str) and text for text in found)


def test_a_name_that_the_file_system_refuses_is_missing_input(tmp_path):
    with pytest.raises(MissingInput):
        documents(tmp_path / ("x" * 300 + ".txt"))


# Limits


def test_text_beyond_the_limit_is_refused_to_the_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "TEXT_LIMIT", 10)
    exact = {
        "a.txt": written(tmp_path / "a.txt", "x" * 10),
        "a.jsonl": lines(tmp_path / "a.jsonl", {"text": "x" * 6}, {"text": "日y"}),
        "a.parquet": table(tmp_path / "a.parquet", {"text": ["x" * 6, "日y"]}),
    }
    for path in exact.values():
        assert sum(len(text.encode()) for text in documents(path)) == 10
    more = [
        written(tmp_path / "a.txt", "x" * 11),
        lines(tmp_path / "a.jsonl", {"text": "x" * 6}, {"text": "日yz"}),
        table(tmp_path / "a.parquet", {"text": ["x" * 6, "日yz"]}),
    ]
    for path in more:
        with pytest.raises(LimitExceeded, match="MiB of text"):
            documents(path)


def test_a_text_file_beyond_the_limit_is_too_large_and_not_badly_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "TEXT_LIMIT", 10)
    with pytest.raises(LimitExceeded):
        documents(written(tmp_path / "a.txt", "日" * 10))


def test_a_line_beyond_the_limit_is_refused_with_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "LINE_LIMIT", 20)
    assert documents(lines(tmp_path / "a.jsonl", {"text": "12345"}, {"text": "12345"})) == ["12345", "12345"]
    with pytest.raises(LimitExceeded, match="line 2"):
        documents(lines(tmp_path / "a.jsonl", {"text": "12345"}, {"text": "1234567890"}))


def test_a_text_file_is_not_read_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "TEXT_LIMIT", 1000)
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.write(b"x" * 2000)
        file.truncate(1 << 40)  # sparse: a tebibyte that takes no room, and that no test would survive reading
    with pytest.raises(LimitExceeded):
        documents(path)


# pyarrow is optional


def test_without_pyarrow_parquet_is_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match="needs pyarrow") as caught:
        documents(written(tmp_path / "a.parquet", b"PAR1"))
    assert "fedspallm-secure[data]" in caught.value.hint
    assert documents(written(tmp_path / "a.txt", "x")) == ["x"]


# Names


@pytest.mark.parametrize("name", ["a", "north-1", "A_b-c", "0", "x" * 64])
def test_plain_names_are_accepted(name):
    assert TextFile(name, Path("a.txt")).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "a b",
        " a",
        "a\n",
        "a\0",
        "-a",
        "_a",
        ".a",
        "a.b",
        "é",
        "٣",
        "x" * 65,
        "a:b",
    ],
)
def test_names_that_could_leave_their_folder_or_look_like_options_are_refused(name):
    with pytest.raises(UsageError, match="cannot be a name"):
        TextFile(name, Path("a.txt"))


@given(st.text(max_size=10))
def test_any_name_is_a_plain_file_name_or_refused(name):
    try:
        TextFile(name, Path("a.txt"))
    except UsageError:
        return
    assert Path(name).name == name
    assert name not in {".", ".."}
