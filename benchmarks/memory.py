"""P9: a member's peak memory as the model grows deeper, and against the size of the model on disk.

Models of the same width and growing depth are made on the spot with random weights, one shard per layer.  Each is
pruned with Wanda in a process of its own, hidden states spilled to disk; the figure is peak memory above that of the
same process after its imports.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from benchmarks.measure import Row

WIDTH, INNER, HEADS, VOCABULARY = 1024, 2816, 8, 1024
DEPTHS = (4, 8, 16)

CHILD = """
import json, sys, tempfile
from fractions import Fraction
from pathlib import Path
import torch
from fedspallm_secure.app.member import LocalPruning
from fedspallm_secure.app.memory import peak_bytes
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.workshop import ComputeSettings, open_workshop
from fedspallm_secure.pruning.patterns import Unstructured
from fedspallm_secure.pruning.pruners import LocalSpec, Pruner

(torch.randn(512, 512) @ torch.randn(512, 512)).sum()
before = peak_bytes()
with tempfile.TemporaryDirectory(dir=sys.argv[2]) as folder:
    compute = ComputeSettings(device="cpu", dtype="float32", activation_budget=0)
    shop = open_workshop(Path(sys.argv[1]), compute, Path(folder))
    ids = torch.randint(0, shop.skeleton.vocabulary, (4, 128), generator=torch.Generator().manual_seed(0))
    spec = LocalSpec(Pruner.WANDA, Unstructured(Fraction(1, 2)))
    layers = range(len(shop.skeleton.blocks))
    LocalPruning(shop, Revision(shop.skeleton.checkpoint), ids, spec).run(layers, Path(folder) / "out", Silent(), "p")
print(json.dumps({"before": before, "peak": peak_bytes()}))
"""


def measure() -> list[Row]:
    """Peak of each depth over that of the shallowest, and the deepest model's size over its peak."""
    peaks, sizes = {}, {}
    for depth in DEPTHS:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model"
            sizes[depth] = make_model(model, depth)
            found = _child(model, Path(folder))
            peaks[depth] = found["peak"] - found["before"]
    mebibytes = {f"{depth} layers": f"{peak / 2**20:.0f} MiB" for depth, peak in peaks.items()}
    first, last = DEPTHS[0], DEPTHS[-1]
    flat = Row("P9", f"peak above imports, {last} layers over {first}", "flat: about 1", [peaks[last] / peaks[first]])
    flat.figures = mebibytes
    larger = Row(
        "P9", f"model on disk ({last} layers) over peak", "> 1: larger than memory", [sizes[last] / peaks[last]]
    )
    larger.figures = {"on disk": f"{sizes[last] / 2**20:.0f} MiB"}
    return [flat, larger]


def _child(model: Path, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", CHILD, str(model), str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


def make_model(folder: Path, depth: int) -> int:
    """Write a random Llama of `depth` layers, one shard per layer, one layer in memory; returns its bytes."""
    folder.mkdir()
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=depth,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        tie_word_embeddings=True,
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(folder)
    weight_map: dict[str, str] = {}
    total = _save(folder, "rest.safetensors", _rest(), weight_map)
    for layer in range(depth):
        total += _save(folder, f"layer-{layer}.safetensors", _layer(layer), weight_map)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def _save(folder: Path, shard: str, tensors: dict[str, torch.Tensor], weight_map: dict[str, str]) -> int:
    save_file(tensors, folder / shard, {"format": "pt"})
    weight_map.update(dict.fromkeys(tensors, shard))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _rest() -> dict[str, torch.Tensor]:
    return {"model.embed_tokens.weight": torch.randn(VOCABULARY, WIDTH) * 0.02, "model.norm.weight": torch.ones(WIDTH)}


def _layer(layer: int) -> dict[str, torch.Tensor]:
    shapes = {f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qkvo"}
    shapes |= {"mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH), "mlp.down_proj": (WIDTH, INNER)}
    tensors = {f"{name}.weight": torch.randn(shape) * 0.02 for name, shape in shapes.items()}
    tensors |= {f"{name}_layernorm.weight": torch.ones(WIDTH) for name in ("input", "post_attention")}
    return {f"model.layers.{layer}.{name}": tensor for name, tensor in tensors.items()}
