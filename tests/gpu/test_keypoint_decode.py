"""KeypointDecode on the first GPU."""

from tests.gpu.cases import on_target
from tests.plugins import test_keypoint_decode

globals().update(on_target(test_keypoint_decode))
