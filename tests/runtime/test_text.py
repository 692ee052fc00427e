import numpy as np
import pytest

from maskrt.runtime import text


@pytest.fixture(params=["as installed", "stroke font"], autouse=True)
def font(request, monkeypatch):
    """Also what OpenCV 4 has."""
    if request.param == "stroke font":
        monkeypatch.setattr(text, "_OUTLINE", None)


@pytest.mark.parametrize("size", [10, 14, 24, 48])
def test_text_fills_the_width_that_was_measured(size):
    image = np.zeros((100, 1000, 3), np.uint8)
    words = "person 0.97"
    text.put(image, words, (50, 60), (255, 255, 255), size)
    rows, columns = np.nonzero(image.any(axis=2))
    width = text.width(words, size)
    slack = 2 + size // 6
    assert 50 - slack <= columns.min()
    assert columns.max() <= 50 + width + slack
    assert columns.max() - columns.min() > width * 0.85
    assert 60 - size * 0.9 <= rows.min() < 60 - size * 0.5
    assert rows.max() <= 60 + size * 0.4
    assert len(np.unique(image)) > 3  # anti-aliased


def test_width_grows_with_size_and_length():
    assert text.width("", 20) <= text.width("a", 20) < text.width("aa", 20) < text.width("aa", 40)


def test_color_and_other_alphabets():
    image = np.zeros((60, 300, 3), np.uint8)
    text.put(image, "Ampel ä 信号", (5, 40), (10, 200, 30), 24)
    assert image.reshape(-1, 3).max(axis=0).tolist() == [10, 200, 30]


def test_widths_are_those_of_the_font_in_use(monkeypatch):
    if text._OUTLINE is None:
        pytest.skip("there is one font")
    outline = text.width("person 0.97", 24)
    monkeypatch.setattr(text, "_OUTLINE", None)
    assert text.width("person 0.97", 24) != outline
