"""The one table of errors, and how it looks in gRPC."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from service.frontend.api import errors
from service.frontend.api.errors import (
    TABLE,
    InvalidRequest,
    QueueFull,
    ServiceError,
    Violation,
    from_exception,
)
from service.frontend.grpc.status import retry_trailers, status
from tests.service.running import detail
from worker.errors import ImageError, ImageTooLarge, UndecodableImage, UnsupportedImage
from worker.runtime.metric_labels import REASONS

PUBLISHED = {
    "INVALID_REQUEST": ("INVALID_ARGUMENT", 400),
    "UNDECODABLE_IMAGE": ("INVALID_ARGUMENT", 400),
    "IMAGE_TOO_LARGE": ("INVALID_ARGUMENT", 400),
    "UNSUPPORTED_IMAGE": ("INVALID_ARGUMENT", 400),
    "TEXT_TOO_LONG": ("INVALID_ARGUMENT", 400),
    "URI_NOT_ALLOWED": ("INVALID_ARGUMENT", 400),
    "URI_FETCH_FAILED": ("INVALID_ARGUMENT", 400),
    "MODEL_NOT_FOUND": ("NOT_FOUND", 404),
    "UNAUTHENTICATED": ("UNAUTHENTICATED", 401),
    "PERMISSION_DENIED": ("PERMISSION_DENIED", 403),
    "QUEUE_FULL": ("RESOURCE_EXHAUSTED", 429),
    "QUOTA_EXCEEDED": ("RESOURCE_EXHAUSTED", 429),
    "DEADLINE_TOO_SHORT": ("DEADLINE_EXCEEDED", 504),
    "WORKER_UNAVAILABLE": ("UNAVAILABLE", 503),
    "DRAINING": ("UNAVAILABLE", 503),
    "INTERNAL": ("INTERNAL", 500),
}
CLASSES = sorted(TABLE, key=lambda kind: kind.__name__)


def test_the_table_is_the_published_one() -> None:
    assert {entry.reason: (entry.code.name, entry.http_status) for entry in TABLE.values()} == PUBLISHED


def test_every_reason_is_counted_by_its_name() -> None:
    assert {entry.reason for entry in TABLE.values()} == set(REASONS)


def test_every_class_has_a_row() -> None:
    kinds = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ServiceError) and kind is not ServiceError
    }
    assert kinds == set(TABLE)


@pytest.mark.parametrize("kind", CLASSES)
def test_codes_are_those_of_grpc(kind: type[ServiceError]) -> None:
    code = TABLE[kind].code
    assert grpc.StatusCode[code.name].value[0] == int(code)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_status_has_exactly_one_error_info(kind: type[ServiceError]) -> None:
    made = status(kind())
    kinds = [each.TypeName() for each in made.details]
    assert kinds.count("google.rpc.ErrorInfo") == 1
    info = detail(made, error_details_pb2.ErrorInfo)
    assert (info.domain, info.reason) == ("altclip", TABLE[kind].reason)
    assert made.message


@pytest.mark.parametrize("kind", CLASSES)
def test_only_what_another_try_may_mend_says_when_to_retry(kind: type[ServiceError]) -> None:
    retriable = TABLE[kind].code.name in ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
    kinds = [each.TypeName() for each in status(kind()).details]
    assert ("google.rpc.RetryInfo" in kinds) == retriable


def test_overload_pushes_stock_clients_back() -> None:
    assert retry_trailers(QueueFull(retry_after=0.25)) == (("grpc-retry-pushback-ms", "250"),)
    assert retry_trailers(InvalidRequest()) == ()


def test_details_stay_small_however_much_is_wrong() -> None:
    error = InvalidRequest(
        "m" * 100_000,
        violations=[Violation("p" * 10_000, "猫" * 10_000)] * 1000,
        metadata={"k" * 1000 + str(number): "v" * 1000 for number in range(100)},
    )
    assert len(status(error).SerializeToString()) * 4 / 3 < 8_000


@pytest.mark.parametrize("kind", [UndecodableImage, UnsupportedImage, ImageTooLarge])
def test_image_errors_become_ours_with_their_field(kind: type[ImageError]) -> None:
    error = from_exception(kind("the image is bad"), "images[3].content")
    assert type(error).__name__ == kind.__name__
    assert error.violations == (Violation("images[3].content", "the image is bad"),)


def test_anything_else_is_internal_and_says_nothing() -> None:
    error = from_exception(RuntimeError("/etc/passwd"))
    assert isinstance(error, errors.Internal)
    assert "passwd" not in error.message
