"""P1 and P2 on a GPU: `python -m benchmarks.gpu`, absolute seconds and peak GPU memory of both sides.

Two grounds: a whole small model in float32, with the perplexity of both results, and two random blocks of the shape of
Llama 7B in bfloat16 on 128 x 2,048 tokens.  The peer is the published algorithm run literally on the same GPU; its
weights stay there.  Ours reads the blocks from disk and writes each result durably.  `--device cpu --small` tries the
script itself.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks import literal
from benchmarks.measure import SEED, Ground, alternate, make_ground, surroundings
from benchmarks.pruning import METHODS, prune
from fedspallm_secure.app import member
from fedspallm_secure.app.evaluation import perplexities
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.walking.walk import Walk
from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.storage.checkpoints.layers import load_layer

DEMO = Path(__file__).parent.parent / "examples/demo"
SHAPE = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": 32}
DEPTH = 2
SMALL = {"hidden_size": 64, "intermediate_size": 176, "num_attention_heads": 4, "num_key_value_heads": 4}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--model", type=Path, default=DEMO / "model")
    parser.add_argument("--text", type=Path, default=DEMO / "texts/manual.calib.txt")
    parser.add_argument("--test", type=Path, default=DEMO / "texts/manual.test.txt")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="blocks of width 64, to try the script")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    where = {**surroundings(sys.argv[1:]), **_card(options.device)}
    where["command"] = " ".join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]])
    print(", ".join(f"{key} {value}" for key, value in where.items()), "\n")
    print("| row | what | literal, s | ours, s | ratio | literal, GiB | ours, GiB | figures |")
    print("|---|---|---|---|---|---|---|---|")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        small = _whole_model(options)
        large = _large_blocks(Path(folder) / "large", options)
        for ground, what in ((small, "whole model, float32"), (large, f"{DEPTH} blocks of Llama 7B, bfloat16")):
            for pruner in (Pruner.SPARSEGPT, Pruner.WANDA):
                row = measure(ground, pruner, options.device, options.times)
                print(markdown(row | {"what": f"{pruner}, {what}, {_tokens(ground)}"}), flush=True)
                found.append(row)
    if options.out:
        options.out.write_text(json.dumps({"where": where, "rows": found}, indent=2) + "\n")


def _whole_model(options: argparse.Namespace) -> Ground:
    ground = make_ground(options.model, options.text, options.test, 64, 256)
    shop = open_workshop(options.model, ComputeSettings(device=options.device, dtype="float32"))
    return Ground(options.model, shop, ground.calibration, ground.tests)


def _large_blocks(folder: Path, options: argparse.Namespace) -> Ground:
    """A random model of few layers on disk, and random windows."""
    windows, length = (4, 64) if options.small else (128, 2048)
    shape = SMALL if options.small else SHAPE
    torch.manual_seed(SEED)
    config = LlamaConfig(num_hidden_layers=DEPTH, vocab_size=4096, max_position_embeddings=length, **shape)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    shop = open_workshop(folder, ComputeSettings(device=options.device, dtype="bfloat16"))
    ids = torch.randint(0, 4096, (windows, length), generator=torch.Generator().manual_seed(SEED))
    return Ground(folder, shop, ids, ids[:0])


def measure(ground: Ground, pruner: Pruner, device: str, times: int) -> dict[str, Any]:
    """Seconds, GPU memory, and whether both sides computed the same, for the whole model."""
    blocks = len(ground.workshop.skeleton.blocks)
    dtype = ground.workshop.skeleton.dtype
    dense = AutoModelForCausalLM.from_pretrained(ground.model, dtype=dtype).eval().to(device)
    windows = ground.calibration.to(device)

    def peer() -> Any:
        model = copy.deepcopy(dense)
        literal.prune(model, windows, METHODS[pruner], 0.5)
        _wait(device)
        return model

    def ours() -> dict[int, Path]:
        with tempfile.TemporaryDirectory() as folder:
            prune(ground, pruner, blocks, Path(folder))
            _wait(device)
        return {}

    theirs, mine = alternate(peer, ours, times)
    row: dict[str, Any] = {"name": "P1" if pruner is Pruner.SPARSEGPT else "P2", "literal": theirs, "ours": mine}
    row["peaks"] = [_peak(run, device) for run in (peer, ours)]
    with _phases(device) as phases:
        ours()
    row["figures"] = {**_compare(ground, pruner, peer(), dense), "phases": phases}
    return row


def _compare(ground: Ground, pruner: Pruner, peer: Any, dense: Any) -> dict[str, Any]:
    """Exact sparsity, finite weights, agreement of keep-masks with the peer, and perplexity where there is text."""
    figures: dict[str, Any] = {}
    same = total = dropped = 0
    with tempfile.TemporaryDirectory() as folder:
        revision = prune(ground, pruner, len(ground.workshop.skeleton.blocks), Path(folder))
        for file in revision.layers.values():
            for name, matrix in load_layer(file)[0].items():
                assert bool(torch.isfinite(matrix.weight).all()), name
                assert not bool(matrix.weight[~matrix.keep].any()), name
                assert int((~matrix.keep).sum()) == -(-matrix.keep.numel() // 2), name
                theirs = peer.get_parameter(name).cpu()
                assert bool(torch.isfinite(theirs).all()), name
                same += int(((theirs != 0) == matrix.keep).sum())
                dropped += int((~matrix.keep).sum())
                total += matrix.keep.numel()
        figures["sparsity"], figures["keep-masks agree"] = f"{dropped / total:.4%}", f"{same / total:.3%}"
        if len(ground.tests):
            tests = ground.tests.to(dense.device)
            theirs = literal.perplexity(peer, tests)
            mine = perplexities(ground.workshop, revision, {"test": ground.tests}, Silent(), "measure").mean
            figures["perplexity dense"] = f"{literal.perplexity(dense, tests):.3f}"
            figures["literal"], figures["ours"] = f"{theirs:.3f}", f"{mine:.3f} ({mine / theirs - 1:+.3%})"
    return figures


@contextmanager
def _phases(device: str) -> Iterator[dict[str, str]]:
    """Seconds that one run of ours spends where, the device finished after each."""
    seconds: dict[str, float] = {}
    places = [
        (Walk, "__init__", "embed"),
        (Walk, "observe", "observe"),
        (Walk, "advance", "advance"),
        (member, "prune_together", "solve"),
        (member, "save_layer", "save"),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in places]

    def timed(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            _wait(device)
            start = perf_counter()
            result = function(*args, **kwargs)
            _wait(device)
            seconds[phase] = seconds.get(phase, 0.0) + perf_counter() - start
            return result

        return run

    shown: dict[str, str] = {}
    begun = perf_counter()
    try:
        for (owner, name, phase), (_, _, function) in zip(places, kept, strict=True):
            setattr(owner, name, timed(function, phase))
        yield shown
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)
        seconds["rest"] = perf_counter() - begun - sum(seconds.values())
        shown.update({phase: f"{value:.2f}" for phase, value in seconds.items()})


def _peak(run: Callable[[], Any], device: str) -> float:
    """GiB of GPU memory that a run takes above what was there before."""
    if not device.startswith("cuda"):
        run()
        return 0.0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return (torch.cuda.max_memory_allocated() - before) / 2**30


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _card(device: str) -> dict[str, str]:
    if not device.startswith("cuda"):
        return {"device": device}
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {"card": shown or torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}


def _tokens(ground: Ground) -> str:
    return f"{len(ground.calibration)} x {ground.calibration.shape[1]} tokens"


def markdown(row: dict[str, Any]) -> str:
    """A line of the table in docs/BENCHMARKS.md: medians."""
    theirs, mine = (sorted(row[side])[len(row[side]) // 2] for side in ("literal", "ours"))
    peaks = " | ".join(f"{peak:.2f}" for peak in row["peaks"])
    figures = dict(row["figures"])
    phases = ", ".join(f"{phase} {seconds}" for phase, seconds in figures.pop("phases").items())
    text = "; ".join(f"{key} {value}" for key, value in figures.items())
    head = f"| {row['name']} | {row['what']} | {theirs:.2f} | {mine:.2f} | **{theirs / mine:.2f}** | {peaks} "
    return f"{head}| {text}; ours: {phases} |"


if __name__ == "__main__":
    main()
