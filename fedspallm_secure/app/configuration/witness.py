"""`witness.toml`: where a witness works, and whose log it cosigns (docs/CONFIGURATION.md)."""

from pathlib import Path
from typing import Annotated

from fedspallm_secure.app.configuration import member
from fedspallm_secure.app.configuration.fields import ANCHOR, own_path, own_path_or_none, said
from fedspallm_secure.app.configuration.reading import Configuration, Section, read_configuration


class Witness(Section):
    """You: your keys, and where your work lies."""

    home: Annotated[Path, own_path()] = said(..., "Your home, made by fedprune certs request.")
    data: Annotated[Path, own_path()] = said("witnessing", "Folder for packages. On a local disk.")
    anchor: Annotated[Path | None, own_path_or_none()] = said("", ANCHOR)


class Server(member.Server):
    """The server whose log you cosign and whose lists you endorse, and how to reach it."""


class WitnessConfig(Configuration):
    """A whole `witness.toml`."""

    witness: Witness
    server: Server


def read_witness(path: Path) -> WitnessConfig:
    """Read a `witness.toml`.  Raises what `read_configuration` raises."""
    return read_configuration(path, WitnessConfig)
