import numpy as np
import pytest

from maskrt.artefact import ArtefactHead
from maskrt.errors import FrameError, MaskrtError, ModelFileError
from maskrt.gpus import find_gpus
from maskrt.runtime import Detector
from maskrt.runtime import detector as module
from maskrt.runtime.machine import Gpu, Machine


def flat(value, height=6, width=8):
    return np.full((height, width, 3), value, np.uint8)


def means(results):
    """The frames' mean values, which the model reports as first scores."""
    return [round(float(r.scores[0]) * 255) for r in results]


def test_one_frame(make_spec, make_model):
    spec = make_spec(mask=True, keypoint=True)
    result = Detector(make_model(spec))(flat(51))
    assert len(result) == 3
    assert result.frame_size == (6, 8)
    assert result.spec == spec
    assert result.boxes.tolist() == [[1, 2, 8, 6]] * 3
    assert result.labels.tolist() == [1, 2, 3]
    assert result.class_names == ["person", "traffic light", "bottle"]
    np.testing.assert_allclose(result.scores, [0.2, 0.25, 0.5], atol=1e-6)
    assert result.mask_probs.shape == (3, 14, 14)
    assert result.masks.shape == (3, 6, 8)
    assert result.keypoints.shape == (3, 3, 3)


def test_without_heads(make_spec, make_model):
    result = Detector(make_model(make_spec(mask=False)))(flat(0))
    assert result.mask_probs is result.masks is result.keypoints is None


def test_thresholds_change_without_a_rebuild(spec, make_model):
    detector = Detector(make_model(spec), score_threshold=0.5)
    assert (detector.score_threshold, detector.nms_threshold) == (0.5, 0.5)
    assert detector(flat(0)).scores.tolist() == [0, 0.5, 0.5]
    detector.score_threshold, detector.nms_threshold = 0, 0.75
    assert detector(flat(0)).scores.tolist() == [0, 0, 0.75]
    detector.score_threshold = detector.nms_threshold = None
    assert detector(flat(0)).scores.tolist() == [0, 0.25, 0.5]


@pytest.mark.parametrize("bad", [-1, 2, float("nan"), "high"])
def test_bad_thresholds(spec, make_model, bad):
    path = make_model(spec)
    with pytest.raises(ValueError, match="score_threshold"):
        Detector(path, score_threshold=bad)
    detector = Detector(path)
    with pytest.raises(ValueError, match="nms_threshold"):
        detector.nms_threshold = bad
    assert detector.nms_threshold == 0.5


@pytest.mark.parametrize("batch", [1, 2, 3, (1, 2), (1, 4), (2, 3), (1, 16)])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 7])
def test_batches_of_one_size(make_spec, make_model, batch, n):
    results = Detector(make_model(make_spec(batch=batch))).batch([flat(10 * i) for i in range(n)])
    assert means(results) == [10 * i for i in range(n)]


@pytest.mark.parametrize("batch", [1, 3, (1, 4)])
def test_batches_of_several_sizes_keep_their_order(make_spec, make_model, batch):
    sizes = [(6, 8), (8, 6), (6, 8), (1, 1), (8, 6), (6, 8), (6, 8), (6, 8), (8, 6)]
    frames = [flat(5 * i, *size) for i, size in enumerate(sizes)]
    results = Detector(make_model(make_spec(batch=batch))).batch(frames)
    assert means(results) == [5 * i for i in range(len(sizes))]
    assert [r.frame_size for r in results] == sizes
    assert [tuple(r.boxes[0, 2:]) for r in results] == [(w, h) for h, w in sizes]


def test_frames_run_together(make_spec, make_model, monkeypatch):
    detector = Detector(make_model(make_spec(batch=(1, 4))))
    run, sizes = detector._session.run, []
    monkeypatch.setattr(
        detector._session, "run", lambda frames, *a: (sizes.append(len(frames)), run(frames, *a))[1]
    )
    detector.batch([flat(0)] * 3 + [flat(0, 4, 4)] + [flat(0)] * 3)
    assert sizes == [4, 2, 1]


def test_batch_takes_arrays_and_iterators(make_spec, make_model):
    detector = Detector(make_model(make_spec(batch=(1, 4))))
    frames = [flat(0), flat(50), flat(100)]
    assert means(detector.batch(np.stack(frames))) == [0, 50, 100]
    assert means(detector.batch(iter(frames))) == [0, 50, 100]


