// Convolution without a matrix of patches ("implicit GEMM"), and its gradients.
//
//     y[pixel, k] = sum over taps t and channels c of  x[pixel seen through t, c] w[t, c, k]
//
// is a matrix product whose left factor, the patches, is nowhere in memory: its tiles are put together in
// shared memory, by asynchronous copies from the image, and zeros where a tap lies in the padding. tiles.cuh
// multiplies them. The gradient of x is the same sum with other numbers: which output saw this pixel through
// this tap? At stride s the answer has s^2 patterns, or phases, with a launch for each, and nothing is
// multiplied by zeros between the pixels. The gradient of w is a product of the patches, transposed, and
// dL/dy, whose sum runs over pixels.
//
// Images are (N, H, W, C) in memory, weights (R, S, C / groups, K).
//
// Memory traffic: a block reads DEPTH (TILE_ROWS + TILE_COLUMNS) numbers for 2 DEPTH TILE_ROWS TILE_COLUMNS
// operations, that is, 32 operations for each byte with 128 x 128 floats. Most of the bytes come from the
// second-level cache, as neighbouring blocks read the same image rows and the same weights. The limit is
// arithmetic: for an H100, NVIDIA's datasheet says 67 TFLOP/s in float, and 495 in TF32. The latter is out of
// reach for mma.sync, the instruction of older cards that is used here for the sake of short code; wgmma,
// Hopper's own, needs other layouts and sm_90a.
//
// Launch: a block of 256 threads for each tile of the result; blockIdx.z counts groups, and parts of the sum
// where it is split: few tiles with long sums would leave most of the card idle (parts.py decides). Then
// each block writes its part of the sums, (parts, rows, K) in all, and a second kernel adds them up, always
// in the same order, so that the bits do not depend on which block was first.
//
// TENSOR_CORES (0 or 1, float only), TILE_COLUMNS (64 or 128), CHUNK_X and CHUNK_K (how many numbers may be
// copied at a time: of channels of x, and of output channels) and STAGES (see tiles.cuh) are given when the
// file is compiled.

#include "divisor.cuh"
#include "tiles.cuh"

// Along one axis: pixel i of the result sees, through tap t, the input i * step + start + t * apart, and lies
// at first + i * out_step.
struct Axis {
    int size, out_size;  // of input and result
    int taps, step, start, apart, first, out_step;
};

struct Convolution {
    Axis rows, columns;
    int C, group_C, K, group_K;  // channels of input and result, in all and of a group
    int pixels;                  // of the result that are worked out: N * count of rows * count of columns
    Divisor row_count, column_count;
};

struct Pixel {
    int n, i, j;
};

__device__ __forceinline__ Pixel pixel_of(const Convolution& p, int number) {
    Pixel pixel;
    number = divide(number, p.column_count, pixel.j);
    pixel.n = divide(number, p.row_count, pixel.i);
    return pixel;
}

// A tap and the first of a chunk of channels: where a number of the sum over `taps x channels` comes from.
struct Term {
    int r, s, c;

    __device__ __forceinline__ Term(const Convolution& p, int number) {
        c = number % p.group_C;
        number /= p.group_C;
        s = number % p.columns.taps;
        r = number / p.columns.taps;
    }
    __device__ __forceinline__ void advance(const Convolution& p, int by) {
        for (c += by; c >= p.group_C; c -= p.group_C)
            if (++s == p.columns.taps) {
                s = 0;
                r++;
            }
    }
};

// Start to copy a chunk of channels of the input that a pixel at (h, w), the place of tap (0, 0), sees
// through a tap.
__device__ __forceinline__ void copy_seen(const Convolution& p, const real* x, Index image, int h, int w,
                                          const Term& term, bool exists, real* to) {
    h += term.r * p.rows.apart;
    w += term.s * p.columns.apart;
    exists = exists && h >= 0 && h < p.rows.size && w >= 0 && w < p.columns.size;
    const real* from = exists ? x + image + ((Index)h * p.columns.size + w) * p.C + term.c : x;
    copy_async(to, from, CHUNK_X * sizeof(real), exists);
}

// Start to copy a tile (DEPTH, TILE_COLUMNS) of a matrix, whose rows have `row_size` numbers; outside, it is
// 0.
__device__ __forceinline__ void copy_columns(const real* matrix, Index row_size, int first_row, int end_row,
                                             int first_column, int end_column, real* tile) {
    const int ACROSS = TILE_COLUMNS / CHUNK_K, DOWN = BLOCK_THREADS / ACROSS;
    int column = threadIdx.x % ACROSS * CHUNK_K, row = threadIdx.x / ACROSS;
#pragma unroll
    for (int k = 0; k < DEPTH; k += DOWN) {
        bool exists = first_row + row + k < end_row && first_column + column < end_column;
        const real* from =
            exists ? matrix + (first_row + row + k) * row_size + first_column + column : matrix;
        copy_async(tile + (row + k) * B_ROW + column, from, CHUNK_K * sizeof(real), exists);
    }
}

