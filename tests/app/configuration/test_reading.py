"""`federation.toml` and `member.toml`: what is read, what is refused, and how a mistake is told."""

import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from fedspallm_secure.app.configuration import reading
from fedspallm_secure.app.configuration.federation import PRUNERS, FederationConfig, read_federation
from fedspallm_secure.app.configuration.member import MemberConfig, read_member
from fedspallm_secure.app.configuration.values import Address
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import HostileFile, LimitExceeded, MissingInput, UsageError
from fedspallm_secure.pruning.patterns import NofM, Unstructured
from fedspallm_secure.pruning.strategies import Group, Strategy
from fedspallm_secure.secagg.thresholds import Profile

FEDERATION = {"server": 'home = "hub"', "model": 'path = "models/llama"'}
MEMBER = {
    "member": 'home = "north"',
    "server": 'id = "hub"',
    "model": 'path = "/models/llama"',
    "texts": 'files = ["north.jsonl", "more/north.txt"]',
}


def spelled(base: dict[str, str], **more: str) -> str:
    """The file with these lines under the headings named."""
    sections = {name: [base[name]] if name in base else [] for name in {**base, **more}}
    for name, lines in more.items():
        sections[name].append(lines)
    return "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items())


def federation(folder: Path, **more: str) -> FederationConfig:
    path = folder / "federation.toml"
    path.write_text(spelled(FEDERATION, **more))
    return read_federation(path)


def member(folder: Path, **more: str) -> MemberConfig:
    path = folder / "member.toml"
    path.write_text(spelled(MEMBER, **more))
    return read_member(path)


def told(read: Callable[[], object], *words: str) -> str:
    """The message of the UsageError that `read` ends with: one line in which all of these words stand."""
    with pytest.raises(UsageError) as found:
        read()
    message = str(found.value)
    for word in words:
        assert word in message, message
    assert found.value.hint
    assert "\n" not in message
    return message


def test_a_federation_by_its_defaults(tmp_path):
    found = federation(tmp_path)
    assert found.file == tmp_path / "federation.toml"
    assert (found.server.home, found.server.data) == (tmp_path / "hub", tmp_path / "rounds")
    assert found.server.listen == (Address("0.0.0.0", 8443), Address("::", 8443))
    assert found.server.metrics is None
    assert found.model.path == tmp_path / "models/llama"
    assert found.pruning.targets == (Unstructured(Fraction(1, 2)),)
    assert (found.pruning.strategy, found.pruning.compare) == (Strategy.FEDSPALLM, Group.MATRIX)
    rounds = found.rounds
    assert (rounds.members, rounds.min_cohort, rounds.spread, rounds.colluders) == ((), 3, False, None)
    assert (rounds.profile, rounds.sum_bits, rounds.seed, rounds.attempts) == (Profile.THREE_TRIP, 32, None, 2)
    assert (rounds.open_after, rounds.witnesses, rounds.counts_to) == (0, (), (Role.SERVER,))
    assert found.deadlines.contribution == 6 * 3600
    assert (found.limits.member_bytes, found.limits.upload_rate, found.limits.archive) == (1 << 40, 0, True)


def test_a_federation_with_everything_said(tmp_path):
    found = federation(
        tmp_path,
        server='data = "/srv/rounds"\nlisten = ["hub.example.org:0"]\nmetrics = "[::1]:9464"',
        pruning='schedule = ["0.3", "1/2"]\npruner = "wanda"\nstrategy = "votes"\ncompare = "row"',
        rounds='members = ["west", "north", "south", "east"]\nmin_cohort = 4\nspread = true\ncolluders = 1\n'
        'profile = "two-trip-witnessed"\nsum_bits = 16\nseed = 7\nattempts = 1\nopen_after = "90m"\n'
        'witnesses = ["wyn", "wop"]\ndishonest = 1\nbeacons = ["wop"]\ncounts_to = ["server", "member"]',
        deadlines='contribution = "2w"\nendorsement = "1 d"\nunmask = "45s"\nabort = "2d"',
        limits='member_bytes = "1.5 GiB"\nupload_rate = "10 MiB/s"\nfree_space = 4096\narchive = false',
    )
    assert found.server.data == Path("/srv/rounds")
    assert found.server.listen == (Address("hub.example.org", 0),)
    assert str(found.server.metrics) == "[::1]:9464"
    assert found.pruning.targets == (Unstructured(Fraction(3, 10)), Unstructured(Fraction(1, 2)))
    assert found.rounds.members == ("east", "north", "south", "west")
    assert found.rounds.witnesses == ("wop", "wyn")
    assert found.rounds.seed == seed_bytes(7)
    assert found.rounds.counts_to == (Role.SERVER, Role.MEMBER)
    assert found.rounds.open_after == 5400
    deadlines = found.deadlines
    assert (deadlines.contribution, deadlines.endorsement, deadlines.unmask) == (14 * 86400, 86400, 45)
    assert (found.limits.member_bytes, found.limits.upload_rate) == (3 << 29, 10 << 20)


