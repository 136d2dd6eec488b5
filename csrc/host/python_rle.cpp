// SPDX-License-Identifier: Apache-2.0
#include "host/python_rle.h"

#include <cmath>

namespace py = pybind11;

namespace ldie::host {

namespace {

// In ASCII, which may be cut anywhere.
std::string shown(const py::handle& object) {
  const auto ascii = py::reinterpret_steal<py::object>(PyObject_ASCII(object.ptr()));
  if (!ascii) {
    PyErr_Clear();
    return std::string("an unprintable ") + Py_TYPE(object.ptr())->tp_name;
  }
  const std::string text = py::str(ascii);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

// The value at an interned key.
py::object entry(const py::handle& object, PyObject* key) {
  if (!PyDict_Check(object.ptr())) {
    throw std::invalid_argument("must be a dict with size and counts, got " + shown(object));
  }
  PyObject* const value = PyDict_GetItemWithError(object.ptr(), key);
  if (value == nullptr) {
    PyErr_Clear();
    throw std::invalid_argument("has no " + std::string(py::str(key)));
  }
  return py::reinterpret_borrow<py::object>(value);
}

// A number that has no fraction, as an integer: json files hold 480.0 too.
int64_t integral(PyObject* object, const char* what) {
  constexpr double kLimit = double(int64_t(1) << 53);
  const double value = PyUnicode_Check(object) ? NAN : PyFloat_AsDouble(object);
  if (PyErr_Occurred()) PyErr_Clear();
  if (!(value >= -kLimit && value <= kLimit && value == std::floor(value))) {
    throw std::invalid_argument(std::string(what) + ", got " + shown(object));
  }
  return int64_t(value);
}

// An integer, of NumPy too; out of int64's range or no integer at all is invalid.
int64_t integer(PyObject* object, const char* what) {
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(object));
  if (!number) {
    PyErr_Clear();
    return integral(object, what);
  }
  const long long value = PyLong_AsLongLong(number.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    throw std::invalid_argument(std::string(what) + ", got " + shown(object));
  }
  return value;
}

std::vector<uint32_t> run_list(const py::handle& counts) {
  const py::tuple items = items_of(counts, "a string or a list of run lengths");
  std::vector<uint32_t> runs;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items.ptr()); ++i) {
    const int64_t run = integer(PyTuple_GET_ITEM(items.ptr(), i), "counts must be run lengths");
    if (run < 0 || run > INT32_MAX) {
      throw std::invalid_argument("counts must be run lengths from 0 to 2^31 - 1, got " + std::to_string(run));
    }
    runs.push_back(uint32_t(run));
  }
  return runs;
}

std::string_view text_view(const py::object& counts) {
  if (PyBytes_Check(counts.ptr())) {
    return {PyBytes_AS_STRING(counts.ptr()), size_t(PyBytes_GET_SIZE(counts.ptr()))};
  }
  Py_ssize_t length = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(counts.ptr(), &length);
  if (text == nullptr) {
    PyErr_Clear();
    throw std::invalid_argument("counts are not text");
  }
  return {text, size_t(length)};
}

double coordinate(PyObject* number) {
  const double value = PyFloat_CheckExact(number) ? PyFloat_AS_DOUBLE(number) : PyFloat_AsDouble(number);
  if (PyErr_Occurred()) {
    PyErr_Clear();
    throw std::invalid_argument("coordinates must be numbers, got " + shown(number));
  }
  if (!std::isfinite(value)) throw std::invalid_argument("coordinates must be finite, got " + shown(number));
  return value;
}

Outline read_polygon(const py::handle& polygon) {
  const py::tuple numbers = items_of(polygon, "a list of coordinates x0, y0, x1, y1, ...");
  const Py_ssize_t count = PyTuple_GET_SIZE(numbers.ptr());
  if (count % 2 != 0) {
    throw std::invalid_argument("needs an even number of coordinates, got " + std::to_string(count));
  }
  Outline xy(static_cast<size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) xy[size_t(i)] = coordinate(PyTuple_GET_ITEM(numbers.ptr(), i));
  return xy;
}

}  // namespace

py::tuple items_of(const py::handle& object, const char* what) {
  const bool text = PyUnicode_Check(object.ptr()) || PyBytes_Check(object.ptr()) || PyDict_Check(object.ptr());
  PyObject* const items = text ? nullptr : PySequence_Tuple(object.ptr());
  if (items == nullptr) {
    PyErr_Clear();
    throw std::invalid_argument(std::string("must be ") + what + ", got " + shown(object));
  }
  return py::reinterpret_steal<py::tuple>(items);
}

RleSource::RleSource(const py::handle& object) {
  static PyObject* const size_key = PyUnicode_InternFromString("size");
  static PyObject* const counts_key = PyUnicode_InternFromString("counts");
  const py::tuple size = items_of(entry(object, size_key), "[height, width]");
  if (PyTuple_GET_SIZE(size.ptr()) != 2) {
    throw std::invalid_argument("size must be [height, width], got " + shown(size));
  }
  height_ = integer(PyTuple_GET_ITEM(size.ptr(), 0), "size must be two integers");
  width_ = integer(PyTuple_GET_ITEM(size.ptr(), 1), "size must be two integers");
  const py::object counts = entry(object, counts_key);
  const bool changing = PyByteArray_Check(counts.ptr());
  is_text_ = changing || PyBytes_Check(counts.ptr()) || PyUnicode_Check(counts.ptr());
  if (is_text_) {
    owner_ = changing ? py::bytes(PyByteArray_AS_STRING(counts.ptr()), PyByteArray_GET_SIZE(counts.ptr())) : counts;
    text_ = text_view(owner_);
  } else {
    counts_ = run_list(counts);
  }
}

Rle RleSource::decode() const {
  const int64_t cells = mask_cells(height_, width_);
  if (is_text_) return {height_, width_, decode_counts(text_, cells)};
  check_counts(counts_, cells);
  return {height_, width_, counts_};
}

std::vector<RleSource> read_sources(const py::handle& objects) {
  const py::tuple items = items_of(objects, "a sequence of RLE objects");
  std::vector<RleSource> sources;
  sources.reserve(items.size());
  int64_t item = 0;
  for (const py::handle object : items) {
    named("RLE", item++, [&] { sources.emplace_back(object); });
  }
  return sources;
}

std::vector<Rle> read_masks(const py::handle& objects) {
  const std::vector<RleSource> sources = read_sources(objects);
  std::vector<Rle> masks(sources.size());
  const py::gil_scoped_release release;
  for_each_source(sources, [&](int64_t n, const RleSource& source) { masks[size_t(n)] = source.decode(); });
  return masks;
}

std::vector<Outline> read_polygons(const py::handle& polygons) {
  std::vector<Outline> outlines;
  for (const py::handle polygon : items_of(polygons, "a sequence of polygons")) {
    outlines.push_back(named("polygon", int64_t(outlines.size()), [&] { return read_polygon(polygon); }));
  }
  return outlines;
}

EncodedMask encode(const Rle& mask) { return {mask.height, mask.width, encode_counts(mask.counts)}; }

py::list to_python(const std::vector<EncodedMask>& masks) {
  const py::str size_key("size"), counts_key("counts");
  py::list objects(masks.size());
  for (size_t i = 0; i < masks.size(); ++i) {
    py::list size(2);
    size[0] = masks[i].height;
    size[1] = masks[i].width;
    py::dict object;
    object[size_key] = size;
    object[counts_key] = py::bytes(masks[i].counts);
    objects[i] = object;
  }
  return objects;
}

}  // namespace ldie::host
