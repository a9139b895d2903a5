"""Checks of what a member has taken home: that its layers are on disk, and are those of the signed results."""

from collections.abc import Sequence
from pathlib import Path

from fedspallm_secure.app.service.findings import Findings, Patient, bad, good
from fedspallm_secure.app.service.watched import Watched, watch
from fedspallm_secure.app.stations.kept_results import COPY, lacking, read_kept, result_of
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.groups import MatrixShape
from fedspallm_secure.storage import home_folder as folder


def results(patient: Patient) -> Findings:
    """Whether the work folder of a member has what its journal says was taken home.  Reads no weights."""
    if patient.member is None:
        return
    with watch(patient.home.path / folder.REGISTER) as watched:
        lack = lacking(patient.data, watched.fact) if watched.has_begun() else None
    kept = read_kept(patient.data)
    if lack is not None:
        yield bad("results", lack.text, lack.fix)
    elif kept.round:
        yield good("results", f"up to round {kept.round} all are here: {len(kept.layers)} pruned layers")


def layers(patient: Patient, shapes: Sequence[Sequence[MatrixShape]]) -> Findings:
    """Whether each pruned layer at hand is the one that the signed result names; all of them are read.

    shapes: matrices of each layer of the member's model.  Where something is lacking, `results` tells that instead.
    """
    with watch(patient.home.path / folder.REGISTER) as watched:
        if not watched.has_begun() or lacking(patient.data, watched.fact) is not None:
            return
        kept = read_kept(patient.data)
        wanted = _wanted(watched, kept.round)
    known = {gid: _digest(path, shapes[gid]) for gid, path in sorted(kept.layers.items()) if gid < len(shapes)}
    others = [path for gid, path in sorted(kept.layers.items()) if known.get(gid, "") != wanted.get(gid)]
    for path in others:
        yield bad("results", f"{path} is not the layer that the signed result names", COPY)
    if kept.layers and not others:
        yield good("results", f"{len(kept.layers)} pruned layers are those that the signed results name")


def _wanted(watched: Watched, last: int) -> dict[int, str]:
    """Layer -> digest in the newest result that has it.  last: the newest round that counts."""
    found: dict[int, str] = {}
    for number in sorted(int(name) for name in watched.names("result") if int(name) <= last):
        result = result_of(watched.fact, number)
        found |= {one.gid: one.layer for one in result.groups if one.layer != NONE} if result is not None else {}
    return found


def _digest(path: Path, shapes: Sequence[MatrixShape]) -> str:
    """Empty for a file that cannot be read as such a layer."""
    from fedspallm_secure.app.stations.layers import digest_in_shape
    from fedspallm_secure.storage.checkpoints.stored_layers import stored_layer

    try:
        return digest_in_shape(shapes, stored_layer(path))
    except (FedSpaError, KeyError, ValueError):
        return ""
