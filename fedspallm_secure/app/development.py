"""A throwaway federation on disk: authority, homes and documents, for trying things out.

Every subject says FOR DEVELOPMENT ONLY, and guessing its password costs next to nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fedspallm_secure.app import authority as ca
from fedspallm_secure.app.enrolment import DEFAULT_PREKEYS, make_request
from fedspallm_secure.app.imports import import_files
from fedspallm_secure.app.requests import review
from fedspallm_secure.crypto.certificates import Root
from fedspallm_secure.crypto.fingerprints import check_fingerprint
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.passwords import KdfParameters, Password
from fedspallm_secure.crypto.profiles import DEVELOPMENT, Profiles
from fedspallm_secure.storage.authority import open_authority
from fedspallm_secure.storage.documents import write_document
from fedspallm_secure.storage.home_folder import Identity
from fedspallm_secure.storage.profiles import default_profiles

CHEAP: Final = KdfParameters(memory_kib=8 << 10, passes=1, lanes=1)  # these keys protect nothing
HOSTS: Final = ("localhost", "127.0.0.1", "::1")


def development_profiles() -> str:
    """The packaged profiles, with subjects that say what they are for."""
    text = default_profiles()
    packaged = Profiles.parse(text).organisation
    changed = text.replace(f'"{packaged}"', f'"{DEVELOPMENT}"')
    if Profiles.parse(changed) != Profiles.parse(text).for_development():
        raise AssertionError("certs/profiles.toml has changed its form: adapt this function")
    return changed


def make_federation(folder: Path, federation: str, parties: Sequence[str], password: Password) -> None:
    """Make the federation in an empty folder: `ca`, one home for each party, and the documents that went round.

    parties: ROLE/ID; servers are at loopback addresses.  Raises what the commands raise.
    """
    documents = folder / "documents"
    documents.mkdir(mode=0o700)
    ca.init(folder / "ca", federation, password, development_profiles(), CHEAP)
    with open_authority(folder / "ca") as authority:

        def compare(root: Root, pinned: bool) -> None:
            check_fingerprint(root.der, authority.root.fingerprint, "the root")

        for name in parties:
            party = Party.parse(name)
            identity = Identity(federation, party, HOSTS if party.role is Role.SERVER else ())
            prekeys = DEFAULT_PREKEYS if party.role is Role.MEMBER else 0
            request = make_request(folder / party.id, identity, password, prekeys, CHEAP)
            answer = ca.sign(authority, review(authority, request.encode()), password)
            stem = name.replace("/", "-")
            write_document(documents / f"{stem}.request.fsdoc", request.encode())
            write_document(documents / f"{stem}.enrolment.fsdoc", answer)
        roster = documents / f"{federation}.roster-1.fsdoc"
        write_document(roster, ca.publish_roster(authority, password).encode())
        for name in parties:
            answer_file = documents / f"{name.replace('/', '-')}.enrolment.fsdoc"
            import_files(folder / Party.parse(name).id, [answer_file, roster], compare)
