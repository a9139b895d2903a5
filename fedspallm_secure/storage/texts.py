"""Texts as silos keep them: .txt, .jsonl, .parquet.  Read as a stream of documents, bounded, never downloaded."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedspallm_secure.errors import ForeignFile, LimitExceeded, MissingExtra, MissingInput, UsageError
from fedspallm_secure.storage.files import is_file

DEFAULT_FIELD = "text"
TEXT_LIMIT = 256 << 20  # bytes of text taken from one file
LINE_LIMIT = 64 << 20  # bytes of one .jsonl line
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)  # also a folder name, so nothing else


@dataclass(frozen=True, slots=True)
class TextFile:
    """One silo's or one test's text: a label, a file, and the field that holds the text."""

    name: str
    path: Path
    field: str = DEFAULT_FIELD

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot be a name: use 1 to 64 letters, digits, '-' and '_', "
                "starting with a letter or digit"
            )

    def documents(self) -> Iterator[str]:
        """Yield documents in file order, at most `TEXT_LIMIT` bytes of them.

        Raises MissingInput, ForeignFile or LimitExceeded.
        """
        reader = _READERS.get(self.path.suffix.lower())
        if reader is None:
            raise ForeignFile(f"{self.path}: texts end in .txt, .jsonl or .parquet")
        if not is_file(self.path):
            raise MissingInput(f"{self.path} (text of {self.name}) does not exist or is not a file")
        taken = 0
        try:
            for document in reader(self.path, self.field):
                taken += len(document.encode())
                if taken > TEXT_LIMIT:
                    raise LimitExceeded(f"{self.path} holds more than {TEXT_LIMIT >> 20} MiB of text")
                if document:
                    yield document
        except UnicodeDecodeError as error:
            raise ForeignFile(f"{self.path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
        except OSError as error:
            if error.errno is None:  # a library's word about the content, not the operating system's about the file
                raise ForeignFile(f"{self.path} is damaged: {error}") from error
            raise MissingInput(f"cannot read {self.path}: {error.strerror or error}") from error


def _read_txt(path: Path, field: str) -> Iterator[str]:
    with path.open("rb") as file:
        data = file.read(TEXT_LIMIT + 1)
    if len(data) > TEXT_LIMIT:
        raise LimitExceeded(f"{path} holds more than {TEXT_LIMIT >> 20} MiB of text")
    if b"\0" in data[:4096]:
        raise ForeignFile(f"{path} is not a text file: it holds zero bytes")
    yield data.decode()


def _read_jsonl(path: Path, field: str) -> Iterator[str]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_LIMIT + 1):
            number += 1
            if len(line) > LINE_LIMIT:
                raise LimitExceeded(f"{path}, line {number} is longer than {LINE_LIMIT >> 20} MiB")
            if line.strip():
                yield _text_of(line, field, f"{path}, line {number}")


def _text_of(line: bytes, field: str, where: str) -> str:
    content = line.decode()
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:  # ValueError also for numbers of absurd length
        raise ForeignFile(f"{where} is not JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get(field), str):
        raise ForeignFile(
            f"{where} has no text in field {field!r}", hint="name the field: --field, or [texts] field in member.toml"
        )
    text: str = record[field]
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ForeignFile(f"{where} holds half a character (a lone surrogate)")
    return text


def _read_parquet(path: Path, field: str) -> Iterator[str]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(
            f"reading {path} needs pyarrow, which is not installed",
            hint="pip install 'fedspallm-secure[data]'",
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            if field not in table.schema_arrow.names:
                raise ForeignFile(
                    f"{path} has no column {field!r}", hint="name the column: --field, or [texts] field in member.toml"
                )
            for batch in table.iter_batches(batch_size=256, columns=[field]):
                for value in batch.column(0).to_pylist():
                    if not isinstance(value, str):
                        raise ForeignFile(f"{path}: column {field!r} does not hold text")
                    yield value
    except pyarrow.ArrowException as error:
        raise ForeignFile(f"{path} is not a readable parquet file: {error}") from error


_READERS = {".txt": _read_txt, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
