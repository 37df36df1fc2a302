"""The remedies that a guide to LLaMA-Factory's methods gives for its three problems.

Out of memory, slow, poor results: each remedy is reached from its symptom, as an exact change of
the config or the environment, or as a check of the data that names what it found.
"""

from dataclasses import dataclass

import pytest

from diagnostics.casebook import Case, diagnosis_of, read_cases
from diagnostics.findings import Fix, Safety
from diagnostics.fixes import plan
from diagnostics.ruleset import load_rules
from diagnostics.sources.dataset import look

RULES = load_rules()
PATHS = {rule.id: rule.path for rule in RULES.rules}


@dataclass(frozen=True)
class Remedy:
    advice: str
    finding: str
    fix: str
    changes: tuple[tuple[str, object, object], ...] = ()
    env: tuple[str, ...] = ()


REMEDIES = [
    Remedy(
        "out of memory: a smaller batch",
        "gpu_oom.train",
        "halve_batch",
        (("per_device_train_batch_size", 8, 4), ("gradient_accumulation_steps", 2, 4)),
    ),
    Remedy(
        "out of memory: a shorter cutoff",
        "gpu_oom.train",
        "shorter_cutoff",
        (("cutoff_len", 2048, 1024),),
    ),
    Remedy(
        "out of memory: gradient checkpointing",
        "gpu_oom.train",
        "checkpointing_on",
        (("disable_gradient_checkpointing", True, False),),
    ),
    Remedy(
        "out of memory: a thriftier method",
        "gpu_oom.train",
        "freeze",
        (("finetuning_type", "lora", "freeze"),),
    ),
    Remedy(
        "slow: a larger batch within memory",
        "slow.small_batch",
        "slow_larger_batch",
        (("per_device_train_batch_size", 1, 2), ("gradient_accumulation_steps", 8, 4)),
    ),
    Remedy(
        "slow: flash attention",
        "slow.no_flash_attn",
        "slow_flash_attention_2",
        (("flash_attn", "disabled", "fa2"),),
    ),
    Remedy("slow: mixed precision", "slow.fp32", "slow_bf16", (("bf16", None, True),)),
    Remedy(
        "slow: data parallelism",
        "slow.idle_gpus",
        "slow_use_idle_gpus",
        env=("CUDA_VISIBLE_DEVICES=0,1,2,3", "FORCE_TORCHRUN=1"),
    ),
    Remedy("poor results: check data quality", "data.empty_answers", "data_fill_answers"),
    Remedy("poor results: more data", "data.too_few", "data_more"),
    Remedy(
        "poor results: another learning rate",
        "loss.plateau",
        "lr_raise_lora",
        (("learning_rate", 5e-5, 1e-4),),
    ),
    Remedy(
        "poor results: more epochs",
        "loss.plateau",
        "loss_more_epochs",
        (("num_train_epochs", 3.0, 6.0),),
    ),
]


def offered(case: Case, finding_id: str, fix_id: str) -> Fix | None:
    diagnosis, _ = diagnosis_of(case, RULES, look)
    finding = next((one for one in diagnosis.findings if one.id == finding_id), None)
    return next((fix for fix in finding.fixes if fix.id == fix_id), None) if finding else None


def case_of(remedy: Remedy) -> tuple[Case, Fix]:
    """Return a case of the finding's own where the remedy is offered as it is told here."""
    path = PATHS[remedy.finding]
    seen = []
    for case in read_cases(path.with_name(f"{remedy.finding}.test.yaml")):
        fix = offered(case, remedy.finding, remedy.fix)
        if fix is None:
            continue
        changes = tuple(
            (
                change.key,
                *(
                    None if not isinstance(side, (str, int, float, bool)) else side
                    for side in (change.old, change.new)
                ),
            )
            for change in fix.changes
        )
        seen.append(changes)
        if not remedy.changes or changes == remedy.changes:
            return case, fix
    pytest.fail(f"{remedy.fix} is offered only with {seen}")


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.advice)
def test_a_remedy_is_reached_from_its_symptom(remedy: Remedy):
    case, fix = case_of(remedy)
    diagnosis, config = diagnosis_of(case, RULES, look)
    finding = next(one for one in diagnosis.findings if one.id == remedy.finding)

    assert finding.evidence
    assert [f"{name}={value}" for name, value in fix.env.items()] == list(remedy.env)
    if not remedy.changes and not remedy.env:
        assert fix.safety is Safety.MANUAL
        assert any(item.source.endswith((".json", ".jsonl")) for item in finding.evidence)
        return
    assert config is not None
    after = plan(fix, config).after
    for key, _, new in remedy.changes:
        assert after.value(key) == new
    untouched = set(config.as_dict()) - {change.key for change in fix.changes}
    assert {key: after.get(key) for key in untouched} == {key: config.get(key) for key in untouched}


def test_all_twelve_are_there():
    assert len({(remedy.finding, remedy.fix) for remedy in REMEDIES}) == 12
