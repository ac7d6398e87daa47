// SPDX-License-Identifier: MIT
// Against microsoft/admin-torch's own Python package: tests/reference/admin_torch_reference.py
// writes what is read here, and reads what is written here.
#include <evenkeel/residual/admin_residual.hpp>

#include "all_close.hpp"
#include "fixture.hpp"

#include <gtest/gtest.h>
#include <torch/serialize.h>
#include <torch/types.h>

#include <cstdint>
#include <cstdlib>
#include <ostream>
#include <string>

namespace evenkeel {
namespace {

using test::all_close;

constexpr int64_t kDim = 16;

// The same list stands in admin_torch_reference.py.
struct Case {
  const char* name;
  int64_t num_res_layers;
  OutputChangeScale scale;
  bool as_parameter;
  friend std::ostream& operator<<(std::ostream& os, const Case& c) { return os << c.name; }
};

class AdminTorchTest : public test::SeededTest, public ::testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("EVENKEEL_REFERENCE_DIR");
    if (folder == nullptr || *folder == '\0') {
      GTEST_SKIP() << "EVENKEEL_REFERENCE_DIR is not set";
    }
    stem_ = std::string(folder) + "/admin_torch/" + GetParam().name;
    tensors_.load_from(stem_ + ".tensors.pt");
  }

  torch::Tensor read(const std::string& name) {
    torch::Tensor tensor;
    tensors_.read(name, tensor, /*is_buffer=*/true);
    return tensor.clone();  // the archive's own is handed out again
  }

  static AdminResidual<> make() {
    return AdminResidual<>(AdminResidualOptions(GetParam().num_res_layers)
                               .output_change_scale(GetParam().scale)
                               .as_parameter(GetParam().as_parameter)
                               .embed_dim(kDim));
  }

  std::string file(const std::string& suffix) const { return stem_ + suffix; }

 private:
  std::string stem_;
  torch::serialize::InputArchive tensors_;
};

TEST_P(AdminTorchTest, BeginsWithTheSameOmega) {
  EXPECT_TRUE(test::same_bits(make()->omega.detach(), read("initial_omega")));
}

TEST_P(AdminTorchTest, HasTheSameOutputsAndGradientsWithItsCheckpoint) {
  for (const auto& device : test::devices()) {
    SCOPED_TRACE(device.str());
    auto residual = make();
    torch::load(residual, file(".checkpoint.pt"));
    residual->to(device);
    const auto x = read("x").to(device).requires_grad_();
    const auto f_x = read("f_x").to(device).requires_grad_();
    const auto y = residual(x, f_x);
    y.backward(read("grad_y").to(device));

    EXPECT_TRUE(test::same_bits(residual->omega.detach().cpu(), read("omega")));
    EXPECT_TRUE(all_close(y.cpu(), read("y")));
    EXPECT_TRUE(all_close(x.grad().cpu(), read("grad_x")));
    EXPECT_TRUE(all_close(f_x.grad().cpu(), read("grad_f_x")));
    if (GetParam().as_parameter) {
      EXPECT_TRUE(all_close(residual->omega.grad().cpu(), read("grad_omega")));
    }
  }
}

TEST_P(AdminTorchTest, WritesACheckpointForAdminTorchToRead) {
  auto residual = make();
  {
    const torch::NoGradGuard no_grad;
    residual->omega.add_(torch::rand_like(residual->omega));  // as training would
  }
  torch::save(residual, file(".ours.pt"));
  torch::serialize::OutputArchive beside;
  const auto x = torch::randn({2, 3, kDim});
  const auto f_x = torch::randn({2, 3, kDim});
  beside.write("x", x, /*is_buffer=*/true);
  beside.write("f_x", f_x, /*is_buffer=*/true);
  // Not through a module that took omega for 1 when it was made.
  auto loaded = make();
  torch::load(loaded, file(".ours.pt"));
  beside.write("y", loaded(x, f_x).detach(), /*is_buffer=*/true);
  beside.write("omega", residual->omega.detach(), /*is_buffer=*/true);
  beside.save_to(file(".ours_tensors.pt"));

  EXPECT_TRUE(test::same_bits(loaded->omega.detach(), residual->omega.detach()));
}

constexpr auto kON = OutputChangeScale::kON;
constexpr auto kOLogN = OutputChangeScale::kOLogN;
constexpr auto kO1 = OutputChangeScale::kO1;

INSTANTIATE_TEST_SUITE_P(AdminTorch,
                         AdminTorchTest,
                         ::testing::Values(Case{"ConstantN12", 12, kON, false},
                                           Case{"ConstantN200", 200, kON, false},
                                           Case{"ConstantLogN2", 2, kOLogN, false},
                                           Case{"ConstantLogN12", 12, kOLogN, false},
                                           Case{"ConstantLogN36", 36, kOLogN, false},
                                           Case{"ConstantLogN300", 300, kOLogN, false},
                                           Case{"ConstantO1_12", 12, kO1, false},
                                           Case{"ConstantO1_200", 200, kO1, false},
                                           Case{"TrainedN12", 12, kON, true},
                                           Case{"TrainedN200", 200, kON, true},
                                           Case{"TrainedLogN12", 12, kOLogN, true},
                                           Case{"TrainedLogN36", 36, kOLogN, true},
                                           Case{"TrainedLogN300", 300, kOLogN, true},
                                           Case{"TrainedO1_12", 12, kO1, true},
                                           Case{"TrainedO1_200", 200, kO1, true}),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace evenkeel
