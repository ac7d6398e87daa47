// SPDX-License-Identifier: MIT
#pragma once

namespace evenkeel::examples {

/// Makes standard streams that were closed fail instead of being the next file that is opened, and
/// writing to a pipe without a reader, or past a limit of size, an error like any other. To be
/// called first of all.
void prepare_standard_streams();

}  // namespace evenkeel::examples
