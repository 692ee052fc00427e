from __future__ import annotations

from maskrt.runtime import machine


def test_this_machine():
    found = machine.this_machine()
    assert found.platform.count("-") == 1
    assert bool(found.gpus) == (not found.no_gpu)
    assert set(found.libraries) <= set(machine.LIBRARIES)


def test_libraries_without_metadata(tmp_path, monkeypatch):
    """Jetson's Debian packages, type stubs, and a broken installation."""
    monkeypatch.setattr(
        machine,
        "LIBRARIES",
        {
            name: (f"fake_{name}", ("no-such-distribution",))
            for name in ("debian", "stubs", "broken", "none")
        },
    )
    (tmp_path / "fake_debian.py").write_text("__version__ = '10.3.0'")
    (tmp_path / "fake_broken.py").write_text("raise OSError('libnvinfer.so.10')")
    (tmp_path / "fake_stubs").mkdir()
    (tmp_path / "fake_stubs" / "__init__.pyi").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert machine.installed_libraries() == {"debian": "10.3.0", "broken": ""}


def test_l4t():
    text = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64"
    assert machine.l4t_release(text) == "36.4.3"
    assert machine.l4t_release("something else") == ""
    assert machine.Machine("linux-aarch64", "3.10.12", l4t="36.4.3").jetpack == "6"
