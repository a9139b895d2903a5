"""The keys of one round at a key holder: what is published of them, and the secrets that are erased after it."""

from dataclasses import dataclass, field
from typing import Final, Self

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.he import bfv
from fedspallm_secure.he.keys import SecretKey
from fedspallm_secure.he.parameters import Parameters
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey

VALID: Final = 90 * 86_400  # seconds for which a key may be used


@dataclass(frozen=True, slots=True)
class RoundSecret:
    """Both secret halves.  decryption: of sums; recipient: of members' seeds."""

    decryption: SecretKey = field(repr=False)
    recipient: RecipientSecret = field(repr=False)

    def encode(self) -> bytes:
        """One after the other, to be kept encrypted."""
        return self.recipient.secret + bytes(self.decryption.view)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read it back.  Raises FormatError."""
        size = Kem.HYBRID.secret_size
        return cls(SecretKey(data[size:]), RecipientSecret(Kem.HYBRID, data[:size]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.decryption.wipe()


def make_round_key(
    signer: Signer, federation: str, party: Party, index: int, parameters: Parameters, now: int
) -> tuple[CipherKey, RoundSecret]:
    """New keys, stated by the key holder.  now: Unix seconds.  Raises WorkerLost or MissingExtra."""
    pair, recipient = bfv.generate(parameters), RecipientSecret.generate(Kem.HYBRID)
    public, until = recipient.recipient_key, now + VALID
    key = CipherKey.make(signer, federation, party, index, parameters, pair.public, public, now, until)
    return key, RoundSecret(pair.secret, recipient)
