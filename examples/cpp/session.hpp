// The one seam between this program and a runtime; CMake's RUNTIME chooses the file that implements it.
#pragma once

#include <memory>
#include <vector>

#include "bundle.hpp"
#include "picture.hpp"

class Session {
 public:
  virtual ~Session() = default;

  // One probability a class, of one picture of the bundle's size.
  virtual std::vector<float> probabilities(const Picture &picture) = 0;
};

std::unique_ptr<Session> open_session(const Bundle &bundle);

// Writes a picture as the engine takes it, as often as the smallest batch asks for.
template <typename Value>
std::vector<Value> as_input(const Picture &picture, const Bundle &bundle) {
  const std::size_t area = std::size_t(picture.width) * picture.height;
  const bool planar = bundle.input_format == "float-nchw";
  std::vector<Value> input;
  for (int image = 0; image < bundle.batch; ++image) {
    for (std::size_t at = 0; at < 3 * area; ++at) {
      input.push_back(Value(picture.pixels[planar ? at % area * 3 + at / area : at]));
    }
  }
  return input;
}
