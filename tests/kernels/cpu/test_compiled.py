"""How compiled loops are kept between runs. A loop decorated again stands for the one of another process."""

import importlib
import os
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest

pytest.importorskip("numba")
import numba

from minicnn.kernels.cpu import compiled as machinery
from minicnn.kernels.cpu import machine_code
from minicnn.kernels.cpu.compiled import compiled
from minicnn.kernels.cpu.machine_code import MachineCodeFiles

LOOPS = """
    from minicnn.kernels.cpu.compiled import compiled, on_threads

    FACTOR = 2


    @compiled
    def scale(x):
        for i in range(len(x)):
            x[i] *= FACTOR


    @on_threads
    def scale_rows(part, parts, x):
        for i in range(part, len(x), parts):
            scale(x[i])
"""


def double(x):
    for i in range(len(x)):
        x[i] *= 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for machine code."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(MachineCodeFiles, "may_write", True)
    return tmp_path / "cache" / "kernels"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of loops: its path, and a function that imports it as a new process would."""
    name = "loops_of_a_test"
    path = tmp_path / f"{name}.py"
    path.write_text(textwrap.dedent(LOOPS))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load():
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        machine_code._modules_behind.cache_clear()
        return importlib.import_module(name)

    yield path, load
    sys.modules.pop(name, None)
    machine_code._modules_behind.cache_clear()


def run(loop, n=3):
    """Call a loop with ones; return their sum, and how often machine code was loaded and how often it was made."""
    x = np.ones(n)
    loop(x)
    stats = getattr(loop, "loop", loop).stats
    return x.sum(), sum(stats.cache_hits.values()), sum(stats.cache_misses.values())


def test_machine_code_is_written_once_and_then_loaded(folder):
    assert run(compiled(double)) == (6, 0, 1)
    (file,) = folder.iterdir()
    written = file.stat().st_mtime_ns
    assert run(compiled(double)) == (6, 1, 0)
    assert file.stat().st_mtime_ns == written


def test_each_signature_has_a_file(folder):
    loop = compiled(double)
    loop(np.ones(3))
    loop(np.ones(3, np.float32))
    loop(np.ones(4, np.float32))
    assert len(list(folder.iterdir())) == 2
    assert all("test_compiled.double-" in file.name for file in folder.iterdir())


def test_a_parallel_loop_and_what_it_calls_are_kept(folder, module):
    _, load = module
    for hits, misses in [(0, 1), (1, 0)]:
        loops = load()
        x = np.ones((4, 5))
        loops.scale_rows(2, x)
        assert (x == 2).all()
        stats = loops.scale_rows.loop.stats
        assert (sum(stats.cache_hits.values()), sum(stats.cache_misses.values())) == (hits, misses)


def test_a_file_that_was_lost_is_made_again(folder, module):
    _, load = module
    for _ in range(3):
        x = np.ones((4, 5))
        load().scale_rows(2, x)
        assert (x == 2).all()
        (file,) = (file for file in folder.iterdir() if ".scale_rows-" in file.name)
        file.unlink()


def test_changed_source_is_compiled_again(folder, module):
    path, load = module
    assert run(load().scale)[0] == 6
    path.write_text(path.read_text().replace("*= FACTOR", "+= FACTOR"))
    assert run(load().scale) == (9, 0, 1)
    assert len(list(folder.iterdir())) == 1  # the old file is replaced


def test_a_changed_number_of_another_module_is_noticed(folder, module):
    path, load = module
    constants = path.with_name("constants_of_a_test.py")
    path.write_text(
        path.read_text().replace("FACTOR = 2", "from constants_of_a_test import FACTOR")
    )
    for factor in (2, 5):
        constants.write_text(f"FACTOR = {factor}\n")
        sys.modules.pop("constants_of_a_test", None)
        assert run(load().scale) == (3 * factor, 0, 1)
    sys.modules.pop("constants_of_a_test")


def test_the_same_files_in_another_package_have_machine_code_of_their_own(folder, monkeypatch):
    """Machine code looks for the loop that runs it on threads by the name of a module."""
    files, codegen = (
        MachineCodeFiles(double),
        numba.core.registry.cpu_target.target_context.codegen(),
    )
    before = files._path((), codegen)
    monkeypatch.setattr(machine_code, "PACKAGE", "kernels.cpu")
    assert files._path((), codegen) != before


def test_what_was_imported_counts_and_not_what_the_file_holds_now(folder, module):
    path, load = module
    loops = load()
    path.write_text(path.read_text().replace("*= FACTOR", "+= FACTOR"))
    assert run(loops.scale) == (6, 0, 1)
    assert run(load().scale) == (9, 0, 1)


def test_a_loop_can_be_called_from_python_and_from_loops(folder, module):
    _, load = module
    loops = load()
    x = np.ones((4, 5))
    loops.scale_rows(2, x)
    assert run(loops.scale) == (6, 0, 1)
    loops.scale_rows(3, x)
    assert (x == 4).all()
    names = {file.name.partition("-")[0] for file in folder.iterdir()}
    assert {f"loops_of_a_test.{name}" for name in ("scale", "scale_rows")} <= names


@pytest.mark.parametrize("keep", [0, 10, 40, 1000])
def test_a_truncated_file_is_compiled_again(folder, keep):
    run(compiled(double))
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:keep])
    assert run(compiled(double)) == (6, 0, 1)
    assert run(compiled(double)) == (6, 1, 0)


@pytest.mark.parametrize("place", [0, 40, 100, 2000, -1])
def test_a_damaged_file_is_compiled_again(folder, place):
    run(compiled(double))
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    content[place] ^= 255
    file.write_bytes(content)
    assert run(compiled(double)) == (6, 0, 1)
    assert run(compiled(double)) == (6, 1, 0)


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path, monkeypatch, folder):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match=r"cannot keep its compiled loops in .*NUMBA_CACHE_DIR"):
        assert run(compiled(double))[0] == 6
    assert run(compiled(double)) == (6, 0, 1)  # warnings are errors


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_what_cannot_be_finished_leaves_nothing(folder, monkeypatch, error):
    def fail(source, target):
        assert [str(file) for file in folder.iterdir()] == [source]
        raise error

    monkeypatch.setattr(machine_code.os, "replace", fail)
    with pytest.raises(type(error)):
        machine_code._write_file(folder / "loop.machinecode", b"code")
    assert not list(folder.iterdir())


def test_the_user_has_a_folder_without_the_variable(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert machine_code.cache_folder().parts[-1] == "kernels"
    assert "minicnn" in str(machine_code.cache_folder())


def test_the_modules_behind_a_function_are_found():
    from minicnn.kernels.cpu import conv

    behind = {name.rpartition(".")[2] for name in machine_code._modules_behind(conv.__name__)}
    assert {"conv", "pointers", "simd", "images", "compiled"} <= behind
    assert "pool" not in behind


def test_numbers_of_the_processor_are_part_of_the_stamp(monkeypatch):
    from minicnn.kernels.cpu import conv, simd

    function = conv._multiply.__wrapped__
    before = MachineCodeFiles(function).stamp
    assert MachineCodeFiles(function).stamp == before
    monkeypatch.setattr(simd, "TILE_ROWS", simd.TILE_ROWS + 1)
    assert MachineCodeFiles(function).stamp != before


def start(script, tmp_path, **environment):
    """Start a Python program with the machine code in a folder of its own."""
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error::RuntimeWarning:loops", "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


PROGRAM = """
import numpy as np, loops
x = np.ones((4, 5)); loops.scale_rows(2, x); assert (x == 2).all()
x = np.ones(5, np.float32); loops.scale(x); assert (x == 2).all()
print(getattr(loops.scale_rows.loop, "stats", None))
"""


@pytest.mark.parametrize("has_private_counter", [True, False])
def test_threads_are_counted_as_numba_counts_them(monkeypatch, has_private_counter):
    threads = numba.get_num_threads()
    if not has_private_counter:
        monkeypatch.setattr(machinery, "numba_threads", types.SimpleNamespace())
    monkeypatch.setattr(machinery, "_threads", machinery._Threads())
    for _ in range(2):
        assert machinery.thread_count() == threads
        numba.set_num_threads(1)
        try:
            assert machinery.thread_count() == 1
        finally:
            numba.set_num_threads(threads)
        machinery._threads.start()  # from now on, another function counts


def test_several_processes_may_start_at_once(tmp_path):
    (tmp_path / "loops.py").write_text(textwrap.dedent(LOOPS))
    for compile_it in (1, 0):  # on an empty folder, and then on a full one
        programs = [start(PROGRAM, tmp_path) for _ in range(4)]
        outputs = [program.communicate()[0] for program in programs]
        assert [program.returncode for program in programs] == [0] * 4, outputs
        assert sum("cache_misses=Counter()" not in output for output in outputs) == compile_it
    files = list((tmp_path / "cache" / "kernels").iterdir())
    assert {file.suffix for file in files} == {".machinecode"}  # and nothing half written


def test_what_is_loaded_needs_little_of_numba(tmp_path):
    """A warm start is short because what only the compiler needs is not imported."""
    (tmp_path / "loops.py").write_text(textwrap.dedent(LOOPS))
    script = PROGRAM + "import sys; print('numba.np.arraymath' in sys.modules)"
    for compiles in ("True", "False"):
        program = start(script, tmp_path)
        output, _ = program.communicate()
        assert program.returncode == 0, output
        assert output.split()[-1] == compiles


def test_loops_run_as_plain_python(tmp_path):
    (tmp_path / "loops.py").write_text(textwrap.dedent(LOOPS))
    program = start(PROGRAM, tmp_path, NUMBA_DISABLE_JIT="1")
    output, _ = program.communicate()
    assert (program.returncode, output) == (0, "None\n"), output
    assert not (tmp_path / "cache").exists()


def test_addresses_can_be_stepped_through(tmp_path):
    script = (
        "import numpy as np; from minicnn.kernels.cpu import pointers; from minicnn.kernels.shapes import Window;"
        "window = Window((1, 2), (1, 1), ((0, 0), (1, 0)), (1, 1));"
        "found = np.zeros(4, int); tables = pointers.input_seen(window, (1, 2), (1, 2), 3);"
        "pointers.point_at_inputs(found, 2, 0, 1, (1000, 24, 4), 1, tables); print(*found)"
    )
    output, _ = start(script, tmp_path, NUMBA_DISABLE_JIT="1").communicate()
    assert output == "1 1000 1000 1012\n"
