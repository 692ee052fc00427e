"""The packages that can drive a CUDA device, one module each; see ``maskrt.runtime.device``."""
