"""Asking a person whether a fingerprint was compared; nothing that is not a person can say yes."""

import sys

import click

from fedspallm_secure.errors import FingerprintMismatch, UsageError


def at_terminal() -> bool:
    """Whether there is a person to ask; a program that was started without any input has none."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def ask_about(what: str, fingerprint: str, how: str, option: str) -> None:
    """Show a fingerprint and ask.  how: where the other one comes from; option: what says it without a terminal.

    Raises FingerprintMismatch when the answer is no, UsageError where nobody can be asked.
    """
    if not at_terminal():
        raise UsageError(
            f"nobody can be asked whether the fingerprint of {what} is right",
            hint=f"compare it by voice first, then repeat it here: {option} '12345 ... 67890'",
        )
    click.echo(f"\nFingerprint of {what}:\n\n    {click.style(fingerprint, bold=True)}\n", err=True)
    click.echo(how, err=True)
    if not click.confirm("Are all eight groups the same?", default=False, err=True):
        raise FingerprintMismatch(f"the fingerprint of {what} was not confirmed")
