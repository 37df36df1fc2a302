import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from diagnostics.config.argv import parse_launch
from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment, Gpu
from diagnostics.config.exclusions import EXCLUSIONS
from diagnostics.config.faults import FaultKind, SchemaFault, schema_faults
from diagnostics.config.needs import environment_needs
from diagnostics.config.schema import KEYS, read_keys
from diagnostics.config.unset import UNSET

BASE = (
    "model_name_or_path: models/tiny\nstage: sft\ndo_train: true\nuse_cpu: true\n"
    "dataset: mine\ntemplate: qwen\noutput_dir: saves/none\n"
)
EVALUATING = "eval_strategy: steps\nval_size: 0.1\n"


def config(text: str, command: str | None = None) -> EffectiveConfig:
    document = parse_document(text.encode(), Path("a.yaml"))
    return EffectiveConfig(document, parse_launch(command.split()) if command else None)


def merged(text: str) -> str:
    """Return the sound config with lines added; a key of theirs takes the place of its own."""
    own = {line.partition(":")[0] for line in text.splitlines()}
    kept = [line for line in BASE.splitlines() if line.partition(":")[0] not in own]
    gone = {line.removeprefix("-") for line in text.splitlines() if line.startswith("-")}
    kept = [line for line in kept if line.partition(":")[0] not in gone]
    added = [line for line in text.splitlines() if not line.startswith("-")]
    return "\n".join([*kept, *added]) + "\n"


def faults(text: str, **options: Any) -> tuple[SchemaFault, ...]:
    return schema_faults(config(merged(text)), **options)


def only(text: str, **options: Any) -> SchemaFault:
    found = faults(text, **options)
    assert len(found) == 1, found
    return found[0]


