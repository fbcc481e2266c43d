"""What was found wrong: the records on the page, and the bad blocks themselves, for people to compare."""

from libc.errno cimport EILSEQ
from libc.stdint cimport int64_t

from iovigil.engines.clock cimport now_ns
from iovigil.engines.dumps cimport Dumps
from iovigil.engines.latency cimport slot_add, slot_get, slot_set
from iovigil.engines.stats cimport MISMATCH_COUNT, MISMATCHES_KEPT, StatsPage, mismatch_record


cdef class Findings:
    """The bad blocks of a job, on its page and, where they are wanted, in files."""

    def __cinit__(self, StatsPage stats not None, Dumps dumps not None):
        self.page = stats.page
        self.dumps = dumps

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
            if self.dumps.is_wanted:
                with gil:
                    place.is_dumped = self.dumps.write(
                        io.file, io.offset, io.buf, wanted if answer.is_expected_known else NULL, io.block_length)
        slot_add(&self.page.mismatch[answer.kind], 1)
        slot_add(&self.page.total_errors, 1)
        slot_set(&self.page.first_error, slot_get(&self.page.first_error) or <uint64_t>EILSEQ)
