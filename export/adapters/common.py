"""What adapters of all frameworks share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from maskrt.export.adapters.coco_names import coco_keypoints, coco_skeleton
from maskrt.spec import Convention, KeypointSpec, RoIPoolSpec


def size_of(x: Tensor) -> tuple[int, int]:
    """Height and width of maps [..., h, w]."""
    return int(x.shape[-2]), int(x.shape[-1])


def roi_features(pool: RoIPoolSpec, features: Sequence[Tensor]) -> Tensor:
    """RoI features of the right shape, for finding the shapes behind them."""
    return features[0].new_zeros(2, features[pool.features[0]].shape[1], *pool.output_size)


def keypoint_spec(
    pool: RoIPoolSpec,
    heatmaps: Tensor,
    names: Sequence[str] | None,
    skeleton: Sequence[tuple[int, int]] | None,
    decode: Convention,
) -> KeypointSpec:
    """What is known of a keypoint head.

    Args:
        pool: of the head.
        heatmaps: some of its outputs, [N, K, h, w].
        names: of the keypoints; default: COCO's for 17.
        skeleton: pairs of keypoints; default: COCO's for 17.
        decode: whose score the keypoints have.

    Raises:
        ValueError: the number of names is another one than K.
    """
    count = heatmaps.shape[1]
    if names is None:
        known = coco_keypoints()
        coco = count == len(known)
        names = known if coco else [f"point{i}" for i in range(count)]
        skeleton = skeleton if skeleton is not None else coco_skeleton() if coco else ()
    if len(names) != count:
        raise ValueError(f"found {len(names)} keypoint names, expected {count}")
    pairs = tuple((int(a), int(b)) for a, b in skeleton or ())
    return KeypointSpec(pool, size_of(heatmaps), tuple(names), pairs, decode)
