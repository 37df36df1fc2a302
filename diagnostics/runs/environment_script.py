"""Owns what the training's own Python is asked: it runs there alone, never as a part of ours.

It is one file, however long, so that nothing beside it can be imported there by mistake. It imports
nothing but the standard library, so it opens no GPU and costs little: the arguments are read from
the source text. Each answer is one line of JSON, so that a later crash loses no earlier
one. It runs on any Python from 3.8 on. `--imported` really imports LLaMA-Factory, which is slow.
"""

from __future__ import annotations

import sys

if sys.path and __file__ == sys.path[0] + "/environment_script.py":
    del sys.path[0]  # our own files stand there, under names that others use too

import ast
import ctypes
import dataclasses
import enum
import importlib.util
import json
import operator
import os
import pathlib
import subprocess
import typing
from importlib import metadata

Key = typing.Dict[str, typing.Any]  # noqa: UP006 - an older Python evaluates this

PACKAGES = (
    *("llamafactory", "transformers", "torch", "peft", "accelerate", "trl", "datasets"),
    *("deepspeed", "bitsandbytes", "flash_attn", "liger_kernel", "unsloth", "galore_torch"),
    *("apollo_torch", "badam", "hqq", "eetq", "vllm", "sglang", "adam_mini", "swanlab"),
    *("matplotlib", "jieba", "nltk", "rouge_chinese", "wandb", "tensorboard", "omegaconf"),
    *("xformers", "modelscope", "openmind", "ray", "mlflow", "trackio", "kt_kernel"),
    *("transformer_engine", "torchao", "schedulefree", "lomo_optim", "grokadamw", "torch_optimi"),
    *("mixture_of_depth", "optimum", "auto_gptq", "gptqmodel", "autoawq", "numpy", "tensorboardX"),
)
ROOTS = (
    *("ModelArguments", "DataArguments", "TrainingArguments", "FinetuningArguments"),
    *("GeneratingArguments", "GeneralArguments"),
)
PLAIN = {
    **{name: name for name in ("int", "float", "bool", "str", "list", "dict")},
    "List": "list",
    "Dict": "dict",
    "Path": "str",
    "tuple": "list",
    "Tuple": "list",
}
OPERATORS = {ast.Mult: operator.mul, ast.Add: operator.add, ast.Sub: operator.sub}
LARGEST = 2**53


def main() -> None:
    """Print what is asked for, one line each."""
    if hasattr(os, "nice"):
        os.nice(19)
    if "--only-gpus" not in sys.argv[1:]:
        say("packages", packages())
        try:
            imported = "--imported" in sys.argv[1:]
            say("keys", imported_keys() if imported else read_keys(Source.installed()))
        except Exception as error:  # noqa: BLE001 - whatever is wrong there is the answer
            say("keys_error", f"{type(error).__name__}: {error}"[:300])
    if "--no-gpus" not in sys.argv[1:]:
        say("gpus", gpus())


def say(name: str, value: object) -> None:
    """Print one answer at once."""
    sys.stdout.write(json.dumps({name: value}) + "\n")
    sys.stdout.flush()


def packages() -> dict[str, object]:
    """Return the versions of the packages that matter, from their metadata alone."""
    versions = {name: version(name) for name in PACKAGES}
    root = folder("llamafactory")
    if root is not None:
        tree = parsed(root / "extras" / "env.py")
        declared = constants(tree).get("VERSION") if tree is not None else None
        versions["llamafactory"] = str(declared or versions["llamafactory"] or "unknown")
    torch = folder("torch")
    tree = parsed(torch / "version.py") if torch is not None else None
    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "versions": versions,
        "cuda": constants(tree).get("cuda") if tree is not None else None,
    }


def version(name: str) -> str | None:
    """Return a package's version; None where it is not installed."""
    for spelling in (name, name.replace("_", "-")):
        try:
            return str(metadata.version(spelling))
        except Exception:  # noqa: BLE001, S112 - broken metadata is as good as none
            continue
    return None


def folder(name: str) -> pathlib.Path | None:
    """Return the folder a package would be imported from, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # noqa: BLE001 - finders of editable installations are foreign code
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return pathlib.Path(next(iter(places))) if places else None


def parsed(path: pathlib.Path) -> ast.Module | None:
    """Return a source file's tree; None where it cannot be read."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None


