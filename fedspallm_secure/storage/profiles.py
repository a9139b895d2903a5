"""Where the authority's profiles come from: the packaged certs/profiles.toml, or a file made from it."""

from importlib.resources import files
from pathlib import Path

from fedspallm_secure.crypto.profiles import Profiles
from fedspallm_secure.errors import FormatError, MissingInput
from fedspallm_secure.storage.documents import read_own

PROFILES_LIMIT = 64 << 10  # bytes
_HINT = "compare it with certs/profiles.toml of this version"


def default_profiles() -> str:
    """The text of the profiles that come with this package.  Raises MissingInput if the installation is broken."""
    try:
        return (files("fedprune_certs") / "profiles.toml").read_text(encoding="utf-8")
    except (ModuleNotFoundError, OSError):
        raise MissingInput(
            "profiles.toml is missing from this installation", hint="install the package fedspallm-secure again"
        ) from None


def read_profiles(path: Path) -> str:
    """The text of a profiles file, checked.  Raises MissingInput, HostileFile, LimitExceeded or FormatError."""
    data = read_own(path, PROFILES_LIMIT)
    try:
        text = data.decode("utf-8")
        Profiles.parse(text)
    except UnicodeDecodeError:
        raise FormatError(f"{path} is not UTF-8", hint=_HINT) from None
    except FormatError as error:
        raise FormatError(f"{path}: {error}", hint=_HINT) from None
    return text