REFUSED = [
    # lines over a sound config, the check that finds it, how the real parser's error begins
    ("-model_name_or_path", "model_missing", "ValueError: Please provide `model_name_or_path`"),
    ("eval_dataset: e\nval_size: 0.1", "val_size_with_eval_dataset", "ValueError: Cannot specify"),
    (
        "-dataset\n-do_train\nval_size: 0.1",
        "val_size_without_dataset",
        "ValueError: Cannot specify",
    ),
    ("-dataset", "dataset_missing", "ValueError: Please specify dataset for training."),
    ("eval_strategy: steps", "eval_data_missing", "ValueError: Please make sure eval_dataset"),
    ("do_eval: true", "eval_data_missing", "ValueError: Please make sure eval_dataset"),
    ("interleave_probs: 0.5,0.5", "interleave_probs_concat", "ValueError: `interleave_probs` is"),
    (
        "interleave_probs: 0.5,0.5\nmix_strategy: interleave_under",
        "interleave_probs_length",
        "ValueError: The length of dataset and interleave probs",
    ),
    ("streaming: true\nval_size: 0.1\nmax_steps: 9", "streaming_val_size", "ValueError: Streaming"),
    ("streaming: true\nmax_samples: 5\nmax_steps: 9", "streaming_max_samples", "ValueError: `max_"),
    ("streaming: true", "streaming_max_steps", "ValueError: Please specify `max_steps`"),
    (
        "mask_history: true\ntrain_on_prompt: true",
        "mask_history_train_on_prompt",
        "ValueError: `mask_history` is incompatible with `train_on_prompt`.",
    ),
    ("image_max_pixels: 10", "image_pixels", "ValueError: `image_max_pixels` cannot be smaller"),
    ("video_max_pixels: 10", "video_pixels", "ValueError: `video_max_pixels` cannot be smaller"),
    ("export_quantization_bit: 4", "export_quantization_dataset", "ValueError: Quantization data"),
    (
        "adapter_name_or_path: a\nfinetuning_type: full",
        "adapter_only_lora",
        "ValueError: Adapter is only valid for the LoRA method.",
    ),
    (
        "quantization_bit: 4\nfinetuning_type: full",
        "quantization_needs_adapter",
        "ValueError: Quantization is only compatible with the LoRA or OFT method.",
    ),
    ("quantization_bit: 4\npissa_init: true", "quantization_pissa", "ValueError: Please use"),
    ("quantization_bit: 4\nresize_vocab: true", "quantization_resize_vocab", "ValueError: Cannot"),
    (
        "quantization_bit: 4\nadapter_name_or_path: a\ncreate_new_adapter: true",
        "quantization_new_adapter",
        "ValueError: Cannot create new adapter upon a quantized model.",
    ),
    (
        "quantization_bit: 4\nadapter_name_or_path: a,b",
        "quantization_many_adapters",
        "ValueError: Quantized model only accepts a single adapter.",
    ),
    ("quantization_device_map: auto", "quantization_device_map", "ValueError: Cannot use device"),
    ("infer_backend: vllm", "infer_backend", "ValueError: vLLM/SGLang backend is only available"),
    ("fp8: true\nquantization_bit: 4", "fp8_quantization", "ValueError: FP8 training is not"),
    ("ref_model_quantization_bit: 3", "ref_model_bits", "AssertionError: We only accept 4-bit"),
    ("reward_model_quantization_bit: 16", "reward_model_bits", "AssertionError: We only accept"),
    ("stage: ppo", "ppo_reward_model", "ValueError: `reward_model` is necessary for PPO training."),
    (
        "stage: ppo\nreward_model: r\nfinetuning_type: full",
        "ppo_reward_lora",
        "ValueError: `reward_model_type` cannot be lora for Freeze/Full PPO training.",
    ),
    (
        "stage: dpo\npref_loss: hinge\ndpo_label_smoothing: 0.1",
        "label_smoothing_loss",
        "ValueError: `dpo_label_smoothing` is only valid for sigmoid loss function.",
    ),
    ("use_llama_pro: true\nfinetuning_type: full", "llama_pro_full", "ValueError: `use_llama_pro`"),
    ("use_galore: true\noptim: adamw_torch", "lora_with_galore", "ValueError: Cannot use LoRA"),
    (
        "use_galore: true\nuse_badam: true\nfinetuning_type: full\noptim: adamw_torch",
        "galore_apollo_badam",
        "ValueError: Cannot use GaLore, APOLLO or BAdam together.",
    ),
    ("pissa_init: true\nstage: kto", "pissa_stage", "ValueError: Cannot use PiSSA for current"),
    ("pissa_init: true\nstage: dpo", "pissa_stage", "ValueError: Cannot use PiSSA for current"),
    (
        "use_dora: true\nfinetuning_type: oft",
        "use_dora_only_lora",
        "ValueError: `use_dora` is only",
    ),
    ("use_rslora: true\nfinetuning_type: full", "use_rslora_only_lora", "ValueError: `use_rslora`"),
    (
        "loraplus_lr_ratio: 16.0\nfinetuning_type: freeze",
        "loraplus_lr_ratio_only_lora",
        "ValueError: `loraplus_lr_ratio` is only valid for LoRA training.",
    ),
    ("stage: pt\nneat_packing: true", "neat_packing_only_sft", "ValueError: `neat_packing` cannot"),
    (
        "stage: kto\ntrain_on_prompt: true",
        "train_on_prompt_only_sft",
        "ValueError: `train_on_prompt` or `mask_history` cannot be set as True except SFT.",
    ),
    (
        "do_predict: true\nval_size: 0.1",
        "predict_needs_generate",
        "ValueError: Please enable `pred",
    ),
    (
        "predict_with_generate: true\ncompute_accuracy: true\nval_size: 0.1",
        "predict_with_accuracy",
        "ValueError: Cannot use `predict_with_generate` and `compute_accuracy` together.",
    ),
    (
        f"{EVALUATING}stage: rm\nload_best_model_at_end: true",
        "rm_load_best",
        "ValueError: RM and PPO stages do not support `load_best_model_at_end`.",
    ),
    (
        "stage: ppo\nreward_model: r\ndo_train: false\ndo_eval: true\nval_size: 0.1",
        "ppo_only_training",
        "ValueError: PPO training does not support evaluation",
    ),
    ("stage: ppo\nreward_model: r\nshift_attn: true", "ppo_shift_attn", "ValueError: PPO training"),
    ("stage: ppo\nreward_model: r\nreport_to: [wandb, mlflow]", "ppo_trackers", "ValueError: PPO"),
    ("fp16: true\nbf16: true", "fp16_with_bf16", "ValueError: At most one of fp16 and bf16"),
    (
        "logging_steps: 0",
        "logging_steps_zero",
        "ValueError: logging strategy IntervalStrategy.STEP",
    ),
    ("logging_steps: 1.5", "logging_steps_fraction", "ValueError: --logging_steps must be an"),
    ("save_steps: 3.5", "save_steps_fraction", "ValueError: --save_steps must be an integer"),
    (
        "load_best_model_at_end: true",
        "best_model_strategies",
        "ValueError: --load_best_model_at_end requires the save and eval strategy to match",
    ),
    (
        f"{EVALUATING}load_best_model_at_end: true\neval_steps: 300",
        "best_model_multiple",
        "ValueError: --load_best_model_at_end requires the saving steps to be a round multiple",
    ),
    (
        "lr_scheduler_type: reduce_lr_on_plateau",
        "plateau_needs_eval",
        "ValueError: lr_scheduler_type reduce_lr_on_plateau requires an eval strategy",
    ),
    ("lr_scheduler_type: greedy", "greedy_needs_eval", "ValueError: lr_scheduler_type greedy"),
    (
        "dataloader_prefetch_factor: 2",
        "prefetch_without_workers",
        "ValueError: --dataloader_prefetch_factor can only be set",
    ),
    ("fsdp: offload", "fsdp_offload_alone", "ValueError: `--fsdp offload` can't work on its own."),
    ("fsdp: full_shard shard_grad_op", "fsdp_two_shardings", "ValueError: `--fsdp full_shard`"),
    ("fsdp: full", "fsdp_option", "ValueError: full is not a valid FSDPOption"),
    ("eval_strategy: no", "bad_choice", "ValueError: False is not a valid IntervalStrategy"),
    ("save_strategy: off", "bad_choice", "ValueError: False is not a valid SaveStrategy"),
    ("lr_scheduler_type: Cosine", "bad_choice", "ValueError: Cosine is not a valid SchedulerType"),
    ("optim: adamw", "bad_choice", "ValueError: adamw is not a valid OptimizerNames"),
    ("finetuning_type: qlora", "bad_choice", "AssertionError: Invalid fine-tuning method."),
    ("warmup_steps: -1", "out_of_range", "ValueError: warmup_steps must be"),
    ("torch_empty_cache_steps: 0", "out_of_range", "ValueError: `torch_empty_cache_steps` must"),
    ("seed: -1", "out_of_range", "ValueError: Seed must be between 0 and 2**32 - 1"),
    ('warmup_steps: "10"', "number_as_text", "TypeError: '<' not supported"),
    ('logging_steps: "10"', "number_as_text", "TypeError: '>' not supported"),
    ("lora_rank:", "null", "TypeError: unsupported operand"),
    ("adapter_name_or_path: [a]", "list_for_scalar", "AttributeError: 'list' object has no"),
    ("lora_rnak: 8", "unknown_key", "ValueError: Some keys are not used by the HfArgumentParser"),
    ("evaluation_strategy: steps", "former_key_renamed", "ValueError: Some keys are not used"),
    ("image_resolution: 512", "former_key_renamed", "ValueError: Some keys are not used"),
]
TAKEN = [
    "",
    EVALUATING,
    'eval_strategy: "no"\nsave_strategy: "no"',
    "learning_rate: 1e-4\nlr_scheduler_type: cosine\nwarmup_steps: 0.1",
    "warmup_ratio: 0.1\nlogging_steps: 0.1",
    "interleave_probs: [0.5, 0.5]\nmix_strategy: interleave_over\ndataset: [a, b]",
    "streaming: true\nmax_steps: 5",
    "quantization_bit: 4\nfinetuning_type: oft",
    "lora_target: [q_proj, v_proj]\nadditional_target: [a, b]",
    "stage: dpo\ndpo_label_smoothing: 0.1",
    "stage: ppo\nreward_model: r\nreward_model_type: full\nfinetuning_type: full",
    "pissa_init: true\nstage: dpo\npref_loss: orpo",
    f"{EVALUATING}load_best_model_at_end: true",
    f"{EVALUATING}load_best_model_at_end: true\neval_steps: 0.1\nsave_steps: 0.2",
    "load_best_model_at_end: true\nsave_strategy: best\neval_strategy: epoch\nval_size: 3",
    "dataloader_prefetch_factor: 2\ndataloader_num_workers: 2",
    "resume_from_checkpoint: false",
    "resume_from_checkpoint: true\ndisable_tqdm: true\ninclude_num_input_tokens_seen: true",
    "report_to: null",
    "report_to: tensorboard\nrun_name: 7",
    "ddp_timeout: 1.8e8\nfsdp: false\nfsdp_config: null",
    "fsdp: full_shard auto_wrap",
    "bf16:\nquantization_bit:\nenable_thinking: false\npacking: true",
    "lr_scheduler_kwargs: {min_lr: 1e-6}\nlora_alpha: 16.0",
    "finetuning_type: freeze\nfreeze_trainable_layers: -2",
]