def constants(tree: ast.Module) -> dict[str, object]:
    """Return a module's names that are given plain values."""
    found: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if node.value is None:
            continue
        try:
            value = ast.literal_eval(node.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        found.update({target.id: value for target in targets if isinstance(target, ast.Name)})
    return found


class Source:
    """The classes of the source files that arguments stand in: dataclasses and enumerations."""

    def __init__(
        self, trees: typing.Iterable[ast.Module], others: typing.Iterable[ast.Module]
    ) -> None:
        self.own = classes(trees)
        self.others = classes(others)

    @classmethod
    def installed(cls) -> Source:
        """Return those of the packages that are installed here."""
        own, base = folder("llamafactory"), folder("transformers")
        if own is None:
            message = "LLaMA-Factory is not installed there"
            raise ModuleNotFoundError(message)
        return cls.below(own, base)

    @classmethod
    def below(cls, own: pathlib.Path | None, base: pathlib.Path | None) -> Source:
        """Return those of two packages' folders."""
        mine = sorted((own / "hparams").glob("*.py")) if own is not None else []
        mine += [own / "extras" / "constants.py"] if own is not None else []
        names = ("training_args", "training_args_seq2seq", "trainer_utils", "debug_utils")
        theirs = [base / f"{name}.py" for name in names] if base is not None else []
        return cls(*([t for t in map(parsed, paths) if t is not None] for paths in (mine, theirs)))

    def find(self, name: str, below: str) -> ast.ClassDef | None:
        """Return the class that a base or an annotation names; a class is not its own base."""
        if name in {"BaseTrainingArguments", "Seq2SeqTrainingArguments"} or name == below:
            theirs = "TrainingArguments" if name == below else "Seq2SeqTrainingArguments"
            return self.others.get(theirs)
        return self.own.get(name) or self.others.get(name)


def classes(trees: typing.Iterable[ast.Module]) -> dict[str, ast.ClassDef]:
    """Return the classes of modules by name; the first of a name counts."""
    found: dict[str, ast.ClassDef] = {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, node)
    return found


def read_keys(source: Source) -> dict[str, Key]:
    """Return every argument of a training by name, read from the source text."""
    found: dict[str, Key] = {}
    for root in ROOTS:
        node = source.own.get(root)
        if node is None and root == "TrainingArguments":
            node = source.others.get("Seq2SeqTrainingArguments")
        if node is not None:
            found.update(fields(source, node, 0))
    if not any(key["owner"] != "transformers" for key in found.values()):
        message = "its arguments are not where they are expected"
        raise LookupError(message)
    return found


def fields(source: Source, node: ast.ClassDef, depth: int) -> dict[str, Key]:
    """Return a dataclass' arguments, those of its bases first."""
    found: dict[str, Key] = {}
    if depth > 10:  # noqa: PLR2004 - against bases that go round
        return found
    for base in reversed(node.bases):
        name = named(base)
        theirs = node is source.others.get(node.name)
        parent = source.others.get(name) if theirs else source.find(name, node.name)
        if parent is not None and parent is not node:
            found.update(fields(source, parent, depth + 1))
    own = source.own.get(node.name) is node
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            key = argument(source, item, "llamafactory" if own else "transformers")
            if key is None:
                found.pop(item.target.id, None)
            else:
                found[item.target.id] = key
    return found


def argument(source: Source, item: ast.AnnAssign, owner: str) -> Key | None:
    """Return what one annotated line says of an argument; None where it is none."""
    types: list[str] = []
    choices: list[str] = []
    annotated(source, item.annotation, types, choices)
    if "ClassVar" in types:
        return None
    default: object = None
    computed = False
    node = item.value
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "field":
        words = {word.arg: word.value for word in node.keywords}
        if isinstance(words.get("init"), ast.Constant):
            return None
        choices += listed(words.get("metadata"))
        node = words.get("default")
        factory = words.get("default_factory")
        if factory is not None:
            computed = getattr(factory, "id", "") not in {"list", "dict"}
    if node is not None:
        try:
            default = valued(source, node)
        except ValueError:
            computed = True
    return {
        "types": [name for name in dict.fromkeys(types) if name != "None"],
        "nullable": "None" in types,
        "choices": list(dict.fromkeys(choices)),
        "default": default,
        "computed": computed,
        "owner": owner,
    }


def annotated(source: Source, node: ast.expr, types: list[str], choices: list[str]) -> None:
    """Collect the plain types and the choices of an annotation."""
    if isinstance(node, ast.Constant):
        if node.value is None:
            types.append("None")
        elif isinstance(node.value, str):
            annotated(source, ast.parse(node.value, mode="eval").body, types, choices)
    elif isinstance(node, ast.BinOp):
        annotated(source, node.left, types, choices)
        annotated(source, node.right, types, choices)
    elif isinstance(node, ast.Subscript):
        subscripted(source, node, types, choices)
    else:
        name = named(node)
        members = enumeration(source, name)
        choices.extend(members.values())
        types.append("str" if members else PLAIN.get(name, "other"))


def subscripted(source: Source, node: ast.Subscript, types: list[str], choices: list[str]) -> None:
    """Collect the types and choices of one with brackets: Optional, Union, Literal, list."""
    name = named(node.value)
    inner: typing.Any = node.slice
    if type(inner).__name__ == "Index":  # on Python 3.8
        inner = inner.value
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Optional":
        types.append("None")
    if name in {"Optional", "Union"}:
        for part in parts:
            annotated(source, part, types, choices)
    elif name == "Literal":
        values = [part.value for part in parts if isinstance(part, ast.Constant)]
        types.extend("None" if one is None else type(one).__name__ for one in values)
        choices.extend(one for one in values if isinstance(one, str))
    else:
        types.append(PLAIN.get(name, name))


def named(node: ast.expr) -> str:
    """Return a name, or the last part of a dotted one."""
    return str(getattr(node, "id", getattr(node, "attr", "")))


def enumeration(source: Source, name: str) -> dict[str, str]:
    """Return an enumeration's names and values; nothing where it is none."""
    node = source.own.get(name) or source.others.get(name)
    if node is None or not any("Enum" in getattr(base, "id", "") for base in node.bases):
        return {}
    found: dict[str, str] = {}
    for item in node.body:
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant):
            name = getattr(item.targets[0], "id", "")
            if isinstance(item.value.value, str):
                found[name] = item.value.value
    return found


