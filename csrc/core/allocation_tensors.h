// SPDX-License-Identifier: Apache-2.0
// What an op says when there is no memory: through the stable interface PyTorch's own words do not arrive.
#pragma once

#include <cstdint>
#include <exception>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>

namespace ldie {

struct AllocationFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What allocate() makes, a tensor of this size; where that fails, the size is named.
template <typename Sizes, typename Allocate>
auto allocated(const Sizes& sizes, const Allocate& allocate) {
  try {
    return allocate();
  } catch (const std::exception&) {
    std::ostringstream text;
    text << "not enough memory for a tensor of shape [";
    const char* separator = "";
    for (const int64_t size : sizes) {
      text << separator << size;
      separator = ", ";
    }
    text << "]";
    throw AllocationFailure(text.str());
  }
}

// Names the op in what call() throws for want of memory; other errors name it themselves.
template <typename Call>
void named_allocations(const char* op, const Call& call) {
  try {
    call();
  } catch (const AllocationFailure& failure) {
    throw std::runtime_error(std::string(op) + ": " + failure.what());
  } catch (const std::bad_alloc&) {
    throw std::runtime_error(std::string(op) + ": not enough memory");
  } catch (const std::length_error&) {  // of a std::vector
    throw std::runtime_error(std::string(op) + ": not enough memory");
  }
}

}  // namespace ldie
