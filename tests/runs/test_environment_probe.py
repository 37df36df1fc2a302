import ast
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diagnostics.config.environment_facts import Gpu
from diagnostics.runs import environment_script as script
from diagnostics.runs.environment_probe import probe, read_answers

PARSED = """
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional, Union
import no_such_package_so_this_is_never_imported

@dataclass
class Base:
    name: str | None = field(default=None, metadata={"help": "text"})
    rank: int = 8
    pixels: int = field(default=768 * 768)
    hidden: bool = field(default=False, init=False)
    shared: ClassVar[int] = 3

@dataclass
class ModelArguments(Base):
    rank: int = 16
    method: Quantizer = field(default=Quantizer.BNB)
    kind: Literal["a", "b"] = "a"
    several: Optional[Union[dict, str]] = None
    listed: list[str] = field(default_factory=list)
    made: str = field(default_factory=lambda: compute())
    pick: str = field(default="x", metadata={"choices": ["x", "y"]})

@dataclass
class FinetuningArguments:
    use_dora: bool = False
"""
TRANSFORMERS = """
class TrainingArguments:
    learning_rate: float = field(default=5e-5)
    eval_strategy: IntervalStrategy | str = field(default="no")
    optim: str = field(default=computed)
"""


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "llamavet" / "environments"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a virtual environment with a real Python and no package at all."""
    folder = tmp_path_factory.mktemp("environments") / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


@pytest.fixture
def venv(bare: Path, tmp_path: Path) -> Path:
    """Give that environment packages whose sources can be read and not imported."""
    folder = tmp_path / "venv"
    shutil.copytree(bare, folder, symlinks=True)
    site = site_of(folder)
    write(site / "llamafactory" / "__init__.py", "raise SystemExit('imported')\n")
    write(site / "llamafactory" / "extras" / "env.py", 'VERSION = "0.9.6.dev0"\n')
    constants = 'class Quantizer(StrEnum):\n    BNB = "bnb"\n    HQQ = "hqq"\n'
    write(site / "llamafactory" / "extras" / "constants.py", constants)
    write(site / "llamafactory" / "hparams" / "model_args.py", PARSED)
    write(site / "transformers" / "__init__.py", "raise SystemExit('imported')\n")
    write(site / "transformers" / "training_args.py", TRANSFORMERS)
    base = "class Seq2SeqTrainingArguments(TrainingArguments):\n    sortish_sampler: bool = False\n"
    write(site / "transformers" / "training_args_seq2seq.py", base)
    values = 'class IntervalStrategy(ExplicitEnum):\n    NO = "no"\n    STEPS = "steps"\n'
    write(site / "transformers" / "trainer_utils.py", values)
    write(site / "torch" / "__init__.py", "raise SystemExit('imported')\n")
    write(site / "torch" / "version.py", "cuda: Optional[str] = '12.8'\n")
    install(site, "torch", "2.9.0+cu128")
    install(site, "transformers", "5.6.0")
    install(site, "flash_attn", "2.8.3")
    return folder


def site_of(folder: Path) -> Path:
    return next((folder / "lib").glob("python3*")) / "site-packages"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def install(site: Path, name: str, version: str) -> None:
    write(site / f"{name}-{version}.dist-info" / "METADATA", f"Name: {name}\nVersion: {version}\n")


def fake_python(path: Path, body: str) -> Path:
    write(path, f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def ask(
    python: Path | None, tmp_path: Path, environ: dict[str, str] | None = None, **more: Any
) -> Any:
    return probe(python, environ if environ is not None else {"PATH": ""}, tmp_path, **more)


def test_packages_and_arguments_are_read_without_importing_any(venv: Path, tmp_path: Path) -> None:
    found = ask(venv / "bin" / "python", tmp_path)
    assert found.reason is None
    assert found.versions["llamafactory"] == "0.9.6.dev0"
    assert found.versions["torch"] == "2.9.0+cu128"
    assert (found.has("flash_attn"), found.has("deepspeed"), found.has("other")) == (
        True,
        False,
        None,
    )
    assert (found.cuda, found.version("torch")) == ("12.8", (2, 9, 0))
    assert found.python_version == ".".join(map(str, sys.version_info[:3]))
    keys = found.keys
    assert keys is not None
    assert set(keys) == {
        *("name", "rank", "pixels", "method", "kind", "several", "listed", "made", "pick"),
        *("use_dora", "learning_rate", "eval_strategy", "optim", "sortish_sampler"),
    }
    assert (keys["rank"].default, keys["rank"].types, keys["rank"].nullable) == (
        16,
        ("int",),
        False,
    )
    assert (keys["name"].nullable, keys["pixels"].default) == (True, 768 * 768)
    assert (keys["method"].choices, keys["method"].default) == (("bnb", "hqq"), "bnb")
    assert keys["kind"].choices == ("a", "b")
    assert keys["several"].types == ("dict", "str")
    assert keys["pick"].choices == ("x", "y")
    assert keys["eval_strategy"].choices == ("no", "steps")
    assert keys["made"].default is None
    assert keys["eval_strategy"].owner == "transformers"


def test_the_answers_are_kept_until_a_package_changes(
    venv: Path, tmp_path: Path, private_cache: Path
) -> None:
    python = venv / "bin" / "python"
    first = ask(python, tmp_path)
    assert [path.stat().st_mode & 0o777 for path in private_cache.iterdir()] == [0o600]
    init = site_of(venv) / "llamafactory" / "extras" / "constants.py"
    init.write_text("class Quantizer(StrEnum):\n    BNB = 'another'\n")
    assert ask(python, tmp_path) == first
    install(site_of(venv), "deepspeed", "0.17.1")
    second = ask(python, tmp_path)
    assert second.versions["deepspeed"] == "0.17.1"
    assert second.keys["method"].choices == ("another",)


def test_what_is_kept_is_checked_like_any_other_answer(
    venv: Path, tmp_path: Path, private_cache: Path
) -> None:
    python = venv / "bin" / "python"
    ask(python, tmp_path)
    (file,) = private_cache.iterdir()
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "packages": [1], "keys": "x"}))
    assert ask(python, tmp_path).versions == {}
    file.write_text("{")
    assert ask(python, tmp_path).versions["transformers"] == "5.6.0"


def test_the_python_is_that_of_the_command_or_of_the_active_environment(
    venv: Path, bare: Path, tmp_path: Path
) -> None:
    python = venv / "bin" / "python"
    cli = venv / "bin" / "llamafactory-cli"
    write(cli, f"#!{python}\nimport llamafactory\n")
    cli.chmod(0o755)
    assert ask(None, tmp_path, {"PATH": str(venv / "bin")}).python == python
    assert ask(None, tmp_path, {"PATH": "", "VIRTUAL_ENV": str(venv)}).python == python
    active = {"PATH": "", "VIRTUAL_ENV": str(bare), "CONDA_PREFIX": str(venv)}
    assert ask(None, tmp_path, active).python == python
    nothing = ask(None, tmp_path, {"PATH": "", "VIRTUAL_ENV": str(bare)})
    assert (nothing.python, nothing.versions) == (None, {})
    assert nothing.reason == "no Python with LLaMA-Factory was found; --python names one"


def test_a_python_without_llama_factory_says_so(bare: Path, tmp_path: Path) -> None:
    found = ask(bare / "bin" / "python", tmp_path)
    assert (found.has("torch"), found.keys) == (False, None)
    assert "LLaMA-Factory is not installed" in found.reason


def test_a_checkout_on_the_python_path_is_found_from_the_trainings_folder(
    bare: Path, venv: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    shutil.copytree(site_of(venv) / "llamafactory", work / "src" / "llamafactory")
    environ = {"PATH": "", "PYTHONPATH": "src"}
    found = probe(bare / "bin" / "python", environ, work)
    assert found.versions["llamafactory"] == "0.9.6.dev0"
    assert found.keys is not None
    assert found.keys["kind"].choices == ("a", "b")


@pytest.mark.parametrize("name", ["absent", "folder", "text"])
def test_what_is_no_python_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "python"
    if name == "folder":
        path.mkdir()
    elif name == "text":
        path.write_text("no program")
    assert "is no Python that can be run" in ask(path, tmp_path).reason


def test_another_python_of_the_path_is_never_asked_in_its_stead(venv: Path, tmp_path: Path) -> None:
    write(venv / "bin" / "llamafactory-cli", f"#!{venv / 'bin' / 'python'}\n")
    environ = {"PATH": str(venv / "bin")}
    assert ask(fake_python(tmp_path / "program", "exit 0"), tmp_path, environ).versions == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exit 3", "gave no answer"),
        ("echo no json", "gave no answer"),
        ("sleep 60", "did not answer within 0.5 s"),
        ("(sleep 60) & sleep 60", "did not answer within 0.5 s"),
        ("while :; do head -c 65536 /dev/zero; done", "answer is too long"),
        ("""echo '{"packages": 3, "keys": [], "gpus": {"source": 4}}'""", "did not answer"),
        ("kill -SEGV $$", "gave no answer"),
    ],
)
def test_a_python_that_misbehaves_is_ended_and_told(body: str, reason: str, tmp_path: Path) -> None:
    python = fake_python(tmp_path / "python3", body)
    timeout = 0.5 if "within" in reason else 30.0
    found = ask(python, tmp_path, dict(os.environ), timeout_seconds=timeout)
    assert reason in found.reason
    assert (found.versions, found.keys, found.gpus) == ({}, None, ())


def test_earlier_answers_survive_a_later_crash(tmp_path: Path) -> None:
    answer = '{"packages": {"versions": {"torch": "2.9.0"}, "python": "3.12.1"}}'
    python = fake_python(tmp_path / "python3", f"echo '{answer}'; kill -SEGV $$")
    assert ask(python, tmp_path, dict(os.environ)).versions == {"torch": "2.9.0"}


def test_nothing_of_it_outlives_the_question(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    body = f"sleep 300 & echo $! > {mark}; wait"
    ask(fake_python(tmp_path / "python3", body), tmp_path, dict(os.environ), timeout_seconds=1.0)
    pid = int(mark.read_text())
    for _ in range(100):
        if (
            not Path(f"/proc/{pid}").exists()
            or "Z" in Path(f"/proc/{pid}/stat").read_text().split()
        ):
            break
        time.sleep(0.05)
    else:
        pytest.fail("a process of the probe is still there")


@pytest.fixture
def smi(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Put an nvidia-smi on the PATH that knows no capability where the text has none."""

    def install(text: str) -> dict[str, str]:
        folder = tmp_path / "smi"
        folder.mkdir(exist_ok=True)
        refuses = "" if text.count(",") > 1 else 'case "$*" in *compute_cap*) exit 2;; esac\n'
        fake_python(folder / "nvidia-smi", f"{refuses}cat <<'END'\n{text}\nEND")
        return {"PATH": f"{folder}:/usr/bin:/bin"}

    return install


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="the real driver answers first")
@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("Tesla T4, 15360, 7.5", (Gpu("Tesla T4", 15360 << 20, (7, 5)),)),
        ("Tesla K80, 11441", (Gpu("Tesla K80", 11441 << 20, None),)),
        ("NVIDIA GB10, [N/A], 12.1", (Gpu("NVIDIA GB10", None, (12, 1)),)),
    ],
)
def test_gpus_are_told_by_nvidia_smi(
    text: str,
    gpus: tuple[Gpu, ...],
    smi: Callable[[str], dict[str, str]],
    venv: Path,
    tmp_path: Path,
) -> None:
    found = ask(venv / "bin" / "python", tmp_path, smi(text))
    assert (found.gpus, found.gpu_source) == (gpus, "nvidia-smi")


