// SPDX-License-Identifier: Apache-2.0
// Overlaps of all pairs of two sets of boxes, as torchvision.ops computes them:
//   IoU    I / U                                     I intersection, U union
//   GIoU   IoU - (H - U) / H                         H area of the hull (arXiv:1902.09630)
//   DIoU   IoU - d^2 / (D^2 + eps)                   d distance of the centres, D diagonal of the hull
//   CIoU   DIoU - alpha v                            v = 4 / pi^2 (atan(w_a / h_a) - atan(w_b / h_b))^2,
//                                                    alpha = v / (1 - IoU + v + eps), a constant to the gradient
// (the last two: arXiv:1911.08287)
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "core/box.h"
#include "core/context.h"

namespace ldie::boxes {

enum class BoxIouKind : int64_t { kIou, kGeneralized, kDistance, kComplete };
constexpr BoxIouKind last_option(BoxIouKind) { return BoxIouKind::kComplete; }

template <typename T>
struct BoxIou {
  const T *a, *b;  // [a_count, 4], [b_count, 4]
  int64_t a_count, b_count;
  BoxIouKind kind;
  acc_t<T> eps;
  acc_t<T>* iou;  // [a_count, b_count]
};

template <typename T>
void box_iou(const BoxIou<T>& args, Context& context);

template <typename T>
struct BoxIouBackward {
  const acc_t<T>* grad;  // [a_count, b_count]
  const T *a, *b;
  int64_t a_count, b_count;
  BoxIouKind kind;
  acc_t<T> eps;
  T *grad_a, *grad_b;
};

template <typename T>
void box_iou_backward(const BoxIouBackward<T>& args, Context& context);

// A box and what all of its pairs need.
template <typename A>
struct PairBox {
  Box<A> box;
  A area, angle;  // the angle is atan(width / height), for CIoU only

  PairBox() = default;
  LDIE_HD PairBox(const Box<A>& box, BoxIouKind kind)
      : box(box),
        area(box_area(box)),
        angle(kind == BoxIouKind::kComplete ? A(std::atan((box.x2 - box.x1) / (box.y2 - box.y1))) : A(0)) {}
};

// The extent from low to high, negative where they are apart. PyTorch subtracts 16-bit coordinates in 16 bits.
template <typename T>
LDIE_HD acc_t<T> extent(acc_t<T> low, acc_t<T> high) {
  return acc_t<T>(T(high - low));
}

// What the overlaps are made of.
template <typename T>
struct PairParts {
  using A = acc_t<T>;
  A width, height;  // of the intersection, negative where the boxes are apart
  A intersection, union_area, iou;
  A hull_width, hull_height;
  A dx, dy;  // from b's centre to a's

  LDIE_HD PairParts(const PairBox<A>& a, const PairBox<A>& b)
      : width(extent<T>(maximum(a.box.x1, b.box.x1), minimum(a.box.x2, b.box.x2))),
        height(extent<T>(maximum(a.box.y1, b.box.y1), minimum(a.box.y2, b.box.y2))),
        intersection(maximum(A(0), width) * maximum(A(0), height)),
        union_area(a.area + b.area - intersection),
        iou(intersection / union_area),
        hull_width(maximum(A(0), extent<T>(minimum(a.box.x1, b.box.x1), maximum(a.box.x2, b.box.x2)))),
        hull_height(maximum(A(0), extent<T>(minimum(a.box.y1, b.box.y1), maximum(a.box.y2, b.box.y2)))),
        dx((a.box.x1 + a.box.x2) / A(2) - (b.box.x1 + b.box.x2) / A(2)),
        dy((a.box.y1 + a.box.y2) / A(2) - (b.box.y1 + b.box.y2) / A(2)) {}

  LDIE_HD A hull_area() const { return hull_width * hull_height; }
  LDIE_HD A distance() const { return dx * dx + dy * dy; }
  LDIE_HD A diagonal(A eps) const { return hull_width * hull_width + hull_height * hull_height + eps; }
};

template <typename A>
constexpr A kAngleScale = A(4 / (3.14159265358979323846 * 3.14159265358979323846));

template <BoxIouKind kKind, typename T>
LDIE_HD acc_t<T> pair_iou(const PairBox<acc_t<T>>& a, const PairBox<acc_t<T>>& b, acc_t<T> eps) {
  using A = acc_t<T>;
  const PairParts<T> parts(a, b);
  if constexpr (kKind == BoxIouKind::kIou) return parts.iou;
  if constexpr (kKind == BoxIouKind::kGeneralized) {
    const A hull = parts.hull_area();
    return parts.iou - (hull - parts.union_area) / hull;
  }
  const A distance_iou = parts.iou - parts.distance() / parts.diagonal(eps);
  if constexpr (kKind == BoxIouKind::kDistance) return distance_iou;
  const A v = kAngleScale<A> * ((a.angle - b.angle) * (a.angle - b.angle));
  const A alpha = v / (A(1) - parts.iou + v + eps);
  return distance_iou - alpha * v;
}

// Calls body(std::integral_constant<BoxIouKind, kind>()).
template <typename Body>
void with_kind(BoxIouKind kind, const Body& body) {
  using Kind = BoxIouKind;
  switch (kind) {
    case Kind::kIou: return body(std::integral_constant<Kind, Kind::kIou>());
    case Kind::kGeneralized: return body(std::integral_constant<Kind, Kind::kGeneralized>());
    case Kind::kDistance: return body(std::integral_constant<Kind, Kind::kDistance>());
    case Kind::kComplete: return body(std::integral_constant<Kind, Kind::kComplete>());
  }
}

// A sum over pairs of what flows back to a box: to its coordinates, and to its area and angle.
template <typename A>
struct BoxGradient {
  A x1, y1, x2, y2, area, angle;

