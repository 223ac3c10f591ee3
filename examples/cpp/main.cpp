// classify BUNDLE PICTURE: prints the five most probable classes.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <numeric>

#include "bundle.hpp"
#include "picture.hpp"
#include "session.hpp"

int main(int count, char **arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: %s BUNDLE PICTURE\n", arguments[0]);
    return 2;
  }
  try {
    const Bundle bundle = open_bundle(arguments[1]);
    const Picture picture = prepare(read_picture(arguments[2]), bundle);
    const std::vector<float> probabilities = open_session(bundle)->probabilities(picture);
    std::vector<std::size_t> order(probabilities.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return probabilities[a] > probabilities[b]; });
    order.resize(std::min<std::size_t>(5, order.size()));
    for (std::size_t index : order) std::printf("%.6f %s\n", probabilities[index], bundle.labels[index].c_str());
  } catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
