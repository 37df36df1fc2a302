"""Owns LLaMA-Factory's chat templates: their names, and which of them a model was made for. Pure.

A model is known by its name alone, so only a name that says nothing else than a family, a size and
an everyday suffix is believed: what another party trained may use another template.
"""

import re
from dataclasses import dataclass, field
from difflib import get_close_matches


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ANY_MODEL = _words("alpaca chatml chatml_de custom default empty fewshot vanilla vicuna")
"""Templates that belong to no model: a base model may be taught any of them."""

_FORMER = _words(
    "aquila atom baichuan baichuan2 belle billa bluelm chatglm2 chatglm3_raw chatglm3_system"
    " codegeex2 codegeex4 cpm cpm3 intern linly marco orion skywork_o1 telechat vanilla xverse"
    " yayi ziya"
)
"""Templates that releases after 0.9.4 no longer have."""

NAMES = _FORMER | _words(
    "aeva alpaca bailing bailing_v2 breeze chatglm3 chatml chatml_de cohere cpm4 custom dbrx"
    " deepseek deepseek3 deepseekcoder deepseekr1 default dots_ocr empty ernie ernie_nothink"
    " ernie_vl exaone falcon falcon_h1 fewshot gemma gemma2 gemma3 gemma3n gemma4 gemma4n glm4"
    " glm4_5v glm4_7 glm4_moe glm4v glm_ocr glmz1 gpt_oss granite3 granite3_vision granite4"
    " hunyuan hunyuan_small hy3 hy_dense_1_8b hy_dense_7b index intern2 intern_s1 intern_vl"
    " keye_vl kimi_vl lfm2 lfm2_vl llama2 llama2_zh llama3 llama4 llava llava_next"
    " llava_next_llama3 llava_next_mistral llava_next_qwen llava_next_video"
    " llava_next_video_mistral llava_next_video_yi llava_next_yi mimo mimo_v2 mimo_vl minicpm_o"
    " minicpm_v minicpm_v_4_6 minimax1 minimax2 ministral ministral3 mistral mistral_small"
    " mllama moonlight moss_vl olmo openchat openchat-3.6 opencoder paligemma paligemma_chat"
    " phi phi4 phi4_mini phi_small pixtral qwen qwen2_audio qwen2_omni qwen2_vl qwen3 qwen3_5"
    " qwen3_5_nothink qwen3_6 qwen3_nothink qwen3_omni qwen3_omni_nothink qwen3_vl"
    " qwen3_vl_nothink sailor seed_coder seed_oss smollm smollm2 solar starchat telechat2"
    " vicuna video_llava xuanyuan yi yi_vl youtu youtu_vl yuan zephyr"
)
"""Every template that a release from 0.1 on has had."""


@dataclass(frozen=True, slots=True)
class Family:
    """Models that share a format: how their names begin, and the templates that fit, best first."""

    name: str
    pattern: re.Pattern[str]
    templates: tuple[str, ...]
    """Those of its text-only kin are among them: multimodal models are trained on text, too."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a model's name tells."""

    family: Family
    words: frozenset[str] = field(default_factory=frozenset)
    """The rest of its name: "7b", "instruct"."""

    @property
    def expected(self) -> str:
        """The template that LLaMA-Factory itself names for this model."""
        best, *others = self.family.templates
        quiet = f"{best}_nothink"
        return quiet if quiet in others and self._answers_at_once(best) else best

    @property
    def is_chat(self) -> bool:
        """Whether the name says that the model was taught to chat."""
        return not self.words.isdisjoint({"chat", "instruct", "it", "thinking"})

    def accepts(self, template: str) -> bool:
        """Whether a template may be meant for this model."""
        return template in ANY_MODEL or template in self.family.templates

    def _answers_at_once(self, template: str) -> bool:
        """Whether it is of a reasoning family, but does not reason."""
        split = template.endswith(("_vl", "_omni")) or self.words & {"2507", "next", "coder"}
        return bool(split) and "instruct" in self.words


_QWEN = ("qwen", "qwen3", "qwen3_nothink")
_QWEN3 = ("qwen3", "qwen3_nothink", "qwen")
_DEEPSEEK3 = ("deepseek3", "deepseekr1", "deepseek")
_DEEPSEEKR1 = ("deepseekr1", "deepseek3")
_MISTRAL = ("mistral", "ministral", "mistral_small", "ministral3", "llama2")
_GLM4 = ("glm4", "glmz1", "glm4_moe", "glm4_7")

