"""What belongs together: paths in, one run's remains out, whatever lies where."""

import gzip
from pathlib import Path

import pytest

from diagnostics.runs.gather import gather
from diagnostics.runs.remains import Remains

CONFIG = "model_name_or_path: m\nstage: sft\noutput_dir: saves/x\n"
LOG = "[INFO|trainer.py:2519] 2026-05-01 10:00:00,000 >> ***** Running training *****\n"
ROW = '{"current_steps": 1, "total_steps": 9, "loss": 1.0}\n'


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMAVET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def put(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def config_of(run: Remains) -> str | None:
    document = run.config.document if run.config is not None else None
    return str(document.path) if document is not None else None


def names(run: Remains) -> list[str]:
    return [path.name for path in run.logs]


def only(*words: str) -> Remains:
    gathered = gather(words)
    assert gathered.faults == ()
    (run,) = gathered.runs
    return run


def test_a_log_brings_the_config_and_the_output_that_lie_beside_it():
    put("run/stdout.log", LOG)
    put("run/config.yaml", CONFIG)
    put("run/trainer_log.jsonl", ROW)

    run = only("run/stdout.log")

    assert config_of(run) == "run/config.yaml"
    assert run.output_dir == Path("run")


def test_the_output_folder_that_the_config_names_is_found_from_where_the_training_started():
    put("train.log", LOG)
    put("examples/sft/x.yaml", CONFIG)
    put("saves/x/trainer_log.jsonl", ROW)

    run = only("train.log", "examples/sft/x.yaml")

    assert config_of(run) == "examples/sft/x.yaml"
    assert run.output_dir is not None
    assert run.output_dir.resolve() == Path("saves/x").resolve()


def test_a_config_alone_leads_to_its_output_and_the_log_in_it():
    put("x.yaml", CONFIG)
    put("saves/x/trainer_log.jsonl", ROW)
    put("saves/x/running_log.txt", LOG)

    run = only("x.yaml")

    assert names(run) == ["running_log.txt"]
    assert run.output_dir is not None


def test_a_config_whose_run_left_nothing_is_a_fault_with_its_remedy():
    put("x.yaml", CONFIG)

    gathered = gather(["x.yaml"])

    assert gathered.runs == ()
    assert "nothing that a run with this config left" in str(gathered.faults[0])
    assert "llamavet analyze LOG x.yaml" in str(gathered.faults[0])


def test_rotated_parts_named_together_are_one_log_oldest_first():
    put("out.log", LOG)
    put("out.log.1", LOG)
    Path("out.log.2.gz").write_bytes(gzip.compress(LOG.encode()))

    run = only("out.log", "out.log.1", "out.log.2.gz")

    assert names(run) == ["out.log.2.gz", "out.log.1", "out.log"]


def test_a_log_named_alone_brings_the_parts_that_rotation_made_of_it():
    put("out.log", LOG)
    put("out.log-20260501", LOG)
    put("other.log", LOG)

    assert names(only("out.log")) == ["out.log-20260501", "out.log"]


def test_a_part_that_is_there_packed_and_unpacked_counts_once():
    put("out.log", LOG)
    put("out.log.1", LOG)
    Path("out.log.1.gz").write_bytes(gzip.compress(LOG.encode()))

    assert names(only("out.log", "out.log.1", "out.log.1.gz")) == ["out.log.1", "out.log"]


def test_standard_output_and_standard_error_are_one_run():
    put("slurm-7.out", LOG)
    put("slurm-7.err", "Traceback (most recent call last):\n")

    assert names(only("slurm-7.out", "slurm-7.err")) == ["slurm-7.out", "slurm-7.err"]


def test_two_logs_are_two_runs():
    put("a.log", LOG)
    put("b.log", LOG)

    assert [names(run) for run in gather(["a.log", "b.log"]).runs] == [["a.log"], ["b.log"]]


def test_configs_named_beside_two_logs_go_to_the_one_they_are_of():
    put("a.log", LOG)
    put("b.log", LOG + "Saving model checkpoint to saves/b/checkpoint-5\n")
    put("conf/a.yaml", CONFIG.replace("saves/x", "saves/a"))
    put("conf/second.yaml", CONFIG.replace("saves/x", "saves/b"))

    gathered = gather(["a.log", "b.log", "conf/second.yaml", "conf/a.yaml"])

    assert gathered.faults == ()
    pairs = [(names(run)[0], config_of(run)) for run in gathered.runs]
    assert pairs == [("a.log", "conf/a.yaml"), ("b.log", "conf/second.yaml")]


def test_of_several_configs_beside_a_log_the_one_that_it_was_started_with_is_taken():
    put("run/one.yaml", CONFIG.replace("saves/x", "saves/one"))
    put("run/two.yaml", CONFIG.replace("saves/x", "saves/two"))
    put("run/my.log", f"+ llamafactory-cli train conf/two.yaml\n{LOG}")

    assert config_of(only("run/my.log")) == "run/two.yaml"


def test_of_several_configs_beside_a_log_none_is_guessed():
    put("run/one.yaml", CONFIG.replace("saves/x", "saves/one"))
    put("run/two.yaml", CONFIG.replace("saves/x", "saves/two"))
    put("run/my.log", LOG)

    assert config_of(only("run/my.log")) is None


def test_yaml_files_that_are_no_training_configs_are_passed_over():
    put("run/a.yaml", "compute_environment: LOCAL_MACHINE\n")
    put("run/b.yaml", "a: [1\n")
    put("run/c.yaml", CONFIG + "export_dir: merged\n")
    put("run/z.yaml", CONFIG)
    put("run/my.log", LOG)

    assert config_of(only("run/my.log")) == "run/z.yaml"


def test_a_folder_of_runs_gives_one_report_each_in_the_order_of_their_numbers():
    for number in (10, 2, 1):
        put(f"all/run-{number}/stdout.log", LOG)
    put("all/notes.md", "x")

    gathered = gather(["all"])

    assert [run.name for run in gathered.runs] == ["all/run-1", "all/run-2", "all/run-10"]
    assert gathered.expanded


def test_a_folder_with_logs_of_several_runs_gives_one_report_for_each():
    put("logs/a.log", LOG)
    put("logs/a.log.1", LOG)
    put("logs/b.log", LOG)

    found = [names(run) for run in gather(["logs"]).runs]

    assert found == [["a.log.1", "a.log"], ["b.log"]]


def test_a_stray_log_does_not_hide_the_runs_below_it():
    put("all/install.log", "ok\n")
    put("all/one/stdout.log", LOG)
    put("all/two/trainer_log.jsonl", ROW)

    assert [run.name for run in gather(["all"]).runs] == ["all/one", "all/two"]


def test_a_checkpoint_means_the_run_that_it_is_of():
    put("saves/x/trainer_log.jsonl", ROW)
    put("saves/x/checkpoint-5/trainer_state.json", "{}")

    run = only("saves/x/checkpoint-5")

    assert run.output_dir is not None
    assert run.output_dir.resolve() == Path("saves/x").resolve()
    again = only("saves/x/checkpoint-5/trainer_state.json")
    assert again.output_dir is not None
    assert again.output_dir.resolve() == Path("saves/x").resolve()


def test_a_pattern_is_expanded_and_one_without_a_match_is_a_fault():
    put("one/stdout.log", LOG)
    put("two/stdout.log", LOG)

    assert len(gather(["*/stdout.log"]).runs) == 2
    fault = gather(["*/nosuch.log"]).faults[0]
    assert str(fault).startswith("*/nosuch.log: nothing matches it; name a log")


def test_a_name_with_brackets_that_exists_is_no_pattern():
    put("run[1].log", LOG)

    assert names(only("run[1].log")) == ["run[1].log"]


def test_the_same_run_named_in_several_ways_makes_one_report():
    put("run/stdout.log", LOG)
    put("run/config.yaml", CONFIG)
    put("run/trainer_log.jsonl", ROW)
    Path("link").symlink_to("run")

    run = only("run", "run/stdout.log", "run/config.yaml", "run/trainer_log.jsonl", "link")

    assert config_of(run) is not None


def test_one_word_that_leads_nowhere_does_not_keep_the_others_from_being_read():
    put("run/stdout.log", LOG)

    gathered = gather(["nosuch", "run"])

    assert len(gathered.runs) == 1
    assert "nosuch: no such file, folder or run" in str(gathered.faults[0])


@pytest.mark.parametrize("value", ["a\\0b", "x" * 5000, "/", "[1, 2]", "''"])
def test_an_output_dir_that_is_no_path_is_no_reason_to_fail(value: str):
    quoted = value if value.startswith(("[", "'")) else f'"{value}"'
    put("run/config.yaml", f"model_name_or_path: m\noutput_dir: {quoted}\n")
    put("run/stdout.log", LOG)

    assert only("run").output_dir is None


def test_a_folder_that_contains_itself_is_walked_once():
    put("all/one/stdout.log", LOG)
    Path("all/again").symlink_to(Path("all").absolute())

    assert len(gather(["all"]).runs) == 1