def test_a_pattern_is_a_target(tmp_path):
    assert federation(tmp_path, pruning='pattern = "2:4"').pruning.targets == (NofM(2, 4),)


def test_a_member_with_a_privacy_budget(tmp_path):
    assert member(tmp_path).terms is None
    assert member(tmp_path, privacy='delta = "1e-9"\nrounds = 3\nclip = 2').terms is None  # no epsilon, no noise
    found = member(tmp_path, privacy="epsilon = 8").terms
    assert found is not None
    assert found.to_dict() == {"epsilon": 8.0, "delta": 1e-6, "clip": 1.0, "rounds": 1, "records": 32}
    found = member(tmp_path, privacy='epsilon = "0.5"\ndelta = 1e-9\nrounds = 3\nclip = 2', texts="samples = 8").terms
    assert found is not None
    assert found.to_dict() == {"epsilon": 0.5, "delta": 1e-9, "clip": 2.0, "rounds": 3, "records": 8}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        *(
            (f"epsilon = {value}", "[privacy] epsilon")
            for value in ("0", "-1", "101", "nan", "inf", "true", '"x"', "[]")
        ),
        *((f"epsilon = 8\ndelta = {value}", "[privacy] delta") for value in ("0", "1", "nan", '"x"')),
        *((f"epsilon = 8\nclip = {value}", "[privacy] clip") for value in ("0", "inf", "nan", '""')),
        ("epsilon = 8\nrounds = 0", "[privacy] rounds"),
        ("epsilon = 8\nbudget = 1", "no such key"),
        ("epsilon = 8\ndelta = 0.05", "publishing one whole record would satisfy it; choose far less than 0.03125"),
    ],
)
def test_privacy_budgets_that_promise_nothing(tmp_path, lines, said):
    told(lambda: member(tmp_path, privacy=lines), said)


def test_a_privacy_budget_needs_the_pruner_that_noise_goes_with(tmp_path):
    told(lambda: member(tmp_path, privacy="epsilon = 8", policy='pruners = ["sparsegpt"]'), "prunes by wanda alone")
    assert member(tmp_path, privacy="epsilon = 8", policy='pruners = ["sparsegpt", "wanda"]').terms is not None


def test_a_member_by_its_defaults(tmp_path):
    found = member(tmp_path)
    assert (found.member.home, found.member.data) == (tmp_path / "north", tmp_path / "pruning")
    assert (found.server.id, found.server.url, found.server.proxy) == ("hub", "", "")
    assert found.model.path == Path("/models/llama")
    assert found.texts.files == (tmp_path / "north.jsonl", tmp_path / "more/north.txt")
    assert (found.texts.samples, found.texts.seqlen, found.budget.layers, found.budget.gpu_memory) == (
        32,
        None,
        0,
        None,
    )
    policy = found.policy
    assert (policy.colluders, policy.least_cohort, policy.profiles) == (1, 3, (Profile.THREE_TRIP,))
    assert (policy.horizon, policy.upload_limit, policy.epochs) == (90 * 86400, 1 << 40, 16)
    assert (policy.models, policy.software, policy.pruners, policy.pinned_base) == ((), (), (), True)
    assert set(policy.counts_to) == {Role.SERVER, Role.AUDITOR}
    assert policy.log_policy is None
    assert (found.compute.damping, found.compute.blocks) == (Fraction(1, 100), None)


