// The size that a frame gets on the canvas, by both conventions.
#pragma once

#include <cmath>
#include <cstdint>

#include "letterbox/params.h"

namespace maskrt {
namespace letterbox {

struct Size {
  int32_t height;
  int32_t width;
};

// torchvision: the frame's size times one ratio, that of the tightest bound. In float64 and rounded
// down, as interpolate(scale_factor=...) does; so it never exceeds the canvas.
inline Size floored_size(Size frame, Size canvas, int32_t min_size, int32_t max_size) {
  const int32_t shorter = frame.height < frame.width ? frame.height : frame.width;
  const int32_t longer = frame.height < frame.width ? frame.width : frame.height;
  double ratio = static_cast<double>(canvas.height) / frame.height;
  ratio = std::fmin(ratio, static_cast<double>(canvas.width) / frame.width);
  if (min_size > 0) ratio = std::fmin(ratio, static_cast<double>(min_size) / shorter);
  if (max_size > 0) ratio = std::fmin(ratio, static_cast<double>(max_size) / longer);
  const auto height = static_cast<int32_t>(std::floor(frame.height * ratio));
  const auto width = static_cast<int32_t>(std::floor(frame.width * ratio));
  return {height > 1 ? height : 1, width > 1 ? width : 1};
}

// detectron2: ResizeShortestEdge, in float64 and step by step as there, so that halves round alike;
// where what comes out does not fit the canvas, or there is no bound, the frame's size times the
// ratio that fits.
inline Size nearest_size(Size frame, Size canvas, int32_t min_size, int32_t max_size) {
  const double h = frame.height, w = frame.width;
  const double shorter = std::fmin(h, w), longer = std::fmax(h, w);
  const auto nearest = [](double side) { return std::floor(side + 0.5); };
  double height = 0.0, width = 0.0;
  if (min_size > 0) {
    const double ratio = min_size / shorter;
    height = h < w ? min_size : ratio * h;
    width = h < w ? ratio * w : min_size;
  } else if (max_size > 0) {
    const double ratio = max_size / longer;
    height = ratio * h;
    width = ratio * w;
  }
  const double long_side = std::fmax(height, width);
  if (max_size > 0 && long_side > max_size) {
    const double ratio = max_size / long_side;
    height *= ratio;
    width *= ratio;
  }
  const bool bounded = min_size > 0 || max_size > 0;
  if (!bounded || nearest(height) > canvas.height || nearest(width) > canvas.width) {
    const double ratio = std::fmin(canvas.height / h, canvas.width / w);
    height = ratio * h;
    width = ratio * w;
  }
  const auto within = [&](double side, int32_t limit) {
    return static_cast<int32_t>(std::fmin(std::fmax(nearest(side), 1.0), limit));
  };
  return {within(height, canvas.height), within(width, canvas.width)};
}

inline Size content_size(const MaskrtLetterboxParams& p) {
  const auto size = p.resize == MASKRT_LETTERBOX_DETECTRON2 ? nearest_size : floored_size;
  return size({p.height, p.width}, {p.canvas_height, p.canvas_width}, p.min_size, p.max_size);
}

// Frame pixels per canvas pixel along one axis.
inline float axis_scale(int32_t frame, int32_t content) {
  return static_cast<float>(frame) / static_cast<float>(content);
}

}  // namespace letterbox
}  // namespace maskrt
