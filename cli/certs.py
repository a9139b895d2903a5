"""`fedprune certs`: what a party does.  Ask to be enrolled, import the answer, renew, refill prekeys."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from fedprune_cli import console, homes
from fedprune_cli.certs_authority import crl, init, revoke, roster, sign
from fedprune_cli.certs_show import show
from fedprune_cli.documents import check_free, dated, next_step, out_option, write
from fedprune_cli.fingerprints import ask_about
from fedprune_cli.homes import home_option, open_warned
from fedprune_cli.parameters import json_option, typed_name
from fedprune_cli.passwords import PasswordSource, password_options

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.sealing import Kem

if TYPE_CHECKING:
    from fedspallm_secure.crypto.certificates import Root
    from fedspallm_secure.protocol.enrolment import Request
    from fedspallm_secure.storage.home import Home

prekeys_option = click.option(
    "--prekeys",
    type=click.IntRange(0, 256),
    help="One-time keys to publish.  [default: 64 for members, who alone have any]",
)


hybrid_option = click.option(
    "--hybrid-only",
    is_flag=True,
    help="Offer no plain X25519 key: whoever has no ML-KEM cannot send to you, and nobody can choose the weaker one.",
)


class CeremonyGroup(click.Group):
    """Lists its commands in the order in which they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands."""
        order = ["init", "request", "sign", "import", "roster", "show", "renew", "prekeys", "crl", "revoke"]
        return sorted(self.commands, key=order.index)


@click.group(cls=CeremonyGroup, epilog="Each command has an example: fedprune certs request -h")
def certs() -> None:
    """Enrol in a federation: keys, certificates, roster and revocation lists, all of it over files.

    \b
    The authority:  fedprune certs init lungs.example --ca ca
    A party:        fedprune certs request --federation lungs.example --role member --name north --home north
    The authority:  fedprune certs sign member-north.request.fsdoc --ca ca
    The party:      fedprune certs import member-north.enrolment.fsdoc --home north
    When all are:   fedprune certs roster --ca ca, and everybody imports it

    Fingerprints are compared by voice, twice: the party's when its request is signed, the root's at the first import.
    Files may travel on any medium.  certs/README.md has the ceremony step by step.
    """


@certs.command(
    epilog="Example: fedprune certs request --federation lungs.example --role server --name hub --host hub.example"
)
@click.option("--federation", required=True, help="Its name, for example lungs.example.")
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]), help="What you are in it.")
@click.option("--name", required=True, help="Your name in it, for example north-hospital.")
@click.option("--host", "hosts", multiple=True, help="DNS name or address of a server; may be given several times.")
@prekeys_option
@hybrid_option
@home_option
@out_option
@password_options
@json_option
def request(
    federation: str,
    role: str,
    name: str,
    hosts: tuple[str, ...],
    prekeys: int | None,
    hybrid_only: bool,
    home: Path,
    out: Path | None,
    password: PasswordSource,
    as_json: bool,
) -> None:
    """Make your keys, and a request to enrol.

    The private keys are made in --home and never leave it; the request goes to the authority.  Running it again
    writes the same request again.
    """
    from fedspallm_secure.app import enrolment
    from fedspallm_secure.storage.home_folder import Identity

    party = typed_name(lambda text: Party(role, text), name, "--name")
    identity = typed_name(lambda text: Identity(text, party, hosts), federation, "--federation and --host")
    kems = _kems(hybrid_only)
    found = enrolment.pending_request(home, identity, prekeys, kems)
    if found is None:
        check_free(out, dated(identity.party, "request", False, 0))
        count = _prekeys(identity.party, prekeys)
        typed = password.read(f"the keys of {identity}", new=True)
        found = enrolment.make_request(home, identity, typed, count, homes.KDF, kems)
    _write_request(found, home, out, as_json)


@certs.command(epilog="Example: fedprune certs renew --home north")
@prekeys_option
@hybrid_option
@home_option
@out_option
@password_options
@json_option
def renew(
    prekeys: int | None, hybrid_only: bool, home: Path, out: Path | None, password: PasswordSource, as_json: bool
) -> None:
    """Make new keys, and a request to certify them.

    It is signed by the new and by the current key.  The current keys go on working until the answer is imported.
    Running it again writes the same request again.
    """
    from fedspallm_secure.app import enrolment

    mine = open_warned(home)
    found = enrolment.pending_renewal(home)
    if found is None:
        check_free(out, dated(mine.party, "request", True, int(time.time())))
        typed = password.read(f"the keys of {mine.identity}")
        found = enrolment.renew(home, typed, _prekeys(mine.party, prekeys), homes.KDF, _kems(hybrid_only))
    _write_request(found, home, out, as_json)


@certs.command("import", epilog="Example: fedprune certs import member-north.enrolment.fsdoc --home north")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--root-fingerprint", help="The root's fingerprint as the authority told you; nobody is asked then.")
@home_option
@json_option
def import_(files: tuple[Path, ...], root_fingerprint: str | None, home: Path, as_json: bool) -> None:
    """Take in the authority's answer, rosters and lists.

    In any order; all of the files are checked before the first is taken in.  At the first import you compare the root's
    fingerprint by voice.
    """
    from fedspallm_secure.app.imports import import_files

    found = import_files(home, files, _root_check(root_fingerprint))
    for one in found:
        homes.warn(one.warnings)
    mine = open_warned(home)
    if as_json:
        files_said = [
            {"file": str(one.path), "kind": one.kind, "changed": one.changed, "said": one.said, **one.facts}
            for one in found
        ]
        console.print_json({"home": str(home), "imported": files_said})
        return
    for one in found:
        seen = f", fingerprint {one.facts['fingerprint']}" if "fingerprint" in one.facts else ""
        click.echo(f"{'Imported' if one.changed else 'Unchanged'}: {console.shown(one.said)}{seen}")
        if one.changed and seen:
            next_step("compare the roster's fingerprint with another party by voice")
    if mine.crl.is_revoked(mine.signing.serial):
        next_step("ask the authority why your certificate was withdrawn; to come back, enrol again in a new --home")
    elif _lacks_roster(mine) and not any(one.kind == "roster" and one.changed for one in found):
        next_step("import the new roster as well: until then neither you nor the others can use your new keys")
    if mine.roster is None:
        next_step("ask the authority for the roster, and import it the same way")


def _lacks_roster(mine: "Home") -> bool:
    """Whether the roster here does not have the home's own key."""
    return mine.roster is not None and all(one.leaf.public != mine.signing.public for one in mine.roster.entries)


