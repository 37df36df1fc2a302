"""What a check finds in a config before its launch, where, and what it leaves alone."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment, Gpu
from diagnostics.config.exclusions import EXCLUSIONS, Exclusion
from diagnostics.config.packages import NAMES as PACKAGES
from diagnostics.findings import Finding, Severity
from diagnostics.precheck.foreseen import Foreseen
from diagnostics.precheck.judge import column_of, foresee, judge
from diagnostics.precheck.packages import foresee_packages
from diagnostics.precheck.surroundings import Surroundings
from diagnostics.ruleset import load_rules
from diagnostics.runs.surroundings import look_around

RULES = load_rules().rules
NO_PACKAGES = Environment(None, dict.fromkeys(("deepspeed", "bitsandbytes", "flash_attn", "wandb")))
SOUND = """\
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
dataset: notes
template: qwen
cutoff_len: 1024
output_dir: saves/notes
overwrite_output_dir: false
logging_steps: 5
save_steps: 20
per_device_train_batch_size: 1
gradient_accumulation_steps: 2
learning_rate: 1.0e-4
num_train_epochs: 2.0
bf16: true
"""


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a folder with 120 samples, each of them fit to train on."""
    samples = [
        {"instruction": f"What is note {number}?", "input": "", "output": f"Note {number} is long."}
        for number in range(120)
    ]
    write_json(tmp_path / "data" / "notes.json", samples)
    info = {
        "notes": {"file_name": "notes.json"},
        "bare": {"file_name": "bare.json"},
        "pairs": {"file_name": "notes.json", "ranking": True},
    }
    write_json(tmp_path / "data" / "dataset_info.json", info)
    write_json(tmp_path / "data" / "bare.json", [{"question": "a", "reply": "b"}])
    return tmp_path


def config_of(text: str) -> EffectiveConfig:
    return EffectiveConfig(parse_document(text.encode(), Path("train.yaml")))


def found(text: str, cwd: Path, environment: Environment | None = None) -> list[Finding]:
    config = config_of(text)
    around = look_around(config, cwd, {}, environment)
    return list(judge(RULES, config, around, foresee(config, around)).findings)


def problems(text: str, cwd: Path, environment: Environment | None = None) -> list[str]:
    return [one.id for one in found(text, cwd, environment) if one.severity > Severity.NOTE]


def place(text: str, rule_id: str, cwd: Path, environment: Environment | None = None) -> int | None:
    finding = next(one for one in found(text, cwd, environment) if one.id == rule_id)
    return finding.evidence[0].line


def line_of(text: str, start: str) -> int:
    lines = text.splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(start))


def with_lines(*lines: str) -> str:
    """Return the sound config with lines put in place of those of the same keys."""
    kept = SOUND.splitlines()
    for line in lines:
        key = line.partition(":")[0]
        kept = [one for one in kept if one.partition(":")[0] != key]
        kept.append(line)
    return "\n".join(kept) + "\n"


def model_at(folder: Path, *, modules: tuple[str, ...] = ("q_proj", "v_proj")) -> None:
    write_json(folder / "config.json", {"model_type": "qwen2"})
    write_json(folder / "tokenizer.json", {})
    names = [f"model.layers.0.self_attn.{name}.weight" for name in modules]
    header = json.dumps({name: {} for name in names}).encode()
    data = struct.pack("<Q", len(header)) + header
    (folder / "model.safetensors").write_bytes(data)


def checkpoint_at(folder: Path, step: int, **state: object) -> Path:
    path = folder / f"checkpoint-{step}"
    write_json(path / "trainer_state.json", {"global_step": step, "max_steps": 120, **state})
    write_json(path / "adapter_config.json", {"r": 8, "target_modules": ["q_proj"]})
    (path / "adapter_model.safetensors").write_bytes(b"weights")
    return path


def test_a_sound_config_is_quiet(project: Path):
    assert found(SOUND, project) == []


