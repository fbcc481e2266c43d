"""The length of the next I/O of a direction: fixed, out of a range, or in given shares."""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from iovigil.engines.tausworthe cimport tausworthe_draw

cdef enum:
    TRIES = 100


cdef int lengths_init(lengths *self, uint64_t bs, tuple bounds, tuple split, uint64_t multiple,
                      uint64_t interval, uint64_t unit) except -1:
    """Make ready. `multiple` 0 rounds to the least length, as fio does; 1 does not (bs_unaligned)."""
    cdef uint32_t index
    memset(self, 0, sizeof(lengths))
    self.least = self.most = bs
    if split:
        self.least = min([length for length, _ in split])
        self.most = max([length for length, _ in split])
        self.shares = <length_share *>calloc(len(split), sizeof(length_share))
        if self.shares == NULL:
            raise MemoryError
        total, until = sum([share for _, share in split]), 0
        if total <= 0:
            raise ValueError("bssplit: at least one length must have a share")
        for index, (length, share) in enumerate(split):
            until += share
            self.shares[index].until = <double>until / total
            self.shares[index].length = length
        self.share_count = len(split)
    elif any(bounds):
        self.least, self.most = bounds
    self.multiple = multiple or self.least
    self.interval = interval
    self.unit = unit
    return 0


cdef void lengths_free(lengths *self) noexcept nogil:
    free(self.shares)
    self.shares = NULL


cdef uint64_t lengths_draw(lengths *self, uint64_t room) noexcept nogil:
    """A length that fits into so many bytes; drawn again until it does, as fio does, then cut."""
    cdef uint64_t length = self.least
    cdef uint32_t _attempt
    if self.least != self.most:
        for _attempt in range(<uint32_t>TRIES):
            length = draw_once(self)
            if length <= room:
                break
    if length > room:
        length = room - room % self.unit
    return length


cdef inline uint64_t draw_once(lengths *self) noexcept nogil:
    cdef uint64_t length
    cdef uint32_t drawn = tausworthe_draw(&self.random), index = 0
    if self.share_count:
        while index + 1 < self.share_count and self.shares[index].until * 4294967296.0 <= drawn:
            index += 1
        length = self.shares[index].length
    else:
        # fio's formula: the least and the greatest length have other shares than those between.
        length = self.least + <uint64_t>((<double>self.most * drawn) / 4294967296.0)
    length = min(max(length - length % self.multiple, self.least), self.most)
    return length - length % self.interval