_TABLE = (
    # The first pattern that matches wins: special models stand before their family.
    ("DeepSeek-R1 distilled into Qwen", r"deepseek-r1-distill-qwen", (*_DEEPSEEKR1, *_QWEN)),
    ("DeepSeek-R1 distilled into Llama", r"deepseek-r1-distill-llama", (*_DEEPSEEKR1, "llama3")),
    ("DeepSeek-R1 distilled into Qwen3", r"deepseek-r1-0528-qwen3", (*_DEEPSEEKR1, *_QWEN3)),
    ("DeepSeek-R1", r"deepseek-r1(?:-0528|-zero)?", _DEEPSEEKR1),
    ("DeepSeek-V3", r"deepseek-v(?:3(?:-1|-2)?|2-5)", _DEEPSEEK3),
    ("DeepSeek-Coder-V2", r"deepseek-coder-v2", ("deepseek", "deepseek3")),
    ("DeepSeek-Coder", r"deepseek-coder", ("deepseekcoder",)),
    ("DeepSeek-V2", r"deepseek-v2", ("deepseek", "deepseek3")),
    ("DeepSeek", r"deepseek-(?:llm|math|moe)", ("deepseek",)),
    ("Qwen2-VL", r"qwen-?2-?(?:5-?)?vl", ("qwen2_vl", *_QWEN)),
    ("QVQ", r"qvq", ("qwen2_vl", *_QWEN)),
    (
        "Qwen2.5-Omni",
        r"qwen-?2-?5-?omni",
        ("qwen2_omni", "qwen2_vl", "qwen2_audio", *_QWEN),
    ),
    ("Qwen2-Audio", r"qwen-?2-?audio", ("qwen2_audio", *_QWEN)),
    (
        "Qwen3-VL",
        r"qwen-?3-?vl",
        ("qwen3_vl", "qwen3_vl_nothink", "qwen2_vl", *_QWEN3),
    ),
    (
        "Qwen3-Omni",
        r"qwen-?3-?omni",
        ("qwen3_omni", "qwen3_omni_nothink", "qwen2_omni", *_QWEN3),
    ),
    (
        "Qwen3.5",
        r"qwen-?3-?[56]",
        ("qwen3_5", "qwen3_5_nothink", "qwen3_6", "qwen3_vl", "qwen3_vl_nothink", *_QWEN3),
    ),
    ("Qwen3", r"qwen-?3", _QWEN3),
    ("QwQ", r"qwq", _QWEN),
    ("Qwen2.5", r"qwen-?2-?5", _QWEN),
    ("Qwen2", r"qwen-?2", _QWEN),
    ("Qwen1.5", r"qwen-?1-?5", _QWEN),
    ("Qwen", r"qwen", _QWEN),
    ("Llama 4", r"llama-?4", ("llama4",)),
    ("Llama 3 with vision", r"llama-?3-?2-(?:11|90)b-vision", ("mllama", "llama3")),
    ("Llama 3", r"llama-?3(?:-?[123])?", ("llama3",)),
    ("Chinese-LLaMA-2", r"chinese-(?:alpaca|llama)-?2", ("llama2_zh", "llama2")),
    ("Llama 2", r"llama-?2", ("llama2", "llama2_zh", "atom")),
    ("Code Llama", r"codellama|code-llama", ("llama2",)),
    ("Ministral 3", r"ministral-3", ("ministral3", *_MISTRAL)),
    ("Mistral Small", r"mistral-small(?:-3(?:-\d)?)?", ("mistral_small", *_MISTRAL)),
    ("Mistral", r"mistral-nemo|ministral", ("ministral", *_MISTRAL)),
    ("Mistral", r"mistral|mixtral|codestral", _MISTRAL),
    ("Pixtral", r"pixtral", ("pixtral", *_MISTRAL)),
    ("Gemma 4", r"gemma-?4", ("gemma4", "gemma4n")),
    ("Gemma 3n", r"gemma-?3n", ("gemma3n", "gemma3", "gemma2", "gemma")),
    ("Gemma 3", r"gemma-?3", ("gemma3", "gemma2", "gemma", "gemma3n")),
    ("Gemma 2", r"gemma-?2", ("gemma2", "gemma", "gemma3")),
    ("Gemma", r"(?:code)?gemma", ("gemma", "gemma2")),
    ("GLM-4V", r"glm-?4-?(?:\d-?)?v", ("glm4v", "glm4_5v", *_GLM4)),
    ("GLM-Z1", r"glm-?z1", ("glmz1", *_GLM4)),
    ("GLM-4.5", r"glm-?4-[567]", ("glm4_moe", *_GLM4)),
    ("GLM-4", r"glm-?4", _GLM4),
    ("ChatGLM3", r"chatglm-?3", ("chatglm3", "chatglm3_raw", "chatglm3_system")),
    ("ChatGLM2", r"chatglm-?2", ("chatglm2",)),
    ("Baichuan 2", r"baichuan-?2", ("baichuan2",)),
    ("Baichuan", r"baichuan", ("baichuan",)),
    ("InternLM", r"internlm-?(?:2-?5|[23])", ("intern2",)),
    ("InternLM", r"internlm", ("intern",)),
    ("Yi-VL", r"yi-vl", ("yi_vl", "yi")),
    ("Yi", r"yi(?:-1-?5|-coder)?", ("yi", *_QWEN)),
    ("Phi-4-mini", r"phi-?4-mini", ("phi4_mini", "phi4")),
    ("Phi-4", r"phi-?4", ("phi4", "phi4_mini")),
    ("Phi-3-small", r"phi-?3-small", ("phi_small", "phi")),
    ("Phi-3", r"phi-?3(?:-?5)?", ("phi", "phi_small")),
    ("MiniCPM-V", r"minicpm-?v", ("minicpm_v", "minicpm_v_4_6", "minicpm_o", "cpm", "cpm3")),
    ("MiniCPM-o", r"minicpm-?o", ("minicpm_o", "minicpm_v")),
    ("MiniCPM4", r"minicpm-?4(?:-1)?", ("cpm4", "cpm3")),
    ("MiniCPM3", r"minicpm-?3", ("cpm3", "cpm4")),
    ("gpt-oss", r"gpt-oss", ("gpt_oss",)),
)
_FAMILIES = tuple(
    Family(name, re.compile(rf"(?:^|-)(?:{pattern})(?=-|$)"), templates)
    for name, pattern, templates in _TABLE
)

