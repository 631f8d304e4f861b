// Failing writes: a batch is refused or its outcome is unknown, and what was there stays.

#include <gtest/gtest.h>

#include <thread>

#include "fault_files.h"
#include "fixture.h"
#include "model.h"
#include "power_files.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 6;

class FaultTest : public DatabaseTest {
 protected:
  OpenOptions options(FileSystem& files, Durability durability) const {
    OpenOptions out;
    out.files = &files;
    out.flush_rows = 16;
    out.durability = durability;
    out.background = false;
    return out;
  }
  // The operations that every run goes through, whatever fails.
  static std::vector<Operation> script(std::uint32_t seed) {
    using Kind = Operation::Kind;
    Operations make(seed, kDim, 12, 40);
    Model model;
    std::vector<Operation> out;
    const auto put = [&](Operation operation) {
      operation.apply(model);
      out.push_back(std::move(operation));
    };
    for (const int old : {0, 0, 60, 0, 30}) {
      put(make.batch(old == 0 ? Kind::kAdd : Kind::kUpsert, model,
                     static_cast<std::uint32_t>(old)));
      put(make.batch(Kind::kUpsert, model, 50));
      put(make.batch(Kind::kRemove, model, 90));
      if (old == 60) put({Kind::kOptimize, {}, {}, {}, kDim});
      if (old != 30) put({Kind::kPersist, {}, {}, {}, kDim});
    }
    return out;
  }
};

// What an upsert or add does depends on what the ones before it did, so a refused operation makes
// later ones differ from the plan; the model follows.
TEST_F(FaultTest, WithoutRoomABatchIsRefusedAndEverythingElseGoesOn) {
  for (const Durability durability : {Durability::kOs, Durability::kDisk, Durability::kMemory}) {
    const std::vector<Operation> operations = script(5);
    bool failed = true;
    const std::uint64_t step = durability == Durability::kOs ? 1 : 4;  // the same code, mostly
    for (std::uint64_t at = 0; failed; at += step) {
      path_ = root_ + "/db-" + durability_name(durability) + std::to_string(at);
      testing::FaultFiles files;
      const auto db = open(options(files, durability));
      files.fail({.at = at, .error = ENOSPC, .partial = at % 2 == 0, .syncs = false});
      Model model;
      std::size_t refused = 0;
      for (const Operation& operation : operations) {
        try {
          operation.apply(*db);
          operation.apply(model);
        } catch (const Error& error) {
          if (error.code() == ErrorCode::kDuplicateId) continue;
          ASSERT_EQ(error.code(), ErrorCode::kStorage) << error.what() << " at " << at;
          ASSERT_EQ(error.os_error(), ENOSPC) << error.what() << " at " << at;
          ++refused;
        }
        ASSERT_EQ(difference(*db, model), "") << durability_name(durability) << " at " << at;
      }
      failed = files.failures() > 0;
      ASSERT_LE(refused, failed ? 1u : 0u) << "at " << at;
      EXPECT_FALSE(db->stats().read_only) << "at " << at;
      if (durability != Durability::kMemory && at % 4 == 0) {
        const std::string copy = crash_copy("copy");
        ASSERT_EQ(difference(*Database::open(copy, {}), model), "") << "killed, at " << at;
        std::filesystem::remove_all(copy);
      }
      try {
        db->close();
      } catch (const Error& error) {
        ASSERT_EQ(error.os_error(), ENOSPC) << error.what() << " at " << at;
      }
      ASSERT_EQ(difference(*open(), model), "") << "reopened, at " << at;
    }
  }
}

