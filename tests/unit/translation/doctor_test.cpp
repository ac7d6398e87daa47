// SPDX-License-Identifier: MIT
#include "translation/doctor.hpp"

#include "toy_task.hpp"
#include "translation/run_folder.hpp"
#include "translation/train.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

namespace evenkeel::examples::translation {
namespace {

class DoctorTest : public ::testing::Test {
 protected:
  // A toy task, of as many layers in each stack.
  Config config(const char* scheme, int64_t layers) {
    auto config = toy_task(folder_, 300, 20);
    config.scheme = scheme;
    config.encoder_layers = config.decoder_layers = layers;
    config.embed_dim = 32;
    config.dim_feedforward = 64;
    config.max_steps = 4;
    config.lr = 4e-3;
    config.warmup = 0;
    return resolved(config);
  }

  TemporaryFolder folder_;
};

TEST_F(DoctorTest, AFreshModelIsTrainedAsTheConfigHasIt) {
  const auto post = doctor(config("post", 12), std::nullopt);
  EXPECT_EQ(post.options.learning_rate(), 4e-3);
  EXPECT_EQ(post.options.beta2(), 0.98);
  EXPECT_EQ(post.options.clip_norm(), 1.0);
  EXPECT_EQ(post.sublayers.size(), 60U);
  EXPECT_EQ(post.verdict().outcome, Outcome::kDiverges) << post.verdict();
  const auto admin = doctor(config("admin-o1", 12), std::nullopt);
  EXPECT_EQ(admin.verdict().outcome, Outcome::kTrains) << admin.verdict();
}

TEST_F(DoctorTest, ARunsCheckpointIsDiagnosedWithTheRestOfItsWarmUp) {
  auto asked = config("admin", 1);
  asked.warmup = 6;
  ASSERT_EQ(train(asked, false), Ending::kFinished);
  const auto trained = load_trained(asked.run_dir, "cpu");
  const auto later = doctor(asked, trained);
  EXPECT_EQ(later.options.warmup_steps(), 2);
  const auto fresh = doctor(asked, std::nullopt);
  EXPECT_EQ(fresh.options.warmup_steps(), 6);
  EXPECT_LT(later.trial.front().loss, fresh.trial.front().loss);
}

}  // namespace
}  // namespace evenkeel::examples::translation
