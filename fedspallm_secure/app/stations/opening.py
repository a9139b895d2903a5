"""Opening a party at work: its home, its keys with one password, its journal and its spool."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import cast

from fedspallm_secure.app.configuration.either import Either, anchor_of, data_of, find_either, home_of, read_either
from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.enrolment import DEFAULT_PREKEYS, refill
from fedspallm_secure.app.stations.anchoring import Anchoring
from fedspallm_secure.app.stations.post import Clock, Post
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.key_records import JournalSecret, Purpose, SigningSeed
from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import KeyFileExists, UsageError
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.receiving import Awaited, check_head
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.anchor import Anchor, prepare_anchors
from fedspallm_secure.storage.bundle_register import BundleRegister
from fedspallm_secure.storage.files import disk_errors, sole_writer
from fedspallm_secure.storage.home import Home, Unlocking, open_home
from fedspallm_secure.storage.journal import open_journal
from fedspallm_secure.storage.keystore import create_key_file, open_key_file
from fedspallm_secure.storage.log_store import LogStore
from fedspallm_secure.storage.room import Quota
from fedspallm_secure.storage.spool import open_spool

JOURNAL_KEY = "journal.key"
NOTE_KEYS = {Role.SERVER: ("log.key", Purpose.LOG), Role.WITNESS: ("cosigner.key", Purpose.COSIGNER)}
_SERVICE_LOCK = ".service.lock"  # another one than that of commands, which work in a home beside its service
_RUNS = "the service runs already, and does what there is to do: see fedprune status; to start it anew, stop it first"
Unlock = Callable[[str], Password]  # what it opens, for the prompt -> the password

_TO_SERVER = frozenset(
    {"offer", "prekeys", "cipher-key", "decline", "contribution", "endorsement", "cosignature", "unmask-response"}
    | {"decrypt-challenge", "decrypt-response"}
)
_TO_MEMBER = frozenset({"log", "plan", "receipt", "survivors", "unmask-request", "result", "layer", "abort"})
AWAITED = {
    Role.SERVER: Awaited(types=_TO_SERVER),
    Role.MEMBER: Awaited(types=_TO_MEMBER),
    Role.WITNESS: Awaited(types=frozenset({"opening", "survivors", "checkpoint"})),
    Role.KEY_HOLDER: Awaited(types=frozenset({"plan", "decrypt-request", "decrypt-opening", "result", "abort"})),
}


@contextmanager
def open_station(
    home_path: Path,
    data: Path,
    unlock: Unlock,
    clock: Clock,
    quota: Quota | None = None,
    sole: bool = True,
    anchors: Path | None = None,
) -> Iterator[Post]:
    """A party with its home and its work folder.

    sole: hold home and folder for this process, as whoever runs rounds does; else only packages are carried.  anchors:
    folder of the home's anchor, the user's own by default.
    Raises RolledBack for an old copy; RunLocked, what `open_home` and opening key files raise, RecordDamaged,
    MissingInput, StorageError.
    """
    home = open_home(home_path)
    home.trust  # noqa: B018  (raises before anybody types a password)
    with ExitStack() as stack:
        with disk_errors(data):
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sole:
            stack.enter_context(sole_writer(home.path, _SERVICE_LOCK, _RUNS))
            stack.enter_context(sole_writer(data, hint=_RUNS))
        apart = prepare_anchors(anchors, home.path, data)
        password = unlock(f"the keys of {home.party}")
        keys = Unlocking(password)
        signer = home.signer(keys.key(home.path / folder.SIGNING_KEY))
        secrets = home.recipient_secrets(keys.key(home.path / folder.RECIPIENT_KEY))
        is_member = home.party.role is Role.MEMBER and (home.path / folder.PREKEYS_KEY).exists()
        prekeys = home.prekey_file(keys.key(home.path / folder.PREKEYS_KEY)) if is_member else None
        register, owner = home.path / folder.REGISTER, home.identity.uri
        journal = stack.enter_context(open_journal(register, owner, journal_key(home, keys)))
        anchor = Anchor(apart, home.identity, journal.register.mark())
        anchoring = Anchoring(anchor, journal.register.last_sequence, sole)  # before the spool tidies up
        check = _Check(home)
        spool = stack.enter_context(open_spool(register, data / "spool", check, quota, sole))
        bundles = BundleRegister(journal.connection, register)
        tls_key = home.tls_key(keys.key(home.path / folder.TLS_KEY))

        def more() -> None:
            refill(home_path, password, DEFAULT_PREKEYS)

        log, notes = LogStore(journal.connection, register), note_signer(home, keys)
        own = home, signer, secrets, prekeys, journal
        post = Post(*own, spool, bundles, log, clock, anchoring, tls_key, more, notes)
        check.post, spool.key_of = post, check.key_of
        yield post


class _Check:
    """Whether a package is worth taking in, as far as its head tells (SPEC section 9, steps 5 to 9)."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.post: Post | None = None

    def __call__(self, head: Head) -> None:
        """Raises TrustError or PackageRefused."""
        if self.post is None:
            raise RuntimeError("the post is not open yet")
        home, awaited = self.post.home, AWAITED.get(self.post.party.role)
        check_head(head, home.reader, home.trust, None, awaited or Awaited(), self.post.now())

    def key_of(self, peer: Party) -> str:
        """Identifier of the key with which a party signs now.  Raises UnknownSender."""
        if self.post is None:
            raise RuntimeError("the post is not open yet")
        return self.post.home.trust.roster.entry(peer).leaf.key_id


