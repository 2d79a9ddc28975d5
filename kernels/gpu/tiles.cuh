// Products of tiles in shared memory: sums (TILE_ROWS, TILE_COLUMNS) += a (TILE_ROWS, DEPTH) b (DEPTH,
// TILE_COLUMNS).
//
// Each of the 256 threads of a block keeps its part of the sums in registers. With TENSOR_CORES, eight warps
// share the tile, four below each other and two side by side, and multiply 16 x 8 x 8 numbers at a time,
// rounded to TF32. Otherwise 16 x 16 threads share it, and each multiplies single numbers exactly.
//
// STAGES (2 or 3) pairs of tiles are in memory: one is multiplied while the others are on their way.
//
// A row of b, and of a, is a little longer in memory than the tile needs: then the numbers that a warp reads
// at once lie in different banks of the shared memory, and come in one go.

#pragma once

#include "device.cuh"
#include "instructions.cuh"

const int BLOCK_THREADS = 256;
const int IS_FLOAT = sizeof(real) == 4;
const int TILE_ROWS = IS_FLOAT ? 128 : 64;
const int DEPTH = IS_FLOAT ? 32 : 16;
const int A_ROW = DEPTH + LANES;             // numbers of a in memory where its rows lie one after the other,
const int A_COLUMN = TILE_ROWS + 2 * LANES;  // or its columns
const int B_ROW = TILE_COLUMNS + 2 * LANES;
const int A_SIZE = TILE_ROWS * A_ROW > DEPTH* A_COLUMN ? TILE_ROWS * A_ROW : DEPTH * A_COLUMN;
const int B_SIZE = DEPTH * B_ROW;

#if TENSOR_CORES

const int WARP_ROWS = TILE_ROWS / 4, WARP_COLUMNS = TILE_COLUMNS / 2;
const int ROW_BLOCKS = WARP_ROWS / 16, COLUMN_BLOCKS = WARP_COLUMNS / 8;

struct Sums {
    static const int ROWS = 2 * ROW_BLOCKS, COLUMNS = 2 * COLUMN_BLOCKS;  // those of this thread
    float at[ROW_BLOCKS][COLUMN_BLOCKS][4];

    __device__ __forceinline__ Sums() : at() {}

    __device__ __forceinline__ int first_row() const {
        return threadIdx.x / WARP / 2 * WARP_ROWS + threadIdx.x % WARP / 4;
    }
    __device__ __forceinline__ int first_column() const {
        return threadIdx.x / WARP % 2 * WARP_COLUMNS + threadIdx.x % 4 * 2;
    }
    // The places in the tile of this thread's numbers, columns 2 j and 2 j + 1 being neighbours.
    __device__ __forceinline__ int row(int i) const { return first_row() + i / 2 * 16 + i % 2 * 8; }
    __device__ __forceinline__ int column(int j) const { return first_column() + j / 2 * 8 + j % 2; }
    __device__ __forceinline__ real value(int i, int j) const { return at[i / 2][j / 2][i % 2 * 2 + j % 2]; }

    // a[m, k] lies at a[m * ROW_STEP + k * COLUMN_STEP].
    template <int ROW_STEP, int COLUMN_STEP>
    __device__ __forceinline__ void add_product(const real* a, const real* b) {
        int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
        const real* from_a = a + (first_row()) * ROW_STEP + t * COLUMN_STEP;
        const real* from_b = b + t * B_ROW + threadIdx.x / WARP % 2 * WARP_COLUMNS + g;
#pragma unroll
        for (int k = 0; k < DEPTH; k += 8) {
            unsigned left[ROW_BLOCKS][4], right[COLUMN_BLOCKS][2];
#pragma unroll
            for (int i = 0; i < ROW_BLOCKS; i++)
#pragma unroll
                for (int part = 0; part < 4; part++)
                    left[i][part] = round_to_tf32(
                        from_a[(i * 16 + part % 2 * 8) * ROW_STEP + (k + part / 2 * 4) * COLUMN_STEP]);
#pragma unroll
            for (int j = 0; j < COLUMN_BLOCKS; j++)
#pragma unroll
                for (int part = 0; part < 2; part++)
                    right[j][part] = round_to_tf32(from_b[(k + part * 4) * B_ROW + j * 8]);
#pragma unroll
            for (int i = 0; i < ROW_BLOCKS; i++)
#pragma unroll
                for (int j = 0; j < COLUMN_BLOCKS; j++) multiply_tf32(at[i][j], left[i], right[j]);
        }
    }
};

#else

struct Sums {
    static const int ROWS = TILE_ROWS / 16, COLUMNS = TILE_COLUMNS / 16;  // those of this thread
    real at[ROWS][COLUMNS];

    __device__ __forceinline__ Sums() : at() {}

    __device__ __forceinline__ int row(int i) const { return threadIdx.x / 16 + i * 16; }
    __device__ __forceinline__ int column(int j) const {
        return j / LANES * (16 * LANES) + threadIdx.x % 16 * LANES + j % LANES;
    }
    __device__ __forceinline__ real value(int i, int j) const { return at[i][j]; }

    template <int ROW_STEP, int COLUMN_STEP>
    __device__ __forceinline__ void add_product(const real* a, const real* b) {
        const real* from_a = a + threadIdx.x / 16 * ROW_STEP;
        const real* from_b = b + threadIdx.x % 16 * LANES;
#pragma unroll 4
        for (int k = 0; k < DEPTH; k++) {
            real left[ROWS];
            Pack right[COLUMNS / LANES];
#pragma unroll
            for (int i = 0; i < ROWS; i++) left[i] = from_a[i * 16 * ROW_STEP + k * COLUMN_STEP];
#pragma unroll
            for (int j = 0; j < COLUMNS / LANES; j++)
                right[j] = *(const Pack*)(from_b + k * B_ROW + j * 16 * LANES);
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int j = 0; j < COLUMNS; j++)
                    at[i][j] = fma(left[i], right[j / LANES].at[j % LANES], at[i][j]);
        }
    }
};

#endif

// Add up the products of `steps` pairs of tiles. `fetch(step, a, b)` starts the copies of a pair into shared
// memory; while one pair is multiplied, the next two are on their way.
template <int ROW_STEP, int COLUMN_STEP, typename Fetch>
__device__ __forceinline__ void add_products(Sums& sums, int steps, real* tiles, Fetch& fetch) {
    const int SIZE = A_SIZE + B_SIZE;
    for (int step = 0; step < STAGES - 1; step++) {
        if (step < steps) fetch(step, tiles + step * SIZE, tiles + step * SIZE + A_SIZE);
        close_copies();
    }
    for (int step = 0; step < steps; step++) {
        await_copies<STAGES - 2>();  // this thread's copies of this step are there,
        __syncthreads();  // and so are those of all others; and nobody reads the tiles of the step before
        int next = step + STAGES - 1;
        real* free_tiles = tiles + next % STAGES * SIZE;
        if (next < steps) fetch(next, free_tiles, free_tiles + A_SIZE);
        close_copies();
        const real* ready = tiles + step % STAGES * SIZE;
        sums.template add_product<ROW_STEP, COLUMN_STEP>(ready, ready + A_SIZE);
    }
}
