// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/nearest.hpp>

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::detail {

/// The element of `all` whose member `name` is `name`. Throws c10::ValueError for an unknown name
/// and suggests the nearest one; the error names `function`.
template <typename T>
const T& find_by_name(const char* function, const std::vector<T>& all, std::string_view name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const T& each) { return each.name == name; });
  if (found != all.end()) return *found;
  std::vector<std::string> names;
  names.reserve(all.size());
  for (const auto& each : all) names.push_back(each.name);
  TORCH_CHECK_VALUE(false,
                    function,
                    ": expected one of ",
                    c10::Join(", ", names),
                    ", but got ",
                    name.empty() ? std::string_view("nothing") : name,
                    "; the nearest is ",
                    nearest(name, names));
  return *found;
}

}  // namespace evenkeel::detail
