// Stands in for the part of TensorRT that examples/cpp calls, with the names and types of its C++ API, and computes:
// an "engine" file that says "plan CLASSES FLOAT" gives, as the probability of class c, the mean over the first image
// of input[i] * ((i + c) % 7) / 1785. It proves that the program's calls fit together, never what TensorRT does.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <sstream>
#include <string>

namespace nvinfer1 {

struct Dims {
  std::int32_t nbDims;
  std::int64_t d[8];
};

struct Dims4 : Dims {
  Dims4(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t e) : Dims{4, {a, b, c, e}} {}
};

class ILogger {
 public:
  enum class Severity : std::int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2, kINFO = 3, kVERBOSE = 4 };
  virtual void log(Severity severity, const char *words) noexcept = 0;
  virtual ~ILogger() = default;
};

class IExecutionContext {
 public:
  IExecutionContext(int classes, bool floats) : classes_(classes), floats_(floats) {}
  virtual ~IExecutionContext() = default;

  bool setInputShape(const char *name, const Dims &dims) noexcept {
    batch_ = dims.d[0];
    area_ = std::int64_t(dims.d[1]) * dims.d[2] * dims.d[3];
    return std::string(name) == "images" && dims.nbDims == 4 && dims.d[floats_ ? 1 : 3] == 3;
  }
  bool setTensorAddress(const char *name, void *data) noexcept {
    addresses_[name] = data;
    return true;
  }
  bool enqueueV3(cudaStream_t) noexcept {
    if (addresses_.size() != 3 || !addresses_.count("logits")) return false;  // every tensor has to have its address
    for (std::int64_t image = 0; image < batch_; ++image) {
      for (int c = 0; c < classes_; ++c) {
        double sum = 0;
        for (std::int64_t i = 0; i < area_; ++i) sum += at(image * area_ + i) * double((i + c) % 7) / 1785.0;
        static_cast<float *>(addresses_["probabilities"])[image * classes_ + c] = float(sum / double(area_));
      }
    }
    return true;
  }

 private:
  double at(std::int64_t index) {
    void *images = addresses_["images"];
    return floats_ ? static_cast<float *>(images)[index] : static_cast<std::uint8_t *>(images)[index];
  }

  int classes_;
  bool floats_;
  std::int64_t batch_ = 0, area_ = 0;
  std::map<std::string, void *> addresses_;
};

class ICudaEngine {
 public:
  ICudaEngine(int classes, bool floats) : classes_(classes), floats_(floats) {}
  virtual ~ICudaEngine() = default;
  IExecutionContext *createExecutionContext() noexcept { return new IExecutionContext(classes_, floats_); }

 private:
  int classes_;
  bool floats_;
};

class IRuntime {
 public:
  explicit IRuntime(ILogger &logger) : logger_(logger) {}
  virtual ~IRuntime() = default;
  ICudaEngine *deserializeCudaEngine(const void *blob, std::size_t size) noexcept {
    std::istringstream text(std::string(static_cast<const char *>(blob), size));
    std::string word;
    int classes = 0;
    bool floats = false;
    text >> word >> classes >> floats;
    if (word == "plan") return new ICudaEngine(classes, floats);
    logger_.log(ILogger::Severity::kERROR, "The engine plan file is not compatible with this version of TensorRT");
    return nullptr;
  }

 private:
  ILogger &logger_;
};

inline IRuntime *createInferRuntime(ILogger &logger) noexcept { return new IRuntime(logger); }

}  // namespace nvinfer1