@pytest.mark.parametrize(("text", "name", "said"), REFUSED)
def test_what_llama_factory_refuses_is_found_before_the_launch(
    text: str, name: str, said: str
) -> None:
    found = {one.name: one for one in faults(text)}
    assert found[name].rejected is not False
    begins = found[name].said
    assert not begins or begins.startswith(said[:30]) or said.startswith(begins[:30])


@pytest.mark.parametrize("text", TAKEN)
def test_what_llama_factory_takes_gives_no_fault(text: str) -> None:
    assert faults(text) == ()


@pytest.mark.e2e
def test_the_real_parser_refuses_and_takes_the_same(tmp_path: Path) -> None:
    python = Path(os.environ["LLAMAVET_E2E_VENV"]) / "bin" / "python"
    for number, text in enumerate([*(text for text, _, _ in REFUSED), *TAKEN]):
        (tmp_path / f"{number:03}.yaml").write_text(merged(text))
    script = (
        "import pathlib, omegaconf\n"
        "from llamafactory.hparams import get_train_args\n"
        "for path in sorted(pathlib.Path('.').glob('*.yaml')):\n"
        "    try:\n"
        "        get_train_args(omegaconf.OmegaConf.to_container(omegaconf.OmegaConf.load(path)))\n"
        "        print('>>OK')\n"
        "    except BaseException as error:\n"
        "        print('>>' + type(error).__name__ + ': ' + str(error).splitlines()[0])\n"
    )
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        [python, "-c", script],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line[2:] for line in ran.stdout.splitlines() if line.startswith(">>")]
    wanted = [*(said for _, _, said in REFUSED), *("OK" for _ in TAKEN)]
    assert [w for w, line in zip(wanted, lines, strict=True) if not line.startswith(w)] == []


