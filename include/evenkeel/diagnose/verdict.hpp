// SPDX-License-Identifier: MIT
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace evenkeel {

/// What will become of a training.
enum class Outcome { kTrains, kDiverges };

constexpr const char* to_string(Outcome outcome) {
  return outcome == Outcome::kTrains ? "trains" : "diverges";
}

/// What a diagnosis comes to, in words, with the numbers that they rest on.
struct Verdict {
  Outcome outcome = Outcome::kTrains;
  double confidence = 0.5;           ///< In [0.5, 1): how often a verdict like this was right.
  std::string summary;               ///< One sentence.
  std::string where;                 ///< The sub-layer where it goes wrong; empty if it trains.
  std::vector<std::string> because;  ///< Numbers that the outcome rests on, a sentence each.
  std::vector<std::string> advice;   ///< What mends it, the best first; empty if nothing has to.

  /// All of it, a sentence a line.
  std::string to_string() const {
    std::string text = summary + '\n';
    for (const auto& sentence : because) text += "  " + sentence + '\n';
    if (!advice.empty()) text += "What mends it:\n";
    for (const auto& sentence : advice) text += "  " + sentence + '\n';
    return text;
  }

  friend std::ostream& operator<<(std::ostream& stream, const Verdict& verdict) {
    return stream << verdict.to_string();
  }
  friend std::string format_as(const Verdict& verdict) { return verdict.to_string(); }
};

}  // namespace evenkeel
