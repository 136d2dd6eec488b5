// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "core/half.h"
#include "core/simt.cuh"
#include "planted/semantics.h"

namespace semantics {
namespace {

constexpr unsigned kAll = 0xffffffffu;

__global__ void shuffles(int* out, int width) {  // [32, 4]
  const int lane = int(threadIdx.x);
  out[lane * 4 + 0] = __shfl_sync(kAll, lane, 5, width);
  out[lane * 4 + 1] = __shfl_up_sync(kAll, lane, 3, width);
  out[lane * 4 + 2] = __shfl_down_sync(kAll, lane, 3, width);
  out[lane * 4 + 3] = __shfl_xor_sync(kAll, lane, 6, width);
}

__global__ void shuffles_by_size(double* out) {  // [32, 4]: types of 8, 8, 4 and 2 bytes
  const int lane = int(threadIdx.x);
  out[lane * 4 + 0] = __shfl_sync(kAll, lane + 0.25, 31 - lane);
  out[lane * 4 + 1] = double(__shfl_sync(kAll, (long long)(lane) << 40, 31 - lane));
  out[lane * 4 + 2] = __shfl_sync(kAll, float(lane) + 0.5f, 31 - lane);
  unsigned bits = ldie::Half(float(lane)).bits;
  bits = __shfl_sync(kAll, bits, 31 - lane);
  ldie::Half half;
  half.bits = uint16_t(bits);
  out[lane * 4 + 3] = float(half);
}

__global__ void votes(unsigned* out) {  // [32, 6]
  const int lane = int(threadIdx.x);
  int all_equal = 0;
  out[lane * 6 + 0] = __ballot_sync(kAll, lane % 3 == 0);
  out[lane * 6 + 1] = unsigned(__any_sync(kAll, lane == 7));
  out[lane * 6 + 2] = unsigned(__all_sync(kAll, lane < 31));
  out[lane * 6 + 3] = __match_any_sync(kAll, lane % 5);
  out[lane * 6 + 4] = __match_all_sync(kAll, lane / 32, &all_equal);
  out[lane * 6 + 5] = __match_all_sync(kAll, lane / 31, &all_equal) + unsigned(all_equal);
}

__global__ void reductions(unsigned* out) {  // [9]
  const int lane = int(threadIdx.x), value = (lane * 7) % 32 - 10;
  const unsigned bits = 1u << lane | 0x80000000u;
  const unsigned results[9] = {unsigned(__reduce_add_sync(kAll, value)),
                               unsigned(__reduce_min_sync(kAll, value)),
                               unsigned(__reduce_max_sync(kAll, value)),
                               __reduce_add_sync(kAll, unsigned(value)),
                               __reduce_min_sync(kAll, unsigned(value)),
                               __reduce_max_sync(kAll, unsigned(value)),
                               __reduce_and_sync(kAll, bits),
                               __reduce_or_sync(kAll, bits),
                               __reduce_xor_sync(kAll, bits)};
  if (lane == 0) {
    for (int i = 0; i < 9; ++i) out[i] = results[i];
  }
}

__global__ void block_votes(int* out) {  // [2, 96, 3]
  int* const own = out + (blockIdx.x * 96 + threadIdx.x) * 3;
  const int t = int(threadIdx.x + blockIdx.x);
  own[0] = __syncthreads_count(t % 3 == 0);
  own[1] = __syncthreads_or(t == 96);
  own[2] = __syncthreads_and(t > 0);
}

__global__ void half_warps(int* out) {  // [32]: the halves of a warp go through different collectives
  const int lane = int(threadIdx.x);
  if (lane < 16) {
    out[lane] = __reduce_add_sync(0x0000ffffu, lane);
  } else {
    for (int i = 0; i < 3; ++i) __syncwarp(0xffff0000u);
    out[lane] = __reduce_max_sync(0xffff0000u, lane);
  }
  __syncwarp();
}

__global__ void partial_warp(unsigned* out) {  // [48]: the second warp is half there, and full masks are usual there
  out[threadIdx.x] = __ballot_sync(kAll, 1);
}

__global__ void early_exit(unsigned* out) {  // [64] threads, of which 40 stay
  if (threadIdx.x >= 40) return;
  out[threadIdx.x] = __ballot_sync(threadIdx.x < 32 ? kAll : 0xffu, 1);
}

__global__ void dimensions(int* out) {  // [12, 24]: grid (2, 3, 2), block (4, 3, 2)
  const int thread = int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  const int block = int(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
  out[block * 24 + thread] = block * 1000 + thread;
}

__device__ int* shared_counts(int which) {
  LDIE_SHARED(int, many, [32]);
  LDIE_SHARED(int, one, );
  return which ? many : &one;
}

__global__ void shared_memory(int* out) {  // [3, 32]: one array per block and place, whoever asks for it
  LDIE_SHARED(int, table, [4][33]);
  LDIE_DYNAMIC_SHARED(double, dynamic);
  const int t = int(threadIdx.x);
  shared_counts(1)[t] = t;
  table[t % 4][t] = t;
  dynamic[t] = t + 0.5;
  if (t == 3) *shared_counts(0) = 1000 * int(blockIdx.x);
  __syncthreads();
  const int other = 31 - t;
  out[blockIdx.x * 32 + t] =
      *shared_counts(0) + shared_counts(1)[other] + table[other % 4][other] + int(2 * dynamic[other]);
}

__global__ void atomics(int* i, unsigned* u, float* f, double* d, long long* l, unsigned long long* ul) {
  const int t = int(threadIdx.x);
  atomicAdd(&i[0], 1);
  atomicMax(&i[1], t);
  atomicMin(&i[2], -t);
  atomicCAS(&i[3], 0, 42);
  atomicExch(&i[4], 7);
  atomicSub(&i[5], 2);
  atomicOr(&u[0], 1u << (t % 32));
  atomicAnd(&u[1], ~(1u << (t % 8)));
  atomicXor(&u[2], unsigned(t));
  atomicInc(&u[3], 99u);
  atomicAdd(f, 0.5f);
  atomicAdd(d, 0.25);
  atomicAdd(l, -(1ll << 33));
  atomicMax(ul, (unsigned long long)(t) << 40);
}

struct AtomicsData {
  int i[6];
  unsigned u[4];
  double d;
  long long l;
  unsigned long long ul;
  float f;
};

__global__ void compare_and_swap_loop(int* maximum) {  // a relaxed (volatile) first read: no race
  const float value = float((threadIdx.x * 37u) % 64u);
  int old = *static_cast<volatile int*>(maximum), assumed;
  do {
    assumed = old;
    if (__int_as_float(assumed) >= value) break;
    old = atomicCAS(maximum, assumed, __float_as_int(value));
  } while (old != assumed);
}

__global__ void intrinsics(double* out) {  // [16]
  const double results[16] = {double(__popc(0xf0f0u)),
                              double(__popcll(~0ull)),
                              double(__ffs(8)),
                              double(__ffsll(1ll << 40)),
                              double(__clz(1)),
                              double(__clzll(1)),
                              double(__brev(1u)),
                              double(__float_as_int(1.0f)),
                              double(rsqrtf(4.0f)),
                              double(min(3, 5) + max(3, 5)),
                              double(__float2int_rn(2.5f)),
                              double(__float2int_rn(1e20f)),
                              double(__float2int_rd(-2.5f)),
                              double(__umulhi(1u << 31, 6u)),
                              double(__saturatef(-3.0f) + __saturatef(3.0f)),
                              double(__fmaf_rn(2.0f, 3.0f, 4.0f))};
  for (int i = 0; i < 16; ++i) out[i] = results[i];
}

template <class T>
__global__ void half_sum(const float* in, float* out) {  // [256] -> [1], stored as T, summed in float
  LDIE_SHARED(T, stored, [256]);
  stored[threadIdx.x] = T(in[threadIdx.x]);
  __syncthreads();
  if (threadIdx.x != 0) return;
  float sum = 0;
  for (int i = 0; i < 256; ++i) sum += float(stored[i]);
  out[0] = sum;
}

__global__ void order_of_threads(int* out) {  // [1 + blocks * 32]: who came when
  out[1 + atomicAdd(&out[0], 1)] = int(blockIdx.x * 32 + threadIdx.x);
}

__global__ void trap(int thread) {
  if (int(threadIdx.x) == thread) __trap();
}

__global__ void nothing(int*) {}

#if LDIE_EMULATED  // nvcc refuses to compile it
__global__ void too_much_static_shared(int* out) {
  LDIE_SHARED(char, some, [40 * 1024]);
  LDIE_SHARED(char, more, [8 * 1024 + 1]);
  some[threadIdx.x] = more[threadIdx.x] = 1;
  out[threadIdx.x] = some[threadIdx.x] + more[threadIdx.x];
}
#endif

}  // namespace

void run(const std::string& name, void* data, int argument) {
  auto* const ints = static_cast<int*>(data);
  auto* const words = static_cast<unsigned*>(data);
  auto* const floats = static_cast<float*>(data);
  auto* const doubles = static_cast<double*>(data);
  auto* const mixed = static_cast<AtomicsData*>(data);
  void* const stream = nullptr;
  const auto is = [&](const char* known) { return name == known; };
  if (is("shuffles")) LDIE_LAUNCH(shuffles, 1, 32, 0, stream, ints, argument);
  if (is("shuffles_by_size")) LDIE_LAUNCH(shuffles_by_size, 1, 32, 0, stream, doubles);
  if (is("votes")) LDIE_LAUNCH(votes, 1, 32, 0, stream, words);
  if (is("reductions")) LDIE_LAUNCH(reductions, 1, 32, 0, stream, words);
  if (is("block_votes")) LDIE_LAUNCH(block_votes, 2, 96, 0, stream, ints);
  if (is("half_warps")) LDIE_LAUNCH(half_warps, 1, 32, 0, stream, ints);
  if (is("partial_warp")) LDIE_LAUNCH(partial_warp, 1, 48, 0, stream, words);
  if (is("early_exit")) LDIE_LAUNCH(early_exit, 1, 64, 0, stream, words);
  if (is("dimensions")) LDIE_LAUNCH(dimensions, dim3(2, 3, 2), dim3(4, 3, 2), 0, stream, ints);
  if (is("shared_memory")) LDIE_LAUNCH(shared_memory, 3, 32, 32 * sizeof(double), stream, ints);
  if (is("atomics")) {
    LDIE_LAUNCH(atomics, 4, 64, 0, stream, mixed->i, mixed->u, &mixed->f, &mixed->d, &mixed->l, &mixed->ul);
  }
  if (is("compare_and_swap_loop")) LDIE_LAUNCH(compare_and_swap_loop, 2, 64, 0, stream, ints);
  if (is("intrinsics")) LDIE_LAUNCH(intrinsics, 1, 1, 0, stream, doubles);
  if (is("half_sum")) LDIE_LAUNCH(half_sum<ldie::Half>, 1, 256, 0, stream, floats, floats);
  if (is("bfloat16_sum")) LDIE_LAUNCH(half_sum<ldie::BFloat16>, 1, 256, 0, stream, floats, floats);
  if (is("order_of_threads")) LDIE_LAUNCH(order_of_threads, argument, 32, 0, stream, ints);
  if (is("trap")) LDIE_LAUNCH(trap, 2, 32, 0, stream, argument);
#if LDIE_EMULATED
  if (is("too_much_static_shared")) LDIE_LAUNCH(too_much_static_shared, 1, 32, 0, stream, ints);
#endif
  if (is("threads")) LDIE_LAUNCH(nothing, 1, unsigned(argument), 0, stream, ints);
  if (is("dynamic_bytes")) LDIE_LAUNCH(nothing, 1, 32, size_t(argument), stream, ints);
  if (is("blocks")) LDIE_LAUNCH(nothing, unsigned(argument), 32, 0, stream, ints);
}

}  // namespace semantics