def journal_key(home: Home, keys: Unlocking) -> bytes:
    """The key of secret records; it is made when it is needed first, under the password of the other keys."""
    path = home.path / JOURNAL_KEY
    if not path.exists():
        made = JournalSecret(random_bytes(32))
        with suppress(KeyFileExists):  # by another process, a moment ago
            create_key_file(path, Purpose.JOURNAL, home.identity.uri, made, keys.key(home.path / folder.SIGNING_KEY))
    record, _ = open_key_file(path, keys.key(path), Purpose.JOURNAL, home.identity.uri)
    return cast(JournalSecret, record).key


def note_signer(home: Home, keys: Unlocking) -> Ed25519Signer | None:
    """The key of a server's log or of a witness's cosignatures, made when it is needed first; None for others."""
    if home.party.role not in NOTE_KEYS:
        return None
    name, purpose = NOTE_KEYS[home.party.role]
    path = home.path / name
    if not path.exists():
        made = SigningSeed(random_bytes(32))
        with suppress(KeyFileExists):  # by another process, a moment ago
            create_key_file(path, purpose, home.identity.uri, made, keys.key(home.path / folder.SIGNING_KEY))
    record, _ = open_key_file(path, keys.key(path), purpose, home.identity.uri)
    return Ed25519Signer(cast(SigningSeed, record).seed)


def read_config(path: Path | None) -> Either:
    """The toml that was named, or the one at hand, whichever it is.  Raises UsageError, MissingInput."""
    return read_either(find_either(path))


@contextmanager
def open_post(path: Path | None, unlock: Unlock, clock: Clock) -> Iterator[Post]:
    """The post of whoever the toml belongs to, for carrying packages beside a running station."""
    config = read_config(path)
    quota = quota_of(config) if isinstance(config, FederationConfig) else None
    home, data, anchors = home_of(config), data_of(config), anchor_of(config)
    with open_station(home, data, unlock, clock, quota, sole=False, anchors=anchors) as post:
        yield post


def quota_of(config: FederationConfig) -> Quota:
    """What the server's inbox takes."""
    return Quota(config.limits.member_bytes, config.limits.free_space)


def check_role(home: Path, role: Role) -> Party:
    """Who lives there.  Raises UsageError for another role."""
    party = open_home(home).party
    if party.role is not role:
        raise UsageError(f"{home} is the home of {party}, and a {role.value} is wanted", hint="name another home")
    return party