def listed(node: ast.expr | None) -> list[str]:
    """Return the choices that a field's metadata lists."""
    if not isinstance(node, ast.Dict):
        return []
    for index, name in enumerate(node.keys):
        if isinstance(name, ast.Constant) and name.value == "choices":
            try:
                values = ast.literal_eval(node.values[index])
            except (ValueError, TypeError):
                return []
            return [value for value in values if isinstance(value, str)]
    return []


def valued(source: Source, node: ast.expr) -> object:
    """Return a default's value: plain, a sum or product of such, or an enumeration's member."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        sides = valued(source, node.left), valued(source, node.right)
        if all(isinstance(side, (int, float)) for side in sides):
            left, right = typing.cast("tuple[float, float]", sides)
            if abs(left) < LARGEST and abs(right) < LARGEST:
                return OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.Attribute):
        if node.attr == "value" and isinstance(node.value, ast.Attribute):
            node = node.value
        members = enumeration(source, getattr(node.value, "id", ""))
        if node.attr in members:
            return members[node.attr]
        raise ValueError(node.attr)
    value = ast.literal_eval(node)
    json.dumps(value)
    return value


def imported_keys() -> dict[str, Key]:
    """Return every argument as the running code has it; this takes as long as a start-up."""
    parser = importlib.import_module("llamafactory.hparams.parser")
    found: dict[str, Key] = {}
    for owner in parser._TRAIN_ARGS:  # noqa: SLF001 - there is no public list of them
        hints = typing.get_type_hints(owner)
        for item in dataclasses.fields(owner):
            if item.init:
                found[item.name] = imported_key(item, hints[item.name])
    return found


def imported_key(item: dataclasses.Field[typing.Any], hint: object) -> Key:
    """Return one argument as the running code has it."""
    types: list[str] = []
    choices: list[str] = []
    hinted(hint, types, choices)
    choices += [str(one) for one in item.metadata.get("choices", ())]
    default = item.default
    if default is dataclasses.MISSING:
        factory = item.default_factory
        default = factory() if factory is not dataclasses.MISSING else None
    if isinstance(default, enum.Enum):
        default = default.value
    return {
        "types": [name for name in dict.fromkeys(types) if name != "None"],
        "nullable": "None" in types,
        "choices": list(dict.fromkeys(choices)),
        "default": default or None if isinstance(default, (list, dict)) else default,
        "computed": False,
    }


def hinted(hint: object, types: list[str], choices: list[str]) -> None:
    """Collect the plain types and the choices of a type hint."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        types.append("None")
    elif origin is typing.Literal:
        types.extend("None" if one is None else type(one).__name__ for one in parts)
        choices.extend(one for one in parts if isinstance(one, str))
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        choices.extend(str(member.value) for member in hint)
        types.append("str")
    elif origin is typing.Union or type(hint).__name__ == "UnionType":
        for part in parts:
            hinted(part, types, choices)
    else:
        name = getattr(origin or hint, "__name__", "other")
        types.append(PLAIN.get(name, "other"))


