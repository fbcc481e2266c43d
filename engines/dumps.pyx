"""Files with the blocks that failed verification: as they were read, and as they should have been."""

import os

from libc.stdint cimport INT64_MAX

from iovigil.engines.target cimport TargetFiles


cdef class Dumps:
    """What a job has leave to write of bad blocks: none, all (verify_dump), or so many where the agent wants them."""

    def __cinit__(self, dict options not None, TargetFiles targets not None):
        given = options.get("dumps")
        self.is_wanted = options["verify_dump"] or given is not None
        self.suffix = ""
        self.files_left = self.bytes_left = INT64_MAX
        if given is not None:
            self.names = [f"{given['directory']}/{given['prefix']}"] * targets.count
            self.suffix = f".{given['suffix']}"
            # The first are the most telling, so that what comes later is left out.
            self.files_left, self.bytes_left = given["most_files"], given["most_bytes"]
        elif self.is_wanted:
            self.names = [os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) for fd in targets.fds]

    cdef bint write(self, uint64_t file, uint64_t offset, const char *received, const char *expected,
                    uint64_t length) noexcept:
        """Write one block down, for people to compare; `expected` is NULL where that is not known."""
        name = f"{self.names[file]}.{offset}{self.suffix}"
        contents = {"received": received[:length]}
        if expected != NULL:
            contents["expected"] = expected[:length]
        self.files_left -= len(contents)
        self.bytes_left -= len(contents) * length
        if self.files_left < 0 or self.bytes_left < 0:
            return False
        for kind, data in contents.items():
            try:
                with open(f"{name}.{kind}", "wb") as opened:
                    opened.write(data)
            except OSError as error:
                os.write(2, f"warning: verify_dump: {name}.{kind}: {error.strerror}\n".encode())
                return False
        return True
