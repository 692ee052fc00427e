// NMS on the CPU, for the operators that need it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/box.h"

namespace maskrt {
namespace nms {

// Boxes to choose from, best first; one array for each coordinate, so that loops vectorise.
class Candidates {
 public:
  explicit Candidates(size_t capacity);

  void set(int32_t at, const Box& box) {
    x1_[at] = box.x1;
    y1_[at] = box.y1;
    x2_[at] = box.x2;
    y2_[at] = box.y2;
  }

  // Greedy NMS over the first `count` boxes, which it spoils: writes the positions of those that
  // stay, at most `limit` (1 or more), and returns how many they are.
  int32_t reduce(int32_t count, float threshold, int32_t limit, int32_t* kept);

 private:
  std::vector<float> x1_, y1_, x2_, y2_, area_;
  std::vector<int32_t> position_, suppressed_;
};

// Sorts keys (see common/nms.h) whose indices, the low halves, ascend. The scratch is as long.
void sort_keys(uint64_t* keys, size_t count, uint64_t* scratch);

}  // namespace nms
}  // namespace maskrt
