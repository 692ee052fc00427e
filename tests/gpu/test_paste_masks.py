"""The paste on the first GPU."""

from tests.gpu.cases import on_target
from tests.plugins import test_paste_masks

globals().update(on_target(test_paste_masks))
