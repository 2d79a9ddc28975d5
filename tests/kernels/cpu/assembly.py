"""The building block in the assembly of another processor: a program that looks for vectors that left the registers.

    python -m tests.kernels.cpu.assembly VECTOR_BYTES TILE_ROWS TRIPLE CPU

Nothing of it is executed: LLVM compiles for every processor that it was built for. Where the sums of a
tile, a row of weights and a number do not fit into the vector registers, some are stored on the stack in
each step, which costs more than the larger tile gains. The exit status is 77 where LLVM lacks the target.
"""

import re
import sys

NO_SUCH_TARGET = 77

MULTIPLY_ADD = re.compile(r"^\s*(fmla|vfmadd\d*ps)\s", re.MULTILINE)
VECTOR_ON_STACK = re.compile(
    r"^\s*(?:(?:ld|st)[rp]\s+q.*\[sp|v?mov.*[xyz]mm.*%rsp|v?mov.*%rsp.*[xyz]mm).*", re.MULTILINE
)
BLOCK = re.compile(r"^\.?LBB\w+:", re.MULTILINE)


def intermediate_language(vector_bytes, tile_rows):
    """The two products of `simd` in LLVM's language, for tiles of a shape: {name: text}."""
    from minicnn.kernels.cpu import target

    target.VECTOR_BYTES, target.TILE_ROWS = vector_bytes, tile_rows

    import numba
    from numba.types import boolean, float32, int64

    from minicnn.kernels.cpu import simd
    from minicnn.kernels.cpu.compiled import OPTIONS

    def multiply_tile(x, pitch, weights, first, y, offset, start, taps, channels, relu, columns):
        simd.multiply_tile(
            x, pitch, weights, first, y, offset, start, taps, channels, relu, columns
        )

    def add_outer_products(x, first, offset, rows, grads, sums, row_bytes, pixels, more, columns):
        panel = grads, simd.address_of(grads, 0)
        simd.add_outer_products(
            x, first, offset, rows, panel, sums, row_bytes, pixels, more, columns
        )

    # Without the counting of references, which is written for this machine's own processor.
    options = {name: OPTIONS[name] for name in ("nogil", "error_model", "fastmath")}
    options |= {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    addresses, numbers, n = int64[::1], float32[::1], int64
    signatures = {
        multiply_tile: (addresses, n, numbers, n, addresses, n, n, n, n, boolean, n),
        add_outer_products: (addresses, n, n, n, numbers, n, n, n, n, n),
    }
    texts = {}
    for function, signature in signatures.items():
        loop = numba.njit(signature, **options)(function)
        texts[function.__name__] = loop.inspect_llvm(loop.signatures[0])
    return texts


def assembly(text, triple, cpu):
    """Compile LLVM's language for a processor."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    except RuntimeError as error:
        print(error)
        sys.exit(NO_SUCH_TARGET)
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = triple, str(machine.target_data)
    return machine.emit_assembly(module)


def main(vector_bytes, tile_rows, triple, cpu):
    """Print, for each product, the multiply-adds of its longest block and the vectors on the stack beside any."""
    for name, text in intermediate_language(int(vector_bytes), int(tile_rows)).items():
        blocks = [
            block
            for block in BLOCK.split(assembly(text, triple, cpu))
            if MULTIPLY_ADD.search(block)
        ]
        longest = max(len(MULTIPLY_ADD.findall(block)) for block in blocks)
        spills = [line.strip() for block in blocks for line in VECTOR_ON_STACK.findall(block)]
        print(f"{name}: {longest} multiply-adds, vectors on the stack: {spills}")


if __name__ == "__main__":
    main(*sys.argv[1:])