def test_a_member_with_more_said(tmp_path):
    found = member(
        tmp_path,
        server='url = "https://[2001:db8::1]:8443/"\nproxy = "http://proxy:3128"\nupload_rate = "128 KiB/s"',
        budget='gpu_memory = "20 GiB"\nlayers = 8\nminutes = 240',
        policy='models = ["' + "ab" * 32 + '"]\nsoftware = ["fedspallm-secure/0.1"]\npruners = ["wanda"]\n'
        'profiles = ["two-trip-witnessed", "three-trip"]\nwitnesses = ["wyn"]\nlog_policy = "witnesses.txt"',
        compute='blocks = "model.layers"\nactivation_budget = "4G"',
    )
    assert found.server.url == "https://[2001:db8::1]:8443"
    assert found.server.upload_rate == 128 << 10
    assert found.budget.gpu_memory == 20 << 30
    assert found.policy.models == ("ab" * 32,)
    assert found.policy.log_policy == tmp_path / "witnesses.txt"
    assert found.policy.profiles == (Profile.WITNESSED, Profile.THREE_TRIP)
    assert (found.compute.blocks, found.compute.activation_budget) == ("model.layers", 4 << 30)


def test_the_defaults_are_those_of_the_code_that_uses_them(tmp_path):
    """The configuration may not import torch, so it repeats what stands beside the code."""
    from fedspallm_secure.app.calibration import DEFAULT_SAMPLES
    from fedspallm_secure.app.walking.activations import DEFAULT_BUDGET
    from fedspallm_secure.protocol.plan import DEFAULT_MIN_COHORT
    from fedspallm_secure.protocol.rounds.policy import Policy
    from fedspallm_secure.pruning.pruners import Pruner
    from fedspallm_secure.pruning.sparsegpt import DAMPING

    found, server = member(tmp_path), federation(tmp_path)
    assert (found.texts.samples, found.compute.activation_budget) == (DEFAULT_SAMPLES, DEFAULT_BUDGET)
    assert found.compute.damping == DAMPING
    assert server.rounds.min_cohort == DEFAULT_MIN_COHORT
    assert set(PRUNERS) == {pruner.value for pruner in Pruner}
    policy = Policy.__dataclass_fields__
    for name in ("horizon", "upload_limit", "epochs", "pinned_base"):
        assert getattr(found.policy, name) == policy[name].default, name


