"""Owns how a simulated training fails: tracebacks with the frames of the real stack.

The files named in the frames do not exist here, and their paths say that they are simulated.
"""

from collections.abc import Mapping
from types import MappingProxyType

from diagnostics.demo.card import CAPACITY_BYTES, GIB, MIB, CardFullError
from diagnostics.demo.memory import Stage

_PACKAGES = "/simulated/lib/python3.11/site-packages"
_NOTES = "https://pytorch.org/docs/stable/notes/cuda.html#environment-variables"

Frame = tuple[str, int, str, str]
"""File, line, function and the call that stands there."""

_ENTRY: tuple[Frame, ...] = (
    ("llamafactory/cli.py", 24, "main", "launcher.launch()"),
    ("llamafactory/launcher.py", 157, "launch", "run_exp()"),
    ("llamafactory/train/tuner.py", 149, "run_exp", "_training_function(config=config)"),
)
_PARSE: tuple[Frame, ...] = (
    ("llamafactory/train/tuner.py", 71, "_training_function", "get_train_args(args)"),
    ("llamafactory/hparams/parser.py", 308, "get_train_args", "_parse_train_args(args)"),
    ("llamafactory/hparams/parser.py", 262, "_parse_train_args", "_parse_args(parser, args)"),
    ("llamafactory/hparams/parser.py", 107, "_parse_args", "parser.parse_dict(args)"),
    ("transformers/hf_argparser.py", 383, "parse_dict", "raise ValueError(unused)"),
)
_SFT: Frame = ("llamafactory/train/tuner.py", 117, "_training_function", "run_sft(*arguments)")
_DATA: tuple[Frame, ...] = (
    _SFT,
    ("llamafactory/train/sft/workflow.py", 53, "run_sft", "get_dataset(template, data_args)"),
    ("llamafactory/data/loader.py", 304, "get_dataset", "_get_merged_dataset(names)"),
    ("llamafactory/data/loader.py", 184, "_get_merged_dataset", "get_dataset_list(names)"),
)
_LOAD: tuple[Frame, ...] = (
    _SFT,
    ("llamafactory/train/sft/workflow.py", 54, "run_sft", "load_model(tokenizer, model_args)"),
    ("llamafactory/model/loader.py", 178, "load_model", "load_class.from_pretrained(**kwargs)"),
    ("transformers/modeling_utils.py", 4153, "from_pretrained", "cls._load_pretrained_model()"),
    ("transformers/core_model_loading.py", 831, "materialize", "param.to(device=device)"),
)
_TRAIN: tuple[Frame, ...] = (
    _SFT,
    ("llamafactory/train/sft/workflow.py", 121, "run_sft", "trainer.train(resume)"),
)
_EPOCH: tuple[Frame, ...] = (
    *_TRAIN,
    ("transformers/trainer.py", 1427, "train", "return inner_training_loop("),
    ("transformers/trainer.py", 1509, "_inner_training_loop", "self._run_epoch("),
)
_STEP: tuple[Frame, ...] = (
    *_EPOCH,
    ("transformers/trainer.py", 1737, "_run_epoch", "self.training_step(model, inputs)"),
)
_FORWARD: tuple[Frame, ...] = (
    *_STEP,
    ("transformers/trainer.py", 1909, "training_step", "self.compute_loss(model, inputs)"),
    ("llamafactory/train/sft/trainer.py", 162, "compute_loss", "super().compute_loss(model)"),
    ("transformers/trainer.py", 1981, "compute_loss", "outputs = model(**inputs)"),
    ("accelerate/utils/operations.py", 819, "forward", "return model_forward(*args, **kwargs)"),
    ("peft/peft_model.py", 1923, "forward", "return self.base_model("),
)
_MODEL = "transformers/models/llama/modeling_llama.py"
_LOSSES = "transformers/loss/loss_utils.py"

