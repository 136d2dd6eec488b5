// SPDX-License-Identifier: Apache-2.0
#include "boxes/box_coder.h"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/tiles_cpu.h"

namespace ldie::boxes {
namespace {

constexpr int64_t kTileBoxes = kTile / 4;

template <typename A>
Box<A> box_in(const A* numbers, int64_t i) {
  return {numbers[4 * i], numbers[4 * i + 1], numbers[4 * i + 2], numbers[4 * i + 3]};
}

template <typename A>
BoxDelta<A> delta_in(const A* numbers, int64_t i) {
  return {numbers[4 * i], numbers[4 * i + 1], numbers[4 * i + 2], numbers[4 * i + 3]};
}

template <typename T, typename A>
void store(T* numbers, int64_t i, const Box<A>& box) {
  numbers[4 * i] = T(box.x1);
  numbers[4 * i + 1] = T(box.y1);
  numbers[4 * i + 2] = T(box.x2);
  numbers[4 * i + 3] = T(box.y2);
}

template <typename T, typename A>
void store(T* numbers, int64_t i, const BoxDelta<A>& delta) {
  numbers[4 * i] = T(delta.x);
  numbers[4 * i + 1] = T(delta.y);
  numbers[4 * i + 2] = T(delta.width);
  numbers[4 * i + 3] = T(delta.height);
}

// The proposals of `count` boxes from box `begin` on, each row's once for each of its boxes.
template <typename T>
const acc_t<T>* load_proposals(const T* proposals, int64_t per_row, int64_t begin, int64_t count, acc_t<T>* buffer) {
  if (per_row == 1) return load_tile(proposals + 4 * begin, 4 * count, buffer);
  int64_t row = begin / per_row, left = per_row - begin % per_row;
  for (int64_t i = 0; i < count; ++i) {
    store(buffer, i, load_box(proposals, row));
    if (--left == 0) {
      ++row;
      left = per_row;
    }
  }
  return buffer;
}

template <typename T>
void encode_tile(const EncodeBoxes<T>& args, int64_t begin, int64_t count) {
  using A = acc_t<T>;
  const BoxDelta<A> weights = weights_as<A>(args.weights);
  A reference_buffer[kTile], proposal_buffer[kTile];
  const A* const reference = load_tile(args.reference + 4 * begin, 4 * count, reference_buffer);
  const A* const proposals = load_tile(args.proposals + 4 * begin, 4 * count, proposal_buffer);
  T* const deltas = args.deltas + 4 * begin;
  for (int64_t i = 0; i < count; ++i) store(deltas, i, encode_box(box_in(reference, i), box_in(proposals, i), weights));
}

template <typename T>
void encode_gradient_tile(const EncodeBoxesBackward<T>& args, int64_t begin, int64_t count) {
  using A = acc_t<T>;
  const BoxDelta<A> weights = weights_as<A>(args.weights);
  A grad_buffer[kTile], reference_buffer[kTile], proposal_buffer[kTile];
  const A* const grad = load_tile(args.grad + 4 * begin, 4 * count, grad_buffer);
  const A* const reference = load_tile(args.reference + 4 * begin, 4 * count, reference_buffer);
  const A* const proposals = load_tile(args.proposals + 4 * begin, 4 * count, proposal_buffer);
  T *const of_reference = args.grad_reference + 4 * begin, *const of_proposals = args.grad_proposals + 4 * begin;
  for (int64_t i = 0; i < count; ++i) {
    const auto pair = encode_box_gradient(delta_in(grad, i), box_in(reference, i), box_in(proposals, i), weights);
    store(of_reference, i, pair.reference);
    store(of_proposals, i, pair.proposal);
  }
}

template <typename T, typename Decoder>
void decode_tile(const DecodeBoxes<T>& args, const Decoder& decoder, int64_t begin, int64_t count) {
  using A = acc_t<T>;
  A delta_buffer[kTile], proposal_buffer[kTile];
  const A* const deltas = load_tile(args.deltas + 4 * begin, 4 * count, delta_buffer);
  const A* const proposals = load_proposals(args.proposals, args.per_row, begin, count, proposal_buffer);
  T* const boxes = args.boxes + 4 * begin;
  for (int64_t i = 0; i < count; ++i) store(boxes, i, decoder.decode(delta_in(deltas, i), box_in(proposals, i)));
}

// Adds the gradients of a row's boxes up, over tile borders.
template <typename T>
struct RowSums {
  using A = acc_t<T>;
  T* row;  // the next to write
  int64_t per_row, added;
  Box<A> sum;

