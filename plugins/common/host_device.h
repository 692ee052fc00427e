// Lets a math.h be read by a C++ compiler and by nvcc. Both are told not to fuse multiplications
// and additions on their own (-ffp-contract=off, -fmad=false): the same source rounds alike
// everywhere, and where one rounding is wanted, std::fmaf says so.
#pragma once

#if defined(__CUDACC__)
#define MASKRT_HOST_DEVICE __host__ __device__
#else
#define MASKRT_HOST_DEVICE
#endif
