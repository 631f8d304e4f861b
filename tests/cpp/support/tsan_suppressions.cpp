// What ThreadSanitizer may not report: LMDB's readers announce themselves in shared memory and read
// its two meta pages without locks, by an order of plain stores that the sanitizer does not know.

#if defined(__SANITIZE_THREAD__)
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:mdb_*\n";
}
#endif
