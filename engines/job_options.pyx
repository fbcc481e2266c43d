"""The native form of JobOptions: plain fields for the loop."""

from libc.string cimport memset


cdef job_options read_options(dict options) except *:
    """The native form of `JobOptions.native()`: KeyError or ValueError names an option that is missing."""
    cdef job_options native
    memset(&native, 0, sizeof(native))
    direction = options["direction"]
    lengths = options["lengths"]
    fields = dict(options)
    fields.update(
        min_bs=[least for least, _ in lengths],
        max_bs=[most for _, most in lengths],
        is_random=direction.startswith("rand"),
        is_trimwrite=options["does_trim"] and options["does_write"],
        is_verified=options["verify"] != "none",
        is_replayed=options["read_iolog"] != "",
        is_open_loop=options["rate_process"] == "poisson",
        passed=passed_by(options["continue_on_error"]),
    )
    # Every field of the structure by its name, so that none can be forgotten here.
    native = {name: fields[name] for name in native_names()}
    return native


def native_names():
    """The fields there are: options of the loop, and what is derived from others."""
    cdef job_options native
    memset(&native, 0, sizeof(native))
    return frozenset(<object>native)


cdef unsigned passed_by(continue_on_error):
    return {
        "none": 0,
        "read": PASS_READ,
        "write": PASS_WRITE,
        "io": PASS_READ | PASS_WRITE,
        "verify": PASS_VERIFY,
        "all": PASS_READ | PASS_WRITE | PASS_VERIFY,
    }[continue_on_error]
