"""Makes what a real training needs, offline: a tiny random Llama, its tokenizer, and datasets.

Run by the Python of the training's environment: make_assets.py FOLDER.
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

VOCAB = 32768
HIDDEN = 32
NOUNS = "loss model step token batch memory disk log epoch rank layer sample answer river".split()
VERBS = "grows falls stops waits reads writes keeps starts ends saves loads counts".split()
ADJECTIVES = "small large slow fast old new quiet loud clean empty full steady late early".split()


def sentence(dice: random.Random) -> str:
    return (
        f"The {dice.choice(ADJECTIVES)} {dice.choice(NOUNS)} {dice.choice(VERBS)}"
        f" the {dice.choice(NOUNS)} {dice.randint(0, 99999)} times."
    )


def sample(dice: random.Random, sentences: int) -> dict[str, str]:
    question = f"What does the {dice.choice(ADJECTIVES)} {dice.choice(NOUNS)} do?"
    answer = " ".join(sentence(dice) for _ in range(sentences))
    return {"instruction": question, "input": "", "output": answer}


def corpus(count: int) -> Iterator[str]:
    dice = random.Random(0)
    for _ in range(count):
        yield " ".join(sentence(dice) for _ in range(dice.randint(1, 6)))


def make_model(folder: Path) -> None:
    import torch  # the training's environment has it, ours must not
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(corpus(4000), trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def make_data(folder: Path) -> None:
    folder.mkdir(parents=True)
    dice = random.Random(1)
    sets = {
        "short": [sample(dice, 1) for _ in range(400)],
        "long": [sample(dice, 60) for _ in range(200)],
        # Short samples first: a training without shuffling meets the long ones late.
        "late_long": [sample(dice, 1) for _ in range(128)] + [sample(dice, 60) for _ in range(64)],
    }
    for name, rows in sets.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    info = {name: {"file_name": f"{name}.json"} for name in sets}
    (folder / "dataset_info.json").write_text(json.dumps(info))


if __name__ == "__main__":
    make_model(Path(sys.argv[1]) / "model")
    make_data(Path(sys.argv[1]) / "data")