@pytest.mark.parametrize(
    ("line", "rule_id"),
    [
        ("per_device_batchsize: 4", "args.unknown_key"),
        ("finetuning_type: lorra", "args.invalid_value"),
        ("lr_scheduler_type: cosinus", "args.invalid_value"),
        ("flash_attn: flash", "args.invalid_value"),
        ("template: qwenn", "data.template_unknown.check"),
        ("template: llama3", "template_mismatch"),
        ("learning_rate: 0.5", "args.lr_extreme"),
        ("cutoff_len: 4", "data.truncated"),
        ("warmup_steps: 5000", "args.warmup_beyond_run"),
        ("dataset: note", "data.undefined_dataset.check"),
        ("dataset: bare", "data.bad_format"),
        ("dataset: pairs", "data.wrong_stage"),
        ("lora_target: q_projj,v_projj", "args.lora_target_missing"),
        ("val_size: 200", "data.val_size"),
        ("resume_from_checkpoint: true", "ckpt.not_found"),
        ("resume_from_checkpoint: saves/other/checkpoint-40", "ckpt.not_found"),
        ("model_name_or_path: ./models/none", "model.not_found"),
        ("deepspeed: ds_none.json", "args.config_missing"),
    ],
)
def test_what_is_wrong_is_named_at_its_line(line: str, rule_id: str, project: Path):
    text = with_lines(line)
    key = line.partition(":")[0]
    (project / "models").mkdir()

    assert problems(text, project) == [rule_id]
    assert place(text, rule_id, project) == line_of(text, key)


def test_a_misspelt_quantization_method_is_told_as_quantizing_nothing(project: Path):
    text = with_lines("quantization_bit: 4", "quantization_method: bitsandbytes")

    assert problems(text, project) == ["quant.silently_off"]
    shown = found(text, project)[0].evidence[0]
    assert shown.line == line_of(text, "quantization_method")


@pytest.mark.parametrize(
    ("line", "rule_id"),
    [
        ("deepspeed: ds.json", "env.missing_package"),
        ("quantization_bit: 4", "quant.missing_pkg"),
        ("flash_attn: fa2", "env.flash_attn.fallback"),
        ("optim: paged_adamw_8bit", "env.missing_package"),
        ("report_to: wandb", "env.missing_package"),
    ],
)
def test_a_package_that_is_not_there_is_told_where_it_is_known(
    line: str, rule_id: str, project: Path
):
    write_json(project / "ds.json", {"train_micro_batch_size_per_gpu": "auto"})
    text = with_lines(line)

    assert problems(text, project, NO_PACKAGES) == [rule_id]
    assert place(text, rule_id, project, NO_PACKAGES) == line_of(text, line.partition(":")[0])
    assert problems(text, project, None) == []


@pytest.mark.parametrize(
    "line",
    [
        *("optim: lomo", "optim: grokadamw", "optim: adamw_torch_4bit", "optim: stable_adamw"),
        *("optim: schedule_free_adamw", "use_liger_kernel: true", "use_badam: true"),
        *("report_to: tensorboard", "report_to: neptune", "plot_loss: true"),
    ],
)
def test_the_words_for_a_missing_package_are_those_that_the_rule_of_a_log_knows(line: str):
    config = config_of(with_lines(line))
    around = Surroundings(environment=Environment(None, dict.fromkeys(PACKAGES)))

    foreseen = [replace(one, named=None) for one in foresee_packages(config, around)]

    told = judge(RULES, config, around, foreseen).findings
    assert [one.id for one in told if one.id.startswith("env.")] == ["env.missing_package"]


def test_bf16_on_a_card_before_ampere_is_told(project: Path):
    turing = Environment(None, gpus=(Gpu("Tesla T4", 2**34, (7, 5)),), gpu_source="nvidia-smi")
    ampere = Environment(None, gpus=(Gpu("A10", 2**34, (8, 6)),), gpu_source="nvidia-smi")

    assert problems(SOUND, project, turing) == ["env.no_bf16"]
    assert place(SOUND, "env.no_bf16", project, turing) == line_of(SOUND, "bf16")
    assert problems(SOUND, project, ampere) == []