FEDERATION_MISTAKES = [
    ("server", "hom = 3", ["[server] hom: there is no such key; did you mean home?"]),
    ("server", "listen = []", ["[server] listen = []", "1 to"]),
    ("server", 'listen = "0.0.0.0:1"', ["allowed is a list"]),
    ("server", 'listen = ["0.0.0.0"]', ['entry 1, "0.0.0.0"', "ADDRESS:PORT"]),
    ("server", 'listen = ["::1:8443"]', ["ADDRESS:PORT"]),
    ("server", 'listen = ["[127.0.0.1]:1"]', ["ADDRESS:PORT"]),
    ("server", 'listen = ["0.0.0.0:65536"]', ["ADDRESS:PORT"]),
    ("server", 'listen = ["0.0.0.0:1", "0.0.0.0:1"]', ["entry 2", "twice"]),
    ("server", 'metrics = "0.0.0.0:9464"', ["this machine alone"]),
    ("server", 'data = ""', ["the path of a file or folder"]),
    ("server", 'data = "a\\u0000b"', ["allowed is a text"]),
    ("server", 'data = "~nobody-of-this-name/x"', ["write the whole path"]),
    ("pruning", "sparsity = 0.5", ["[pruning] sparsity = 0.5", "in quotes", '"0.5"']),
    ("pruning", 'sparsity = "1"', ["below 1"]),
    ("pruning", 'sparsity = "0.5"\npattern = "2:4"', ["[pruning] has sparsity and pattern: keep one of them"]),
    ("pruning", 'pattern = "4:2"', ["N < M"]),
    ("pruning", 'schedule = ["0.5", "0.3"]', ["[pruning] schedule", "goes back"]),
    ("pruning", 'pruner = "wandas"', ['"sparsegpt" or "wanda" or "magnitude"']),
    ("pruning", 'compare = "column"', ['"matrix" or "row"']),
    ("pruning", 'min_cohort = 3', ["min_cohort is a key of [rounds]"]),
    ("rounds", 'members = ["North"]', ['entry 1, "North"', "name of a member"]),
    ("rounds", 'members = ["north", "south"]', ["members: 2 cannot make a cohort of min_cohort = 3"]),
    ("rounds", "min_cohort = 2", ["from 3 to"]),
    ("rounds", "min_cohort = true", ["min_cohort = true", "whole number"]),
    ("rounds", "min_cohort = 3.0", ["whole number"]),
    ("rounds", "colluders = 1", ["with colluders = 1 a cohort has at least 4 members"]),
    ("rounds", 'spread = "yes"', ["true or false"]),
    ("rounds", 'profile = "no-trip"', ["two-trip-witnessed"]),
    ("rounds", 'profile = "two-trip-witnessed"', ["[rounds] witnesses: 0 witnesses"]),
    ("rounds", "dishonest = 1", ["there are 0 witnesses"]),
    ("rounds", "sum_bits = 8", ["32 or 16"]),
    ("rounds", 'seed = "7"', ["64 hex digits"]),
    ("rounds", "seed = -1", ["whole number"]),
    ("rounds", 'counts_to = ["everybody"]', ['entry 1, "everybody"', "auditor"]),
    ("rounds", "attempts = 0", ["from 1"]),
    ("deadlines", 'contribution = "6 hours"', ['"6 hours"', '"90m", "6h" or "2d"']),
    ("deadlines", "contribution = 6", ['"90m"']),
    ("deadlines", 'contribution = "0h"', ["above 0"]),
    ("deadlines", 'contribution = "3651d"', ["3650 days"]),
    ("limits", 'member_bytes = "much"', ["a size such as"]),
    ("limits", "member_bytes = -1", ["a size such as"]),
    ("limits", f'member_bytes = "{"9" * 12} TiB"', ["below"]),
    ("limits", 'upload_rate = "fast"', ["a rate such as"]),
    ("limits", 'upload_rate = "64 KiB/s"', ["128 KiB/s"]),
    ("limit", "archive = true", ["there is no such section; did you mean [limits]?"]),
    ("archive", "x = 1", ["[archive]: there is no such section; archive is a key of [limits]"]),
]  # fmt: skip
MEMBER_MISTAKES = [
    ("member", 'hoem = "x"', ["did you mean home?"]),
    ("server", 'url = "http://hub.example.org"', ["https://hub.example.org:8443"]),
    ("server", 'url = "https://hub.example.org/path"', ["the URL of a host"]),
    ("server", 'url = "https://hub.example.org:99999"', ["the URL of a host"]),
    ("server", 'url = "https://me:secret@hub.example.org"', ["without a user or a password"]),
    ("server", 'url = "hub.example.org:8443"', ["the URL of a host"]),
    ("server", 'proxy = "socks5://proxy:1080"', ["http://proxy"]),
    ("texts", "samples = 0", ["from 1"]),
    ("texts", "seqlen = 1", ["from 2"]),
    ("budget", "layers = -1", ["from 0"]),
    ("budget", 'gpu_memory = "20 Gb"', ["a size such as"]),
    ("policy", "least_cohort = 2", ["from 3"]),
    ("policy", "profiles = []", ["1 to"]),
    ("policy", 'profiles = ["two-trip-witnessed"]', ["more witnesses than may be dishonest"]),
    ("policy", "dishonest = 1", ["there are 0 witnesses"]),
    ("policy", 'models = ["AB"]', ["64 hex digits"]),
    ("policy", 'software = ["fedspallm"]', ["NAME/VERSION"]),
    ("policy", 'pruners = ["obc"]', ['"sparsegpt"']),
    ("policy", "pinned_base = 1", ["true or false"]),
    ("policy", "log_policy = false", ["allowed is a text"]),
    ("compute", 'device = "tpu"', ['"cuda"']),
    ("compute", "damping = 0.01", ["in quotes"]),
    ("compute", 'damping = "0"', ["above 0"]),
]


@pytest.mark.parametrize(("section", "line", "words"), FEDERATION_MISTAKES)
def test_mistakes_in_a_federation_are_told(tmp_path, section, line, words):
    told(lambda: federation(tmp_path, **{section: line}), str(tmp_path / "federation.toml"), f"[{section}]", *words)


@pytest.mark.parametrize(("section", "line", "words"), MEMBER_MISTAKES)
def test_mistakes_of_a_member_are_told(tmp_path, section, line, words):
    told(lambda: member(tmp_path, **{section: line}), str(tmp_path / "member.toml"), f"[{section}]", *words)


