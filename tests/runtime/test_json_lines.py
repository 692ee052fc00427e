from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from maskrt.errors import MaskrtError
from maskrt.runtime.json_lines import JsonLinesSink


class Found:
    """As much of ``Detections`` as is written."""

    def to_coco(self, image_id):
        return [{"image_id": image_id, "score": 0.5}]


def fill(path, error=None):
    with JsonLinesSink(path) as sink:
        sink.write(3, "grüße.png", Found())
        if error:
            raise error


def test_lines(tmp_path):
    path = tmp_path / "new" / "out.jsonl"
    with JsonLinesSink(path) as sink:
        for index in (0, 5):
            sink.write(index, f"{index}.png", Found())
            assert not path.exists()
        assert not sink.ended
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"frame": i, "name": f"{i}.png", "detections": [{"image_id": i, "score": 0.5}]}
        for i in (0, 5)
    ]
    sink.close()
    with pytest.raises(ValueError, match="closed"):
        sink.write(6, "", Found())


def test_a_failure_leaves_nothing(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        fill(path, ZeroDivisionError())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_stopped_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "out.jsonl", KeyboardInterrupt())
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1


def test_a_folder(tmp_path):
    with pytest.raises(MaskrtError, match="is a folder"):
        JsonLinesSink(tmp_path)


@pytest.mark.parametrize("path", ["-", Path("-")])
def test_standard_output_can_be_read_at_once(capsys, path):
    with JsonLinesSink(path) as sink:
        sink.write(0, "a", Found())
        assert json.loads(capsys.readouterr().out)["name"] == "a"
    print("still open")


def test_nobody_reads_any_more():
    code = (
        "import sys\n"
        "from maskrt.runtime.json_lines import JsonLinesSink\n"
        "class Found:\n"
        "    def to_coco(self, i): return [0] * 9999\n"
        "with JsonLinesSink('-') as sink:\n"
        "    for i in range(1000):\n"
        "        sink.write(i, '', Found())\n"
        "        if sink.ended: break\n"
        "print(i, file=sys.stderr)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().startswith('{"frame": 0')
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0, errors
    assert int(errors) < 100


def test_a_full_disk(monkeypatch):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(MaskrtError, match=r"- cannot be written: No space left"):
        fill("-")
