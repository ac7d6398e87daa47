// SPDX-License-Identifier: MIT
#include "common/validator.hpp"

#include "common/progress.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples {
namespace {

// What a progress has printed.
class Printed {
 public:
  Progress& progress() { return progress_; }
  std::string text() {
    std::rewind(file_.get());
    std::string text(4096, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), file_.get()));
    return text;
  }

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{std::tmpfile(), &std::fclose};
  Progress progress_{file_.get()};
};

Metric metric(const std::string& name, double value, bool lower_is_better = false) {
  return {name, name + " of 9 sentences", value, lower_is_better};
}

ValidationReport report(std::vector<Metric> metrics, double loss = 1.0) {
  ValidationReport report;
  report.loss = loss;
  report.metrics = std::move(metrics);
  return report;
}

using Names = std::vector<std::string>;

TEST(ValidatorTest, OnlyABetterValueIsTheBest) {
  Printed printed;
  Validator validator(nullptr);
  const auto compare = [&](double loss, double bleu) {
    return validator.compare(report({metric("loss", loss, true), metric("bleu", bleu)}),
                             printed.progress());
  };
  EXPECT_EQ(compare(3.0, 20.0), (Names{"loss", "bleu"}));
  EXPECT_EQ(compare(3.0, 20.0), Names{});
  EXPECT_EQ(compare(4.0, 21.0), Names{"bleu"});
  EXPECT_EQ(compare(2.0, 20.5), Names{"loss"});
  EXPECT_EQ(validator.state().best.at("loss").value, 2.0);
  EXPECT_EQ(validator.state().best.at("bleu").value, 21.0);
  EXPECT_EQ(printed.text(), "");
}

TEST(ValidatorTest, WhatIsNotFiniteIsNeverTheBest) {
  Printed printed;
  Validator validator(nullptr);
  const auto compare = [&](double bleu, double loss) {
    return validator.compare(report({metric("bleu", bleu)}, loss), printed.progress());
  };
  EXPECT_EQ(compare(50.0, std::nan("")), Names{});
  EXPECT_EQ(compare(std::nan(""), 1.0), Names{});
  EXPECT_EQ(compare(HUGE_VAL, 1.0), Names{});
  EXPECT_TRUE(validator.state().best.empty());
  EXPECT_EQ(printed.text(), "the validation loss is not finite: this model cannot be the best\n");
}

TEST(ValidatorTest, CountsWhatIsNoBetterByMoreThanEpsilon) {
  Validator validator(nullptr);
  const auto stalled = [&](double bleu, double loss = 1.0) {
    validator.count(report({metric("bleu", bleu)}, loss), /*epsilon=*/0.5);
    return validator.state().stalled;
  };
  EXPECT_EQ(stalled(20.0), 0);
  EXPECT_EQ(stalled(20.5), 1);
  EXPECT_EQ(stalled(19.0), 2);
  EXPECT_EQ(stalled(30.0, std::nan("")), 3);
  EXPECT_EQ(stalled(std::nan("")), 4);
  EXPECT_EQ(stalled(20.75), 0);  // more than 20 by more than 0.5, though not more than 20.5
  EXPECT_EQ(stalled(21.0), 1);
}

TEST(ValidatorTest, CountsByTheFirstMetricAlone) {
  Validator validator(nullptr);
  for (const double bleu : {20.0, 30.0, 40.0}) {
    validator.count(report({metric("loss", 2.0, true), metric("bleu", bleu)}), 0.0);
  }
  EXPECT_EQ(validator.state().stalled, 2);
  validator.count(report({metric("loss", 1.0, true), metric("bleu", 0.0)}), 0.0);
  EXPECT_EQ(validator.state().stalled, 0);
}

TEST(ValidatorTest, AnotherMetricThatDecidesBeginsTheSearchAnewAndSaysSo) {
  Printed printed;
  Validator validator(nullptr);
  const auto bleu = report({metric("bleu", 30.0), metric("loss", 1.0, true)});
  validator.compare(bleu, printed.progress());
  validator.count(bleu, 0.0);
  validator.count(bleu, 0.0);
  const auto loss = report({metric("loss", 5.0, true), metric("bleu", 20.0)});
  EXPECT_EQ(validator.compare(loss, printed.progress()), (Names{"loss", "bleu"}));
  EXPECT_EQ(validator.state().chosen_by, "loss of 9 sentences");
  EXPECT_EQ(validator.state().stalled, 0);
  EXPECT_EQ(printed.text(),
            "the best model was chosen by bleu of 9 sentences; the search starts again, by loss of "
            "9 sentences\n");
}

TEST(ValidatorTest, AMetricOfSomethingElseIsNotCompared) {
  Printed printed;
  Validator validator(nullptr);
  auto first = report({metric("loss", 1.0, true), metric("bleu", 30.0)});
  validator.compare(first, printed.progress());
  first.metrics[1] = {"bleu", "bleu of 5 sentences", 10.0};
  EXPECT_EQ(validator.compare(first, printed.progress()), Names{"bleu"});
}

TEST(ValidatorTest, AnotherTextBeginsTheSearchAnewAndSaysSo) {
  Printed printed;
  Validator validator(nullptr);
  ValidationState state;
  state.validated = 20;
  state.best["bleu"] = {30.0, "bleu of 9 sentences"};
  state.chosen_by = "bleu of 9 sentences";
  state.stalled = 2;
  state.to_beat = 30.0;
  validator.restore(state);
  validator.begin_anew(printed.progress());
  EXPECT_EQ(validator.state().validated, -1);
  EXPECT_EQ(validator.state().stalled, 0);
  EXPECT_FALSE(validator.state().to_beat);
  EXPECT_EQ(validator.compare(report({metric("bleu", 1.0)}), printed.progress()), Names{"bleu"});
  EXPECT_EQ(printed.text(),
            "the validation text has changed: the search for the best model starts again\n");
}

TEST(ValidatorTest, GoingBackKeepsTheBestAndForgetsWhatItHasCountedSince) {
  Printed printed;
  Validator validator(nullptr);
  validator.compare(report({metric("bleu", 30.0)}), printed.progress());
  validator.count(report({metric("bleu", 30.0)}), 0.0);
  const auto earlier = validator.state();
  validator.compare(report({metric("bleu", 31.0)}), printed.progress());
  validator.validated(20);
  for (const double bleu : {31.0, 5.0}) validator.count(report({metric("bleu", bleu)}), 0.0);
  validator.go_back(earlier);
  EXPECT_EQ(validator.state().validated, -1);
  EXPECT_EQ(validator.state().stalled, 0);
  EXPECT_EQ(validator.state().to_beat, 30.0);
  EXPECT_EQ(validator.state().best.at("bleu").value, 31.0);
}

}  // namespace
}  // namespace evenkeel::examples