@pytest.mark.parametrize(
    ("text", "name", "rejected", "meant"),
    [
        ("quantization_bit: 4\nquantization_method: bitsandbytes", "former_choice", False, "bnb"),
        ("quantization_bit: 4\nquantization_method: awq", "bad_choice", False, "bnb"),
        ("train_sampling_strategy: length", "bad_choice", False, "group_by_length"),
        ("flash_attn: no", "bad_choice", True, "disabled"),
        ("flash_attn: off", "bad_choice", True, "disabled"),
        ("stage: SFT", "bad_choice", True, "sft"),
        ('bf16: "false"', "switch_as_text", False, False),
        ("deepspeed: None", "none_as_text", None, None),
        ('lora_rank: "8"', "number_as_text", True, 8),
        ('learning_rate: "1e-4"', "number_as_text", True, 1e-4),
        ("learning_rate: fast", "text_for_number", True, 5e-5),
        ("per_device_train_batch_size: 4.0", "fraction_for_whole", True, 4),
        ("quantization_bit: false", "switch_for_number", None, None),
        ("dataset: 123", "number_for_text", True, "123"),
        ("dataset_dir: ${oc.env:HOME}/data", "interpolation", False, UNSET),
        ("lora_rank: 0", "out_of_range", True, 8),
        ("learning_rate: -1.0e-4", "out_of_range", None, 5e-5),
        ("per_device_train_batch_size: 0", "out_of_range", True, 8),
        ("quantization_bit: 3", "bnb_bits", True, 4),
        (
            "optim: sgd\nuse_galore: true\nfinetuning_type: full",
            "galore_optim",
            True,
            "adamw_torch",
        ),
        ("max_length: 4096", "max_length_in_training", False, UNSET),
        ("-do_train", "nothing_to_do", False, True),
        ("early_stopping_steps: 3", "early_stopping_metric_alone", True, UNSET),
        (f"{EVALUATING}early_stopping_steps: 3", "early_stopping_metric", True, True),
        ("save_strategy: best", "best_saved_metric", True, "loss"),
        ("use_asft_loss: true", "asft_reference", True, UNSET),
        (
            "dataset: a,b\nmix_strategy: interleave_over\ninterleave_probs: 0.7,0.7",
            "interleave_probs_sum",
            True,
            UNSET,
        ),
        ("report_to: tensorbord", "bad_choice", True, "tensorboard"),
        ("report_to: wandb,tensorboard", "bad_choice", True, "tensorboard"),
        ("report_to: [wandb, tensorbord]", "bad_choice", True, "tensorboard"),
        ("flash_attn: true", "bad_choice", True, "auto"),
        ("lr_scheduler_type: true", "bad_choice", True, "linear"),
        ("optim: 1", "bad_choice", True, "adamw_torch_fused"),
        ("stage: true", "bad_choice", True, "sft"),
        (
            "finetuning_type: freeze\nfreeze_trainable_layers: 0",
            "freeze_nothing",
            True,
            UNSET,
        ),
        ("cutoff_len: 0", "out_of_range", True, 2048),
        ("max_samples: all", "text_for_number", True, UNSET),
        ("max_samples: 0", "out_of_range", True, None),
        ("optim: AdamW", "bad_choice", True, "adamw_torch"),
        ("flash_attn: flash_attention_2", "bad_choice", True, "fa2"),
        ("flash_attn: fa3", "fa3_other_model", None, "auto"),
    ],
)
def test_what_is_taken_at_first_and_does_harm_later_is_found(
    text: str, name: str, rejected: object, meant: object
) -> None:
    found = only(text)
    assert (found.name, found.rejected, found.suggested_value) == (name, rejected, meant)


