"""Native operators: CPU library, CUDA kernels and TensorRT plugins.

One folder per operator; ``ops`` calls them on NumPy arrays, ``library`` finds and loads the
libraries that hold them, when the first one is called. ``library_path()`` is what TensorRT loads:

    tensorrt.get_plugin_registry().load_library(str(maskrt.plugins.library_path()))
"""

from maskrt.plugins.library import library_path

__all__ = ["library_path"]
