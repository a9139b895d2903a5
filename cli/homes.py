"""Options that name a party's home or an authority's folder, and the warnings that come with opening one."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from fedprune_cli import console

from fedspallm_secure.crypto.passwords import DEFAULT_KDF

if TYPE_CHECKING:
    from fedspallm_secure.storage.authority import Authority
    from fedspallm_secure.storage.home import Home

KDF = DEFAULT_KDF  # what a guess at the password of new key files costs

home_option = click.option(
    "--home",
    envvar="FEDPRUNE_HOME",
    show_envvar=True,
    required=True,
    type=click.Path(path_type=Path),
    help="Your folder with keys, certificates and roster.",
)
ca_option = click.option(
    "--ca",
    envvar="FEDPRUNE_CA",
    show_envvar=True,
    required=True,
    type=click.Path(path_type=Path),
    help="The authority's folder.",
)


def warn(sentences: Iterable[str]) -> None:
    """One line each on stderr."""
    for sentence in sentences:
        click.echo(f"fedprune: warning: {console.shown(sentence)}", err=True)


def open_warned(path: Path) -> "Home":
    """Open a home and say what in it will end soon.  Raises what `open_home` raises."""
    from fedspallm_secure.app.expiry import home_warnings
    from fedspallm_secure.storage.home import open_home

    home = open_home(path)
    warn(home_warnings(home, int(time.time())))
    return home


@contextmanager
def authority_warned(path: Path) -> "Iterator[Authority]":
    """Open an authority and say what in it will end soon.  Raises what `open_authority` raises."""
    from fedspallm_secure.app.expiry import authority_warnings
    from fedspallm_secure.storage.authority import open_authority

    with open_authority(path) as authority:
        warn(authority_warnings(authority, int(time.time())))
        yield authority
