"""A throwaway federation for development: authority, one server, three members and one auditor, all enrolled.

    python certs/make_dev_certs.py --out certs/dev

Every subject says FOR DEVELOPMENT ONLY, and every key opens with the password below.  Nothing is ever overwritten.
"""

import os
import sys
from pathlib import Path

import click

from fedspallm_secure.app import authority as ca
from fedspallm_secure.app.enrolment import DEFAULT_PREKEYS, make_request
from fedspallm_secure.app.imports import import_files
from fedspallm_secure.app.requests import review
from fedspallm_secure.crypto.certificates import Root
from fedspallm_secure.crypto.fingerprints import check_fingerprint
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.passwords import KdfParameters, Password
from fedspallm_secure.crypto.profiles import DEVELOPMENT, Profiles
from fedspallm_secure.errors import FedSpaError, OutputExists
from fedspallm_secure.storage.authority import open_authority
from fedspallm_secure.storage.documents import write_document
from fedspallm_secure.storage.files import atomic_folder
from fedspallm_secure.storage.home_folder import Identity
from fedspallm_secure.storage.profiles import default_profiles

FEDERATION = "development.example"
PASSWORD = "development"  # noqa: S105  (printed loudly, for it protects nothing)
PARTIES = ("server/hub", "member/north", "member/south", "member/west", "auditor/watch")
KDF = KdfParameters(memory_kib=8 << 10, passes=1, lanes=1)  # cheap: these keys protect nothing
HOSTS = ("localhost", "127.0.0.1", "::1")


def development_profiles() -> str:
    """The packaged profiles, with subjects that say what they are for."""
    text = default_profiles()
    packaged = Profiles.parse(text).organisation
    changed = text.replace(f'"{packaged}"', f'"{DEVELOPMENT}"')
    if Profiles.parse(changed) != Profiles.parse(text).for_development():
        raise AssertionError("certs/profiles.toml has changed its form: adapt this script")
    return changed


def make_federation(folder: Path, parties: tuple[str, ...] = PARTIES) -> None:
    """Make the federation in an empty folder: `ca`, one home for each party, and the documents that went round."""
    password, documents = Password.from_text(PASSWORD), folder / "documents"
    documents.mkdir(mode=0o700)
    ca.init(folder / "ca", FEDERATION, password, development_profiles(), KDF)
    with open_authority(folder / "ca") as authority:

        def compare(root: Root, pinned: bool) -> None:
            check_fingerprint(root.der, authority.root.fingerprint, "the root")

        for name in parties:
            party = Party.parse(name)
            identity = Identity(FEDERATION, party, HOSTS if party.role is Role.SERVER else ())
            prekeys = DEFAULT_PREKEYS if party.role is Role.MEMBER else 0
            request = make_request(folder / party.id, identity, password, prekeys, KDF)
            answer = ca.sign(authority, review(authority, request.encode()), password)
            stem = name.replace("/", "-")
            write_document(documents / f"{stem}.request.fsdoc", request.encode())
            write_document(documents / f"{stem}.enrolment.fsdoc", answer)
        roster = documents / f"{FEDERATION}.roster-1.fsdoc"
        write_document(roster, ca.publish_roster(authority, password).encode())
        for name in parties:
            answer_file = documents / f"{name.replace('/', '-')}.enrolment.fsdoc"
            import_files(folder / Party.parse(name).id, [answer_file, roster], compare)
    write_document(folder / "password", PASSWORD.encode() + b"\n")


@click.command()
@click.option("--out", default="certs/dev", show_default=True, type=click.Path(path_type=Path), help="New folder.")
def main(out: Path) -> None:
    """Make a throwaway federation in a new folder."""
    try:
        if os.path.lexists(out):
            raise OutputExists(
                f"{out} already exists", hint=f"remove it yourself (rm -r {out}), or choose another --out"
            )
        with atomic_folder(out) as work:
            make_federation(work)
    except FedSpaError as error:
        click.echo(f"make_dev_certs: error: {error}\nmake_dev_certs: hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    click.echo(f"*** {DEVELOPMENT} ***  Every key in {out} has the password: {PASSWORD}", err=True)
    click.echo(f"Made: {out}, the federation {FEDERATION} with {', '.join(PARTIES)}")
    click.echo(
        f"""
Try it:
  export FEDPRUNE_PASSWORD_FILE={out}/password
  fedprune certs show {out}/north
  fedprune certs show {out}/ca
  fedprune package seal README.md --to member/south --home {out}/north --out letter.fspkg
  fedprune package inspect letter.fspkg
  fedprune package open letter.fspkg --home {out}/south --out letter.md""",
        err=True,
    )


if __name__ == "__main__":
    main()
