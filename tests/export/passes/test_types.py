"""A check of a strongly typed graph's types that knows no runtime, and a test of it."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, defs, helper

from tests.export.passes.graphs import FLOAT, graph, kinds, node

FLOATS = {"FLOAT", "FLOAT16", "BFLOAT16"}
OTHER_TYPE = {"Resize": {1, 2}}


def assert_typed(model: onnx.ModelProto) -> None:
    """Each node's float inputs and outputs have one type, and the graph notes it.

    Our own operators and Cast apart. Where ONNX says that inputs have types of their own, as of
    BatchNormalization, strongly typed networks still want one.
    """
    types = kinds(model)
    for made in model.graph.node:
        if made.domain == "maskrt":
            continue
        if made.op_type == "Cast":
            to = TensorProto.DataType.Name(made.attribute[0].i)
            assert types[made.output[0]] == to, made.name
            assert types[made.input[0]] != to, f"{made.name} casts to what it is"
            continue
        apart = OTHER_TYPE.get(made.op_type, set())
        read = {types[x] for i, x in enumerate(made.input) if x and i not in apart} & FLOATS
        assert len(read) <= 1, f"{made.name}: {read}"
        if made.op_type == "Constant":
            continue
        given = {types[x] for x in made.output if x} & FLOATS
        assert not read or given <= read, f"{made.name}: {read} becomes {given}"
        assert defs.has(made.op_type), made.op_type


def test_it_finds_a_mixture():
    model = graph([node("Relu", "x", "a"), node("Add", "a b", "y")],
                  [("x", FLOAT, [1]), ("b", FLOAT, [1])], [("y", FLOAT, [1])])  # fmt: skip
    assert_typed(model)
    model.graph.input[1].CopyFrom(helper.make_tensor_value_info("b", TensorProto.FLOAT16, [1]))
    with pytest.raises(AssertionError, match="FLOAT16"):
        assert_typed(model)
