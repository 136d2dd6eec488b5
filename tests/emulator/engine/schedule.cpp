// SPDX-License-Identifier: Apache-2.0
#include "engine/schedule.h"

#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace simt {

Schedule Schedule::from_environment() {
  constexpr std::string_view kRandom = "random:";
  const char* variable = std::getenv("SIMT_SCHEDULE");
  const std::string_view text = variable ? variable : "forward";
  Schedule schedule;
  if (text == "forward") return schedule;
  if (text == "reverse") {
    schedule.order_ = Order::reverse;
    return schedule;
  }
  if (text.starts_with(kRandom)) {
    schedule.order_ = Order::random;
    const std::string_view seed = text.substr(kRandom.size());
    const auto [end, error] = std::from_chars(seed.data(), seed.data() + seed.size(), schedule.seed_);
    if (error == std::errc() && end == seed.data() + seed.size()) return schedule;
  }
  throw std::runtime_error("SIMT_SCHEDULE must be forward, reverse or random:<seed>, not '" + std::string(text) + "'");
}

void Schedule::reseed(std::uint64_t stream) {
  state_ = (seed_ + 1) * 0x9E3779B97F4A7C15ull ^ (stream + 1) * 0xD1B54A32D192ED03ull;
  if (state_ == 0) state_ = 1;
}

std::uint64_t Schedule::draw() {
  state_ ^= state_ << 13;
  state_ ^= state_ >> 7;
  state_ ^= state_ << 17;
  return state_;
}

}  // namespace simt
