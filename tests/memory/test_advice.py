"""Advice on a method: what fits, what is recommended and why, and the config that follows."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.faults import schema_faults
from diagnostics.errors import ConfigError, LlamavetError
from diagnostics.findings import Language
from diagnostics.memory.advice import Advice, advise, yaml_of
from diagnostics.memory.architecture import Architecture
from diagnostics.memory.config_json import architecture_of
from diagnostics.memory.facts import MemoryFacts, forecast_config
from diagnostics.memory.options import Bench, Case, Preference
from diagnostics.memory.reasons import ways_out
from diagnostics.memory.recipes import LORA
from diagnostics.memory.task import Precision, Task
from diagnostics.memory.verdict import Verdict
from diagnostics.memory.workload import Quantization
from diagnostics.report.advice import as_text, as_value
from diagnostics.report.layout import columns
from tests.memory.shapes import LLAMA_8B


def model(**changes: object) -> Architecture:
    return architecture_of({**LLAMA_8B, **changes})


SMALL = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
         "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 32000}  # fmt: skip
HUGE = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
        "num_attention_heads": 64}  # fmt: skip


def case(
    gib: float | None = 24.0,
    *,
    gpus: int = 1,
    samples: int | None = None,
    prefer: str | None = None,
    sizes: Mapping[str, object] | None = None,
    quantized: Quantization | None = None,
    precision: Precision = Precision.BF16,
    **task: object,
) -> Case:
    facts = MemoryFacts(
        model(**(sizes or {})),
        gpus=gpus,
        capacity_gib=gib,
        quantized=quantized,
        no_gpu="" if gib else "no GPU: none is listed",
    )
    return Case(
        replace(Task("meta-llama/Llama-3.1-8B-Instruct", samples=samples), **task),  # type: ignore[arg-type]
        facts,
        precision,
        Preference(prefer) if prefer else None,
    )


def chosen(advice: Advice) -> str:
    assert advice.recommended is not None
    return advice.recommended.recipe.id


def said(advice: Advice) -> str:
    return "\n".join(text.en for text in advice.reasons)


def test_an_8b_model_on_a_card_of_24_gib_begins_with_lora():
    advice = advise(case())

    assert chosen(advice) == "lora_r8"
    verdicts = {one.recipe.id: one.verdict for one in advice.options}
    assert verdicts["full"] is Verdict.DOES_NOT_FIT
    assert verdicts["full_bf16"] is Verdict.DOES_NOT_FIT
    assert verdicts["qlora_r8"] is Verdict.FITS


def test_a_card_too_small_for_lora_is_advised_qlora_and_told_why():
    advice = advise(case(16.0))

    assert chosen(advice) == "qlora_r8"
    assert "does not fit: LoRA rank 8 (20.3 GiB)" in said(advice)


def test_quality_takes_full_tuning_where_it_fits_and_the_data_is_not_small():
    assert chosen(advise(case(192.0, prefer="quality", samples=20_000))) == "full"
    assert chosen(advise(case(192.0, prefer="quality"))) == "full"


def test_small_data_prefers_lora_over_full_even_for_quality():
    advice = advise(case(192.0, prefer="quality", samples=1_000))

    assert chosen(advice) == "lora_r16"
    assert "1,000 samples are few" in said(advice)


def test_unasked_only_much_data_makes_full_tuning_the_first_choice():
    assert chosen(advise(case(192.0))) == "lora_r8"
    assert chosen(advise(case(192.0, samples=200_000))) == "full"


def test_a_wish_for_memory_takes_what_needs_least():
    advice = advise(case(80.0, prefer="memory"))

    least = min(advice.options, key=lambda one: one.single.needed_gib)
    assert chosen(advice) == least.recipe.id


def test_a_wish_for_speed_tells_that_freeze_is_faster_and_what_it_costs():
    advice = advise(case(80.0, prefer="speed"))

    assert chosen(advice) == "lora_r8"
    assert "freeze is about 2.4 times as fast, but adapts two layers only" in said(advice)


def test_several_gpus_are_offered_zero_3_which_spreads_full_tuning():
    advice = advise(case(80.0, gpus=4, prefer="quality", samples=50_000))

    assert chosen(advice) == "full_zero3"
    ids = [one.recipe.id for one in advise(case(80.0)).options]
    assert "full_zero3" not in ids


def test_nothing_fits_is_said_with_what_would():
    advice = advise(case(24.0, sizes=HUGE))

    assert advice.nothing_fits
    assert advice.recommended is None
    text = said(advice)
    assert "a smaller model: about 14B fits with QLoRA" in text
    assert "QLoRA 4-bit rank 8 on a GPU of 80 GB" in text


def test_what_would_fit_names_how_many_gpus_zero_3_needs():
    bench = Bench(case(24.0))
    options = [bench.option(LORA)]

    text = "\n".join(one.en for one in ways_out(bench, options))

    assert "full ZeRO-3 on 16 such GPUs of 24 GiB" in text


def test_a_long_cutoff_that_does_not_fit_is_answered_with_the_longest_that_does():
    advice = advise(case(12.0, cutoff_tokens=65_536))

    assert advice.nothing_fits
    assert "a shorter cutoff_len: QLoRA 4-bit rank 8 fits up to" in said(advice)


def test_the_largest_batch_and_cutoff_fit_and_the_next_ones_do_not():
    bench = Bench(case(80.0))
    option = bench.option(LORA)
    work = option.single.work
    assert option.largest_batch is not None
    assert option.largest_cutoff is not None

    def verdict(**changes: int) -> Verdict:
        return bench.tell(replace(work, **changes)).verdict  # type: ignore[arg-type]

    assert bench.tell(bench.of_batch(work, option.largest_batch)).verdict is Verdict.FITS
    assert bench.tell(bench.of_batch(work, 2 * option.largest_batch)).verdict is not Verdict.FITS
    assert verdict(sequence=option.largest_cutoff) is Verdict.FITS
    assert verdict(sequence=option.largest_cutoff + 256) is not Verdict.FITS


def test_without_a_gpu_peaks_are_shown_and_nothing_is_judged_or_recommended():
    advice = advise(case(None))

    assert advice.recommended is None
    assert not advice.nothing_fits
    assert {one.verdict for one in advice.options} == {Verdict.UNKNOWN}
    assert all(one.has_headroom is None and one.largest_batch is None for one in advice.options)
    text = as_text(advice, Language.EN)
    assert "no GPU: none is listed (--gpu 24 names one)" in text
    assert "No recommendation" in text


def test_an_unknown_model_is_an_error_with_its_reason():
    unknown = replace(case(), facts=MemoryFacts(None, reason="unknown model x"))

    with pytest.raises(LlamavetError, match="unknown model x; name its folder"):
        advise(unknown)


def test_a_model_that_is_quantized_already_is_offered_lora_only():
    advice = advise(case(quantized=Quantization(4, "gptq", double=False)))

    assert [one.recipe.id for one in advice.options] == ["lora_r16", "lora_r8", "lora_r4"]
    assert "quantized already" in as_text(advice, Language.EN)


def test_a_gpu_without_bfloat16_gets_fp16_and_no_pure_bf16():
    advice = advise(case(32.0, precision=Precision.FP16))

    assert "full_bf16" not in [one.recipe.id for one in advice.options]
    text = yaml_of(advice, advice.options[1], Language.EN)
    assert "\nfp16: true  # this GPU has no bfloat16\n" in text
    assert "bf16:" not in text


def test_the_article_s_rule_is_shown_beside_and_what_it_would_choose():
    advice = advise(case(24.0))

    assert advice.article_choice == "less"
    assert advise(case(80.0)).article_choice == "lora"
    assert advise(case(80.0, gpus=2)).article_choice == "full"
    shown = " ".join(as_text(advice, Language.EN).split())
    assert "full 150, LoRA 75, freeze 45; it would choose a smaller batch" in shown


def test_full_tuning_is_slower_than_lora_and_freezing_faster_and_4_bits_cost_time():
    speeds = {one.recipe.id: one.relative_speed for one in advise(case()).options}

    assert speeds["lora_r8"] == pytest.approx(1.0)
    assert speeds["qlora_r8"] == pytest.approx(1 / 1.39)
    # 8 operations a weight instead of 6, and attention as much in both.
    assert 0.75 < speeds["full"] < 0.8
    assert speeds["freeze"] > 2


@pytest.mark.parametrize("gpus", [1, 2, 3])
@pytest.mark.parametrize("gib", [8.0, 24.0, 80.0, None])
def test_every_config_that_would_be_written_is_accepted_and_predicted_as_the_table_says(
    gib: float | None, gpus: int
):
    given = case(gib, gpus=gpus)
    advice = advise(given)
    for option in advice.options:
        for language in Language:
            config = EffectiveConfig(parse_document(yaml_of(advice, option, language).encode()))
            told = forecast_config(config, given.facts)

            assert told.verdict is option.verdict, option.recipe.id
            assert told.needed_gib == pytest.approx(option.told.needed_gib)
            assert told.work.batch == option.batch
            assert not schema_faults(config), option.recipe.id


def test_a_written_batch_keeps_16_samples_a_step_and_20_percent_to_spare():
    advice = advise(case(80.0))

    for option in advice.options:
        if option.batch > 1:
            assert option.told.needed_gib * 1.2 <= 80.0
        times = option.told.work.accumulation
        assert option.batch * times == 16


def test_a_template_is_written_only_where_the_name_is_sure_of_it():
    def line(name: str) -> str:
        advice = advise(case(24.0, model=name))
        text = yaml_of(advice, advice.options[2], Language.EN)
        return next(one for one in text.splitlines() if "template:" in one)

    assert line("meta-llama/Llama-3.1-8B-Instruct").startswith("template: llama3 ")
    assert line("Qwen/Qwen2.5-7B-Instruct").startswith("template: qwen ")
    assert line("meta-llama/Llama-3.1-8B").startswith("# template:  # llama3 for Llama 3 chat")
    assert line("me/my-finetune-8b").startswith("# template:  # fill in")


def test_a_hostile_model_name_stays_a_name_in_the_file_and_on_the_screen():
    name = 'x: [1\n"\x1b[31m# 8b'
    advice = advise(case(24.0, model=name))

    config = parse_document(yaml_of(advice, advice.options[2], Language.EN).encode())

    assert config.values["model_name_or_path"] == name
    assert "\x1b" not in as_text(advice, Language.EN)


def test_what_a_given_config_says_of_its_data_and_stage_is_kept():
    kept = {"stage": "dpo", "template": "qwen", "pref_beta": 0.2, "trust_remote_code": True}
    advice = advise(case(80.0, kept=kept, dataset="mine,yours", dataset_dir="d", samples=900))

    config = parse_document(yaml_of(advice, advice.options[2], Language.EN).encode())

    assert config.values["dataset"] == "mine,yours"
    assert kept.items() <= config.values.items()
    assert advice.options[2].single.work.batch == 2  # a chosen and a rejected answer


def test_a_kept_stage_without_meaning_is_refused():
    with pytest.raises(ConfigError, match="stage"):
        advise(case(kept={"stage": "nonsense"}))


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("gib", [None, 8.0, 24.0, 192.0])
def test_no_line_is_wider_than_80_columns_in_either_language(gib: float | None, language: Language):
    for given in (case(gib, samples=3), case(gib, gpus=8, prefer="quality", sizes=HUGE)):
        for line in as_text(advise(given), language).splitlines():
            assert columns(line) <= 80, line


@pytest.mark.parametrize("language", list(Language))
def test_a_narrow_report_drops_columns_and_breaks_its_lines_earlier(language: Language):
    for line in as_text(advise(case(24.0, samples=3)), language, 60).splitlines():
        assert columns(line) <= 60, line


def test_what_is_not_sure_to_fit_has_no_headroom():
    guessed = advise(case(26.0, sizes={"model_type": "acme"}))

    tight = [one for one in guessed.options if one.verdict is Verdict.TIGHT]
    assert tight
    assert not any(one.has_headroom for one in tight)


def test_the_columns_of_the_table_stand_under_their_headings_in_chinese_too():
    lines = as_text(advise(case(80.0, gpus=2)), Language.ZH).splitlines()
    head = next(index for index, line in enumerate(lines) if "方法" in line)
    where = columns(lines[head][: lines[head].index("效果")])

    for line in lines[head + 1 : head + 10]:
        cells = line.rstrip().rsplit("  ", 1)
        assert columns(cells[0]) + 2 == where, line


def test_the_json_names_the_recommended_option_and_gives_every_figure():
    advice = advise(case(24.0, samples=3_000))
    value = as_value(advice, Language.EN)

    assert value["schema"] == 1
    assert value["recommended"] == "lora_r8"
    options = value["options"]
    assert isinstance(options, list)
    first = options[0]
    assert first["id"] == "full"
    assert first["verdict"] == "does_not_fit"
    assert first["largest_batch"] is None
    assert first["peak_gib"] > 100


def test_a_small_model_on_a_large_card_fits_every_way():
    advice = advise(case(80.0, sizes=SMALL))

    assert {one.verdict for one in advice.options} == {Verdict.FITS}
    assert all(one.has_headroom for one in advice.options)
