// SPDX-License-Identifier: MIT
#include "common/run_log.hpp"

#include "common/files.hpp"
#include "common/progress.hpp"
#include "system_faults.hpp"
#include "temporary_folder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace evenkeel::examples {
namespace {

nlohmann::json entry(int64_t step) {
  return {{"event", "train"}, {"step", step}};
}

TEST(RunLogTest, KeepsTheLinesUpToAStep) {
  const TemporaryFolder folder;
  const auto file = folder / "log.jsonl";
  {
    RunLog log(file, 0, 0);
    for (const int64_t step : {1, 2, 3}) log.write(entry(step));
    log.write({{"event", "end"}, {"step", 3}});
  }
  std::ofstream(file, std::ios::app) << R"({"event":"train","step":"2"})"
                                     << "\n{\"cut o";
  RunLog log(file, 2, 9);
  log.write(entry(3));
  EXPECT_EQ(bytes_of(file),
            entry(1).dump() + "\n" + entry(2).dump() + "\n" + entry(3).dump() + "\n");
}

TEST(RunLogTest, LeavesOutWhatIsNoEntry) {
  const std::string good = entry(1).dump() + "\n";
  for (const auto& line : {std::string(),
                           std::string("null"),
                           std::string(R"({"event":"train"})"),
                           std::string(R"({"event":"train","step":-1})"),
                           std::string(R"({"event":"train","step":18446744073709551615})"),
                           std::string(R"({"event":"train","step":1,"step":2})"),
                           R"({"event":"train","step":)" + std::string(1'000'000, '[')}) {
    EXPECT_EQ(kept_lines(good + line + "\n" + good, 2, 9), good + good) << line.substr(0, 60);
  }
}

TEST(RunLogTest, KeepsNoLineThatCameLaterAtTheSameStep) {
  const TemporaryFolder folder;
  const auto file = folder / "log.jsonl";
  RunLog log(file, 0, 0);
  log.write(entry(1));
  EXPECT_EQ(log.lines(), 1);
  log.write({{"event", "valid"}, {"step", 1}});
  log.keep_until(1, 1);
  EXPECT_EQ(bytes_of(file), entry(1).dump() + "\n");
}

TEST(RunLogTest, ALineThatCannotBeWrittenWaitsForTheNextOne) {
  const TemporaryFolder folder;
  const auto file = folder / "log.jsonl";
  RunLog log(file, 0, 0);
  int64_t step = 0;
  const int failures = fail_every_call(
      [&] { log.write(entry(++step)); },
      [&](const char*) { EXPECT_EQ(log.trouble(), file + ": No space left on device"); });
  EXPECT_EQ(failures, 1);
  EXPECT_EQ(log.trouble(), "");
  EXPECT_EQ(bytes_of(file), entry(1).dump() + "\n" + entry(2).dump() + "\n");
}

TEST(RunLogTest, GoingBackOnAFullDiskLosesNoLine) {
  const TemporaryFolder folder;
  const auto file = folder / "log.jsonl";
  { RunLog(file, 0, 0).write(entry(1)); }
  const auto before = bytes_of(file);
  fail_every_call([&] { const RunLog log(file, 1, 1); },
                  [&](const char* call) { EXPECT_EQ(bytes_of(file), before) << call; });
  EXPECT_EQ(bytes_of(file), before);
}

TEST(ProgressTest, AStreamThatCannotBeWrittenIsNoError) {
  std::FILE* full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  Progress progress(full);
  EXPECT_NO_THROW(progress.line("lost"));
  EXPECT_NO_THROW(progress.draw({0.5, 1, 1.0, 1.0, 1.0}));
  std::fclose(full);
}

TEST(ProgressTest, AClockThatIsNoTimeSaysSo) {
  EXPECT_EQ(clock(187.0), "3:07");
  EXPECT_EQ(clock(3765.0), "1:02:45");
  for (const double seconds : {-1.0, 1e300, HUGE_VAL}) EXPECT_EQ(clock(seconds), "?");
}

}  // namespace
}  // namespace evenkeel::examples
