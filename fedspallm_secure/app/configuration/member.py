"""`member.toml`: what a member prunes with, and what it insists on whatever a plan says (docs/CONFIGURATION.md)."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Self

from pydantic import model_validator

from fedspallm_secure.app.configuration import values
from fedspallm_secure.app.configuration.federation import PRUNERS, Model
from fedspallm_secure.app.configuration.fields import (
    ANCHOR,
    by,
    choice,
    each,
    flag,
    member_of,
    optional,
    ordered,
    own_path,
    own_path_or_none,
    own_paths,
    said,
    text,
    whole,
)
from fedspallm_secure.app.configuration.reading import Configuration, Section, read_configuration
from fedspallm_secure.app.configuration.values import Address
from fedspallm_secure.app.privacy.settings import MemberTerms, PrivacySettings
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.protocol.limits import PARTIES_LIMIT
from fedspallm_secure.protocol.rounds.limits import GROUPS_LIMIT
from fedspallm_secure.protocol.rounds.member_own import PRIVATE_PRUNER
from fedspallm_secure.protocol.rounds.plan_parts import SAMPLE_WHOLE
from fedspallm_secure.secagg.thresholds import MIN_HONEST, Profile


class Member(Section):
    """You: your keys, and where your work lies."""

    home: Annotated[Path, own_path()] = said(..., "Your home, made by fedprune certs request.")
    data: Annotated[Path, own_path()] = said("pruning", "Folder for packages and pruned layers. On a local disk.")
    anchor: Annotated[Path | None, own_path_or_none()] = said("", ANCHOR)
    metrics: Annotated[Address | None, by(optional(values.loopback))] = said(
        "", "Figures for Prometheus, on an address of this machine alone such as 127.0.0.1:9464. Empty: none."
    )


class Server(Section):
    """The server whose plans you follow, and how to reach it."""

    id: Annotated[str, by(values.identifier(Role.SERVER))] = said(..., "Its name in the roster.")
    url: Annotated[str, by(values.url(("https",), "https://hub.example.org:8443"))] = said(
        "", "Where it listens. Empty: files are carried by hand, with fedprune bundle."
    )
    proxy: Annotated[str, by(values.url(("http",), "http://proxy.example.org:3128"))] = said(
        "", "A proxy that connections go through, such as http://proxy.example.org:3128. Empty: none."
    )
    upload_rate: Annotated[int, by(values.rate)] = said(
        0, "Bytes per second that you send at most, such as 10 MiB/s. 0: no limit."
    )
    download_rate: Annotated[int, by(values.rate)] = said(0, "Bytes per second that you fetch at most. 0: no limit.")


class Texts(Section):
    """Your private text. It never leaves this machine."""

    files: Annotated[tuple[Path, ...], own_paths()] = said(..., "Files that end in .txt, .jsonl or .parquet.")
    field: Annotated[str, by(text)] = said("text", "Field or column that holds the text.")
    samples: Annotated[int, by(whole(1, 1_000_000))] = said(32, "Calibration windows.")
    seqlen: Annotated[int | None, by(optional(whole(2, 1 << 20)))] = said(
        None, "Tokens of a window. Absent: 2048, or what the model allows if that is less.", "2048"
    )
    seed: Annotated[int, by(whole(0, (1 << 63) - 1))] = said(0, "Decides which windows are taken.")


class Budget(Section):
    """What you can give for a round. The server is told the number of layers, and nothing else of this."""

    layers: Annotated[int, by(whole(0, GROUPS_LIMIT))] = said(0, "Layers you prune in a round at most. 0: all.")
    gpu_memory: Annotated[int | None, by(optional(values.size))] = said(
        "", "Memory of the GPU that may be used, such as 20 GiB; doctor says what pruning takes. Empty: all of it."
    )
    minutes: Annotated[int, by(whole(0, 1_000_000))] = said(
        0, "Minutes that pruning may take; fewer layers are offered if all would take longer. 0: no limit."
    )


class Policy(Section):
    """What you insist on. A plan that breaks a rule is declined, and nothing of yours is sent. The server is told these
    rules when you offer to take part, so that it begins no round that you would decline."""

    colluders: Annotated[int, by(whole(0, PARTIES_LIMIT))] = said(
        1, "Members, of the whole federation, that may work with the server unnoticed."
    )
    least_cohort: Annotated[int, by(whole(MIN_HONEST, PARTIES_LIMIT))] = said(
        3, "Fewest members in a cohort that you are in."
    )
    profiles: Annotated[tuple[Profile, ...], by(each(member_of(Profile), least=1))] = said(
        ["three-trip"], "Ways you accept to make sure that all answer for one list."
    )
    witnesses: Annotated[tuple[str, ...], by(ordered(values.identifier(Role.WITNESS)))] = said(
        [], "Witnesses you believe, by name. For the profile two-trip-witnessed."
    )
    dishonest: Annotated[int, by(whole(0, PARTIES_LIMIT))] = said(0, "How many of them may lie.")
    key_holders: Annotated[tuple[str, ...], by(ordered(values.identifier(Role.KEY_HOLDER)))] = said(
        [], "Who may decrypt sums that you are in, by name. For the profile one-trip."
    )
    sample_least: Annotated[int, by(whole(1, SAMPLE_WHOLE))] = said(
        1, "Thousandths of a sum that a key holder has to add up again at least: so surely a false sum is noticed."
    )
    sample_most: Annotated[int, by(whole(1, SAMPLE_WHOLE))] = said(
        10, "At most: it could read so much of your own vector."
    )
    log_policy: Annotated[Path | None, own_path_or_none()] = said(
        "", "File that says whose log and cosignatures you ask for, a C2SP tlog-policy. Empty: nobody's."
    )
    beacons: Annotated[tuple[str, ...], by(ordered(values.identifier(Role.WITNESS)))] = said(
        [], "Witnesses who all have to sign the opening of a round, so that the server cannot choose its seed."
    )
    models: Annotated[tuple[str, ...], by(ordered(values.sha256))] = said(
        [], "Models you prune, each as the digest that fedprune inspect shows. Empty: the one under [model]."
    )
    software: Annotated[tuple[str, ...], by(ordered(values.software))] = said(
        [], "Programs a server may run, such as fedspallm-secure/0.1, which stands for 0.1.2 too. Empty: any."
    )
    pruners: Annotated[tuple[str, ...], by(ordered(choice(*PRUNERS)))] = said(
        [], "Pruners you use: sparsegpt, wanda, magnitude. Empty: any."
    )
    horizon: Annotated[int, by(values.some_duration)] = said("90d", "How far ahead the end of a round may lie.")
    upload_limit: Annotated[int, by(values.size)] = said("1 TiB", "Bytes you send in a round at most.")
    counts_to: Annotated[tuple[Role, ...], by(each(member_of(Role)))] = said(
        ["server", "auditor"],
        "Who may be told the keep counts; a plan that names others is declined. This version tells the server alone.",
    )
    pinned_base: Annotated[bool, by(flag)] = said(
        True, "Whether a round may begin from the public model, and not only from a result that you have seen."
    )
    epochs: Annotated[int, by(whole(1, 1_000_000))] = said(
        16, "How often one matrix may be released, over all rounds. Every time tells a little more."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.dishonest > len(self.witnesses):
            raise ValueError(f"dishonest = {self.dishonest}: there are {len(self.witnesses)} witnesses")
        if Profile.ONE_TRIP in self.profiles and not self.key_holders:
            raise ValueError("profiles: one-trip needs key_holders")
        if self.sample_least > self.sample_most:
            raise ValueError("sample_least is more than sample_most")
        if Profile.WITNESSED in self.profiles and self.dishonest >= len(self.witnesses):
            raise ValueError("profiles: two-trip-witnessed needs more witnesses than may be dishonest")
        return self


class Privacy(Section):
    """Differential privacy of your records, which are calibration windows. It needs pip install
    'fedspallm-secure[dp]'. With epsilon you prune with noise, by wanda alone, and decline plans that name another
    pruner or cost more than is left. No plan decides any of this."""

    epsilon: Annotated[float | None, by(optional(values.epsilon))] = said(
        None, "What all your rounds together may cost: 8 is a weak promise, 1 a strong one. Absent: no noise.", "8"
    )
    delta: Annotated[float, by(values.delta)] = said(
        "1e-6", "Chance that the promise does not hold; far below 1 in samples."
    )
    rounds: Annotated[int, by(whole(1, 1_000_000))] = said(
        1, "Rounds that it has to be enough for: the more, the more noise in each. Plans after them are declined."
    )
    clip: Annotated[float, by(values.clip)] = said(
        "1", "Longest vector of one record, in units of a window of random tokens. Do not tune it by your text."
    )

    def terms(self, records: int) -> MemberTerms | None:
        """What is promised about so many records; None without noise."""
        if self.epsilon is None:
            return None
        return MemberTerms(PrivacySettings(self.epsilon, self.delta, self.clip), self.rounds, records)


class Compute(Section):
    """This machine."""

    device: Annotated[str, by(choice("auto", "cpu", "cuda", "mps"))] = said(
        "auto", "auto, cpu, cuda or mps. auto: CUDA if present, then MPS, then CPU."
    )
    dtype: Annotated[str, by(choice("auto", "float32", "bfloat16", "float16"))] = said(
        "auto", "Of the forward pass: auto, float32, bfloat16 or float16. auto: float32 on a CPU."
    )
    activation_budget: Annotated[int, by(values.size)] = said(
        "4 GiB", "Hidden states kept in memory; more than that spills to disk."
    )
    blocks: Annotated[str | None, by(optional(text))] = said(
        "", "Path of the decoder blocks, such as model.layers, where they cannot be told apart by themselves."
    )
    damping: Annotated[Fraction, by(values.damping)] = said("0.01", "SparseGPT: share of the mean Hessian diagonal.")


class MemberConfig(Configuration):
    """A whole `member.toml`."""

    member: Member
    server: Server
    model: Model
    texts: Texts
    budget: Budget = said({}, "")
    policy: Policy = said({}, "")
    privacy: Privacy = said({}, "")
    compute: Compute = said({}, "")

    @model_validator(mode="after")
    def _check_privacy(self) -> Self:
        if self.terms is None:
            return self
        if self.privacy.delta * self.texts.samples >= 1:
            raise ValueError(
                f"[privacy] delta = {self.privacy.delta:g} and [texts] samples = {self.texts.samples}: publishing one "
                f"whole record would satisfy it; choose far less than {1 / self.texts.samples:g}"
            )
        if self.policy.pruners and PRIVATE_PRUNER not in self.policy.pruners:
            raise ValueError("[privacy] epsilon prunes by wanda alone, and [policy] pruners does not allow it")
        return self

    @property
    def terms(self) -> MemberTerms | None:
        """What the member promises about its records; None without noise."""
        return self.privacy.terms(self.texts.samples)


def read_member(path: Path) -> MemberConfig:
    """Read a `member.toml`.  Raises what `read_configuration` raises."""
    return read_configuration(path, MemberConfig)
