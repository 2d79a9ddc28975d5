// Depthwise convolution, one filter for each channel, and its gradients. x is (N, H, W, C) in memory, w is
// (R, S, C).
//
//     y[n, i, j, c] = sum over taps r, s of  x[n, i step - top + r apart, j ..., c] w[r, s, c]
//
// Idea: no sum runs over channels, so there is no matrix product in it. A thread takes a Pack of neighbouring
// channels, forward of PIXELS neighbouring outputs, so that it loads a weight once for all of them. The
// gradient of x is gathered: an input pixel collects from the outputs that saw it, and nothing is added by
// two threads. The gradient of w is a sum over all pixels, taken in two steps, as in columns.cuh.
//
// Memory traffic, float, bytes for each output at stride 1: 4 read and 4 written, forward and for x; 8 read
// for w. What a pixel's neighbours read too comes from the cache: for 3x3, nine loads an output. The
// arithmetic, 18 operations for 8 bytes, is a small part of what a card does in the time that the bytes take.

#include "column_sums.cuh"
#include "windows.cuh"

const int PIXELS = 4;        // as in depthwise.py: outputs of a thread
const int ROWS_AT_ONCE = 3;  // as in depthwise.py: of the window, and taps of each, whose
const int TAPS_AT_ONCE = 3;  // gradients a thread keeps in registers

// y, multiplied by scale (C,), plus bias (C,), and ReLU; each address may be 0.
extern "C" __global__ void depthwise(const real* __restrict__ x, const real* __restrict__ w, const real* bias,
                                     const real* scale, Windows p, int relu, Index packs,
                                     real* __restrict__ y) {
    for (Index pack = first_index(); pack < packs; pack += index_step()) {
        Place at = place_of(pack, p);
        int first_j = at.j * PIXELS, count = p.C - at.c;
        Pack sums[PIXELS];
        for (int pixel = 0; pixel < PIXELS; pixel++) sums[pixel] = pack_of(0);
        for (int r = 0; r < p.R; r++) {
            int h = at.i * p.step_h - p.top + r * p.apart_h;
            if (h < 0 || h >= p.H) continue;
            for (int s = 0; s < p.S; s++) {
                Pack weight = load(w + (Index)(r * p.S + s) * p.C + at.c, count);
#pragma unroll
                for (int pixel = 0; pixel < PIXELS; pixel++) {
                    int column = (first_j + pixel) * p.step_w - p.left + s * p.apart_w;
                    if (column < 0 || column >= p.W) continue;
                    Pack seen = load(x + offset(at.n, h, column, at.c, p.H, p.W, p.C), count);
                    for (int lane = 0; lane < LANES; lane++)
                        sums[pixel].at[lane] += seen.at[lane] * weight.at[lane];
                }
            }
        }
        Pack factor = scale ? load(scale + at.c, count) : pack_of(1),
             start = bias ? load(bias + at.c, count) : pack_of(0);
#pragma unroll
        for (int pixel = 0; pixel < PIXELS; pixel++) {
            if (first_j + pixel >= p.OW) break;
            for (int lane = 0; lane < LANES; lane++) {
                real z = sums[pixel].at[lane] * factor.at[lane] + start.at[lane];
                sums[pixel].at[lane] = relu && z < 0 ? real(0) : z;
            }
            store(y + offset(at.n, at.i, first_j + pixel, at.c, p.OH, p.OW, p.C), sums[pixel], count);
        }
    }
}

