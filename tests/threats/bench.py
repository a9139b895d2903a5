"""How the tests of the threat model deliver something and see that it was refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedspallm_secure.app.packages import FILES
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.receiving import Awaited
from tests.attacks.stage import RECIPIENT, Parts, Stage


def deliver(stage: Stage, package: bytes | Parts, to: str = RECIPIENT, awaited: Awaited = FILES) -> bytes:
    """Put a package on the medium and open it as `to`."""
    path = stage.medium / "p.fspkg"
    path.write_bytes(package.join() if isinstance(package, Parts) else package)
    return stage.open(path, to, awaited=awaited)


@contextmanager
def refused(*errors: type[FedSpaError], untouched: Path) -> Iterator[list[str]]:
    """What happens in the body ends with exactly one of these classes and changes nothing in the folder `untouched`.

    Yields a list that holds the message afterwards.
    """
    before, said = _contents(untouched), []
    with pytest.raises(FedSpaError) as caught:
        yield said
    said.append(str(caught.value))
    assert type(caught.value) in errors, f"{type(caught.value).__name__}: {caught.value}"
    assert _contents(untouched) == before


def refuses(
    stage: Stage,
    package: bytes | Parts,
    *errors: type[FedSpaError],
    to: str = RECIPIENT,
    awaited: Awaited = FILES,
) -> str:
    """`to` refuses the package with one of these classes, and nothing lies about; returns the message."""
    with refused(*errors, untouched=stage.out) as said:
        deliver(stage, package, to, awaited)
    return said[0]


def not_sealed(stage: Stage, *errors: type[FedSpaError], recipient: str = RECIPIENT, kem: Kem = Kem.X25519) -> None:
    """The sender refuses to make a package, with one of these classes, and none is there."""
    with pytest.raises(FedSpaError) as caught:
        stage.seal(b"x", recipient=recipient, kem=kem)
    assert type(caught.value) in errors, f"{type(caught.value).__name__}: {caught.value}"
    assert not list(stage.home.glob("*made*"))


def _contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but databases and locks, which change when somebody looks."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path): path.read_bytes() for path in files if ".sqlite" not in path.name and ".lock" not in path.name}
