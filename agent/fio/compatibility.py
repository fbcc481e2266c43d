"""What of fio is taken, what has no effect and what is refused: `python -m iovigil.agent.fio.compatibility`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, NamedTuple

from iovigil.agent.fio.command_line import COMMAND_OPTIONS, REFUSED
from iovigil.engines import foreign
from iovigil.engines.options import SPECS
from iovigil.engines.spelling import ALIASES, ENGINE_ALIASES, NAMES_IN_FIO, TRANSLATIONS, engine_names

COMMAND: Final = "python -m iovigil.agent.fio.compatibility > docs/fio-compatibility.md"
# What iovigil has of its own.
OURS_ALONE: Final = frozenset({"verify_header"})
# Commands that are taken without effect.
IDLE_COMMANDS: Final = ("alloc-size", "eta-interval", "eta-newline")
DIFFERENCES: Final[Sequence[tuple[str, str]]] = (
    ("Sizes", "`KiB` and `KB` are both 1024 bytes; fio's `KiB` is 1000 by default. `1.5k` is 1536."),
    ("Variables", "`${NAME}` that the environment has not is an error; fio puts nothing in its place."),
    ("Sums", "`8*$ncpus`, `$pagesize/2` are worked out; formulas in parentheses are not."),
    ("Spaces", "`rw = read` is taken; fio 3.33 refuses the blank."),
    ("Options that do not fit", "In `[global]` they are passed over where a job cannot use them; in the job refused."),
    ("Mounted devices", "Never written to; there is no option to allow it."),
    ("Files that exist", "Written to only with `overwrite=1` when iovigil did not make them."),
    ("Exit status", "Never 0 when data was wrong or a worker was killed; fio 3.33 is silent about both."),
    ("Checks without data", "`verify` with `ioengine=null` fails, for nothing is kept; fio says that all was well."),
    ("Checks after trims", "`verify_only` together with `trim_percentage` is for `iodepth=1`."),
    ("Checks of less than all", "`verify=meta` judges headers alone where there is no `verify_pattern`, `null` "
     "nothing: as fio."),
    ("`sha512`", "In headers of fio 3.38 and older (`verify_header=fio-2.2`) its field is no digest: neither finds "
     "a byte that is wrong, but near the ends of the data. In those of today it is one."),
    ("`verify_interval`", "Has to divide the lengths; fio takes `bs` where it does not. What is wrong in an interval "
     "that is not the last of its I/O leaves the exit status of fio 3.33 at 0."),
    ("`verify_offset`", "Refused with `verify=pattern` and `null`, which have no header; fio ignores it there. "
     "Together with a pattern without `%o` fio 3.33 leaves old headers in its blocks."),
    ("`verify_pattern`", "As much as 1 MiB; fio 3.33 takes the first 512 bytes of a file. `verify=pattern_hdr` is what "
     "fio 3.33 makes of `verify_pattern` without `verify`."),
    ("Headers of another `verify`", "Fail as headers; fio compares its own checksum. Either gives EILSEQ."),
    ("Distributions", "`random_distribution` takes one distribution for reads, writes and trims."),
    ("State files", "Not saved by `verify_only`, nor before anything is written; `verify_header` chooses the version."),
    ("Random offsets", "`random_generator=auto` visits each block once without a map; its offsets are not fio's."),
)  # fmt: skip

OPENING: Final = f"""\
# fio, and what iovigil takes of it

<!-- Generated: {COMMAND} -->

`iovigil run` reads fio's job files and command lines. Every option of fio 3.33, and of those that
later versions added, is one of three things:

- **taken**: it means what it means to fio;
- **without effect**: it is read, a warning says why nothing follows from it, and the job runs (`--warnings-fatal`
  refuses it);
