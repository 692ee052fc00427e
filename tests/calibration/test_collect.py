from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from maskrt.calibration import collect as module
from maskrt.calibration.collect import collect
from maskrt.calibration.histogram import Histogram
from maskrt.calibration.ranges import RangeStore, load_ranges
from maskrt.errors import FrameError, MaskrtError
from maskrt.examples.shapes import data
from maskrt.spec import DOMAIN

Canonical = Callable[..., Path]
Frames = list[NDArray[np.uint8]]
TRUNK = ("backbone/body/conv1/Conv", "backbone/fpn/layer_blocks/0/Conv", "Concat")
BOX = ("MultilevelRoIAlign", "box_head/head/Relu", "Reshape_14")
MASK = ("MultilevelRoIAlign_2", "mask_head/head/1/0/Conv", "mask_head/predictor/relu/Relu")


@pytest.fixture(scope="module")
def model(canonical: Canonical) -> onnx.ModelProto:
    return onnx.load(canonical("mask_rcnn"))


@pytest.fixture(scope="module")
def frames() -> Frames:
    pictures = [data.image(i, seed=0, split="train")[0] for i in range(3)]
    return [*pictures, np.zeros((100, 150, 3), np.uint8)]  # nothing is on the last one


@pytest.fixture(scope="module")
def names(model: onnx.ModelProto) -> list[str]:
    known = {name for node in model.graph.node for name in node.output}
    found = [name for name in (*TRUNK, *BOX, *MASK) if name in known]
    assert set(BOX) | set(MASK) <= set(found)
    assert len(found) >= 8
    return found


@pytest.fixture(scope="module")
def whole(model: onnx.ModelProto, frames: Frames, names: list[str]) -> dict[str, Histogram]:
    return collect(model, names, frames)


