"""Owns what the files of a model on this machine foretell: what is missing, cut off or no model."""

from collections.abc import Iterator

from diagnostics.config.effective import EffectiveConfig
from diagnostics.findings import Evidence, Severity, Text
from diagnostics.precheck.foreseen import Foreseen, Named
from diagnostics.precheck.surroundings import ModelFolder, NamedPath, Presence, Surroundings

_MODEL = "model_name_or_path"
LOADER = ("llamafactory/launcher.py:<module>", "llamafactory/model/loader.py:load_tokenizer")
_WEIGHTS = (*LOADER, "transformers/modeling_utils.py:from_pretrained")


def foresee_model(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    """Yield the first thing that loading the model would fail of."""
    named, model = around.path(_MODEL), around.model
    if named is not None and named.presence is Presence.FILE:
        yield _single_file(named)
    if named is None or model is None:
        return
    found = _of_description(named, model)
    if found is None and model.has_config and config.value("train_from_scratch") is not True:
        found = _of_weights(named, model)
    if found is not None:
        yield found


def _single_file(named: NamedPath) -> Foreseen:
    cause = Text(
        f"{named.value} is a file: LLaMA-Factory takes the folder of a model that transformers"
        " can load.",
        f"{named.value} 是一个文件：LLaMA-Factory 需要 transformers 能够加载的模型目录。",
    )
    rule = Named("model.format", {}, cause, Severity.CRITICAL)
    return Foreseen(cause.en, (_MODEL,), (), named=rule)


def _of_description(named: NamedPath, model: ModelFolder) -> Foreseen | None:
    """Tell of what describes the model: its config.json and its tokenizer."""
    if not model.has_config:
        if "adapter_config.json" in named.holds:
            return None
        said = f"{named.value} does not appear to have a file named config.json. Checkout"
        return Foreseen(f"OSError: {said}", (_MODEL,), LOADER)
    if not model.has_sound_config:
        said = f"It looks like the config file at '{named.value}/config.json' is not a valid JSON"
        return Foreseen(f"OSError: {said} file.", (_MODEL,), LOADER)
    if not model.has_tokenizer:
        cause = Text("No file of a tokenizer lies in it.", "其中没有分词器文件。")
        rule = Named("model.incomplete", {}, cause, Severity.CRITICAL)
        return Foreseen(cause.en, (_MODEL,), (), named=rule)
    return None


def _of_weights(named: NamedPath, model: ModelFolder) -> Foreseen | None:
    if not model.has_weights:
        said = f"no file named model.safetensors found in directory {named.value}."
        return Foreseen(f"OSError: Error {said}", (_MODEL,), _WEIGHTS)
    if model.missing_shards:
        said = f"No such file or directory: '{named.value}/{model.missing_shards[0]}'"
        frames = (*_WEIGHTS, "transformers/modeling_utils.py:load_state_dict")
        return Foreseen(f"FileNotFoundError: {said}", (_MODEL,), frames)
    if model.pointers:
        said = "You seem to have cloned a repository without having git-lfs installed:"
        return Foreseen(f"OSError: {said} {', '.join(model.pointers[:3])}", (_MODEL,), _WEIGHTS)
    if model.damaged:
        said = "Error while deserializing header: incomplete metadata, file not fully covered"
        places = tuple(
            Evidence(f"{named.value}/{name}", None, "is not as long as its header says")
            for name in model.damaged
        )
        return Foreseen(f"safetensors_rust.SafetensorError: {said}", (_MODEL,), _WEIGHTS, places)
    return None