// Write two neighbouring numbers, of which `count` exist.
__device__ __forceinline__ void store_pair(real* to, real first, real second, int count) {
    if (count >= 2 && (unsigned long long)to % sizeof(Pair) == 0) {
        *(Pair*)to = {{first, second}};
        return;
    }
    if (count >= 1) to[0] = first;
    if (count >= 2) to[1] = second;
}

// --- forward, and the gradient of x -------------------------------------------------------------------

// Where a pixel of the tile looks, through tap (0, 0), and where its result is to be written.
struct Origin {
    Index image, result;
    int h, w;
};

struct FetchPatches {
    const Convolution& p;
    const real *x, *weights;
    const Origin* origins;
    int first_term, end_term, first_column, end_column;
    Term term;

    // The tile of patches (TILE_ROWS, DEPTH), row by row, and that of weights.
    __device__ __forceinline__ void operator()(int step, real* a, real* b) {
        const int ACROSS = DEPTH / CHUNK_X, DOWN = BLOCK_THREADS / ACROSS;
        int column = threadIdx.x % ACROSS * CHUNK_X, row = threadIdx.x / ACROSS;
        int start = first_term + step * DEPTH;
        bool exists = start + column < end_term;
#pragma unroll 4
        for (int m = row; m < TILE_ROWS; m += DOWN) {
            const Origin& origin = origins[m];
            copy_seen(p, x, origin.image, origin.h, origin.w, term, exists && origin.result >= 0,
                      a + m * A_ROW + column);
        }
        term.advance(p, DEPTH);
        copy_columns(weights, p.K, start, end_term, first_column, end_column, b);
    }
};

// Where the numbers of a pixel begin in the result.
__device__ __forceinline__ Index place_of(const Convolution& p, const Pixel& pixel) {
    Index h = p.rows.first + pixel.i * p.rows.out_step, w = p.columns.first + pixel.j * p.columns.out_step;
    return ((pixel.n * (Index)p.rows.out_size + h) * p.columns.out_size + w) * p.K;
}

__device__ __forceinline__ real finished(real sum, real factor, real start, int relu) {
    real z = sum * factor + start;
    return relu && z < 0 ? real(0) : z;  // NaN stays NaN
}

// The result, multiplied by scale (K,), plus bias (K,), and ReLU; each address may be 0. With more than one
// part: y (parts, pixels, K), sums over `terms_of_a_part` each, which finish_convolve adds up.
extern "C" __global__ void __launch_bounds__(BLOCK_THREADS, 2)
    convolve(const real* __restrict__ x, const real* __restrict__ weights, const real* scale,
             const real* bias, Convolution p, int relu, int parts, int terms_of_a_part,
             real* __restrict__ y) {
    DYNAMIC_SHARED(real, tiles);
    __shared__ Origin origins[TILE_ROWS];
    int group = blockIdx.z / parts, part = blockIdx.z % parts;
    if (threadIdx.x < TILE_ROWS) {
        int number = blockIdx.x * TILE_ROWS + threadIdx.x;
        bool exists = number < p.pixels;
        Pixel pixel = pixel_of(p, exists ? number : 0);
        Index to = parts == 1 ? place_of(p, pixel) : ((Index)part * p.pixels + number) * p.K;
        Origin& origin = origins[threadIdx.x];
        origin.image = (Index)pixel.n * p.rows.size * p.columns.size * p.C + group * p.group_C;
        origin.result = exists ? to : -1;
        origin.h = pixel.i * p.rows.step + p.rows.start;
        origin.w = pixel.j * p.columns.step + p.columns.start;
    }
    __syncthreads();

    int terms = p.rows.taps * p.columns.taps * p.group_C;
    int first_term = part * terms_of_a_part, end_term = smaller(first_term + terms_of_a_part, terms);
    int first_column = group * p.group_K + blockIdx.y * TILE_COLUMNS, end_column = (group + 1) * p.group_K;
    Term own_term(p, first_term + threadIdx.x % (DEPTH / CHUNK_X) * CHUNK_X);
    FetchPatches fetch = {p, x, weights, origins, first_term, end_term, first_column, end_column, own_term};
    Sums sums;
    add_products<A_ROW, 1>(sums, round_up(end_term - first_term, DEPTH), tiles, fetch);

#pragma unroll
    for (int j = 0; j < Sums::COLUMNS; j += 2) {
        int k = first_column + sums.column(j), count = end_column - k;
        real factors[2], start[2];
        for (int n = 0; n < 2; n++) {
            factors[n] = scale && n < count ? scale[k + n] : real(1);
            start[n] = bias && n < count ? bias[k + n] : real(0);
        }
#pragma unroll
        for (int i = 0; i < Sums::ROWS; i++) {
            Index to = origins[sums.row(i)].result;
            real first = finished(sums.value(i, j), factors[0], start[0], relu),
                 second = finished(sums.value(i, j + 1), factors[1], start[1], relu);
            if (to >= 0) store_pair(y + to + k, first, second, count);
        }
    }
}

