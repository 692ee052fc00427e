"""RoIAlign on the first GPU."""

from tests.gpu.cases import on_target
from tests.plugins import test_roi_align

globals().update(on_target(test_roi_align))
