"""The prekey bundles that a member has published: a plan may name a prekey of any of the last ones."""

from typing import Final

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64
from fedspallm_secure.errors import MissingInput
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.plans import Plan

_KIND: Final = "own bundle"
_KEPT: Final = 4  # bundles; a server keeps fewer


class OwnBundles:
    """Those of one member.  Raises MissingInput for a home without prekeys."""

    def __init__(self, post: Post) -> None:
        self._post = post
        if post.prekeys is None or post.home.prekeys is None:
            raise MissingInput(f"{post.home.path} has no prekeys", hint="make some: fedprune certs prekeys")

    @property
    def newest(self) -> Prekeys:
        """The one in the home, which the next offer names."""
        found = self._post.home.prekeys
        if found is None:
            raise MissingInput(
                f"{self._post.home.path} has lost its prekeys", hint="make new ones: fedprune certs prekeys"
            )
        return found

    def named_in(self, plan: Plan) -> Prekeys:
        """The one that a plan takes the own prekey from; the newest if it names none that was published."""
        named = next((use.bundle for use in plan.prekeys if use.id == self._post.party.id), "")
        found = self._post.journal.recall(_KIND, named)
        return self.newest if found is None else Prekeys.parse(decode_base64(found, "a bundle"))

    def publish(self) -> Prekeys:
        """The newest one: plans may name it from now on; inside of `post.at_once()`."""
        bundle = self.newest
        known = {name: self._first(text) for name, text in self._post.journal.recall_all(_KIND).items()}
        for name in sorted(known, key=lambda name: known[name])[: -_KEPT + 1]:
            self._post.forget(_KIND, name)
        self._post.remember(_KIND, bundle.statement.digest.hex(), encode_base64(bundle.encode()))
        return bundle

    @staticmethod
    def _first(text: str) -> int:
        return Prekeys.parse(decode_base64(text, "a bundle")).first
