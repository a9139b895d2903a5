"""One silo prunes the demo's model with Wanda, without the command line.

Takes some seconds.  Perplexity is measured before and after on text the silo did not calibrate with.
"""

import tempfile
from pathlib import Path

from fedspallm_secure.app.calibration import Tokenizer, calibration_windows, test_windows
from fedspallm_secure.app.evaluation import perplexities
from fedspallm_secure.app.member import LocalPruning
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.runner import write_revision
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.pruning.patterns import NofM
from fedspallm_secure.pruning.pruners import LocalSpec, Pruner
from fedspallm_secure.storage.texts import TextFile

demo = Path(__file__).parent / "demo"
workshop = open_workshop(demo / "model", ComputeSettings())
dense = Revision(workshop.skeleton.checkpoint)

tokenizer = Tokenizer(demo / "model", workshop.skeleton.vocabulary)
calibration = tokenizer.encode(TextFile("manual", demo / "texts/manual.calib.txt"))
held_out = tokenizer.encode(TextFile("manual", demo / "texts/manual.test.txt"))
windows = calibration_windows(calibration, samples=8, seqlen=256, seed=seed_bytes(0))
tests = {"manual": test_windows(held_out, seqlen=256, most=8)}

with tempfile.TemporaryDirectory() as folder:
    pruning = LocalPruning(workshop, dense, windows, LocalSpec(Pruner.WANDA, NofM(2, 4)))
    layers = pruning.run(range(len(workshop.skeleton.blocks)), Path(folder) / "layers", Silent(), "prune")
    pruned = dense.with_layers(layers)
    write_revision(workshop.skeleton, pruned, Path(folder) / "model")
    before = perplexities(workshop, dense, tests, Silent(), "before").mean
    after = perplexities(workshop, pruned, tests, Silent(), "after").mean

print(f"perplexity {before:.2f} dense, {after:.2f} at 2:4")
assert before < after < 3 * before
