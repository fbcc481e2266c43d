# The memory of a job's I/O buffers.

from libc.stdint cimport uint64_t


cdef class Buffers:
    cdef char *address  # of the first buffer; all are aligned to a page and to iomem_align
    cdef readonly uint64_t size  # bytes of all buffers together
    cdef readonly uint64_t stride  # bytes from one buffer to the next
    cdef void *base  # what the kernel or the allocator gave
    cdef uint64_t length
    cdef int kind
    cdef int take(self, str mem, uint64_t hugepage_size) except -1
    cdef int share(self, str mem, int flags, uint64_t hugepage_size) except -1
