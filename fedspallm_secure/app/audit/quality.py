"""Perplexity that somebody measured and wrote beside a log; it is no part of the log, and nothing vouches for it."""

from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.reporting.numbers import perplexity
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.storage.files import is_file, read_json
from fedspallm_secure.storage.log_reader import CHECKPOINT

RESULT: Final = "result.json"  # what `fedprune simulate` and `fedprune demo` write
ABSENT: Final = "Perplexity is not in the log, and no result.json lies beside it."


def perplexity_beside(path: Path) -> str:
    """One sentence about the perplexity in result.json beside the log at `path`, or that there is none."""
    folders = [path, path.parent] if is_file(path / CHECKPOINT) else [path.parent] if is_file(path) else [path]
    for folder in folders:
        file = folder / RESULT
        if is_file(file):
            try:
                return _sentence(read_json(file), file.name)
            except (FedSpaError, KeyError, TypeError, ValueError):
                return f"Perplexity is not in the log; {file.name} beside it cannot be read as a result."
    return ABSENT


def _sentence(result: Any, name: str) -> str:
    before, after = float(result["dense"]["mean"]), float(result["federated"]["mean"])
    texts = len(result["settings"]["tests"])
    where = "one test text" if texts == 1 else f"{texts} test texts"
    return (
        f"Perplexity is not in the log. {name} beside it says {perplexity(before)} before and {perplexity(after)} "
        f"after pruning, on {where}; nothing here vouches for that."
    )