// The sum of a pack, of which `count` numbers exist, over `parts` arrays of `size` numbers, one after the
// other. Where all packs are whole, eight loads are under way at a time.
__device__ __forceinline__ Pack sum_of_parts(const real* first, int parts, Index size, Index count) {
    const bool ARE_WHOLE = CHUNK_K == LANES;
    Pack total = pack_of(0);
#pragma unroll 8
    for (int part = 0; part < parts; part++) {
        const real* from = first + part * size;
        Pack more = ARE_WHOLE ? *(const Pack*)from : load(from, count);
        for (int lane = 0; lane < LANES; lane++) total.at[lane] += more.at[lane];
    }
    return total;
}

// What is left to do for a result in parts: y, from sums (parts, pixels, K), which are `packs` for each
// pixel.
extern "C" __global__ void finish_convolve(const real* __restrict__ sums_of_parts, int parts,
                                           const real* scale, const real* bias, Convolution p, Divisor packs,
                                           int relu, real* __restrict__ y) {
    for (Index i = first_index(); i < (Index)p.pixels * packs; i += index_step()) {
        int pack, number = (int)divide(i, packs, pack), k = pack * LANES, count = p.K - k;
        Pack sum = sum_of_parts(sums_of_parts + (Index)number * p.K + k, parts, (Index)p.pixels * p.K, count);
        Pack factor = scale ? load(scale + k, count) : pack_of(1),
             start = bias ? load(bias + k, count) : pack_of(0);
        for (int lane = 0; lane < LANES; lane++)
            sum.at[lane] = finished(sum.at[lane], factor.at[lane], start.at[lane], relu);
        store(y + place_of(p, pixel_of(p, number)) + k, sum, count);
    }
}

// --- the gradient of w --------------------------------------------------------------------------------

struct FetchGradients {
    const Convolution& p;
    const real *x, *grad;
    Index first_channel;
    bool exists;
    Term term;
    int first_pixel, end_pixel, first_column, end_column;

    // The tile of patches, transposed: (DEPTH pixels, TILE_ROWS terms), and that of gradients.
    __device__ __forceinline__ void operator()(int step, real* a, real* b) {
        const int ACROSS = TILE_ROWS / CHUNK_X, DOWN = BLOCK_THREADS / ACROSS;
        int column = threadIdx.x % ACROSS * CHUNK_X, row = threadIdx.x / ACROSS,
            start = first_pixel + step * DEPTH;
#pragma unroll 4
        for (int k = row; k < DEPTH; k += DOWN) {
            bool is_there = start + k < end_pixel;
            Pixel pixel = pixel_of(p, is_there ? start + k : 0);
            Index image = (Index)pixel.n * p.rows.size * p.columns.size * p.C + first_channel;
            int h = pixel.i * p.rows.step + p.rows.start, w = pixel.j * p.columns.step + p.columns.start;
            copy_seen(p, x, image, h, w, term, exists && is_there, a + k * A_COLUMN + column);
        }
        copy_columns(grad, p.K, start, end_pixel, first_column, end_column, b);
    }
};

// sums (parts, R S C / groups, K): each of `parts` blocks sums over its share of the pixels.
extern "C" __global__ void __launch_bounds__(BLOCK_THREADS, 2)
    convolve_grad_weight(const real* __restrict__ grad, const real* __restrict__ x, Convolution p, int parts,
                         int pixels_of_a_part, real* __restrict__ sums_of_parts) {
    DYNAMIC_SHARED(real, tiles);
    int group = blockIdx.z / parts, part = blockIdx.z % parts;
    int terms = p.rows.taps * p.columns.taps * p.group_C;
    int first_column = group * p.group_K + blockIdx.y * TILE_COLUMNS, end_column = (group + 1) * p.group_K;
    int first_pixel = part * pixels_of_a_part, end_pixel = smaller(first_pixel + pixels_of_a_part, p.pixels);
    int own_term = blockIdx.x * TILE_ROWS + threadIdx.x % (TILE_ROWS / CHUNK_X) * CHUNK_X;
    FetchGradients fetch = {p,
                            x,
                            grad,
                            (Index)group * p.group_C,
                            own_term < terms,
                            Term(p, own_term),
                            first_pixel,
                            end_pixel,
                            first_column,
                            end_column};
    Sums sums;
    add_products<1, A_COLUMN>(sums, round_up(end_pixel - first_pixel, DEPTH), tiles, fetch);

#pragma unroll
    for (int i = 0; i < Sums::ROWS; i++) {
        int term = blockIdx.x * TILE_ROWS + sums.row(i);
        real* to = sums_of_parts + ((Index)part * terms + term) * p.K;
#pragma unroll
        for (int j = 0; j < Sums::COLUMNS; j += 2) {
            int k = first_column + sums.column(j);
            if (term < terms) store_pair(to + k, sums.value(i, j), sums.value(i, j + 1), end_column - k);
        }
    }
}

// The sum of `parts` arrays of `size` numbers, one after the other.
extern "C" __global__ void add_parts(const real* __restrict__ sums_of_parts, int parts, Index size,
                                     real* __restrict__ sum) {
    for (Index i = first_index() * LANES; i < size; i += index_step() * LANES)
        store(sum + i, sum_of_parts(sums_of_parts + i, parts, size, size - i), size - i);
}