def test_a_training_in_fp32_is_told_where_there_is_a_gpu(project: Path):
    ampere = Environment(None, gpus=(Gpu("A10", 2**34, (8, 6)),), gpu_source="nvidia-smi")
    text = with_lines("bf16: false")

    assert problems(text, project, ampere) == ["slow.fp32"]
    assert problems(text, project) == []


def test_a_pytorch_without_cuda_is_told_unless_the_cpu_is_asked_for(project: Path):
    cpu = Environment(None, {"torch": "2.13.0+cpu"})

    assert problems(SOUND, project, cpu) == ["env.no_cuda"]
    assert problems(with_lines("bf16: false"), project, cpu) == ["env.no_cuda.silent"]
    assert problems(with_lines("bf16: false", "use_cpu: true"), project, cpu) == []


def test_an_output_dir_with_weights_and_no_checkpoint_is_refused(project: Path):
    folder = project / "saves" / "notes"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")

    assert problems(SOUND, project) == ["args.output_dir_exists"]
    assert place(SOUND, "args.output_dir_exists", project) == line_of(SOUND, "output_dir")
    assert problems(with_lines("overwrite_output_dir: true"), project) == []


def test_a_resume_by_itself_with_another_rank_is_refused(project: Path):
    checkpoint_at(project / "saves" / "notes", 40)
    text = with_lines("lora_rank: 16")

    assert problems(text, project) == ["ckpt.resume_config_changed"]
    finding = found(text, project)[0]
    assert finding.evidence[0].line == line_of(text, "lora_rank")
    assert "rank 8" in finding.cause.en
    assert [change.new for fix in finding.fixes for change in fix.changes] == [8]
    assert problems(SOUND, project) == []


def test_a_run_that_came_to_its_end_is_not_started_again_for_nothing(project: Path):
    state = {"max_steps": 40, "num_train_epochs": 2, "train_batch_size": 1}
    checkpoint_at(project / "saves" / "notes", 40, **state)

    assert problems(SOUND, project) == ["ckpt.resume_finished"]
    assert place(SOUND, "ckpt.resume_finished", project) == line_of(SOUND, "output_dir")
    assert problems(with_lines("num_train_epochs: 3.0"), project) == []
    assert problems(with_lines("max_steps: 60"), project) == []
    assert problems(with_lines("overwrite_output_dir: true"), project) == []


@pytest.mark.parametrize("line", ["resume_from_checkpoint: true", "lora_rank: 8"])
def test_a_torn_checkpoint_is_told(line: str, project: Path):
    path = checkpoint_at(project / "saves" / "notes", 40)
    (path / "trainer_state.json").write_bytes(b"")

    assert problems(with_lines(line), project) == ["ckpt.incomplete"]


def test_a_checkpoint_without_its_last_file_is_told_by_the_path_that_names_it(project: Path):
    path = checkpoint_at(project / "saves" / "other", 40)
    (path / "trainer_state.json").unlink()
    text = with_lines("resume_from_checkpoint: saves/other/checkpoint-40")

    assert problems(text, project) == ["ckpt.incomplete"]
    assert place(text, "ckpt.incomplete", project) == line_of(text, "resume_from_checkpoint")


def test_a_deepspeed_file_is_read(project: Path):
    (project / "ds.json").write_text('{"zero_optimization": {"stage": 3},\n oops}')
    text = with_lines("deepspeed: ds.json")
    config = config_of(text)
    around = look_around(config, project, {}, None)

    finding = judge(RULES, config, around, foresee(config, around)).findings[0]

    assert finding.id == "args.yaml_syntax"
    own, theirs = finding.evidence
    assert (own.line, column_of(own, config, around)) == (line_of(text, "deepspeed"), 1)
    assert (theirs.source, theirs.line, column_of(theirs, config, around)) == ("ds.json", 2, 2)