def gpus() -> dict[str, object]:
    """Return the GPUs as the driver tells them, without opening any of them for work."""
    for source, ask in (("nvml", nvml_gpus), ("nvidia-smi", smi_gpus)):
        try:
            return {"source": source, "list": ask()}
        except Exception:  # noqa: BLE001, S112 - no driver, or one that does not answer
            continue
    return {"source": None, "list": []}


class NvmlMemory(ctypes.Structure):
    """NVML's answer about a device's memory."""

    _fields_: typing.ClassVar = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


def nvml_gpus() -> list[dict[str, object]]:
    """Ask the driver's own library."""
    library = ctypes.CDLL("libnvidia-ml.so.1")
    checked(library.nvmlInit_v2())
    count = ctypes.c_uint()
    checked(library.nvmlDeviceGetCount_v2(ctypes.byref(count)))
    found: list[dict[str, object]] = []
    for index in range(min(count.value, 64)):
        device = ctypes.c_void_p()
        checked(library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)))
        name = ctypes.create_string_buffer(96)
        checked(library.nvmlDeviceGetName(device, name, 96))
        memory = NvmlMemory()
        total = None
        if library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0:
            total = memory.total
        major, minor = ctypes.c_int(), ctypes.c_int()
        ask = getattr(library, "nvmlDeviceGetCudaComputeCapability", None)
        known = ask is not None and ask(device, ctypes.byref(major), ctypes.byref(minor)) == 0
        found.append(
            {
                "name": name.value.decode("utf-8", "replace"),
                "total_bytes": total,
                "capability": [major.value, minor.value] if known else None,
            }
        )
    library.nvmlShutdown()
    return found


def checked(code: int) -> None:
    """Raise where the driver's library reports an error."""
    if code != 0:
        raise OSError(code)


def smi_gpus() -> list[dict[str, object]]:
    """Ask nvidia-smi; old ones know no compute capability."""
    code = None
    for columns in ("name,memory.total,compute_cap", "name,memory.total"):
        words = ["nvidia-smi", f"--query-gpu={columns}", "--format=csv,noheader,nounits"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
        code = done.returncode
        if code == 0:
            return [smi_gpu(line) for line in done.stdout.splitlines() if line.strip()][:64]
    raise OSError(code)


def smi_gpu(line: str) -> dict[str, object]:
    """Take one line of nvidia-smi apart."""
    parts = [part.strip() for part in line.split(",")]
    capability = parts[2].split(".") if len(parts) > 2 else []  # noqa: PLR2004
    known = len(capability) == 2 and all(part.isdigit() for part in capability)  # noqa: PLR2004
    mib = parts[1] if len(parts) > 1 else ""
    return {
        "name": parts[0],
        "total_bytes": int(mib) * 2**20 if mib.isdigit() else None,
        "capability": [int(part) for part in capability] if known else None,
    }


if __name__ == "__main__":
    main()
