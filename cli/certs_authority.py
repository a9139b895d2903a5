"""`fedprune certs`: what the authority does.  Make the root, sign requests, withdraw, publish lists and rosters."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from fedprune_cli import console, homes
from fedprune_cli.certs_show import print_rows
from fedprune_cli.documents import check_free, dated, next_step, out_option, write
from fedprune_cli.fingerprints import ask_about, at_terminal
from fedprune_cli.homes import authority_warned, ca_option
from fedprune_cli.parameters import json_option, typed_name
from fedprune_cli.passwords import PasswordSource, password_options

from fedspallm_secure.crypto.identity import Party, check_federation
from fedspallm_secure.crypto.revocation import Reason

if TYPE_CHECKING:
    from fedspallm_secure.app.requests import Review
    from fedspallm_secure.crypto.revocation import RevocationList
    from fedspallm_secure.storage.authority import Authority
    from fedspallm_secure.storage.authority_register import Issued

_REQUEST_LIMIT = 1 << 20  # bytes

after_option = click.option(
    "--after",
    default=0,
    type=click.IntRange(0, 10**9),
    help="Number of the newest one that anybody has, where --ca was put back from an older backup.",
)


@click.command(epilog="Example: fedprune certs init lungs.example --ca ca")
@click.argument("federation")
@ca_option
@click.option("--profiles", type=click.Path(path_type=Path), help="Your profiles.toml.  [default: the packaged one]")
@password_options
@json_option
def init(federation: str, ca: Path, profiles: Path | None, password: PasswordSource, as_json: bool) -> None:
    """Make the authority of FEDERATION.

    That is its root key, root certificate and first revocation list.  Do it on a machine without a network, and
    keep the folder and its password apart.
    """
    from fedspallm_secure.app import authority
    from fedspallm_secure.storage.authority import check_absent, open_authority
    from fedspallm_secure.storage.profiles import read_profiles

    typed_name(check_federation, federation, "FEDERATION")
    check_absent(ca, federation)
    text = None if profiles is None else read_profiles(profiles)
    authority.init(ca, federation, password.read(f"the root key of {federation}", new=True), text, homes.KDF)
    with open_authority(ca) as made:
        root = made.root
    if as_json:
        console.print_json(
            {"ca": str(ca), "federation": federation, "fingerprint": root.fingerprint, "not_after": root.not_after}
        )
        return
    click.echo(f"Made: {console.shown(ca)}, authority of {federation}, root fingerprint {root.fingerprint}")
    next_step("tell every party this fingerprint by voice or on paper, and sign their requests: fedprune certs sign")


@click.command(epilog="Example: fedprune certs sign member-north.request.fsdoc --ca ca")
@click.argument("request", type=click.Path(path_type=Path))
@ca_option
@click.option("--fingerprint", help="The fingerprint as the party read it out to you; nobody is asked then.")
@out_option
@password_options
@json_option
def sign(
    request: Path, ca: Path, fingerprint: str | None, out: Path | None, password: PasswordSource, as_json: bool
) -> None:
    """Sign a party's REQUEST, once its fingerprint was compared.

    You compare it with the party by voice.  The same request gets the same certificates again.
    """
    from fedspallm_secure.app import authority
    from fedspallm_secure.app.requests import review
    from fedspallm_secure.crypto.fingerprints import check_fingerprint
    from fedspallm_secure.storage.documents import read_document

    with authority_warned(ca) as opened:
        found = review(opened, read_document(request, _REQUEST_LIMIT))
        party = found.request.party
        if fingerprint is not None:
            check_fingerprint(found.request.statement.digest, fingerprint, f"the request of {party}")
        name = dated(party, "enrolment", found.renews, found.request.created)
        answer = authority.repeat_answer(opened, found)
        if found.previous is not None:
            homes.warn([_enrolled_before(found.previous)])
        if answer is None:
            check_free(out, name)
            if fingerprint is None and found.answered is None:
                _ask(found, opened)
            answer = authority.sign(opened, found, password.read(f"the root key of {opened.federation}"))
    path = write(out, name, answer)
    again, until = found.answered is not None, authority.valid_until(answer)
    if as_json:
        facts: dict[str, Any] = {"enrolment": str(path), "party": str(party), "renewal": found.renews, "again": again}
        facts |= {"enrolled_before": None if found.previous is None else _previous_facts(found.previous)}
        console.print_json({**facts, "fingerprint": found.request.fingerprint, "not_after": until})
        return
    click.echo(
        f"{'Signed before' if again else 'Signed'}: {console.shown(path)}, for {party}, valid until {_day(until)}"
    )
    next_step("send it back; when all parties are enrolled: fedprune certs roster")


def _enrolled_before(previous: "Issued") -> str:
    """Said to the operator: somebody who is not the same party may ask for its name."""
    how = f"its certificate, valid until {_day(previous.not_after)}, "
    if previous.revoked is None:
        how += "has ended"
    else:
        how += f"was withdrawn on {_day(previous.revoked)}, {previous.reason.value if previous.reason else ''}"
    return f"{previous.party} was enrolled before: {how}; make sure that this request is from the same party"


def _previous_facts(previous: "Issued") -> dict[str, Any]:
    reason = None if previous.reason is None else previous.reason.value
    return {"not_after": previous.not_after, "withdrawn": previous.revoked, "reason": reason}


def _ask(found: "Review", opened: "Authority") -> None:
    """Show what is asked for, and have the fingerprint compared.  Raises FingerprintMismatch or UsageError."""
    from fedspallm_secure.app.showing_files import show_request

    request = found.request
    if at_terminal():
        wish = "renew its keys" if found.renews else "be enrolled"
        click.echo(f"{request.party} asks to {wish} in {opened.federation}:\n", err=True)
        rows = show_request(request, int(time.time())).rows
        print_rows([row for row in rows if row.label != "fingerprint"], err=True)
    ask_about(
        f"the request of {request.party}",
        request.fingerprint,
        "Call the party at a number that you know, and have it read out its own.",
        "--fingerprint",
    )


@click.command(epilog="Example: fedprune certs revoke member/north --reason keyCompromise --ca ca")
@click.argument("party", metavar="ROLE/ID")
@click.option("--reason", type=click.Choice([reason.value for reason in Reason]), default=Reason.UNSPECIFIED.value)
@ca_option
@out_option
@password_options
@json_option
def revoke(party: str, reason: str, ca: Path, out: Path | None, password: PasswordSource, as_json: bool) -> None:
    """Withdraw all certificates of a party, for good.

    Writes the revocation list that says so; everybody needs it, and a new roster.
    """
    from fedspallm_secure.app import authority
    from fedspallm_secure.crypto.revocation import RevocationList

    with authority_warned(ca) as opened:
        who = typed_name(Party.parse, party, "ROLE/ID")
        if authority.withdraws(opened, who):  # or else the newest list is written again
            check_free(out, _list_name(opened, authority.next_list_number(opened)))
        typed = password.read(f"the root key of {opened.federation}")
        count, der = authority.revoke(opened, who, Reason(reason), typed)
        found = RevocationList.parse(der, opened.root)
        path = _write_list(opened, found, out)
    if as_json:
        console.print_json({"party": party, "withdrawn": count, **_list_facts(found, path)})
        return
    said = f"{count} certificates of {party}" if count else f"nothing, the certificates of {party} were already"
    click.echo(f"Withdrawn: {said}")
    click.echo(_list_line(found, path))
    next_step("send the list to everybody today, then make a new roster: fedprune certs roster")


@click.command(epilog="Example: fedprune certs crl --ca ca --days 45")
@click.option("--days", type=click.IntRange(1, 90), help="Until the next one is due.  [default: as the profiles say]")
@after_option
@ca_option
@out_option
@password_options
@json_option
def crl(days: int | None, after: int, ca: Path, out: Path | None, password: PasswordSource, as_json: bool) -> None:
    """Write a new revocation list, with the next number.

    Everybody needs one before the last one ends.
    """
    from fedspallm_secure.app import authority
    from fedspallm_secure.crypto.revocation import RevocationList

    with authority_warned(ca) as opened:
        check_free(out, _list_name(opened, authority.next_list_number(opened, after)))
        der = authority.publish_list(opened, password.read(f"the root key of {opened.federation}"), days, after)
        found = RevocationList.parse(der, opened.root)
        path = _write_list(opened, found, out)
    if as_json:
        console.print_json(_list_facts(found, path))
        return
    click.echo(_list_line(found, path))
    next_step("send it to everybody: fedprune certs import")


@click.command(epilog="Example: fedprune certs roster --ca ca")
@after_option
@ca_option
@out_option
@password_options
@json_option
def roster(after: int, ca: Path, out: Path | None, password: PasswordSource, as_json: bool) -> None:
    """Write the next version of the roster.

    It names all parties whose certificates are good now.
    """
    from fedspallm_secure.app import authority
    from fedspallm_secure.crypto.fingerprints import fingerprint

    with authority_warned(ca) as opened:
        check_free(out, _roster_name(opened, authority.next_roster_version(opened, after)))
        made = authority.publish_roster(opened, password.read(f"the root key of {opened.federation}"), after)
        path = write(out, _roster_name(opened, made.version), made.encode())
    seen, parties = fingerprint(made.statement.digest), [str(entry.party) for entry in made.entries]
    if as_json:
        facts = {"roster": str(path), "version": made.version, "hash": made.hash, "fingerprint": seen}
        console.print_json({**facts, "parties": parties, "crl_number": made.crl_number})
        return
    size = "1 party" if len(parties) == 1 else f"{len(parties)} parties"
    click.echo(f"Written: {console.shown(path)}, version {made.version}, {size}, fingerprint {seen}")
    next_step("send it to everybody: fedprune certs import; any two parties compare the fingerprint by voice")


def _write_list(opened: "Authority", found: "RevocationList", out: Path | None) -> Path:
    from fedspallm_secure.storage.pem import REVOCATION_LIST, encode_pem

    return write(out, _list_name(opened, found.number), encode_pem(REVOCATION_LIST, found.der))


def _list_name(opened: "Authority", number: int) -> str:
    return f"{opened.federation}.crl-{number}.pem"


def _roster_name(opened: "Authority", version: int) -> str:
    return f"{opened.federation}.roster-{version}.fsdoc"


def _list_line(found: "RevocationList", path: Path) -> str:
    return f"Written: {console.shown(path)}, list {found.number}, the next one is due by {_day(found.next_update)}"


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _list_facts(found: "RevocationList", path: Path) -> dict[str, Any]:
    serials = [f"{entry.serial:x}" for entry in found.entries]
    return {"crl": str(path), "number": found.number, "next_update": found.next_update, "revoked": serials}
