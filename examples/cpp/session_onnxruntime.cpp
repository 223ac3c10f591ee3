// ONNX Runtime on the CPU, with the bundle's typed graph.
#include <onnxruntime_cxx_api.h>

#include <array>

#include "session.hpp"

namespace {

class OnnxRuntimeSession : public Session {
 public:
  explicit OnnxRuntimeSession(const Bundle &bundle) : bundle_(bundle) {
    session_ = Ort::Session(environment_, bundle.model.c_str(), Ort::SessionOptions());
  }

  std::vector<float> probabilities(const Picture &picture) override {
    return bundle_.input_format == "float-nchw" ? run<float>(picture) : run<std::uint8_t>(picture);
  }

 private:
  template <typename Value>
  std::vector<float> run(const Picture &picture) {
    const std::int64_t side = bundle_.image_size, batch = bundle_.batch;
    const std::array<std::int64_t, 4> nhwc{batch, side, side, 3}, nchw{batch, 3, side, side};
    const auto &shape = bundle_.input_format == "float-nchw" ? nchw : nhwc;
    std::vector<Value> pixels = as_input<Value>(picture, bundle_);
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto input = Ort::Value::CreateTensor<Value>(memory, pixels.data(), pixels.size(), shape.data(), shape.size());
    const char *inputs[] = {"images"}, *outputs[] = {"probabilities"};
    const std::vector<Ort::Value> answers = session_.Run(Ort::RunOptions(), inputs, &input, 1, outputs, 1);
    const float *first = answers.front().GetTensorData<float>();
    return {first, first + bundle_.labels.size()};
  }

  Bundle bundle_;
  Ort::Env environment_{ORT_LOGGING_LEVEL_WARNING, "resnest-edge"};
  Ort::Session session_{nullptr};
};

}  // namespace

std::unique_ptr<Session> open_session(const Bundle &bundle) { return std::make_unique<OnnxRuntimeSession>(bundle); }
