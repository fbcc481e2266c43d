"""Memory mapping: an I/O is a copy to or from a window on its file."""

import os

from libc.errno cimport EINVAL, EIO, ENOMEM, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.fcntl cimport POSIX_FADV_DONTNEED, posix_fadvise
from posix.mman cimport (
    MADV_DONTNEED, MADV_RANDOM, MADV_SEQUENTIAL, MAP_FAILED, MAP_SHARED, MS_SYNC, PROT_READ, PROT_WRITE, madvise, mmap,
    msync, munmap,
)

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, IO_VERIFIED, READ, SYNC, WRITE, QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles, target_file

cdef extern from *:
    """
    #include <setjmp.h>
    #include <signal.h>
    #include <stdint.h>
    #include <string.h>

    /* A page that cannot be read, and one past the end of a file cut short, answer with SIGBUS. While a copy is under
     * way that ends the copy; at any other time the handler that was there before, or death, is what it should be. */
    static __thread sigjmp_buf sigbus_return;
    static __thread volatile uintptr_t sigbus_from, sigbus_to;
    static struct sigaction sigbus_before;

    static void on_sigbus(int number, siginfo_t *info, void *context)
    {
        uintptr_t at = (uintptr_t)info->si_addr;
        (void)context;
        if (at >= sigbus_from && at < sigbus_to)
            siglongjmp(sigbus_return, 1);
        sigaction(number, &sigbus_before, NULL);  /* the access is made again, and meets that */
    }

    static int catch_sigbus(void)
    {
        struct sigaction action;
        memset(&action, 0, sizeof(action));
        action.sa_sigaction = on_sigbus;
        /* The jump leaves the handler without a return: NODEFER keeps SIGBUS unblocked, no mask to restore. */
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        return sigaction(SIGBUS, &action, &sigbus_before);
    }

    static void release_sigbus(void)
    {
        sigaction(SIGBUS, &sigbus_before, NULL);
    }

    /* 0, or -1 when a page of the mapping was not to be had. */
    static int copy_or_sigbus(void *to, const void *from, size_t length, const void *mapped)
    {
        sigbus_from = (uintptr_t)mapped;
        sigbus_to = sigbus_from + length;
        if (sigsetjmp(sigbus_return, 0)) {
            sigbus_to = 0;
            return -1;
        }
        memcpy(to, from, length);
        /* The copy may not be moved past the end of the guard. */
        __asm__ volatile("" ::: "memory");
        sigbus_to = 0;
        return 0;
    }
    """
    int catch_sigbus() nogil
    void release_sigbus() nogil
    int copy_or_sigbus(void *to, const void *source, size_t length, const void *mapped) nogil

cdef enum:
    # What is tried when there is no room for all of a region; the least still takes an I/O of 1 MiB.
    GREATEST_WINDOW = 1 << 30
    LEAST_WINDOW = 1 << 20


cdef struct window:
    char *memory  # NULL: nothing is mapped
    uint64_t start  # in the file; a multiple of the page
    uint64_t length


