"""`key-holder.toml`: whose sums a key holder decrypts, and under what conditions (docs/CONFIGURATION.md)."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import model_validator

from fedspallm_secure.app.configuration import member, values
from fedspallm_secure.app.configuration.fields import (
    ANCHOR,
    by,
    choice,
    each,
    member_of,
    ordered,
    own_path,
    own_path_or_none,
    said,
    whole,
)
from fedspallm_secure.app.configuration.reading import Configuration, Section, read_configuration
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.he.parameters import MEMBERS_LIMIT
from fedspallm_secure.protocol.limits import PARTIES_LIMIT
from fedspallm_secure.protocol.rounds.plan_parts import SAMPLE_WHOLE
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import MIN_HONEST


class Holder(Section):
    """You: your home, and where your work lies."""

    home: Annotated[Path, own_path()] = said(..., "Your home, made by fedprune certs request.")
    data: Annotated[Path, own_path()] = said("decrypting", "Folder for packages and sums. On a local disk.")
    anchor: Annotated[Path | None, own_path_or_none()] = said("", ANCHOR)


class Server(member.Server):
    """The server whose sums you decrypt, and how to reach it."""


class Keys(Section):
    """The keys that you make, one for each round. The server's federation.toml has to fit them."""

    members: Annotated[int, by(whole(2, MEMBERS_LIMIT))] = said(..., "Members of a cohort at most.")
    strategy: Annotated[Strategy, by(member_of(Strategy))] = said(
        "fedspallm", "What members send. fedspallm: keep counts and kept sums; votes: keep counts alone."
    )
    sum_bits: Annotated[int, by(choice(32, 16))] = said(32, "Bits of a kept sum: 32, or 16.")
    stock: Annotated[int, by(whole(1, 8))] = said(2, "Keys that lie ready at the server.")


class Policy(Section):
    """What you insist on. Nothing is decrypted for a plan that breaks a rule."""

    colluders: Annotated[int, by(whole(0, PARTIES_LIMIT))] = said(
        1, "Members that may work with the server unnoticed. A sum is of at least three more."
    )
    least_cohort: Annotated[int, by(whole(MIN_HONEST, PARTIES_LIMIT))] = said(3, "Fewest members in any cohort.")
    sample_least: Annotated[int, by(whole(1, SAMPLE_WHOLE))] = said(
        1,
        "Thousandths of every sum that you add up again at least, from single vectors. A server that changes one chunk "
        "is caught with that probability; it learns nothing by it.",
    )
    sample_most: Annotated[int, by(whole(1, SAMPLE_WHOLE))] = said(
        10, "At most: of so much of every single vector you could read what is in it, since you have the key."
    )
    software: Annotated[tuple[str, ...], by(ordered(values.software))] = said(
        [], "Programs a server may run, such as fedspallm-secure/0.1, which stands for 0.1.2 too. Empty: any."
    )
    horizon: Annotated[int, by(values.some_duration)] = said("90d", "How far ahead the end of a round may lie.")
    counts_to: Annotated[tuple[Role, ...], by(each(member_of(Role)))] = said(
        ["server", "auditor"],
        "Who may be told the keep counts; a plan that names others is declined. This version tells the server alone.",
    )
    epochs: Annotated[int, by(whole(1, 1_000_000))] = said(16, "How often one matrix may be released, over all rounds.")

    @model_validator(mode="after")
    def _check_sample(self) -> Self:
        if self.sample_least > self.sample_most:
            raise ValueError("sample_least is more than sample_most")
        return self


class KeyHolderConfig(Configuration):
    """A whole `key-holder.toml`."""

    holder: Holder
    server: Server
    keys: Keys
    policy: Policy = said({}, "")


def read_key_holder(path: Path) -> KeyHolderConfig:
    """Read a `key-holder.toml`.  Raises what `read_configuration` raises."""
    return read_configuration(path, KeyHolderConfig)
