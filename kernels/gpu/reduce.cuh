// Sums and extremes over the threads of a warp and of a block, always in the same order.

#pragma once

#include "device.cuh"

// The sum over a warp, in every one of its threads: five exchanges, each with a partner farther away.
template <typename T>
__device__ T sum_over_warp(T mine) {
    for (int mask = 1; mask < WARP; mask *= 2) mine += __shfl_xor_sync(ALL_LANES, mine, mask);
    return mine;
}

template <typename T>
__device__ T highest_in_warp(T mine) {
    for (int mask = 1; mask < WARP; mask *= 2) {
        T other = __shfl_xor_sync(ALL_LANES, mine, mask);
        mine = other > mine ? other : mine;
    }
    return mine;
}

// The sum over a block of whole warps, in its first thread; `memory` is shared, with a place for each warp.
__device__ double sum_over_block(double mine, double* memory) {
    mine = sum_over_warp(mine);
    if (threadIdx.x % WARP == 0) memory[threadIdx.x / WARP] = mine;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int warp = 1; warp < (int)blockDim.x / WARP; warp++) mine += memory[warp];
    return mine;
}
