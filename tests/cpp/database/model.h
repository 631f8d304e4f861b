// What a database must hold: a dictionary that goes through the same operations, and comparisons
// with it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "fixture.h"
#include "srvdb/database/database.h"

namespace srvdb {

struct ModelRecord {
  std::vector<float> row;
  std::string metadata;
  bool deleted = false;  // softly
};
using Model = std::map<std::string, ModelRecord>;

// Says how the database differs from the model, by every way of reading it; empty when it does not.
inline std::string difference(const Database& db, const Model& all) {
  Model model;
  std::vector<std::string> deleted;
  for (const auto& [id, record] : all) {
    if (record.deleted) {
      deleted.push_back(id);
    } else {
      model.emplace(id, record);
    }
  }
  if (db.deleted_ids() != deleted) return "other ids are soft-deleted";
  for (std::size_t i = 0; i < deleted.size(); i += 1 + deleted.size() / 4) {
    const auto record = db.records(std::vector<std::string_view>{deleted[i]}, true, true)[0];
    if (!record || record->embedding != all.at(deleted[i]).row ||
        record->metadata != all.at(deleted[i]).metadata) {
      return "what is soft-deleted has changed: " + deleted[i];
    }
  }
  if (db.count() != model.size()) {
    return "expected " + std::to_string(model.size()) + " records, got " +
           std::to_string(db.count());
  }
  const std::vector<Record> records = db.scroll("", model.size() + 10, true, true);
  if (records.size() != model.size()) return "scroll gives another number of records";
  auto expected = model.begin();
  for (const Record& record : records) {
    const auto& [id, stored] = *expected++;
    if (record.id != id) return "expected id " + id + ", got " + record.id;
    if (record.metadata != stored.metadata) return "metadata of " + id + " is " + record.metadata;
    if (record.embedding != stored.row) return "the row of " + id + " is another one";
  }
  std::size_t n = 0;
  for (const auto& [id, stored] : model) {
    if (++n % (1 + model.size() / 8) != 0) continue;
    const SearchResult found =
        db.search(stored.row.data(), stored.row.size(), {.k = 1, .exact = true});
    if (found.hits.size() != 1) return "a search for " + id + " finds nothing";
    const auto hit = model.find(std::string(found.hits[0].id));
    if (hit == model.end() || hit->second.row != stored.row) return "a search misses " + id;
  }
  return {};
}

// An operation with everything it needs, applied to a database, and to a model when that took it.
struct Operation {
  enum class Kind {
    kAdd,
    kUpsert,
    kRemove,
    kSoftDelete,
    kRestore,
    kUpdateRows,
    kUpdateMetadata,
    kPersist,
    kOptimize,
    kCompact
  };
  Kind kind = Kind::kPersist;
  std::vector<std::string> ids;
  std::vector<float> rows;
  std::vector<std::string> metadata;
  std::size_t dim = 0;

  void apply(Database& db) const {
    const std::vector<std::string_view> id_views(ids.begin(), ids.end());
    const std::vector<std::string_view> texts(metadata.begin(), metadata.end());
    switch (kind) {
      case Kind::kAdd:
        db.add({id_views, rows.data(), dim, texts});
        break;
      case Kind::kUpsert:
        db.upsert({id_views, rows.data(), dim, texts});
        break;
      case Kind::kRemove:
        db.remove(id_views);
        break;
      case Kind::kSoftDelete:
        db.soft_delete(id_views);
        break;
      case Kind::kRestore:
        db.restore(id_views);
        break;
      case Kind::kUpdateRows:
      case Kind::kUpdateMetadata: {
        std::vector<Update> updates(ids.size());
        for (std::size_t i = 0; i < ids.size(); ++i) {
          updates[i].id = ids[i];
          if (kind == Kind::kUpdateRows) updates[i].row = rows.data() + i * dim;
          if (kind == Kind::kUpdateMetadata) updates[i].metadata = metadata[i];
        }
        db.update(updates, dim);
        break;
      }
      case Kind::kPersist:
        db.persist();
        break;
      case Kind::kOptimize:
        db.optimize(1, nullptr, nullptr);
        break;
      case Kind::kCompact:
        db.compact(nullptr, nullptr);
        break;
    }
  }
  void apply(Model& model) const {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (kind == Kind::kRemove) {
        model.erase(ids[i]);
        continue;
      }
      if (kind == Kind::kSoftDelete || kind == Kind::kRestore) {
        const auto at = model.find(ids[i]);
        if (at != model.end()) at->second.deleted = kind == Kind::kSoftDelete;
        continue;
      }
      if (kind == Kind::kUpdateMetadata) {
        model[ids[i]].metadata = metadata[i].empty() ? "{}" : metadata[i];
        continue;
      }
      if (kind == Kind::kUpdateRows) {
        const auto* const fresh = rows.data() + i * dim;
        model[ids[i]].row = {fresh, fresh + dim};
        continue;
      }
      const auto* const row = rows.data() + i * dim;
      model[ids[i]] = {{row, row + dim},
                       metadata.empty() || metadata[i].empty() ? "{}" : metadata[i]};
    }
  }
};

