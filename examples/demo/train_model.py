"""Train the small Llama-style demo model and its tokenizer from scratch, on the CPU.

`make_texts.py` must have run before: it leaves the training texts in the work folder.  The result is a
folder that `transformers` loads offline.  How long to train is given in minutes (the learning rate then
follows the clock, so that a run ends on time on a busy machine too) or in steps (to repeat a run).

    python train_model.py --work WORK --minutes 30
    python train_model.py --evaluate                  # test perplexities of the model that is there
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
DOMAINS = ("code", "dictionary", "manual", "novel", "speeches")

VOCABULARY = 2_048  # tokens, two of them special; small, so that the weights are not mostly embeddings
BOS, EOS = 0, 1  # ids of <s> and </s>
TOKENIZER_CHARS = 900_000  # characters of each domain that the tokenizer learns from (equal shares)
WINDOW = 256  # tokens in a training sequence and in an evaluation window
BATCH = 16  # sequences in a step
PEAK_RATE, LAST_RATE = 3e-3, 1e-4  # learning rate after warm-up and at the end of the cosine
WARMUP_STEPS = 150
REPORT_STEPS = 250  # how often losses are printed and the model is saved
HELD_OUT_TOKENS = 20 * WINDOW  # of each domain's training text, kept for the printed held-out loss
MODEL_BYTES = 4_000_000  # upper limit of the whole model folder


def demo_config() -> LlamaConfig:
    """Shape of the demo model: every matrix side is a multiple of 8, so that 2:4 and 4:8 patterns fit."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=416,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
        initializer_range=0.04,
    )


# ---------------------------------------------------------------------------------------------------------
# Texts and tokens


def training_documents(work: Path, domain: str) -> list[str]:
    """Documents of one domain's training text."""
    lines = (work / f"{domain}.train.jsonl").read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["text"]) for line in lines]


def train_tokenizer(work: Path, folder: Path) -> Tokenizer:
    """Byte-level BPE tokenizer learnt from equal shares of all domains and saved for transformers."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>"],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    shares = ["\n\n".join(training_documents(work, name))[:TOKENIZER_CHARS] for name in DOMAINS]
    tokenizer.train_from_iterator(shares, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A",
        pair="<s> $A <s> $B",
        special_tokens=[("<s>", BOS)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {  # this class name is known to transformers 4 and 5
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return tokenizer


def token_stream(tokenizer: Tokenizer, documents: list[str]) -> torch.Tensor:
    """All documents one after the other as token ids, each between <s> and </s>."""
    encodings = tokenizer.encode_batch_fast(documents, add_special_tokens=False)
    ids = [token for encoding in encodings for token in (BOS, *encoding.ids, EOS)]
    return torch.tensor(ids, dtype=torch.long)


def windows(stream: torch.Tensor) -> torch.Tensor:
    """Evaluation windows that do not overlap: <s> and then WINDOW - 1 tokens; a shorter rest is left out."""
    count = len(stream) // (WINDOW - 1)
    rows = stream[: count * (WINDOW - 1)].reshape(count, WINDOW - 1)
    return torch.cat([torch.full((count, 1), BOS), rows], dim=1)


@dataclass(frozen=True)
class Data:
    """Token streams to train on, windows held out from them, and how often to draw each domain."""

    streams: list[torch.Tensor]
    held_out: list[torch.Tensor]
    weights: torch.Tensor


def load_data(tokenizer: Tokenizer, work: Path) -> Data:
    """Tokens of all domains; draws go with the square root of size, so that small domains count too."""
    streams, held_out = [], []
    for domain in DOMAINS:
        stream = token_stream(tokenizer, training_documents(work, domain))
        held_out.append(windows(stream[-HELD_OUT_TOKENS:]))
        streams.append(stream[:-HELD_OUT_TOKENS])
        print(f"{domain}: {len(streams[-1])} training tokens", flush=True)
    weights = torch.tensor([math.sqrt(len(stream)) for stream in streams])
    return Data(streams, held_out, weights / weights.sum())


def draw_batch(data: Data, generator: torch.Generator) -> torch.Tensor:
    """BATCH random windows; every other one begins with <s>, so that both ways of starting are learnt."""
    rows = []
    for index, domain in enumerate(torch.multinomial(data.weights, BATCH, True, generator=generator)):
        stream = data.streams[int(domain)]
        start = int(torch.randint(len(stream) - WINDOW, (1,), generator=generator))
        row = stream[start : start + WINDOW].clone()
        if index % 2 == 0:
            row[0] = BOS
        rows.append(row)
    return torch.stack(rows)


# ---------------------------------------------------------------------------------------------------------
# Losses


@torch.no_grad()
def mean_loss(model: LlamaForCausalLM, rows: torch.Tensor) -> float:
    """Mean negative log-likelihood, in nats a token, of all tokens but the first of each row."""
    total = 0.0
    for chunk in torch.split(rows, BATCH):
        logits = model(input_ids=chunk).logits[:, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten(), reduction="sum"))
    return total / (rows.shape[0] * (rows.shape[1] - 1))


def unigram_perplexity(rows: torch.Tensor) -> float:
    """Perplexity of the rows under their own token frequencies: the best that ignores all context."""
    counts = torch.bincount(rows[:, 1:].flatten(), minlength=VOCABULARY).double()
    shares = counts[counts > 0] / counts.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def evaluate(folder: Path, texts: Path) -> None:
    """Print the perplexity of the saved model, computed in float32, on every test text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for domain in DOMAINS:
        text = (texts / f"{domain}.test.txt").read_text(encoding="utf-8")
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        rows = windows(torch.tensor(ids))
        print(
            f"{domain}: test perplexity {math.exp(mean_loss(model, rows)):.2f} over {rows.shape[0]} windows"
            f" (unigram {unigram_perplexity(rows):.1f}; {len(text) / len(ids):.2f} characters a token)"
        )


