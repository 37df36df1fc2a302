"""The signals of the training data, and the findings that a whole dataset gives."""

import json
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.datasets import DatasetReport, Fault, FaultKind, Lengths, Place, Tally, Use
from diagnostics.engine import diagnose
from diagnostics.history import History
from diagnostics.observations import Missing, RunFact
from diagnostics.ruleset import load_rules
from diagnostics.signals import Context, Value, read_signal
from diagnostics.sources.dataset import look

CONFIG = "dataset: a,b\nnum_train_epochs: 3.0\nper_device_train_batch_size: 2\n"


def context(
    *reports: DatasetReport, text: str = CONFIG, facts: dict[str, int] | None = None
) -> Context:
    history = History(())
    for name, value in (facts or {}).items():
        history.add(RunFact(1.0, "stdout.log", 1, name, value))
    config = EffectiveConfig(parse_document(text.encode()))
    return Context(snapshot=history.snapshot(), config=config, datasets=reports)


def value(name: str, given: Context) -> Value | Missing | None:
    signal = read_signal(name, given)
    return None if signal is None else signal.value


def report(name: str = "a", samples: int = 100, **more: object) -> DatasetReport:
    fields = {"read": samples, "samples": samples, "exact": True, "source": f"{name}.json", **more}
    return DatasetReport(name, **fields)  # type: ignore[arg-type]


def lengths(cut: int, measured: int, p95: int = 300, cutoff: int = 256) -> Lengths:
    return Lengths(200, p95, 400, (Place("a.json", 9, 9, "long"),), cutoff, cut, cut, measured)


def test_where_nobody_looked_a_share_is_missing_and_not_zero():
    history = History(())
    nobody = Context(snapshot=history.snapshot())

    assert value("data.empty_answer_pct", nobody) == Missing("nobody looked at the data files")
    assert value("data.looked", nobody) is False
    unseen = DatasetReport("a", not_looked_at="parquet files are not read")
    assert value("data.truncated_pct", context(unseen)) == Missing("a: parquet files are not read")
    assert value("data.empty_answer_pct", context()) == Missing("the config names no dataset")


def test_a_share_is_that_of_the_worst_dataset_with_its_places():
    bad = Tally(5, (Place("b.json", 3, 3, "its answer is empty"),))
    given = context(report(samples=1000), report("b", samples=10, empty_answers=bad))
    signal = read_signal("data.empty_answer_pct", given)

    assert signal is not None
    assert signal.value == 50.0
    assert [(one.source, one.line, one.text) for one in signal.evidence] == [
        ("b.json", 3, "sample 3: its answer is empty")
    ]


def test_truncation_is_that_of_all_samples_together():
    given = context(
        report(lengths=lengths(100, 100)), report("b", lengths=lengths(0, 300, p95=100))
    )

    assert value("data.truncated_pct", given) == 25.0
    assert value("data.p95_tokens", given) == 300


def test_packed_samples_are_not_truncated():
    given = context(report(lengths=lengths(100, 100), packed=True))

    assert isinstance(value("data.truncated_pct", given), Missing)


def test_the_fitting_cutoff_is_a_power_of_two_above_the_present_one():
    assert value("data.fitting_cutoff", context(report(lengths=lengths(9, 9, p95=900)))) == 1024
    assert value("data.fitting_cutoff", context(report(lengths=lengths(9, 9, p95=100)))) is None
    far = context(report(lengths=lengths(9, 9, p95=10**6)))
    assert value("data.fitting_cutoff", far) == 32_768


def test_samples_seen_follow_epochs_steps_and_what_is_set_aside():
    two = (report(), report("b", samples=60, no_answers=Tally(10)))

    assert value("data.samples", context(*two)) == 150
    assert value("data.samples_seen", context(*two)) == 450
    assert value("data.optimizer_steps", context(*two)) == 225
    aside = context(*two, text=CONFIG + "val_size: 0.1\n")
    assert value("data.samples_seen", aside) == 405
    steps = context(*two, text=CONFIG + "max_steps: 150\n")
    assert value("data.passes", steps) == 2.0
    assert value("data.optimizer_steps", steps) is None
    several = context(*two, facts={"total_batch_size": 30})
    assert value("data.optimizer_steps", several) == 15


def test_a_dataset_read_in_part_has_no_number_of_samples():
    given = context(report(exact=False, partial="only the first 20,000 samples were read"))

    assert value("data.samples", given) == Missing("a: only the first 20,000 samples were read")
    assert isinstance(value("data.passes", given), Missing)


def test_an_undefined_dataset_has_the_nearest_name_and_the_corrected_setting():
    fault = Fault(FaultKind.UNDEFINED, "has no dataset 'b'", "data/dataset_info.json")
    given = context(report(), DatasetReport("b", fault=fault, defined=("a", "bee"), nearest="bee"))

    assert value("data.undefined", given) == "b"
    assert value("data.nearest_dataset", given) == "bee"
    assert value("data.defined_datasets", given) == "a, bee"
    assert value("data.corrected_dataset", given) == "a,bee"


def test_faults_of_evaluation_data_count_and_their_quality_does_not():
    fault = Fault(FaultKind.PARSE, "not JSON: Expecting value", "e.json", 4, 2)
    given = context(
        report(),
        report("e", use=Use.EVAL, fault=fault, empty_answers=Tally(100)),
    )
    signal = read_signal("data.parse_error", given)

    assert signal is not None
    assert signal.value == "e.json not JSON: Expecting value"
    assert (signal.evidence[0].line, signal.evidence[0].text) == (
        4,
        "not JSON: Expecting value (column 2)",
    )
    assert value("data.empty_answer_pct", given) == 0.0


def test_a_fault_is_unknown_and_not_absent_where_a_dataset_was_not_looked_at():
    unseen = DatasetReport("b", not_looked_at="parquet files are not read")

    assert value("data.parse_error", context(report())) is None
    assert value("data.parse_error", context(report(), unseen)) == Missing(
        "b: parquet files are not read"
    )


def test_one_kind_of_tag_alone_is_one_sided():
    assert value("data.one_sided", context(report(liked=9))) == "true"
    assert value("data.one_sided", context(report(liked=9), report("b", disliked=1))) is None
    assert value("data.one_sided", context(report())) is None
    assert (
        value("data.one_sided", context(report(liked=9, partial="the rest was not read"))) is None
    )


def test_sound_data_give_no_finding_of_data_quality(tmp_path: Path):
    (tmp_path / "data").mkdir()
    rows = [
        {"instruction": f"Explain the number {n}.", "input": "", "output": f"It follows {n - 1}."}
        for n in range(200)
    ]
    (tmp_path / "data" / "a.json").write_text(json.dumps(rows))
    (tmp_path / "data" / "dataset_info.json").write_text('{"a": {"file_name": "a.json"}}')
    config = EffectiveConfig(parse_document(b"stage: sft\ndataset: a\ncutoff_len: 1024\n"))
    rules = [rule for rule in load_rules().rules if rule.path.parent.name == "data_quality"]
    given = Context(snapshot=History(()).snapshot(), config=config, datasets=look(config, tmp_path))
    diagnosis = diagnose(rules, given)

    assert len(rules) >= 14
    assert diagnosis.findings == ()
    assert diagnosis.blind == ()