  RowSums(T* first_row, int64_t per_row) : row(first_row), per_row(per_row), added(0), sum{} {}

  void add(const Box<A>& box) {
    sum = {sum.x1 + box.x1, sum.y1 + box.y1, sum.x2 + box.x2, sum.y2 + box.y2};
    if (++added < per_row) return;
    store(row, 0, sum);
    row += 4;
    added = 0;
    sum = {};
  }
};

template <typename T, typename Decoder>
void decode_gradient_rows(const DecodeBoxesBackward<T>& args, const Decoder& decoder, int64_t first, int64_t last) {
  using A = acc_t<T>;
  T* const first_sum = args.grad_proposals == nullptr ? nullptr : args.grad_proposals + 4 * first;
  RowSums<T> sums(first_sum, args.per_row);
  const int64_t end = last * args.per_row;
  for (int64_t begin = first * args.per_row; begin < end; begin += kTileBoxes) {
    const int64_t count = end - begin < kTileBoxes ? end - begin : kTileBoxes;
    A grad_buffer[kTile], delta_buffer[kTile], proposal_buffer[kTile], of_proposals[kTile];
    const A* const grad = load_tile(args.grad + 4 * begin, 4 * count, grad_buffer);
    const A* const deltas = load_tile(args.deltas + 4 * begin, 4 * count, delta_buffer);
    const A* const proposals = load_proposals(args.proposals, args.per_row, begin, count, proposal_buffer);
    T* const of_deltas = args.grad_deltas + 4 * begin;
    for (int64_t i = 0; i < count; ++i) {
      const auto gradient = decoder.gradient(box_in(grad, i), delta_in(deltas, i), box_in(proposals, i));
      store(of_deltas, i, gradient.delta);
      store(of_proposals, i, gradient.proposal);
    }
    if (args.grad_proposals == nullptr) continue;
    for (int64_t i = 0; i < count; ++i) sums.add(box_in(of_proposals, i));
  }
}

// Calls body(begin, count) for tiles of boxes, over threads.
template <typename Body>
void for_each_box_tile(int64_t boxes, const Body& body) {
  for_each_tile(4 * boxes, [&](int64_t begin, int64_t count) { body(begin / 4, count / 4); });
}

}  // namespace

// Reads 32 bytes a box in float32 and writes 16, some 60 flops: with vectors the memory decides.
template <typename T>
void encode_boxes(const EncodeBoxes<T>& args, Context&) {
  for_each_box_tile(args.count, [&](int64_t begin, int64_t count) { encode_tile(args, begin, count); });
}

// Reads 48 bytes a box in float32 and writes 32.
template <typename T>
void encode_boxes_backward(const EncodeBoxesBackward<T>& args, Context&) {
  for_each_box_tile(args.count, [&](int64_t begin, int64_t count) { encode_gradient_tile(args, begin, count); });
}

// As encode_boxes, the proposals once for all boxes of a row.
template <typename T>
void decode_boxes(const DecodeBoxes<T>& args, Context&) {
  with_decoder<T>(args.options, [&](const auto& decoder) {
    for_each_box_tile(args.rows * args.per_row,
                      [&](int64_t begin, int64_t count) { decode_tile(args, decoder, begin, count); });
  });
}

// Reads 32 bytes a box in float32 and 16 a row, writes 16 a box and 16 a row. A thread owns whole rows, so that their
// sums need no one else.
template <typename T>
void decode_boxes_backward(const DecodeBoxesBackward<T>& args, Context&) {
  constexpr int64_t kBoxesPerTask = 16 * kTileBoxes;
  with_decoder<T>(args.options, [&](const auto& decoder) {
    parallel_for(args.rows, ceil_div(kBoxesPerTask, args.per_row),
                 [&](int64_t first, int64_t last) { decode_gradient_rows(args, decoder, first, last); });
  });
}

LDIE_INSTANTIATE(encode_boxes, EncodeBoxes);
LDIE_INSTANTIATE(encode_boxes_backward, EncodeBoxesBackward);
LDIE_INSTANTIATE(decode_boxes, DecodeBoxes);
LDIE_INSTANTIATE(decode_boxes_backward, DecodeBoxesBackward);

}  // namespace ldie::boxes
