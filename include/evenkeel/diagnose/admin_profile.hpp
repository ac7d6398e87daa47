// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/position.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/gain.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <locale>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {

/// The omega of every residual sub-layer of a model, as `profile_admin` measures them. On disk it
/// is Transformer-Clinic's `profile.ratio.init`: a line "index omega" for each sub-layer, the
/// encoder's first, each stack counted from 1 in forward order.
/// Source: LiyuanLucasLiu/Transformer-Clinic, `--init-type adaptive-profiling`.
struct AdminProfile {
  std::vector<double> encoder;  ///< In forward order; also a model's only stack.
  std::vector<double> decoder;  ///< Empty if there is one stack.

  /// The omega of a sub-layer. Throws if the profile is of a stack of another depth.
  double omega(const Position& position) const {
    const bool one_stack = decoder.empty();
    const auto& stack = one_stack || position.stack == Stack::kEncoder ? encoder : decoder;
    const auto size = static_cast<int64_t>(stack.size());
    TORCH_CHECK(size == position.num_res_layers && position.index < size,
                "AdminProfile: expected ",
                position.num_res_layers,
                " omegas for the ",
                one_stack ? "model" : to_string(position.stack),
                ", one for each residual sub-layer, but got ",
                size);
    return stack[static_cast<size_t>(position.index)];
  }

  /// Admin with these omegas, trained from there, one value per channel:
  ///
  ///     nn::Transformer<> model(AdminProfile::load("profile.ratio.init").scheme(), options);
  Scheme scheme() const {
    auto scheme = scheme_of<AdminProfiled>();
    scheme.profiled = false;
    scheme.shortcut = [profile = std::make_shared<AdminProfile>(*this)](const Position& position) {
      return Gain::trained(profile->omega(position), GainShape::kPerChannel);
    };
    return scheme;
  }

  /// What `save` writes.
  std::string to_text() const {
    std::string text;
    for (const auto* stack : {&encoder, &decoder}) {
      for (size_t i = 0; i < stack->size(); ++i) {
        text += fmt::format("{} {}\n", i + 1, (*stack)[i]);
      }
    }
    return text;
  }

  /// Writes the file. Throws if it cannot be written; an existing file is then left as it was.
  void save(const std::string& path) const {
    const std::string part = path + ".part";
    std::ofstream file(part, std::ios::binary);
    file << to_text();
    file.close();
    const bool written = file.good() && std::rename(part.c_str(), path.c_str()) == 0;
    if (!written) std::remove(part.c_str());
    TORCH_CHECK(written, "AdminProfile: could not write ", path);
  }

  /// Reads such a file. Throws for a file that cannot be read, and names the line for an index that
  /// is out of order, or an omega that is not a number above 0.
  static AdminProfile load(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    TORCH_CHECK(file.is_open(), "AdminProfile: could not read ", path);
    std::vector<std::vector<double>> stacks;
    std::string line;
    for (int64_t number = 1; std::getline(file, line); ++number) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      const auto next = stacks.empty() ? 1 : static_cast<int64_t>(stacks.back().size()) + 1;
      const auto [index, omega] = parse(path, number, line);
      const bool begins = index == 1 && (stacks.empty() || next > 1);
      TORCH_CHECK(begins || (!stacks.empty() && index == next),
                  path,
                  ':',
                  number,
                  ": expected index ",
                  next,
                  stacks.empty() ? "" : ", or 1 for the next stack",
                  ", but got ",
                  index);
      TORCH_CHECK(!begins || stacks.size() < 2,
                  path,
                  ':',
                  number,
                  ": expected at most two stacks, encoder and decoder, but a third begins here");
      if (begins) stacks.emplace_back();
      stacks.back().push_back(omega);
    }
    TORCH_CHECK(!file.bad(), "AdminProfile: could not read ", path);
    TORCH_CHECK(!stacks.empty(),
                "AdminProfile: expected lines \"index omega\" in ",
                path,
                ", but it is empty");
    stacks.resize(2);
    return {std::move(stacks[0]), std::move(stacks[1])};
  }

 private:
  static std::pair<int64_t, double> parse(const std::string& path,
                                          int64_t number,
                                          const std::string& line) {
    int64_t index = 0;
    double omega = 0.0;
    std::istringstream stream(line);
    stream.imbue(std::locale::classic());
    const bool good = stream >> index >> omega && (stream >> std::ws).eof();
    TORCH_CHECK(good && std::isfinite(omega) && omega > 0.0,
                path,
                ':',
                number,
                ": expected an index and an omega above 0, such as \"1 1.0\", but got \"",
                line.substr(0, 60),
                '"');
    return {index, omega};
  }
};

}  // namespace evenkeel
