# libmaskrt_plugins: every operator's kernel.cu and plugin.cpp. It links neither libnvinfer nor a
# shared CUDA runtime, so one file serves TensorRT 10 and 11, and loads on machines without a GPU.

set(MASKRT_USER_ARCHITECTURES ${CMAKE_CUDA_ARCHITECTURES})
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 75)  # only until the toolkit's version is known
endif()
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 11.8)
  message(FATAL_ERROR "found CUDA ${CMAKE_CUDA_COMPILER_VERSION}, expected 11.8 or newer")
endif()

# Turing to Blackwell, as far as the toolkit knows them (87: Orin, 110: Thor; CUDA 13 named it so)
if(MASKRT_USER_ARCHITECTURES)
  set(MASKRT_ARCHITECTURES ${MASKRT_USER_ARCHITECTURES})
else()
  set(MASKRT_ARCHITECTURES 75 80 86 87 89 90)
  if(NOT CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
    list(APPEND MASKRT_ARCHITECTURES 100)
  endif()
  if(NOT CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13.0)
    list(APPEND MASKRT_ARCHITECTURES 110)
  endif()
  if(NOT CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
    list(APPEND MASKRT_ARCHITECTURES 120)
  endif()
  # machine code for each, and PTX of the last for what comes after it
  list(TRANSFORM MASKRT_ARCHITECTURES APPEND -real)
  list(GET MASKRT_ARCHITECTURES -1 MASKRT_LAST_ARCHITECTURE)
  string(REPLACE -real -virtual MASKRT_LAST_ARCHITECTURE ${MASKRT_LAST_ARCHITECTURE})
  list(APPEND MASKRT_ARCHITECTURES ${MASKRT_LAST_ARCHITECTURE})
endif()

file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS plugins/*/kernel.cu plugins/*/plugin*.cpp)
add_library(maskrt_plugins SHARED
  ${CUDA_SOURCES} plugins/common/creators.cpp plugins/common/cuda_version.cpp
  plugins/common/status.cpp)
target_include_directories(maskrt_plugins PRIVATE plugins ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
target_compile_definitions(maskrt_plugins PRIVATE MASKRT_BUILDING)
set_target_properties(maskrt_plugins PROPERTIES
  CUDA_ARCHITECTURES "${MASKRT_ARCHITECTURES}"
  CUDA_VISIBILITY_PRESET hidden)
if(NOT CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
  set(MASKRT_COMPRESS --compress-mode=size)
endif()
target_compile_options(maskrt_plugins PRIVATE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra>
  $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false ${MASKRT_COMPRESS}>)
target_link_options(maskrt_plugins PRIVATE ${MASKRT_LINK_OPTIONS})
set_target_properties(maskrt_plugins PROPERTIES LINK_DEPENDS ${MASKRT_EXPORTS})
message(STATUS "libmaskrt_plugins for ${MASKRT_ARCHITECTURES}")
