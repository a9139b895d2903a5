"""The settings of the demonstration that ships with the project."""

from pathlib import Path

from fedspallm_secure.app.privacy.settings import PrivacySettings
from fedspallm_secure.app.settings import COMPARISONS, NOISELESS, SimulationSettings
from fedspallm_secure.errors import MissingInput
from fedspallm_secure.pruning.patterns import Unstructured, parse_sparsity
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.storage.texts import TextFile

_HERE = Path("examples/demo")


def demo_settings(out: Path, data: Path | None = None, privacy: PrivacySettings | None = None) -> SimulationSettings:
    """Five silos, SparseGPT at 50 %, or Wanda with noise, which also says what the noise cost.

    data: folder with `model/` and `texts/`.  Raises MissingInput.
    """
    folder = data or _find_data()
    texts = folder / "texts"
    names = sorted(file.name.removesuffix(".calib.txt") for file in texts.glob("*.calib.txt"))
    if not names:
        raise MissingInput(f"{folder} does not hold the demo's texts")
    return SimulationSettings(
        model=folder / "model",
        silos=tuple(TextFile(name, texts / f"{name}.calib.txt") for name in names),
        tests=tuple(TextFile(name, texts / f"{name}.test.txt") for name in names),
        schedule=(Unstructured(parse_sparsity("0.5")),),
        out=out,
        pruner=Pruner.SPARSEGPT if privacy is None else Pruner.WANDA,
        # Noise is the same for few records as for many, so there are as many as the texts give.
        samples=32 if privacy is None else 256,
        seqlen=256 if privacy is None else 128,
        test_tokens=8192,
        # With noise it is asked what that costs, and there are more windows to walk: the other yardsticks are left out.
        compare=COMPARISONS if privacy is None else ("standalone", NOISELESS),
        privacy=privacy,
    )


def _find_data() -> Path:
    checkout = Path(__file__).resolve().parents[2] / _HERE
    for folder in (checkout, _HERE):
        if folder.is_dir():
            return folder
    raise MissingInput(
        "the demo's model and texts are not here",
        hint="run it in a checkout of the project, or name their folder with --data",
    )