@certs.command(epilog="Example: fedprune certs prekeys --home north --count 64")
@click.option("--count", default=64, show_default=True, type=click.IntRange(1, 256), help="How many to make.")
@home_option
@out_option
@password_options
@json_option
def prekeys(count: int, home: Path, out: Path | None, password: PasswordSource, as_json: bool) -> None:
    """Make more one-time keys, for a member.

    Writes the signed bundle that publishes them, and keeps it: fedprune client run sends it with its next offer.
    """
    from fedspallm_secure.app import enrolment

    mine = open_warned(home)
    known = mine.prekeys
    check_free(out, _bundle_name(mine.party, 0 if known is None else known.first + len(known.leaves)))
    bundle = enrolment.refill(home, password.read(f"the keys of {mine.identity}"), count, homes.KDF)
    path = write(out, _bundle_name(mine.party, bundle.first), bundle.encode())
    if as_json:
        console.print_json({"prekeys": str(path), "first": bundle.first, "count": len(bundle.leaves)})
        return
    click.echo(f"Written: {console.shown(path)}, {len(bundle.leaves)} prekeys from index {bundle.first}")
    next_step("the client sends them with its next offer: fedprune client run")


def _bundle_name(party: Party, first: int) -> str:
    return f"{party.role_name}-{party.id}.prekeys-{first}.fsdoc"


def _kems(hybrid_only: bool) -> list[Kem] | None:
    return [Kem.HYBRID] if hybrid_only else None


def _prekeys(party: Party, given: int | None) -> int:
    from fedspallm_secure.app.enrolment import DEFAULT_PREKEYS

    return given if given is not None else DEFAULT_PREKEYS if party.role is Role.MEMBER else 0


def _write_request(found: "Request", home: Path, out: Path | None, as_json: bool) -> None:
    path = write(out, dated(found.party, "request", bool(found.renews), found.created), found.encode())
    if as_json:
        facts: dict[str, Any] = {
            "request": str(path),
            "federation": found.federation,
            "party": str(found.party),
            "renews": found.renews or None,
            "fingerprint": found.fingerprint,
            "home": str(home),
        }
        console.print_json(facts)
        return
    click.echo(f"Written: {console.shown(path)}, fingerprint {found.fingerprint}")
    next_step("send the file to the authority; when it calls you, read out the fingerprint")


def _root_check(expected: str | None) -> "Callable[[Root, bool], None]":
    from fedspallm_secure.crypto.fingerprints import check_fingerprint

    def check(root: "Root", pinned: bool) -> None:
        what = f"the root of {root.federation}"
        if expected is not None:
            check_fingerprint(root.der, expected, what)
        elif not pinned:
            ask_about(
                what,
                root.fingerprint,
                "Ask the authority for it by voice or on paper, not by the way that this file came.",
                "--root-fingerprint",
            )

    return check


for command in (init, sign, revoke, crl, roster, show):
    certs.add_command(command)
