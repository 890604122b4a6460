"""JSON documents: what is answered is a value of the class that describes it, and a client can read it so."""

from __future__ import annotations

import pytest
from http_calls import Caller

from service.api.native.models import ModelFacts, ModelList
from service.api.operators.health import Alive, Ready
from service.api.operators.limits_table import LimitTable
from service.http.document import Document
from service.http.problem_documents import Problem, ProblemRow, ProblemTable


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/models", ModelList),
        ("/models/mnist@2", ModelFacts),
        ("/models/plain", ModelFacts),
        ("/limits", LimitTable),
        ("/livez", Alive),
        ("/readyz", Ready),
        ("/problems/too-busy", ProblemRow),
        ("/models/none", Problem),
        ("/sample?n=0&x=1", Problem),
    ],
)
def test_answer_is_a_document_of_its_class(api: Caller, target: str, kind: type[Document]) -> None:
    answer = api.get(target)
    document = kind.model_validate_json(answer.body)
    assert document.to_json() == answer.body


def test_table_of_problems_is_one_too(api: Caller) -> None:
    answer = api.get("/problems", {"accept": "application/json"})
    assert ProblemTable.model_validate_json(answer.body).to_json() == answer.body


def test_document_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        Alive.model_validate_json(b'{"status": "alive", "since": 3}')