- **refused** by name, with the reason. Where a value asks for nothing that iovigil does not do, it is taken.
"""


class Class(Enum):
    """What becomes of something that fio knows."""

    SUPPORTED = "taken"
    WITHOUT_EFFECT = "without effect"
    REFUSED = "refused"


class Verdict(NamedTuple):
    """What becomes of it, and why."""

    kind: Class
    reason: str = ""


class AcceptanceRow(NamedTuple):
    """A behaviour of fio, and the test that holds us to it."""

    behaviour: str
    test: str
    """FILE::FUNCTION below tests/; empty where there is none."""
    passes: str = "ours and fio 3.33"
    """Which of them, or why none does."""


OURS: Final = "ours"
WORKLOAD: Final = "system/test_acceptance_fio_workload.py"
VERIFY: Final = "system/test_acceptance_fio_verify.py"
MATRIX: Final = "system/test_verify_matrix.py"
STATE: Final = "system/test_acceptance_fio_verify_state.py"
LATENCY: Final = "system/test_acceptance_fio_latency.py"
LOGS: Final = "system/test_acceptance_fio_logs.py"
FLOW: Final = "system/test_acceptance_fio_flow.py"
READONLY: Final = "system/test_acceptance_fio_readonly.py"
STEADY: Final = "system/test_acceptance_fio_steady_state.py"

# fmt: off
ACCEPTANCE: Final[Sequence[AcceptanceRow]] = tuple(AcceptanceRow(*row) for row in (
    # What a job does.
    ("Lengths that do not divide the size run to the end",
     f"{WORKLOAD}::test_lengths_that_do_not_divide_the_size_come_to_an_end"),
    ("A stride (`rw=read:N`) reads exactly as much",
     f"{WORKLOAD}::test_a_stride_skips_and_ends_before_a_block_that_would_not_fit"),
    ("Sequential offsets are in order", f"{WORKLOAD}::test_a_sequential_job_visits_every_block_in_order"),
    ("Random offsets (map, lfsr) are each of them once, in no order",
     f"{WORKLOAD}::test_a_random_job_visits_every_block_once_in_no_order"),
    ("`norandommap` repeats some offsets", f"{WORKLOAD}::test_without_a_map_blocks_repeat_and_the_order_is_still_none"),
    ("`trimwrite`, `randtrimwrite`: each trim, then a write of the same place, with every kind of length",
     f"{WORKLOAD}::test_each_trim_is_followed_by_a_write_of_the_same_place"),
    ("A timed `randrw` on every engine", f"{WORKLOAD}::test_a_timed_random_job_of_both_directions_runs"),
    ("`randrepeat`, `allrandrepeat` repeat the choices",
     f"{WORKLOAD}::test_repeated_seeds_make_the_same_choices_again"),
    ("`randrepeat=0` does not", f"{WORKLOAD}::test_seeds_that_are_not_repeated_differ"),
    ("`randseed` chooses the offsets", f"{WORKLOAD}::test_a_seed_of_its_own_is_the_same_again_and_unlike_another",
     "ours; fio 3.33 regards it with randrepeat=0 only"),
    ("Clones choose for themselves", f"{WORKLOAD}::test_clones_make_choices_of_their_own"),
    ("`zonemode=strided` keeps to its zones and covers them", f"{WORKLOAD}::test_strided_zones_hold_the_offsets"),
    ("Counts and offsets are the same as fio's", f"{WORKLOAD}::test_both_count_the_same"),
    # Flows.
    ("Two jobs of a flow keep 1:8", f"{FLOW}::test_two_jobs_keep_the_proportion_of_their_weights"),
    ("Three jobs of a flow keep 1:5:10", f"{FLOW}::test_three_jobs_keep_the_proportion_of_their_weights"),
    ("A job leaves, and the others keep theirs", f"{FLOW}::test_those_that_stay_keep_their_proportion_when_one_leaves"),
    # Verification.
    ("Split lengths are written by one job and checked by another",
     f"{VERIFY}::test_one_job_writes_split_lengths_and_another_checks_them"),
    ("A check with another `bs` than written fails", f"{VERIFY}::test_blocks_of_another_length_than_written_fail"),
    ("`verify_interval` below and above `bs`", f"{VERIFY}::test_any_interval_of_headers_can_be_checked"),
    ("`verify_backlog` reads what was written", f"{VERIFY}::test_a_backlog_reads_back_everything"),
    ("`randrw` with a backlog reads twice what it writes",
     f"{VERIFY}::test_a_mixed_job_with_a_backlog_reads_what_it_reads_and_what_it_wrote"),
    ("`verify_async` with a backlog lasts as long as the job",
     f"{VERIFY}::test_threads_beside_the_loop_check_for_as_long_as_the_job_lasts"),
    ("A check with `ioengine=null`", f"{VERIFY}::test_data_that_an_engine_does_not_keep_is_found_wrong_by_us",
     "fio 3.33 pretends that all was well; ours says that nothing was kept"),
    ("`experimental_verify` reads back", f"{VERIFY}::test_experimental_verify_reads_back_what_was_written"),
    ("`experimental_verify` with `loops`",
     f"{VERIFY}::test_experimental_verify_reads_back_what_every_loop_wrote", OURS),
    ("`experimental_verify` with `time_based`",
     f"{VERIFY}::test_experimental_verify_goes_on_for_as_long_as_the_job_lasts", OURS),
    ("`loops` repeats a check", f"{VERIFY}::test_a_check_is_repeated_by_every_loop", OURS),
    ("Directions x forms of verification", f"{VERIFY}::test_what_a_job_wrote_passes_its_check"),
    ("Reads check what another job wrote", f"{VERIFY}::test_reads_check_what_another_job_wrote"),
    ("A flipped byte, four bytes, a block: `error` is EILSEQ", f"{VERIFY}::test_damage_is_found"),
    ("Damage that `continue_on_error` passes over is no success",
     f"{VERIFY}::test_damage_that_is_passed_over_is_counted_and_never_a_success", OURS),
    ("Headers: sequential, random, without a map, strided; by the same job, `verify_only`, `rw`, a reader",
     f"{VERIFY}::test_headers_are_those_of_the_write_that_came_last",
     "ours; fio 3.33 fails with rw and norandommap"),
    ("Blocks written again (`io_size` above `size`) pass",
     f"{VERIFY}::test_blocks_that_are_written_again_are_checked_for_the_last_time",
     "ours; fio 3.33 writes less than asked"),
    ("Writes that overlap pass", f"{VERIFY}::test_writes_that_overlap_are_checked_for_the_last_of_them", OURS),
    ("`trim_percentage`: trimmed blocks read as zeroes", f"{VERIFY}::test_trimmed_blocks_read_as_zeroes",
     "ours; fio 3.33 aborts"),
    ("Counts of verifying jobs are the same as fio's", f"{VERIFY}::test_both_count_as_much"),
    ("Patterns from a file are what is written", f"{VERIFY}::test_a_pattern_from_a_file_is_what_the_file_holds"),
    ("... of 16 KiB", f"{VERIFY}::test_a_pattern_of_16_kib_from_a_file", "ours; fio 3.33 takes 512 bytes of them"),
    ("Patterns of several parts", f"{VERIFY}::test_a_pattern_of_several_parts_is_laid_over_every_block"),
    ("What is no pattern is refused", f"{VERIFY}::test_what_is_no_pattern_is_refused"),
    ("Directions x checksums x forms", f"{VERIFY}::test_every_format_passes_its_check"),
    ("Damage under every checksum", f"{VERIFY}::test_damage_is_found_in_every_format",
     "ours and fio 3.33, which does not find a byte under sha512"),
    ("Blocks written again: in order, at random, mixed, with backlog, pattern or threads",
     f"{VERIFY}::test_of_writes_in_one_place_the_last_is_expected",
     "ours; fio 3.33 takes mixed ones without a map to be damaged"),
    ("What is not zero where it was trimmed is found",
     f"{VERIFY}::test_what_is_not_zero_where_it_was_trimmed_is_found", "ours; fio 3.33 aborts"),
    ("Formats in pairs (checksum, interval, offset, pattern, order): fio takes what we wrote",
     f"{MATRIX}::test_fio_takes_what_either_wrote"),
    ("... we take what fio wrote", f"{MATRIX}::test_we_take_what_either_wrote"),
    ("... fio finds any byte that is wrong in what we wrote", f"{MATRIX}::test_fio_finds_the_bytes_that_are_wrong"),
    ("... we find it in what fio wrote, and say which", f"{MATRIX}::test_we_find_the_bytes_that_are_wrong"),
    ("... and in today's headers, which fio 3.33 does not know",
     f"{MATRIX}::test_we_find_the_bytes_that_are_wrong_of_what_we_wrote", OURS),
    ("A reader checks what the state file tells of: one file; four files, libaio, `loops`",
     f"{VERIFY}::test_a_reader_checks_what_the_state_file_tells_of"),
    ("A job that was cut short leaves a state file, and no more than it tells of is checked",
     f"{STATE}::test_a_job_that_was_cut_short_is_checked_as_far_as_it_came"),
    ("Either loads the state files that the other saved", f"{STATE}::test_either_loads_what_the_other_saved"),
    ("`verify_policy=fsynced`", f"{STATE}::test_what_no_fsync_has_followed_is_not_vouched_for", OURS),
    # Latencies.
    ("Mean slat + mean clat = mean lat",
     f"{LATENCY}::test_the_means_of_submission_and_completion_make_that_of_the_whole",
     "ours; fio 3.33 only with engines that do not answer at once"),
    ("Counts, means, deviations, extremes, bins and percentiles are those of the log",
     f"{LATENCY}::test_every_figure_is_that_of_the_log", OURS),
    ("`unified_rw_reporting`", f"{LATENCY}::test_directions_as_one_are_all_the_lines_of_the_log", OURS),
    ("`percentile_list`", f"{LATENCY}::test_percentiles_are_those_that_were_asked_for"),
    ("`slat_`, `clat_`, `lat_percentiles`",
     f"{LATENCY}::test_only_the_percentiles_that_were_asked_for_are_there"),
    ("Latencies of syncs", f"{LATENCY}::test_syncs_are_counted_and_timed_apart"),
    # Logs.
    ("Lines of logs have their form", f"{LOGS}::test_the_lines_of_a_log_have_the_form_that_was_asked_for",
     "ours; fio 3.33 without log_window_value and log_issue_time"),
    ("`per_job_logs`", f"{LOGS}::test_clones_have_logs_of_their_own_or_one"),
    ("`--bandwidth-log`", f"{LOGS}::test_the_throughput_of_all_jobs_is_logged"),
    ("What `write_iolog` recorded `read_iolog` replays", f"{LOGS}::test_what_was_recorded_is_done_again"),
    ("Each replays what the other recorded", f"{LOGS}::test_each_replays_what_the_other_recorded"),
    ("Trims of a log ask for no buffers", f"{LOGS}::test_trims_of_a_log_ask_for_no_room", OURS),
    # The rest.
    ("`--readonly`, before and behind the job", f"{READONLY}::test_a_job_that_changes_anything_is_refused"),
    ("`steadystate`: the criterion is what the data say", f"{STEADY}::test_the_criterion_is_what_the_data_say"),
    ("`steadystate`: not attained", f"{STEADY}::test_a_job_that_never_is_steady_lasts_as_long_as_it_may"),
    ("`steadystate`: the ramp", f"{STEADY}::test_the_ramp_is_not_looked_at"),
))
# fmt: on
"""Rows of the page's last table, which is left out while there are none."""


