// SPDX-License-Identifier: MIT
#include "common/validator.hpp"

#include "common/progress.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <string>

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

ValidationReport report(double score, const std::string& score_of, double loss = 1.0) {
  ValidationReport report;
  report.loss = loss;
  report.score = score;
  report.score_of = score_of;
  return report;
}

TEST(ValidatorTest, OnlyAHigherScoreIsTheBest) {
  Printed printed;
  Validator validator(nullptr);
  EXPECT_TRUE(validator.is_best(report(-3.0, "loss"), printed.progress()));
  EXPECT_FALSE(validator.is_best(report(-3.0, "loss"), printed.progress()));
  EXPECT_FALSE(validator.is_best(report(-4.0, "loss"), printed.progress()));
  EXPECT_TRUE(validator.is_best(report(-2.0, "loss"), printed.progress()));
  EXPECT_EQ(validator.state().best, -2.0);
  EXPECT_EQ(printed.text(), "");
}

TEST(ValidatorTest, WhatIsNotFiniteIsNeverTheBest) {
  Printed printed;
  Validator validator(nullptr);
  EXPECT_FALSE(validator.is_best(report(50.0, "BLEU", std::nan("")), printed.progress()));
  EXPECT_FALSE(validator.is_best(report(std::nan(""), "BLEU"), printed.progress()));
  EXPECT_FALSE(validator.is_best(report(HUGE_VAL, "BLEU"), printed.progress()));
  EXPECT_FALSE(validator.state().best);
  EXPECT_EQ(printed.text(), "the validation loss is not finite: this model cannot be the best\n");
}

TEST(ValidatorTest, AnotherScoreBeginsTheSearchAnewAndSaysSo) {
  Printed printed;
  Validator validator(nullptr);
  EXPECT_TRUE(validator.is_best(report(30.0, "BLEU of 9 sentences"), printed.progress()));
  EXPECT_TRUE(validator.is_best(report(-5.0, "loss"), printed.progress()));
  EXPECT_EQ(validator.state().best_by, "loss");
  EXPECT_EQ(printed.text(),
            "the best model was chosen by BLEU of 9 sentences; the search starts again, by loss\n");
}

TEST(ValidatorTest, AnotherTextBeginsTheSearchAnewAndSaysSo) {
  Printed printed;
  Validator validator(nullptr);
  ValidationState state;
  state.validated = 20;
  state.best = 30.0;
  state.best_by = "BLEU";
  validator.restore(state);
  validator.begin_anew(printed.progress());
  EXPECT_EQ(validator.state().validated, -1);
  EXPECT_TRUE(validator.is_best(report(1.0, "BLEU"), printed.progress()));
  EXPECT_EQ(printed.text(),
            "the validation text has changed: the search for the best model starts again\n");
}

TEST(ValidatorTest, GoingBackKeepsTheBest) {
  Printed printed;
  Validator validator(nullptr);
  validator.is_best(report(30.0, "BLEU"), printed.progress());
  validator.validated(20);
  ValidationState earlier;
  earlier.validated = 10;
  validator.go_back(earlier);
  EXPECT_EQ(validator.state().validated, 10);
  EXPECT_EQ(validator.state().best, 30.0);
}

}  // namespace
}  // namespace evenkeel::examples
