"""Owns what a training makes of one sample: the prompt, the answers, or why it is dropped. Pure.

It follows LLaMA-Factory's converters for alpaca, sharegpt and openai data, and the checks that
its processors make for each stage.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from diagnostics.datasets.layout import Layout

MEDIA = (("images", "<image>"), ("videos", "<video>"), ("audios", "<audio>"))


class Drop(StrEnum):
    """Why the training leaves a sample out."""

    NO_ANSWER = "no answer"
    TURNS = "turns"
    NO_PAIR = "no pair"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One sample as the training takes it."""

    prompt: tuple[str, ...]
    """System prompt, tools, messages before the answer, names of media."""
    answers: tuple[str, ...] = ()
    """One answer; or the chosen and the rejected one."""
    replies: tuple[str, ...] = ()
    """All that the model is taught to say, earlier turns too."""
    liked: bool | None = None
    dropped: Drop | None = None
    remark: str = ""
    """What is wrong with a dropped one."""
    media: tuple[str, ...] = ()
    """The paths that it names."""
    mismatch: str = ""
    """How media and their placeholders differ in number."""

    @property
    def text(self) -> str:
        """The prompt's last message, to show which sample it is."""
        return next((part for part in reversed(self.prompt) if part.strip()), "")


def read_exchange(sample: Mapping[str, object], layout: Layout, stage: str) -> Exchange:
    """Return what a training of a stage makes of a sample."""
    read = _conversation if layout.conversational else _alpaca
    exchange = read(sample, layout)
    if exchange.dropped is None:
        exchange = _for_stage(exchange, layout, stage)
    if not any(layout.columns[role] for role, _ in MEDIA):
        return exchange
    media = tuple(_media(sample, layout))
    return replace(
        exchange,
        prompt=(*exchange.prompt, *media),
        media=media,
        mismatch="" if exchange.dropped else _mismatch(sample, layout, exchange),
    )


def _for_stage(exchange: Exchange, layout: Layout, stage: str) -> Exchange:
    """Drop what the stage's processor drops: it wants one answer, or two."""
    found = len(exchange.answers) + (exchange.liked is not None)
    if stage in {"pt", "ppo"}:
        return exchange
    if stage in {"rm", "dpo"} and layout.ranking and found < _PAIR:
        return replace(
            exchange, dropped=Drop.NO_PAIR, remark="chosen and rejected are not both text"
        )
    if stage == "kto" and exchange.liked is None:
        return replace(exchange, dropped=Drop.NO_PAIR, remark="its tag is not true or false")
    if stage == "sft" and found == 0:
        return replace(exchange, dropped=Drop.NO_ANSWER, remark="its answer is null or not text")
    return exchange


_PAIR = 2


def _alpaca(sample: Mapping[str, object], layout: Layout) -> Exchange:
    prompt = [_cell(sample, layout, "system"), _cell(sample, layout, "tools")]
    replies = []
    for asked, replied in _history(sample, layout):
        prompt += [asked, replied]
        replies.append(replied)
    parts = (_cell(sample, layout, "prompt"), _cell(sample, layout, "query"))
    prompt.append("\n".join(part for part in parts if part))
    response = _value(sample, layout, "response")
    tag = _value(sample, layout, "kto_tag")
    chosen, rejected = _value(sample, layout, "chosen"), _value(sample, layout, "rejected")
    answers: tuple[str, ...] = ()
    liked = None
    if isinstance(tag, bool):
        liked, answers = tag, (_text(response),)
    elif layout.ranking and isinstance(chosen, str) and isinstance(rejected, str):
        answers = (chosen, rejected)
    elif isinstance(response, str):
        answers = (response,)
    return Exchange(tuple(prompt), answers, (*replies, *answers[:1]), liked)


def _history(sample: Mapping[str, object], layout: Layout) -> Iterator[tuple[str, str]]:
    turns = _value(sample, layout, "history")
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, list) and len(turn) == _PAIR:
            yield _text(turn[0]), _text(turn[1])