  LDIE_HD BoxGradient& operator+=(const BoxGradient& other) {
    x1 += other.x1;
    y1 += other.y1;
    x2 += other.x2;
    y2 += other.y2;
    area += other.area;
    angle += other.angle;
    return *this;
  }

  // All of it as the gradient of the coordinates of `box`.
  LDIE_HD Box<A> of_coordinates(const Box<A>& box) const {
    const A width = box.x2 - box.x1, height = box.y2 - box.y1;
    A to_width = A(0), to_height = A(0);
    if (area != A(0)) {  // 0 times an infinite side would be NaN
      to_width = area * height;
      to_height = area * width;
    }
    if (angle != A(0)) {  // atan(w / h)' = (h w' - w h') / (w^2 + h^2)
      const A scale = angle / (width * width + height * height);
      to_width += scale * height;
      to_height -= scale * width;
    }
    return {x1 - to_width, y1 - to_height, x2 + to_width, y2 + to_height};
  }
};

template <typename A>
struct PairGradient {
  BoxGradient<A> a, b;

  LDIE_HD void add_to_centres(A to_dx, A to_dy) {
    const A half_dx = to_dx / A(2), half_dy = to_dy / A(2);
    a += {half_dx, half_dy, half_dx, half_dy, A(0), A(0)};
    b += {-half_dx, -half_dy, -half_dx, -half_dy, A(0), A(0)};
  }
};

// The gradients of min(a, b) and max(a, b) go to the one chosen, in halves at a tie, as PyTorch's do.
template <typename A>
LDIE_HD void spread(A a, A b, A to_minimum, A to_maximum, A& to_a, A& to_b) {
  const A share = a < b ? A(1) : b < a ? A(0) : A(0.5), rest = A(1) - share;
  to_a = share * to_minimum + rest * to_maximum;
  to_b = rest * to_minimum + share * to_maximum;
}

// The gradients of one pair's overlap, times `grad`. A pair of which nothing is asked adds nothing, though its overlap
// be NaN: losses read some pairs of a table only.
template <BoxIouKind kKind, typename T>
LDIE_HD PairGradient<acc_t<T>> pair_gradient(const PairBox<acc_t<T>>& a, const PairBox<acc_t<T>>& b, acc_t<T> eps,
                                             acc_t<T> grad) {
  using A = acc_t<T>;
  const PairParts<T> parts(a, b);
  const bool used = grad != A(0);
  A to_union = -grad * (parts.iou / parts.union_area);
  A to_hull_width = A(0), to_hull_height = A(0), to_dx = A(0), to_dy = A(0), to_angle = A(0);
  if constexpr (kKind == BoxIouKind::kGeneralized) {  // IoU - 1 + U / H
    const A hull = parts.hull_area(), to_hull = -grad * (parts.union_area / hull / hull);
    to_union += grad / hull;
    to_hull_width = to_hull * parts.hull_height;
    to_hull_height = to_hull * parts.hull_width;
  }
  if constexpr (kKind == BoxIouKind::kDistance || kKind == BoxIouKind::kComplete) {
    const A diagonal = parts.diagonal(eps), to_distance = A(-2) * grad / diagonal;
    to_dx = to_distance * parts.dx;
    to_dy = to_distance * parts.dy;
    const A to_diagonal = A(2) * grad * (parts.distance() / diagonal / diagonal);
    to_hull_width = to_diagonal * parts.hull_width;
    to_hull_height = to_diagonal * parts.hull_height;
  }
  if constexpr (kKind == BoxIouKind::kComplete) {
    const A difference = a.angle - b.angle, v = kAngleScale<A> * (difference * difference);
    to_angle = -grad * (v / (A(1) - parts.iou + v + eps)) * (A(2) * kAngleScale<A> * difference);
  }
  const A to_intersection = grad / parts.union_area - to_union;  // U = area_a + area_b - I
  const A to_width = used && parts.width > A(0) ? to_intersection * maximum(A(0), parts.height) : A(0);
  const A to_height = used && parts.height > A(0) ? to_intersection * maximum(A(0), parts.width) : A(0);
  if constexpr (kKind != BoxIouKind::kIou) {
    to_hull_width = used ? to_hull_width : A(0);
    to_hull_height = used ? to_hull_height : A(0);
    to_dx = used ? to_dx : A(0);
    to_dy = used ? to_dy : A(0);
    to_angle = used ? to_angle : A(0);
  }
  PairGradient<A> result{};
  spread(a.box.x1, b.box.x1, -to_hull_width, -to_width, result.a.x1, result.b.x1);
  spread(a.box.y1, b.box.y1, -to_hull_height, -to_height, result.a.y1, result.b.y1);
  spread(a.box.x2, b.box.x2, to_width, to_hull_width, result.a.x2, result.b.x2);
  spread(a.box.y2, b.box.y2, to_height, to_hull_height, result.a.y2, result.b.y2);
  result.add_to_centres(to_dx, to_dy);
  result.a.area = result.b.area = used ? to_union : A(0);
  result.a.angle = to_angle;
  result.b.angle = -to_angle;
  return result;
}

}  // namespace ldie::boxes
