# How fast the job is going: samples, and whether it keeps its minimum rates.

from libc.stdint cimport uint64_t

from iovigil.engines.job_options cimport job_options
from iovigil.engines.stats cimport stats_page


# How far one direction had come at one moment. Its time stands still while a phase of the other runs.
cdef struct progress:
    uint64_t time_ns
    uint64_t bytes
    uint64_t ios


cdef struct rates:
    progress sampled_bytes[3]
    progress sampled_ios[3]
    progress judged[3]
    uint64_t next_look_ns  # the next of the following
    uint64_t next_bw_ns  # 0: none wanted
    uint64_t next_iops_ns
    uint64_t next_judgement_ns
    bint is_missed  # a minimum rate was not met: what follows says which
    int missed_ddir
    bint is_missed_iops
    double missed_rate


cdef void rates_start(rates *self, const job_options *options, uint64_t epoch_ns) noexcept nogil
cdef void rates_look(rates *self, stats_page *page, const job_options *options, uint64_t now) noexcept nogil
