"""The native form of JobOptions: plain fields for the loop."""

from libc.string cimport memset


cdef job_options read_options(dict options) except *:
    """The native form of `JobOptions.native()`, less its ioengine. KeyError for one that is missing.

    Every option has a field here; ValueError names the one that has not.
    """
    cdef job_options native
    memset(&native, 0, sizeof(native))
    options = dict(options)
    rw = options.pop("rw")
    native.is_random = rw.startswith("rand")
    native.does_read = rw in ("read", "randread", "rw", "randrw")
    native.does_write = rw in ("write", "randwrite", "rw", "randrw")
    native.is_verified = options.pop("verify") != "none"
    native.is_current_header = options.pop("verify_header") == "fio-3.41"
    native.passed = passed_by(options.pop("continue_on_error"))
    native.rwmixread = options.pop("rwmixread")
    native.bs = options.pop("bs")
    native.iodepth = options.pop("iodepth")
    native.size = options.pop("size")
    native.offset = options.pop("offset")
    native.io_size = options.pop("io_size")
    native.number_ios = options.pop("number_ios")
    native.direct = options.pop("direct")
    native.invalidate = options.pop("invalidate")
    native.time_based = options.pop("time_based")
    native.runtime = options.pop("runtime")
    native.ramp_time = options.pop("ramp_time")
    native.loops = options.pop("loops")
    native.rate = options.pop("rate")
    native.rate_iops = options.pop("rate_iops")
    native.rate_min = options.pop("rate_min")
    native.rate_iops_min = options.pop("rate_iops_min")
    native.ratecycle = options.pop("ratecycle")
    native.thinktime = options.pop("thinktime")
    native.thinktime_spin = options.pop("thinktime_spin")
    native.thinktime_blocks = options.pop("thinktime_blocks")
    native.fsync = options.pop("fsync")
    native.fdatasync = options.pop("fdatasync")
    native.end_fsync = options.pop("end_fsync")
    native.norandommap = options.pop("norandommap")
    native.randseed = options.pop("randseed")
    native.randrepeat = options.pop("randrepeat")
    native.scramble_buffers = options.pop("scramble_buffers")
    native.do_verify = options.pop("do_verify")
    native.verify_fatal = options.pop("verify_fatal")
    native.fill_device = options.pop("fill_device")
    if options:
        raise ValueError(f"no native field for option {', '.join(sorted(options))}")
    return native


cdef unsigned passed_by(continue_on_error):
    return {
        "none": 0,
        "read": PASS_READ,
        "write": PASS_WRITE,
        "io": PASS_READ | PASS_WRITE,
        "verify": PASS_VERIFY,
        "all": PASS_READ | PASS_WRITE | PASS_VERIFY,
    }[continue_on_error]