def test_values_of_the_deepspeed_file_that_contradict_the_config_are_told(project: Path):
    value = {"train_micro_batch_size_per_gpu": 8, "bf16": {"enabled": "auto"}}
    write_json(project / "ds.json", value)
    text = with_lines("deepspeed: ds.json")

    assert problems(text, project) == ["deepspeed.config_mismatch"]
    assert "= 8" in found(text, project)[0].cause.en


def test_an_option_that_zero3_excludes_is_told(project: Path):
    write_json(project / "ds.json", {"zero_optimization": {"stage": 3}})
    text = with_lines("deepspeed: ds.json", "pure_bf16: true", "bf16: false")

    assert problems(text, project) == ["args.incompatible"]
    assert place(text, "args.incompatible", project) == line_of(text, "pure_bf16")


def test_layers_are_compared_with_those_of_a_local_model(project: Path):
    model_at(project / "model", modules=("query", "value"))
    text = with_lines("model_name_or_path: model", "lora_target: q_proj")

    assert problems(text, project) == ["args.lora_target_missing"]
    assert problems(with_lines("model_name_or_path: model", "lora_target: query"), project) == []


def test_a_local_model_that_lacks_files_is_told(project: Path):
    model_at(project / "model")
    (project / "model" / "config.json").unlink()
    text = with_lines("model_name_or_path: model")

    assert problems(text, project) == ["model.incomplete"]
    index = {"weight_map": {"a.weight": "model-00001-of-00002.safetensors"}}
    write_json(project / "model" / "config.json", {})
    write_json(project / "model" / "model.safetensors.index.json", index)
    assert problems(text, project) == ["model.incomplete"]


def test_weights_that_are_only_a_pointer_are_told(project: Path):
    model_at(project / "model")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (project / "model" / "model.safetensors").write_text(pointer)

    assert problems(with_lines("model_name_or_path: model"), project) == ["model.incomplete"]


def test_a_folder_tells_by_its_config_json_which_template_its_model_had(project: Path):
    model_at(project / "model")
    text = with_lines("model_name_or_path: model", "template: llama3")
    assert found(text, project) == []

    write_json(project / "model" / "config.json", {"_name_or_path": "Qwen/Qwen2.5-0.5B-Instruct"})

    told = found(text, project)
    assert [(one.id, one.severity) for one in told] == [("template_mismatch", Severity.NOTE)]
    assert "whose template is qwen" in told[0].cause.en


def test_a_folder_without_weights_is_told(project: Path):
    model_at(project / "model")
    (project / "model" / "model.safetensors").unlink()
    text = with_lines("model_name_or_path: model")

    assert problems(text, project) == ["model.incomplete"]
    assert problems(text + "train_from_scratch: true\n", project) == []


@pytest.mark.parametrize("cut", [4, 40, 10_000])
def test_weights_whose_download_was_cut_off_are_told_with_their_file(cut: int, project: Path):
    model_at(project / "model")
    header = json.dumps({"a.weight": {"data_offsets": [0, 20_000]}}).encode()
    whole = struct.pack("<Q", len(header)) + header + bytes(20_000)
    weights = project / "model" / "model.safetensors"
    text = with_lines("model_name_or_path: model")
    weights.write_bytes(whole)
    assert problems(text, project) == []

    weights.write_bytes(whole[:cut])

    told = found(text, project)
    assert [one.id for one in told] == ["model.incomplete"]
    assert "model/model.safetensors" in [one.source for one in told[0].evidence]


@pytest.mark.parametrize("text", ["", '{"model_type": "qwen2",', "[]"])
def test_a_config_json_that_is_none_is_told(text: str, project: Path):
    model_at(project / "model")
    (project / "model" / "config.json").write_text(text)

    assert problems(with_lines("model_name_or_path: model"), project) == ["model.incomplete"]


def test_a_model_folder_without_a_tokenizer_is_told(project: Path):
    model_at(project / "model")
    (project / "model" / "tokenizer.json").unlink()
    text = with_lines("model_name_or_path: model")
    assert problems(text, project) == ["model.incomplete"]

    (project / "model" / "qwen.tiktoken").write_text("")

    assert problems(text, project) == []


