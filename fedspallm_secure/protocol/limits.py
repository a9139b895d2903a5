"""The limits of SPEC section 10, in one place.  A larger thing is refused unread."""

from typing import Final

from fedspallm_secure.crypto.certificate_fields import CERTIFICATE_LIMIT
from fedspallm_secure.crypto.keyfiles import KEY_FILE_LIMIT
from fedspallm_secure.crypto.revocation import CLOCK_SKEW, REVOCATION_LIST_LIMIT

__all__ = [
    "BUNDLE_FILES_LIMIT",
    "BUNDLE_LIMIT",
    "CERTIFICATE_LIMIT",
    "CHECKPOINT_LIMIT",
    "CIPHER_KEY_LIMIT",
    "CLOCK_SKEW",
    "ENROLMENT_LIMIT",
    "FOLDER_LIMIT",
    "HEADER_LIMIT",
    "HOSTS_LIMIT",
    "KEY_FILE_LIMIT",
    "KEY_STATEMENT_LIMIT",
    "LATEST_TIME",
    "MEDIUM_LIMIT",
    "NOTE_KEY_LIMIT",
    "OPENING_LIMIT",
    "PARTIES_LIMIT",
    "PREKEYS_LEAVES_LIMIT",
    "PREKEYS_LIMIT",
    "RECEIPT_LIMIT",
    "REQUEST_LIMIT",
    "RESULT_LIMIT",
    "REVOCATION_LIST_LIMIT",
    "ROSTER_LIMIT",
    "SURVIVORS_LIMIT",
    "TILE_SIZE",
]

HEADER_LIMIT: Final = 65_536  # bytes of a package header
CHECKPOINT_LIMIT: Final = 1 << 10  # bytes of the checkpoint in a header
TILE_SIZE: Final = 1 << 20  # bytes of a body that one hash covers
FOLDER_LIMIT: Final = 4_096  # files in a folder that is read at once

ROSTER_LIMIT: Final = 5 << 20  # bytes
PARTIES_LIMIT: Final = 1_100  # parties of a roster: 1,000 members, and those around them
REQUEST_LIMIT: Final = 1 << 20  # bytes
ENROLMENT_LIMIT: Final = 1 << 20  # bytes
HOSTS_LIMIT: Final = 16  # DNS names and addresses of a request
PREKEYS_LIMIT: Final = 1 << 20  # bytes
PREKEYS_LEAVES_LIMIT: Final = 256  # leaves of a bundle
KEY_STATEMENT_LIMIT: Final = 16 << 10  # bytes
OPENING_LIMIT: Final = 1 << 20  # bytes
SURVIVORS_LIMIT: Final = 1 << 26  # bytes
RESULT_LIMIT: Final = 1 << 26  # bytes
RECEIPT_LIMIT: Final = 4 << 10  # bytes
NOTE_KEY_LIMIT: Final = 4 << 10  # bytes
CIPHER_KEY_LIMIT: Final = 4 << 10  # bytes
BUNDLE_LIMIT: Final = 4 << 20  # bytes of an index
BUNDLE_FILES_LIMIT: Final = 4_096  # packages of a bundle
MEDIUM_LIMIT: Final = 65_536  # entries of a folder that bundles lie in

LATEST_TIME: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that X.509 can write
