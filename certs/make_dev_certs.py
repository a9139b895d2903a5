"""A throwaway federation for development: authority, one server, three members and one auditor, all enrolled.

    python certs/make_dev_certs.py --out certs/dev

Every subject says FOR DEVELOPMENT ONLY, and every key opens with the password below.  Nothing is ever overwritten.
"""

import os
import sys
from pathlib import Path

import click

from fedspallm_secure.app import development
from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.crypto.profiles import DEVELOPMENT
from fedspallm_secure.errors import FedSpaError, OutputExists
from fedspallm_secure.storage.documents import write_document
from fedspallm_secure.storage.files import atomic_folder

FEDERATION = "development.example"
PASSWORD = "development"  # noqa: S105  (printed loudly, for it protects nothing)
PARTIES = ("server/hub", "member/north", "member/south", "member/west", "auditor/watch")


def make_federation(folder: Path, parties: tuple[str, ...] = PARTIES) -> None:
    """Make the federation in an empty folder, and the file with its password."""
    development.make_federation(folder, FEDERATION, parties, Password.from_text(PASSWORD))
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
