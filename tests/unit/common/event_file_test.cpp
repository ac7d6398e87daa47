// SPDX-License-Identifier: MIT
#include "common/event_file.hpp"

#include "common/event_records.hpp"
#include "temporary_folder.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace evenkeel::examples {
namespace {

using nlohmann::json;

json train_entry(int step, double loss) {
  return {{"event", "train"},
          {"step", step},
          {"seconds", 0.1 * step},
          {"loss", loss},
          {"lr", 0.125}};
}

// In the folder that tests/reference/tensorboard_reader.py reads, or in one of its own.
class EventFileTest : public ::testing::Test {
 protected:
  EventFileTest() {
    const char* reference = std::getenv("EVENKEEL_REFERENCE_DIR");
    if (reference != nullptr && *reference != '\0')
      logdir_ = std::string(reference) + "/tensorboard";
  }

  std::string content() const { return bytes_of(logdir_ + "/events.out.tfevents.0.evenkeel"); }

  TemporaryFolder folder_;
  std::string logdir_ = folder_ / "logs";
};

TEST_F(EventFileTest, HasTheNumbersOfTheLogAndWhatIsAdded) {
  const json text{{"event", "end"}, {"step", 100}, {"reason", "finished"}};
  EventFile events(logdir_, train_entry(100, 1.0).dump() + "\n" + text.dump() + "\n");
  events.add(train_entry(200, 0.5));
  events.add(
      {{"event", "valid"}, {"step", 200}, {"seconds", 21.0}, {"bleu", 31.5}, {"samples", {1}}});
  events.add(train_entry(300, 0.25));
  const auto bytes = content();
  EXPECT_NE(bytes.find("train/loss"), std::string::npos);
  EXPECT_NE(bytes.find("valid/bleu"), std::string::npos);
  for (const char* other : {"samples", "reason", "seconds", "step"}) {
    EXPECT_EQ(bytes.find(other), std::string::npos) << other;
  }
}

TEST_F(EventFileTest, IsWrittenAnewWhereTheLogHasLostLines) {
  logdir_ = folder_ / "logs";
  EventFile events(logdir_, "");
  const auto empty = content();
  events.add(train_entry(100, 1.0));
  const auto one = content();
  events.add(train_entry(200, 0.5));
  EXPECT_GT(content().size(), one.size());
  events.rewrite(train_entry(100, 1.0).dump() + "\n");
  EXPECT_EQ(content().size(), one.size());
  events.rewrite("");
  EXPECT_EQ(content().size(), empty.size());
}

TEST_F(EventFileTest, WithoutAFolderIsNone) {
  EventFile events("", train_entry(100, 1.0).dump());
  events.add(train_entry(200, 1.0));
  events.rewrite("");
  EXPECT_FALSE(std::filesystem::exists("events.out.tfevents.0.evenkeel"));
}

}  // namespace
}  // namespace evenkeel::examples
