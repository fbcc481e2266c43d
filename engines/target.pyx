"""The files and devices of a job, and the region of each that it works on."""

import os
import stat

from iovigil.engines.setup_error import SetupError

from libc.stdlib cimport calloc, free


cdef class TargetFiles:
    """(descriptor, end, start, length) of each file; the descriptors stay the caller's.

    `admitted` are the first byte and the end of what the guard let the job have of each, an end of 0 where that has
    none. Raises SetupError for a region that reaches outside: whatever made it, no I/O of it is begun.
    """

    def __init__(self, files, admitted=()):
        cdef uint32_t index
        for (fd, end, start, length), (first, last) in zip(files, admitted):
            if start < first or length < 0 or (last and start + length > last):
                raise SetupError(f"the job would work on {start} to {start + length}, and {first} to {last} is its own")
        self.count = len(files)
        self.files = <target_file *>calloc(self.count, sizeof(target_file))
        if self.files == NULL:
            raise MemoryError
        for index, (fd, end, start, length) in enumerate(files):
            self.files[index].fd = fd
            self.files[index].is_device = fd >= 0 and stat.S_ISBLK(os.fstat(fd).st_mode)
            self.files[index].size = end
            self.files[index].start = start
            self.files[index].length = length

    def __dealloc__(self):
        free(self.files)

    def __len__(self):
        return self.count

    @property
    def fds(self):
        return [self.files[index].fd for index in range(self.count)]
