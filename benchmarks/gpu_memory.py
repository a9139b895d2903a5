"""GPU memory that pruning takes, against what is foretold: `python -m benchmarks.gpu_memory [SHARE ...]`.

Two blocks of each shape are pruned without a limit, and with `[budget] gpu_memory` at shares of what is foretold.
"""

import gc
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.measure import SEED, surroundings
from fedspallm_secure.app.inspection import estimate_cost
from fedspallm_secure.app.member import LocalPruning
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.service.pruning import limit_gpu
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.workshop import ComputeSettings, Workshop, open_workshop
from fedspallm_secure.pruning.patterns import Unstructured
from fedspallm_secure.pruning.pruners import LocalSpec, Pruner

_LARGE: Final = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32}
_SMALL: Final = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8}
_CASES: Final = ((_LARGE, "bfloat16", 128, 2048), (_LARGE, "float32", 16, 512), (_SMALL, "bfloat16", 128, 2048))
_GIB: Final = 1 << 30


def main() -> None:
    """Measure and print, line by line."""
    shares = [None, *map(float, sys.argv[1:])]
    print(surroundings(sys.argv[1:]), torch.cuda.get_device_name())
    for shape, dtype, windows, length in _CASES:
        with tempfile.TemporaryDirectory() as folder:
            _make(Path(folder) / "model", shape, dtype, length)
            ids = torch.randint(0, 4096, (windows, length), generator=torch.Generator().manual_seed(SEED))
            for pruner in Pruner:
                print(f"{shape}, {dtype}, {windows} x {length} tokens, {pruner}", flush=True)
                _measure(Path(folder), dtype, pruner, ids, shares)


def _make(folder: Path, shape: dict[str, int], dtype: str, length: int) -> None:
    torch.cuda.set_per_process_memory_fraction(1.0, 0)
    torch.manual_seed(SEED)
    config = LlamaConfig(num_hidden_layers=2, vocab_size=4096, max_position_embeddings=length, **shape)
    with torch.device("cuda", 0):
        LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)


def _measure(folder: Path, dtype: str, pruner: Pruner, ids: Tensor, shares: Sequence[float | None]) -> None:
    for share in shares:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
        shop = open_workshop(folder / "model", ComputeSettings(device="cuda", dtype=dtype))
        need = estimate_cost(shop, pruner, *ids.shape, rate=1.0).memory
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        limit_gpu(shop.skeleton.device, None if share is None else int(need * share))
        ended = _prune(shop, pruner, ids, folder / f"{pruner}-{share}")
        allocated, reserved = torch.cuda.max_memory_allocated() / _GIB, torch.cuda.max_memory_reserved() / _GIB
        limit = "no limit" if share is None else f"within {need * share / _GIB:.2f}"
        print(f"  foretold {need / _GIB:.2f} GiB, {limit}: {ended}, {allocated:.2f} allocated, {reserved:.2f} reserved")


def _prune(shop: Workshop, pruner: Pruner, ids: Tensor, folder: Path) -> str:
    spec = LocalSpec(pruner, Unstructured(Fraction(1, 2)))
    try:
        LocalPruning(shop, Revision(shop.skeleton.checkpoint), ids, spec).run([0, 1], folder, Silent(), "prune")
    except torch.OutOfMemoryError:
        return "out of memory"
    return "done"


if __name__ == "__main__":
    main()
