"""Which pruned layers count at one party, as `revision.json` of its work folder says; held against a member's journal.

A work folder that has gone, or is not of the age of the home, would show only when the next plan starts from another
result (P10).  Here it shows whenever somebody looks.  Needs no torch, and reads no weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.stations.candidates import rounds_drawn
from fedspallm_secure.crypto.encoding import decode_base64
from fedspallm_secure.errors import RecordDamaged
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.storage.files import is_file, read_json

REVISION: Final = "revision.json"
COPY: Final = "copy it from a backup, or from the work folder of another member, where it is the same"
_APART: Final = (
    "is the right folder named under data, and its disk mounted?  Plans are declined (P10) until it is; if it is lost, "
    "have the certificate withdrawn, and enrol again in a new --home with a new data"
)
Recall = Callable[[str, str, Any], Any]  # kind and name of a fact of the journal, and what there is without one


@dataclass(frozen=True, slots=True)
class Kept:
    """What a work folder says.  round, result: that the layers are from, 0 and `*` for none; layers: the files."""

    round: int = 0
    result: str = NONE
    layers: Mapping[int, Path] = field(default_factory=dict)


def read_kept(folder: Path) -> Kept:
    """From a work folder, nothing where nothing was kept yet.  Raises RecordDamaged."""
    path = folder / REVISION
    if not path.exists():
        return Kept()
    found = read_json(path)
    try:
        files = {int(gid): folder / name for gid, name in found["layers"].items()}
        return Kept(int(found["round"]), str(found["result"]), files)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise RecordDamaged(f"{path} does not read back as it was written") from None


@dataclass(frozen=True, slots=True)
class Lack:
    """What is wrong with a work folder, and what to do about it."""

    text: str
    fix: str


def lacking(data: Path, recall: Recall) -> Lack | None:
    """What a member's work folder lacks of the results that its journal says were taken home; None if nothing.

    recall: of the journal.  Raises RecordDamaged.
    """
    applied, kept = int(recall("applied", "*", 0)), read_kept(data)
    if applied and not kept.round:
        return Lack(f"the result of round {applied} was taken home, and {data} has nothing of it any more", _APART)
    result = result_of(recall, kept.round)
    # A kill between the folder and the journal leaves the folder ahead, with a result that the journal has already.
    if kept.round and (kept.round < applied or result is None or result.hash != kept.result):
        now = f"follows that of round {applied}" if applied else "knows of none"
        return Lack(f"{data} has the result {kept.result[:16]} of round {kept.round}, and the journal {now}", _APART)
    gone = [str(path.relative_to(data)) for path in kept.layers.values() if not is_file(path)]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        return Lack(f"{gone[0]}{more} in {data} {'are' if more else 'is'} gone", COPY)
    if _is_last(recall, applied) and not (data / "model").exists():
        return Lack(f"{data / 'model'}, the pruned model, is gone", COPY)
    return None


def result_of(recall: Recall, round: int) -> Result | None:
    """The verified result of a round that the member follows."""
    found = recall("result", str(round), None)
    return None if found is None else Result.parse(decode_base64(found, "a result"))


def _is_last(recall: Recall, round: int) -> bool:
    """Whether the model was written after this round, as it is after the last one that was planned."""
    found = recall("followed", str(round), None)
    if found is None:
        return False
    sampling = Plan.from_dict(found["plan"]).sampling
    return sampling.number >= rounds_drawn(sampling)
