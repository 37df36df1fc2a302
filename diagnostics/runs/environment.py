"""Owns what can be told of a training's own Python environment without running or importing it.

It reads folder names, and a few small text files that say where packages really lie. Nothing of
the environment is executed.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

MAX_TEXT_BYTES = 256 * 1024
MAX_ENTRIES = 50_000
MAX_PTH_FILES = 200
_NAMED = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[\w.]|-(?!\d))*)-(?P<version>[^-]+)(?:-[\w.-]+)?"
    r"\.(?:dist-info|egg-info|egg)"
)
_SEPARATORS = re.compile(r"[-_.]+")
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*[a-z]*")
_EXEC_LINE = re.compile(r"""'''exec' ["']?(?P<python>/[^"'\n]+?)["']? "\$0" "\$@\"""")
_MAPPED = re.compile(r"""["']llamafactory["']\s*:\s*["'](?P<path>/[^"'\n]+)["']""")
_FILE_URL = re.compile(r'"url"\s*:\s*"file://(?P<path>/[^"]*)"')
_VERSION = re.compile(r"""^VERSION\s*=\s*["'](?P<version>[^"'\n]{1,64})["']""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TrainingEnvironment:
    """The Python environment of a training, as far as its files tell."""

    python: Path | None
    site_packages: tuple[Path, ...]
    """The folders that packages are imported from, in order."""
    packages: Mapping[str, str]
    """Versions by name; names are in lower case with underscores: flash_attn, liger_kernel."""
    known: bool
    """True where every such folder could be listed; a package that is not there is absent then."""
    llamafactory_dir: Path | None
    """The package's own folder, in a checkout too."""

    def has(self, package: str) -> bool | None:
        """Tell whether a package is installed; None where that cannot be told."""
        if normalized(package) in self.packages:
            return True
        return False if self.known else None


def normalized(name: str) -> str:
    """Return a package's name as `TrainingEnvironment.packages` spells it."""
    return _SEPARATORS.sub("_", name).lower()


def probe_environment(
    argv: Sequence[str], environ: Mapping[str, str], cwd: Path
) -> TrainingEnvironment:
    """Describe the environment that a command line runs in; unknown where its Python is not found.

    `environ` and `cwd` are the training's, not ours.
    """
    python = find_python(argv, environ, cwd)
    if python is None:
        return TrainingEnvironment(None, (), {}, known=False, llamafactory_dir=None)
    folders, known = _site_folders(python, environ, cwd)
    packages: dict[str, str] = {}
    for folder in folders:
        names = _names(folder)
        known = known and names is not None
        for name, version in _distributions(names or ()):
            packages.setdefault(name, version)
    package = _llamafactory_dir(argv, folders, cwd)
    declared = _declared_version(package) if package is not None else None
    if declared is not None:
        packages["llamafactory"] = declared
    return TrainingEnvironment(
        python=python,
        site_packages=folders,
        packages=packages,
        known=known,
        llamafactory_dir=package,
    )


def find_python(argv: Sequence[str], environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the interpreter of a command line: its first word, or that of the script it names.

    A program that is neither (a wrapper) leaves the llamafactory-cli of the same PATH.
    """
    for word in [*argv[:1], "llamafactory-cli"]:
        found = _which(word, environ, cwd)
        if found is None:
            continue
        if _PYTHON.fullmatch(found.name):
            return found
        python = _interpreter(found, environ, cwd)
        if python is not None:
            return python
    return None


def _which(word: str, environ: Mapping[str, str], cwd: Path) -> Path | None:
    if not word or "\0" in word:
        return None
    if "/" in word:
        path = cwd / word
        return path if _is_file(path) else None
    # Empty and relative parts of a PATH mean the training's folder, not ours.
    parts = [str(cwd / part) for part in environ.get("PATH", "").split(os.pathsep)]
    try:
        found = shutil.which(word, path=os.pathsep.join(parts)) if "PATH" in environ else None
    except (OSError, ValueError):
        return None
    return Path(found) if found is not None else None


def _interpreter(script: Path, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the Python in a script's first line; installers write two forms of it."""
    text = _text(script, 4096) or ""
    first = text.partition("\n")[0]
    if not first.startswith("#!"):
        return None
    trampoline = _EXEC_LINE.search(text)
    words = [trampoline["python"]] if trampoline is not None else first[2:].split()
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    if not words or not _PYTHON.fullmatch(Path(words[0]).name):
        return None
    return _which(words[0], environ, cwd)


def _site_folders(
    python: Path, environ: Mapping[str, str], cwd: Path
) -> tuple[tuple[Path, ...], bool]:
    """Return the folders a Python imports packages from, and whether its own was found."""
    prefix = python.parent.parent
    settings = _pyvenv(prefix)
    places = [prefix]
    if settings is None:
        places = [_real(python).parent.parent]
    elif settings.get("include-system-site-packages", "").lower() == "true":
        places.append(_real(Path(settings.get("home", "/nonexistent"))).parent)
    version = _minor_version(python, settings or {})
    own = [folder for place in places for folder in _below(place, version)]
    found = [*_python_path(environ, cwd), *own]
    isolated = settings is not None and len(places) == 1
    if not isolated and version is not None and not environ.get("PYTHONNOUSERSITE"):
        base = environ.get("PYTHONUSERBASE") or (
            f"{environ['HOME']}/.local" if environ.get("HOME") else None
        )
        if base is not None:
            found.append(Path(base) / "lib" / f"python{version}" / "site-packages")
    folders = [folder for folder in dict.fromkeys(found) if _is_dir(folder)]
    folders += [path for folder in folders for path in _pth_folders(folder)]
    return tuple(dict.fromkeys(folders)), bool(own)


def _below(prefix: Path, version: str | None) -> list[Path]:
    names = [f"python{version}"] if version is not None else _python_folders(prefix)
    if len(names) != 1:
        return []  # several Pythons share this prefix, and which one it is was not told
    found = [
        prefix / lib / name / kind
        for lib in ("lib", "lib64", "local/lib")
        for name in (names[0], "python3")
        for kind in ("site-packages", "dist-packages")
    ]
    if prefix == Path("/usr"):
        found.insert(0, Path("/usr/local/lib") / names[0] / "dist-packages")
    real: dict[Path, Path] = {}
    for path in found:
        if _is_dir(path):
            real.setdefault(_real(path), path)  # lib64 is often a link to lib
    return list(real.values())


def _python_folders(prefix: Path) -> list[str]:
    names = _names(prefix / "lib") or ()
    return [name for name in names if re.fullmatch(r"python3\.\d+t?", name)]


def _minor_version(python: Path, settings: Mapping[str, str]) -> str | None:
    """Return "3.11" from the interpreter's real name, or what the virtual environment notes."""
    for text in (_real(python).name, settings.get("version", ""), settings.get("version_info", "")):
        match = re.match(r"(?:python)?(3\.\d+t?)", text)
        if match is not None:
            return match[1]
    return None


def _pyvenv(prefix: Path) -> dict[str, str] | None:
    text = _text(prefix / "pyvenv.cfg", MAX_TEXT_BYTES)
    if text is None:
        return None
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _python_path(environ: Mapping[str, str], cwd: Path) -> Iterator[Path]:
    for part in environ.get("PYTHONPATH", "").split(os.pathsep):
        if part and "\0" not in part:
            yield cwd / part


def _pth_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders that a site folder's .pth files add; their code lines are left alone."""
    names = [name for name in _names(folder) or () if name.endswith(".pth")]
    for name in sorted(names)[:MAX_PTH_FILES]:
        for line in (_text(folder / name, MAX_TEXT_BYTES) or "").splitlines():
            words = line.strip()
            if words and not words.startswith(("#", "import ", "import\t")) and "\0" not in words:
                path = folder / words
                if _is_dir(path):
                    yield path


def _llamafactory_dir(argv: Sequence[str], folders: Sequence[Path], cwd: Path) -> Path | None:
    """Return where llamafactory is imported from; a script's own folder comes before all others."""
    scripts = [cwd / word for word in argv[:64] if word.endswith(".py") and "\0" not in word]
    places = [place for script in scripts for place in (script.parent, script.parent.parent)]
    for place in [*places, *folders]:
        package = place / "llamafactory"
        if _is_file(package / "__init__.py") or _is_file(package / "cli.py"):
            return package
    for folder in folders:
        for package in _editable(folder):
            if _is_dir(package):
                return package
    return None


def _editable(folder: Path) -> Iterator[Path]:
    """Yield where an editable installation says that llamafactory lies."""
    for name in _names(folder) or ():
        lowered = name.lower()
        if lowered.startswith("__editable___llamafactory") and lowered.endswith(".py"):
            match = _MAPPED.search(_text(folder / name, MAX_TEXT_BYTES) or "")
            if match is not None:
                yield Path(match["path"])
        if lowered.startswith("llamafactory-") and lowered.endswith(".dist-info"):
            match = _FILE_URL.search(_text(folder / name / "direct_url.json", 65536) or "")
            if match is not None:
                yield Path(unquote(match["path"])) / "src" / "llamafactory"


def _declared_version(package: Path) -> str | None:
    """Return the version in the package's own source: a checkout moves on without its metadata."""
    match = _VERSION.search(_text(package / "extras" / "env.py", MAX_TEXT_BYTES) or "")
    return match["version"] if match is not None else None


def _distributions(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        match = _NAMED.fullmatch(name)
        if match is not None:
            yield normalized(match["name"]), match["version"]


def _names(folder: Path) -> tuple[str, ...] | None:
    try:
        with os.scandir(folder) as entries:
            return tuple(entry.name for entry, _ in zip(entries, range(MAX_ENTRIES), strict=False))
    except (OSError, ValueError):
        return None


def _text(path: Path, limit: int) -> str | None:
    try:
        if not path.is_file():
            return None  # a pipe would never end
        with path.open("rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
