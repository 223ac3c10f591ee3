// TensorRT 10 or later, with the engine that `resnest-edge build --target tensorrt` made on this machine.
#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <fstream>
#include <iostream>
#include <stdexcept>

#include "session.hpp"

namespace {

class Logger : public nvinfer1::ILogger {
  void log(Severity severity, const char *words) noexcept override {
    if (severity <= Severity::kWARNING) std::cerr << words << '\n';
  }
};

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

struct DeviceMemory {
  explicit DeviceMemory(std::size_t bytes) { check(cudaMalloc(&address, bytes)); }
  ~DeviceMemory() { cudaFree(address); }
  DeviceMemory(const DeviceMemory &) = delete;
  DeviceMemory &operator=(const DeviceMemory &) = delete;
  void *address = nullptr;
};

class TensorRtSession : public Session {
 public:
  explicit TensorRtSession(const Bundle &bundle) : bundle_(bundle) {
    if (bundle.engine.empty()) throw std::runtime_error("this bundle holds a graph and no engine: build it here first");
    std::ifstream file(bundle.engine, std::ios::binary);
    const std::vector<char> plan{std::istreambuf_iterator<char>(file), {}};
    runtime_.reset(nvinfer1::createInferRuntime(logger_));
    engine_.reset(runtime_ ? runtime_->deserializeCudaEngine(plan.data(), plan.size()) : nullptr);
    context_.reset(engine_ ? engine_->createExecutionContext() : nullptr);
    if (!context_) throw std::runtime_error("TensorRT refuses this engine: it fits one TensorRT version and one GPU");
  }

  std::vector<float> probabilities(const Picture &picture) override {
    return bundle_.input_format == "float-nchw" ? run<float>(picture) : run<std::uint8_t>(picture);
  }

 private:
  template <typename Value>
  std::vector<float> run(const Picture &picture) {
    const int side = bundle_.image_size, batch = bundle_.batch;
    const nvinfer1::Dims4 nhwc{batch, side, side, 3}, nchw{batch, 3, side, side};
    const std::vector<Value> pixels = as_input<Value>(picture, bundle_);
    std::vector<float> answers(bundle_.labels.size());
    const std::size_t given = pixels.size() * sizeof(Value), taken = batch * answers.size() * sizeof(float);
    DeviceMemory images(given), probabilities(taken), logits(taken);
    check(cudaMemcpy(images.address, pixels.data(), given, cudaMemcpyHostToDevice));
    if (!context_->setInputShape("images", bundle_.input_format == "float-nchw" ? nchw : nhwc) ||
        !context_->setTensorAddress("images", images.address) ||
        !context_->setTensorAddress("logits", logits.address) ||
        !context_->setTensorAddress("probabilities", probabilities.address) || !context_->enqueueV3(nullptr)) {
      throw std::runtime_error("TensorRT refuses this batch");
    }
    check(cudaStreamSynchronize(nullptr));
    check(cudaMemcpy(answers.data(), probabilities.address, answers.size() * sizeof(float), cudaMemcpyDeviceToHost));
    return answers;
  }

  Bundle bundle_;
  Logger logger_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;  // destroyed last, as TensorRT asks
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

}  // namespace

std::unique_ptr<Session> open_session(const Bundle &bundle) { return std::make_unique<TensorRtSession>(bundle); }
