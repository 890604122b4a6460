"""Hostile graphs are refused by what they hold, before any runtime sees them; honest ones pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hostile_graphs import field, refused
from onnx import TensorProto, helper, numpy_helper
from tiny_models import OPSET, TinyModel, make_model

from model_store import GraphSpec
from model_store.onnx_guard import RANDOM_OPERATORS, UNBOUNDED_OPERATORS, check_graph

pytestmark = pytest.mark.hazard_row("hostile-graph")

# --- what must pass -------------------------------------------------------------------------------------


def test_honest_graphs_pass(tiny: TinyModel) -> None:
    draft = tiny.draft()
    check_graph(tiny.encoder, draft.encoder, where="e")
    check_graph(tiny.decoder, draft.decoder, where="d")
    check_graph(tiny.decoder_of_nan, draft.decoder, where="d")
    onnx.checker.check_model(tiny.encoder_proto(), full_check=True)
    onnx.checker.check_model(tiny.decoder_proto(), full_check=True)


def test_a_domain_written_out_is_the_default_domain(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    proto.opset_import[0].domain = "ai.onnx"
    proto.graph.node[0].domain = "ai.onnx"
    check_graph(proto.SerializeToString(), spec, where="e")


def test_a_branch_with_honest_content_passes(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    check_graph(
        with_subgraph(proto, helper.make_node("Neg", ["mu"], ["inner"])).SerializeToString(), spec, where="e"
    )


# --- what must not --------------------------------------------------------------------------------------


def external(tensor: onnx.TensorProto, location: str = "../../../etc/passwd") -> onnx.TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def with_subgraph(
    proto: onnx.ModelProto, *nodes: onnx.NodeProto, weights: Any = (), levels: int = 1
) -> onnx.ModelProto:
    """The same model with an If, `levels` deep, whose innermost branches hold `nodes`."""
    result = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "branch", [], [result], list(weights))
    for _ in range(levels - 1):
        nested = helper.make_node("If", ["condition"], ["inner"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([nested], "branch", [], [result])
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    proto.graph.node.append(
        helper.make_node("If", ["condition"], ["unused"], then_branch=graph, else_branch=graph)
    )
    return proto


def test_external_data_is_refused_wherever_a_tensor_can_be(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    def tensor() -> onnx.TensorProto:
        return external(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1]))

    places: list[Callable[[onnx.ModelProto], object]] = [
        lambda model: external(model.graph.initializer[0]),
        lambda model: model.graph.initializer.append(tensor()),
        lambda model: model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor())),
        lambda model: model.graph.node[0].attribute.append(helper.make_attribute("many", [tensor()])),
        lambda model: with_subgraph(model, helper.make_node("Constant", [], ["inner"], value=tensor())),
        lambda model: with_subgraph(model, helper.make_node("Neg", ["w"], ["inner"]), weights=[tensor()]),
        lambda model: with_subgraph(
            model, helper.make_node("Neg", ["w"], ["inner"]), weights=[tensor()], levels=4
        ),
    ]
    for place in places:
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        place(changed)
        refused(changed, spec, "external data")


@pytest.mark.parametrize("location", [1, 2, 2**32, 2**32 + 1, 2**63, 2**64 - 1])
def test_a_data_location_that_some_parser_could_read_as_external_is_refused(
    proto: onnx.ModelProto, spec: GraphSpec, location: int
) -> None:
    """Parsers cut an enum to 32 bits: 2**32 + 1 is EXTERNAL to them."""
    tensor = field(8, b"w") + field(14, location)
    graph = proto.graph.SerializeToString() + field(5, tensor)
    refused(field(7, graph) + field(8, field(2, OPSET)), spec, "external data")


@pytest.mark.parametrize("operator", sorted(RANDOM_OPERATORS))
@pytest.mark.parametrize("levels", [0, 1, 4])
def test_random_operators_are_refused_in_the_graph_and_below(
    proto: onnx.ModelProto, spec: GraphSpec, operator: str, levels: int
) -> None:
    node = helper.make_node(operator, ["mu"], ["inner"])
    if levels:
        with_subgraph(proto, node, levels=levels)
    else:
        proto.graph.node.append(node)
    refused(proto, spec, f"no randomness.*{operator}")


def test_every_operator_that_onnx_calls_random_is_known_here() -> None:
    """A later ONNX with another random operator fails this test, and not the users' seeds."""
    schemas: Any = onnx.defs.get_all_schemas_with_history()
    doubtful = {
        schema.name
        for schema in schemas
        if schema.domain == ""
        and schema.node_determinism == onnx.defs.OpSchema.NodeDeterminism.NonDeterministic
    }
    assert doubtful >= RANDOM_OPERATORS
    # The rest holds a subgraph and is as random as its content, or is told apart by an input.
    assert doubtful - RANDOM_OPERATORS <= {"If", "Loop", "Scan", "SequenceMap", "Dropout", "AffineGrid"}


