"""Export: a trained detection model → canonical ONNX."""

from maskrt.export.exporter import export
from maskrt.export.load import load_model

__all__ = ["export", "load_model"]
