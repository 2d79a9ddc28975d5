// What the clipping of gradients needs, 64 gradients in each launch.
//
// Memory traffic, float, bytes for each number: 4 for the norm, 8 to scale or to cut. The norm is summed in
// double, so that no square overflows and few digits are lost: each block sums its piece, and one block adds
// up the sums of all, always in the same order. Nothing of it is known to the host. Launch: see table.cuh.

#include "reduce.cuh"
#include "table.cuh"

const int FINISH_THREADS = 1024;

extern "C" __global__ void add_squares(const __grid_constant__ Table table, double* partial) {
    __shared__ double memory[BLOCK_THREADS / WARP];
    Piece piece = piece_of_block(table);
    const real* numbers = array_of(piece, 0);
    double sum = 0;
    for (Index i = first_of_thread(piece); i < piece.end; i += THREAD_STEP) {
        Pack x = load(numbers + i, piece.end - i);
        for (int lane = 0; lane < LANES; lane++) sum = fma((double)x.at[lane], (double)x.at[lane], sum);
    }
    sum = sum_over_block(sum, memory);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block: the root of the sum of all partial sums.
extern "C" __global__ void finish_norm(const double* partial, int blocks, real* norm) {
    __shared__ double memory[FINISH_THREADS / WARP];
    double sum = 0;
    for (int block = threadIdx.x; block < blocks; block += FINISH_THREADS) sum += partial[block];
    sum = sum_over_block(sum, memory);
    if (threadIdx.x == 0) *norm = (real)sqrt(sum);
}

// Multiply by a factor, which may lie in device memory.
extern "C" __global__ void scale_all(const __grid_constant__ Table table, real factor,
                                     const real* factor_at) {
    Piece piece = piece_of_block(table);
    real* numbers = array_of(piece, 0);
    if (factor_at) factor = *factor_at;
    for (Index i = first_of_thread(piece); i < piece.end; i += THREAD_STEP) {
        Pack x = load(numbers + i, piece.end - i);
        for (int lane = 0; lane < LANES; lane++) x.at[lane] *= factor;
        store(numbers + i, x, piece.end - i);
    }
}

// Cut to [-limit, limit]; NaN stays, as it is neither above nor below.
extern "C" __global__ void cut_all(const __grid_constant__ Table table, real limit) {
    Piece piece = piece_of_block(table);
    real* numbers = array_of(piece, 0);
    for (Index i = first_of_thread(piece); i < piece.end; i += THREAD_STEP) {
        Pack x = load(numbers + i, piece.end - i);
        for (int lane = 0; lane < LANES; lane++) {
            real smaller = x.at[lane] > limit ? limit : x.at[lane];
            x.at[lane] = smaller < -limit ? -limit : smaller;
        }
        store(numbers + i, x, piece.end - i);
    }
}