_STACKS: Mapping[str, tuple[Frame, ...]] = MappingProxyType(
    {
        "parse": _PARSE,
        "data": _DATA,
        Stage.LOAD.value: _LOAD,
        "train": _TRAIN,
        Stage.FORWARD.value: (
            *_FORWARD,
            (_MODEL, 487, "forward", "logits = self.lm_head(hidden_states)"),
            ("torch/nn/modules/linear.py", 134, "forward", "return F.linear(input, self.weight)"),
        ),
        Stage.LOSS.value: (
            *_FORWARD,
            (_MODEL, 491, "forward", "loss = self.loss_function(logits=logits, labels=labels)"),
            (_LOSSES, 66, "ForCausalLMLoss", "loss = fixed_cross_entropy(logits, shift_labels)"),
            (_LOSSES, 36, "fixed_cross_entropy", "nn.functional.cross_entropy(source, target)"),
            (
                "torch/nn/functional.py",
                3555,
                "cross_entropy",
                "return torch._C._nn.cross_entropy_loss(",
            ),
        ),
        Stage.BACKWARD.value: (
            *_STEP,
            ("transformers/trainer.py", 1937, "training_step", "self.accelerator.backward(loss)"),
            ("accelerate/accelerator.py", 2740, "backward", "loss.backward(**kwargs)"),
            ("torch/_tensor.py", 623, "backward", "torch.autograd.backward("),
            ("torch/autograd/__init__.py", 395, "backward", "_engine_run_backward("),
            (
                "torch/autograd/graph.py",
                1072,
                "_engine_run_backward",
                "return Variable._execution_engine.run_backward(",
            ),
        ),
        Stage.OPTIMIZER.value: (
            *_EPOCH,
            ("transformers/trainer.py", 1763, "_run_epoch", "self.optimizer.step()"),
            ("accelerate/optimizer.py", 179, "step", "self.optimizer.step(closure)"),
            ("torch/optim/optimizer.py", 517, "wrapper", "out = func(*args, **kwargs)"),
            ("torch/optim/adamw.py", 232, "step", "has_complex = self._init_group("),
            ("torch/optim/adamw.py", 175, "_init_group", "torch.zeros_like(p)"),
        ),
    }
)


class SimulatedError(Exception):
    """A failure that the real stack would have: its class, its message and where it arises."""

    def __init__(self, exception: str, message: str, *, stack: str = "train") -> None:
        super().__init__(message)
        self.exception = exception
        self.message = message
        self.stack = stack

    def traceback(self) -> str:
        """Return what Python would print to stderr."""
        lines = ["Traceback (most recent call last):"]
        lines += ['  File "/simulated/bin/llamafactory-cli", line 6, in <module>']
        lines += ["    sys.exit(main())"]
        for file, line, function, call in (*_ENTRY, *_STACKS[self.stack]):
            lines.append(f'  File "{_PACKAGES}/{file}", line {line}, in {function}')
            lines.append(f"    {call}")
        lines.append(f"{self.exception}: {self.message}")
        return "\n".join(lines) + "\n"


def out_of_memory(full: CardFullError) -> SimulatedError:
    """Return PyTorch's error for an allocation that found no room."""
    message = (
        f"CUDA out of memory. Tried to allocate {size(full.requested_bytes)}. "
        f"GPU 0 has a total capacity of {size(CAPACITY_BYTES)} "
        f"of which {size(full.free_bytes)} is free. "
        f"Including non-PyTorch memory, this process has {size(full.process_bytes)} "
        "memory in use. "
        f"Of the allocated memory {size(full.allocated_bytes)} is allocated by PyTorch, "
        f"and {size(full.cached_bytes)} is reserved by PyTorch but unallocated. "
        "If reserved but unallocated memory is large try setting "
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  "
        f"See documentation for Memory Management  ({_NOTES})"
    )
    return SimulatedError("torch.OutOfMemoryError", message, stack=full.stage.value)


def size(count: int) -> str:
    """Return a size as PyTorch's allocator writes it."""
    if count <= 1024:  # noqa: PLR2004 - one KiB
        return f"{count} bytes"
    if count <= MIB:
        return f"{count / 1024:.2f} KiB"
    if count <= GIB:
        return f"{count / MIB:.2f} MiB"
    return f"{count / GIB:.2f} GiB"
