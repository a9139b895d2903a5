"""A party's side of the ceremony: ask to be enrolled, take in the answer, renew, refill prekeys.

Keys are made where they stay, in the party's own home, and only public things leave it.  The answer is taken in by
`app.imports`.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fedspallm_secure.crypto.certificates import generate_tls_key
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.crypto.key_records import RECIPIENT_KEYS_LIMIT, Purpose, RecipientSecrets, TlsSecret
from fedspallm_secure.crypto.passwords import DEFAULT_KDF, KdfParameters, Password, PasswordKey
from fedspallm_secure.crypto.profiles import DAY, Profiles
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret, supported_kems
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import CertificateExpired, CertificateRevoked, KeyFileExists, MissingExtra, UsageError
from fedspallm_secure.protocol.enrolment import KeyStatement, Request
from fedspallm_secure.protocol.limits import CLOCK_SKEW, PREKEYS_LEAVES_LIMIT
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.files import atomic_folder, create_private, replace_private
from fedspallm_secure.storage.home import Home, Unlocking, open_home, read_home, read_pending
from fedspallm_secure.storage.home_folder import Identity
from fedspallm_secure.storage.keystore import FileSigner, create_key_file
from fedspallm_secure.storage.prekeys import PrekeyFile
from fedspallm_secure.storage.profiles import default_profiles

DEFAULT_PREKEYS = 64  # as many rounds of one layer each, or one round of as many layers


def pending_request(
    home: Path, identity: Identity, prekeys: int | None, kems: Sequence[Kem] | None = None
) -> Request | None:
    """The request that this home has made already, if it is for the same things; None if it has made none.

    prekeys: how many were asked for, None for any number; kems: of the recipient keys, None for any.
    Raises KeyFileExists when the home is somebody else's, enrolled already, or waits for another answer.
    """
    if not folder.is_home(home):
        return None
    folder.prepare_home(home, identity)
    with folder.held(home, exclusive=True):
        folder.finish_install(home)
        found = read_pending(home)
        if found is None and (home / folder.SIGNING).exists():
            raise KeyFileExists(
                f"{home} is enrolled already",
                hint="fedprune certs renew makes new keys; another party needs another --home",
            )
    anew = f"import the answer to it; to begin anew, remove the folder {home / folder.PENDING} first"
    if found is not None and prekeys not in {None, _size(found)}:
        raise KeyFileExists(f"{home} has made a request with {_size(found)} prekeys already", hint=anew)
    if found is not None and kems is not None and [key.kem for key in found.key_statement.keys] != list(kems):
        raise KeyFileExists(f"{home} has made a request with other recipient keys already", hint=anew)
    return found


def make_request(
    home: Path,
    identity: Identity,
    password: Password,
    prekeys: int,
    kdf: KdfParameters = DEFAULT_KDF,
    kems: Sequence[Kem] | None = None,
) -> Request:
    """Make the keys of a new party in `home`, and the request for their certificates.

    prekeys: how many one-time keys to publish with it, only members have any; kems: of the recipient keys, the
    preferred one first, None for all that this installation has.
    Raises KeyFileExists, UsageError, MissingExtra, OutOfMemory or StorageError.
    """
    now = int(time.time())
    _check_prekeys(identity, prekeys)
    folder.prepare_home(home, identity)
    with folder.held(home, exclusive=True):
        folder.sweep(home)
        key = PasswordKey.new(password, kdf)
        with atomic_folder(home / folder.PENDING) as work:
            signer = FileSigner.create(work / folder.SIGNING_KEY, identity.uri, key)
            bundle = None
            if prekeys:
                file = PrekeyFile.create(work / folder.PREKEYS_KEY, identity.uri, prekeys, 0, key)
                bundle = _bundle(signer, identity, file.public_leaves(), 0, now)
            return _stage(work, identity, key, signer, bundle, (), now, None, kems)


def pending_renewal(home: Path) -> Request | None:
    """The renewal that this home has asked for already; None if there is none.  Raises what `open_home` raises."""
    open_home(home)
    with folder.held(home, exclusive=False):
        return read_pending(home)


def renew(
    home: Path,
    password: Password,
    prekeys: int,
    kdf: KdfParameters = DEFAULT_KDF,
    kems: Sequence[Kem] | None = None,
) -> Request:
    """Make new keys beside the current ones, which go on working until the answer is imported.

    The new recipient file holds the keys so far as well, for packages under way.  New prekeys are added to those that
    are there, for their indices go on.
    Raises CertificateExpired or CertificateRevoked if the current key cannot vouch for the new one any more;
    WrongPassword, UsageError, MissingExtra, OutOfMemory or StorageError.
    """
    now = int(time.time())
    found = open_home(home)
    identity = found.identity
    _check_prekeys(identity, prekeys)
    _check_current(found, now)
    with folder.held(home, exclusive=True):
        folder.sweep(home)
        unlocking = Unlocking(password)
        current = found.signer(unlocking.key(home / folder.SIGNING_KEY))
        present = {key.key_id for key in found.key_statement.keys}
        secrets = found.recipient_secrets(unlocking.key(home / folder.RECIPIENT_KEY))
        kept = [secret for name, secret in secrets.items() if name in present]
        key = PasswordKey.new(password, kdf)
        with atomic_folder(home / folder.PENDING) as work:
            signer = FileSigner.create(work / folder.SIGNING_KEY, identity.uri, key)
            bundle = _more_prekeys(found, unlocking, lambda: key, signer, prekeys, now) if prekeys else None
            return _stage(work, identity, key, signer, bundle, kept, now, current, kems)


def refill(home: Path, password: Password, count: int, kdf: KdfParameters = DEFAULT_KDF) -> Prekeys:
    """Make `count` new prekeys and the signed bundle that publishes them.

    Raises UsageError for a party that has none, WrongPassword, LimitExceeded, MissingExtra or StorageError.
    """
    now = int(time.time())
    found = open_home(home)
    if found.party.role is not Role.MEMBER:
        raise UsageError(f"{found.party} has no prekeys: only members do", hint="nothing has to be done")
    _check_prekeys(found.identity, count)
    _check_current(found, now)
    with folder.held(home, exclusive=True):
        unlocking = Unlocking(password)
        signer = found.signer(unlocking.key(home / folder.SIGNING_KEY))
        bundle = _more_prekeys(read_home(home), unlocking, lambda: PasswordKey.new(password, kdf), signer, count, now)
        replace_private(home / folder.PREKEYS, bundle.encode())
    return bundle


def _stage(
    work: Path,
    identity: Identity,
    key: PasswordKey,
    signer: Signer,
    prekeys: Prekeys | None,
    kept: Sequence[RecipientSecret],
    now: int,
    current: Signer | None,
    kems: Sequence[Kem] | None,
) -> Request:
    """Make the other keys and the request in the folder that will be `pending/`."""
    tls_key = generate_tls_key()
    create_key_file(work / folder.TLS_KEY, Purpose.TLS, identity.uri, TlsSecret(tls_key), key)
    new = [RecipientSecret.generate(kem) for kem in _kems(kems)]
    record = RecipientSecrets((*new, *kept)[:RECIPIENT_KEYS_LIMIT])
    create_key_file(work / folder.RECIPIENT_KEY, Purpose.RECIPIENT, identity.uri, record, key)
    start, end = _validity(_profiles().key_statement_days, now)
    public = [secret.recipient_key for secret in new]
    statement = KeyStatement.make(signer, identity.federation, identity.party, public, start, end)
    request = Request.make(
        signer,
        identity.federation,
        identity.party,
        now,
        tls_key=tls_key,
        key_statement=statement,
        hosts=identity.hosts,
        prekeys=prekeys,
        current=current,
    )
    create_private(work / folder.KEY_STATEMENT, statement.encode())
    if prekeys is not None:
        create_private(work / folder.PREKEYS, prekeys.encode())
    create_private(work / folder.REQUEST, request.encode())
    return request


def _more_prekeys(
    home: Home, unlocking: Unlocking, new_key: Callable[[], PasswordKey], signer: Signer, count: int, now: int
) -> Prekeys:
    """Add prekeys to the file durably, then sign what they are.  new_key: for a file that is not there yet."""
    path, identity = home.path / folder.PREKEYS_KEY, home.identity
    if path.exists():
        file = home.prekey_file(unlocking.key(path))
        first = file.extend(count)
    else:
        first = 0 if home.prekeys is None else home.prekeys.first + len(home.prekeys.leaves)
        file = PrekeyFile.create(path, identity.uri, count, first, new_key())
    return _bundle(signer, identity, file.public_leaves(first), first, now)


def _bundle(signer: Signer, identity: Identity, leaves: Sequence[bytes], first: int, now: int) -> Prekeys:
    start, end = _validity(_profiles().prekeys_days, now)
    public = [Prekey.from_bytes(leaf) for leaf in leaves]
    return Prekeys.make(signer, identity.federation, identity.party, first, public, start, end)


def _validity(days: int, now: int) -> tuple[int, int]:
    """It begins a little in the past, for the clocks of those who read it."""
    return now - CLOCK_SKEW, now + days * DAY


def _profiles() -> Profiles:
    return Profiles.parse(default_profiles())


def _size(request: Request) -> int:
    return len(request.prekeys.leaves) if request.prekeys else 0


def _kems(chosen: Sequence[Kem] | None) -> Sequence[Kem]:
    supported = supported_kems()
    if chosen is None:
        return supported
    if not set(chosen) <= set(supported):
        raise MissingExtra(
            "this build of the cryptography package has no ML-KEM-768, which the hybrid key needs",
            hint="install its wheel from the package index, or leave out --hybrid-only",
        )
    return chosen


def _check_prekeys(identity: Identity, count: int) -> None:
    if count and identity.party.role is not Role.MEMBER:
        raise UsageError(f"{identity.party} cannot have prekeys: only members do", hint="leave out --prekeys")
    if not 0 <= count <= PREKEYS_LEAVES_LIMIT:
        raise UsageError(f"a bundle has at most {PREKEYS_LEAVES_LIMIT} prekeys", hint="make more of them later")
    if count and Kem.HYBRID not in supported_kems():
        raise MissingExtra(
            "this build of the cryptography package has no ML-KEM-768, which prekeys need",
            hint="install its wheel from the package index, or use --prekeys 0",
        )


def _check_current(home: Home, now: int) -> None:
    """The current key must be able to vouch for what it signs."""
    again = "enrol again: fedprune certs request in a new --home, after fedprune certs revoke at the authority"
    if now > home.signing.not_after:
        raise CertificateExpired(f"the signing certificate of {home.party} is no longer valid", hint=again)
    if home.crl.is_revoked(home.signing.serial):
        raise CertificateRevoked(f"the signing certificate of {home.party} was withdrawn", hint=again)