TEST_F(FaultTest, AfterABrokenWriteTheDatabaseIsReadOnlyAndShowsWhatItHad) {
  for (const Durability durability : {Durability::kOs, Durability::kDisk}) {
    const std::vector<Operation> operations = script(6);
    bool failed = true;
    for (std::uint64_t at = 0; failed; ++at) {
      path_ = root_ + "/db-" + durability_name(durability) + std::to_string(at);
      testing::FaultFiles files;
      const auto db = open(options(files, durability));
      files.fail({.at = at, .error = EIO, .partial = at % 2 == 0});
      Model model;
      const Operation* broken = nullptr;
      for (const Operation& operation : operations) {
        try {
          operation.apply(*db);
          operation.apply(model);
        } catch (const Error& error) {
          ASSERT_EQ(error.code(), ErrorCode::kStorage) << error.what() << " at " << at;
          broken = &operation;
        }
        ASSERT_EQ(difference(*db, model), "") << durability_name(durability) << " at " << at;
        if (broken != nullptr) break;
      }
      failed = files.failures() > 0;
      if (broken != nullptr) {
        const std::vector<std::string_view> ids = {"later"};
        const std::vector<float> row = random_rows(1, kDim);
        EXPECT_EQ(code_of([&] {
                    db->add({ids, row.data(), kDim, {}});
                  }),
                  ErrorCode::kReadOnly)
            << "at " << at;
        EXPECT_TRUE(db->stats().read_only);
      }
      try {
        db->close();
      } catch (const Error&) {
        // The failure may be met here; what was acknowledged is in the log.
      }
      Model with(model);
      if (broken != nullptr) broken->apply(with);
      const auto again = open();
      EXPECT_TRUE(difference(*again, model).empty() || difference(*again, with).empty())
          << durability_name(durability) << " at " << at << ": " << difference(*again, model);
    }
  }
}

TEST_F(FaultTest, AtDiskEveryAcknowledgedBatchOutlivesLossOfPower) {
  for (const std::uint32_t seed : {1u, 2u}) {
    path_ = root_ + "/db" + std::to_string(seed);
    testing::PowerFiles files;
    struct Image {
      std::unique_ptr<testing::PowerFiles> files;
      Model model;
    };
    std::vector<Image> images;
    {
      const auto db = open(options(files, Durability::kDisk));
      Operations operations(seed, kDim, 8, 40);
      Model model;
      for (std::uint32_t step = 0; step < 30; ++step) {
        const Operation operation = operations.next(model);
        operation.apply(*db);
        operation.apply(model);
        using Keep = testing::SimulatedFiles::Keep;
        const Keep keep = step % 3 == 0 ? Keep::kNothing : Keep::kSome;
        images.push_back({files.crash(keep, step), model});
      }
    }
    for (std::size_t i = 0; i < images.size(); ++i) {
      const auto db = open(options(*images[i].files, Durability::kDisk));
      ASSERT_EQ(difference(*db, images[i].model), "") << "seed " << seed << " image " << i;
    }
  }
}

TEST_F(FaultTest, AtDiskWritersThatShareASyncAreAcknowledgedOnlyAfterIt) {
  testing::PowerFiles files;
  std::unique_ptr<testing::PowerFiles> image;
  std::atomic<bool> go_on{true};
  std::array<std::atomic<std::size_t>, 4> acknowledged{};
  std::array<std::size_t, 4> at_crash{};
  {
    const auto db = open(options(files, Durability::kDisk));
    fill(*db, 1, kDim, 0, "first");
    std::vector<std::thread> writers;
    for (std::size_t t = 0; t < acknowledged.size(); ++t) {
      writers.emplace_back([&, t] {
        for (std::size_t i = 0; go_on; ++i) {
          fill(*db, 1, kDim, i, "w" + std::to_string(t) + "-");
          acknowledged[t] = i + 1;
        }
      });
    }
    for (bool enough = false; !enough;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      enough = true;
      for (const auto& count : acknowledged) enough = enough && count >= 50;
    }
    for (std::size_t t = 0; t < at_crash.size(); ++t) at_crash[t] = acknowledged[t];
    image = files.crash(testing::SimulatedFiles::Keep::kNothing, 1);
    go_on = false;
    for (std::thread& writer : writers) writer.join();
  }
  const auto db = open(options(*image, Durability::kDisk));
  for (std::size_t t = 0; t < at_crash.size(); ++t) {
    for (std::size_t i = 0; i < at_crash[t]; ++i) {
      ASSERT_TRUE(db->contains("w" + std::to_string(t) + "-" + std::to_string(i)));
    }
  }
}

}  // namespace
}  // namespace srvdb
