# When a file was made: with its inode, which a later file may get, it tells one file from another.

from libc.stdint cimport uint64_t

cdef extern from * nogil:
    """
    #ifndef IOVIGIL_FILE_BIRTH
    #define IOVIGIL_FILE_BIRTH
    #include <fcntl.h>
    #include <stdint.h>
    #include <sys/stat.h>

    /* 0 where its filesystem does not say. */
    static inline uint64_t iovigil_born_ns(int fd) {
        struct statx found;
        if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &found) || !(found.stx_mask & STATX_BTIME))
            return 0;
        return (uint64_t)found.stx_btime.tv_sec * 1000000000 + found.stx_btime.tv_nsec;
    }
    #endif
    """
    uint64_t born_ns "iovigil_born_ns" (int fd) noexcept