def verdict_on(name: str) -> Verdict | None:
    """Return what becomes of an option of a job, None for a name that is not known at all."""
    plain = name.replace("-", "_")
    if plain in SPECS or plain in ALIASES:
        return Verdict(Class.SUPPORTED)
    if plain in foreign.WITHOUT_EFFECT:
        return Verdict(Class.WITHOUT_EFFECT, foreign.WITHOUT_EFFECT[plain])
    reason = foreign.reason_against(plain)
    return Verdict(Class.REFUSED, reason) if reason else None


def verdict_on_engine(name: str) -> Verdict | None:
    if name in engine_names() or name in ENGINE_ALIASES:
        return Verdict(Class.SUPPORTED)
    return Verdict(Class.REFUSED, foreign.ENGINES[name]) if name in foreign.ENGINES else None


def verdict_on_command(name: str) -> Verdict | None:
    """Return what becomes of an option of the command line that is not one of a job."""
    if name in IDLE_COMMANDS:
        return Verdict(Class.WITHOUT_EFFECT, "it is taken for the sake of scripts")
    if name in COMMAND_OPTIONS:
        return Verdict(Class.SUPPORTED)
    return Verdict(Class.REFUSED, REFUSED[name]) if name in REFUSED else None


def render() -> str:
    parts = [OPENING, *taken(), *without_effect(), *refused(), *engines(), *commands(), *differences(), *acceptance()]
    return "\n".join(parts)