def test_single_frame_as_a_batch_is_refused(spec, make_model):
    with pytest.raises(FrameError, match="single frame"):
        Detector(make_model(spec)).batch(flat(0))


def test_bad_frame_of_a_batch_is_named(spec, make_model):
    with pytest.raises(FrameError, match="frame 1 of the batch: the frame is None"):
        Detector(make_model(spec)).batch([flat(0), None])


def test_other_kinds_of_frames(spec, make_model):
    detector = Detector(make_model(spec))
    assert means([detector(np.full((6, 8), 0.2))]) == [51]
    assert means([detector(flat(51)[::-1, ::2])]) == [51]
    with pytest.raises(FrameError, match=r"cv2\.imread"):
        detector(None)


def test_results_do_not_hold_the_padded_batch(make_spec, make_model):
    result = Detector(make_model(make_spec(batch=4))).batch([flat(0)])[0]
    assert result.boxes.base is None or result.boxes.base.size == result.boxes.size


def test_no_detections(spec, make_model, monkeypatch):
    detector = Detector(make_model(spec))
    run = detector._session.run

    def nothing(*args):
        return {name: np.zeros_like(value) for name, value in run(*args).items()}

    monkeypatch.setattr(detector._session, "run", nothing)
    result = detector(flat(9))
    assert len(result) == 0
    assert result.masks.shape == (0, 6, 8)
    assert result.to_coco(1) == []
    assert (result.draw(flat(9)) == flat(9)).all()


def test_close(spec, make_model):
    with Detector(make_model(spec)) as detector:
        assert len(detector(flat(0))) == 3
    detector.close()
    with pytest.raises(ValueError, match="closed"):
        detector(flat(0))
    assert detector.spec == spec


def plan(path, head):
    """A file with a plan's head among bytes that mean nothing."""
    path.write_bytes(bytes(1000) + head.to_name().encode() + bytes(1000))
    return path


@pytest.mark.parametrize("suffix", [".engine", ".plan", ".ENGINE"])
def test_a_plan_on_a_machine_without_a_gpu(tmp_path, spec, monkeypatch, suffix):
    head = ArtefactHead(
        "tensorrt", "fp16", "10.3.0", "0.1.0", "linux-aarch64", spec, compute_capabilities=("8.7",)
    )
    monkeypatch.setattr(
        module, "this_machine", lambda: Machine("linux-x86_64", "3.12", no_gpu="no NVIDIA driver")
    )
    with pytest.raises(ModelFileError, match=r"10\.3\.0 for sm_87 .* no GPU was found: no NV"):
        Detector(plan(tmp_path / f"model{suffix}", head))


@pytest.mark.skipif(bool(find_gpus()[0]), reason="there is a GPU")
def test_plans_need_a_driver(tmp_path, spec, monkeypatch):
    """What they need else is tested on the simulated GPU."""
    head = ArtefactHead(
        "tensorrt", "fp16", "11.4.0", "0.1.0", "linux-x86_64", spec, compute_capabilities=("8.9",)
    )
    here = Machine(
        "linux-x86_64", "3.12", (Gpu("some GPU", "8.9", 1 << 33),), libraries={"tensorrt": "11.4.0"}
    )
    monkeypatch.setattr(module, "this_machine", lambda: here)
    with pytest.raises(MaskrtError, match=r"driver|not installed"):
        Detector(plan(tmp_path / "model.engine", head))


@pytest.mark.parametrize("name", ["model.pth", "model"])
def test_files_of_other_kinds(tmp_path, name):
    with pytest.raises(ModelFileError, match="maskrt export"):
        Detector(tmp_path / name)


def test_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match="does not exist"):
        Detector(tmp_path / "model.onnx")


def test_options_reach_the_session(spec, make_model, monkeypatch):
    seen = []
    session = module.OnnxRuntimeSession

    def spy(path, providers, threads):
        seen.append((providers, threads))
        return session(path, providers, threads)

    monkeypatch.setattr(module, "OnnxRuntimeSession", spy)
    Detector(make_model(spec), providers=["CPUExecutionProvider"], threads=2)
    assert seen == [(["CPUExecutionProvider"], 2)]


def test_repr(spec, make_model):
    assert "model.onnx" in repr(Detector(make_model(spec)))
