// Run a network N times with ncnn: ncnn_runner NETWORK.param fp32|default RUNS
//
// The weights are constants, because the number of instructions does not depend on them. The
// network file comes from benchmarks/networks.py. "fp32" keeps every number in float32;
// "default" is what a user gets who sets nothing (ncnn then stores weights and activations as
// float16 where the core can convert).

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "datareader.h"
#include "net.h"

namespace {

class ConstantWeights : public ncnn::DataReader {
 public:
  size_t read(void* buffer, size_t size) const override {
    if (size == sizeof(unsigned)) {
      std::memset(buffer, 0, size);  // the tag before each array: 0 = float32 values follow
      return size;
    }
    float* values = static_cast<float*>(buffer);
    for (size_t i = 0; i < size / sizeof(float); ++i) values[i] = 0.01f;
    return size;
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: ncnn_runner NETWORK.param fp32|default RUNS\n");
    return 2;
  }
  ncnn::Net net;
  net.opt.num_threads = 1;
  if (std::strcmp(argv[2], "fp32") == 0) {
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = false;
    net.opt.use_bf16_storage = false;
  }
  if (net.load_param(argv[1]) != 0) return 1;
  ConstantWeights weights;
  if (net.load_model(weights) != 0) return 1;

  ncnn::Mat input(224, 224, 3);
  input.fill(0.5f);
  const int runs = std::atoi(argv[3]);
  float last = 0;
  for (int run = 0; run < runs; ++run) {
    ncnn::Extractor extractor = net.create_extractor();
    ncnn::Mat output;
    if (extractor.input("input", input) != 0 || extractor.extract("output", output) != 0) return 1;
    if (output.total() != 1000) {
      std::fprintf(stderr, "ncnn_runner: the output has %zu values\n", output.total());
      return 1;
    }
    last = output[0];
  }
  std::printf("ran %d output %g\n", runs, last);
  return 0;
}
