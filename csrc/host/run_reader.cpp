// SPDX-License-Identifier: Apache-2.0
#include "host/run_reader.h"

#include <stdexcept>
#include <string>

namespace ldie::host {

Number long_number(std::string_view text, size_t position) {
  constexpr int kGroupBits = 5, kMaxGroups = 7;
  int64_t value = 0;
  bool more = true;
  for (int group = 0; more; ++group) {
    const int code = position < text.size() ? int(static_cast<unsigned char>(text[position])) - 48 : -1;
    if (code < 0 || code > 63 || group == kMaxGroups) {
      throw std::invalid_argument("malformed RLE counts at character " + std::to_string(position));
    }
    ++position;
    value |= int64_t(code & 0x1f) << (kGroupBits * group);
    more = code & 0x20;
    if (!more && (code & 0x10)) value |= -(int64_t(1) << (kGroupBits * (group + 1)));
  }
  return {value, position};
}

void throw_wrong_run(size_t index, int64_t run, int64_t cells) {
  throw std::invalid_argument("RLE counts do not fit the mask: run " + std::to_string(index) + " is " +
                              std::to_string(run) + ", the mask has " + std::to_string(cells) + " cells");
}

void throw_wrong_sum(int64_t sum, int64_t cells) {
  throw std::invalid_argument("RLE counts add up to " + std::to_string(sum) + ", the mask has " +
                              std::to_string(cells) + " cells");
}

}  // namespace ldie::host