def test_a_file_in_the_place_of_a_model_folder_is_told(project: Path):
    (project / "model.gguf").write_bytes(b"GGUF")

    assert problems(with_lines("model_name_or_path: ./model.gguf"), project) == ["model.format"]


def test_an_adapter_folder_without_an_adapter_is_told(project: Path):
    (project / "adapter").mkdir()
    text = with_lines("adapter_name_or_path: adapter")

    assert problems(text, project) == ["ckpt.adapter_not_found"]


@pytest.mark.parametrize(
    "line",
    [
        "model_name_or_path: Qwen/Qwen2.5-7B-Instruct",
        "model_name_or_path: /mnt/models/Qwen2.5-7B-Instruct",
        "adapter_name_or_path: someone/adapter",
        "adapter_name_or_path: saves/of/an/earlier/run",
    ],
)
def test_nothing_is_claimed_of_what_may_be_elsewhere(line: str, project: Path):
    assert problems(with_lines(line), project) == []


def test_a_config_of_another_machine_is_not_alarmed_about(tmp_path: Path):
    elsewhere = ("model_name_or_path", "dataset_dir", "output_dir", "resume_from_checkpoint")
    text = with_lines(*(f"{key}: /lustre/me/{key}" for key in elsewhere))
    config = config_of(text)
    around = look_around(config, tmp_path, {}, None)

    told = judge(RULES, config, around, foresee(config, around))

    assert told.findings == ()
    missing = " ".join(name for one in told.blind for name in one.missing)
    assert "model_name_or_path: /lustre/me/model_name_or_path is not on this machine" in missing


def test_an_absolute_path_beside_others_that_are_there_is_wrong(project: Path):
    text = with_lines(f"dataset_dir: {project}/data", "model_name_or_path: /mnt/models/none")

    assert problems(text, project) == ["model.not_found"]


def test_several_faults_are_told_one_by_one_the_worst_first(project: Path):
    text = with_lines("learning_rate: 0.5", "optim: adamv", "finetuning_type: lorra", "lr: 1")

    told = found(text, project)

    assert [(one.id, one.severity.label) for one in told] == [
        ("args.invalid_value", "critical"),
        ("args.invalid_value", "critical"),
        ("args.unknown_key", "critical"),
        ("args.lr_extreme", "warning"),
    ]
    assert [one.primary for one in told] == [True, False, False, False]


@pytest.mark.parametrize(
    ("lines", "rule_id", "key"),
    [
        (("fp16: true",), "args.incompatible", "fp16"),
        (("do_eval: true",), "args.eval_without_data", "do_eval"),
        (("quantization_bit: 4", "finetuning_type: full"), "args.incompatible", "quantization_bit"),
        (("quantization_bit: 5",), "quant.bits", "quantization_bit"),
        (("adapter_name_or_path: a/b", "finetuning_type: full"), "args.not_lora", "adapter_name"),
        (("streaming: true",), "data.streaming", "streaming"),
        (("early_stopping_steps: 3",), "args.incompatible", "early_stopping_steps"),
        (("optim: adamv",), "args.invalid_value", "optim"),
        (("per_device_train_batch_size: 0",), "args.invalid_value", "per_device_train"),
        (("eval_strategy: no", "val_size: 0.1"), "args.invalid_value", "eval_strategy"),
        (("evaluation_strategy: steps",), "args.unknown_key", "evaluation_strategy"),
        (("learning_rate: fast",), "args.invalid_value", "learning_rate"),
        (("do_train: false",), "args.missing_required", "do_train"),
    ],
)
def test_what_llamafactory_refuses_is_named_at_its_line(
    lines: tuple[str, ...], rule_id: str, key: str, project: Path
):
    text = with_lines(*lines)

    assert rule_id in problems(text, project)
    assert place(text, rule_id, project) == line_of(text, key)


def test_a_key_that_is_not_set_and_must_be_is_told_without_a_line(project: Path):
    text = SOUND.replace("model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct\n", "")

    assert problems(text, project) == ["args.missing_required"]
    assert place(text, "args.missing_required", project) is None


