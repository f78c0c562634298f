"""ModelService over gRPC: the models that are served, and their properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from altclip.v1 import model_service_pb2 as pb
from altclip.version import VERSION
from service.frontend.calls.call import Call
from service.frontend.core.core import Core
from service.frontend.core.model import Model
from service.frontend.grpc.handlers import UnaryMethod
from worker.models.sources import BUNDLED
from worker.spec import ModelSpec

__all__ = ["ModelServicer"]


class ModelServicer:
    """The RPCs of ModelService."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def methods(self) -> Mapping[str, UnaryMethod]:
        """Each RPC by its name."""
        return {
            "ListModels": (pb.ListModelsRequest, self.list_models),
            "GetModel": (pb.GetModelRequest, self.get_model),
        }

    async def list_models(self, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
        allowed = [model for model in self._core if call.grant.permits(model.name)]
        return pb.ListModelsResponse(models=[describe(model) for model in allowed], server_version=VERSION)

    async def get_model(self, request: pb.GetModelRequest, call: Call) -> pb.GetModelResponse:
        return pb.GetModelResponse(model=describe(self._core.model_for(call, request.name)))


def describe(model: Model) -> pb.Model:
    """The model as far as it is known: device and logit scale once a worker was ready, the checksum later."""
    pool = model.pool
    spec = pool.spec
    info = pool.info
    return pb.Model(
        name=spec.name,
        aliases=model.aliases,
        source=source(spec),
        revision=pool.revision,
        languages=spec.languages,
        dimension=spec.dimension,
        max_tokens=spec.max_tokens,
        image_size=spec.image_size,
        logit_scale=info.logit_scale if info else 0.0,
        device=",".join(pool.devices) or (info.device if info else ""),
        dtype=info.dtype if info else "",
        weights_sha256=pool.weights_sha256,
        ready=pool.ready,
        state_dimension=spec.state_dimension,
        limits=pb.ModelLimits(**asdict(model.limits)),
    )


def source(spec: ModelSpec) -> str:
    """Where the model came from. Of a directory only the name: callers do not learn the server's paths."""
    if not spec.directory or spec.source == BUNDLED:
        return spec.source
    if spec.directory == str(Path(spec.source).expanduser().resolve()):
        return Path(spec.directory).name
    name = spec.source.partition("@")[0]
    return f"{name}@{spec.revision}" if spec.revision else name
