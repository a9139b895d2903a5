"""Noise from a privacy budget, and what was spent of it: by the `dp-accounting` library, from the extra `dp`.

Rényi accounting, because the bound alpha / (2 sigma^2) holds for the discrete Gaussian as it stands, in any number of
dimensions (Canonne, Kamath and Steinke 2020).  The tighter curve of the continuous Gaussian holds for it only nearly.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fedspallm_secure.errors import MissingExtra


def _library() -> Any:
    try:
        import dp_accounting
        import dp_accounting.rdp
    except ImportError:
        raise MissingExtra(
            "differential privacy needs the dp-accounting package",
            hint="install it: pip install 'fedspallm-secure[dp]'",
        ) from None
    return dp_accounting


def check_installed() -> None:
    """Raise MissingExtra unless the library is there."""
    _library()


def noise_multiplier(epsilon: float, delta: float, releases: int, before: Sequence[float] = ()) -> float:
    """The least sigma, in units of the clip, for so many releases together.  Raises MissingExtra.

    before: sigmas of earlier releases, which count too; ValueError where they leave nothing.
    """
    library = _library()
    if before and composed_epsilon(before, delta) >= epsilon:
        raise ValueError(f"earlier releases have cost epsilon {epsilon:g}")

    def together(multiplier: float) -> Any:
        return library.ComposedDpEvent([*_events(library, before), _event(library, multiplier, releases)])

    return float(library.calibrate_dp_mechanism(library.rdp.RdpAccountant, together, epsilon, delta))


def spent_epsilon(multiplier: float, releases: int, delta: float) -> float:
    """The epsilon at `delta` of so many releases with a sigma of `multiplier` clips; 0 for none.  As above."""
    return composed_epsilon([multiplier] * releases, delta)


def composed_epsilon(multipliers: Sequence[float], delta: float) -> float:
    """The epsilon at `delta` of releases with these sigmas, in clips; 0 for none.  Raises MissingExtra."""
    if not multipliers:
        return 0.0
    library = _library()
    accountant = library.rdp.RdpAccountant()
    for event in _events(library, multipliers):
        accountant.compose(event)
    return float(accountant.get_epsilon(delta))


def _events(library: Any, multipliers: Sequence[float]) -> list[Any]:
    return [_event(library, multiplier, count) for multiplier, count in Counter(multipliers).items()]


def _event(library: Any, multiplier: float, releases: int) -> Any:
    return library.SelfComposedDpEvent(library.GaussianDpEvent(multiplier), releases)
