"""`fedprune audit proof`: that one entry stands in a log, as a file that anybody can check."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from fedprune_cli import console
from fedprune_cli.audit_parameters import opened, progress
from fedprune_cli.documents import next_step, write
from fedprune_cli.parameters import json_option

from fedspallm_secure.errors import UsageError

if TYPE_CHECKING:
    from fedspallm_secure.app.audit.proving import Wanted
    from fedspallm_secure.crypto.notes import NoteKey


@click.command(
    epilog="""\b
Examples:
  fedprune audit proof rounds/log --member north --round 2 --group 3 --out north.tlog-proof
  fedprune audit proof --check north.tlog-proof --policy witnesses.txt
"""
)
@click.argument("log", type=click.Path(path_type=Path), required=False)
@click.option("--member", metavar="ID", help="Whose contribution is to be proven.")
@click.option("--round", "number", type=click.IntRange(1), help="In which round.")
@click.option("--group", type=click.IntRange(0), help="For which layer, where there were several.")
@click.option("--entry", type=click.IntRange(0), help="Prove this entry instead, whatever it is.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write.")
@click.option("--check", type=click.Path(path_type=Path), help="Check this proof instead; no log is needed.")
@click.option("--policy", type=click.Path(path_type=Path), help="With --check: whose signatures count, a tlog-policy.")
@click.option("--vkey", help="With --check: the log's key, NAME+ID+KEY.")
@json_option
def proof(
    log: Path | None,
    member: str | None,
    number: int | None,
    group: int | None,
    entry: int | None,
    out: Path | None,
    check: Path | None,
    policy: Path | None,
    vkey: str | None,
    as_json: bool,
) -> None:
    """Prove that an entry stands in a log, or check such a proof offline.

    A proof is a C2SP tlog-proof file, with the entry in it.  Checked with a policy it also says which witnesses
    cosigned.
    """
    if check is not None:
        if log is not None or out is not None:
            raise UsageError("--check is about a proof, and takes no log and no --out")
        _check(check, policy, vkey, as_json)
        return
    if log is None or out is None or policy is not None or vkey is not None:
        raise UsageError("a proof is made of a LOG and needs --out; --policy and --vkey are for --check")
    _make(log, _wanted(member, number, group, entry), out, as_json)


def _wanted(member: str | None, number: int | None, group: int | None, entry: int | None) -> "Wanted":
    from fedspallm_secure.app.audit.proving import Wanted

    if entry is not None:
        if (member, number, group) != (None, None, None):
            raise UsageError("--entry says all; --member, --round and --group are for contributions")
        return Wanted(entry)
    if member is None or number is None:
        raise UsageError("which entry?", hint="add --member ID --round N, or --entry INDEX")
    return Wanted(None, member.removeprefix("member/"), number, group)


def _make(log: Path, wanted: "Wanted", out: Path, as_json: bool) -> None:
    from fedspallm_secure.app.audit.proving import prove

    with opened(log) as found, progress("read") as told:
        made = prove(found, wanted, told)
        vkey = found.note_key().key.vkey
    path = write(out, f"entry-{made.index}.tlog-proof", made.encode())
    if as_json:
        console.print_json({"file": str(path), "index": made.index, "vkey": vkey})
        return
    click.echo(f"Written: {console.shown(path)}, for entry {made.index}")
    next_step(f"hand it on; it is checked by: fedprune audit proof --check FILE --vkey {vkey}")


def _check(path: Path, policy: Path | None, vkey: str | None, as_json: bool) -> None:
    from fedspallm_secure.app.audit.opening import naming
    from fedspallm_secure.app.audit.proving import check_proof
    from fedspallm_secure.app.audit.verifying import read_policy
    from fedspallm_secure.protocol.audit.inclusion import PROOF_LIMIT
    from fedspallm_secure.storage.documents import read_document

    data = read_document(path, PROOF_LIMIT)
    key, found = None if vkey is None else read_vkey(vkey), read_policy(policy)
    with naming(path):
        proven = check_proof(data, key, found)
    if as_json:
        console.print_json({"file": str(path), **proven.to_dict()})
        return
    for sentence in proven.sentences():
        click.echo(console.shown(sentence))


def read_vkey(text: str) -> "NoteKey":
    """A key as somebody typed it.  Raises UsageError."""
    from fedspallm_secure.crypto.notes import NoteKey
    from fedspallm_secure.errors import FedSpaError

    try:
        return NoteKey.parse(text)
    except FedSpaError as error:
        raise UsageError(f"--vkey: {error}", hint="it is written NAME+ID+KEY, in one piece") from None
