"""Whose log and cosignatures a member asks for, read from the file that `member.toml` names (SPEC section 22.4)."""

from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.errors import FormatError, UsageError, WeakKey
from fedspallm_secure.protocol.audit.note_keys import log_name
from fedspallm_secure.protocol.audit.policies import POLICY_LIMIT, TrustPolicy
from fedspallm_secure.storage.documents import read_own


def read_log_policy(config: MemberConfig, federation: str) -> TrustPolicy | None:
    """What [policy] log_policy says, None where it is empty.

    Raises UsageError for a file that is no policy, or that does not name the log of the member's server: every entry of
    that log would be refused; MissingInput, LimitExceeded or HostileFile.
    """
    path = config.policy.log_policy
    if path is None:
        return None
    try:
        found = TrustPolicy.parse(read_own(path, POLICY_LIMIT))
    except (FormatError, WeakKey) as error:
        raise UsageError(f"{path}: {error}", hint="the form is that of C2SP tlog-policy; see docs/AUDIT.md") from None
    name = log_name(federation, config.server.id)
    if name not in {key.name for key in found.logs}:
        raise UsageError(
            f"{path} names no log {name}",
            hint="add a line: log VKEY.  A witness of this server has the key: fedprune witness key",
        )
    return found
