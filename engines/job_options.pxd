# The native form of JobOptions.

from libc.stdint cimport uint64_t


# Fields have the names and units of JobOptions; PerDirection options are pairs.
cdef struct job_options:
    uint64_t rwmixread
    uint64_t bs
    uint64_t iodepth
    uint64_t size
    uint64_t offset
    uint64_t io_size
    uint64_t number_ios
    bint direct
    bint invalidate
    bint time_based
    uint64_t runtime
    uint64_t ramp_time
    uint64_t loops
    uint64_t rate[2]
    uint64_t rate_iops[2]
    uint64_t rate_min[2]
    uint64_t rate_iops_min[2]
    uint64_t ratecycle
    uint64_t thinktime
    uint64_t thinktime_spin
    uint64_t thinktime_blocks
    uint64_t fsync
    uint64_t fdatasync
    bint end_fsync
    bint norandommap
    uint64_t randseed
    bint randrepeat
    bint scramble_buffers
    bint do_verify
    bint verify_fatal
    bint fill_device
    bint is_random  # rw
    bint does_read
    bint does_write
    bint is_verified  # verify is not none
    bint is_current_header  # verify_header is fio-3.41
    unsigned passed  # continue_on_error, as bits of Passed


cdef enum Passed:
    # What continue_on_error lets pass, as bits.
    PASS_READ = 1
    PASS_WRITE = 2
    PASS_VERIFY = 4


cdef job_options read_options(dict options) except *
