"""The benchmark itself: what it reads, what it compares, and, with the marker, that all of it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from comparison.__main__ import main as comparison_main
from comparison.h2load import read_window
from comparison.pair import Pair, expected_mu, mlp_pair
from comparison.protocols import Judged, Rates, judge_others, one_image, table_of
from comparison.raw import run_raw
from comparison.ray_cost import table_row
from comparison.revisions import at_revision, store_of
from comparison.rounds import AS_SHOWN, BATCHES, RAW, SAMPLE, V2_BATCHES, V2_ONE, Figures, encode_at
from comparison.systems import ASGI, BARE_GRPC, OURS, TUTORIAL, mu_of, others
from comparison.table import BARS, BEGIN, END, PAGE, judged, markdown, misses, write_between_markers
from comparison.wrk import read_result

REPOSITORY = Path(__file__).resolve().parents[2]
PAIRS = [("mlp", "MLP pair")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return mlp_pair(tmp_path_factory.mktemp("pair"))


def figures_of_a_good_day() -> Figures:
    """Every bar of the MLP pair met."""
    figures = Figures()
    add = figures.add
    add("mlp", RAW, BATCHES, images_per_s=100_000)
    add("mlp", RAW, encode_at(1), p50_ms=0.02)
    add("mlp", RAW, SAMPLE, p50_ms=0.03)
    for per_s in (5000, 6000, 60_000):  # a median, not a mean
        add("mlp", OURS, encode_at(32), per_s=per_s, p50_ms=5, p99_ms=10, tail=2)
    add("mlp", OURS, encode_at(1), per_s=4000, p50_ms=0.3)
    add("mlp", OURS, SAMPLE, per_s=4000, p50_ms=0.4)
    add("mlp", OURS, BATCHES, per_s=1250)
    add("mlp", OURS, V2_BATCHES, per_s=1250)
    add("mlp", OURS, V2_ONE, per_s=5400)
    add("mlp", OURS, "process", ready_s=1.5, rss_mb=120, idle_percent=0.4)
    add("mlp", ASGI, encode_at(1), p50_ms=0.1)
    add("mlp", ASGI, SAMPLE, p50_ms=0.1)
    add("mlp", TUTORIAL, encode_at(32), per_s=1000)
    add("mlp", TUTORIAL, AS_SHOWN, per_s=500)
    add("mlp", "mosec", encode_at(32), per_s=2000)
    add("mlp", "LitServe", encode_at(32), per_s=500)
    return figures


def test_figures_are_ratios_of_medians_to_the_best_of_the_others() -> None:
    found = judged(figures_of_a_good_day(), "mlp")
    assert found == {
        "batches": pytest.approx(0.8),
        "tutorial": pytest.approx(6),
        "as_shown": pytest.approx(12),
        "others": pytest.approx(3),
        "v2_batches": pytest.approx(1.0),
        "v2_json": pytest.approx(0.9),
        "alone": pytest.approx(0.18),
        "alone_png": pytest.approx(0.27),
        "tail": 2,
        "ready": 1.5,
        "memory": 120,
        "idle": 0.4,
    }
    assert set(found) == set(BARS)
    assert misses(figures_of_a_good_day(), PAIRS) == []


def test_cost_through_ray_is_a_share_of_the_plain_one() -> None:
    assert table_row("MLP pair, npy", 300, 600, 0.4) == "| MLP pair, npy | 300 | 600 | 0.50 (≥ 0.4) |"
    assert "**0.30, missed** (≥ 0.4)" in table_row("MLP pair, npy", 300, 1000, 0.4)


def test_bar_that_is_missed_is_told_and_shown() -> None:
    figures = figures_of_a_good_day()
    figures.add("mlp", "BentoML", encode_at(32), per_s=4000)
    assert len(misses(figures, PAIRS)) == 1
    assert "**1.50×, missed** | ≥ 2×" in markdown(figures, PAIRS, heading="Two cores.")


def test_what_was_not_measured_is_a_dash_and_no_miss() -> None:
    figures = Figures()
    figures.add("mlp", OURS, encode_at(32), per_s=1000, p50_ms=1, p99_ms=2, tail=2)
    text = markdown(figures, PAIRS, heading="Two cores.")
    assert "| – | ≥ 5× |" in text
    assert misses(figures, PAIRS) == []


def test_every_line_of_a_table_has_as_many_cells() -> None:
    blocks = markdown(figures_of_a_good_day(), PAIRS, heading="Two cores.").split("\n\n")[1:]
    assert len(blocks) == 3
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_table_goes_between_the_markers_and_nothing_else_changes(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold \\1\n{END}\nafter\n")
    for _ in range(2):
        write_between_markers(readme, "new \\1")
        assert readme.read_text() == f"before\n{BEGIN}\nnew \\1\n{END}\nafter\n"
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="expected one line"):
        write_between_markers(readme, "new")


def test_page_has_the_markers() -> None:
    text = PAGE.read_text()
    assert text.count(BEGIN) == text.count(END) == 1


def test_line_of_the_load_script_is_read() -> None:
    window = read_result(
        "Running 1s test\n"
        'RESULT {"requests": 110, "took_us": 500000, "p50_us": 250, "p99_us": 900, '
        '"refused": 10, "broken": 2}\n'
    )
    assert (window.per_s, window.p50_ms, window.p99_ms, window.failed) == (200, 0.25, 0.9, 12)
    with pytest.raises(RuntimeError, match="expected answers, got none"):
        read_result("unable to connect to 127.0.0.1:1")


def test_raw_runs_are_counted_in_images(pair: Pair) -> None:
    runs = run_raw(pair.encoder, batch=16, threads=1, callers=2, window_s=0.1)
    assert runs.images_per_s > 0
    assert runs.p50_ms > 0


def test_right_answer_is_recognised_in_both_protocols(pair: Pair) -> None:
    mu = expected_mu(pair)
    assert mu.shape == (1, 20)
    assert np.array_equal(mu_of({"mu": mu.tolist()}), mu)
    outputs = [{"name": "logvar"}, {"name": "mu", "shape": [1, 20], "data": mu.ravel().tolist()}]
    assert np.array_equal(mu_of({"outputs": outputs}), mu)


def test_every_other_server_has_a_short_adapter_and_its_requirements() -> None:
    for system in others():
        adapter = system.folder / "adapter.py"
        assert len(adapter.read_text().splitlines()) <= 60
        assert (system.folder / "requirements.txt").is_file()
        assert system.folder.name in (REPOSITORY / "Makefile").read_text()


def rates_of_a_day(**per_s: float) -> Rates:
    rates = Rates()
    for system, value in per_s.items():
        for measure in ("gRPC 1", "gRPC 32", "gRPC CPU µs", "REST 32"):
            for part in (0.5, 1, 40):  # a median, not a mean
                rates.add(system, "1 × 1", measure, value * part)
                rates.add(system, "2 × 1", measure, value * part * 0.9)
    return rates


def test_grpc_is_judged_by_the_best_of_the_other_servers() -> None:
    (judged,) = judge_others("MLP pair", rates_of_a_day(**{OURS: 3000}, MLServer=1500, KServe=1000))
    assert (judged.figure, judged.is_met, judged.line().count("missed")) == (2.0, True, 0)
    (judged,) = judge_others("MLP pair", rates_of_a_day(**{OURS: 3000}, MLServer=1501, KServe=1000))
    assert (judged.is_met, "**2.00, missed** | ≥ 2 |" in judged.line()) == (False, True)
    assert judge_others("MLP pair", rates_of_a_day(**{OURS: 3000})) == []
    assert judge_others("MLP pair", rates_of_a_day(**{OURS: 3000, BARE_GRPC: 9000})) == []
    assert Judged("MLP pair", "cost", 2.2, "≤", 2.2).is_met
    assert not Judged("MLP pair", "cost", 2.21, "≤", 2.2).is_met


def test_table_of_the_protocols_has_a_line_for_each_server() -> None:
    head, _, *lines = table_of("MLP pair", rates_of_a_day(**{OURS: 3000}, MLServer=1500))
    assert [line.count("|") for line in lines[:2]] == [head.count("|")] * 2
    cells = "| MLServer | 1,500 [1 × 1] | 1,500 [1 × 1] | 1,350 µs [2 × 1] | 1,500 [1 × 1] |"
    assert lines[1] == cells, "each figure at its best setting"


def test_other_revision_is_that_of_its_interpreter(tmp_path: Path) -> None:
    python = Path(sys.executable)
    assert (store_of(python) / "mnist").is_dir()
    system = at_revision(python)
    assert (system.command[0], system.environment) == (str(python), {})
    (tmp_path / "python").write_text("#!/bin/sh\necho no module named model_store >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(RuntimeError, match=r"expected an environment with this project[^\0]*no module"):
        store_of(tmp_path / "python")


@pytest.mark.parametrize("arguments", [["revisions"], ["split", "--before", "python"]])
def test_revisions_need_the_other_one(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["comparison", *arguments])
    with pytest.raises(SystemExit, match="2"):
        comparison_main()
    assert "revisions and --before go together" in capsys.readouterr().err


def test_lines_of_h2load_are_read() -> None:
    window = read_window(
        "finished in 2.00s, 1234.50 req/s, 500.00KB/s\n"
        "requests: 2469 total, 3703 started, 3703 done, 3700 succeeded, 3 failed, 0 errored, 0 timeout\n"
        "status codes: 3700 2xx, 0 3xx, 0 4xx, 0 5xx\n"
        "traffic: 1.00MB (1000000) total, 100.00KB (100000) headers (space savings 9%), 740KB (740600) data\n"
    )
    assert (window.per_s, window.requests, window.failed) == (1234.5, 3703, 3)
    assert window.bytes_each == 200
    with pytest.raises(RuntimeError, match="expected answers, got none"):
        read_window("finished in 2.00s, 0.00 req/s, 0B/s", "connection refused")


def test_message_of_the_load_has_one_raw_image() -> None:
    from service.api.open_inference.grpc.definitions import message

    found = message("inference.ModelInferRequest").FromString(one_image("vae"))
    assert (found.model_name, list(found.inputs[0].shape)) == ("vae", [1, 1, 28, 28])
    assert [len(raw) for raw in found.raw_input_contents] == [784 * 4]


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_comparison_runs_from_begin_to_end() -> None:
    """Briefly: `make bench` takes the real figures."""
    folders = ("tests/benchmarks", "tests/support", ".")
    done = subprocess.run(
        [sys.executable, "-m", "comparison", "--quick"],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(REPOSITORY / folder) for folder in folders),
            "ORT_DISABLE_TELEMETRY": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode in (0, 1), done.stderr
    assert OURS in done.stdout
    assert "Left out or failed" not in done.stdout
