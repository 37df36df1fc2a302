"""Chat templates: which model a name tells of, and which template belongs to it."""

import pytest

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.history import Snapshot
from diagnostics.signals import Context, read_signal
from diagnostics.templates import NAMES, find_model, is_former, nearest_template


@pytest.mark.parametrize(
    ("path", "family", "template"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen2.5", "qwen"),
        ("/models/Qwen2___5-0___5B-Instruct", "Qwen2.5", "qwen"),
        ("Qwen/Qwen2-57B-A14B", "Qwen2", "qwen"),
        ("Qwen/Qwen1.5-72B-Chat", "Qwen1.5", "qwen"),
        ("/models/Qwen2VL", "Qwen2-VL", "qwen2_vl"),
        ("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", "Qwen2-VL", "qwen2_vl"),
        ("Qwen/Qwen3-8B", "Qwen3", "qwen3"),
        ("Qwen/Qwen3-4B-Instruct-2507", "Qwen3", "qwen3_nothink"),
        ("Qwen/Qwen3-4B-Thinking-2507", "Qwen3", "qwen3"),
        ("Qwen/Qwen3-VL-8B-Instruct", "Qwen3-VL", "qwen3_vl_nothink"),
        ("Qwen/Qwen3-VL-8B-Thinking", "Qwen3-VL", "qwen3_vl"),
        ("Qwen/Qwen3.5-9B", "Qwen3.5", "qwen3_5"),
        ("meta-llama/Llama-2-7b-chat-hf", "Llama 2", "llama2"),
        ("LLM-Research/Meta-Llama-3-8B-Instruct", "Llama 3", "llama3"),
        ("meta-llama/Llama-3.2-1B", "Llama 3", "llama3"),
        ("meta-llama/Llama-3.2-11B-Vision-Instruct", "Llama 3 with vision", "mllama"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "Mistral", "mistral"),
        ("google/gemma-2b-it", "Gemma", "gemma"),
        ("google/gemma-2-9b-it", "Gemma 2", "gemma2"),
        ("google/gemma-3-4b-it", "Gemma 3", "gemma3"),
        ("THUDM/glm-4-9b-chat", "GLM-4", "glm4"),
        ("THUDM/GLM-4.1V-9B-Thinking", "GLM-4V", "glm4v"),
        ("/models/chatglm2-6b", "ChatGLM2", "chatglm2"),
        ("baichuan-inc/Baichuan2-13B-Chat", "Baichuan 2", "baichuan2"),
        ("hfl/chinese-alpaca-2-7b", "Chinese-LLaMA-2", "llama2_zh"),
        (
            "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
            "DeepSeek-R1 distilled into Qwen",
            "deepseekr1",
        ),
        ("deepseek-ai/deepseek-llm-7b-chat", "DeepSeek", "deepseek"),
        (
            "/root/.cache/huggingface/hub/models--Qwen--Qwen2.5-7B/snapshots/" + "0a1b" * 10,
            "Qwen2.5",
            "qwen",
        ),
        ("E:\\models\\Qwen2.5-7B-Instruct\\", "Qwen2.5", "qwen"),
        ("/data/llama3-8b-sft-merged", "Llama 3", "llama3"),
    ],
)
def test_a_model_is_known_by_its_name(path: str, family: str, template: str):
    model = find_model(path)

    assert model is not None
    assert (model.family.name, model.expected) == (family, template)
    assert model.expected in NAMES


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/data/my-model",
        "/data/qwen/final",  # the folder above is no name
        "NousResearch/Hermes-3-Llama-3.1-8B",  # trained with another format
        "cognitivecomputations/dolphin-2.9-llama3-8b",
        "lmsys/vicuna-7b-v1.5",
        "llava-v1.6-mistral-7b-hf",
        "Qwen/Qwen3-Embedding-0.6B",
        "some/qwen2.5-7b-llama3-mix",
        "saves/checkpoint-500",
        "x" * 5000,
        "\x1b[31m\x00Qwen\ufffd?",
    ],
)
def test_a_name_that_does_not_tell_for_sure_tells_nothing(path: str):
    assert find_model(path) is None


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen3"),
        ("Qwen/Qwen3-8B", "qwen"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen"),
        ("meta-llama/Llama-2-7b-hf", "default"),
        ("meta-llama/Llama-2-7b-hf", "llama2_zh"),
        ("meta-llama/Meta-Llama-3-8B", "alpaca"),
        ("Qwen/Qwen2.5-7B", "chatml"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "deepseek3"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama3"),
        ("01-ai/Yi-34B-Chat", "yi"),
    ],
)
def test_a_template_that_may_be_meant_is_accepted(path: str, template: str):
    model = find_model(path)

    assert model is not None
    assert model.accepts(template)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "llama3"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "qwen"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama2"),
        ("THUDM/glm-4-9b-chat", "chatglm3"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "qwen"),
        ("baichuan-inc/Baichuan2-13B-Chat", "baichuan"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "llama3"),
    ],
)
def test_another_familys_template_is_not_accepted(path: str, template: str):
    model = find_model(path)

    assert model is not None
    assert not model.accepts(template)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("qwenn", "qwen"),
        ("Qwen", "qwen"),
        ("qwen2.5", "qwen"),
        ("llama-3", "llama3"),
        ("llama3.1", "llama3"),
        ("qwen2-vl", "qwen2_vl"),
        ("qwen2_5_vl", "qwen2_vl"),
        ("chatglm4", "chatglm3"),
        ("defualt", "default"),
        ("gemma_2", "gemma2"),
        ("zzzz", None),
        ("qwen", None),
        ("\x00" * 10_000, None),
    ],
)
def test_a_misspelt_template_is_led_to_the_nearest(name: str, meant: str | None):
    assert nearest_template(name) == meant


def test_templates_that_newer_releases_dropped_are_told():
    assert is_former("baichuan2")
    assert not is_former("qwen")
    assert "baichuan2" in NAMES


def _context(text: str) -> Context:
    return Context(Snapshot(), EffectiveConfig(parse_document(text.encode()), None))


def _value(name: str, text: str) -> object:
    signal = read_signal(name, _context(text))
    return None if signal is None else signal.value


def test_the_signals_tell_of_the_config_that_is_set():
    wrong = "model_name_or_path: /models/Qwen2.5-7B-Instruct\ntemplate: llama3\n"

    assert _value("template.fits", wrong) is False
    assert _value("template.expected", wrong) == "qwen"
    assert _value("template.family", wrong) == "Qwen2.5"
    assert _value("template.known", wrong) is True
    assert _value("template.plain_for_chat", wrong) is False


def test_nothing_is_said_of_a_template_that_is_not_set_or_not_known():
    unset = "model_name_or_path: /models/Qwen2.5-7B-Instruct\n"
    own = unset + "template: our_own_format\n"
    nowhere = "template: llama3\n"

    assert _value("template.fits", unset) is None
    assert _value("template.fits", own) is None
    assert _value("template.known", own) is False
    assert _value("template.fits", nowhere) is None


def test_a_chat_model_with_a_template_of_no_model_is_told():
    chat = "model_name_or_path: Qwen/Qwen2.5-7B-Instruct\ntemplate: default\n"
    base = "model_name_or_path: Qwen/Qwen2.5-7B\ntemplate: default\n"

    assert _value("template.plain_for_chat", chat) is True
    assert _value("template.plain_for_chat", base) is False


def test_values_of_any_type_are_borne():
    odd = "model_name_or_path: [1, 2]\ntemplate: {a: 1}\n"

    assert _value("template.fits", odd) is None
    assert _value("template.known", odd) is None
