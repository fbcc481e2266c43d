# How fast the job is going: half-second samples, and whether it keeps its minimum rates.

from libc.stdint cimport uint64_t

from iovigil.engines.job_options cimport job_options
from iovigil.engines.stats cimport stats_page


# Bytes and I/Os per direction at one moment.
cdef struct progress:
    uint64_t at_ns
    uint64_t bytes[2]
    uint64_t ios[2]


cdef struct rates:
    progress sampled
    progress judged
    uint64_t next_sample_ns
    uint64_t next_judgement_ns
    bint is_missed  # a minimum rate was not met: what follows says which
    int missed_ddir
    bint is_missed_iops
    double missed_rate


cdef void rates_start(rates *self, uint64_t epoch_ns) noexcept nogil
cdef void rates_look(rates *self, stats_page *page, const job_options *options, uint64_t now) noexcept nogil