extern "C" __global__ void depthwise_grad_input(const real* __restrict__ grad, const real* __restrict__ w,
                                                Windows p, Index packs, real* __restrict__ grad_x) {
    int height = (p.R - 1) * p.apart_h + 1, width = (p.S - 1) * p.apart_w + 1;  // of the window with its gaps
    for (Index pack = first_index(); pack < packs; pack += index_step()) {
        Place at = place_of(pack, p);
        Reached rows = outputs_reaching(at.i, p.top, height, p.step_h, p.OH);
        Reached columns = outputs_reaching(at.j, p.left, width, p.step_w, p.OW);
        Pack sum = pack_of(0);
        for (int i = rows.first; i <= rows.last; i++) {
            int r = tap_between(i, at.i, p.top, p.step_h, p.apart_h);
            if (r < 0) continue;
            for (int j = columns.first; j <= columns.last; j++) {
                int s = tap_between(j, at.j, p.left, p.step_w, p.apart_w);
                if (s < 0) continue;
                Pack g = load(grad + offset(at.n, i, j, at.c, p.OH, p.OW, p.C), p.C - at.c);
                Pack weight = load(w + (Index)(r * p.S + s) * p.C + at.c, p.C - at.c);
                for (int lane = 0; lane < LANES; lane++) sum.at[lane] += g.at[lane] * weight.at[lane];
            }
        }
        store(grad_x + offset(at.n, at.i, at.j, at.c, p.H, p.W, p.C), sum, p.C - at.c);
    }
}

// The first step of the weights' gradient: partial (blocks, R * S, C). A thread keeps the gradients of up to
// ROWS_AT_ONCE x TAPS_AT_ONCE taps in registers, so that for 3x3 every number comes from memory once; blocks
// that take other taps of a larger window for the same pixels follow each other along x, run at the same
// time, and find the numbers in the cache. The second step is in column_sums.cuh. The "rows" of columns.cuh
// are the output pixels.
extern "C" __global__ void __launch_bounds__(BLOCK_THREADS, 3)
    sum_products(const real* __restrict__ grad, const real* __restrict__ x, Windows p, Index pixels,
                 int pixels_per_block, double* partial) {
    __shared__ double memory[BLOCK_THREADS * LANES];
    int across = round_up(p.S, TAPS_AT_ONCE), pieces = round_up(p.R, ROWS_AT_ONCE) * across;
    int piece = blockIdx.x % pieces, first_r = piece / across * ROWS_AT_ONCE,
        first_s = piece % across * TAPS_AT_ONCE;
    Columns mine = columns_of_thread(pixels, p.C, pixels_per_block, blockIdx.x / pieces);
    Pack sums[ROWS_AT_ONCE][TAPS_AT_ONCE];
    for (int row = 0; row < ROWS_AT_ONCE; row++)
        for (int tap = 0; tap < TAPS_AT_ONCE; tap++) sums[row][tap] = pack_of(0);
    int i, j;
    Index n = divide(divide(mine.first_row, p.columns, j), p.rows, i);
    for (Index pixel = mine.first_row; pixel < mine.end_row; pixel += blockDim.y) {
        Pack g = load(grad + pixel * p.C + mine.c, mine.count);
#pragma unroll
        for (int row = 0; row < ROWS_AT_ONCE; row++) {
            int h = i * p.step_h - p.top + (first_r + row) * p.apart_h;
            if (first_r + row >= p.R || h < 0 || h >= p.H) continue;
            int first_w = j * p.step_w - p.left + first_s * p.apart_w;
            Index from = offset(n, h, first_w, mine.c, p.H, p.W, p.C);
#pragma unroll
            for (int tap = 0; tap < TAPS_AT_ONCE; tap++) {
                int w = first_w + tap * p.apart_w;
                if (first_s + tap >= p.S || w < 0 || w >= p.W) continue;
                Pack seen = load(x + from + tap * p.apart_w * p.C, mine.count);
                for (int lane = 0; lane < LANES; lane++) sums[row][tap].at[lane] += g.at[lane] * seen.at[lane];
            }
        }
        for (j += blockDim.y; j >= p.OW; j -= p.OW)  // the next pixel of this thread
            if (++i == p.OH) {
                i = 0;
                n++;
            }
    }
#pragma unroll
    for (int row = 0; row < ROWS_AT_ONCE; row++)
#pragma unroll
        for (int tap = 0; tap < TAPS_AT_ONCE; tap++) {
            int r = first_r + row, s = first_s + tap;
            if (r >= p.R || s >= p.S) continue;  // with all threads of the block
            double exact[LANES];
            for (int lane = 0; lane < LANES; lane++) exact[lane] = sums[row][tap].at[lane];
            add_up_columns(exact, memory);
            write_partial(exact, mine, r * p.S + s, p.R * p.S, p.C, partial);
        }
}
