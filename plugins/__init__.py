"""Native operators: CPU library, CUDA kernels and TensorRT plugins.

One folder per operator; ``ops`` calls them on NumPy arrays, ``library`` finds and loads the library
that holds them, when the first one is called.
"""
