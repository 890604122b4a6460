"""A request has the same facts in its log line and on its span, over HTTP and over gRPC."""

from __future__ import annotations

from service.observability.request_facts import add_to_line, add_to_span
from service.observability.request_trace import Trace


class Recorded(dict[str, object]):
    """A span that keeps its attributes."""

    def set_attribute(self, key: str, value: object) -> None:
        self[key] = value


def facts_of(trace: Trace) -> tuple[dict[str, object], dict[str, object]]:
    line: dict[str, object] = {"status": 200}
    span = Recorded()
    add_to_line(line, trace)
    add_to_span(span, trace)
    return line, dict(span)


def test_line_and_span_name_the_version_the_sizes_and_the_problem() -> None:
    trace = Trace("id-1", model="mnist@4", images=3, code="too-busy", body_bytes=784, phases={"run": 0.5})
    line, span = facts_of(trace)
    assert list(line.items()) == [
        ("status", 200),
        ("model", "mnist@4"),
        ("images", 3),
        ("body_bytes", 784),
        ("code", "too-busy"),
    ]
    assert span == {
        "vae.request_id": "id-1",
        "vae.model": "mnist@4",
        "vae.images": 3,
        "vae.problem": "too-busy",
        "vae.run_s": 0.5,
    }


def test_what_a_request_never_had_is_left_out() -> None:
    line, span = facts_of(Trace("id-2"))
    assert line == {"status": 200}
    assert span == {"vae.request_id": "id-2"}