def taken() -> Iterator[str]:
    yield "## Taken\n\nDescribed in [options.md](options.md).\n"
    yield "| option | other names |\n| --- | --- |"
    for name in SPECS:
        if name in OURS_ALONE:
            continue
        first = NAMES_IN_FIO.get(name, name)
        also = {name, *(alias for alias, option in ALIASES.items() if option == name and alias not in TRANSLATIONS)}
        yield row(code(first), ", ".join(code(alias) for alias in sorted(also - {first})))
    for name, translate in TRANSLATIONS.items():
        yield row(code(name), f"{translate.__doc__}")
    yield ""


def without_effect() -> Iterator[str]:
    yield "## Without effect\n"
    yield "| option | because |\n| --- | --- |"
    for name, reason in sorted(foreign.WITHOUT_EFFECT.items()):
        yield row(code(name), f"{reason}.")
    yield ""


def refused() -> Iterator[str]:
    yield "## Refused\n"
    yield "| option | because it | taken all the same |\n| --- | --- | --- |"
    for name, (reason, harmless) in sorted(foreign.UNSUPPORTED.items()):
        yield row(code(name), f"{reason}.", ", ".join(code(f"{name}={value}") for value in harmless))
    yield "\nValues:\n\n| value | because it |\n| --- | --- |"
    for option, values in foreign.VALUES.items():
        spec = SPECS[option]
        for value, reason in values.items():
            if value not in spec.choices:
                yield row(code(f"{option}={value}"), f"{reason}.")
    yield "\nOptions that only engines have which are refused:\n\n| engine | options |\n| --- | --- |"
    for engine, names in sorted(foreign.OPTIONS_OF_ENGINES.items()):
        yield row(code(engine), ", ".join(map(code, names)))
    yield ""


