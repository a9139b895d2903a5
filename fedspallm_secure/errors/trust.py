"""Errors of identities, packages and key files.  The tree is drawn in `errors`."""

from fedspallm_secure.errors.base import FedSpaError


class TrustError(FedSpaError):
    """An identity, a signature or its freshness does not hold."""

    exit_code = 60


class WeakKey(TrustError):
    """A public key under which signatures could be denied or forged, or secrets would be known to all."""

    exit_code = 61
    hint = "the party must make new keys: fedprune certs request"


class BadSignature(TrustError):
    """A signature does not match the bytes and the key."""

    exit_code = 62
    hint = "do not use the file; ask its sender for it again over another way"


class CertificateRefused(TrustError):
    """A certificate is not one that this federation issues for this party and purpose."""

    exit_code = 63
    hint = "compare the root fingerprint with the authority; fedprune certs show FILE tells what the certificate says"


class CertificateExpired(TrustError):
    """A certificate or key statement is not valid at the time in question."""

    exit_code = 64
    hint = "check your clock; its holder renews it with fedprune certs renew before its end, and enrols anew after it"


class CertificateRevoked(TrustError):
    """The authority has withdrawn the certificate."""

    exit_code = 65
    hint = "do not trust the holder; ask the authority why, and for the newest roster"


class RevocationListStale(TrustError):
    """The revocation list is missing, past its next update, or older than the roster demands."""

    exit_code = 66
    hint = "get the newest one from the authority (fedprune certs crl) and import it: fedprune certs import FILE"


class RolledBack(TrustError):
    """Something older than what was already seen was offered in its place."""

    exit_code = 67
    hint = "somebody may be hiding a newer version from you; ask the authority for the newest"


class UnknownSender(TrustError):
    """The sender, or the key it signed with, is not in the roster."""

    exit_code = 68
    hint = "import the newest roster; if the sender is not in it, ask the authority"


class FingerprintMismatch(TrustError):
    """A fingerprint is not the one that was expected."""

    exit_code = 69
    hint = "stop here: compare it again by voice, and if it still differs somebody has exchanged the file"


class PackageRefused(FedSpaError):
    """A package may not be opened here and now."""

    exit_code = 70


class UnknownVersion(PackageRefused):
    """The package is of a version or type that this program does not know."""

    exit_code = 71
    hint = "update the program, or ask the sender to use the version that the federation agreed on"


class WrongFederation(PackageRefused):
    """The package belongs to another federation."""

    exit_code = 72
    hint = "ask the sender; check that --home names the right identity"


class WrongRoster(PackageRefused):
    """The package was made under another roster than yours."""

    exit_code = 73
    hint = (
        "whoever has the older roster imports the newer one, then the sender seals again; or it is another authority's"
    )


class WrongRecipient(PackageRefused):
    """The package is for somebody else, or for a key you do not have."""

    exit_code = 74
    hint = "pass it on to whom it names, or ask the sender to seal it to your present key"


class NotAllowed(PackageRefused):
    """This role may not send this type of package to that role, or not in this form."""

    exit_code = 75
    hint = "ask the sender what it was meant to be"


class PackageExpired(PackageRefused):
    """The package is past its time, or comes from the future."""

    exit_code = 76
    hint = "ask the sender to seal again; check both clocks"


class ReplayedPackage(PackageRefused):
    """This very package was received before."""

    exit_code = 77
    hint = "nothing to do: what was in it is already there"


class Equivocation(PackageRefused):
    """The sender has made two different packages under one number."""

    exit_code = 78
    hint = "keep the evidence file named above and ask the sender; report it to the auditor"


class NotAwaited(PackageRefused):
    """A package of this type, round or group is not expected now."""

    exit_code = 79
    hint = "fedprune package inspect shows what it claims to be"


class TileMismatch(PackageRefused):
    """A part of the body is not what the sender signed."""

    exit_code = 80
    hint = "the file was damaged or changed on the way; ask for it again"


class Truncated(PackageRefused):
    """The file ends before the package does."""

    exit_code = 81
    hint = "the copy is incomplete; copy or ask for it again"


class TrailingBytes(PackageRefused):
    """The file goes on after the package ends."""

    exit_code = 82
    hint = "somebody appended to it; ask for it again"


class CannotDecrypt(PackageRefused):
    """The body does not open with your key.  One message for every cause, so that nobody learns which it was."""

    exit_code = 83
    hint = "ask the sender to seal it again"

    def __init__(self) -> None:
        super().__init__("the body cannot be decrypted")


class KeyStoreError(FedSpaError):
    """A key file of your own cannot be used."""

    exit_code = 90


class WrongPassword(KeyStoreError):
    """The password is wrong, or the key file was changed."""

    exit_code = 91
    hint = "try again; a forgotten password cannot be recovered: a party enrols anew, an authority's root is lost"


class NoPassword(KeyStoreError):
    """There is no password to open the key file with."""

    exit_code = 92
    hint = "run on a terminal, or use --password-file, --password-fd, --password-command or FEDPRUNE_PASSWORD"


class ExposedKeyFile(KeyStoreError):
    """Others than its owner may read or change a key file."""

    exit_code = 93
    hint = "chmod 600 the file named above, and think about who may have read it"


class KeyFileExists(KeyStoreError):
    """A key file is already there."""

    exit_code = 94
    hint = "keys are never overwritten; choose another --home"


class PrekeysExhausted(KeyStoreError):
    """All one-time prekeys are used up."""

    exit_code = 95
    hint = "make new ones: fedprune certs prekeys"
