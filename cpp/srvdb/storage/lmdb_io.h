// What LMDB calls instead of the operating system, and from the lines that cmake/lmdb_srvdb.patch
// adds to it. A C header: cmake/lmdb.cmake includes it before LMDB's sources; lmdb_io.cpp defines
// the functions.
//
// Calls on the data file go to srvdb's file layer (FileSystem, File): its descriptors are numbers
// that no operating system gives out. Any other descriptor is the reader table's (`-lock`), which
// stays a real file: processes share it as memory and lock it.
//
// Errors: as the calls they replace, -1 and errno. No exception leaves them.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

// A meta page's header, MDB_meta, and the CRC-32C of both.
#define SRVDB_META_BYTES 156

int srvdb_lmdb_open(const char* path, int flags, unsigned mode);
int srvdb_lmdb_close(int descriptor);
ssize_t srvdb_lmdb_pread(int descriptor, void* to, size_t bytes, off_t offset);
ssize_t srvdb_lmdb_pwrite(int descriptor, const void* from, size_t bytes, off_t offset);
ssize_t srvdb_lmdb_pwritev(int descriptor, const struct iovec* parts, int count, off_t offset);
ssize_t srvdb_lmdb_write(int descriptor, const void* from, size_t bytes);
int srvdb_lmdb_fdatasync(int descriptor);
int srvdb_lmdb_fstat(int descriptor, struct stat* found);
int srvdb_lmdb_ftruncate(int descriptor, off_t size);
void* srvdb_lmdb_mmap(void* at, size_t bytes, int protection, int flags, int descriptor,
                      off_t offset);

// From here on `store` is the environment's user context, a srvdb::LmdbFile.
void srvdb_lmdb_unmap(void* store, void* at);
// 0: the page (of an overflow run every page) is not what was written.
int srvdb_lmdb_page_ok(void* store, uint64_t number, uint64_t end, const void* page);
// Makes the file at least this long. Returns 0 or an errno.
int srvdb_lmdb_reach(void* store, uint64_t bytes);
// Puts the checksum into a page that holds an MDB_meta; tells whether it holds.
void srvdb_lmdb_seal_meta(void* page);
int srvdb_lmdb_meta_ok(const void* page);
// Writes meta page 0 or 1 and syncs it. Returns 0 or an errno: one that means "no room" when the
// page is on the disk as it was, any other when what the disk holds is not known.
int srvdb_lmdb_write_meta(void* store, int number, const void* meta, size_t bytes);

#ifdef __cplusplus
}
#else
#define MDB_FDATASYNC_WORKS 1
#define MDB_USE_PWRITEV 1
#define open(path, flags, mode) srvdb_lmdb_open(path, flags, mode)
#define close(fd) srvdb_lmdb_close(fd)
#define pread(fd, to, bytes, offset) srvdb_lmdb_pread(fd, to, bytes, offset)
#define pwrite(fd, from, bytes, offset) srvdb_lmdb_pwrite(fd, from, bytes, offset)
#define pwritev(fd, parts, count, offset) srvdb_lmdb_pwritev(fd, parts, count, offset)
#define write(fd, from, bytes) srvdb_lmdb_write(fd, from, bytes)
#define fdatasync(fd) srvdb_lmdb_fdatasync(fd)
#define fstat(fd, found) srvdb_lmdb_fstat(fd, found)
#define ftruncate(fd, size) srvdb_lmdb_ftruncate(fd, size)
#define mmap(at, bytes, protection, flags, fd, offset) \
  srvdb_lmdb_mmap(at, bytes, protection, flags, fd, offset)
#endif