def engines() -> Iterator[str]:
    yield "## I/O engines\n"
    yield f"Taken: {', '.join(map(code, engine_names()))}."
    yield f"Other names: {', '.join(f'{code(alias)} is {code(of)}' for alias, of in ENGINE_ALIASES.items())}.\n"
    yield "| refused | because it |\n| --- | --- |"
    for name, reason in sorted(foreign.ENGINES.items()):
        if name not in engine_names():
            yield row(code(name), f"{reason}.")
    yield ""


def commands() -> Iterator[str]:
    yield "## The command\n"
    supported = [name for name in COMMAND_OPTIONS if name not in IDLE_COMMANDS]
    yield f"Taken: {', '.join(code(f'--{name}') for name in supported)}."
    yield f"Without effect: {', '.join(code(f'--{name}') for name in IDLE_COMMANDS)}.\n"
    yield "| refused | because it |\n| --- | --- |"
    for name, reason in sorted(REFUSED.items()):
        yield row(code(f"--{name}"), f"{reason}.")
    yield ""


def differences() -> Iterator[str]:
    yield "## What is not the same\n"
    yield "| | |\n| --- | --- |"
    for subject, text in DIFFERENCES:
        yield row(subject, text)
    yield ""


def acceptance() -> Iterator[str]:
    if not ACCEPTANCE:
        return
    yield "## Acceptance\n"
    yield "Behaviours that fio's own tests hold it to, and ours hold us to.\n"
    yield "| behaviour | passes | test |\n| --- | --- | --- |"
    for behaviour, test, passes in ACCEPTANCE:
        yield row(behaviour, passes, code(test) if test else "")
    yield ""


def row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    print(render(), end="")
