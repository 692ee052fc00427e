// A stand-in for CUDA's driver: what maskrt/runtime/device.py asks for, on host memory. One device,
// one stream; allocations above 1 GiB fail.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2 };
static void* const CONTEXT = (void*)0x11;
static void* const STREAM = (void*)0x22;
static int live = 0;  // allocations that were not given back

int cuInit(unsigned flags) { return flags == 0 ? OK : INVALID; }
int cuDriverGetVersion(int* version) { return *version = 13000, OK; }
int cuDeviceGet(int* device, int index) { return *device = 0, index == 0 ? OK : 101; }
int cuDevicePrimaryCtxRetain(void** context, int device) { return *context = CONTEXT, device; }
int cuDevicePrimaryCtxRelease_v2(int device) { return live || device ? INVALID : OK; }
int cuCtxSetCurrent(void* context) { return context == CONTEXT ? OK : INVALID; }
int cuStreamCreate(void** stream, unsigned flags) {
  *stream = STREAM;
  return flags == 1 ? OK : INVALID;  // CU_STREAM_NON_BLOCKING
}
int cuStreamDestroy_v2(void* stream) { return stream == STREAM ? OK : INVALID; }
int cuStreamSynchronize(void* stream) { return stream == STREAM ? OK : INVALID; }

int cuMemAlloc_v2(uint64_t* address, size_t size) {
  if (size > (size_t)1 << 30) return OUT_OF_MEMORY;
  void* memory = aligned_alloc(256, (size + 255) / 256 * 256);
  memset(memory, 0xA5, size);
  live++;
  return *address = (uint64_t)(uintptr_t)memory, OK;
}
int cuMemFree_v2(uint64_t address) { return free((void*)(uintptr_t)address), live--, OK; }

static int copy(void* to, const void* from, size_t size, void* stream) {
  memcpy(to, from, size);
  return stream == STREAM ? OK : INVALID;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t size, void* stream) {
  return copy((void*)(uintptr_t)to, from, size, stream);
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t size, void* stream) {
  return copy(to, (const void*)(uintptr_t)from, size, stream);
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t size, void* stream) {
  return copy((void*)(uintptr_t)to, (const void*)(uintptr_t)from, size, stream);
}

// How NVIDIA's package finds all the others.
int cuGetProcAddress_v2(const char* name, void** function, int version, uint64_t flags,
                        int* state) {
  (void)version, (void)flags;
  char newer[128];
  snprintf(newer, sizeof newer, "%s_v2", name);
  void* self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_NOW);
  *function = dlsym(self, newer);
  if (!*function) *function = dlsym(self, name);
  if (state) *state = *function ? 0 : 1;
  return OK;
}
int cuGetProcAddress(const char* name, void** function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
