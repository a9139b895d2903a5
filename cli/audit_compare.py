"""`fedprune audit compare`: whether what different parties saw of one log is one history."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from fedprune_cli import console
from fedprune_cli.audit_proof import read_vkey
from fedprune_cli.documents import write
from fedprune_cli.parameters import json_option
from fedprune_cli.services import text_table

from fedspallm_secure.errors import MissingInput, SplitView, UsageError

if TYPE_CHECKING:
    from fedspallm_secure.app.audit.comparing import Comparison, Held
    from fedspallm_secure.protocol.audit.split_view import SplitViewProof


@click.command(
    epilog="""\b
Examples:
  fedprune audit compare rounds/log north south
  fedprune audit compare hub.fslog seen-by-north.checkpoint
  fedprune audit compare --check split-view.json
"""
)
@click.argument("places", nargs=-1, type=click.Path(path_type=Path), metavar="[LOG|CHECKPOINT|HOME]...")
@click.option("--vkey", help="The log's key, NAME+ID+KEY, where only checkpoint files are compared.")
@click.option("--out", type=click.Path(path_type=Path), help="Where a proof goes.  [default: split-view.json]")
@click.option("--check", type=click.Path(path_type=Path), help="Check the proof of a split view in this file instead.")
@json_option
def compare(places: tuple[Path, ...], vkey: str | None, out: Path | None, check: Path | None, as_json: bool) -> int:
    """Say whether logs, checkpoints and what homes have kept are of one history.

    Two checkpoints that contradict each other prove that the log's key has signed two histories: the proof is written
    to a file that anybody can check, and the command ends with code 120.
    """
    if check is not None:
        if places or vkey is not None or out is not None:
            raise UsageError("--check is about one proof, and takes nothing to compare")
        _check(check, as_json)
        return 0
    if not places:
        raise UsageError("what is to be compared?", hint="name logs, checkpoint files and homes, or --check FILE")
    from fedspallm_secure.app.audit.comparing import compare as compare_views
    from fedspallm_secure.app.audit.comparing import read_view

    key = None if vkey is None else read_vkey(vkey)
    found = compare_views([read_view(place) for place in places], key)
    if found.proof is not None:
        return _tell_split(found, out, as_json)
    if as_json:
        seen = [held.to_dict() for held in found.held]
        console.print_json({"origin": found.origin, "one_history": not found.undecided, "checkpoints": seen})
    else:
        _print(found)
    if found.undecided:
        largest = max(held.checkpoint.size for held in found.undecided)
        if as_json:
            return MissingInput.exit_code
        raise MissingInput(
            f"none of these has the {largest} entries of the largest checkpoint, so it cannot be told",
            hint="name a log that has them too",
        )
    return 0


def _print(found: "Comparison") -> None:
    """A row for each place, and one more for checkpoints of it about which it cannot be told."""
    rows = []
    for name in dict.fromkeys(held.name for held in found.held):
        own = [held for held in found.held if held.name == name]
        for checked, said in ((True, "yes"), (False, "not known")):
            some = [held for held in own if held.checked is checked]
            rows += [_row(name, some, said)] if some else []
    columns = ["Seen at", "Checkpoints", "Entries of the newest", "Its root", "Of this history"]
    console.printer().print(text_table(columns, rows))
    if not found.undecided:
        click.echo(f"These are of one history of {console.shown(found.origin)}.")


def _row(name: str, held: "list[Held]", said: str) -> list[str]:
    newest = held[-1].checkpoint
    return [name, str(len(held)), str(newest.size), newest.root.hex()[:16], said]


def _tell_split(found: "Comparison", out: Path | None, as_json: bool) -> int:
    if found.proof is None:
        raise AssertionError
    path = write(out, "split-view.json", found.proof.encode())
    said = f"{' and '.join(found.between)} saw two histories of {found.origin}; the proof is in {path}"
    if as_json:
        small, large = found.proof.check()
        shown = [{"size": one.size, "root": one.root.hex()} for one in (small, large)]
        console.print_json({"origin": found.origin, "one_history": False, "proof": str(path), "checkpoints": shown})
        return SplitView.exit_code
    raise SplitView(said)


def _check(path: Path, as_json: bool) -> None:
    from fedspallm_secure.app.audit.opening import naming
    from fedspallm_secure.protocol.audit.split_view import SPLIT_VIEW_LIMIT, SplitViewProof
    from fedspallm_secure.storage.documents import read_document

    with naming(path):
        proof = SplitViewProof.parse(read_document(path, SPLIT_VIEW_LIMIT))
        sentences = _words(proof)
    if as_json:
        console.print_json({"file": str(path), "proves": True, "says": sentences, "vkey": proof.note_key.key.vkey})
        return
    for sentence in sentences:
        click.echo(console.shown(sentence))


def _words(proof: "SplitViewProof") -> list[str]:
    """What a proof shows, and what has to be checked beside it.  Raises BadSignature or FormatError if it is none."""
    small, large = proof.check()
    origin, statement = small.origin, proof.note_key
    if small.size == large.size:
        how = f"two roots of {small.size} entries"
    else:
        how = f"{small.size} entries that are not the first of the {large.size} entries that it signed, too"
    return [
        f"The key {statement.key.vkey} of {origin} has signed {how}.",
        "No honest log signs both: whoever holds this key has shown two histories.",
        f"The file says, too, that it is the key of {statement.party} of {statement.federation}. Whether that is so, "
        "step V1 of fedprune audit verify tells, for any log with this key.",
    ]
