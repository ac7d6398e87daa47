// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>
#include <vector>

namespace evenkeel::test {

/// The CPU and, where there is one, a GPU.
inline std::vector<torch::Device> devices() {
  std::vector<torch::Device> devices{torch::Device(torch::kCPU)};
  if (torch::cuda::is_available()) devices.emplace_back(torch::kCUDA, 0);
  return devices;
}

/// Ends with LibTorch's number of threads that it found.
class ThreadsGuard {
 public:
  explicit ThreadsGuard(int threads) : before_(torch::get_num_threads()) {
    torch::set_num_threads(threads);
  }
  ~ThreadsGuard() { torch::set_num_threads(before_); }
  ThreadsGuard(const ThreadsGuard&) = delete;
  ThreadsGuard& operator=(const ThreadsGuard&) = delete;

 private:
  int before_;
};

/// Every test begins with the same random numbers.
class SeededTest : public ::testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(0); }
};

/// A test that runs once on every device.
class DeviceTest : public SeededTest, public ::testing::WithParamInterface<torch::Device> {
 protected:
  static torch::Device device() { return GetParam(); }
  static torch::TensorOptions options(torch::ScalarType dtype = torch::kFloat32) {
    return torch::TensorOptions().device(device()).dtype(dtype);
  }
  static torch::Tensor randn(torch::IntArrayRef shape, torch::ScalarType dtype = torch::kFloat32) {
    return torch::randn(shape, torch::TensorOptions().dtype(dtype)).to(device());
  }
  template <typename Module>
  static Module on_device(Module module) {
    module->to(device());
    return module;
  }
};

inline std::string device_name(const ::testing::TestParamInfo<torch::Device>& info) {
  return info.param.is_cuda() ? "Cuda" : "Cpu";
}

}  // namespace evenkeel::test

/// Runs the tests of a fixture derived from `DeviceTest`.
#define EVENKEEL_ON_EVERY_DEVICE(Fixture)                                  \
  INSTANTIATE_TEST_SUITE_P(Devices,                                        \
                           Fixture,                                        \
                           ::testing::ValuesIn(evenkeel::test::devices()), \
                           evenkeel::test::device_name)