# ---------------------------------------------------------------------------------------------------------
# Training


def rate_at(step: int, done: float) -> float:
    """Learning rate: half a cosine over the part of the run that is `done`, lower during warm-up."""
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    return min(1.0, (step + 1) / WARMUP_STEPS) * (LAST_RATE + (PEAK_RATE - LAST_RATE) * cosine)


def make_optimizer(model: LlamaForCausalLM) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only; norm gains are not decayed."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    gains = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95), fused=True)


def loss_function(model: LlamaForCausalLM, compiled: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Training loss of a batch in bfloat16 arithmetic; compiling makes it about a quarter faster."""
    run = torch.compile(model) if compiled else model

    def loss(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            result: torch.Tensor = run(input_ids=batch, labels=batch, use_cache=False).loss
        return result

    return loss


def save_model(model: LlamaForCausalLM, folder: Path) -> LlamaForCausalLM:
    """Save the weights as bfloat16, which halves the files; gives back the copy that was saved."""
    stored = LlamaForCausalLM(model.config).eval()
    stored.load_state_dict(model.state_dict())
    for parameter in stored.parameters():  # not the rotary table, which transformers keeps in float32
        parameter.data = parameter.data.to(torch.bfloat16)
    stored.config.dtype = torch.bfloat16
    stored.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    return stored


def report(model: LlamaForCausalLM, data: Data, step: int, loss: float, seconds: float) -> None:
    """Print one line of progress: training loss and held-out loss of each domain, in nats a token."""
    model.eval()
    losses = [mean_loss(model, rows) for rows in data.held_out]
    model.train()
    shown = " ".join(f"{name} {value:.3f}" for name, value in zip(DOMAINS, losses, strict=True))
    print(f"step {step} {seconds / 60:.1f} min loss {loss:.3f} held out: {shown}", flush=True)


def train(model: LlamaForCausalLM, data: Data, arguments: argparse.Namespace) -> None:
    """Train for the given number of steps or, if there is none, for the given minutes."""
    loss_of = loss_function(model, not arguments.no_compile)
    optimizer = make_optimizer(model)
    generator = torch.Generator().manual_seed(arguments.seed)
    loss_of(draw_batch(data, torch.Generator().manual_seed(0)))  # compiles, outside the time measured
    step, done, smooth, began = 0, 0.0, 0.0, time.monotonic()
    while done < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, done)
        loss = loss_of(draw_batch(data, generator))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        smooth = loss.item() if step == 1 else 0.98 * smooth + 0.02 * loss.item()
        seconds = time.monotonic() - began
        done = step / arguments.steps if arguments.steps else seconds / (60 * arguments.minutes)
        if step % REPORT_STEPS == 0 or done >= 1.0:
            report(model, data, step, smooth, seconds)
            save_model(model, arguments.out)


def check_saved(model: LlamaForCausalLM, rows: torch.Tensor, folder: Path) -> None:
    """Fail if the loaded model does not give the loss of the one in memory, or the folder is too large."""
    stored = save_model(model, folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    before, after = mean_loss(stored, rows), mean_loss(loaded, rows)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"round trip: loss {before:.6f} in memory, {after:.6f} loaded; folder has {size} bytes")
    if before != after or loaded.dtype != torch.bfloat16 or size > MODEL_BYTES:
        raise SystemExit("the saved model is not the trained one, or its folder is too large")


def read_arguments() -> argparse.Namespace:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder where make_texts.py left the training texts")
    parser.add_argument("--out", type=Path, default=HERE / "model", help="folder for the model")
    parser.add_argument("--minutes", type=float, default=30.0, help="time to train, if --steps is not given")
    parser.add_argument("--steps", type=int, default=0, help="number of steps")
    parser.add_argument("--seed", type=int, default=20, help="seed of weights and batches")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--no-compile", action="store_true", help="do without torch.compile")
    parser.add_argument("--evaluate", action="store_true", help="only measure test perplexities")
    arguments = parser.parse_args()
    if not arguments.evaluate and arguments.work is None:
        parser.error("--work is needed to train")
    return arguments


def main() -> None:
    """Train, check and evaluate, or only evaluate."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    if not arguments.evaluate:
        torch.manual_seed(arguments.seed)
        arguments.out.mkdir(parents=True, exist_ok=True)
        data = load_data(train_tokenizer(arguments.work, arguments.out), arguments.work)
        model = LlamaForCausalLM(demo_config())
        print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters", flush=True)
        train(model, data, arguments)
        check_saved(model, torch.cat(data.held_out), arguments.out)
    evaluate(arguments.out, HERE / "texts")


if __name__ == "__main__":
    main()