def _conversation(sample: Mapping[str, object], layout: Layout) -> Exchange:
    messages = _value(sample, layout, "messages")
    turns = list(_turns(messages, layout)) if isinstance(messages, list) else []
    system = _cell(sample, layout, "system")
    if turns and turns[0][0] == layout.tags["system_tag"] is not None:
        system, turns = turns[0][1], turns[1:]
    if layout.formatting == "openai":
        turns = _joined_tool_answers(turns, layout)
    texts = [text for _, text in turns]
    opening = (system, _cell(sample, layout, "tools"))
    fault = _turn_fault([role for role, _ in turns], layout)
    if fault:
        return Exchange((*opening, *texts), dropped=Drop.TURNS, remark=fault)
    replies = tuple(texts[1::2])
    tag = _value(sample, layout, "kto_tag")
    chosen, rejected = _value(sample, layout, "chosen"), _value(sample, layout, "rejected")
    if isinstance(tag, bool):
        return Exchange((*opening, *texts[:-1]), tuple(texts[-1:]), replies, tag)
    if layout.ranking and isinstance(chosen, Mapping) and isinstance(rejected, Mapping):
        pair = (_content(chosen, layout), _content(rejected, layout))
        return Exchange((*opening, *texts), pair, (*replies, pair[0]))
    return Exchange((*opening, *texts[:-1]), tuple(texts[-1:]), replies)


def _turns(messages: Sequence[object], layout: Layout) -> Iterator[tuple[object, str]]:
    for message in messages:
        if not isinstance(message, Mapping):
            yield None, ""
            continue
        role = message.get(layout.tags["role_tag"] or "")
        text = _content(message, layout)
        calls = message.get("tool_calls") if layout.formatting == "openai" else None
        if calls and role in {layout.tags["assistant_tag"], layout.tags["function_tag"]}:
            text = _dumped(calls)
        yield (role if isinstance(role, str) else None), text


def _dumped(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "[...]"


def _joined_tool_answers(
    turns: list[tuple[object, str]], layout: Layout
) -> list[tuple[object, str]]:
    """Join what tools answered one after the other, as the openai converter does."""
    tool = layout.tags["observation_tag"]
    joined: list[tuple[object, str]] = []
    for role, text in turns:
        if joined and tool is not None and role == tool == joined[-1][0]:
            joined[-1] = (role, f"{joined[-1][1]}\n{text}")
        else:
            joined.append((role, text))
    if joined and tool is not None and joined[-1][0] == tool:
        joined.pop()  # answers of tools at the end are left out
    return joined


def _turn_fault(roles: list[object], layout: Layout) -> str:
    """Return what is wrong with the roles of a conversation; "" where nothing is."""
    tags = layout.tags
    accepted = (
        (tags["user_tag"], tags["observation_tag"]),
        (tags["assistant_tag"], tags["function_tag"]),
    )
    for number, role in enumerate(roles):
        wanted = accepted[number % 2]
        if role not in wanted:
            named = " or ".join(one for one in wanted if one) or "a role that tags do not name"
            return f"turn {number + 1} is of {_shown_role(role)}, {named} is expected"
    if not roles:
        return "it has no turns"
    if layout.ranking and len(roles) % 2 == 0:
        return f"it has {len(roles)} turns, and the last must be asked, not answered"
    if not layout.ranking and len(roles) % 2 != 0:
        return f"it has {len(roles)} turns, and the last has no answer"
    return ""


def _shown_role(role: object) -> str:
    return repr(role[:40]) if isinstance(role, str) else "no role"


def _value(sample: Mapping[str, object], layout: Layout, role: str) -> object:
    column = layout.columns[role]
    return None if column is None else sample.get(column)


def _cell(sample: Mapping[str, object], layout: Layout, role: str) -> str:
    return _text(_value(sample, layout, role))


def _content(message: Mapping[str, object], layout: Layout) -> str:
    return _text(message.get(layout.tags["content_tag"] or ""))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _media(sample: Mapping[str, object], layout: Layout) -> Iterator[str]:
    for role, _ in MEDIA:
        for item in _listed(_value(sample, layout, role)):
            names = item if isinstance(item, list) else [item]  # a video may be a list of frames
            yield from (name for name in names if isinstance(name, str))


_OPENING = 2
"""System prompt and tools come first, and their placeholders are not counted."""


def _mismatch(sample: Mapping[str, object], layout: Layout, exchange: Exchange) -> str:
    texts = (*exchange.prompt[_OPENING:], *exchange.answers[:1])
    for role, placeholder in MEDIA:
        if layout.columns[role] is None:
            continue
        named = len(_listed(_value(sample, layout, role)))
        marked = sum(text.count(placeholder) for text in texts)
        if named != marked:
            return f"{named} {role}, and {placeholder} {marked} times"
    return ""


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
