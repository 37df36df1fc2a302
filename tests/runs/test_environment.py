import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diagnostics.runs.environment import find_python, normalized, probe_environment

TRAIN = ("llamafactory-cli", "train", "x.yaml")


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """Make a virtual environment as its files look: nothing in it can be executed."""
    base = tmp_path / "base" / "bin" / "python3.12"
    base.parent.mkdir(parents=True)
    base.write_bytes(b"\x7fELF")
    base.chmod(0o755)
    prefix = tmp_path / "venv"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python3").symlink_to(base)
    (prefix / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = false\nversion = 3.12.1\n"
    )
    site(prefix).mkdir(parents=True)
    install(site(prefix), "llamafactory-0.9.5.dist-info", "torch-2.13.0+cu130.dist-info")
    script(prefix / "bin" / "llamafactory-cli", f"#!{prefix}/bin/python3\n")
    return prefix


def site(prefix: Path) -> Path:
    return prefix / "lib" / "python3.12" / "site-packages"


def install(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def path_of(prefix: Path) -> dict[str, str]:
    return {"PATH": f"{prefix / 'bin'}:/usr/bin"}


def test_a_typed_command_leads_to_the_environment_of_its_script(venv, tmp_path):
    found = probe_environment(TRAIN, path_of(venv), tmp_path)
    assert found.python == venv / "bin" / "python3"
    assert found.site_packages == (site(venv),)
    assert dict(found.packages) == {"llamafactory": "0.9.5", "torch": "2.13.0+cu130"}
    assert found.known
    assert found.has("torch") is True
    assert found.has("deepspeed") is False


def test_a_live_command_line_names_its_interpreter_first(venv, tmp_path):
    argv = (str(venv / "bin" / "python3"), "/elsewhere/llamafactory-cli", "train", "x.yaml")
    assert probe_environment(argv, {}, tmp_path).has("torch") is True


def test_a_relative_interpreter_is_looked_for_where_the_training_runs(venv, tmp_path):
    argv = ("venv/bin/python3", "src/train.py")
    assert probe_environment(argv, {}, tmp_path).python == venv / "bin" / "python3"
    assert probe_environment(argv, {}, tmp_path / "base").python is None


@pytest.mark.parametrize(
    "text",
    [
        lambda python: f"#!{python}\n",
        lambda python: f"#!{python} -I\nimport sys\n",
        lambda _: "#!/usr/bin/env python3\n",
        lambda _: "#!/usr/bin/env -S python3 -P\n",
        lambda python: f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n",
        lambda python: f"#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_every_form_of_first_line_leads_to_the_interpreter(
    venv, tmp_path, text: Callable[[Path], str]
):
    python = venv / "bin" / "python3"
    script(venv / "bin" / "llamafactory-cli", text(python))
    assert find_python(TRAIN, path_of(venv), tmp_path) == python


def test_a_wrapper_leaves_the_environment_on_the_path(venv, tmp_path):
    assert find_python(("timeout", "9", *TRAIN), path_of(venv), tmp_path) == (
        venv / "bin" / "python3"
    )


@pytest.mark.parametrize(
    ("argv", "environ"),
    [
        ((), {}),
        (("",), {"PATH": ""}),
        (TRAIN, {}),
        (TRAIN, {"PATH": "/nonexistent"}),
        (("python\0",), {"PATH": "/usr/bin\0"}),
        (("/nonexistent/python3", "x.py"), {}),
    ],
)
def test_an_environment_that_is_not_found_is_unknown_and_not_empty(argv, environ, tmp_path):
    found = probe_environment(argv, environ, tmp_path)
    assert found.python is None
    assert not found.known
    assert found.has("torch") is None


def test_a_first_line_that_names_no_python_is_unknown(venv, tmp_path):
    for text in ("", "#!", "#!/bin/sh\n", "#!/usr/bin/env\n", "\0\0", "#!" + "x" * 10_000):
        script(venv / "bin" / "llamafactory-cli", text)
        assert find_python(TRAIN, {"PATH": str(venv / "bin")}, tmp_path) is None


def test_names_are_told_from_every_kind_of_metadata_folder(venv, tmp_path):
    install(
        site(venv),
        "liger_kernel-0.6.4.dist-info",
        "Flash.Attn-2.8.3-py3.12-linux-x86_64.egg",
        "unsloth-2026.1.1-py3.12.egg-info",
        "bitsandbytes-0.49.0.dist-info",
        "sentence-transformers-5.0.dist-info",
        "no_version.dist-info",
        "torch",
        "~ip-1.0.dist-info",
    )
    found = probe_environment(TRAIN, path_of(venv), tmp_path)
    assert found.packages["flash_attn"] == "2.8.3"
    assert found.packages["unsloth"] == "2026.1.1"
    assert found.packages["sentence_transformers"] == "5.0"
    assert found.has("liger-kernel") is found.has("liger_kernel") is found.has("Liger.Kernel")
    assert found.has("transformers") is False
    assert found.has("no_version") is False
    assert normalized("Flash--Attn.x_y") == "flash_attn_x_y"


def test_the_package_is_found_where_it_is_installed(venv, tmp_path):
    package = site(venv) / "llamafactory"
    make_package(package, "0.9.5")
    assert probe_environment(TRAIN, path_of(venv), tmp_path).llamafactory_dir == package


def test_a_checkout_named_by_a_pth_file_is_found_with_its_own_version(venv, tmp_path):
    package = tmp_path / "my checkout" / "src" / "llamafactory"
    make_package(package, "0.9.6.dev0")
    lines = f"# note\nimport os; os.abort()\n{package.parent}\n/nonexistent\n"
    (site(venv) / "_llamafactory.pth").write_text(lines)
    found = probe_environment(TRAIN, path_of(venv), tmp_path)
    assert found.llamafactory_dir == package
    assert found.packages["llamafactory"] == "0.9.6.dev0"
    assert package.parent in found.site_packages


def test_a_checkout_named_by_an_import_hook_is_found_without_running_it(venv, tmp_path):
    package = tmp_path / "checkout" / "src" / "llamafactory"
    make_package(package, "0.9.4")
    hook = f"MAPPING: dict[str, str] = {{'llamafactory': '{package}'}}\nimport os; os.abort()\n"
    (site(venv) / "__editable___llamafactory_0_9_4_finder.py").write_text(hook)
    assert probe_environment(TRAIN, path_of(venv), tmp_path).llamafactory_dir == package


def test_a_checkout_named_by_its_metadata_is_found(venv, tmp_path):
    package = tmp_path / "a checkout" / "src" / "llamafactory"
    make_package(package, "0.9.4")
    url = (tmp_path / "a checkout").as_uri()
    metadata = site(venv) / "llamafactory-0.9.5.dist-info" / "direct_url.json"
    metadata.write_text(f'{{"dir_info": {{"editable": true}}, "url": "{url}"}}')
    assert probe_environment(TRAIN, path_of(venv), tmp_path).llamafactory_dir == package


def test_a_script_in_a_checkout_uses_the_package_beside_it(venv, tmp_path):
    make_package(site(venv) / "llamafactory", "0.9.5")
    package = tmp_path / "checkout" / "src" / "llamafactory"
    make_package(package, "0.9.6.dev0")
    (package.parent / "train.py").touch()
    argv = (str(venv / "bin" / "python3"), "src/train.py", "x.yaml")
    found = probe_environment(argv, {}, tmp_path / "checkout")
    assert found.llamafactory_dir == package
    assert found.packages["llamafactory"] == "0.9.6.dev0"


def test_a_rank_uses_the_package_that_its_script_lies_in(venv, tmp_path):
    package = tmp_path / "checkout" / "src" / "llamafactory"
    make_package(package, "0.9.6.dev0")
    argv = (str(venv / "bin" / "python3"), "-u", str(package / "launcher.py"), "x.yaml")
    assert probe_environment(argv, {}, tmp_path).llamafactory_dir == package


def test_a_python_path_counts_and_comes_first(venv, tmp_path):
    install(tmp_path / "extra", "torch-9.9.dist-info", "deepspeed-0.18.0.dist-info")
    environ = {**path_of(venv), "PYTHONPATH": f":extra:/nonexistent:{tmp_path}"}
    found = probe_environment(TRAIN, environ, tmp_path)
    assert found.packages["torch"] == "9.9"
    assert found.has("deepspeed") is True
    assert found.known


def test_packages_of_the_base_count_only_where_the_environment_says_so(venv, tmp_path):
    install(site(tmp_path / "base"), "deepspeed-0.18.0.dist-info")
    home = tmp_path / "home"
    install(site(home / ".local"), "unsloth-2026.1.dist-info")
    environ = {**path_of(venv), "HOME": str(home)}
    assert probe_environment(TRAIN, environ, tmp_path).has("deepspeed") is False
    assert probe_environment(TRAIN, environ, tmp_path).has("unsloth") is False
    settings = (venv / "pyvenv.cfg").read_text().replace("= false", "= true")
    (venv / "pyvenv.cfg").write_text(settings)
    found = probe_environment(TRAIN, environ, tmp_path)
    assert found.has("deepspeed") is True
    assert found.has("unsloth") is True
    without = probe_environment(TRAIN, {**environ, "PYTHONNOUSERSITE": "1"}, tmp_path)
    assert without.has("unsloth") is False


def test_a_python_without_virtual_environment_is_probed_by_its_real_place(tmp_path):
    prefix = tmp_path / "conda"
    (prefix / "bin").mkdir(parents=True)
    script(prefix / "bin" / "python3.12", "")
    (prefix / "bin" / "python").symlink_to("python3.12")
    install(site(prefix), "torch-2.13.0.dist-info")
    install(prefix / "lib" / "python3.9" / "site-packages", "torch-1.0.dist-info")
    found = probe_environment((str(prefix / "bin" / "python"), "x.py"), {}, tmp_path)
    assert dict(found.packages) == {"torch": "2.13.0"}


def test_of_several_pythons_none_is_guessed(tmp_path):
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    script(prefix / "bin" / "python", "")
    for version in ("3.11", "3.12"):
        install(prefix / "lib" / f"python{version}" / "site-packages", "torch-2.0.dist-info")
    found = probe_environment((str(prefix / "bin" / "python"), "x.py"), {}, tmp_path)
    assert not found.known
    assert found.has("torch") is None


def test_hostile_files_tell_nothing_and_break_nothing(venv, tmp_path):
    (site(venv) / "a.pth").write_bytes(b"\xff\xfe\0\n" * 1000)
    os.mkfifo(site(venv) / "b.pth")
    (site(venv) / "c.pth").symlink_to("c.pth")
    (site(venv) / "loop").symlink_to("loop")
    (site(venv) / ("x" * 200 + "-1.dist-info")).mkdir()
    (site(venv) / os.fsdecode(b"\xff-1.0.dist-info")).mkdir()
    (venv / "pyvenv.cfg").write_bytes(b"home\0 = \xff\n===\nversion\n" * 100)
    found = probe_environment(TRAIN, path_of(venv), tmp_path)
    assert found.has("torch") is True


def test_this_interpreter_is_probed_as_it_tells_of_itself(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import psutil, sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    found = probe_environment((sys.executable, "-c", "pass"), {}, tmp_path)
    assert Path(done.stdout.strip()) in found.site_packages
    assert found.has("psutil") is True
    assert found.has("pytest") is True


def make_package(folder: Path, version: str) -> None:
    (folder / "extras").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "extras" / "env.py").write_text(f'import os\nVERSION = "{version}"\n')
