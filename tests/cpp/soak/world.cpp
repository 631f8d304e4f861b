#include "soak/world.h"

#include <algorithm>
#include <set>

#include "srvdb/base/clock.h"
#include "srvdb/base/error.h"

namespace srvdb::soak {
namespace {

using Kind = Step::Kind;

constexpr std::size_t kManyRows = 48;  // from here on more rows go than come
constexpr std::size_t kManyEntries = 60;
constexpr std::size_t kManySnapshots = 2;

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  std::uint32_t pick(std::size_t below) {
    return static_cast<std::uint32_t>(random_() % std::max<std::size_t>(below, 1));
  }
  bool one_in(std::uint32_t n) { return pick(n) == 0; }
  std::vector<float> rows(std::size_t n) {
    std::vector<float> out(n * kDim);
    for (float& value : out) {
      value = (static_cast<float>(pick(20001)) - 10000.0f) / 1000.0f + 1e-3f;
    }
    return out;
  }

 private:
  std::mt19937_64 random_;
};

// Ids of rows: soft-deleted ones, live ones, or both.
std::vector<std::string> some_ids(Dice& dice, const Rows& rows, std::size_t n, bool deleted,
                                  bool live) {
  std::vector<std::string> all;
  for (const auto& [id, stored] : rows) {
    if (stored.deleted ? deleted : live) all.push_back(id);
  }
  std::set<std::string> out;
  while (!all.empty() && out.size() < std::min(n, all.size())) {
    out.insert(all[dice.pick(all.size())]);
  }
  return {out.begin(), out.end()};
}

void add_new_ids(Dice& dice, std::uint64_t number, std::size_t n, std::vector<std::string>& ids) {
  // Fresh ones, and now and then a long one that an LMDB page holds few of.
  for (std::size_t i = 0; i < n; ++i) {
    std::string id("i");
    id.append(std::to_string(number)).append("-").append(std::to_string(i));
    if (dice.one_in(24)) id.append(dice.pick(400), 'x');
    ids.push_back(std::move(id));
  }
}

void describe(Dice& dice, Step& step) {
  for (std::size_t i = 0; i < step.ids.size(); ++i) {
    std::string text;
    if (!dice.one_in(3)) {
      text.append("{\"n\":").append(std::to_string(dice.pick(20)));
      if (dice.one_in(2)) text.append(dice.one_in(2) ? ",\"on\":true" : ",\"on\":null");
      if (dice.one_in(3)) {
        text.append(",\"tags\":[\"a\",\"b").append(std::to_string(dice.pick(4))).append("\"]");
      }
      if (dice.one_in(4)) {
        text.append(",\"who\":{\"name\":\"").append(dice.pick(5), 'z').append("\"}");
      }
      text.append("}");
    }
    if (dice.one_in(40))
      text = std::string("{\"long\":\"").append(dice.pick(9000), 'y').append("\"}");
    step.metadata.push_back(std::move(text));
  }
}

Step make_batch(Dice& dice, Kind kind, std::uint64_t number, const World& world) {
  Step step;
  step.kind = kind;
  // Above the append buffer's size (16 rows) rows go straight to the files.
  const std::size_t n = 1 + dice.pick(dice.one_in(5) ? 24 : 5);
  if (kind == Kind::kAdd) {
    add_new_ids(dice, number, n, step.ids);
  } else if (kind == Kind::kUpsert) {
    step.ids = some_ids(dice, world.rows, n / 2, true, true);
    add_new_ids(dice, number, n - n / 2, step.ids);
  } else {
    // Never so many that the database is empty for long.
    const std::size_t some = std::min(n, 1 + world.rows.size() / 4);
    const bool of_both = kind == Kind::kRemove || dice.one_in(8);
    const bool may = kind != Kind::kUpdateRows && kind != Kind::kUpdateMetadata &&
                     kind != Kind::kUpdateExpiry;  // which want live rows
    const bool restores = kind == Kind::kRestore;
    step.ids = some_ids(dice, world.rows, restores ? n : some, may && (of_both || restores),
                        of_both || !restores);
  }
  if (kind == Kind::kAdd || kind == Kind::kUpsert || kind == Kind::kUpdateRows) {
    step.rows = dice.rows(step.ids.size());
  }
  if (kind == Kind::kAdd || kind == Kind::kUpsert || kind == Kind::kUpdateMetadata) {
    describe(dice, step);
  }
  const bool expires = (kind == Kind::kAdd || kind == Kind::kUpsert) && dice.one_in(5);
  if (expires || kind == Kind::kUpdateExpiry) {
    for (std::size_t i = 0; i < step.ids.size(); ++i) {
      step.expires_at.push_back(dice.one_in(2) ? 0 : now_ms() + 1'000'000 * (1 + dice.pick(40)));
    }
  }
  if (step.ids.empty()) step.kind = Kind::kPersist;
  return step;
}

Step make_maintenance(Dice& dice, std::uint64_t number, const World& world) {
  Step step;
  const auto pick_snapshot = [&] {
    return std::next(world.snapshots.begin(), dice.pick(world.snapshots.size()))->first;
  };
  const std::uint32_t what = dice.pick(10);
  if (what < 3) {
    step.kind = Kind::kCompact;
  } else if (what == 3) {
    step.kind = Kind::kOptimize;
  } else if (world.snapshots.size() > kManySnapshots) {
    step.kind = Kind::kDropSnapshot;
    step.name = pick_snapshot();
  } else if (what < 7 || world.snapshots.empty()) {
    step.kind = Kind::kSnapshot;
    step.name = std::string("s").append(std::to_string(number));
  } else {
    step.kind = Kind::kRestoreSnapshot;
    step.name = pick_snapshot();
  }
  return step;
}

std::vector<std::string_view> views(const std::vector<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

}  // namespace

const char* Step::kind_name() const noexcept {
  static constexpr const char* kNames[] = {
      "add",         "upsert",          "remove",        "soft-delete",   "restore",
      "update rows", "update metadata", "update expiry", "persist",       "optimize",
      "compact",     "trim log",        "snapshot",      "drop snapshot", "restore snapshot"};
  return kNames[static_cast<std::size_t>(kind)];
}

LogOperation Step::log_operation() const noexcept {
  switch (kind) {
    case Kind::kAdd:
      return LogOperation::kAdd;
    case Kind::kUpsert:
      return LogOperation::kUpsert;
    case Kind::kRemove:
      return LogOperation::kDelete;
    case Kind::kSoftDelete:
      return LogOperation::kSoftDelete;
    case Kind::kRestore:
      return LogOperation::kRestore;
    default:
      return LogOperation::kUpdate;
  }
}

Step make_step(std::uint64_t seed, std::uint64_t number, const World& world, bool maintenance) {
  Dice dice((seed << 32) ^ (number * 0x9E3779B97F4A7C15u));
  if (maintenance && dice.one_in(9)) return make_maintenance(dice, number, world);
  if (maintenance && world.log.size() > kManyEntries) {
    Step step;
    step.kind = Kind::kTrimLog;
    step.before = world.log[world.log.size() / 2].sequence;
    return step;
  }
  const bool many = world.rows.size() > kManyRows;
  const std::uint32_t what = dice.pick(100);
  if (what < 9) return {};
  if (what < (many ? 12u : 38u)) return make_batch(dice, Kind::kAdd, number, world);
  if (what < (many ? 16u : 52u)) return make_batch(dice, Kind::kUpsert, number, world);
  if (what < 62) return make_batch(dice, Kind::kSoftDelete, number, world);
  if (what < 70) return make_batch(dice, Kind::kRestore, number, world);
  if (what < 77) return make_batch(dice, Kind::kUpdateRows, number, world);
  if (what < 83) return make_batch(dice, Kind::kUpdateMetadata, number, world);
  if (what < 88) return make_batch(dice, Kind::kUpdateExpiry, number, world);
  return make_batch(dice, Kind::kRemove, number, world);
}

void Step::apply(Database& db) const {
  const std::vector<std::string_view> targets = views(ids);
  const std::vector<std::string_view> texts = views(metadata);
  switch (kind) {
    case Kind::kAdd:
    case Kind::kUpsert: {
      Batch batch{targets, rows.data(), kDim, texts};
      batch.expires_at = expires_at;
      kind == Kind::kAdd ? db.add(batch) : db.upsert(batch);
      break;
    }
    case Kind::kRemove:
      db.remove(targets);
      break;
    case Kind::kSoftDelete:
      db.soft_delete(targets);
      break;
    case Kind::kRestore:
      db.restore(targets);
      break;
    case Kind::kUpdateRows:
    case Kind::kUpdateMetadata:
    case Kind::kUpdateExpiry: {
      std::vector<Update> updates(ids.size());
      for (std::size_t i = 0; i < ids.size(); ++i) {
        updates[i].id = ids[i];
        if (kind == Kind::kUpdateRows) updates[i].row = rows.data() + i * kDim;
        if (kind == Kind::kUpdateMetadata) updates[i].metadata = metadata[i];
        if (kind == Kind::kUpdateExpiry) updates[i].expires_at = expires_at[i];
      }
      db.update(updates, kDim);
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
    case Kind::kTrimLog:
      db.trim_change_log(before);
      break;
    case Kind::kSnapshot:
      db.create_snapshot(name);
      break;
    case Kind::kDropSnapshot:
      db.drop_snapshot(name);
      break;
    case Kind::kRestoreSnapshot:
      db.restore_snapshot(name, keep_current);
      break;
  }
}

void Step::apply(World& world) const {
  Rows& all = world.rows;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto at = all.find(ids[i]);
    const auto row = [&] {
      const auto first = rows.begin() + static_cast<std::ptrdiff_t>(i * kDim);
      return std::vector<float>(first, first + kDim);
    };
    const std::string text = metadata.empty() || metadata[i].empty() ? "{}" : metadata[i];
    switch (kind) {
      case Kind::kAdd:
      case Kind::kUpsert:
        all[ids[i]] = {row(), text, expires_at.empty() ? 0 : expires_at[i], false};
        break;
      case Kind::kRemove:
        all.erase(ids[i]);
        break;
      case Kind::kSoftDelete:
      case Kind::kRestore:
        if (at != all.end()) at->second.deleted = kind == Kind::kSoftDelete;
        break;
      case Kind::kUpdateRows:
        at->second.row = row();
        break;
      case Kind::kUpdateMetadata:
        at->second.metadata = text;
        break;
      case Kind::kUpdateExpiry:
        at->second.expires_at = expires_at[i];
        break;
      default:
        break;
    }
  }
  if (kind == Kind::kSnapshot) world.snapshots[name] = all;
  if (kind == Kind::kDropSnapshot) world.snapshots.erase(name);
  if (kind == Kind::kRestoreSnapshot) all = Rows(world.snapshots.at(name));
}

std::vector<std::string> Step::foretell(const Rows& all) const {
  std::vector<std::string> out;
  for (const std::string& id : ids) {
    const auto at = all.find(id);
    const bool here = at != all.end();
    if (kind == Kind::kRemove && !here) continue;
    if (kind == Kind::kSoftDelete && (!here || at->second.deleted)) continue;
    if (kind == Kind::kRestore && (!here || !at->second.deleted)) continue;
    out.push_back(id);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::int64_t simulated_now_us = 0;

void use_simulated_clock() {
  constexpr std::int64_t kStart = 1'000'000'000'000'000;  // in 2001
  simulated_now_us = kStart;
  replace_clock([] { return simulated_now_us; });
}

void expire(Rows& rows, std::int64_t now) {
  std::erase_if(rows, [now](const auto& entry) {
    return entry.second.expires_at != 0 && entry.second.expires_at <= now;
  });
}

Rows read_rows(const Database& db) {
  Rows out;
  const auto put = [&](const Record& record) {
    out[record.id] = {record.embedding, record.metadata, record.expires_at, record.deleted};
  };
  for (const Record& record : db.scroll("", 1u << 20, true, true)) put(record);
  if (db.count() != out.size()) throw Mismatch("count() and scroll() disagree");
  const std::vector<std::string> deleted = db.deleted_ids();
  const auto records = db.records(views(deleted), true, true);
  for (std::size_t i = 0; i < deleted.size(); ++i) {
    if (!records[i] || !records[i]->deleted) throw Mismatch("no record of " + deleted[i]);
    put(*records[i]);
  }
  return out;
}

std::vector<Logged> read_log(const Database& db) {
  std::vector<Logged> out;
  for (LogEntry& entry : db.change_log({.limit = 1u << 20, .since = 0})) {
    std::sort(entry.ids.begin(), entry.ids.end());
    out.push_back({entry.sequence, entry.operation, std::move(entry.ids)});
  }
  return out;
}

std::string difference(const Rows& expected, const Rows& got) {
  for (const auto& [id, stored] : expected) {
    const auto at = got.find(id);
    const std::string name = id.substr(0, 24);
    if (at == got.end()) return "row " + name + " is missing";
    if (at->second.row != stored.row) return "row " + name + " has another vector";
    if (at->second.metadata != stored.metadata) {
      return "row " + name + " has other metadata: " + at->second.metadata.substr(0, 40);
    }
    if (at->second.expires_at != stored.expires_at) return "row " + name + " expires otherwise";
    if (at->second.deleted != stored.deleted) return "row " + name + " is (not) soft-deleted";
  }
  for (const auto& [id, stored] : got) {
    if (!expected.contains(id)) return "row " + id.substr(0, 24) + " should not be there";
  }
  return {};
}

std::string difference(const std::vector<Logged>& expected, const std::vector<Logged>& got) {
  if (expected == got) return {};
  const auto [a, b] = std::mismatch(expected.begin(), expected.end(), got.begin(), got.end());
  const auto text = [](const auto& at, const auto& end) {
    if (at == end) return std::string("nothing");
    return std::string(operation_name(at->operation)) + " at " + std::to_string(at->sequence);
  };
  return "the change log: expected " + text(a, expected.end()) + ", got " + text(b, got.end());
}

}  // namespace srvdb::soak
