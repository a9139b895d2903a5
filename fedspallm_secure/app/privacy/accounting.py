"""Noise from a privacy budget, and what was spent of it: by the `dp-accounting` library, from the extra `dp`.

Rényi accounting, because the bound alpha / (2 sigma^2) holds for the discrete Gaussian as it stands, in any number of
dimensions (Canonne, Kamath and Steinke 2020).  The tighter curve of the continuous Gaussian holds for it only nearly.
"""

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


def noise_multiplier(epsilon: float, delta: float, releases: int) -> float:
    """The least sigma, in units of the clip, for so many releases together.  Raises MissingExtra."""
    library = _library()
    found = library.calibrate_dp_mechanism(
        library.rdp.RdpAccountant,
        lambda multiplier: _event(library, multiplier, releases),
        epsilon,
        delta,
    )
    return float(found)


def spent_epsilon(multiplier: float, releases: int, delta: float) -> float:
    """The epsilon at `delta` of so many releases with a sigma of `multiplier` clips; 0 for none.  As above."""
    if releases == 0:
        return 0.0
    library = _library()
    accountant = library.rdp.RdpAccountant()
    accountant.compose(_event(library, multiplier, releases))
    return float(accountant.get_epsilon(delta))


def _event(library: Any, multiplier: float, releases: int) -> Any:
    return library.SelfComposedDpEvent(library.GaussianDpEvent(multiplier), releases)
