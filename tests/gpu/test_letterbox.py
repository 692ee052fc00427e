"""Letterbox on the first GPU."""

from tests.gpu.cases import on_target
from tests.plugins import test_letterbox

globals().update(on_target(test_letterbox))
