// SPDX-License-Identifier: MIT
#pragma once

// Compiled once for all tests: by far the largest part of what each of them includes.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/torch.h>