_PLAIN = _words(
    "meta facebook ai01 hf chat instruct it pt base thinking vision code coder math text"
    " next zero lite air plus mini medium large tiny nano scout maverick e a"
    " awq gptq bnb int4 int8 fp8 fp16 bf16 fp32 nf4 4bit 8bit bits bit dynamic unsloth"
    " sft lora qlora dpo kto orpo merged merge full finetuned finetune ft my new final"
    " chinese zh en cn medical law finance preview hotfix exp llm model models v"
    " prover captioner moe sharded safetensors quantized"
)
_SIZE = re.compile(r"a?\d{1,4}(?:\.\d+)?(?:x\d{1,3})?[bmke]?|v\d{1,3}|e[24]b|\d{4,8}")
_SNAPSHOT = re.compile(r"[0-9a-f]{40}")
_MAX_NAME = 300


def find_model(model_name_or_path: str) -> Model | None:
    """Return what a model's name or path tells; None where it does not tell for sure."""
    name = _own_name(model_name_or_path[-4096:])
    if name is None:
        return None
    for family in _FAMILIES:
        match = family.pattern.search(name)
        if match is None:
            continue
        rest = f"{name[: match.start()]}-{name[match.end() :]}"
        words = frozenset(word for word in rest.split("-") if word)
        sure = all(word in _PLAIN or _SIZE.fullmatch(word) for word in words)
        return Model(family, words) if sure else None
    return None


def nearest_template(name: str) -> str | None:
    """Return the template that a misspelt name, or the name of a model, most likely means."""
    if name in NAMES:
        return None
    plain = re.sub(r"[^a-z0-9]+", "_", name[:_MAX_NAME].lower()).strip("_")
    if plain in NAMES:
        return plain
    model = find_model(name)
    if model is not None:
        return model.expected
    found = get_close_matches(plain, sorted(NAMES), n=2, cutoff=0.75)
    return found[0] if found else None


def is_former(name: str) -> bool:
    """Whether only releases up to 0.9.4 have a template."""
    return name in _FORMER


def _own_name(path: str) -> str | None:
    """Return the part of a path that names a model, in lower case, with dashes between words."""
    parts = [part for part in re.split(r"[/\\]", path.strip()) if part]
    if len(parts) > 2 and parts[-2] == "snapshots" and _SNAPSHOT.fullmatch(parts[-1]):  # noqa: PLR2004 - models--ORG--NAME/snapshots/HASH
        parts = parts[-3].split("--")
    if not parts or not parts[-1].isprintable():
        return None
    name = re.sub(r"[^a-z0-9]+", "-", parts[-1][:_MAX_NAME].lower()).strip("-")
    return name or None
