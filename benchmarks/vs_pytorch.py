"""Time training steps, inference, an epoch and single operations against PyTorch on the CPU.

    python benchmarks/vs_pytorch.py                        everything (about an hour)
    python benchmarks/vs_pytorch.py --only step            rows whose name holds one of these words
    python benchmarks/vs_pytorch.py --only "inference vgg11" epoch
    python benchmarks/vs_pytorch.py --list                 the names of the rows
    python benchmarks/vs_pytorch.py --quick                see that everything works; saves nothing

Of each row all contestants run in this process by turns, with the same number of threads, on the
same weights and numbers: minicnn, minicnn with precision="exact" (no Winograd), PyTorch with images in
NCHW order, and PyTorch channels-last. Training steps and inference of minicnn are captured, as by `fit` and
`minicnn.capture(model)`; beside that, they are timed without. Before a row is timed, what it computes is
compared with PyTorch in float64: outputs, or what one training step changes, of the very thing that is timed,
captured where that is; agreement.py says what is allowed, starts.py why the weights make that telling. The
ratio is the better of PyTorch's medians / ours.

Results go to benchmarks/results: vs_pytorch.json, .md, .png, and vs_pytorch_operations.png. Rows that are
measured again replace what was there; the rest stays, if it was measured with the same versions on the
same machine. Each row says at which commit of minicnn that was; rows of other commits than the newest are marked.
"""

import argparse
import gc

from agreement import require, require_recorded, worst
from environment import describe
from libraries import (
    EXACT,
    MINICNN,
    NETWORK_MODES,
    REFERENCE,
    UNCAPTURED,
    thread_settings,
    use_threads,
)
from memory import measured_in_new_process
from operations import operation_rows
from provenance import measured
from report import add_to, line_of, save
from rows import Entry, Row, network_rows
from timing import Pace, alternate, medians, ratio

LONG = Pace(rounds=3, block_seconds=0, least_calls=1)
QUICK = Pace(rounds=2, block_seconds=0.05, least_calls=1)


def measure(row: Row, pace: Pace) -> dict:
    """Compare the results of a row in all modes, time them, and return the record.

    Raises:
        ValueError: if results are too far from PyTorch's in float64.
    """
    entries: dict[str, Entry] = {mode.name: row.prepare(mode) for mode in row.modes}
    errors = errors_of(row, entries)
    theirs = [mode.name for mode in row.modes if not mode.ours]
    ours = {mode.name: errors[mode.name] for mode in row.modes if mode.ours}
    require(ours, row.tolerance, row.name)
    for entry in entries.values():
        if entry.warm_up is not None:
            entry.warm_up()
    recordings = {name: entry.recording for name, entry in entries.items()}
    require_recorded(row.name, recordings)
    samples = alternate({name: entry.contestant for name, entry in entries.items()}, pace)
    require_recorded(row.name, recordings)
    record = {
        "name": row.name,
        "group": row.group,
        "title": row.title,
        "least": row.least,
        "aim": row.aim,
        "milliseconds": medians(samples),
        "calls": {name: sum(map(len, turns)) for name, turns in samples.items()},
        "errors": errors,
        "ratio": vars(ratio(samples, MINICNN.name, theirs)),
        "exact_ratio": vars(ratio(samples, EXACT.name, theirs)),
    }
    if UNCAPTURED in row.modes:
        record["uncaptured_ratio"] = vars(ratio(samples, UNCAPTURED.name, theirs))
    return record


def errors_of(row: Row, entries: dict[str, Entry]) -> dict[str, float]:
    """Return the largest error of each mode's results, against PyTorch's in float64."""
    reference = row.prepare(REFERENCE).results()
    return {name: worst(entry.results(), reference) for name, entry in entries.items()}


def memory_record(network: str, threads: int, stamp: dict[str, str]) -> dict[str, dict]:
    """Return what a training step adds to the memory of a process, in each mode, in MiB, and the stamp with it."""
    peaks = {mode.name: measured_in_new_process(network, mode, threads) for mode in NETWORK_MODES}
    memory = {name: value for name, value in peaks.items() if value is not None}
    return {"memory": memory, "memory_measured": stamp}


def selected(rows: list[Row], words: list[str] | None) -> list[Row]:
    """Return the rows whose name holds one of the words; all without words."""
    return [row for row in rows if not words or any(word in row.name for word in words)]


def pace_for(row: Row, options: argparse.Namespace) -> Pace:
    """Return how long a row is timed."""
    if options.quick:
        return QUICK
    return LONG if row.long else Pace(options.rounds, options.seconds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows whose name holds a word")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a turn, about")
    parser.add_argument("--threads", type=int, default=2)
    memory = parser.add_mutually_exclusive_group()
    memory.add_argument("--no-memory", action="store_true", help="measure no peaks of memory")
    memory.add_argument(
        "--only-memory", action="store_true", help="measure the peaks of rows that have been timed"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a look only: short turns, smaller batches, not saved"
    )
    return parser.parse_args()


def main() -> None:
    options = parse()
    rows = selected([*network_rows(options.quick), *operation_rows()], options.only)
    if options.list:
        print("\n".join(row.name for row in rows))
        return
    use_threads(options.threads)
    environment = describe() | thread_settings(options.threads)
    stamp = measured()  # of the code that has been imported
    for row in rows:
        if options.only_memory:
            if row.network:
                add_to(environment, row.name, memory_record(row.network, options.threads, stamp))
            continue
        record = measure(row, pace_for(row, options)) | {"measured": stamp}
        if row.network and not options.no_memory:
            record |= memory_record(row.network, options.threads, stamp)
        gc.collect()
        print(line_of(record), flush=True)
        if not options.quick:
            save(environment, record)


if __name__ == "__main__":
    main()
