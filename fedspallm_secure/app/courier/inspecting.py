"""What lies on a medium, for somebody without keys who has to let it pass or not.  Nothing of it is verified.

Heads of packages are read and compared with the index, so that what is no package is seen; bodies are encrypted.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.app.courier.media import Medium
from fedspallm_secure.app.courier.outcomes import bundle_dict, error_dict
from fedspallm_secure.app.packages import log_words
from fedspallm_secure.errors import FedSpaError, MissingInput
from fedspallm_secure.protocol.bundles import Bundle, BundleFile
from fedspallm_secure.storage.package_reader import PackageReader

KINDS = {
    "file": "a file that one party sends another",
    "prekeys": "public keys for one use",
    "offer": "what a member can do in the next round",
    "opening": "the announcement of a round",
    "beacon": "a signature from which the round's random numbers follow",
    "cipher-key": "a public key with which results are encrypted",
    "plan": "the plan of a round: who prunes which layers of the model",
    "decline": "that a member takes no part in a round, and by which rule",
    "contribution": "pruning results of one member, hidden so that only the sum over many can be read",
    "receipt": "the confirmation that something arrived",
    "survivors": "the list of members whose results count",
    "endorsement": "a signature on that list",
    "unmask-request": "the request to help open the sum, not single results",
    "unmask-response": "key pieces that open the sum, not single results",
    "decrypt-request": "the encrypted sum over many results, for the key holder",
    "decrypt-challenge": "which parts of that sum the key holder wants to add up again",
    "decrypt-opening": "these parts of the members' encrypted results, for the key holder",
    "decrypt-response": "the decrypted sum",
    "result": "the signed result of a round",
    "layer": "pruned weights of one layer of the model",
    "abort": "the notice that a round ended without a result",
    "log": "what is new in the log of the rounds, for those who check it",
    "checkpoint": "the state of that log, for a witness to sign",
    "cosignature": "the signature of a witness under the state of that log",
}
UNKNOWN = "of a kind that this program does not know"
NOTHING_VERIFIED = (
    "Nothing of this is verified: it is what the files say about themselves.  A package has one part in clear, which "
    "says what is shown here, and an encrypted one, which its recipient alone can read.  Nothing on the medium has to "
    "be run, unpacked or mounted."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One package of an index.

    error: why the file on the medium is not the one that is listed; None if it is; log: the one that its header tells
    the state of, in words, empty for none.
    """

    file: BundleFile
    error: FedSpaError | None
    log: str = ""

    @property
    def state(self) -> str:
        """`there`, `missing` or `wrong`."""
        return "there" if self.error is None else "missing" if isinstance(self.error, MissingInput) else "wrong"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        names = [name for name, _ in self.file.parts]
        found = {
            **self.file.to_dict(),
            "names": names,
            "kind": kind_of(self.file.type),
            "log": self.log,
            "state": self.state,
        }
        return found if self.error is None else {**found, **error_dict(self.error)}


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one index claims.  bundle: None if it is none, and error says why."""

    name: str
    bundle: Bundle | None
    error: FedSpaError | None
    packages: tuple[Seen, ...] = ()

    @property
    def kinds(self) -> list[tuple[str, int, int]]:
        """Type, number and bytes of the packages, by type."""
        numbers = Counter(seen.file.type for seen in self.packages)
        sizes: Counter[str] = Counter()
        for seen in self.packages:
            sizes[seen.file.type] += seen.file.size
        return [(type, numbers[type], sizes[type]) for type in sorted(numbers)]

    @property
    def logs(self) -> list[str]:
        """The states of logs that the packages tell of, in words, sorted."""
        return sorted({seen.log for seen in self.packages} - {""})

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        if self.bundle is None:
            return {"index": self.name, **(error_dict(self.error) if self.error else {})}
        contents = self.bundle.contents
        return {
            "index": self.name,
            "claims": {
                **bundle_dict(self.bundle),
                "previous": self.bundle.previous,
                "purpose": contents.purpose,
                "received": len(contents.received),
                "again": len(contents.again),
                "seen": contents.seen,
            },
            "bytes": sum(seen.file.size for seen in self.packages),
            "kinds": [
                {"type": type, "kind": kind_of(type), "packages": number, "bytes": size}
                for type, number, size in self.kinds
            ],
            "packages": [seen.to_dict() for seen in self.packages],
        }


def inspect(medium: Medium) -> list[Inspected]:
    """What the indexes of a medium claim, and whether the files are there that they list."""
    return [
        Inspected(
            found.name,
            found.bundle,
            found.error,
            tuple(_look(medium, found.bundle, file) for file in found.bundle.contents.files) if found.bundle else (),
        )
        for found in medium.found
    ]


def kind_of(type: str) -> str:
    """A type of package in plain words."""
    return KINDS.get(type, UNKNOWN)


def _look(medium: Medium, bundle: Bundle, file: BundleFile) -> Seen:
    try:
        with medium.open(bundle, file) as incoming:
            reader = PackageReader(incoming)
            file.check_head(reader.head, bundle)
            reader.check_length()
    except FedSpaError as error:
        return Seen(file, error)
    return Seen(file, None, log_words(reader.head.context.checkpoint))