cdef class Engine(IoEngine):
    cdef window *windows  # one a file
    cdef uint64_t window_bytes  # length of one that is moved; 0: each has all of its region
    cdef uint64_t page
    cdef int protection
    cdef int advice
    cdef bint is_direct
    cdef bint is_catching

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.is_direct = options["direct"]
        # A check reads as well as it writes; nothing but a job that writes may change a page.
        does_write = options["does_write"]
        self.protection = PROT_READ | (PROT_WRITE if does_write else 0)
        # What the loop says of the file does not hold for page faults: these would read what is around a page too.
        self.advice = MADV_RANDOM if options["direction"].startswith("rand") else MADV_SEQUENTIAL
        self.page = <uint64_t>os.sysconf("SC_PAGE_SIZE")
        self.windows = <window *>calloc(targets.count, sizeof(window))
        if self.windows == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.windows)

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        cdef uint32_t index
        cdef int error = 0
        if self.options["fill_device"]:
            raise OSError("ioengine=mmap cannot make a file longer: fill_device needs another engine, such as psync")
        for index in range(self.targets.count):
            if self.files[index].fd < 0:
                raise OSError("ioengine=mmap needs a file or a device: set filename")
            error = self.map(index, self.files[index].start, self.files[index].start + self.files[index].length)
            if error:
                break
        if error:
            self.unmap_all()
            if error != -ENOMEM:
                raise OSError(f"ioengine=mmap: the target cannot be mapped: {os.strerror(-error)}")
            self.shrink()
        if catch_sigbus():
            raise OSError(errno, os.strerror(errno), "sigaction")
        self.is_catching = True
        return 0

    cdef int shrink(self) except -1:
        """Find the length of window of which there can be one for each file."""
        cdef uint64_t length = GREATEST_WINDOW
        cdef uint64_t least = max(<uint64_t>LEAST_WINDOW, 2 * max([most for _, most in self.options["lengths"]]))
        cdef uint32_t index
        cdef int error = 0
        while length >= least:
            error = 0
            for index in range(self.targets.count):
                error = self.map(index, 0, length)
                if error:
                    break
            self.unmap_all()
            if not error:
                # Half of it: the rest of the process needs room too.
                self.window_bytes = length // 2
                self.notes.append(f"mmap: not all of the region fits in memory; mapped {length >> 21} MiB at a time")
                return 0
            length //= 2
        raise OSError(f"ioengine=mmap: no room for windows of {least} bytes: {os.strerror(-error)}; "
                      "lower bs or the number of files")

    cdef int map(self, uint32_t index, uint64_t start, uint64_t end) noexcept nogil:
        """Show this part of a file instead of what its window showed; 0 or -errno."""
        cdef window *place = &self.windows[index]
        cdef void *memory
        self.unmap(place)
        start -= start % self.page
        memory = mmap(NULL, end - start, self.protection, MAP_SHARED, self.files[index].fd, <int64_t>start)
        if memory == MAP_FAILED:
            return -errno
        madvise(memory, end - start, self.advice)
        place.memory = <char *>memory
        place.start = start
        place.length = end - start
        return 0

    cdef void unmap(self, window *place) noexcept nogil:
        if place.memory != NULL:
            munmap(place.memory, place.length)
            place.memory = NULL

    cdef void unmap_all(self) noexcept nogil:
        cdef uint32_t index
        for index in range(self.targets.count):
            self.unmap(&self.windows[index])

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        if io.ddir <= WRITE:
            io.result = self.transfer(io)
        elif io.ddir == SYNC and not self.window_bytes:
            io.result = self.sync_window(&self.windows[io.file])
        else:
            # Of a window that was moved nothing is left to msync; the file knows all its dirty pages.
            io.result = self.change(io)
        return COMPLETED

    cdef inline int64_t sync_window(self, window *place) noexcept nogil:
        return -errno if msync(place.memory, place.length, MS_SYNC) else 0

    cdef int64_t transfer(self, io_u *io) noexcept nogil:
        cdef window *place = &self.windows[io.file]
        cdef target_file *file = &self.files[io.file]
        cdef uint64_t end = io.offset + io.length
        cdef char *at
        cdef int error
        if place.memory == NULL or io.offset < place.start or end > place.start + place.length:
            if not self.window_bytes:
                return -EINVAL
            error = self.map(io.file, io.offset, min(max(io.offset + self.window_bytes, end),
                                                     max(file.start + file.length, end)))
            if error:
                return error
        at = place.memory + (io.offset - place.start)
        if io.ddir == READ:
            if io.flags & IO_VERIFIED:
                # The check is of the disk, and a page that is mapped stays, whatever else asks for it to be dropped.
                self.drop(io.file, at, io.offset, io.length)
            error = copy_or_sigbus(io.buf, at, io.length, at)
        else:
            error = copy_or_sigbus(at, io.buf, io.length, at)
        if error:
            return -EIO
        if self.is_direct:
            if io.ddir == WRITE and self.sync_range(at, io.length):
                return -errno
            self.drop(io.file, at, io.offset, io.length)
        return io.length

    cdef inline int sync_range(self, char *at, uint64_t length) noexcept nogil:
        cdef uint64_t before = <uint64_t>at % self.page
        return msync(at - before, length + before, MS_SYNC)

    cdef inline void drop(self, uint32_t index, char *at, uint64_t offset, uint64_t length) noexcept nogil:
        """Have these pages read from the disk next time: out of our memory, then out of the page cache."""
        cdef uint64_t before = <uint64_t>at % self.page
        madvise(at - before, length + before, MADV_DONTNEED)
        posix_fadvise(self.files[index].fd, <int64_t>(offset - before), <int64_t>(length + before), POSIX_FADV_DONTNEED)

    cdef void close(self) noexcept:
        self.unmap_all()
        if self.is_catching:
            self.is_catching = False
            release_sigbus()