def test_several_mistakes_are_told_together(tmp_path):
    more = {"rounds": 'members = 3\nmin_chohort = 3\nsparsity = "0.5"', "limits": "archive = 1"}
    message = told(
        lambda: federation(tmp_path, **more), "has 4 mistakes", "did you mean min_cohort?", "key of [pruning]"
    )
    assert message.count("; ") >= 3
    many = "\n".join(f"key{number} = 1" for number in range(20))
    told(lambda: federation(tmp_path, limits=many), "has 20 mistakes", "and 12 more")


def test_another_kind_of_file_is_told_by_its_command(tmp_path):
    ours, theirs = "federation.toml, which is for fedprune server", "member.toml, which is for fedprune client"
    member(tmp_path)
    told(lambda: read_federation(tmp_path / "member.toml"), f"is a {theirs}, and a federation.toml is asked for here")
    path = tmp_path / "rounds.toml"
    path.write_text('[server]\nhome = "hub"\n[rounds]\n')
    told(lambda: read_member(path), f"is a {ours}, and a member.toml is asked for here")
    path.write_text('[member]\nhome = "hub"\n[rounds]\n')  # of both: a mistake in one of them
    told(lambda: read_member(path), "[rounds]: there is no such section")


def test_what_is_missing_is_named_with_what_it_is_for(tmp_path):
    path = tmp_path / "federation.toml"
    path.write_text("")
    told(lambda: read_federation(path), "[server] is missing", "[model] is missing")
    path.write_text("[server]\n[model]\n")
    told(lambda: read_federation(path), "[server] home is missing: Its home", "[model] path is missing: Folder with")
    path.write_text('server = 3\n[model]\npath = "x"\n')
    told(lambda: read_federation(path), "[server] = 3: allowed is a section")


def test_a_split_profile_prunes_in_one_pass(tmp_path):
    profile = 'profile = "two-trip"'
    assert federation(tmp_path, rounds=profile).rounds.profile is Profile.TWO_TRIP
    schedule = 'schedule = ["0.3", "0.5"]'
    told(lambda: federation(tmp_path, rounds=profile, pruning=schedule), "several passes", "two-trip")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a =", "is not TOML"),
        (b"[server]\n[server]\n", "is not TOML"),
        (b"\xff", "not UTF-8"),
        (b"a = " + b"1" * 5000, "is not TOML"),
        (b"a = " + b"[" * 20_000, "is not TOML"),
    ],
    ids=["half", "twice", "latin", "number", "deep"],
)
def test_what_is_no_toml_is_told(tmp_path, data, words):
    path = tmp_path / "federation.toml"
    path.write_bytes(data)
    told(lambda: read_federation(path), words)


def test_what_is_no_file_of_a_sensible_size_is_refused(tmp_path):
    path = tmp_path / "federation.toml"
    path.write_bytes(b"#" * (reading.CONFIGURATION_LIMIT + 1))
    with pytest.raises(LimitExceeded):
        read_federation(path)
    path.write_bytes(b"#" * reading.CONFIGURATION_LIMIT)
    told(lambda: read_federation(path), "[server] is missing")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(HostileFile):
        read_federation(path)


def test_nothing_can_be_changed_afterwards(tmp_path):
    found = federation(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        found.rounds.min_cohort = 1  # type: ignore[misc]


def test_the_file_at_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingInput) as error:
        reading.find(None, reading.FEDERATION)
    assert "no federation.toml in this folder" in str(error.value)
    assert "fedprune server init" in error.value.hint
    Path("member.toml").write_text("")
    with pytest.raises(MissingInput, match=r"member\.toml is there, which is for fedprune client"):
        reading.find(None, reading.FEDERATION)
    assert reading.find(None, reading.MEMBER) == Path("member.toml")
    assert reading.find(tmp_path, reading.MEMBER) == tmp_path / "member.toml"
    assert reading.find(tmp_path / "member.toml", reading.FEDERATION) == tmp_path / "member.toml"
    with pytest.raises(MissingInput, match="does not exist"):
        reading.find(tmp_path / "nowhere.toml", reading.FEDERATION)


def test_no_torch():
    code = (
        "import sys; import fedspallm_secure.app.configuration.templates; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