def test_a_fault_tells_its_place_and_what_was_meant() -> None:
    found = only("lora_rnak: 8")
    text = merged("lora_rnak: 8")
    assert (found.line, found.column, found.index) == (len(text.splitlines()), 1, None)
    assert (found.kind, found.suggested_key, found.suggested_value) == (
        FaultKind.UNKNOWN_KEY,
        "lora_rank",
        8,
    )


def test_a_fault_of_the_command_line_is_placed_there() -> None:
    found = schema_faults(config(BASE, "lmf train a.yaml lora_rank=0"))
    assert [(one.key, one.line, one.index) for one in found] == [("lora_rank", None, 3)]


def test_faults_come_in_the_order_of_the_file_and_absent_keys_last() -> None:
    text = "do_train: true\nlora_rank: 0\nxyzzy: 1\noptim: adamw\noutput_dir: o\n"
    found = schema_faults(config(text))
    assert [one.key for one in found] == [
        "do_train",
        "lora_rank",
        "xyzzy",
        "optim",
        "model_name_or_path",
    ]


def test_a_flag_is_held_to_its_choices_by_argparse() -> None:
    text = (
        "train --model_name_or_path m --dataset d --do_train --output_dir o --quantization_type x"
    )
    launch = parse_launch(["llamafactory-cli", *text.split()])
    found = schema_faults(EffectiveConfig(None, launch))
    assert [(one.key, one.rejected) for one in found] == [("quantization_type", True)]


