"""Order and names."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from maskrt.export.passes import Context, apply
from maskrt.export.passes.tidy import tidy
from tests.export.passes.graphs import FLOAT, SPEC, graph, node, ops

X = ("x", FLOAT, [1, 4])


def shuffled(graph_, context):
    graph_.nodes.reverse()
    return []


def test_nodes_come_in_order():
    model = graph([node("Relu", "x", "a"), node("Exp", "a", "b"), node("Add", "a b", "y")],
                  [X], [("y", FLOAT, [1, 4])])  # fmt: skip
    result, _ = apply(model, [shuffled, tidy], Context(SPEC))
    assert ops(result) == ["Relu", "Exp", "Add"]


def test_an_order_that_is_right_stays(canonical):
    model = canonical("masks, batch 1 to 3")
    result, _ = apply(model, [tidy], Context(SPEC))
    assert [n.name for n in result.graph.node] == [n.name for n in model.graph.node]


def test_names():
    nodes = [
        node("Reshape", "x val_7", "a"),
        node("Reshape", "a 12", "b"),
        node("Add", "b bias", "y"),
    ]
    for made in nodes[:2]:
        made.name = "Reshape"
    nodes[2].name = ""
    shapes = {"val_7": np.array([2, 2]), "12": np.array([1, 4]), "bias": np.ones(4, np.float32)}
    model = graph(nodes, [X], [("y", FLOAT, [1, 4])], shapes)
    result, _ = apply(model, [tidy], Context(SPEC))
    assert [n.name for n in result.graph.node] == ["Reshape", "Reshape_2", "y"]
    names = [list(n.input) for n in result.graph.node]
    assert names == [["x", "Reshape/shape"], ["a", "Reshape_2/shape"], ["b", "bias"]]
    assert {v.name for v in result.graph.value_info} == {"a", "b"}
    assert "fp32" in result.graph.doc_string


def test_the_argument_keeps_its_names():
    model = graph(
        [node("Reshape", "x val_7", "y")], [X], [("y", FLOAT, [4])], {"val_7": np.array([4])}
    )
    apply(model, [tidy], Context(SPEC))
    assert model.graph.initializer[0].name == "val_7"


def test_names_that_are_taken():
    model = graph([node("Reshape", "x 3", "y/shape"), node("Reshape", "y/shape 4", "y")],
                  [X], [("y", FLOAT, [4])],
                  {"3": np.array([2, 2]), "4": np.array([4])})  # fmt: skip
    result, _ = apply(model, [tidy], Context(SPEC))
    names = [name for n in result.graph.node for name in [*n.input, *n.output]]
    assert len(set(names)) == 5  # x, two shapes, and two results
    assert gs.import_onnx(result).tensors(check_duplicates=True)