def plain(
    model: onnx.ModelProto, frame: NDArray[np.uint8], names: list[str]
) -> dict[str, NDArray[Any]]:
    """Without any optimisation."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    counts = ["Proposals:1", "num_detections"]
    for name in [*names, counts[0]]:
        changed.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(changed.SerializeToString(), options)
    wanted = [*names, *counts]
    return dict(zip(wanted, session.run(wanted, {"frames": frame[None]}), strict=True))


def same(a: dict[str, Histogram], b: dict[str, Histogram]) -> bool:
    return a.keys() == b.keys() and all(
        (a[n].counts == b[n].counts).all()
        and (a[n].exponent, a[n].lowest, a[n].highest) == (b[n].exponent, b[n].lowest, b[n].highest)
        for n in a
    )


def test_all_values_of_what_exists(
    model: onnx.ModelProto, frames: Frames, names: list[str], whole: dict[str, Histogram]
) -> None:
    expected: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    found_none = False
    for frame in frames:
        values = plain(model, frame, names)
        rois, detections = int(values["Proposals:1"][0]), int(values["num_detections"][0])
        found_none |= detections == 0
        for name in names:
            value = values[name]
            if name == "Reshape_14":
                value = value[0]
            if name in BOX:
                value = value[:rois]
            elif name in MASK:
                value = value[:detections]
            expected[name].append(value.reshape(-1))
    assert found_none
    assert whole.keys() == set(names)
    for name, parts in expected.items():
        flat, got = np.concatenate(parts), whole[name]
        assert got.total == flat.size
        assert got.invalid == 0
        assert got.lowest == pytest.approx(flat.min(), rel=1e-3, abs=1e-4)
        assert got.highest == pytest.approx(flat.max(), rel=1e-3, abs=1e-4)
        places = np.trunc(flat.astype(np.float64) / got.width).astype(int)
        counts = np.bincount(places + len(got.counts) // 2, minlength=len(got.counts))
        moved = np.abs(np.cumsum(counts) - np.cumsum(got.counts)).max()
        assert moved <= 2e-3 * flat.size + 5  # rounding moves a value to the next bin


def test_nothing_was_detected(model: onnx.ModelProto, frames: Frames) -> None:
    got = collect(model, [*BOX, *MASK], frames[-1:])
    assert all(got[name].total == 0 and got[name].largest == 0 for name in MASK)


def test_several_runs_for_a_frame(
    model: onnx.ModelProto, frames: Frames, names: list[str], whole: dict[str, Histogram]
) -> None:
    groups = list(module._groups(model.graph, names, 1, 1 << 20))
    assert len(groups) > 2
    assert sorted(name for group in groups for name in group) == sorted(names)
    few = collect(model, names, frames, budget=1 << 20)
    assert {name: few[name].total for name in names} == {n: whole[n].total for n in names}
    for name in names:
        assert few[name].largest == pytest.approx(whole[name].largest, rel=1e-4)


def test_a_larger_batch_counts_once(
    canonical: Canonical, frames: Frames, names: list[str], whole: dict[str, Histogram]
) -> None:
    model = onnx.load(canonical("mask_rcnn", batch=(2, 3)))
    sizes = {name: module._groups(model.graph, [name], 2, 1) for name in names}
    assert all(list(groups) for groups in sizes.values())
    got = collect(model, names, frames)
    for name in names:
        assert got[name].total == whole[name].total
        assert got[name].largest == pytest.approx(whole[name].largest, rel=1e-3)


def test_sizes(canonical: Canonical, model: onnx.ModelProto) -> None:
    def sizes(model: onnx.ModelProto, batch: int) -> dict[str, int | None]:
        return {
            value.name: module._size(value.type.tensor_type, batch)
            for value in model.graph.value_info
        }

    one = sizes(model, 1)
    assert one["MultilevelRoIAlign"] == 200 * 64 * 7 * 7 * 4
    several = sizes(onnx.load(canonical("mask_rcnn", batch=(2, 3))), 2)
    assert several["MultilevelRoIAlign"] == 2 * one["MultilevelRoIAlign"]
    assert several["Reshape_14"] == 2 * (one["Reshape_14"] or 0)


class Stopping(list):  # type: ignore[type-arg]
    """Frames that are interrupted before one of them."""

    def __init__(self, frames: Frames, at: int, error: type[BaseException]) -> None:
        super().__init__(frames)
        self.at, self.error = at, error

    def __getitem__(self, position: Any) -> Any:
        if position == self.at:
            raise self.error
        return super().__getitem__(position)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_goes_on_after_an_interruption(
    model: onnx.ModelProto,
    frames: Frames,
    names: list[str],
    whole: dict[str, Histogram],
    tmp_path: Path,
    error: type[BaseException],
) -> None:
    path = tmp_path / "ranges.npz"
    with pytest.raises(error):
        collect(model, names, Stopping(frames, 2, error), store=RangeStore(path))
    assert len(load_ranges(path).images) == 2
    seen: list[tuple[int, int]] = []
    got = collect(
        model,
        names,
        frames,
        store=RangeStore(path),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert same(got, whole)
    assert seen == [(2, 4), (3, 4), (4, 4)]


def test_a_whole_file_needs_no_run(
    model: onnx.ModelProto,
    frames: Frames,
    names: list[str],
    whole: dict[str, Histogram],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "ranges.npz"
    collect(model, names, frames, store=RangeStore(path))
    before = path.stat().st_mtime_ns

    def never(*_: Any) -> None:
        raise AssertionError("the model was run")

    monkeypatch.setattr(module, "_Watch", never)
    assert same(collect(model, names, frames, store=RangeStore(path)), whole)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(MaskrtError, match="other tensors"):
        collect(model, names[:2], frames, store=RangeStore(path))
    with pytest.raises(AssertionError):
        collect(model, names[:2], frames, store=RangeStore(path, restart=True))


def test_interrupted_within_an_image(
    model: onnx.ModelProto, frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ranges.npz"
    calls: Iterator[int] = iter(range(100))
    add = Histogram.add

    def interrupted(self: Histogram, values: NDArray[np.floating]) -> None:
        if next(calls) == len(MASK) + 1:
            raise KeyboardInterrupt
        add(self, values)

    monkeypatch.setattr(Histogram, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect(model, MASK, frames[:2], store=RangeStore(path))
    monkeypatch.undo()
    kept = load_ranges(path)
    assert len(kept.images) == 1
    assert same(dict(kept.histograms), collect(model, MASK, frames[:1]))


def test_bad_arguments(model: onnx.ModelProto, frames: Frames) -> None:
    with pytest.raises(ValueError, match="no 'nowhere'"):
        collect(model, ["nowhere"], frames)
    with pytest.raises(ValueError, match="int32"):
        collect(model, ["Proposals:1"], frames)
    for frame in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(FrameError, match=r"expected uint8 \[H, W, 3\]"):
            collect(model, BOX, [frame])
    assert collect(model, [], frames) == {}
    assert collect(model, BOX, [])["MultilevelRoIAlign"].total == 0


def test_the_model_is_left_alone(canonical: Canonical, frames: Frames) -> None:
    model = onnx.load(canonical("mask_rcnn"))
    before = model.SerializeToString(deterministic=True)
    collect(model, BOX, frames[:1])
    assert model.SerializeToString(deterministic=True) == before


def test_only_what_lies_behind_a_pooler_has_slots(model: onnx.ModelProto) -> None:
    found = module._slots(model.graph, module.read_spec(model, "the model"))
    assert found["mask_head/predictor/relu/Relu"] == module._Slots("num_detections", 40)
    assert found["box_head/head/Relu"] == module._Slots("Proposals:1", 200)
    assert not any(name.startswith("backbone") for name in found)
    canonical_outputs = {
        name for node in model.graph.node if node.domain == DOMAIN for name in node.output
    }
    assert found.keys() & canonical_outputs == {"MultilevelRoIAlign", "MultilevelRoIAlign_2"}