// Random operations that fit what the model holds: new ids for add, old and new ones mixed for
// upsert and remove, now and then a batch that is too large for the append buffer.
class Operations {
 public:
  Operations(std::uint32_t seed, std::size_t dim, std::size_t small, std::size_t large)
      : random_(seed), dim_(dim), small_(small), large_(large) {}

  Operation next(const Model& model) {
    using Kind = Operation::Kind;
    const std::uint32_t dice = pick(100);
    if (dice < 8) return {Kind::kPersist, {}, {}, {}, dim_};
    if (dice < 10) return {Kind::kOptimize, {}, {}, {}, dim_};
    if (dice < 13) return {Kind::kCompact, {}, {}, {}, dim_};
    if (dice < 45) return batch(Kind::kAdd, model, 0);
    if (dice < 60) return batch(Kind::kUpsert, model, 50);
    if (dice < 68) return batch(Kind::kSoftDelete, model, 80);
    if (dice < 76) return batch(Kind::kRestore, model, 80);
    if (dice < 82) return update(Kind::kUpdateRows, model);
    if (dice < 88) return update(Kind::kUpdateMetadata, model);
    return batch(Kind::kRemove, model, 80);
  }
  // Of rows that are there and not deleted, each at most once; else persist.
  Operation update(Operation::Kind kind, const Model& model) {
    Operation out{kind, {}, {}, {}, dim_};
    const std::uint32_t one_in = 1 + static_cast<std::uint32_t>(model.size()) / 8;
    for (const auto& [id, record] : model) {
      if (record.deleted || pick(one_in) != 0) continue;
      out.ids.push_back(id);
      out.metadata.push_back("{\"u\":" + std::to_string(pick(1000)) + "}");
    }
    if (out.ids.empty()) return {Operation::Kind::kPersist, {}, {}, {}, dim_};
    if (kind == Operation::Kind::kUpdateRows) {
      out.rows = random_rows(out.ids.size(), dim_, pick(1u << 30));
    }
    return out;
  }
  // old_percent: how many of the ids are taken from the model.
  Operation batch(Operation::Kind kind, const Model& model, std::uint32_t old_percent) {
    Operation out{kind, {}, {}, {}, dim_};
    const std::size_t n = 1 + pick(static_cast<std::uint32_t>(pick(4) == 0 ? large_ : small_));
    for (std::size_t i = 0; i < n; ++i) {
      if (!model.empty() && pick(100) < old_percent) {
        out.ids.push_back(
            std::next(model.begin(), pick(static_cast<std::uint32_t>(model.size())))->first);
      } else {
        out.ids.push_back("id" + std::to_string(next_id_++));
      }
      out.metadata.push_back(pick(2) == 0 ? "" : "{\"n\":" + std::to_string(pick(1000)) + "}");
    }
    if (kind == Operation::Kind::kAdd || kind == Operation::Kind::kUpsert)
      out.rows = random_rows(n, dim_, pick(1u << 30));
    return out;
  }

 private:
  std::uint32_t pick(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }

  std::mt19937 random_;
  std::size_t dim_, small_, large_;
  std::size_t next_id_ = 0;
};

// So many operations, on the database and on the model.
inline void run(Operations& operations, Database& db, Model& model, int steps) {
  for (int i = 0; i < steps; ++i) {
    const Operation operation = operations.next(model);
    operation.apply(db);
    operation.apply(model);
  }
}

}  // namespace srvdb
