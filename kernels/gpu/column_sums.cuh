// The second step of sums over the rows of a matrix, where nothing but the sums is wanted; see columns.cuh.

#pragma once

#include "columns.cuh"

// The sums of partial (blocks, size) over all blocks.
extern "C" __global__ void finish_sums(const double* partial, int blocks, Index size, real* sums) {
    __shared__ double memory[FINISH_THREADS];
    Index column = first_index();
    double sum[1] = {0};
    if (column < size)
        for (int block = threadIdx.y; block < blocks; block += blockDim.y)
            sum[0] += partial[block * size + column];
    add_up_columns(sum, memory);
    if (threadIdx.y == 0 && column < size) sums[column] = (real)sum[0];
}
