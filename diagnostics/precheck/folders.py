"""Owns what the folders and files that a config names foretell: models, adapters, checkpoints."""

from collections.abc import Iterator
from difflib import get_close_matches

from diagnostics.config.effective import EffectiveConfig
from diagnostics.findings import Severity, Text
from diagnostics.precheck.foreseen import TRAINER, Foreseen, Named
from diagnostics.precheck.models import LOADER, foresee_model
from diagnostics.precheck.surroundings import (
    ModelFolder,
    NamedPath,
    Presence,
    Surroundings,
)
from diagnostics.templates import NAMES as TEMPLATES
from diagnostics.templates import find_model

_MODEL, _ADAPTER, _OUTPUT = "model_name_or_path", "adapter_name_or_path", "output_dir"
_SAVING = (*TRAINER, "transformers/trainer.py:_save_checkpoint")
_LAYERS = frozenset(
    {
        *("q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "qkv_proj", "qkv", "proj", "in_proj"),
        *("gate_proj", "up_proj", "down_proj", "gate_up_proj", "fc1", "fc2", "fc_in", "fc_out"),
        *("W_pack", "query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h", "c_attn"),
        *("c_proj", "c_fc", "w1", "w2", "w3", "wqkv", "wo", "Wqkv", "attn_output", "x_proj"),
        *("dt_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "lm_head"),
        *("embed_tokens", "wte", "gate", "router", "shared_expert_gate", "query", "key", "value"),
    }
)
"""Names that layers have in the code of common models."""


def foresee_folders(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    """Yield what would be printed because of the folders and files that the config names."""
    yield from _absent_models(around)
    yield from foresee_model(config, around)
    yield from _template(config, around)
    yield from _targets(config, around.model)
    yield from _adapters(config, around)
    if config.value("do_train") is True:
        yield from _writing(config, around)


def surely_absent(one: NamedPath, around: Surroundings) -> bool:
    """Tell whether a path is wrong, and the config is not just meant for another place."""
    if one.presence is not Presence.ABSENT:
        return False
    if one.value.startswith("/"):
        return around.at_home
    return one.beside or (around.at_start and one.key not in {_MODEL, _ADAPTER})


def may_be_here(folder: str, around: Surroundings) -> bool:
    """Tell whether a folder that the training makes itself would lie on this machine."""
    return around.at_home or not folder.startswith("/")


def _absent_models(around: Surroundings) -> Iterator[Foreseen]:
    for one in around.paths:
        if one.key in {_MODEL, "ref_model", "reward_model"} and surely_absent(one, around):
            said = (
                "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name'"
                f" or 'namespace/repo_name': '{one.value}'. Use `repo_type` argument if needed."
            )
            yield Foreseen(said, (one.key,), LOADER)


def _template(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    """Compare the template with the model that a local folder was made from, by its config.json."""
    template, name = config.get("template", None), config.get(_MODEL, None)
    if around.model is None or not isinstance(template, str) or template not in TEMPLATES:
        return
    if config.value("stage") == "pt" or (isinstance(name, str) and find_model(name) is not None):
        return
    made_from = find_model(around.model.origin)
    if made_from is None or made_from.accepts(template):
        return
    cause = Text(
        f"Its config.json says that the model was made from {around.model.origin}, whose template"
        f" is {made_from.expected}; the config says {template}.",
        f"其 config.json 表明该模型源自 {around.model.origin}，对应模板为"
        f" {made_from.expected}；配置为 {template}。",
    )
    named = Named("template_mismatch", {}, cause, Severity.NOTE)
    yield Foreseen(cause.en, ("template", _MODEL), (), named=named)


def _targets(config: EffectiveConfig, model: ModelFolder | None) -> Iterator[Foreseen]:
    """Foresee a lora_target of which no name is a layer's."""
    value = config.get("lora_target", None)
    parts = value if isinstance(value, list) else str(value or "all").split(",")
    names = [str(part).strip() for part in parts if str(part).strip()]
    if config.value("finetuning_type") != "lora" or not names or "all" in names:
        return
    last = [name.rpartition(".")[2] for name in names]
    if model is not None and model.modules:
        absent = not any(name in model.modules for name in last)
    else:
        absent = all(
            name not in _LAYERS and get_close_matches(name[:80], _LAYERS, n=1, cutoff=0.8)
            for name in last
        )
    if absent:
        listed = "{" + ", ".join(repr(name) for name in names) + "}"
        said = f"Target modules {listed} not found in the base model."
        yield Foreseen(f"ValueError: {said} Please check the target modules", ("lora_target",))


def _adapters(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    if config.value("finetuning_type") != "lora":
        return
    for one in around.paths:
        if one.key != _ADAPTER:
            continue
        empty = one.presence is Presence.FOLDER and "adapter_config.json" not in one.holds
        if empty or surely_absent(one, around):
            said = f"ValueError: Can't find 'adapter_config.json' at '{one.value}'"
            yield Foreseen(
                said, (_ADAPTER,), ("launcher.py:<module>", "peft/config.py:from_pretrained")
            )


_LEAST_FREE_BYTES = 32 * 2**20
_ADAM_BYTES = 2
"""Adam keeps two numbers a weight beside the weight itself."""


def _writing(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    output = around.output
    folder = str(config.value(_OUTPUT))
    if output is None or not may_be_here(folder, around):
        return
    if output.presence is Presence.FILE:
        said = f"NotADirectoryError: [Errno 20] Not a directory: '{folder}'"
        yield Foreseen(said, (_OUTPUT,), _SAVING)
    elif output.writable is False:
        said = f"PermissionError: [Errno 13] Permission denied: '{folder}'"
        yield Foreseen(said, (_OUTPUT,), _SAVING)
    elif output.free_bytes is not None and output.free_bytes < _checkpoint_bytes(config, around):
        said = f"OSError: [Errno 28] No space left on device: '{folder}'"
        yield Foreseen(said, (_OUTPUT,), _SAVING)


def _checkpoint_bytes(config: EffectiveConfig, around: Surroundings) -> int:
    """Return what one checkpoint takes at least."""
    model = around.model
    if config.value("finetuning_type") != "full" or model is None or model.weight_bytes is None:
        return _LEAST_FREE_BYTES
    if model.is_quantized:
        return _LEAST_FREE_BYTES
    states = 0 if config.value("save_only_model") is True or _is_lean(config) else _ADAM_BYTES
    return model.weight_bytes * (1 + states)


def _is_lean(config: EffectiveConfig) -> bool:
    """Tell whether the optimizer keeps less than Adam does."""
    name = str(config.value("optim"))
    lean = any(part in name for part in ("8bit", "4bit", "adafactor", "sgd", "lion", "lomo"))
    return lean or any(
        config.value(key) is True
        for key in ("use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon")
    )
