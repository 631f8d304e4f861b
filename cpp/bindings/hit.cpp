#include "hit.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "calls.h"
#include "srvdb/distance/metric.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

// The way from a hit back to its row; one for all hits of a call, in a capsule.
struct Origin {
  std::weak_ptr<Database> database;
  std::shared_ptr<const View> view;
  Metric metric;
};

constexpr const char* kOriginName = "srvdb.origin";

// What stands behind the two visible items. Objects are owned; null means "not known yet".
struct Tail {
  PyObject* origin;     // capsule of an Origin; null in a hit that was not made by a search
  PyObject* metadata;   // str: JSON text not parsed yet; else dict or None
  PyObject* embedding;  // numpy array
  PyObject* distance;   // float
  Row row;
};

constexpr Py_ssize_t kVisible = 2;
constexpr Py_ssize_t kTailItems = (sizeof(Tail) + sizeof(PyObject*) - 1) / sizeof(PyObject*);

PyTypeObject* hit_type = nullptr;  // set once at import, never released

Tail& tail(PyObject* self) {
  return *reinterpret_cast<Tail*>(&reinterpret_cast<PyTupleObject*>(self)->ob_item[kVisible]);
}

// Room for the tail is asked for as items, then only two items are shown. The object holds nothing
// that could be part of a cycle until its metadata is read, so the collector need not see it: it is
// made without tp_alloc, which would track it. id and score are taken over.
PyObject* new_hit(PyObject* id, PyObject* score) {
  auto* const self = reinterpret_cast<PyObject*>(
      PyObject_GC_NewVar(PyTupleObject, hit_type, kVisible + kTailItems));
  if (self == nullptr) {
    Py_DECREF(id);
    Py_DECREF(score);
    return nullptr;
  }
  tail(self) = Tail{};
  Py_SET_SIZE(reinterpret_cast<PyVarObject*>(self), kVisible);
#if PY_VERSION_HEX >= 0x030E0000
  reinterpret_cast<PyTupleObject*>(self)->ob_hash = -1;  // "not computed"
#endif
  PyObject** items = reinterpret_cast<PyTupleObject*>(self)->ob_item;
  items[0] = id;
  items[1] = score;
  return self;
}

void hit_dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  Tail& t = tail(self);
  Py_XDECREF(t.origin);
  Py_XDECREF(t.metadata);
  Py_XDECREF(t.embedding);
  Py_XDECREF(t.distance);
  PyObject** items = reinterpret_cast<PyTupleObject*>(self)->ob_item;
  Py_XDECREF(items[0]);
  Py_XDECREF(items[1]);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

int hit_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Tail& t = tail(self);
  Py_VISIT(t.origin);
  Py_VISIT(t.metadata);
  Py_VISIT(t.embedding);
  PyObject** items = reinterpret_cast<PyTupleObject*>(self)->ob_item;
  Py_VISIT(items[0]);
  Py_VISIT(items[1]);
  return 0;
}

// Hit(id, score, distance=None, metadata=None, embedding=None): what pickle calls.
PyObject* hit_new(PyTypeObject* /*type*/, PyObject* args, PyObject* kwargs) {
  static std::array<const char*, 6> names = {"id",       "score",     "distance",
                                             "metadata", "embedding", nullptr};
  PyObject* id = nullptr;
  PyObject* score = nullptr;
  std::array<PyObject*, 3> extra = {nullptr, nullptr, nullptr};
  if (PyArg_ParseTupleAndKeywords(args, kwargs, "UO|OOO:Hit", const_cast<char**>(names.data()), &id,
                                  &score, &extra[0], &extra[1], &extra[2]) == 0) {
    return nullptr;
  }
  PyObject* number = PyNumber_Float(score);
  if (number == nullptr) return nullptr;
  PyObject* self = new_hit(Py_NewRef(id), number);
  if (self == nullptr) return nullptr;
  Tail& t = tail(self);
  t.row = kNoRow;
  if (extra[0] != Py_None) t.distance = Py_XNewRef(extra[0]);
  if (extra[1] != Py_None) t.metadata = Py_XNewRef(extra[1]);
  if (extra[2] != Py_None) t.embedding = Py_XNewRef(extra[2]);
  if (t.metadata != nullptr) PyObject_GC_Track(self);
  return self;
}

