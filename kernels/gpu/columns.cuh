// Work on a matrix (rows, C) column by column: what BatchNorm and depthwise gradients have in common.
//
// The threads of a block form a grid of their own: along x they take neighbouring packs of channels, so that
// a warp reads neighbouring memory; along y they take different rows. blockIdx.x counts pieces of the rows,
// blockIdx.y pieces of the channels. A sum over rows is made in two steps, each in a fixed order, so that its
// bits do not depend on which thread is first: each block writes the sums of its rows into `partial`, and a
// second kernel adds up those of all blocks.

#pragma once

#include "device.cuh"

const int BLOCK_THREADS = 256;    // of a kernel that reads rows
const int FINISH_THREADS = 1024;  // of a kernel that adds up partial sums: 32 columns, 32 threads for each

struct Columns {
    int block;  // the piece of the rows
    Index first_row, end_row;
    int c, count;  // first channel of this thread's pack, and how many channels there are from it on
};

__device__ Columns columns_of_thread(Index rows, int C, int rows_per_block, int block) {
    Columns mine;
    Index start = (Index)block * rows_per_block;
    mine.block = block;
    mine.first_row = start + threadIdx.y;
    mine.end_row = start + rows_per_block < rows ? start + rows_per_block : rows;
    mine.c = (blockIdx.y * blockDim.x + threadIdx.x) * LANES;
    mine.count = C - mine.c;
    if (mine.count <= 0) mine.end_row = 0;  // nothing to do, but for the barriers
    return mine;
}

// Add up what the threads of each column of the block hold; those with threadIdx.y = 0 get the sums.
// `memory` is shared, and has room for COUNT numbers of each thread; blockDim.y is a power of two.
template <int COUNT>
__device__ void add_up_columns(double (&mine)[COUNT], double* memory) {
    double* own = memory + (threadIdx.y * blockDim.x + threadIdx.x) * COUNT;
    for (int i = 0; i < COUNT; i++) own[i] = mine[i];
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half)
            for (int i = 0; i < COUNT; i++) own[i] += own[half * blockDim.x * COUNT + i];
    }
    for (int i = 0; i < COUNT; i++) mine[i] = own[i];
    __syncthreads();  // the memory may be used again
}

// Write a block's sums of one quantity, row `which` of `quantities`: partial is (blocks, quantities, C).
__device__ void write_partial(const double (&sums)[LANES], Columns mine, int which, int quantities, int C,
                              double* partial) {
    if (threadIdx.y != 0) return;
    double* to = partial + ((Index)mine.block * quantities + which) * C + mine.c;
    for (int lane = 0; lane < LANES; lane++)
        if (lane < mine.count) to[lane] = sums[lane];
}

// Add up the partial sums of two quantities of column c over all blocks, with all threads that have this c.
__device__ void add_up_partials(const double* partial, int blocks, int c, int C, double (&sums)[2],
                                double* memory) {
    sums[0] = sums[1] = 0;
    if (c < C)
        for (int block = threadIdx.y; block < blocks; block += blockDim.y)
            for (int which = 0; which < 2; which++)
                sums[which] += partial[((Index)block * 2 + which) * C + c];
    add_up_columns(sums, memory);
}
