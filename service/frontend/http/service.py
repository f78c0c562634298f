"""What the handlers of every API share: the core, the settings, and embedding a list of items."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.config.settings import Settings
from service.frontend.api.errors import ServiceError
from service.frontend.api.messages import Options
from service.frontend.core.core import Core
from service.frontend.core.embed_items import EmbeddedItems, WholeItem, embed_items
from service.frontend.core.model import Model
from service.frontend.http.errors import renamed
from service.frontend.http.request import Request

__all__ = ["Service", "field_paths"]


@dataclass(slots=True)
class Service:
    """started: Unix time. draining: no new call is let in any more."""

    core: Core
    started: float
    draining: bool = False

    @property
    def settings(self) -> Settings:
        return self.core.settings

    @property
    def most_items(self) -> int:
        """Texts in a request, on every route."""
        return self.settings.http_max_items

    @property
    def most_parts(self) -> int:
        """Texts and images in a request for embeddings, on every route."""
        return self.most_items + self.settings.max_images

    @property
    def ready(self) -> bool:
        """Whether every model answers."""
        return self.core.pools.ready and not self.draining

    def answers_last(self, connected_at: float) -> bool:
        """Whether a connection that was made then (time.monotonic() seconds) ends with its next answer: in a
        drain, and from the age on that the operator has set."""
        oldest = self.settings.max_connection_age
        return self.draining or 0 < oldest <= time.monotonic() - connected_at

    def model(self, request: Request, name: str) -> Model:
        """The model of that name or alias for this caller. Raises ModelNotFound or PermissionDenied."""
        return self.core.model_for(request.call, name)

    async def embed(
        self,
        request: Request,
        model: str,
        items: Sequence[WholeItem],
        options: Options,
        *,
        path: str,
        strict: bool = True,
    ) -> EmbeddedItems:
        """Row i belongs to items[i]; errors name the fields of the request. path: of the list of items."""
        try:
            done = await embed_items(
                self.core,
                request.call,
                model,
                items,
                options,
                path=path,
                most_texts=self.most_items,
                strict=strict,
            )
        except ServiceError as error:
            raise renamed(error, field_paths(items)) from None
        if done.errors:
            name = field_paths(items)
            done.errors = {index: renamed(error, name) for index, error in done.errors.items()}
        return done


def field_paths(items: Sequence[WholeItem]) -> Callable[[str], str]:
    """The core adds to an image's path which of its two sources it has; in JSON that is the field itself."""
    known = {part.path for item in items for part in item.parts}

    def name(path: str) -> str:
        return path if path in known else path.removesuffix(".content").removesuffix(".uri")

    return name
