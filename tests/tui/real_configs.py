"""Real files of a training, and the part of Services that reads them as the engine does."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from diagnostics.config.argv import parse_launch
from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import ConfigError
from diagnostics.history import Snapshot
from diagnostics.memory.advice import Advice, advise
from diagnostics.rule_reader import Rule
from diagnostics.ruleset import bundled_rules, load_rules
from diagnostics.runs.advising import case_of
from diagnostics.runs.config_look import ConfigCheck, ConfigLook, check_config, look_at_config
from diagnostics.runs.model import Launch, Run

CONFIG = """\
# an 8B model on one card
model_name_or_path: meta-llama/Llama-3.1-8B-Instruct
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: mine
template: llama3
cutoff_len: 2048
output_dir: saves
per_device_train_batch_size: 4  # samples at once
gradient_accumulation_steps: 2
learning_rate: 1.0e-4
num_train_epochs: 3.0
bf16: true
"""


class RealConfigs:
    """Looks at configs and checks them as the engine does."""

    def look_at_config(self, run: Run, snapshot: Snapshot) -> ConfigLook:
        return look_at_config(run, snapshot)

    def check_config(self, run: Run, look: ConfigLook) -> ConfigCheck:
        return check_config(run, look, rules())

    def advise(self, run: Run, look: ConfigLook) -> Advice:
        assert look.config is not None
        assert look.facts is not None
        return advise(case_of(look.config, look.facts, run.cwd))


@cache
def rules() -> tuple[Rule, ...]:
    return load_rules((bundled_rules(),)).rules


def training_in(
    folder: Path,
    text: str = CONFIG,
    *words: str,
    environ: Mapping[str, str] | None = None,
    **kinds: object,
) -> Run:
    """Write a training's files and return its run, as it would be found."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    rows = [{"instruction": f"say {n}", "input": "", "output": f"{n} " * 20} for n in range(3000)]
    (data / "mine.json").write_text(json.dumps(rows))
    (data / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "mine.json"}}))
    path = folder / "train.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    argv = ("llamafactory-cli", "train", "train.yaml", *words)
    try:
        config = EffectiveConfig(parse_document(path.read_bytes(), path), parse_launch(argv))
    except ConfigError:
        config = None
    values: dict[str, object] = {
        "name": "qwen-lora",
        "config": config,
        "cwd": folder,
        "output_dir": folder / "saves",
        "log_path": None,
        "launch": Launch(argv, folder, environ or {}),
    }
    return Run(**(values | kinds))  # type: ignore[arg-type] # each value is its field's
