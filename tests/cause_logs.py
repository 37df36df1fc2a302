"""Logs of trainings that fail, in parts, and what is told of them."""

from collections.abc import Sequence

from diagnostics.causes import Role, failures, root_chain
from diagnostics.history import History, Snapshot
from diagnostics.parsing.console import ConsoleParser

SITE = "/opt/conda/lib/python3.11/site-packages"


LAUNCHER = f"{SITE}/llamafactory/launcher.py"


STEP = (f"{SITE}/transformers/trainer.py:training_step",)


LOAD = (f"{SITE}/transformers/modeling_utils.py:from_pretrained",)


COLLECTIVE = (f"{SITE}/torch/distributed/distributed_c10d.py:all_reduce",)


LAUNCH = (
    "[INFO|2025-06-02 11:05:50] llamafactory.launcher:143 >> "
    "Initializing 2 distributed tasks at: 127.0.0.1:37125\n"
)


TRAINING = """\
[INFO|trainer.py:2414] 2025-06-02 11:06:32,091 >> ***** Running training *****
[INFO|trainer.py:2422] 2025-06-02 11:06:32,217 >>   Total optimization steps = 100
"""


LOSS = "{'loss': 1.5, 'grad_norm': 0.9, 'learning_rate': 1e-05, 'epoch': 0.25}\n"


SAVED = (
    "[INFO|trainer.py:3910] 2025-06-02 11:20:00,000 >> "
    "Saving model checkpoint to saves/a/checkpoint-50\n"
)


FINISHED = """\
{'train_runtime': 100.0, 'train_samples_per_second': 1.0, 'train_loss': 1.2, 'epoch': 1.0}
***** train metrics *****
"""


KILL = (
    "W0602 11:17:40.5 8981 torch/distributed/elastic/multiprocessing/api.py:897] "
    "Sending process 9016 closing signal SIGTERM\n"
)


DIRECT = "\nThe above exception was the direct cause of the following exception:\n\n"


DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"


LOST = (
    "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error "
    "[127.0.0.1]:63178: Connection reset by peer"
)


NCCL_LOST = """\
torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/\
ProcessGroupNCCL.cpp:1970, remote process exited or there was a network error, NCCL version 2.20.5
ncclRemoteError: A call failed possibly due to a network error or a remote process exiting.
Last error:
socketProgress: Connection closed by remote peer node-1<43047>"""


UNIQUE_ID = (
    "torch.distributed.DistBackendError: [1] is setting up NCCL communicator and retrieving "
    "ncclUniqueId from [0] via c10d key-value store by key '0', but store->get('0') got error: "
    "Connection reset by peer. This may indicate a possible application crash on rank 0."
)


OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total "
    "capacity of 23.65 GiB of which 1.20 GiB is free."
)


def process_rank(rank: int = 0, world: int = 2) -> str:
    return (
        f"[INFO|2025-06-02 11:06:00] llamafactory.hparams.parser:143 >> Process rank: {rank}, "
        f"world size: {world}, device: cuda:{rank}, distributed training: {world > 1}, "
        "compute dtype: torch.bfloat16\n"
    )


def bar(done: int, total: int = 100) -> str:
    return f" {done}%|##        | {done}/{total} [01:07<1:21:30,  2.83s/it]\n"


def traceback(
    error: str, frames: Sequence[str] = (), rank: int | None = None, script: str = LAUNCHER
) -> str:
    """An uncaught error: its traceback begins at the script's own code."""
    return caught(error, (f"{script}:<module>", *frames), rank)


def caught(error: str, frames: Sequence[str], rank: int | None = None) -> str:
    """An error that somebody caught and printed: its traceback begins where it was caught."""
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        path, _, function = frame.rpartition(":")
        lines += [f'  File "{path}", line 12, in {function}', "    work()"]
    lines += error.split("\n")
    prefix = f"[rank{rank}]: " if rank is not None else ""
    return "".join(f"{prefix}{line}\n" for line in lines)


def prefixed(text: str, rank: int) -> str:
    return "".join(f"[rank{rank}]: {line}\n" for line in text.splitlines())


def torchrun(rank: int, code: int = 1, others: Sequence[tuple[int, int]] = ()) -> str:
    """The end as torchrun of PyTorch 2.4 and later tells it, and LLaMA-Factory's launcher."""
    signal = " (SIGKILL)" if code == -9 else ""
    rest = "".join(
        f"[{index}]:\n  time      : 2025-06-02_11:17:40\n  host      : node-0\n"
        f"  rank      : {other} (local_rank: {other})\n"
        f"  exitcode  : {ended} (pid: {9000 + other})\n"
        "  error_file: <N/A>\n"
        for index, (other, ended) in enumerate(others, 1)
    )
    block = (
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
        + "=" * 60
        + f"\n{LAUNCHER} FAILED\n"
        + "-" * 60
        + "\nFailures:\n"
        + (rest or "  <NO_OTHER_FAILURES>\n")
        + "-" * 60
        + "\nRoot Cause (first observed failure):\n[0]:\n  time      : 2025-06-02_11:17:40\n"
        f"  host      : node-0\n  rank      : {rank} (local_rank: {rank})\n"
        f"  exitcode  : {code} (pid: {9000 + rank}){signal}\n  error_file: <N/A>\n" + "=" * 60
    )
    called = "subprocess.CalledProcessError: Command '['torchrun', '--nnodes', '1']' returned "
    return (
        KILL
        + f"E0602 11:17:40.6 8981 torch/distributed/elastic/multiprocessing/api.py:869] failed "
        f"(exitcode: {code}) local_rank: {rank} (pid: {9000 + rank}) of binary: /opt/bin/python\n"
        + traceback(block, (f"{SITE}/torch/distributed/run.py:run",), script="/bin/torchrun")
        + traceback(
            f"{called}non-zero exit status 1.",
            (f"{SITE}/llamafactory/launcher.py:launch", "/usr/lib/python3.11/subprocess.py:run"),
            script="/bin/llamafactory-cli",
        )
    )


def read(log: str) -> History:
    history = History()
    parser = ConsoleParser("stdout.log")
    for observation in (*parser.feed(log.encode(), 1.0), *parser.finish(1.0)):
        history.add(observation)
    return history


def seen(log: str) -> Snapshot:
    return read(log).snapshot()


def root(log: str) -> str:
    """The class of the error that ended the run; "" where none did."""
    chain = root_chain(seen(log))
    return chain[-1].exception if chain else ""


def root_message(log: str) -> str:
    chain = root_chain(seen(log))
    return chain[-1].message.partition("\n")[0] if chain else ""


def roles(log: str) -> list[tuple[Role, str]]:
    return [
        (failure.role, failure.chain[-1].exception.rpartition(".")[2])
        for failure in failures(seen(log))
    ]
