"""Every public method of the clients of Triton and KServe, and the page that lists what comes of each."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.hard

pytest.importorskip("grpc", reason="the extra grpc is not installed")

FOLDER = Path(__file__).resolve().parents[1] / "inference_clients"
#: What this server has not: memory that it shares with clients, and settings that clients may change.
REFUSED = ("shared_memory", "trace_settings", "log_settings")


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clients_table", FOLDER / "table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.is_installed():
        pytest.skip("the clients are not installed: make inference-clients")
    return module


def test_every_method_of_every_client_works_or_is_refused_with_the_reason(table: ModuleType) -> None:
    """After a change: `tests/inference_clients/table.py` writes the page anew."""
    with table.served() as server:
        found = table.outcomes(*server)
    assert len(found) == 6
    for client, calls in found.items():
        for call, outcome in calls.items():
            kind, _, reason = outcome.partition(": ")
            if any(part in call for part in REFUSED):
                assert kind == "refused", (client, call, outcome)
                assert len(reason) > 60, (client, call, outcome)
            elif call == "explain":
                assert kind == "not in v2"
            else:
                assert kind == "works", (client, call, outcome)
    assert table.markdown(found) in table.PAGE.read_text()
