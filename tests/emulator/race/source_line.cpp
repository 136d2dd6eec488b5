// SPDX-License-Identifier: Apache-2.0
#include "race/source_line.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <unordered_map>

namespace simt::race {
namespace {

const char* anchor() { return reinterpret_cast<const char*>(&source_line); }

struct ClosePipe {
  void operator()(std::FILE* pipe) const { pclose(pipe); }
};

// The innermost inlined frame that is not the emulator's own or the standard library's.
std::string look_up(const char* address) {
  Dl_info library{};
  dladdr(address, &library);
  char command[1024];
  std::snprintf(command, sizeof command, "addr2line -i -e '%s' %#zx 2>/dev/null", library.dli_fname,
                static_cast<std::size_t>(address - static_cast<const char*>(library.dli_fbase)));
  const std::unique_ptr<std::FILE, ClosePipe> pipe(popen(command, "r"));
  char line[1024];
  while (pipe && std::fgets(line, sizeof line, pipe.get())) {
    if (std::strstr(line, "tests/emulator/simt/") || std::strstr(line, "/include/c++/")) continue;
    line[std::strcspn(line, " \n")] = 0;
    return std::strncmp(line, "./", 2) == 0 ? line + 2 : line;
  }
  return "an unknown line (is addr2line installed?)";
}

}  // namespace

std::int32_t relative(const void* program_counter) {
  return static_cast<std::int32_t>(static_cast<const char*>(program_counter) - anchor());
}

std::string source_line(std::int32_t relative_program_counter) {
  static std::unordered_map<std::int32_t, std::string> known;
  std::string& line = known[relative_program_counter];
  if (line.empty()) line = look_up(anchor() + relative_program_counter - 1);  // - 1: into the call before it
  return line;
}

}  // namespace simt::race
