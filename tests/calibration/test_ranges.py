from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from maskrt.calibration import ranges as module
from maskrt.calibration.histogram import Histogram
from maskrt.calibration.ranges import (
    Ranges,
    RangeStore,
    image_digest,
    load_ranges,
    model_digest,
    save_ranges,
)
from maskrt.errors import MaskrtError

NAMES = ("a/Conv", "b")
FRAMES = [np.full((2, 3, 3), i, np.uint8) for i in range(4)]


def after(frames: list[NDArray[np.uint8]], model: str = "m") -> Ranges:
    ranges = Ranges.empty(model, NAMES)
    for frame in frames:
        found = {name: Histogram() for name in NAMES}
        for i, name in enumerate(NAMES):
            found[name].add(frame.astype(np.float32) * (i + 1) - 2)
        ranges = ranges.extended(image_digest(frame), found)
    return ranges


def same(a: Ranges, b: Ranges) -> bool:
    if (a.model, a.images, set(a.histograms)) != (b.model, b.images, set(b.histograms)):
        return False
    pairs = [(a.histograms[name], b.histograms[name]) for name in a.histograms]
    return all(
        (x.counts == y.counts).all()
        and (x.exponent, x.lowest, x.highest, x.invalid)
        == (y.exponent, y.lowest, y.highest, y.invalid)
        for x, y in pairs
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "model.ranges"


def test_a_file_gives_what_was_saved(path: Path) -> None:
    for n in (0, 1, 4):
        save_ranges(after(FRAMES[:n]), path)
        assert same(load_ranges(path), after(FRAMES[:n]))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_goes_on_from_a_part_and_with_more_images(path: Path) -> None:
    store = RangeStore(path)
    assert same(store.resume("m", NAMES, FRAMES), Ranges.empty("m", NAMES))
    store.save(after(FRAMES[:2]))
    assert same(RangeStore(path).resume("m", NAMES, FRAMES), after(FRAMES[:2]))
    assert same(RangeStore(path).resume("m", NAMES[::-1], FRAMES[:2]), after(FRAMES[:2]))


@pytest.mark.parametrize(
    ("model", "names", "frames", "message"),
    [
        ("other", NAMES, FRAMES, "another model"),
        ("m", NAMES[:1], FRAMES, "other tensors"),
        ("m", NAMES, FRAMES[:1], "of 2 images, and here are 1"),
        ("m", NAMES, [FRAMES[0], FRAMES[2]], "number 2"),
        ("m", NAMES, FRAMES[1::-1], "number 1"),
    ],
)
def test_another_run_is_refused_or_replaced(
    path: Path,
    model: str,
    names: tuple[str, ...],
    frames: list[NDArray[np.uint8]],
    message: str,
) -> None:
    save_ranges(after(FRAMES[:2]), path)
    with pytest.raises(MaskrtError, match=message) as caught:
        RangeStore(path).resume(model, names, frames)
    assert "delete it" in str(caught.value)
    store = RangeStore(path, restart=True)
    assert same(store.resume(model, names, frames), Ranges.empty(model, names))
    assert same(load_ranges(path), after(FRAMES[:2]))  # until there is something new
    store.save(after(FRAMES[3:], "other"))
    assert load_ranges(path).model == "other"


def test_checkpoints_are_rare_and_the_first_one_is_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    store = RangeStore(path, every=60)
    found = []
    for n, time in ((1, 0.0), (2, 30.0), (3, 61.0), (4, 62.0)):
        now[0] = time
        store.checkpoint(after(FRAMES[:n]))
        found.append(len(load_ranges(path).images))
    assert found == [1, 1, 3, 3]
    store.save(after(FRAMES))
    assert len(load_ranges(path).images) == 4


def write_pickle(path: Path) -> None:
    np.savez(path.open("wb"), head=np.array([{"a": 1}], dtype=object))


def write_foreign(path: Path) -> None:
    np.savez(path.open("wb"), a=np.zeros(3))


def write_array(path: Path) -> None:
    np.save(path.open("wb"), np.zeros(3))


def write_other_format(path: Path) -> None:
    head = np.frombuffer(json.dumps({"format": "x"}).encode(), np.uint8)
    np.savez(path.open("wb"), head=head)


def write_list(path: Path) -> None:
    np.savez(path.open("wb"), head=np.frombuffer(b"[1, 2]", np.uint8))


@pytest.mark.parametrize(
    "write",
    [
        write_pickle,
        write_foreign,
        write_array,
        write_other_format,
        write_list,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"hello world, this is no archive"),
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)),
    ],
)
def test_foreign_files_are_refused_and_kept(tmp_path: Path, write: object) -> None:
    path = tmp_path / "file.npz"
    write(path)  # type: ignore[operator]
    before = path.read_bytes()
    for restart in (False, True):
        with pytest.raises(MaskrtError, match="no file of activation ranges") as caught:
            RangeStore(path, restart=restart).resume("m", NAMES, FRAMES)
        assert "delete it" in str(caught.value)
    assert path.read_bytes() == before


def test_damaged_files_are_refused(path: Path) -> None:
    save_ranges(after(FRAMES), path)
    good = path.read_bytes()
    for end in range(0, len(good), 97):
        path.write_bytes(good[:end])
        with pytest.raises(MaskrtError, match="damaged"):
            load_ranges(path)
    for at in range(0, len(good), 53):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            loaded = load_ranges(path)
        except MaskrtError:
            continue
        assert same(loaded, after(FRAMES))  # a byte that nothing depends on


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("counts", np.zeros((2, 7), np.int64)),
        ("counts", np.full((2, 8191), -1)),
        ("exponents", np.zeros(2, np.float32)),
        ("extremes", np.zeros((1, 2))),
    ],
)
def test_arrays_that_do_not_fit(path: Path, name: str, value: NDArray[np.generic]) -> None:
    save_ranges(after(FRAMES), path)
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    with path.open("wb") as file:
        np.savez(file, **{**arrays, name: value})
    with pytest.raises(MaskrtError, match="is damaged"):
        load_ranges(path)


def test_another_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "VERSION", 99)
        save_ranges(after(FRAMES), path)
    with pytest.raises(MaskrtError, match="format 99, expected 1"):
        load_ranges(path)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MaskrtError, match="folder"):
        RangeStore(tmp_path).resume("m", NAMES, FRAMES)
    with pytest.raises(MaskrtError, match="No such file"):
        load_ranges(tmp_path / "none.npz")
    with pytest.raises(MaskrtError, match="cannot be written"):
        save_ranges(after(FRAMES[:1]), "/proc/none/ranges.npz")


def graph(value: float = 1.0, op: str = "Add", metadata: str = "") -> onnx.ModelProto:
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node(op, ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
            [helper.make_tensor("w", TensorProto.FLOAT, [1], [value])],
        )
    )
    helper.set_model_props(made, {"note": metadata})
    return made


def test_digests() -> None:
    assert model_digest(graph()) == model_digest(graph(metadata="x"))
    assert len({model_digest(m) for m in (graph(), graph(2.0), graph(op="Mul"))}) == 3
    a = np.arange(12, dtype=np.uint8)
    shapes = [(2, 2, 3), (1, 4, 3), (4, 1, 3)]
    assert len({image_digest(a.reshape(shape)) for shape in shapes}) == 3
    wide = np.zeros((4, 4, 3), np.uint8)
    assert image_digest(wide[::2]) == image_digest(wide[:2])
