// SPDX-License-Identifier: Apache-2.0
// Runs the target on the inputs of a corpus, one a line in hexadecimal, where no fuzzer is at hand: replay corpus.txt
#include <cstdint>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int, char** arguments) {
  std::ifstream corpus(arguments[1]);
  int inputs = 0;
  for (std::string line; std::getline(corpus, line); ++inputs) {
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < line.size(); i += 2) bytes.push_back(uint8_t(std::stoi(line.substr(i, 2), nullptr, 16)));
    std::cerr << "input " << inputs << ": " << line << std::endl;  // the last one is the one that failed
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::cout << inputs << std::endl;
}
