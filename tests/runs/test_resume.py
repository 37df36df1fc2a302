"""Every way in which a relaunch can go on, as a table of configs and output folders."""

from pathlib import Path

import pytest

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.unset import UNSET
from diagnostics.runs.output_dir import Checkpoint, OutputDir
from diagnostics.runs.resume import BREAKS_RESUME, ResumePlan, plan_resume

LORA = "stage: sft\nfinetuning_type: lora\noutput_dir: saves/a\n"
OVERWRITE = LORA + "overwrite_output_dir: true\n"


def config(text: str = LORA) -> EffectiveConfig:
    return EffectiveConfig(parse_document(text.encode()))


def checkpoint(step: int, *, fault: str = "", at: float = 100.0, max_steps: int = 100):
    path = Path(f"/runs/saves/a/checkpoint-{step}")
    return Checkpoint(path, step, at, fault, None if fault else max_steps)


def output(*checkpoints: Checkpoint, has_model: bool = False, has_trainer_log: bool = False):
    return OutputDir(
        Path("/runs/saves/a"),
        exists=True,
        checkpoints=checkpoints,
        has_model=has_model,
        has_trainer_log=has_trainer_log,
    )


def said(plan: ResumePlan) -> str:
    assert all(text.en and text.zh for text in plan.consequences)
    return "\n".join(text.en for text in plan.consequences)


def test_without_checkpoints_it_starts_from_step_0_and_says_so():
    plan = plan_resume(config(), [], output())
    assert (plan.checkpoint, dict(plan.changes)) == (None, {})
    assert said(plan) == "starts from step 0: there is no checkpoint to resume from"


def test_a_whole_checkpoint_is_resumed_without_any_change():
    best = checkpoint(20)
    plan = plan_resume(config(), ["per_device_train_batch_size"], output(checkpoint(10), best))
    assert (plan.checkpoint, dict(plan.changes)) == (best, {})
    assert said(plan) == "resumes from checkpoint-20: nothing before step 20 is lost"


def test_a_trainer_log_is_continued_by_a_resume():
    plan = plan_resume(config(), [], output(checkpoint(20), has_trainer_log=True))
    assert "trainer_log.jsonl is continued" in said(plan)
    assert not plan.keeps_trainer_log_copy


def test_a_torn_highest_checkpoint_is_left_alone_and_an_older_whole_one_is_named():
    torn = checkpoint(20, fault="trainer_state.json is torn")
    plan = plan_resume(config(), [], output(checkpoint(10), torn))
    assert plan.checkpoint == checkpoint(10)
    assert dict(plan.changes) == {"resume_from_checkpoint": "/runs/saves/a/checkpoint-10"}
    assert "checkpoint-20 is left alone: trainer_state.json is torn" in said(plan)


def test_only_torn_checkpoints_go_to_a_folder_of_its_own():
    plan = plan_resume(config(), [], output(checkpoint(20, fault="it is torn")))
    assert dict(plan.changes) == {"output_dir": "saves/a-2"}
    assert "checkpoint-20 cannot be resumed: it is torn" in said(plan)
    assert "saves/a stays as it is" in said(plan)


def test_a_checkpoint_asked_for_is_replaced_by_the_best_one():
    text = LORA + "resume_from_checkpoint: saves/a/checkpoint-10\n"
    plan = plan_resume(config(text), [], output(checkpoint(10), checkpoint(20)))
    assert dict(plan.changes) == {"resume_from_checkpoint": "/runs/saves/a/checkpoint-20"}


def test_with_overwrite_a_fresh_checkpoint_is_resumed_and_overwrite_becomes_false():
    fresh = checkpoint(20, at=500.0)
    plan = plan_resume(config(OVERWRITE), [], output(fresh), since=400.0)
    assert plan.checkpoint == fresh
    assert dict(plan.changes) == {"overwrite_output_dir": False}
    assert "true would start from zero" in said(plan)


def test_with_overwrite_a_stale_checkpoint_is_of_an_earlier_run():
    plan = plan_resume(
        config(OVERWRITE), [], output(checkpoint(20), has_trainer_log=True), since=400.0
    )
    assert (plan.checkpoint, dict(plan.changes)) == (None, {})
    assert plan.keeps_trainer_log_copy
    assert "the checkpoints there are of an earlier run" in said(plan)


