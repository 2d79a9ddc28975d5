// The gradient of a bias: the sum of the rows of a gradient (rows, K), whose elements ReLU may have cut off.
//
// Idea: the mask of the ReLU and the sum are one pass; its result is what the pass before needs. Sums are
// taken in two steps, in double, as in columns.cuh.
//
// Memory traffic, float, bytes an element: 4, and 8 more with ReLU, for y and for the masked gradient.
// Launch: see columns.cuh.

#include "column_sums.cuh"

// partial (blocks, K): the sums of a block's rows. With y, elements where y <= 0 are 0, and are written to
// grad_z.
extern "C" __global__ void sum_rows(const real* __restrict__ grad, const real* __restrict__ y, Index rows,
                                    int K, int rows_per_block, real* __restrict__ grad_z, double* partial) {
    __shared__ double memory[BLOCK_THREADS * LANES];
    Columns mine = columns_of_thread(rows, K, rows_per_block, blockIdx.x);
    double sum[LANES] = {};
#pragma unroll 4
    for (Index row = mine.first_row; row < mine.end_row; row += blockDim.y) {
        Index at = row * K + mine.c;
        Pack g = load(grad + at, mine.count);
        if (y) {
            Pack result = load(y + at, mine.count);
            for (int lane = 0; lane < LANES; lane++)
                if (result.at[lane] <= 0) g.at[lane] = 0;
            store(grad_z + at, g, mine.count);
        }
        for (int lane = 0; lane < LANES; lane++) sum[lane] += g.at[lane];
    }
    add_up_columns(sum, memory);
    write_partial(sum, mine, 0, 1, K, partial);
}
