"""Function bodies go, their nodes and domain stay."""

from __future__ import annotations

from maskrt.export.canonical import read_spec
from maskrt.export.passes import Context, apply
from maskrt.export.passes.drop_functions import drop_functions


def test_before_and_after(canonical):
    model = canonical("masks")
    result, notes = apply(model, [drop_functions], Context(read_spec(model, "model")))
    assert len(model.functions) == 5
    assert not result.functions
    assert not notes
    assert [n.op_type for n in result.graph.node] == [n.op_type for n in model.graph.node]
    assert "maskrt" in [opset.domain for opset in result.opset_import]


def test_inputs_with_a_default_keep_it(canonical):
    model = canonical("masks")
    result, _ = apply(model, [drop_functions], Context(read_spec(model, "model")))
    assert result.graph.input == model.graph.input
    names = {tensor.name for tensor in result.graph.initializer}
    assert {"score_threshold", "nms_threshold"} <= names