def test_without_a_driver_nothing_is_known_of_gpus(venv: Path) -> None:
    answers = {"packages": {"versions": {}}, "gpus": {"source": None, "list": []}}
    found = read_answers(venv, answers, {})
    assert (found.gpus, found.gpu_source) == ((), None)


OLD = {"name": "Tesla T4", "total_bytes": 15 << 30, "capability": [7, 5]}
NEW = {"name": "NVIDIA H100", "total_bytes": 80 << 30, "capability": [9, 0]}


@pytest.mark.parametrize(
    ("listed", "environ", "names"),
    [
        ([OLD, NEW], {}, ["Tesla T4", "NVIDIA H100"]),
        ([NEW, NEW], {"CUDA_VISIBLE_DEVICES": "1"}, ["NVIDIA H100"]),
        ([NEW, NEW], {"CUDA_VISIBLE_DEVICES": "GPU-1a2b"}, ["NVIDIA H100"]),
        ([NEW, NEW], {"CUDA_VISIBLE_DEVICES": ""}, []),
        ([NEW, NEW], {"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ([OLD, NEW], {"CUDA_VISIBLE_DEVICES": "1"}, None),
        (
            [OLD, NEW],
            {"CUDA_VISIBLE_DEVICES": "1,7", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
            ["NVIDIA H100"],
        ),
    ],
)
def test_only_the_gpus_that_the_training_sees_count(
    listed: list[object], environ: dict[str, str], names: list[str] | None
) -> None:
    answers = {"packages": {"versions": {}}, "gpus": {"source": "nvml", "list": listed}}
    found = read_answers(Path("python"), answers, environ)
    assert found.gpu_source == (None if names is None else "nvml")
    assert [gpu.name for gpu in found.gpus] == (names or [])


@pytest.mark.parametrize(
    "answers",
    [
        {"packages": {"versions": {"torch": 3, "x" * 1000: "1", "trl": "\x1b[31m", "peft": None}}},
        {"gpus": {"source": "nvml", "list": [None, {"name": 3, "total_bytes": 2**80}, []] * 99}},
        {
            "gpus": {
                "source": "nvml",
                "list": [{"capability": [True, "x"]}, {"capability": [9] * 9}],
            }
        },
        {"keys": {"a": {"types": [[]], "default": {"b": 1}}}, "keys_error": ["x"]},
        {"packages": {"versions": {str(number): "1" for number in range(10_000)}}},
    ],
)
def test_malformed_answers_are_left_out(answers: dict[str, object]) -> None:
    found = read_answers(Path("python"), answers, {})
    assert all(text is None or text.isprintable() for text in found.versions.values())
    assert "torch" not in found.versions or found.versions["torch"] is None
    assert len(found.versions) <= 500
    assert len(found.gpus) <= 64
    assert all(gpu.total_bytes is None for gpu in found.gpus)


def test_the_sources_of_a_class_that_is_its_own_base_end() -> None:
    tree = ast.parse("class ModelArguments(ModelArguments):\n    a: int = 1\n")
    assert set(script.read_keys(script.Source([tree], []))) == {"a"}


@pytest.mark.e2e
def test_the_arguments_read_are_those_of_the_running_software(tmp_path: Path) -> None:
    python = Path(os.environ["LLAMAVET_E2E_VENV"]) / "bin" / "python"
    argv = [str(python), "-B", script.__file__, "--no-gpus"]
    answers: list[dict[str, Any]] = []
    for options in ([], ["--imported"]):
        ran = subprocess.run(
            [*argv, *options], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
        answers.append({name: value for line in lines for name, value in line.items()})
    read, imported = (answer["keys"] for answer in answers)
    assert read.keys() == imported.keys()
    wrong = [
        name
        for name, key in imported.items()
        if read[name]["types"] != key["types"]
        or not (read[name]["computed"] or read[name]["default"] == key["default"])
    ]
    assert wrong == []
