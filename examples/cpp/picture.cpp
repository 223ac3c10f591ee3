#include "picture.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <stdexcept>
#include <string>

#ifdef WITH_JPEG
#include <csetjmp>
#include <cstdio>  // before jpeglib.h, which needs it
#include <jpeglib.h>
#endif

namespace {

Picture read_ppm(std::ifstream &file) {
  std::string kind;
  Picture picture;
  int most = 0;
  file >> kind >> picture.width >> picture.height >> most;
  file.get();  // the one blank before the pixels
  if (!file || picture.width < 1 || picture.height < 1 || most != 255 || picture.width > 65535 || picture.height > 65535) {
    throw std::runtime_error("not a binary PPM of 8 bits without comments");
  }
  picture.pixels.resize(std::size_t(3) * picture.width * picture.height);
  file.read(reinterpret_cast<char *>(picture.pixels.data()), std::streamsize(picture.pixels.size()));
  if (!file) throw std::runtime_error("the PPM is cut short");
  return picture;
}

#ifdef WITH_JPEG
struct JpegErrors : jpeg_error_mgr {
  std::jmp_buf jump;  // libjpeg is C: it is left by longjmp, not by an exception
  char words[JMSG_LENGTH_MAX];
};

void fail(j_common_ptr common) {
  auto *errors = static_cast<JpegErrors *>(common->err);
  errors->format_message(common, errors->words);
  std::longjmp(errors->jump, 1);
}

void fail_on_damage(j_common_ptr common, int level) {
  if (level < 0) fail(common);  // what libjpeg calls a warning is damaged data
}

void read_jpeg(const std::vector<unsigned char> &data, Picture &picture) {
  jpeg_decompress_struct info;
  JpegErrors errors;
  info.err = jpeg_std_error(&errors);
  errors.error_exit = fail;
  errors.emit_message = fail_on_damage;
  if (setjmp(errors.jump)) {
    jpeg_destroy_decompress(&info);
    throw std::runtime_error(errors.words);
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, data.data(), data.size());
  jpeg_read_header(&info, TRUE);
  info.out_color_space = JCS_RGB;
  jpeg_start_decompress(&info);
  picture.width = int(info.output_width);
  picture.height = int(info.output_height);
  picture.pixels.resize(std::size_t(3) * picture.width * picture.height);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = picture.pixels.data() + std::size_t(3) * picture.width * info.output_scanline;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
}
#endif

// One axis of a resize: which input samples each output sample is made of, and their weights in fixed point.
struct Axis {
  std::vector<int> first;
  std::vector<std::vector<int>> weights;
};

constexpr int kBits = 22;  // Pillow's precision for 8-bit pixels: products and their sums fit 32 bits

double weight(double x, bool cubic) {
  x = std::abs(x);
  if (!cubic) return x < 1 ? 1 - x : 0;
  const double a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

Axis make_axis(int from, int to, bool cubic) {
  const double scale = double(from) / to, stretch = std::max(scale, 1.0), support = (cubic ? 2 : 1) * stretch;
  Axis axis;
  for (int out = 0; out < to; ++out) {
    const double centre = (out + 0.5) * scale;
    const int begin = std::max(0, int(centre - support + 0.5)), end = std::min(from, int(centre + support + 0.5));
    std::vector<double> values;
    double sum = 0;
    for (int in = begin; in < end; ++in) {
      values.push_back(weight((in - centre + 0.5) * (1 / stretch), cubic));
      sum += values.back();
    }
    std::vector<int> &fixed = axis.weights.emplace_back();
    for (double value : values) {
      value /= sum;
      fixed.push_back(int((value < 0 ? -0.5 : 0.5) + value * (1 << kBits)));
    }
    axis.first.push_back(begin);
  }
  return axis;
}

// Resizes rows (across = 3: neighbours are pixels) or columns (across = 3 * width: neighbours are rows).
Picture resize_axis(const Picture &from, int width, int height, bool cubic) {
  const bool rows = width != from.width;
  const Axis axis = rows ? make_axis(from.width, width, cubic) : make_axis(from.height, height, cubic);
  const std::size_t step = rows ? 3 : std::size_t(3) * from.width;
  Picture to{width, height, std::vector<std::uint8_t>(std::size_t(3) * width * height)};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const int out = rows ? x : y;
      const std::size_t start = rows ? std::size_t(3) * (std::size_t(y) * from.width + axis.first[out])
                                     : std::size_t(3) * (std::size_t(axis.first[out]) * from.width + x);
      for (int channel = 0; channel < 3; ++channel) {
        int sum = 1 << (kBits - 1);
        std::size_t at = start + channel;
        for (int value : axis.weights[out]) {
          sum += from.pixels[at] * value;
          at += step;
        }
        to.pixels[3 * (std::size_t(y) * width + x) + channel] = std::uint8_t(std::clamp(sum >> kBits, 0, 255));
      }
    }
  }
  return to;
}

Picture resize(Picture picture, int width, int height, bool cubic) {
  if (width != picture.width) picture = resize_axis(picture, width, picture.height, cubic);
  if (height != picture.height) picture = resize_axis(picture, width, height, cubic);
  return picture;
}

Picture crop(const Picture &from, int left, int top, int width, int height) {
  if (left < 0 || top < 0 || left + width > from.width || top + height > from.height || width < 1 || height < 1) {
    throw std::runtime_error("the picture is too small to crop");
  }
  Picture to{width, height, {}};
  for (int y = top; y < top + height; ++y) {
    const auto row = from.pixels.begin() + 3 * (std::ptrdiff_t(y) * from.width + left);
    to.pixels.insert(to.pixels.end(), row, row + 3 * width);
  }
  return to;
}

int centred(int length, double crop) { return int(std::nearbyint((length - crop) / 2)); }  // halves to the even neighbour

}  // namespace

Picture read_picture(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path.string() + " cannot be read");
  if (file.peek() == 'P') return read_ppm(file);
#ifdef WITH_JPEG
  const std::vector<unsigned char> data{std::istreambuf_iterator<char>(file), {}};
  Picture picture;
  read_jpeg(data, picture);
  return picture;
#else
  throw std::runtime_error("this program was built without libjpeg: give it a binary PPM");
#endif
}

Picture prepare(const Picture &picture, const Bundle &bundle) {
  const int side = bundle.image_size;
  const bool cubic = bundle.interpolation == "bicubic";
  if (bundle.mode == "shorter-side") {
    const int shorter = std::min(picture.width, picture.height);
    const auto scaled = [&](int length) { return int(std::int64_t(bundle.resize) * length / shorter); };
    const Picture resized = resize(picture, scaled(picture.width), scaled(picture.height), cubic);
    return crop(resized, centred(resized.width, side), centred(resized.height, side), side, side);
  }
  if (bundle.mode == "center-then-resize") {
    const double square = double(side) / bundle.resize * std::min(picture.width, picture.height);
    const int left = centred(picture.width, square), top = centred(picture.height, square);
    const int width = int(std::nearbyint(left + square)) - left, height = int(std::nearbyint(top + square)) - top;
    return resize(crop(picture, left, top, width, height), side, side, cubic);
  }
  if (bundle.mode == "squash") return resize(picture, side, side, cubic);
  throw std::runtime_error("this program does not know the resize mode " + bundle.mode);
}
