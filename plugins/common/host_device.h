// Lets a math.h be read by a C++ compiler and by nvcc.
#pragma once

#if defined(__CUDACC__)
#define MASKRT_HOST_DEVICE __host__ __device__
#else
#define MASKRT_HOST_DEVICE
#endif
