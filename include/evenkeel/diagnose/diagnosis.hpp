// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/diagnose_options.hpp>
#include <evenkeel/diagnose/diagnosis_parts.hpp>
#include <evenkeel/diagnose/verdict.hpp>

#include <string>
#include <vector>

namespace evenkeel {

struct Diagnosis;

namespace detail {

inline Verdict judge(const Diagnosis& diagnosis);
inline std::vector<std::string> advice_for(const Diagnosis& diagnosis);
inline std::string json_of(const Diagnosis& diagnosis);
inline std::string csv_of(const Diagnosis& diagnosis);
inline std::string html_of(const Diagnosis& diagnosis, const std::string& title);
inline void write_whole(const std::string& file, const std::string& text);

}  // namespace detail

/// What `diagnose` found, as plain data. A number that was not measured is NaN.
struct Diagnosis {
  std::vector<SublayerDiagnosis> sublayers;  ///< In forward order.
  std::vector<StackDiagnosis> stacks;
  std::vector<MatrixDiagnosis> matrices;  ///< In order of registration.
  std::vector<GainDiagnosis> gains;       ///< Gains and norms.
  std::vector<TrialStep> trial;           ///< From the model as it is.
  DiagnoseOptions options;

  /// What these numbers come to.
  Verdict verdict() const { return detail::judge(*this); }
  /// What mends a training of this model that diverges, whatever the verdict, the best first.
  std::vector<std::string> advice() const { return detail::advice_for(*this); }
  /// Everything, with the verdict; a number that is not finite is null.
  std::string to_json() const { return detail::json_of(*this); }
  /// The sub-layers, one a line below a line of names; a number that is not finite is empty.
  std::string to_csv() const { return detail::csv_of(*this); }
  /// One page without anything from elsewhere: the verdict, curves, heat maps, a table.
  std::string to_html(const std::string& title = "Diagnosis") const {
    return detail::html_of(*this, title);
  }
  /// These write a file as a whole, or throw c10::Error and leave what was there.
  void write_json(const std::string& file) const { detail::write_whole(file, to_json()); }
  void write_csv(const std::string& file) const { detail::write_whole(file, to_csv()); }
  void write_html(const std::string& file, const std::string& title = "Diagnosis") const {
    detail::write_whole(file, to_html(title));
  }
};

}  // namespace evenkeel

#include <evenkeel/diagnose/detail/diagnosis_csv.hpp>
#include <evenkeel/diagnose/detail/diagnosis_html.hpp>
#include <evenkeel/diagnose/detail/diagnosis_json.hpp>
#include <evenkeel/diagnose/detail/judge.hpp>
