from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest

from maskrt.errors import MaskrtError
from maskrt.runtime.facts import conditions, jetson_facts, machine_facts
from maskrt.runtime.latency import (
    Recorder,
    StageStats,
    Summary,
    compare,
    differences,
    read_summary,
    write_summary,
)
from maskrt.runtime.latency_chart import chart


def recorded(frames=100, warmup=2, scale=1.0, **facts):
    """Frame i takes (i + 1) * scale ms in the model and 1 ms for capture."""
    recorder = Recorder(warmup)
    for i in range(-warmup, frames):
        model = (i + 1) * scale if i >= 0 else 500.0
        recorder.add({"capture": 1.0, "model": model}, model + 1.0, i % 5)
    return recorder.summary(**facts)


def test_percentiles_by_hand():
    stats = StageStats.of(range(1, 102))  # 1 to 101: the p-th percentile is p + 1
    assert stats == StageStats(p50=51, p95=96, p99=100, max=101, mean=51)


def test_warm_up_is_kept_apart():
    summary = recorded()
    assert summary.warmup_ms == (501.0, 501.0)
    assert len(summary.frame_ms) == 100
    assert summary.stages["model"].max == 100
    assert summary.first_ms == 501
    assert summary.frame.mean == pytest.approx(51.5)
    assert summary.fps == pytest.approx(1000 / 51.5)
    assert summary.detections == 2
    assert recorded(warmup=0).first_ms == 2


def test_missing_stages_are_zero_and_stand_in_their_place():
    recorder = Recorder()
    recorder.add({"trunk": 4, "outputs": 1, "draw": 2}, 7, 0)
    recorder.add({"trunk": 4, "mask head": 8, "outputs": 1, "draw": 2}, 15, 3)
    summary = recorder.summary()
    assert list(summary.stages) == ["trunk", "mask head", "outputs", "draw"]
    assert summary.stages["mask head"] == StageStats(4, 7.6, 7.92, 8, 4)


def test_nothing_measured():
    recorder = Recorder(1)
    recorder.add({"model": 1}, 1, 0)
    assert recorder.measured == 0
    with pytest.raises(ValueError, match="no frames"):
        recorder.summary()


