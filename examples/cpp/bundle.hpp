// What a program has to know of a bundle: the folder that `resnest-edge build` writes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

struct Bundle {
  std::filesystem::path model;      // the typed graph, ONNX
  std::filesystem::path engine;     // the engine file; empty in a bundle that was exported and not built
  std::vector<std::string> labels;  // one a class, in class order
  std::string input_format;         // "uint8-nhwc" or "float-nchw": RGB, 0 to 255; normalisation is in the graph
  std::string mode;                 // "shorter-side", "center-then-resize" or "squash"
  std::string interpolation;        // "bilinear" or "bicubic"
  int image_size = 0;               // side of the square input, pixels
  int resize = 0;                   // side before the crop, pixels
  int batch = 0;                    // smallest batch that the graph takes
};

// Reads manifest.json and labels.txt; throws std::runtime_error where there is no bundle, or one of another schema.
Bundle open_bundle(const std::filesystem::path &folder);