def test_unknown_keys_are_only_ignored_where_extra_ones_are_allowed() -> None:
    assert only("xyzzy: 1", allow_extra_keys=True).rejected is False
    assert only("xyzzy: 1").rejected is True


@pytest.mark.parametrize(
    ("versions", "rejected"),
    [
        ({}, None),
        ({"transformers": "4.57.1"}, "silent"),
        ({"transformers": "5.6.0"}, True),
    ],
)
def test_a_former_key_is_judged_by_the_version_that_is_installed(
    versions: dict[str, str], rejected: object
) -> None:
    found = faults("save_safetensors: true", environment=Environment(None, versions))
    assert [one.rejected for one in found] == ([] if rejected == "silent" else [rejected])


def test_the_keys_of_the_installed_software_count_before_ours() -> None:
    raw = {name: {"types": list(info.types)} for name, info in KEYS.items()}
    raw["a_later_key"] = {"types": ["bool"]}
    raw["save_safetensors"] = {"types": ["bool"]}
    del raw["plot_loss"]
    environment = Environment(Path("python"), keys=read_keys(raw))
    text = "a_later_key: true\nsave_safetensors: true\nplot_loss: true"
    assert [one.key for one in faults(text, environment=environment)] == ["plot_loss"]


def test_a_key_of_a_later_version_is_a_fault_only_where_the_version_is_known() -> None:
    assert faults("use_megatron_bridge: true") == ()
    environment = Environment(None, {"llamafactory": "0.9.5"})
    assert only("use_megatron_bridge: true", environment=environment).rejected is True


def test_a_former_key_whose_value_takes_another_form_is_translated() -> None:
    image, grouped = only("image_resolution: 512"), only("group_by_length: true")
    assert (image.suggested_key, image.suggested_value) == ("image_max_pixels", 512 * 512)
    assert grouped.suggested_key == "train_sampling_strategy"
    assert grouped.suggested_value == "group_by_length"
    assert only("group_by_length: false").suggested_value is UNSET


def test_zero_3_is_told_by_the_caller_or_by_a_mapping_in_the_config() -> None:
    text = "use_unsloth: true\ndeepspeed: ds.json"
    assert faults(text) == ()
    assert only(text, zero_stage=3).name == "unsloth_zero3"
    inline = "use_unsloth: true\ndeepspeed: {zero_optimization: {stage: 3}}"
    assert only(inline).name == "unsloth_zero3"


def test_a_config_that_only_exports_or_chats_is_not_held_to_a_training() -> None:
    text = "model_name_or_path: m\nadapter_name_or_path: a\nexport_dir: out\n"
    assert schema_faults(config(text)) == ()
    assert schema_faults(config("model_name_or_path: m\ninfer_backend: vllm\n")) == ()


def test_every_check_has_a_name_of_its_own_and_knows_its_keys() -> None:
    names = [one.name for one in EXCLUSIONS]
    assert len(set(names)) == len(names)
    for one in EXCLUSIONS:
        assert set(one.keys) <= KEYS.keys(), one.name
        assert one.change is None or one.change[0] in KEYS, one.name
        assert not one.message.endswith("."), one.name


@pytest.mark.parametrize(
    "value",
    [
        "9" * 390,
        "-.inf",
        ".nan",
        "1e308",
        '"\\x1b[31m\\0"',
        "{a: {b: [1, 2]}}",
        "[]",
        "[1, [2, {}]]",
        "~",
        "2001-01-01",
        "'" + "x" * 10_000 + "'",
    ],
    ids=range(11),
)
def test_no_value_of_any_key_makes_it_fail(value: str) -> None:
    text = "".join(f"{key}: {value}\n" for key in KEYS)
    found = schema_faults(config(text))
    assert all(len(one.message) < 400 and one.message.isprintable() for one in found)


