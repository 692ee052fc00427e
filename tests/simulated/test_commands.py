"""The commands on the simulated GPU, as users call them."""

from __future__ import annotations

import json

import pytest

from maskrt.cli import main


@pytest.mark.parametrize("suffix", [".engine", ".split.bundle", ".rtx.bundle"])
def test_profile(suffix, files, tmp_path, capsys):
    out = tmp_path / "profile.json"
    source = "synthetic://96x64"
    common = ["profile", str(files / f"small{suffix}"), "--source", source, "--frames", "4"]
    assert main([*common, "--warmup", "2", "--layers", "2", "--json", str(out)]) == 0
    said = capsys.readouterr().out
    assert "the slowest layers" in said
    plain = json.loads(out.read_text())
    assert "upload" in plain["stages"]
    assert "download" in plain["stages"]
    assert plain["machine"]["gpus"] == ["Simulated GPU"]
    assert plain["layers"][0][2] == 0.25  # what the stand-in says of every layer
    assert main([*common, "--baseline", str(out), "--chart", str(tmp_path / "c.png")]) == 0


def test_run(files, tmp_path):
    out = tmp_path / "found.jsonl"
    source = "synthetic://96x64?frames=5"
    status = main(["run", str(files / "small.engine"), "--source", source, "--json", str(out)])
    assert status == 0
    assert len(out.read_text().splitlines()) == 5


@pytest.mark.soak(reason="the doctor looks at all libraries; its own test is quick")
def test_doctor_sees_the_gpu(capsys):
    main(["doctor"])
    said = capsys.readouterr().out
    assert "Simulated GPU" in said
