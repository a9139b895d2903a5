"""The grid that records and noise are counted on: how many steps sigma has, and how many a clip.  Free of torch.

Sigma is fixed, and a power of two, so that the discrete Gaussian is sampled exactly; the clip is as many steps as the
wanted noise multiplier leaves it.
"""

from typing import Final

from fedspallm_secure.pruning.discrete_gaussian import MOST_BITS

SIGMA_BITS: Final = MOST_BITS
SIGMA: Final = 1 << SIGMA_BITS  # standard deviation of the noise, in steps of the grid
MOST_STEPS: Final = 1 << 30  # the clip in steps, at most: its square fits 64 bits


def clip_steps(noise_multiplier: float) -> int:
    """The clip in steps of the grid, such that sigma is at least `noise_multiplier` times the clip.

    Raises ValueError outside 2^-10..2^10, where the grid would be too coarse or the squares too large.
    """
    if not 2.0**-10 <= noise_multiplier <= 2.0**10:
        raise ValueError(f"a noise multiplier of {noise_multiplier:g} lies outside 1/1024..1024")
    steps = min(int(SIGMA / noise_multiplier), MOST_STEPS)
    return steps - (SIGMA / steps < noise_multiplier)
