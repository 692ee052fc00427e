"""Native operators: CPU library, CUDA kernels and TensorRT plugins."""
