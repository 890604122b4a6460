"""Every problem has a status of gRPC, a text, and trailing metadata of bounded size."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from service.api.open_inference.grpc.definitions import message
from service.api.open_inference.grpc.statuses import DETAILS, PUSHBACK, metadata_of, status_of, text_of
from service.http.problems import PROBLEMS, Item, ProblemError

EXPECTED = {
    "malformed-body": StatusCode.INVALID_ARGUMENT,
    "invalid-value": StatusCode.INVALID_ARGUMENT,
    "unknown-model": StatusCode.NOT_FOUND,
    "unknown-path": StatusCode.UNIMPLEMENTED,
    "missing-key": StatusCode.UNAUTHENTICATED,
    "insufficient-scope": StatusCode.PERMISSION_DENIED,
    "too-busy": StatusCode.RESOURCE_EXHAUSTED,
    "body-too-large": StatusCode.RESOURCE_EXHAUSTED,
    "shutting-down": StatusCode.UNAVAILABLE,
    "deadline-exceeded": StatusCode.DEADLINE_EXCEEDED,
    "internal-error": StatusCode.INTERNAL,
}


def details_of(metadata: Any) -> dict[str, Any]:
    """The details by the name of their type."""
    kind: Any = message("google.rpc.Status")
    status = kind.FromString(dict(metadata)[DETAILS])
    found = {}
    for detail in status.details:
        name = detail.type_url.removeprefix("type.googleapis.com/")
        found[name] = message(name).FromString(detail.value)
    return found


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_problem_has_a_status(code: str) -> None:
    found = status_of(ProblemError(code, "detail"))
    assert found not in (StatusCode.OK, StatusCode.UNKNOWN)
    assert EXPECTED.get(code, found) is found


def test_details_name_the_code_the_places_and_the_time_to_retry() -> None:
    busy = ProblemError("too-busy", "full", headers={"Retry-After": "7"})
    metadata = metadata_of(busy)
    assert dict(metadata)["x-problem"] == "too-busy"
    assert dict(metadata)["retry-after"] == "7"
    assert dict(metadata)[PUSHBACK] == "7000"
    details = details_of(metadata)
    assert details["google.rpc.ErrorInfo"].reason == "TOO_BUSY"
    assert details["google.rpc.ErrorInfo"].domain == "vae-service"
    assert details["google.rpc.RetryInfo"].retry_delay.seconds == 7
    item = Item("inputs[0]: shape", "(N, 1, 28, 28)", "(28, 28)", "Add the axes.")
    details = details_of(metadata_of(ProblemError.of_item("invalid-value", item)))
    assert "google.rpc.RetryInfo" not in details
    (violation,) = details["google.rpc.BadRequest"].field_violations
    assert violation.field == "inputs[0]: shape"
    assert violation.description == "expected (N, 1, 28, 28), got (28, 28). Add the axes."


def test_status_in_the_details_is_that_of_the_call() -> None:
    """grpcio-status refuses details that differ."""
    problem = ProblemError("unknown-model", "no 'ü'\n model")
    kind: Any = message("google.rpc.Status")
    status = kind.FromString(dict(metadata_of(problem))[DETAILS])
    assert (status.code, status.message) == (StatusCode.NOT_FOUND.value[0], text_of(problem))
    assert text_of(problem) == "no 'ü'? model"


def test_metadata_of_any_problem_fits_into_what_clients_accept() -> None:
    long = Item("σ" * 9_000, "σ" * 9_000, "σ" * 9_000, "σ" * 9_000)
    problem = ProblemError("invalid-value", "σ" * 90_000, items=[long] * 500, headers={"Retry-After": "9"})
    # On the wire, binary values are base64 and text is percent-encoded.
    size = sum(
        len(key) + 32 + (len(value) * 4 // 3 if isinstance(value, bytes) else len(value))
        for key, value in metadata_of(problem)
    )
    assert size + 3 * len(text_of(problem).encode()) < 8_192
