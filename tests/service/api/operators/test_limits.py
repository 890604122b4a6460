"""One table of limits: what it says is what the server does, and everything else that tells limits agrees."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_calls import Answer, Caller
from openapi_checks import content_of, parameters_of
from PIL import Image

from service.api.operators.limits_table import limit_table, table_markdown, table_text
from service.app import create_app
from service.cli import main
from service.http.problems import PROBLEMS
from service.settings import Settings, describe_settings

PAGE = (Path(__file__).resolve().parents[4] / "docs/reference/limits.md").read_text()


@pytest.fixture(scope="module")
def told(api: Caller) -> dict[str, Any]:
    return {row["name"]: row for row in api.get("/limits").json()["limits"]}


def test_page_holds_the_table() -> None:
    table = table_markdown(limit_table(Settings()))
    assert table in PAGE, "run: make docs"


def test_command_prints_the_table_with_the_settings_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["limits"]) == 0
    assert capsys.readouterr().out == table_markdown(limit_table(Settings()))
    assert main(["limits", "--max-images", "17"]) == 0
    assert "17 images" in capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 132])
def test_terminal_gets_lines_that_fit_it(width: int) -> None:
    table = limit_table(Settings())
    text = table_text(table, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "|" not in text
    for row in table.limits:
        assert f"\n{row.name}{' *' if row.setting else ''}  " in text
        assert all(code in text for code in row.codes)
    assert "4,194,304 pixels" in text


def test_every_row_names_what_happens_and_every_code_its_status(told: Mapping[str, Any]) -> None:
    assert len(told) >= 20
    flags = {d.flag: d.variable for d in describe_settings()}
    for name, row in told.items():
        assert row["of"], name
        assert row["beyond"], name
        assert row["value"] > 0
        assert {PROBLEMS[code].status for code in row["codes"]} == ({row["status"]} - {None}), name
        if row["setting"] is not None:
            assert flags[row["setting"]["flag"]] == row["setting"]["variable"]


def test_every_setting_that_bounds_something_is_told(told: Mapping[str, Any]) -> None:
    for setting in describe_settings():
        if setting.field.startswith("max_") or setting.field.endswith("_timeout_s"):
            assert setting.field in told, f"service.api.operators.limits_table has no row for {setting.field}"
            assert told[setting.field]["unit"] == setting.unit


def test_values_are_those_of_the_settings(tiny_store: Path) -> None:
    settings = Settings(model_store=tiny_store, threads=1, max_images=3, max_body_bytes=2048, keep_alive_s=9)
    with Caller(create_app(settings)) as api:
        values = {row["name"]: row["value"] for row in api.get("/limits").json()["limits"]}
        example = api.get("/openapi.json").json()["paths"]["/limits"]["get"]["responses"]["200"]["content"]
        assert example["application/json"]["example"] == api.get("/limits").json()
    assert (values["max_images"], values["max_body_bytes"], values["keep_alive_s"]) == (3, 2048, 9)


def test_document_tells_the_same_bounds(api: Caller, told: Mapping[str, Any]) -> None:
    document = api.get("/openapi.json").json()
    query = {
        name: parameter["schema"]
        for name, parameter in parameters_of(document, document["paths"]["/sample"]["get"]).items()
    }
    schemas = document["components"]["schemas"]
    value = {name: row["value"] for name, row in told.items()}
    most_drawn = "max_stream_images" if "max_stream_images" in value else "max_images"
    assert query["n"]["maximum"] == value[most_drawn]
    assert query["seed"]["maximum"] == value["max_seed"]
    assert query["temperature"]["maximum"] == value["max_temperature"]
    assert query["label"]["maxLength"] == value["max_label_characters"]
    assert query["scale"]["maximum"] == value["max_scale"]
    assert query["columns"]["maximum"] == value["max_columns"]
    assert query["model"]["maxLength"] == value["max_reference_characters"]
    assert schemas["Images"]["maxItems"] == schemas["ImagesIn"]["maxItems"] == value["max_images"]
    assert schemas["LatentsIn"]["items"]["items"]["maximum"] == value["max_latent"]
    body = document["paths"]["/encode"]["post"]["requestBody"]
    png = content_of(document, body)["image/png"]["schema"]
    assert f"{value['max_picture_pixels']:,} pixels" in png["description"]


def nested(levels: int) -> bytes:
    """A JSON object of so many levels, itself the first."""
    return b'{"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def npy(rows: int, *shape: int) -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros((rows, *shape), np.float32))
    return out.getvalue()


def png(pixels: int) -> bytes:
    """So many pixels in 16 rows, the last one longer than fits if there is a rest."""
    out = io.BytesIO()
    Image.new("L", (16, -(-pixels // 16))).save(out, "PNG")
    return out.getvalue()


def reference(characters: int) -> str:
    return "a" * 64 + "@" + "a" * (characters - 65)


def query_of(size: int) -> str:
    return "model=" + "a" * (size - 6)


#: How to ask for exactly so much; what is within a limit may be refused for another reason.
ASK: dict[str, Callable[[Caller, Any], Answer]] = {
    "max_images": lambda api, n: api.post("/encode", npy(n, 28, 28), "application/x-npy"),
    "max_scale": lambda api, n: api.get(f"/sample.png?scale={n}"),
    "max_columns": lambda api, n: api.get(f"/sample.png?columns={n}"),
    "max_latent": lambda api, n: api.post_json("/decode", {"z": [[-n] * 8]}),
    "max_temperature": lambda api, n: api.get(f"/sample?temperature={n}"),
    "max_span": lambda api, n: api.get(f"/traverse?span={n}"),
    "max_score_draws": lambda api, n: api.post(
        f"/score?importance_samples={n}", npy(1, 28, 28), "application/x-npy"
    ),
    "max_seed": lambda api, n: api.get(f"/sample?seed={n}"),
    "max_label_characters": lambda api, n: api.get(f"/sample?label={'a' * n}"),
    "max_json_levels": lambda api, n: api.post("/encode", nested(n)),
    "max_query_bytes": lambda api, n: api.get(f"/models?{query_of(n)}"),
    "max_query_parameters": lambda api, n: api.get("/models?" + "&".join(f"a{i}=1" for i in range(n))),
    "max_reference_characters": lambda api, n: api.get(f"/sample?model={reference(n)}"),
    "max_body_bytes": lambda api, n: api.post("/sample", b" " * n),
    "max_picture_pixels": lambda api, n: api.post("/encode?resize=true", png(n), "image/png"),
}


@pytest.mark.parametrize("name", ASK)
def test_limit_is_where_the_table_says(api: Caller, told: Mapping[str, Any], name: str) -> None:
    row = told[name]
    beyond = row["value"] + 1
    refused = ASK[name](api, beyond)
    assert (refused.status, refused.code in row["codes"]) == (row["status"], True), refused.body[:300]
    assert refused.code is not None
    within = ASK[name](api, int(row["value"]))
    if within.status >= 400:
        # Refused for something else: the sentences differ by more than the number.
        strip = str.maketrans("", "", "0123456789")
        assert within.json()["detail"].translate(strip) != refused.json()["detail"].translate(strip)


def test_lowered_picture_bound_is_kept(tiny_store: Path) -> None:
    settings = Settings(model_store=tiny_store, threads=1, max_png_pixels=28 * 28 * 4)
    with Caller(create_app(settings)) as api:
        assert api.get("/sample.png?scale=2").status == 200
        refused = api.get("/sample.png?scale=3")
        assert (refused.status, refused.code) == (422, "invalid-value")


def test_answer_is_small_and_never_changes(api: Caller) -> None:
    one, two = api.get("/limits"), api.get("/limits")
    assert one.body == two.body
    assert len(one.body) < 16_000
    assert json.loads(one.body)["limits"]
