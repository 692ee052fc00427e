"""What the README says is run, and what it links to is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from maskrt.cli import build_parser

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {"build", ".venv", "node_modules"} & set(path.relative_to(ROOT).parts)
)
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python_blocks_run(tmp_path):
    code = "\n".join(blocks("python"))
    assert "Detector" in code
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert cv2.imread(str(tmp_path / "annotated.png")).shape == (192, 256, 3)


def test_commands_parse():
    """Each maskrt command of the README is one that the parser takes."""
    text = "\n".join(blocks("sh")).replace("\\\n", " ")
    commands = [line.split("#")[0].split() for line in text.splitlines() if "maskrt " in line]
    commands = [words for words in commands if words and words[0] == "maskrt"]
    assert len(commands) >= 4
    for words in commands:
        build_parser().parse_args(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page} links to {target}"


def test_nothing_left_open():
    assert "@@" not in README
