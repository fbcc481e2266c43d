"""What was found wrong: the records on the page, and the bad blocks themselves, for people to compare."""

import os

from libc.errno cimport EILSEQ

from iovigil.engines.clock cimport now_ns
from iovigil.engines.latency cimport slot_add, slot_get, slot_set
from iovigil.engines.stats cimport MISMATCH_COUNT, MISMATCHES_KEPT, StatsPage, mismatch_record


cdef class Findings:
    """The bad blocks of a job, on its page and, where they are wanted, in files."""

    def __cinit__(self, StatsPage stats not None, dumps):
        """`dumps` says where, under which names and how much of them; None is nowhere."""
        self.page = stats.page
        self.has_dumps = dumps is not None
        if self.has_dumps:
            self.dump_name = f"{dumps['directory']}/{dumps['prefix']}"
            self.dump_suffix = f".{dumps['suffix']}"
            self.dump_files_left, self.dump_bytes_left = dumps["most_files"], dumps["most_bytes"]

    cdef void put(self, const io_u *io, const verdict *answer, uint64_t expected, const char *wanted) noexcept nogil:
        """Book a block that was read; `wanted` is what should be there, where the verdict says that this is known."""
        cdef uint64_t found = 0
        cdef int kind
        cdef mismatch_record *place
        for kind in range(MISMATCH_COUNT):
            found += slot_get(&self.page.mismatch[kind])
        if found < <uint64_t>MISMATCHES_KEPT:
            place = &self.page.mismatches[found]
            place.offset = io.offset
            place.length = io.block_length
            place.first_byte = <int64_t>place.offset + answer.first_byte if answer.first_byte >= 0 else -1
            place.kind = <uint64_t>answer.kind
            place.expected = expected
            place.found = answer.found
            place.wrong_bits = answer.wrong_bits
            place.found_offset = answer.found_offset
            place.found_ns = now_ns(&self.page.clock)
            place.file = io.file
            if self.has_dumps:
                with gil:
                    place.is_dumped = self.dump(io, answer, wanted)
        slot_add(&self.page.mismatch[answer.kind], 1)
        slot_add(&self.page.total_errors, 1)
        slot_set(&self.page.first_error, slot_get(&self.page.first_error) or <uint64_t>EILSEQ)

    cdef bint dump(self, const io_u *io, const verdict *answer, const char *wanted) noexcept:
        """Write down what was read, and what should have been where that is known."""
        name = f"{self.dump_name}.{io.offset}{self.dump_suffix}"
        contents = {"received": io.buf[:io.block_length]}
        if answer.is_expected_known:
            contents["expected"] = wanted[:io.block_length]
        self.dump_files_left -= len(contents)
        self.dump_bytes_left -= len(contents) * io.block_length
        if self.dump_files_left < 0 or self.dump_bytes_left < 0:
            return False
        for kind, data in contents.items():
            try:
                with open(f"{name}.{kind}", "wb") as file:
                    file.write(data)
            except OSError as error:
                os.write(2, f"warning: dump: {name}.{kind}: {error.strerror}\n".encode())
                return False
        return True
