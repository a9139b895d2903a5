"""What a member insists on: of plans (SPEC section 17), and whose log and cosignatures it asks for (section 22.4)."""

from fedspallm_secure.app.configuration.member import MemberConfig
from fedspallm_secure.app.service.visits import server_of
from fedspallm_secure.errors import FormatError, UsageError, WeakKey
from fedspallm_secure.protocol.audit.note_keys import log_name
from fedspallm_secure.protocol.audit.policies import POLICY_LIMIT, TrustPolicy
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.storage.documents import read_own


def policy_of(config: MemberConfig) -> Policy:
    """What the member insists on of a plan, as member.toml says."""
    found = config.policy
    return Policy(
        server_of(config.server),
        found.colluders,
        profiles=frozenset(found.profiles),
        witnesses=found.witnesses,
        dishonest=found.dishonest,
        beacons=found.beacons,
        upload_limit=found.upload_limit,
        horizon=found.horizon,
        counts_to=frozenset(found.counts_to),
        pinned_base=found.pinned_base,
        epochs=found.epochs,
        least_cohort=found.least_cohort,
        software=frozenset(found.software) or None,
        pruners=frozenset(found.pruners) or None,
        key_holders=frozenset(found.key_holders),
        sample=(found.sample_least, found.sample_most),
    )


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