// Runs a getter's body; errors of the core become Python's.
template <class Body>
PyObject* guarded(Body&& body) noexcept {
  try {
    return body();
  } catch (const Error& error) {
    set_python_error(error);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyObject* get_id(PyObject* self, void*) {
  return Py_NewRef(PyTuple_GET_ITEM(self, 0));
}
PyObject* get_score(PyObject* self, void*) {
  return Py_NewRef(PyTuple_GET_ITEM(self, 1));
}

const Origin& origin_in(PyObject* capsule) {
  return *static_cast<const Origin*>(PyCapsule_GetPointer(capsule, kOriginName));
}

PyObject* get_distance(PyObject* self, void*) {
  Tail& t = tail(self);
  if (t.distance == nullptr && t.origin != nullptr) {
    const double score = PyFloat_AS_DOUBLE(PyTuple_GET_ITEM(self, 1));
    t.distance = PyFloat_FromDouble(score_to_distance(origin_in(t.origin).metric, score));
    if (t.distance == nullptr) return nullptr;
  }
  return Py_NewRef(t.distance != nullptr ? t.distance : Py_None);
}

const Origin& origin_of(PyObject* self, const char* what) {
  PyObject* capsule = tail(self).origin;
  if (capsule == nullptr) {
    throw Error(ErrorCode::kClosed, std::string("this hit came without its ") + what +
                                        " and has no database to ask (it was unpickled); search "
                                        "with include=(\"" +
                                        what + "\",)");
  }
  return origin_in(capsule);
}

std::shared_ptr<Database> database_of(const Origin& origin, const char* what) {
  std::shared_ptr<Database> database = origin.database.lock();
  if (!database) {
    throw Error(ErrorCode::kClosed, std::string("the database of this hit is closed; read its ") +
                                        what + " before, or search with include=(\"" + what +
                                        "\",)");
  }
  return database;
}

// As call_core(); lets go of the database without the GIL too, as that may close it.
template <class Body>
auto read_with(std::shared_ptr<Database>& database, Body&& body) {
  return call_core([&] {
    auto result = [&] {
      try {
        return body();
      } catch (...) {
        database.reset();
        throw;
      }
    }();
    database.reset();
    return result;
  });
}

py::object loads(PyObject* text) {
  static PyObject* const function =
      py::object(py::module_::import("json").attr("loads")).release().ptr();  // kept for good
  return py::handle(function)(py::handle(text));
}

void set_metadata(PyObject* self, const py::object& value) {
  PyObject* old = std::exchange(tail(self).metadata, value.inc_ref().ptr());
  Py_XDECREF(old);
  if (PyObject_GC_IsTracked(self) == 0) PyObject_GC_Track(self);
}

PyObject* get_metadata(PyObject* self, void*) {
  return guarded([self]() -> PyObject* {
    PyObject* known = tail(self).metadata;
    if (known == nullptr) {
      const Origin& origin = origin_of(self, "metadata");
      std::shared_ptr<Database> database = database_of(origin, "metadata");
      const Row row = tail(self).row;
      const std::optional<std::string> text =
          read_with(database, [&] { return database->hit_metadata(*origin.view, row); });
      set_metadata(self, text ? loads(py::str(*text).ptr()) : py::none());
    } else if (PyUnicode_Check(known)) {
      set_metadata(self, loads(known));
    }
    return Py_NewRef(tail(self).metadata);
  });
}

// Copied here: NumPy would let go of the GIL for that.
py::array_t<float> to_array(const std::vector<float>& values) {
  py::array_t<float> array(static_cast<py::ssize_t>(values.size()));
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

PyObject* get_embedding(PyObject* self, void*) {
  return guarded([self]() -> PyObject* {
    if (tail(self).embedding == nullptr) {
      const Origin& origin = origin_of(self, "embedding");
      std::shared_ptr<Database> database = database_of(origin, "embedding");
      const Row row = tail(self).row;
      const std::vector<float> values =
          read_with(database, [&] { return database->hit_embedding(*origin.view, row); });
      py::object array = to_array(values);
      Py_XDECREF(std::exchange(tail(self).embedding, array.release().ptr()));
    }
    return Py_NewRef(tail(self).embedding);
  });
}

// The constructor's arguments with what is known; the way back to the database stays here.
PyObject* hit_reduce(PyObject* self, PyObject* /*unused*/) {
  return guarded([self]() -> PyObject* {
    PyObject* metadata = tail(self).metadata;
    if (metadata != nullptr && PyUnicode_Check(metadata)) set_metadata(self, loads(metadata));
    const auto known = [](PyObject* object) {
      return py::reinterpret_borrow<py::object>(object != nullptr ? object : Py_None);
    };
    const Tail& t = tail(self);
    PyObject* const distance = get_distance(self, nullptr);
    if (distance == nullptr) throw py::error_already_set();
    const py::tuple state = py::make_tuple(
        known(PyTuple_GET_ITEM(self, 0)), known(PyTuple_GET_ITEM(self, 1)),
        py::reinterpret_steal<py::object>(distance), known(t.metadata), known(t.embedding));
    return py::make_tuple(py::handle(reinterpret_cast<PyObject*>(hit_type)), state).release().ptr();
  });
}

PyObject* hit_repr(PyObject* self) {
  return PyUnicode_FromFormat("Hit(id=%R, score=%R)", PyTuple_GET_ITEM(self, 0),
                              PyTuple_GET_ITEM(self, 1));
}

constexpr const char* kDoc =
    "One search result: the tuple ``(id, score)`` that also has attributes.\n\n"
    "Attributes\n----------\n"
    "id : str\n"
    "    Id of the row.\n"
    "score : float\n"
    "    Higher is better: cosine similarity, inner product, or minus the squared distance.\n"
    "distance : float or None\n"
    "    Lower is better: 1 - cosine, minus the inner product, or the squared distance. None in\n"
    "    a hit that was made by hand without one.\n"
    "metadata : dict or None\n"
    "    Read on first use unless the search included it; None when the row has gone since.\n"
    "embedding : numpy.ndarray\n"
    "    The vector as it was searched, float32, shape ``(dimension,)``; read on first use.\n";

PyTypeObject* make_type() {
  static std::array<PyGetSetDef, 6> fields = {{
      {"id", get_id, nullptr, "Id of the row.", nullptr},
      {"score", get_score, nullptr, "Higher is better.", nullptr},
      {"distance", get_distance, nullptr, "Lower is better.", nullptr},
      {"metadata", get_metadata, nullptr, "Metadata as a dict, read on first use.", nullptr},
      {"embedding", get_embedding, nullptr, "The vector, read on first use.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr},
  }};
  static std::array<PyMethodDef, 2> methods = {{
      {"__reduce__", hit_reduce, METH_NOARGS, nullptr},
      {nullptr, nullptr, 0, nullptr},
  }};
  static std::array<PyType_Slot, 8> slots = {{
      {Py_tp_new, reinterpret_cast<void*>(hit_new)},
      {Py_tp_dealloc, reinterpret_cast<void*>(hit_dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(hit_traverse)},
      {Py_tp_repr, reinterpret_cast<void*>(hit_repr)},
      {Py_tp_getset, fields.data()},
      {Py_tp_methods, methods.data()},
      {Py_tp_doc, const_cast<char*>(kDoc)},
      {0, nullptr},
  }};
  // Basic size 0: that of tuple.
  static PyType_Spec spec = {"srvdb.Hit", 0, 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
                             slots.data()};
  const py::tuple bases = py::make_tuple(py::handle(reinterpret_cast<PyObject*>(&PyTuple_Type)));
  PyObject* type = PyType_FromSpecWithBases(&spec, bases.ptr());
  if (type == nullptr) throw py::error_already_set();
  return reinterpret_cast<PyTypeObject*>(type);
}

py::object utf8(std::string_view text) {
  PyObject* string =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "strict");
  if (string == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(string);
}

py::capsule make_origin(const std::shared_ptr<Database>& database,
                        const std::shared_ptr<const View>& view, Metric metric) {
  auto origin = std::make_unique<Origin>(Origin{database, view, metric});
  py::capsule capsule(origin.get(), kOriginName, [](void* pointer) {
    const std::unique_ptr<Origin> owned(static_cast<Origin*>(pointer));
  });
  static_cast<void>(origin.release());  // the capsule's from here on
  return capsule;
}

// hit_ids(hits: list) -> list: the first item of each. What is no Hit may run any code, and change
// the list. A plain C function, as it is over before pybind11 has looked at its arguments.
PyObject* hit_ids(PyObject* /*module*/, PyObject* hits) {
  return guarded([hits]() -> PyObject* {
    if (PyList_Check(hits) == 0) throw py::type_error("expected a list of Hit");
    const Py_ssize_t n = PyList_GET_SIZE(hits);
    PyObject** const items = reinterpret_cast<PyListObject*>(hits)->ob_item;
    if (std::all_of(items, items + n, [](PyObject* x) { return Py_TYPE(x) == hit_type; })) {
      py::list ids(n);
      for (Py_ssize_t i = 0; i < n; ++i) {
        PyList_SET_ITEM(ids.ptr(), i, Py_NewRef(PyTuple_GET_ITEM(items[i], 0)));
      }
      return ids.release().ptr();
    }
    py::list ids;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(hits); ++i) {
      const auto item = py::reinterpret_borrow<py::object>(PyList_GET_ITEM(hits, i));
      ids.append(item[py::int_(0)]);
    }
    return ids.release().ptr();
  });
}

void fill_details(PyObject* self, const HitDetails& details, Include include) {
  if (include.metadata) {
    tail(self).metadata =
        details.metadata ? utf8(*details.metadata).release().ptr() : Py_NewRef(Py_None);
  }
  if (include.embedding) tail(self).embedding = to_array(details.embedding).release().ptr();
}

}  // namespace

std::vector<HitDetails> read_details(const Database& database, const SearchResult& result,
                                     Include include) {
  std::vector<HitDetails> details;
  if (!include.any()) return details;
  details.resize(result.hits.size());
  for (std::size_t i = 0; i < details.size(); ++i) {
    const Row row = result.hits[i].row;
    if (include.metadata) details[i].metadata = database.hit_metadata(*result.view, row);
    if (include.embedding) details[i].embedding = database.hit_embedding(*result.view, row);
  }
  return details;
}

HitMaker::HitMaker(std::shared_ptr<Database> database, Metric metric, Include include)
    : database_(std::move(database)),
      metric_(metric),
      include_(include),
      collecting_(PyGC_Disable() != 0) {}

HitMaker::~HitMaker() {
  if (collecting_) PyGC_Enable();
}

py::list HitMaker::make(const SearchResult& result, const std::vector<HitDetails>& details) {
  py::list list(result.hits.size());
  if (!origin_ || origin_in(origin_.ptr()).view != result.view) {
    origin_ = make_origin(database_, result.view, metric_);
  }
  for (std::size_t i = 0; i < result.hits.size(); ++i) {
    const Hit& hit = result.hits[i];
    py::object id = utf8(hit.id);
    PyObject* score = PyFloat_FromDouble(hit.score);
    if (score == nullptr) throw py::error_already_set();
    PyObject* self = new_hit(id.release().ptr(), score);
    if (self == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), self);
    Tail& t = tail(self);
    t.origin = origin_.inc_ref().ptr();
    t.row = hit.row;
    if (!details.empty()) fill_details(self, details[i], include_);
  }
  return list;
}

void register_hit(py::module_& module) {
  static std::array<PyMethodDef, 2> functions = {{
      {"hit_ids", hit_ids, METH_O, nullptr},
      {nullptr, nullptr, 0, nullptr},
  }};
  hit_type = make_type();
  module.add_object("Hit", py::handle(reinterpret_cast<PyObject*>(hit_type)));
  if (PyModule_AddFunctions(module.ptr(), functions.data()) != 0) throw py::error_already_set();
}

}  // namespace srvdb::bindings
