"""Examples that need a GPU."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("suffix", [".engine", ".rtx.bundle"])
def test_within_pycuda(suffix, files, capsys):
    pytest.importorskip("pycuda.driver", reason="pycuda is not installed")
    from maskrt.examples import within_pycuda

    within_pycuda.main(str(files / f"small{suffix}"), "synthetic://96x64?frames=7")
    frames, found = capsys.readouterr().out.split(", ")
    assert frames == "7 frames"
    assert int(found.split()[0]) > 0