def test_json_round_trip(tmp_path):
    summary = recorded(model={"name": "a.onnx", "sha256": "00"}, settings={"threads": None})
    path = tmp_path / "new" / "a.json"
    write_summary(summary, path)
    assert read_summary(path) == summary
    plain = json.loads(path.read_text())
    assert plain["format"] == 1
    assert plain["frames"] == 100
    assert Summary.from_plain({**plain, "layers": []}) == summary


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 7}, "found format 7, expected 1"),
        ({"stages": 3}, "stages: found 3"),
        ({"stages": {"model": {"p50": 1}}}, "p95: found None"),
        ({"stages": {"model": 5}}, "model: found 5"),
        ({"frame": {}}, "p50: found None"),
        ({"frame_ms": []}, "no frames"),
        ({"frame_ms": [1, "x"]}, "found 'x'"),
        ({"frame_ms": [float("nan")]}, "found nan"),
        ({"warmup_ms": None}, "warmup_ms: found None"),
        ({"detections": True}, "detections: found True"),
        ({"machine": "a PC"}, "machine: found 'a PC'"),
    ],
)
def test_broken_profiles(tmp_path, change, words):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({**recorded().to_plain(), **change}))
    with pytest.raises(MaskrtError, match=words) as caught:
        read_summary(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format": 1}', "[" * 100_000])
def test_what_is_no_profile(tmp_path, text):
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(MaskrtError, match="maskrt profile --json"):
        read_summary(path)
    with pytest.raises(MaskrtError, match=r"cannot be read: "):
        read_summary(tmp_path / "missing.json")


def test_compare():
    old, new = recorded(), recorded(scale=0.5)
    stages = {**new.stages, "draw": StageStats(0, 0, 0, 0, 0)}
    rows = compare(old, dataclasses.replace(new, stages=stages))
    assert [(row.stage, row.old, row.new) for row in rows] == [
        ("capture", 1.0, 1.0),
        ("model", 50.5, 25.25),
        ("draw", None, 0.0),
        ("frame", 51.5, 26.25),
    ]
    assert [row.ratio for row in rows[:3]] == [1.0, 0.5, None]
    back = compare(dataclasses.replace(new, stages=stages), old)
    assert [(row.stage, row.ratio) for row in back[2:3]] == [("draw", None)]


def test_differences():
    facts = {
        "model": {"name": "a.onnx", "sha256": "12345678901234"},
        "machine": {"cpu": "Fast 1", "libraries": {"onnxruntime": "1.22"}},
        "conditions": {"before": {"governor": "performance"}},
    }
    one = recorded(**facts)
    assert differences(one, one) == []
    two = dataclasses.replace(
        one,
        model={"name": "b.onnx", "sha256": "2"},
        machine={"cpu": "Slow 2", "libraries": {"onnxruntime": "1.23"}},
        settings={"draw": True},
        conditions={},
        detections=7.0,
    )
    told = "\n".join(differences(one, two))
    for words in (
        "a.onnx 123456789012, now b.onnx 2", "cpu: Fast 1, now Slow 2", "onnxruntime 1.23",
        "draw: unknown, now True", "governor: performance", "2, now 7",
    ):  # fmt: skip
        assert words in told


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_jetson(tmp_path):
    assert jetson_facts(tmp_path) == {}
    write(tmp_path / "proc/device-tree/model", "Raspberry Pi 5\0")
    assert jetson_facts(tmp_path) == {}
    write(tmp_path / "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    write(tmp_path / "etc/nv_tegra_release", "# R36 (release), REVISION: 4.0, GCID: 1\n")
    assert jetson_facts(tmp_path) == {
        "board": "NVIDIA Jetson Orin Nano Developer Kit",
        "l4t": "36.4.0",
    }
    assert machine_facts(tmp_path)["board"].startswith("NVIDIA Jetson")


def test_conditions(tmp_path):
    assert conditions(tmp_path) == {}
    zones = tmp_path / "sys/class/thermal"
    for i, (kind, temperature) in enumerate(
        (("cpu-thermal", "48500"), ("gpu-thermal", ""), ("cpu-thermal", "50000"))
    ):
        write(zones / f"thermal_zone{i}/type", kind + "\n")
        write(zones / f"thermal_zone{i}/temp", temperature + "\n")
    (zones / "thermal_zone3").mkdir()
    for i in range(2):
        path = f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_governor"
        write(tmp_path / path, "schedutil\n")
    assert conditions(tmp_path) == {
        "temperatures": {"cpu-thermal": 48.5, "cpu-thermal (thermal_zone2)": 50.0},
        "governor": "schedutil",
    }


def test_conditions_of_a_jetson(tmp_path):
    write(tmp_path / "var/lib/nvpmodel/status", "pmode:0002 fmode:quiet\n")
    assert conditions(tmp_path) == {"power_mode": "2"}
    write(
        tmp_path / "etc/nvpmodel.conf",
        "< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=30W >\n",
    )
    clock = tmp_path / "sys/class/devfreq/17000000.ga10b"
    write(clock / "cur_freq", "612000000\n")
    write(clock / "max_freq", "1300500000\n")
    write(tmp_path / "sys/class/devfreq/emc/cur_freq", "2133000000\n")
    assert conditions(tmp_path) == {
        "power_mode": "30W",
        "gpu_clock": {"now": 612, "max": 1300},
    }


def test_machine_facts(tmp_path):
    write(tmp_path / "proc/cpuinfo", "processor : 0\nmodel name\t: Fast: 1\n\nmodel name : 2\n")
    facts = machine_facts(tmp_path)
    assert facts["cpu"] == "Fast: 1"
    assert facts["cores"] >= 1
    assert "onnxruntime" in facts["libraries"]
    json.dumps(machine_facts())


@pytest.mark.parametrize("frames", [1, 5, 1000])
def test_charts(tmp_path, frames):
    summary = recorded(frames, model={"name": "ströße" * 60}, settings={"source": 0})
    path = tmp_path / "chart.PNG"
    chart(summary, path)
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[1] == 1400
    assert (image[:, [0, -1]] == 255).all()  # nothing runs over the edges
    assert (image[[0, -1]] == 255).all()
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20


def test_charts_of_strange_times(tmp_path):
    for name, times in (("zero", [0, 0]), ("same", [3, 3, 3]), ("hiccup", [*[1] * 50, 900])):
        recorder = Recorder()
        for milliseconds in times:
            recorder.add({"model": milliseconds}, milliseconds, 0)
        chart(recorder.summary(), tmp_path / f"{name}.png")
    with pytest.raises(MaskrtError, match=r"expected \.png"):
        chart(recorder.summary(), tmp_path / "chart.jpg")
    assert len(list(tmp_path.iterdir())) == 3
