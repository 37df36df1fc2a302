"""Owns the texts of the demo's dataset: short questions with answers, and a few long documents."""

_SUBJECTS = (
    ("a learning rate", "how far each update moves the weights"),
    ("a batch", "the samples whose gradients are averaged before an update"),
    ("gradient accumulation", "summing gradients of several small batches before one update"),
    ("an epoch", "one pass over all of the training samples"),
    ("a checkpoint", "a saved state that a training can go on from"),
    ("a tokenizer", "the part that cuts text into the units a model reads"),
    ("an adapter", "a small set of trained weights beside frozen ones"),
    ("overfitting", "learning the samples by heart instead of what they have in common"),
)
_FORMS = (
    ("Explain {0} in one sentence.", "In one sentence: {0} is {1}."),
    ("What is {0}?", "{0} is {1}. Most trainings name it in their config or their log."),
    ("Give a short definition of {0}.", "Definition: {0} means {1}."),
    ("A colleague asks about {0}. Answer kindly.", "Good question! Think of {0} as {1}."),
)
_CHAPTERS = ("Loading", "Preparing", "Training", "Measuring", "Saving", "Checking")


def make_samples() -> list[dict[str, str]]:
    """Return the dataset as alpaca rows; two of them are longer than 2048 tokens."""
    rows = [
        {
            "instruction": question.format(subject),
            "input": "",
            "output": answer.format(subject, meaning),
        }
        for subject, meaning in _SUBJECTS
        for question, answer in _FORMS
    ]
    for number in (11, 23):
        rows[number] = {
            "instruction": "Write the full handbook of a training run, step by step.",
            "input": f"Edition {number}",
            "output": _handbook(),
        }
    return rows


def _handbook() -> str:
    lines = []
    for chapter, title in enumerate(_CHAPTERS, start=1):
        lines.append(f"Chapter {chapter}: {title}")
        for rule in range(1, 17):
            subject, meaning = _SUBJECTS[(chapter + rule) % len(_SUBJECTS)]
            lines.append(f"{chapter}.{rule} Remember that {subject} is {meaning}; write it down.")
    return "\n".join(lines)
