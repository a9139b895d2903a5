"""Measure encrypted rounds: how exact they are, what hostile ciphertexts do, what a server gets out of a key holder.

    python scripts/he_figures.py [--only TEXT] [--out FILE.md]

It writes the section "Encrypted rounds" of docs/SECURITY_FIGURES.md, and nothing else of the page.  A row that was not
run is left out, never carried over.
"""

import sys
from typing import Any

from figure_table import SEED, Figure, Section, Suites, measured, table, where, write_sections

HE_SECTION = "## Encrypted rounds\n"


def counted(found: dict[str, Any]) -> str:
    """Numbers under their names."""
    told = {name: value for name, value in found.items() if name not in ("failures", "seed")}
    told = {**{k: v for k, v in told.items() if not isinstance(v, dict)}, **told.get("counts", {})}
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in told.items() if isinstance(value, int))


def noise(found: dict[str, Any]) -> str:
    """How many sums came out wrong, and how many were predicted."""
    told = "; ".join(
        f"{one['added']} added, room for {one['room']:g} standard deviations: {one['wrong']:.1%} wrong, "
        f"{one['predicted']:.1%} predicted"
        for one in found["cases"]
    )
    return f"{found['trials']} sums of each kind under parameters that leave too little room — {told}"


def decryption(found: dict[str, Any]) -> str:
    """Attacks by the check that stopped them, and how often one replaced chunk gets through."""
    stopped = ", ".join(f"{count} {check}" for check, count in found["stopped_at"].items())
    rates = "; ".join(
        f"{int(sample) / 10:g} %: {one['missed']:,} of {one['challenges']:,}"
        for sample, one in found["replaced"].items()
    )
    return (
        f"{found['scripts']} attacks, {found['leaks']} with anything else than a sum over enough members: {stopped}; "
        f"{found['unseen']} of them again where the key holder looks at no chunks: 0. Without all that is in their way "
        f"{found['lifted']} succeed. One chunk of {found['replaced']['10']['chunks']} replaced, and not looked at, by "
        f"sample: {rates}"
    )


HE: Suites = {
    "he-exact": measured("Sums of encrypted vectors", counted, "figures.he_exact", "1000", "1"),
    "he-noise": measured("Noise, where there is hardly any room for it", noise, "figures.he_noise", "400", "1"),
    "he-ciphertexts": measured("Malformed ciphertexts and keys", counted, "attacks.ciphertexts", "500", "1"),
    "he-decryption": measured("A server wants something else decrypted", decryption, "attacks.decryption", str(SEED)),
}


def he_page(figures: list[Figure]) -> str:
    """The section about encrypted rounds."""
    return f"""{HE_SECTION}
`python scripts/he_figures.py` runs this section again. {where()}

{table(figures)}

*Exact.* Numbers of members, strategies and vectors are drawn; every sum is compared with the plain one, weight by
weight. Each run has a twin with one changed ciphertext, key or count, which has to be refused.

*Ciphertexts.* Bits are changed, ends cut off, lengths made too long; ciphertexts of other parameters, of CKKS, with
three polynomials, keys in the place of ciphertexts, streams that unpack to far more than they are, and noise. What is
still a ciphertext of these parameters is added up: no key tells whether it means anything. A crash would be one of the
process that asks; the one that reads ends with an answer or without.

*The key holder.* Real members, a real server and a real key holder, with messages in memory; encryption that hides
nothing stands for TenSEAL, so whatever would come out is seen. The rate of replaced chunks is that of the draws alone,
since a chunk that is opened and does not add up is always found.
"""


def main() -> int:
    """Run the figures; returns 1 if one does not hold."""
    return write_sections(__doc__, Section(HE_SECTION, HE, he_page))


if __name__ == "__main__":
    sys.exit(main())
