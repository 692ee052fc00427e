"""Multi-level RoIAlign on the CPU: 256 channels, strides 4 to 32 of an 800x1344 canvas.

- maskrt: the native operator on [N, C, H, W] maps, which it rearranges within the call.
- maskrt, channels last: the same on maps that lie so already.
- torchvision: ``MultiScaleRoIAlign``.
- ONNX Runtime: the canonical operator's ONNX body, one RoiAlign for each level.

Sides of the RoIs are log-uniform from 28 to 448 canvas pixels, with ratios of 1:2 to 2:1.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from benchmarks.pyramid import CANVAS, CHANNELS, STRIDES, Floats, random_rois
from benchmarks.timing import Case
from maskrt.export.functions import OPSET, function_for
from maskrt.plugins import ops
from maskrt.plugins.ops.arguments import Layout
from maskrt.spec import DOMAIN


def onnxruntime_session(
    maps: list[Floats], size: int, ratio: int, threads: int
) -> onnxruntime.InferenceSession:
    """A model of nothing but the canonical operator."""
    names = [f"feature{i}" for i in range(len(maps))]
    node = helper.make_node(
        "MultilevelRoIAlign",
        ["rois", "count", *names],
        ["pooled"],
        domain=DOMAIN,
        output_height=size,
        output_width=size,
        spatial_scales=[1 / stride for stride in STRIDES],
        sampling_ratio=ratio,
        coordinate_transformation_mode="output_half_pixel",
        min_level=2,
        canonical_size=224.0,
        canonical_level=4,
        epsilon=1e-6,
        log_epsilon=0.0,
    )
    inputs = [
        helper.make_tensor_value_info("rois", TensorProto.FLOAT, [1, None, 4]),
        helper.make_tensor_value_info("count", TensorProto.INT32, [1]),
        *(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, m.shape)
            for name, m in zip(names, maps, strict=True)
        ),
    ]
    output = helper.make_tensor_value_info("pooled", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph([node], "pool", inputs, [output]),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        functions=[function_for(node)],
    )
    model.ir_version = min(model.ir_version, onnx.IR_VERSION, 10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def case(count: int, size: int, ratio: int, threads: int) -> Case:
    """One number of RoIs and bins."""
    rng = np.random.default_rng(0)
    high, wide = CANVAS
    maps = [
        rng.standard_normal((1, CHANNELS, high // s, wide // s), dtype=np.float32) for s in STRIDES
    ]
    last = [np.ascontiguousarray(m.transpose(0, 2, 3, 1)) for m in maps]
    rois = random_rois(count, rng)
    scales = [1 / stride for stride in STRIDES]

    pooler = MultiScaleRoIAlign([str(i) for i in range(len(maps))], size, ratio or -1)
    pooler.scales, pooler.map_levels = scales, initLevelMapper(2, 5)  # as its set-up would find
    tensors = {str(i): torch.from_numpy(m) for i, m in enumerate(maps)}
    session = onnxruntime_session(maps, size, ratio, threads)
    feeds = {f"feature{i}": m for i, m in enumerate(maps)}
    feeds |= {"rois": rois[None], "count": np.array([count], np.int32)}

    def torchvision_pooler() -> Floats:
        pooled: Floats = pooler(tensors, [torch.from_numpy(rois)], [CANVAS]).numpy()
        return pooled

    def native(layout: Layout) -> Floats:
        return ops.multilevel_roi_align(
            rois,
            last if layout == "channels_last" else maps,
            output_size=(size, size),
            spatial_scales=scales,
            sampling_ratio=ratio,
            layout=layout,
            threads=threads,
        )

    expected = torchvision_pooler()

    def difference(pooled: Floats) -> str:
        if pooled.shape != expected.shape:
            pooled = pooled.transpose(0, 3, 1, 2)
        return f"{np.abs(pooled - expected).max():.1e}"

    return Case(
        f"MultilevelRoIAlign: {count} RoIs x {CHANNELS} x {size}x{size}, "
        f"sampling {ratio or 'adaptive'}",
        {
            "maskrt": lambda: native("linear"),
            "maskrt, channels last": lambda: native("channels_last"),
            "torchvision": torchvision_pooler,
            "ONNX Runtime": lambda: session.run(None, feeds)[0],
        },
        ("torchvision", "ONNX Runtime"),
        difference,
    )


def cases(threads: int) -> list[Case]:
    """The box head's and the mask head's pools."""
    sizes = [(1000, 7, 2), (1000, 7, 0), (100, 14, 2)]
    return [case(*size, threads) for size in sizes]
