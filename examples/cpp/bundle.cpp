#include "bundle.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace {

constexpr int kSchema = 1;

std::ifstream open_file(const std::filesystem::path &path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path.string() + " cannot be read");
  return file;
}

}  // namespace

Bundle open_bundle(const std::filesystem::path &folder) {
  std::ifstream file = open_file(folder / "manifest.json");
  const nlohmann::json manifest = nlohmann::json::parse(file);
  if (manifest.at("schema") != kSchema) {
    throw std::runtime_error("this program reads bundles of schema 1, not " + manifest.at("schema").dump());
  }
  const nlohmann::json &graph = manifest.at("graph"), &how = manifest.at("preprocessing");
  Bundle bundle;
  bundle.model = folder / "model.onnx";
  if (!manifest.at("engine").is_null()) bundle.engine = folder / manifest.at("engine").get<std::string>();
  bundle.input_format = graph.at("input_format");
  bundle.batch = std::stoi(graph.at("batch").get<std::string>());  // "8", or "1:8:32" of which this is the 1
  bundle.mode = how.at("mode");
  bundle.interpolation = how.at("interpolation");
  bundle.image_size = how.at("image_size");
  bundle.resize = how.at("resize");
  std::ifstream lines = open_file(folder / "labels.txt");
  for (std::string line; std::getline(lines, line);) bundle.labels.push_back(line);
  if (bundle.labels.size() != graph.at("num_classes").get<std::size_t>()) {
    throw std::runtime_error("labels.txt does not have one line a class");
  }
  return bundle;
}
