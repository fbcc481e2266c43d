# The native form of JobOptions.

from libc.stdint cimport int64_t, uint64_t


# Fields have the names and units of JobOptions; what is one value per direction is a triple.
cdef struct job_options:
    int64_t size
    int64_t offset
    uint64_t offset_align
    int64_t io_size
    uint64_t number_ios
    bint fill_device
    bint bs_unaligned
    uint64_t blockalign[3]
    uint64_t rwmixread
    uint64_t iodepth
    uint64_t iodepth_batch_submit
    uint64_t iodepth_batch_complete_min
    uint64_t iodepth_batch_complete_max
    uint64_t iodepth_low
    bint serialize_overlap
    bint norandommap
    bint softrandommap
    uint64_t percentage_random[3]
    uint64_t randseed
    bint randrepeat
    bint allrandrepeat
    uint64_t zonesize
    uint64_t zonerange
    uint64_t zoneskip
    bint direct
    bint invalidate
    uint64_t fsync
    uint64_t fdatasync
    bint end_fsync
    bint fsync_on_close
    bint time_based
    uint64_t runtime
    uint64_t ramp_time
    uint64_t loops
    uint64_t rate[3]
    uint64_t rate_iops[3]
    bint rate_ignore_thinktime
    uint64_t rate_min[3]
    uint64_t rate_iops_min[3]
    uint64_t ratecycle
    uint64_t thinktime
    uint64_t thinktime_spin
    uint64_t thinktime_blocks
    uint64_t thinktime_iotime
    uint64_t flow_sleep
    uint64_t latency_target
    uint64_t latency_window
    double latency_percentile
    bint latency_run
    uint64_t max_latency[3]
    bint scramble_buffers
    bint refill_buffers
    bint zero_buffers
    uint64_t buffer_compress_percentage
    uint64_t buffer_compress_chunk
    uint64_t dedupe_percentage
    uint64_t verify_interval
    bint do_verify
    bint verify_only
    bint experimental_verify
    uint64_t verify_backlog
    uint64_t verify_backlog_batch
    uint64_t verify_async
    bint verify_fatal
    bint verify_dump
    uint64_t trim_percentage
    bint trim_verify_zero
    uint64_t trim_backlog
    uint64_t trim_backlog_batch
    uint64_t bwavgtime
    uint64_t iopsavgtime
    bint disable_lat
    bint disable_clat
    bint disable_slat
    bint disable_bw_measurement
    bint gtod_reduce
    uint64_t min_bs[3]  # bs, bsrange, bssplit
    uint64_t max_bs[3]
    int64_t sequence  # rw=...:N
    bint is_random  # rw
    bint does_read
    bint does_write
    bint does_trim  # of itself; not for trim_percentage
    bint is_trimwrite
    bint is_verified  # verify is not none
    bint is_replayed  # read_iolog
    bint is_open_loop  # rate_process is poisson
    unsigned passed  # continue_on_error, as bits of Passed


cdef enum Passed:
    # What continue_on_error lets pass, as bits.
    PASS_READ = 1
    PASS_WRITE = 2
    PASS_VERIFY = 4


cdef job_options read_options(dict options) except *
