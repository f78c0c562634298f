"""The worker process: `python -m worker DESCRIPTOR`, its end of the supervisor's control channel.

    config ──▶ load the weights ──▶ warm up, size the batches ──▶ ready ──▶ serve until drained or orphaned

Torch is imported by `Family.load` only, after the process has its name and watches its supervisor.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import astuple, replace
from typing import Any

from worker import checkpoint
from worker.engine.batcher import Budget, Policy
from worker.engine.engine import Engine
from worker.engine.intake import Intake
from worker.engine.queue import JobQueue
from worker.engine.tuning import budgets
from worker.errors import DeviceLost, ModelError
from worker.families import Encoder, family
from worker.runtime import gc_tuning, logs, memory
from worker.runtime.control import Channel, adopt, entitle, leave, starting
from worker.runtime.metrics import Layout, Metrics
from worker.runtime.notices import Modality
from worker.spec import ModelInfo, ModelSpec

_log = logs.get("worker")


def main() -> int:
    """Exit status: 0 after a drain, 1 where the model cannot be served."""
    channel = adopt(int(sys.argv[1]), "altclip-worker")
    message = channel.receive()
    if message is None:
        return 1
    config = message.body
    spec, device = ModelSpec.from_dict(config["model"]), config["device"]
    entitle(f"altclip-worker {spec.name} {device}")
    logs.configure(config["log_level"], f"worker {spec.name} {device}")
    page = message.descriptors[0]
    metrics = Metrics(Layout.from_dict(config["metrics"]), memory.attach(page))
    os.close(page)

    queue = JobQueue(
        Policy({}), lambda modality, depth: metrics.queue_depth.set(depth, spec.name, modality.label)
    )
    intake = Intake(channel, queue)
    intake.start()
    batching = config["batching"]
    with starting(channel, ModelError):
        encoder = _load(spec, config)
        if batching["budgets"] is None:
            sizes = budgets(encoder, spec, tokens=batching["tokens"], images=batching["images"])
        else:
            sizes = {m: Budget(*found) for m, found in zip(Modality, batching["budgets"], strict=True)}
        # After another process of the model, nothing is computed before these are known to be the same.
        sha256 = checkpoint.weights_sha256(spec, read=config["weights_known"])
    queue.policy = Policy(sizes, wait=batching["wait"])
    engine = Engine(
        encoder, queue, intake.read, metrics, model=spec.name, device=device, number=str(config["number"])
    )
    chosen = {modality.label: budget.cost for modality, budget in sizes.items()}
    _log.info("batches_sized", "the most a batch may hold: tokens of texts and prompts, images", **chosen)
    info = replace(encoder.info, batch_costs=tuple(sizes[modality].cost for modality in Modality))
    gc_tuning.freeze_loaded()
    found = [astuple(sizes[modality]) for modality in Modality]
    if sha256:
        channel.send("weights", {"model": spec.name, "sha256": sha256})
    channel.send("ready", {"info": info.to_dict(), "budgets": found})
    checked = (channel, spec, sha256)
    threading.Thread(target=_check_weights, args=checked, name="checksum", daemon=True).start()
    engine.run()
    return 0


def _load(spec: ModelSpec, config: dict[str, Any]) -> Encoder:
    started = time.monotonic()
    known = {shape: tuple(ways) for shape, ways in config["known_kernels"].items()}
    encoder = family(spec.model_type).load(
        spec, config["device"], config["dtype"], config["threads"], config["kernels"], known
    )
    loaded = time.monotonic()
    try:
        encoder.warm_up()
    except DeviceLost as error:
        if "no kernel image" in str(error):  # a device that is older or newer than this torch was built for
            raise ModelError(f"this torch has no code for {config['device']}: {error}") from error
        raise
    warm = time.monotonic()
    _log.info(
        "model_loaded",
        load_seconds=round(loaded - started, 3),
        warm_up_seconds=round(warm - loaded, 3),
        parameters=encoder.info.parameters,
    )
    _tell_kernels(encoder.info, measured=config["kernels"] == "auto" and encoder.info.kernels != known)
    return encoder


def _tell_kernels(info: ModelInfo, *, measured: bool) -> None:
    """Logs how matrices are multiplied, where there is a choice."""
    if not info.kernels:
        return
    facts = {
        "native": " ".join(info.native_dtypes),
        "measured": measured,
        "packed_mb": round(info.packed_bytes / 1e6),
    }
    ways = {shape: " ".join(choice) for shape, choice in info.kernels.items()}
    _log.info("kernels_chosen", "ways to multiply few rows to many", **ways, **facts)


def _check_weights(channel: Channel, spec: ModelSpec, sha256: str) -> None:
    """Sends the checksum of the weights unless it was sent, and ends the worker if they are not what their
    manifest says.

    To read gigabytes takes seconds, so a thread does it beside the work. Nothing else sends after `ready`.
    """
    if not sha256:
        channel.send("weights", {"model": spec.name, "sha256": checkpoint.weights_sha256(spec)})
    try:
        checkpoint.check_digests(spec)
    except ModelError as error:
        channel.send("failed", {"reason": str(error)})
        leave()


if __name__ == "__main__":
    sys.exit(main())
