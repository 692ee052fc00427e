"""MaskSelect on the first GPU."""

from tests.gpu.cases import on_target
from tests.plugins import test_mask_select

globals().update(on_target(test_mask_select))
