"""What OpenVINO computes on this processor."""

from __future__ import annotations

from functools import cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper


@cache
def openvino_saturates() -> bool:
    """Whether this processor's sums of INT8 products are wrong in OpenVINO.

    Without VNNI it adds two products in 16 bits, which do not hold them: a convolution of nothing
    but the largest values shows it. How much a model loses by that is not what tests compare.
    """
    import openvino

    channels, names = 64, ["scale", "zero", "weight"]
    values = np.float32(1), np.int8(0), np.full((channels, channels, 1, 1), 127, np.int8)
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            helper.make_node("DequantizeLinear", ["weight", "scale", "zero"], ["w"]),
            helper.make_node("Conv", ["d", "w"], ["y"]),
        ],
        "largest values",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(v), n) for n, v in zip(names, values, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
    given = np.full((1, channels, 8, 8), 127, np.float32)
    return bool(compiled({"x": given})[0].max() < 0.99 * channels * 127 * 127)
