"""How long a memory prediction takes, beside accelerate's estimator.

usage: python benchmarks/memory.py [--repeats 20] [--accelerate PYTHON]

Timed are one prediction in a process that has already started (a config's text to a verdict), the
search for the GPUs and the model's files with it, `llamavet estimate` as a whole command, and
`python -c pass` for what of that is Python itself. With the Python of an environment that has
accelerate and transformers, so is what `accelerate estimate-memory` does after it asked the Hub:
its imports, an empty model, and its sizes. The model is a made-up folder with an 8B Llama's
`config.json`. Figures are medians, of wall-clock seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.memory.estimate import predict
from diagnostics.memory.facts import forecast_config
from diagnostics.runs.forecasting import gather_facts

MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
TRAINING = "model_name_or_path: {model}\nfinetuning_type: lora\nbf16: true\n"
ACCELERATE = """
import sys, time
begun = time.perf_counter()
import torch
from accelerate import init_empty_weights
from accelerate.utils import calculate_maximum_sizes
from transformers import AutoConfig, AutoModel
imported = time.perf_counter()
config = AutoConfig.from_pretrained(sys.argv[1])
with init_empty_weights():
    model = AutoModel.from_config(config, dtype=torch.float32)
total, _ = calculate_maximum_sizes(model)
print(imported - begun, time.perf_counter() - imported, total)
"""
GOAL_S = 0.05


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of a piece of work."""
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def run(argv: list[str], folder: Path) -> str:
    """Run a command to its end; return what it printed."""
    environ = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        argv, cwd=folder, check=True, capture_output=True, text=True, env=environ
    ).stdout


def ours(folder: Path, repeats: int) -> None:
    """Print the figures of this project."""
    text = TRAINING.format(model=folder).encode()
    file = folder / "train.yaml"
    file.write_bytes(text)
    facts = gather_facts(EffectiveConfig(parse_document(text)), folder, {})

    def predicting() -> None:
        predict.cache_clear()
        forecast_config(EffectiveConfig(parse_document(text)), facts)

    def gathering() -> None:
        predict.cache_clear()
        config = EffectiveConfig(parse_document(text))
        forecast_config(config, gather_facts(config, folder, {}))

    one = seconds(predicting, repeats)
    tell("one prediction, after start", one, f"goal {GOAL_S} s: {GOAL_S / one:.0f} times as fast")
    tell("with the search for model and GPUs", seconds(gathering, repeats))
    command = [str(Path(sys.executable).with_name("llamavet")), "estimate", str(file)]
    tell("llamavet estimate, whole", seconds(lambda: run(command, folder), repeats))
    bare = [sys.executable, "-c", "pass"]
    tell("python -c pass", seconds(lambda: run(bare, folder), repeats))


def theirs(python: Path, folder: Path, repeats: int) -> None:
    """Print the figures of accelerate, in another environment."""
    argv = [str(python), "-c", ACCELERATE, str(folder)]
    parts: list[list[float]] = []

    def estimating() -> None:
        parts.append([float(part) for part in run(argv, folder).split()])

    whole = seconds(estimating, max(1, repeats // 5))
    imports, work, total = (statistics.median(column) for column in zip(*parts, strict=True))
    tell("accelerate estimate-memory, without the Hub", whole, f"imports {imports:.1f} s")
    tell("  an empty model and its sizes", work, f"{total / 2**30:.1f} GiB in float32")


def tell(what: str, taken: float, note: str = "") -> None:
    """Print one figure."""
    print(f"{what:46}{taken * 1000:10.1f} ms   {note}".rstrip())


def main() -> None:
    """Make the folder and print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=20)
    options.add_argument("--accelerate", type=Path, help="a Python that has accelerate")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "config.json").write_text(json.dumps(MODEL))
        ours(folder, chosen.repeats)
        if chosen.accelerate is not None:
            theirs(chosen.accelerate, folder, chosen.repeats)


if __name__ == "__main__":
    main()