def test_the_change_that_mends_an_exclusion_is_among_the_fixes(project: Path):
    told = found(with_lines("fp16: true"), project)

    changes = [(one.key, one.new) for fix in told[0].fixes for one in fix.changes]
    assert ("fp16", False) in changes


@pytest.mark.parametrize("check", [one for one in EXCLUSIONS if one.said], ids=lambda one: one.name)
def test_the_words_of_every_refusal_are_known_to_a_rule(check: Exclusion, project: Path):
    said = check.said + ": adamw_torch_fused" * check.said.endswith("Unknown optim")
    config = config_of("do_train: true\n")
    around = look_around(config, project, {}, None)

    told = judge(RULES, config, around, [Foreseen(said, check.keys)]).findings

    assert len(told) == 1
    assert told[0].severity is Severity.CRITICAL


@pytest.mark.parametrize(
    "lines",
    [
        ("tensor_model_parallel_size: 2", "sequence_parallel: true"),
        ("use_kt: true", "kt_something_new: 2"),
    ],
)
def test_keys_of_a_backend_with_keys_of_its_own_are_left_alone(
    lines: tuple[str, ...], project: Path
):
    assert problems(with_lines(*lines), project) == []


def test_unknown_keys_are_no_refusal_where_extra_arguments_are_allowed(project: Path):
    config = config_of(with_lines("lr: 1"))
    around = look_around(config, project, {"ALLOW_EXTRA_ARGS": "1"}, None)

    told = judge(RULES, config, around, foresee(config, around)).findings

    assert [(one.id, one.severity) for one in told] == [("args.unknown_key", Severity.WARNING)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: 1\n",
        "stage: [1, 2]\ndataset: {a: 1}\noutput_dir: 5\nlearning_rate: .nan\n",
        "do_train: true\nmodel_name_or_path: null\nlora_target: [[]]\nreport_to: {a: [b]}\n",
        f"do_train: true\noutput_dir: {'x' * 5000}\nmodel_name_or_path: {'/y' * 3000}\n",
        'do_train: true\noutput_dir: "a\\0b"\ndeepspeed: "\\0"\nresume_from_checkpoint: "\\0/x"\n',
        "do_train: true\nquantization_bit: 1e400\nlora_rank: 99999999999999999999\nmax_steps: -5\n",
        "do_train: true\ndeepspeed: /dev/zero\nmodel_name_or_path: /dev/null\noutput_dir: /proc\n",
    ],
)
def test_nothing_that_a_config_holds_raises(text: str, tmp_path: Path):
    config = config_of(text)
    around = look_around(config, tmp_path, {}, NO_PACKAGES)

    told = judge(RULES, config, around, foresee(config, around))

    assert sum(one.primary for one in told.findings) <= 1


def test_what_is_foreseen_is_named_by_a_rule(project: Path):
    (project / "models").mkdir()
    checkpoint_at(project / "saves" / "notes", 40)
    write_json(project / "ds.json", {"gradient_clipping": 9, "zero_optimization": {"stage": 3}})
    text = with_lines(
        *("lora_rank: 4", "pure_bf16: true", "use_unsloth: true", "pissa_init: true", "plot: 1"),
        *("deepspeed: ds.json", "predict_with_generate: true", "plot_loss: true", "optim: adm"),
        *("report_to: [wandb, tensorboard, mlflow, swanlab, neptune, clearml, trackio]",),
        *("use_galore: true", "use_badam: true", "use_swanlab: true", "quantization_bit: 8"),
        *("model_name_or_path: ./models/x", "lora_target: q_projj", "flash_attn: fa2"),
    )
    config = config_of(text)
    nothing = Environment(None, dict.fromkeys(PACKAGES))
    around = look_around(config, project, {}, nothing)

    for one in foresee(config, around):
        named = judge(RULES, config, around, [one]).findings
        quiet = judge(RULES, config, around, []).findings
        assert len(named) > len(quiet), one.said
