"""Input shapes that engines are built for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maskrt.export.builder.options import Profile
from maskrt.manifest import StageTensor
from maskrt.spec import ModelSpec

if TYPE_CHECKING:
    import tensorrt as trt

FRAMES = "frames"
MIN_FRAME = (32, 32)
MAX_FRAME = (4320, 7680)
"""8K, (height, width)."""


def single_profiles(spec: ModelSpec) -> tuple[Profile, ...]:
    """For the whole model in one engine: frames from 32x32 to 8K, tuned for the canvas's size.

    The thresholds are scalars: their shape is known.
    """
    canvas, batch = spec.canvas, spec.batch
    content = (canvas.height, canvas.width)
    shapes = (
        (batch.min, *map(min, MIN_FRAME, content), 3),
        (batch.opt, *content, 3),
        (batch.max, *map(max, MAX_FRAME, content), 3),
    )
    return (Profile({FRAMES: shapes}),)


def stage_profiles(
    inputs: Sequence[StageTensor], spec: ModelSpec, *, rows: tuple[int, int, int] | None = None
) -> tuple[Profile, ...]:
    """For a stage: one profile over all its batches or RoIs; none where all shapes are known.

    One profile for each bucket of RoIs would work as well; it makes TensorRT-RTX's engines larger
    and slower to build, and the caller would have to change profiles.

    Args:
        inputs: of the stage.
        spec: of the model.
        rows: smallest, most frequent and largest number of RoIs, of all frames; None: from 1 to the
            model's proposals (``box_features``) or detections, for the largest batch.
    """
    batch = spec.batch
    shapes = {}
    for tensor in inputs:
        if not {"B", "N"} & set(tensor.shape):
            continue
        each = spec.rpn.num_rois if tensor.name == "box_features" else spec.detection.max_detections
        low, opt, high = rows or (1, each * batch.opt, each * batch.max)
        shapes[tensor.name] = (
            tensor.sides(batch.min, low),
            tensor.sides(batch.opt, opt),
            tensor.sides(batch.max, high),
        )
    return (Profile(shapes),) if shapes else ()


def add_profiles(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    profiles: Sequence[Profile],
) -> None:
    """Adds the profiles to a build's configuration.

    Raises:
        ValueError: they do not suit the network's inputs.
    """
    inputs: dict[str, tuple[int, ...]] = {}
    for i in range(network.num_inputs):
        tensor: Any = network.get_input(i)
        inputs[tensor.name] = tuple(tensor.shape)
    dynamic = {name for name, shape in inputs.items() if -1 in shape}
    if dynamic and not profiles:
        raise ValueError(f"the inputs {sorted(dynamic)} have dynamic sizes: expected a profile")
    for profile in profiles:
        missing, unknown = dynamic - set(profile.shapes), set(profile.shapes) - set(inputs)
        if missing or unknown:
            raise ValueError(
                f"a profile is for {sorted(profile.shapes)}, expected the inputs {sorted(dynamic)}"
            )
        made: Any = builder.create_optimization_profile()
        for name, shapes in profile.shapes.items():
            for shape in shapes:
                if not _fits(shape, inputs[name]):
                    raise ValueError(
                        f"profile of '{name}': found {shape}, expected the shape {inputs[name]} "
                        "(-1: any)"
                    )
            made.set_shape(name, *shapes)
        if config.add_optimization_profile(made) < 0:
            raise ValueError(f"the library refuses the profile {profile.shapes}")


def _fits(shape: tuple[int, ...], allowed: tuple[int, ...]) -> bool:
    return len(shape) == len(allowed) and all(
        side in (-1, given) for given, side in zip(shape, allowed, strict=True)
    )
