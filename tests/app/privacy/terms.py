"""Terms, a journal in memory, and releases, for tests about a member's privacy ledger."""

from contextlib import contextmanager
from dataclasses import replace

from fedspallm_secure.app.privacy.releases import KIND, MemberLedger, Release
from fedspallm_secure.app.privacy.settings import MemberTerms, PrivacySettings
from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.pruning.noise import SIGMA


def terms(epsilon=8.0, rounds=2, delta=1e-6, clip=1.0) -> MemberTerms:
    return MemberTerms(PrivacySettings(epsilon, delta, clip), rounds, 6)


class Facts:
    """A journal of facts in memory, which knows whether it was written inside of a transaction."""

    def __init__(self):
        self.kept, self.inside = {}, False

    @contextmanager
    def transaction(self):
        self.inside = True
        before = dict(self.kept)
        try:
            yield
        except BaseException:
            self.kept = before
            raise
        finally:
            self.inside = False

    def remember(self, kind, name, value):
        assert self.inside and kind == KIND
        self.kept[name] = canonical_json(value)

    def recall_all(self, kind):
        return {name: parse_canonical_json(value, name) for name, value in sorted(self.kept.items())}


def release(ledger: MemberLedger, number=1, **changes) -> Release:
    asked, steps = ledger.terms.settings, ledger.steps() or SIGMA
    found = Release(
        number, (0, 2), "ab" * 32, f"{number:064x}", steps, 6, 5, 432, 0.25, asked.epsilon, asked.delta, asked.clip,
        ledger.terms.rounds, 0.0, 1_800_000_000,
    )  # fmt: skip
    return replace(found, **changes)