def test_with_overwrite_a_stale_higher_checkpoint_does_not_hide_a_fresh_one():
    fresh = checkpoint(20, at=500.0)
    plan = plan_resume(config(OVERWRITE), [], output(fresh, checkpoint(90)), since=400.0)
    assert plan.checkpoint == fresh
    assert dict(plan.changes) == {
        "overwrite_output_dir": False,
        "resume_from_checkpoint": "/runs/saves/a/checkpoint-20",
    }


def test_with_overwrite_and_a_stale_checkpoint_asked_for_it_resumes_from_it_as_before():
    text = OVERWRITE + "resume_from_checkpoint: saves/a/checkpoint-20\n"
    plan = plan_resume(config(text), [], output(checkpoint(20)), since=400.0)
    assert dict(plan.changes) == {}
    assert said(plan) == "resumes from saves/a/checkpoint-20, as before"


def test_with_overwrite_and_no_checkpoint_a_copy_of_the_trainer_log_is_kept():
    plan = plan_resume(config(OVERWRITE), [], output(has_model=True, has_trainer_log=True))
    assert dict(plan.changes) == {}
    assert plan.keeps_trainer_log_copy
    assert "a copy of the old one is kept" in said(plan)


def test_without_overwrite_age_does_not_matter():
    plan = plan_resume(config(), [], output(checkpoint(20)), since=400.0)
    assert plan.checkpoint == checkpoint(20)


@pytest.mark.parametrize("text", [LORA, OVERWRITE])
def test_a_finished_checkpoint_would_end_at_once_so_it_goes_elsewhere(text):
    plan = plan_resume(config(text), [], output(checkpoint(100, max_steps=100)))
    assert dict(plan.changes) == {"output_dir": "saves/a-2"}
    assert "checkpoint-100 is the end of its training" in said(plan)


@pytest.mark.parametrize("key", BREAKS_RESUME)
def test_a_change_that_no_checkpoint_fits_goes_to_a_folder_of_its_own(key):
    plan = plan_resume(config(), [key], output(checkpoint(20)))
    assert (plan.checkpoint, dict(plan.changes)) == (None, {"output_dir": "saves/a-2"})
    assert BREAKS_RESUME[key].en in said(plan)


def test_the_folder_of_its_own_is_one_that_is_not_there_yet(tmp_path):
    for name in ("a", "a-2", "a-3"):
        (tmp_path / name).mkdir()
    there = OutputDir(tmp_path / "a", exists=True, checkpoints=(checkpoint(20),))
    text = LORA.replace("saves/a", "saves/a/") + "resume_from_checkpoint: saves/a/checkpoint-20\n"
    plan = plan_resume(config(text), ["finetuning_type"], there)
    assert dict(plan.changes) == {"output_dir": "saves/a-4", "resume_from_checkpoint": UNSET}


def test_a_model_in_the_folder_would_be_refused_so_it_goes_elsewhere():
    plan = plan_resume(config(), [], output(has_model=True))
    assert dict(plan.changes) == {"output_dir": "saves/a-2"}
    assert "its folder holds a model already" in said(plan)


def test_a_checkpoint_asked_for_that_is_not_there_is_taken_out():
    text = LORA + "resume_from_checkpoint: true\n"
    plan = plan_resume(config(text), [], output())
    assert dict(plan.changes) == {"resume_from_checkpoint": UNSET}
    assert "it names a checkpoint that is not there" in said(plan)


def test_a_checkpoint_asked_for_in_another_folder_is_resumed_as_before():
    text = LORA + "resume_from_checkpoint: /other/checkpoint-5\n"
    plan = plan_resume(config(text), [], output())
    assert dict(plan.changes) == {}
    assert said(plan) == "resumes from /other/checkpoint-5, as before"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("stage: ppo\noutput_dir: saves/a\n", "cannot resume PPO"),
        ("stage: rm\nfinetuning_type: full\noutput_dir: saves/a\n", "does not resume reward"),
    ],
)
def test_a_stage_that_cannot_resume_goes_elsewhere(text, reason):
    plan = plan_resume(config(text), [], output(checkpoint(20)))
    assert dict(plan.changes) == {"output_dir": "saves/a-2"}
    assert reason in said(plan)
