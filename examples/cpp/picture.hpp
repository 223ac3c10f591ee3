// Pictures: read, resized and cropped, pixel for pixel as `resnest-edge evaluate` does it with Pillow.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "bundle.hpp"

struct Picture {
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;  // height × width × 3, RGB
};

// Reads a binary PPM (P6, 8 bits) or, where libjpeg was found, a JPEG; EXIF orientation is not applied.
Picture read_picture(const std::filesystem::path &path);

// The square that the network takes: bundle.image_size × bundle.image_size.
Picture prepare(const Picture &picture, const Bundle &bundle);
