"""Tables for terminals: a line for each row, numbers under one another."""

from __future__ import annotations

import numpy as np

from service.codecs.text_table import table


def test_numbers_stand_under_one_another_with_the_row_in_front():
    columns = {"kl": np.array([27.5, 3.25]), "log_px": np.array([-83.0096, -1000.0])}
    assert table(columns, of="image").splitlines() == [
        "image      kl     log_px",
        "    0  27.500    -83.010",
        "    1   3.250  -1000.000",
    ]


def test_a_long_table_keeps_its_columns():
    lines = table({"kl": np.arange(256.0)}, of="image").splitlines()
    assert len(lines) == 257
    assert len(set(map(len, lines))) == 1
    assert lines[-1].split() == ["255", "255.000"]
