"""maskrt: trained R-CNN detectors on TensorRT, and on CPUs with the same results."""

__version__ = "0.1.0"
