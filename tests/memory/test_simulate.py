"""The exact prediction with real torch, transformers and peft: `make e2e`, or LLAMAVET_E2E_VENV."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from diagnostics.errors import RunError
from diagnostics.memory.workload import (
    Adapter,
    Attention,
    Checkpointing,
    Frozen,
    Half,
    Method,
    Optimizer,
    Quantization,
    Sharding,
    Workload,
)
from diagnostics.runs.exact import Simulated, simulate

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        "LLAMAVET_E2E_VENV" not in os.environ, reason="LLAMAVET_E2E_VENV names no environment"
    ),
]

LLAMA_8B: Mapping[str, object] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
}
QWEN_05B: Mapping[str, object] = {
    "model_type": "qwen2",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
SMALL = {**QWEN_05B, "vocab_size": 1024}
"""Its layers, not its logits, decide the peak."""
FULL = Workload(
    method=Method.FULL, adapter=None, batch=2, sequence=2048, optimizer=Optimizer("adamw_torch")
)
LORA = Workload(batch=2, sequence=1024, optimizer=Optimizer("adamw_torch"))


def simulated(config: Mapping[str, object], work: Workload) -> Simulated:
    return _simulated(json.dumps(config), work)


@cache
def _simulated(config: str, work: Workload) -> Simulated:
    python = Path(os.environ["LLAMAVET_E2E_VENV"]) / "bin" / "python"
    return simulate(python, json.loads(config), work, os.environ)


def test_half_precision_weights_gradients_and_states_of_full_tuning_are_all_there() -> None:
    pure = replace(FULL, autocast=False, trainable_bytes=2, batch=1, sequence=512)
    found = simulated(LLAMA_8B, pure)

    params = 8_030_261_248
    assert (found.trainable_params, found.total_params) == (params, params)
    assert found.phases_gib["static"] == pytest.approx(6 * params / 2**30, rel=0.001)
    assert found.phases_gib["after_bwd"] == pytest.approx(8 * params / 2**30, rel=0.001)
    assert found.allocated_gib == pytest.approx(10 * params / 2**30, rel=0.001)
    assert found.phase == "optimizer"
    assert found.reserved_gib > found.allocated_gib


def test_the_peak_of_a_large_vocabulary_is_the_loss_with_12_bytes_a_logit() -> None:
    found = simulated(QWEN_05B, LORA)

    logits = 2 * 1024 * 151936
    step = found.phases_gib["peak_fwd_bwd"] - found.phases_gib["after_fwd"]
    assert found.phase == "loss"
    assert step == pytest.approx(8 * logits / 2**30, rel=0.01)


def test_autocast_keeps_a_half_precision_copy_of_what_trains_in_float32() -> None:
    casts = simulated(QWEN_05B, replace(FULL, batch=1, sequence=64))

    params = casts.trainable_params
    assert casts.phases_gib["static"] == pytest.approx(12 * params / 2**30, rel=0.001)
    assert casts.phases_gib["peak_fwd"] > 14 * params / 2**30


def test_repeating_a_layer_gives_what_running_every_layer_gives() -> None:
    short = simulated({**QWEN_05B, "num_hidden_layers": 5}, LORA)
    longer = simulated({**QWEN_05B, "num_hidden_layers": 6}, LORA)
    long = simulated({**QWEN_05B, "num_hidden_layers": 25}, LORA)

    for moment in ("static", "after_fwd", "peak_fwd_bwd", "peak_opt"):
        one = longer.phases_gib[moment] - short.phases_gib[moment]
        assert long.phases_gib[moment] - short.phases_gib[moment] == pytest.approx(
            20 * one, abs=0.003
        )


@pytest.mark.parametrize(
    "change",
    [
        replace(LORA, checkpointing=Checkpointing.OFF),
        replace(LORA, checkpointing=Checkpointing.OFF, attention=Attention.EAGER),
        replace(LORA, batch=4),
        replace(LORA, adapter=Adapter(rank=64)),
    ],
)
def test_what_needs_more_memory_is_told_to(change: Workload) -> None:
    assert simulated(SMALL, change).allocated_gib > simulated(SMALL, LORA).allocated_gib


def test_kept_layers_need_most_with_eager_attention_and_least_with_flash_attention() -> None:
    kept = replace(LORA, checkpointing=Checkpointing.OFF)
    kinds = (Attention.FLASH, Attention.SDPA, Attention.EAGER)
    needed = [simulated(SMALL, replace(kept, attention=kind)).allocated_gib for kind in kinds]
    assert needed == sorted(set(needed))


@pytest.mark.parametrize(
    "change",
    [
        replace(LORA, liger=True),
        replace(LORA, quantization=Quantization(4)),
        replace(LORA, quantization=Quantization(8)),
        replace(LORA, checkpointing=Checkpointing.OFFLOADED),
    ],
)
def test_what_saves_memory_is_told_to(change: Workload) -> None:
    assert simulated(QWEN_05B, change).allocated_gib < simulated(QWEN_05B, LORA).allocated_gib


def test_packed_samples_need_no_mask_and_flash_attention_none_ever() -> None:
    kept = replace(LORA, checkpointing=Checkpointing.OFF)
    packed = simulated(SMALL, replace(kept, packing=True))
    apart = simulated(SMALL, replace(kept, packing=True, neat_packing=True))
    flash = simulated(SMALL, replace(kept, attention=Attention.FLASH))

    assert packed.allocated_gib == flash.allocated_gib
    assert packed.allocated_gib < apart.allocated_gib < simulated(SMALL, kept).allocated_gib


def test_states_that_an_optimizer_makes_before_its_first_step_are_those_of_every_layer() -> None:
    found = simulated(QWEN_05B, replace(FULL, optimizer=Optimizer("adagrad")))

    assert found.phases_gib["static"] == pytest.approx(8 * found.trainable_params / 2**30, rel=0.01)


def test_bfloat16_weights_under_float16_autocast_are_cast_where_they_are_used() -> None:
    stored = {**QWEN_05B, "torch_dtype": "bfloat16"}
    mixed = simulated(stored, replace(LORA, half=Half.FLOAT16))

    head = 2 * 896 * 151936 / 2**30
    assert mixed.allocated_gib > simulated(stored, LORA).allocated_gib + head


def test_a_checkpoint_in_float32_takes_twice_the_memory() -> None:
    wide = simulated({**QWEN_05B, "torch_dtype": "float32"}, LORA)
    frozen = wide.total_params - wide.trainable_params

    half = simulated({**QWEN_05B, "torch_dtype": "bfloat16"}, LORA)
    more = wide.phases_gib["static"] - half.phases_gib["static"]
    assert more == pytest.approx(2 * frozen / 2**30, rel=0.01)


def test_what_is_reserved_is_somewhat_more_than_what_is_allocated() -> None:
    found = simulated(LLAMA_8B, LORA)

    assert 1.0 < found.reserved_gib / found.allocated_gib < 1.4


@pytest.mark.parametrize(
    "work",
    [
        replace(FULL, method=Method.FREEZE, frozen=Frozen(layers=2)),
        replace(FULL, method=Method.FREEZE, frozen=Frozen(layers=-8)),
        replace(FULL, optimizer=Optimizer("adafactor"), accumulation=4),
        replace(FULL, optimizer=Optimizer("adamw_8bit")),
        replace(LORA, method=Method.OFT),
        replace(LORA, adapter=Adapter(dora=True), quantization=Quantization(4)),
    ],
)
def test_every_method_and_optimizer_is_run(work: Workload) -> None:
    found = simulated(QWEN_05B, work)

    assert 0 < found.trainable_params < found.total_params or work.method is Method.FULL
    assert found.allocated_gib == pytest.approx(max(found.phases_gib.values()), abs=1e-4)


def test_what_is_modelled_is_said() -> None:
    found = simulated(QWEN_05B, replace(LORA, liger=True, quantization=Quantization(4)))

    assert any("liger" in note for note in found.notes)
    assert any("bitsandbytes" in note for note in found.notes)
    assert {"torch", "transformers", "peft"} <= found.versions.keys()


@pytest.mark.parametrize(
    ("config", "work", "reason"),
    [
        ({"model_type": "no_such_model"}, LORA, "no_such_model"),
        ({**QWEN_05B, "auto_map": {"AutoModel": "x.y"}}, LORA, "code of its own"),
        (QWEN_05B, replace(LORA, stage="dpo"), "dpo"),
        (QWEN_05B, replace(LORA, sharding=Sharding(gpus=8, zero_stage=3)), "split over GPUs"),
        (QWEN_05B, replace(LORA, optimizer=Optimizer("made_up")), "made_up"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_a_reason(
    config: Mapping[str, object], work: Workload, reason: str
) -> None:
    with pytest.raises(RunError, match=reason) as caught:
        simulated(config, work)
    assert caught.value.remedy


def test_a_models_own_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN_05B))

    by_folder = simulated({"model_path": str(tmp_path)}, LORA)
    assert by_folder.allocated_gib == simulated(QWEN_05B, LORA).allocated_gib
