"""How long work tells how far it is: one small interface, so that the library never prints."""

from typing import Protocol


class Progress(Protocol):
    """Receives progress; the command line draws it, tests record it."""

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        """`task` has finished `done` of `total` units.  The task is over when the two are equal."""

    def say(self, line: str) -> None:
        """Something a person following along wants to read once."""


class Silent:
    """Says nothing."""

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        """Ignore."""

    def say(self, line: str) -> None:
        """Ignore."""
