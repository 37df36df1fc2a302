"""Owns the exact prediction as a script that any environment with torch and transformers runs.

    python simulate.py < request.json > answer.json

llamavet need not be installed there: the script finds the modules beside it. It answers with
sizes, or with an error and what to do about it; nothing but the answer goes to standard output.
A request is {"config": a model's config.json or {"model_path": folder}, "workload": the fields of
a Workload}; "simulation/" says how the step is run.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

MAX_REQUEST_BYTES = 4 * 2**20
GIB = 2**30


def main() -> int:
    """Answer the request on standard input."""
    answer: dict[str, Any]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            request = json.loads(sys.stdin.buffer.read(MAX_REQUEST_BYTES))
            answer = simulated(request)
        except Exception as error:  # noqa: BLE001
            answer = failure(error)
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    return 0 if "error" not in answer else 1


def simulated(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run the simulation that a request asks for."""
    _find_beside()
    from diagnostics.memory.replay import PHASES, replay  # noqa: PLC0415
    from diagnostics.memory.simulation.request import (  # noqa: PLC0415
        read_config,
        read_workload,
        stored_dtype,
    )
    from diagnostics.memory.simulation.step import record  # noqa: PLC0415
    from diagnostics.memory.simulation.versions import versions  # noqa: PLC0415
    from diagnostics.memory.trace import TraceError, expand  # noqa: PLC0415

    work, notes = read_workload(request["workload"])
    config = read_config(request["config"])
    work["stored"] = stored_dtype(config)
    try:
        model, stretches = record(config, work)
        result = replay(expand(stretches, model.plan.runs))
    except TraceError as error:
        notes.append(f"every layer was simulated: {error}")
        model, stretches = record(config, work, whole=True)
        result = replay(expand(stretches, model.plan.runs))
    else:
        left_out = sum(run.count - run.recorded for run in model.plan.runs)
        if left_out:
            notes.append(
                f"{len(model.plan.kept)} of {model.plan.layers} layers were run; "
                "what the middle one did was repeated for those left out"
            )
    return {
        "allocated_gib": round(result.peak.peak / GIB, 4),
        "reserved_gib": round(result.reserved_bytes / GIB, 4),
        "phases_gib": result.phases_gib(),
        "phase": PHASES[result.peak.name],
        "trainable_params": model.trainable_params,
        "total_params": model.total_params,
        "versions": versions(),
        "notes": notes,
    }


def failure(error: Exception) -> dict[str, Any]:
    """Return what went wrong as an answer."""
    if isinstance(error, ModuleNotFoundError):
        return {
            "error": f"this Python has no {error.name}",
            "remedy": "give the Python of the environment that LLaMA-Factory runs in",
        }
    if type(error).__name__ == "UnsupportedError":
        return {"error": str(error), "remedy": "use the estimate without --exact"}
    text = " ".join(str(error).split())[:500]
    return {
        "error": f"the simulation failed: {type(error).__name__}: {text}",
        "remedy": "use the estimate without --exact",
    }


def _find_beside() -> None:
    """Let this script's own package be imported, and nothing else of where it is installed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    here = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != here]
    for name, folder in (("diagnostics", here.parent), ("diagnostics.memory", here)):
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = [str(folder)]
            sys.modules[name] = package


if __name__ == "__main__":
    sys.exit(main())