OLD_GPU = Gpu("Tesla T4", 16 << 30, (7, 5))
NEW_GPU = Gpu("NVIDIA H100", 80 << 30, (9, 0))


def needs(text: str, *, distributed: bool | None = None, **told: Any) -> list[tuple[str, object]]:
    environment = Environment(Path("python"), **told)
    text = merged(text).replace("use_cpu: true\n", "")
    found = environment_needs(config(text), environment, distributed=distributed)
    assert all(one.kind is FaultKind.NEEDS for one in found)
    return [(one.name, one.rejected) for one in found]


@pytest.mark.parametrize(
    ("text", "package", "rejected"),
    [
        ("enable_liger_kernel: true", "liger_kernel", True),
        ("quantization_bit: 4", "bitsandbytes", True),
        ("optim: paged_adamw_8bit", "bitsandbytes", True),
        ("flash_attn: fa2", "flash_attn", False),
        ("deepspeed: ds.json", "deepspeed", True),
        ("report_to: wandb", "wandb", True),
        ("report_to: [wandb, tensorboard]", "wandb", True),
        ("use_galore: true", "galore_torch", True),
    ],
)
def test_a_package_that_is_not_there_is_told_and_one_nobody_looked_for_is_not(
    text: str, package: str, rejected: object
) -> None:
    assert needs(text, versions={package: None}) == [(f"package_{package}", rejected)]
    assert needs(text, versions={package: "1.0"}) == []
    assert needs(text) == []


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        ("bf16: true", (OLD_GPU,), [("bf16_too_old", None)]),
        ("bf16: true", (NEW_GPU,), []),
        ("bf16: true", (NEW_GPU, OLD_GPU), [("bf16_too_old", None)]),
        ("bf16: true", (Gpu("unknown"),), []),
        ("bf16: true", (), [("bf16_without_gpu", True)]),
        ("fp16: true\nflash_attn: fa2", (OLD_GPU,), [("flash_attn_too_old", True)]),
        ("tf32: true", (OLD_GPU,), [("tf32_too_old", True)]),
    ],
)
def test_gpus_that_cannot_are_told(
    text: str, gpus: tuple[Gpu, ...], expected: list[tuple[str, object]]
) -> None:
    assert needs(text, gpus=gpus, gpu_source="nvml") == expected
    assert needs(text) == []


def test_a_pytorch_without_cuda_is_told_where_a_gpu_is() -> None:
    told: dict[str, Any] = {
        "versions": {"torch": "2.9.0+cpu"},
        "gpus": (NEW_GPU,),
        "gpu_source": "nvml",
    }
    assert needs("", **told) == [("torch_without_cuda", False)]


def test_deepspeed_on_one_gpu_asks_for_torchrun() -> None:
    one: dict[str, Any] = {"gpus": (NEW_GPU,), "gpu_source": "nvml"}
    two: dict[str, Any] = {"gpus": (NEW_GPU, NEW_GPU), "gpu_source": "nvml"}
    assert needs("deepspeed: ds.json", **one) == [("torchrun", None)]
    assert needs("deepspeed: ds.json", distributed=False, **one) == [("torchrun", True)]
    assert needs("deepspeed: ds.json", distributed=True, **one) == []
    assert needs("deepspeed: ds.json", **two) == []


def test_galore_without_an_optimizer_is_a_fault_where_the_default_is_known_to_be_fused() -> None:
    text = "use_galore: true\nfinetuning_type: full"
    assert faults(text) == ()
    new = Environment(None, {"torch": "2.9.1+cu128"})
    assert only(text, environment=new).name == "galore_optim_unset"
    assert faults(text, environment=Environment(None, {"torch": "2.6.0"})) == ()
