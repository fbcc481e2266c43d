"""The files and devices of a job, and the region of each that it works on."""

import os
import stat

from libc.stdlib cimport calloc, free


cdef class TargetFiles:
    """(descriptor, size, start, length) of each file; the descriptors stay the caller's."""

    def __init__(self, files):
        cdef uint32_t index
        self.count = len(files)
        self.files = <target_file *>calloc(self.count, sizeof(target_file))
        if self.files == NULL:
            raise MemoryError
        for index, (fd, size, start, length) in enumerate(files):
            self.files[index].fd = fd
            self.files[index].is_device = fd >= 0 and stat.S_ISBLK(os.fstat(fd).st_mode)
            self.files[index].size = size
            self.files[index].start = start
            self.files[index].length = length

    def __dealloc__(self):
        free(self.files)

    def __len__(self):
        return self.count

    @property
    def fds(self):
        return [self.files[index].fd for index in range(self.count)]