def test_dropout_passes_at_rest_and_is_refused_in_training(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    proto.graph.node.append(helper.make_node("Dropout", ["mu", ""], ["d"]))
    check_graph(proto.SerializeToString(), spec, where="e")
    proto.graph.node.append(helper.make_node("Dropout", ["mu", "", "training"], ["d2"]))
    refused(proto, spec, "Dropout with a training_mode")


def test_a_batch_norm_in_training_mode_is_refused(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    node = helper.make_node("BatchNormalization", list("abcde"), ["n"], training_mode=1)
    proto.graph.node.append(node)
    refused(proto, spec, "rest of the batch.*BatchNormalization")
    node.attribute[0].i = 0
    del proto.graph.node[-1]
    proto.graph.node.append(node)
    check_graph(proto.SerializeToString(), spec, where="e")


@pytest.mark.parametrize("operator", sorted(UNBOUNDED_OPERATORS))
def test_unbounded_loops_are_refused(proto: onnx.ModelProto, spec: GraphSpec, operator: str) -> None:
    proto.graph.node.append(helper.make_node(operator, ["n", "c"], ["out"]))
    refused(proto, spec, "no unbounded loop")


@pytest.mark.parametrize(
    "domain", ["com.microsoft", "ai.onnx.ml", "ai.onnx.preview.training", "evil", " ", "ai.onnx "]
)
def test_operators_of_other_domains_are_refused(proto: onnx.ModelProto, spec: GraphSpec, domain: str) -> None:
    proto.graph.node.append(helper.make_node("Gelu", ["mu"], ["g"], domain=domain))
    refused(proto, spec, "domain 'ai.onnx' only")
    del proto.graph.node[-1]
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    refused(proto, spec, "and no other")


def test_a_foreign_operator_in_a_branch_of_a_branch_is_refused(
    proto: onnx.ModelProto, spec: GraphSpec
) -> None:
    node = helper.make_node("Anything", ["mu"], ["inner"], domain="com.microsoft")
    refused(with_subgraph(proto, node, levels=3), spec, "'Anything' of 'com.microsoft'")


def test_functions_training_graphs_sparse_tensors_and_placement_are_refused(
    proto: onnx.ModelProto, spec: GraphSpec
) -> None:
    function = helper.make_function("local", "f", ["a"], ["b"], [], [helper.make_opsetid("", OPSET)])
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32), "v"),
        numpy_helper.from_array(np.zeros(1, np.int64)),
        [2**40],
    )
    attacks: list[tuple[Callable[[onnx.ModelProto], object], str]] = [
        (lambda model: model.functions.append(function), "functions are refused"),
        (lambda model: model.training_info.add(), "training graphs"),
        (lambda model: model.graph.sparse_initializer.append(sparse), "sparse"),
        (
            lambda model: model.graph.node.append(
                helper.make_node("Constant", [], ["s"], sparse_value=sparse)
            ),
            "sparse",
        ),
        (lambda model: model.configuration.add(name="gpu", num_devices=1), "device placement"),
        (
            lambda model: model.graph.initializer[0].segment.MergeFrom(TensorProto.Segment(begin=0, end=1)),
            "pieces",
        ),
        (lambda model: setattr(model.graph.node[0], "overload", "x"), "functions"),
        (lambda model: model.metadata_props.add(key="ort_config", value="{}"), "runtime settings"),
        (
            lambda model: setattr(model.graph.node[1].attribute.add(name="alpha"), "ref_attr_name", "a"),
            "functions",
        ),
    ]
    for change, reason in attacks:
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        change(changed)
        refused(changed, spec, reason)


def test_inputs_and_outputs_other_than_the_manifests_are_refused(tiny: TinyModel, spec: GraphSpec) -> None:
    image: Any = ("batch", 1, 4, 4)
    latent: Any = ("batch", 2)
    honest = {"x": image}, {"mu": latent, "logvar": latent}
    wrong: Any = (
        ({"y": image}, honest[1], r"graph inputs \['x'\]"),
        ({"x": image, "extra": image}, honest[1], "graph inputs"),
        ({}, honest[1], "graph inputs"),
        (honest[0], {"mu": latent}, "graph outputs"),
        (honest[0], {**honest[1], "x": image}, "graph outputs"),
        (
            {"x": ("batch", 1, 4, 5)},
            honest[1],
            r"input 'x' as float32 \(batch, 1, 4, 4\), got .*\(open, 1, 4, 5\)",
        ),
        ({"x": ("batch", 16)}, honest[1], "input 'x'"),
        ({"x": (1, 1, 4, 4)}, honest[1], "input 'x'"),
        ({"x": ("batch", 1, "h", "w")}, honest[1], "input 'x'"),
        (honest[0], {"mu": latent, "logvar": ("batch", 3)}, "output 'logvar'"),
    )
    for inputs, outputs, reason in wrong:
        refused(make_model([], inputs, outputs, {}), spec, reason)
    check_graph(make_model([], *honest, {}).SerializeToString(), spec, where="e")


def test_a_type_other_than_float32_or_no_type_is_refused(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    for element in (TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT64, 0):
        proto.graph.input[0].type.tensor_type.elem_type = element
        refused(proto, spec, "input 'x'")
    proto.graph.input[0].ClearField("type")
    refused(proto, spec, "no tensor type")
    proto.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    refused(proto, spec, "no tensor type")


def test_a_weight_that_replaces_an_input_is_refused(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    """An initializer of an input's name makes the input optional: the model would ignore the image."""
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1, 4, 4), np.float32), "x"))
    refused(proto, spec, "initializer of that name")


@pytest.mark.parametrize("versions", [[], [19], [21], [OPSET, OPSET], [0]])
def test_another_opset_than_the_manifests_is_refused(
    proto: onnx.ModelProto, spec: GraphSpec, versions: list[int]
) -> None:
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid("", version) for version in versions)
    refused(proto, spec, "opset 20")
