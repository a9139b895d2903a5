"""Encrypted vectors as they travel: fixed places for chunks, encryption, sums of chunks, and what they decrypt to.

A place holds a chunk's length, the chunk, and zeros up to what any chunk may have, so that every vector of a group is
equally long and a proof about a chunk is one about its place (SPEC section 24.3).  Under the encryption slots carry the
keystream of their member, which is taken off the sum alone.  Nobody holds more than a few chunks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Protocol, cast

import numpy as np

from fedspallm_secure.app.rounds.streams import Octets, Streams
from fedspallm_secure.errors import CiphertextRefused, ContributionRefused, FormatError, UnmaskingDeclined
from fedspallm_secure.he import bfv
from fedspallm_secure.he.keys import SecretKey
from fedspallm_secure.he.packing import Slots, chunk_weights, pack, slots_used
from fedspallm_secure.he.parameters import Parameters
from fedspallm_secure.protocol.rounds.groups import CHUNK_LENGTH, GroupPlan
from fedspallm_secure.secagg.slot_keystreams import slot_keystream


class Source(Protocol):
    """What places are read from: a file, or anything else that blocks until there are bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


def parameters_of(group: GroupPlan) -> Parameters:
    """What the vectors of this group are encrypted with; for groups that are."""
    return cast(Parameters, group.cipher)


def place_of(group: GroupPlan, chunk: bytes) -> bytes:
    """`upload_tile` bytes with a chunk in them."""
    return (len(chunk).to_bytes(CHUNK_LENGTH, "little") + chunk).ljust(group.upload_tile, b"\x00")


def chunk_in(group: GroupPlan, place: bytes) -> bytes:
    """The chunk in a place.  Raises FormatError for anything else than `place_of` gives."""
    length = int.from_bytes(place[:CHUNK_LENGTH], "little")
    chunk = place[CHUNK_LENGTH : CHUNK_LENGTH + length]
    if place_of(group, chunk) != place:
        raise FormatError(f"a place of group {group.gid} does not hold a chunk and zeros after it")
    return chunk


def chunks_in(group: GroupPlan, source: Source) -> Iterator[bytes]:
    """The chunks of a whole vector, one after the other.  Raises FormatError where it ends early or goes on."""
    for _ in range(group.upload_size // group.upload_tile):
        place = source.read(group.upload_tile)
        if len(place) != group.upload_tile:
            raise FormatError(f"a vector of group {group.gid} ends within a place")
        yield chunk_in(group, place)
    if source.read(1):
        raise FormatError(f"a vector of group {group.gid} goes on after its last place")


def encrypted(group: GroupPlan, streams: Streams, public: bytes, key: bytes) -> Iterator[bytes]:
    """A member's vector, place by place.

    public: of the key holder; key: of the member's own keystream.  Raises as `bfv.encrypt`.
    """
    parameters = parameters_of(group)
    slots = map(partial(_sums_of, parameters), _slots(group, streams), keystreams(group, [key]))
    for chunk in bfv.encrypt(parameters, public, slots, group.weights):
        yield place_of(group, chunk)


def _slots(group: GroupPlan, streams: Streams) -> Iterator[Slots]:
    words = None if group.sums is None or streams.total is None else streams.total.view(group.sums.signed)
    for piece in chunk_weights(parameters_of(group), group.weights):
        weights = piece.stop - piece.start
        keep = group.counts.unpack(streams.count[group.counts.piece(piece.start, weights)], weights, piece.start)
        yield pack(parameters_of(group), keep.astype(np.bool_), None if words is None else words[piece])


def keystreams(group: GroupPlan, keys: Sequence[bytes]) -> Iterator[Slots]:
    """For each chunk the sum of the keystreams of these keys, at least one, over the slots that it uses, modulo t."""
    parameters = parameters_of(group)
    for number, piece in enumerate(chunk_weights(parameters, group.weights)):
        used = slots_used(parameters, piece.stop - piece.start)
        found = (slot_keystream(key, number, used, parameters.plain_modulus) for key in keys)
        yield reduce(partial(_sums_of, parameters), found)


def _sums_of(parameters: Parameters, slots: Slots, others: Slots) -> Slots:
    return (slots + others) % parameters.plain_modulus


def check_vector(group: GroupPlan, public: bytes, source: Source, member: str) -> None:
    """S9: all of a member's places hold ciphertexts of the group's parameters.  Raises ContributionRefused.

    Looked at as each arrives, so that it is clear whose they were.  Raises WorkerLost, MissingExtra.
    """
    try:
        bfv.check(parameters_of(group), public, chunks_in(group, source), group.weights)
    except (CiphertextRefused, FormatError) as error:
        text = f"group {group.gid}: the vector of {member} cannot be added: {error}"
        raise ContributionRefused(text, check="S9", named=(member,)) from None


def added(group: GroupPlan, public: bytes, sources: Mapping[str, Source]) -> Iterator[bytes]:
    """The sum of the vectors of several members, place by place.  Raises as `bfv.add`, and names the member."""
    names = tuple(sources)
    vectors = [chunks_in(group, source) for source in sources.values()]
    try:
        for chunk in bfv.add(parameters_of(group), public, vectors, group.weights):
            yield place_of(group, chunk)
    except CiphertextRefused as error:
        raise CiphertextRefused(f"group {group.gid}, of {', '.join(names)} in this order: {error}") from None


def check_sums(group: GroupPlan, public: bytes, opened: Sequence[Iterable[bytes]], shown: Sequence[bytes]) -> None:
    """K8: chunks of single vectors add up to those of the sum.

    opened: the places of each survivor, which are read side by side, chunk by chunk; shown: those of the sum.
    Raises UnmaskingDeclined, or as `bfv.add`.
    """
    parameters = parameters_of(group)
    vectors = [map(partial(chunk_in, group), places) for places in opened]
    # Only so many chunks are added as were opened: to the library they are a vector of so many weights.
    weights = len(shown) * parameters.weights_per_chunk
    for number, chunk in enumerate(bfv.add(parameters, public, vectors, weights)):
        if place_of(group, chunk) != shown[number]:
            raise UnmaskingDeclined(f"group {group.gid}: what was opened does not add up to the sum", check="K8")


def decrypted(group: GroupPlan, secret: SecretKey, places: Iterable[bytes], keys: Sequence[bytes]) -> Streams:
    """What a sum holds, as streams.  keys: of the keystreams of those whose vectors it is of.  As `bfv.decrypt`."""
    parameters, streams = parameters_of(group), Streams.empty(group)
    words = None if group.sums is None or streams.total is None else streams.total.view(group.sums.signed)
    chunks = (chunk_in(group, place) for place in places)
    pieces, added = chunk_weights(parameters, group.weights), keystreams(group, keys)
    sums = bfv.decrypt(parameters, secret, chunks, group.weights, len(keys), added)
    for piece, found in zip(pieces, sums, strict=True):
        group.counts.write(found.counts, streams.count, piece.start)
        if words is not None:
            words[piece] = found.sums
    return streams


def joined(places: Iterable[bytes], group: GroupPlan) -> Octets:
    """A whole vector in memory."""
    whole = np.empty(group.upload_size, np.uint8)
    at = 0
    for place in places:
        whole[at : at + len(place)] = np.frombuffer(place, np.uint8)
        at += len(place)
    return whole
