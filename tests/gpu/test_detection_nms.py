"""DetectionNMS on the first GPU."""

from tests.gpu.cases import on_target
from tests.plugins import test_detection_nms

globals().update(on_target(test_detection_nms))
