"""Starting the other servers, each in an environment of its own, and holding them still meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.load import closed_loop
from benchmarks.peers.clients import client

__all__ = ["dtypes", "running", "stopped"]

HERE = Path(__file__).parent
FOLDER = Path("build/peers")
START_SECONDS = 240.0
OF_MODEL = ("float32", "bfloat16", "int8")
OF_OTHERS = {"infinity": ("float32", "bfloat16")}


def dtypes(name: str) -> tuple[str, ...]:
    """What a peer can compute in on a CPU: what model.py offers, or its own choice."""
    return OF_OTHERS.get(name, OF_MODEL)


@contextlib.contextmanager
def stopped(process: int) -> Iterator[None]:
    """A process and its descendants stand still meanwhile."""
    parent = psutil.Process(process)
    family = [parent, *parent.children(recursive=True)]
    try:
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.suspend()
        yield
    finally:
        for one in reversed(family):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.resume()


@contextlib.contextmanager
def running(name: str, directory: str, dtype: str = "float32") -> Iterator[tuple[int, int]]:
    """The peer on a free port, ready: port and process id; ended with all its children afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    log = FOLDER / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    environment = {
        **os.environ,
        **threads,
        **offline,
        "PYTHONPATH": str(HERE),
        "PEER_MODEL": directory,
        "PEER_PORT": str(port),
        "PEER_DTYPE": dtype,
        "INFINITY_BETTERTRANSFORMER": "false",
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(name, directory, port, dtype),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=FOLDER,
        )
        try:
            _wait_for(name, port, process, log)
            yield port, process.pid
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True)
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                for one in [*children, *([psutil.Process(process.pid)] if process.poll() is None else [])]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
            process.wait()


def _command(name: str, directory: str, port: int, dtype: str) -> list[str]:
    python = _environment(name)
    if name == "infinity":
        program = [str(Path(python).with_name("infinity_emb")), "v2", "--model-id", directory]
        settings = ["--served-model-name", "full-size", "--engine", "torch", "--device", "cpu", "--dtype"]
        settings += [dtype, "--batch-size", "32", "--no-bettertransformer", "--no-model-warmup"]
        return [*program, *settings, "--host", "127.0.0.1", "--port", str(port)]
    return [python, str(HERE / f"{name}_server.py"), directory, str(port)]


def _environment(name: str) -> str:
    """Its interpreter; installs what NAME.txt says first, if that has not been done."""
    requirements = HERE / f"{name}.txt"
    if not requirements.is_file():  # what this project itself needs is all it needs
        return sys.executable
    folder = (FOLDER / name).absolute()
    stamp = folder / ".stamp"
    if not stamp.is_file() or stamp.read_text() != requirements.read_text():
        # Triton brings a Python of the system's own version with it and wants its library beside it.
        system = Path("/usr/bin/python3")
        python = str(system) if name == "triton" and system.exists() else sys.executable
        subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "-q"]
        # Each list is whole, but for what torch needs on this machine; what else a package would bring along
        # may fit no other, as a torchvision for CUDA does not fit a torch for CPUs.
        torch = next(line for line in requirements.read_text().split() if line.startswith("torch=="))
        for what in ([torch], ["--no-deps", "-r", str(requirements)]):
            subprocess.run([*pip, *what], check=True, stdout=sys.stderr)
        stamp.write_text(requirements.read_text())
    return str(folder / "bin/python")


def _wait_for(name: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers one text."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            asyncio.run(_ask(name, port))
            return
        except Exception as error:  # each server says in its own way that it is not there yet
            if process.poll() is not None or time.monotonic() > end:
                tail = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(f"{name} did not start: {tail or error}") from None
        time.sleep(0.5)


async def _ask(name: str, port: int) -> None:
    async with client(name, port, "text", [b"ready?"]) as call:
        await closed_loop(call, 1, 1)
