// Batch normalisation, with ReLU and the addition of a residual, and its gradients; x is (rows, C) in memory.
//
//     y = act((x - mean) inverse_std weight + bias + residual)
//     dL/dx = weight inverse_std (g - <g> - x_hat <g x_hat>)     g = dL/dz, z before act, <.> means over rows
//
// Each way takes two passes over memory: the sums of all rows have to be there before the first number can be
// written. Memory traffic, float, bytes an element: forward 4 for the sums, 8 for y, 4 more for a residual;
// backward 8 for the sums, 12 for dL/dx, and 8 more where y and dL/dz pass through memory. What is still in
// the second-level cache from the first pass is not read from memory again. A card that moves 3 TB/s thus
// normalises 250 billion elements a second.
//
// Sums are taken in double, of x minus the first row. In float, a large mean would swallow a small variance.
// Kahan's summation or Welford's update in float would do too, but cost several times as many instructions. A
// Hopper card adds half as many doubles a second as floats (NVIDIA's datasheet), which is several times as
// many as arrive from memory; cards for games add one 64th, and would wait for these sums. The first row
// keeps double precision from losing what double numbers have in common, and gives constant channels a
// variance of 0.
//
// Where ReLU cut off is worked out again from x: `before_relu` is one fma, so that backward sees the same
// bits.
//
// Launch: see columns.cuh. A weight, bias or residual that there is not is the address 0.

#include "columns.cuh"

// What a thread knows of its channels: z = (x - center) scale + shift, with what rounding `center` left out
// in `shift`.
struct Affine {
    Pack center, scale, shift;
};

__device__ Affine affine_of(Columns mine, const double* mean, const double* inverse_std, const real* weight,
                            const real* bias) {
    Affine affine;
    for (int lane = 0; lane < LANES; lane++) {
        bool exists = lane < mine.count;
        int c = mine.c + lane;
        double center = exists ? mean[c] : 0, scale = exists ? inverse_std[c] : 0;
        if (weight && exists) scale *= weight[c];
        real rounded = (real)center;
        double shift = ((double)rounded - center) * scale + (bias && exists ? bias[c] : 0);
        affine.center.at[lane] = rounded;
        affine.scale.at[lane] = (real)scale;
        affine.shift.at[lane] = (real)shift;
    }
    return affine;
}

__device__ __forceinline__ real before_relu(real x, const Affine& affine, int lane) {
    return fma(x - affine.center.at[lane], affine.scale.at[lane], affine.shift.at[lane]);
}

__device__ __forceinline__ real relu_of(real z) { return z < 0 ? real(0) : z; }  // NaN stays NaN

// --- forward ------------------------------------------------------------------------------------------

// The first pass: partial (blocks, 2, C) are the sums of d and of d^2, with d = x - x[0].
extern "C" __global__ void sum_rows(const real* __restrict__ x, Index rows, int C, int rows_per_block,
                                    double* partial) {
    __shared__ double memory[BLOCK_THREADS * LANES];
    Columns mine = columns_of_thread(rows, C, rows_per_block, blockIdx.x);
    Pack first = load(x + mine.c, mine.count > 0 ? mine.count : 0);
    double sum[LANES] = {}, squares[LANES] = {};
#pragma unroll 4
    for (Index row = mine.first_row; row < mine.end_row; row += blockDim.y) {
        Pack here = load(x + row * C + mine.c, mine.count);
        for (int lane = 0; lane < LANES; lane++) {
            double d = (double)here.at[lane] - (double)first.at[lane];
            sum[lane] += d;
            squares[lane] = fma(d, d, squares[lane]);
        }
    }
    add_up_columns(sum, memory);
    write_partial(sum, mine, 0, 2, C, partial);
    add_up_columns(squares, memory);
    write_partial(squares, mine, 1, 2, C, partial);
}

// statistics (3, C): mean, inverse standard deviation and variance.
extern "C" __global__ void finish_statistics(const double* partial, int blocks, const real* x, Index rows,
                                             int C, double eps, double* statistics) {
    __shared__ double memory[FINISH_THREADS * 2];
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    double sums[2];
    add_up_partials(partial, blocks, c, C, sums, memory);
    if (threadIdx.y != 0 || c >= C) return;
    double difference = sums[0] / rows, variance = sums[1] / rows - difference * difference;
    if (variance < 0) variance = 0;  // by rounding
    statistics[c] = (double)x[c] + difference;
    statistics[C + c] = 1 / sqrt(variance + eps);
    statistics[2 * (Index)C + c] = variance;
}

// The second pass.
extern "C" __global__ void normalize(const real* __restrict__ x, const real* __restrict__ residual,
                                     const double* mean, const double* inverse_std, const real* weight,
                                     const real* bias, Index rows, int C, int rows_per_block, int relu,
                                     real* __restrict__ y) {
    Columns mine = columns_of_thread(rows, C, rows_per_block, blockIdx.x);
    Affine affine = affine_of(mine, mean, inverse_std, weight, bias);
#pragma unroll 4
    for (Index row = mine.first_row; row < mine.end_row; row += blockDim.y) {
        Index at = row * C + mine.c;
        Pack here = load(x + at, mine.count), added = residual ? load(residual + at, mine.count) : pack_of(0);
        for (int lane = 0; lane < LANES; lane++) {
            real z = before_relu(here.at[lane], affine, lane);
            if (residual) z += added.at[lane];
            here.at[lane] = relu ? relu_of(z) : z;
        }
        store(y + at, here, mine.count);
    }
}

// --- backward -----------------------------------------------------------------------------------------

// dL/dz of a pack: that of y, but 0 where ReLU cut off. `y` is the result of a forward pass with a residual,
// or 0.
__device__ __forceinline__ Pack gradient_before_relu(const real* grad, const real* y, Index at, const Pack& x,
                                                     const Affine& affine, int count, int relu) {
    Pack g = load(grad + at, count);
    if (!relu) return g;
    Pack result = y ? load(y + at, count) : x;
    for (int lane = 0; lane < LANES; lane++) {
        real seen = y ? result.at[lane] : before_relu(x.at[lane], affine, lane);
        if (seen <= 0) g.at[lane] = 0;
    }
    return g;
}

// The first pass: partial (blocks, 2, C) are the sums of g and of g (x - mean). With y, g is written to
// grad_z.
extern "C" __global__ void sum_gradients(const real* __restrict__ grad, const real* __restrict__ x,
                                         const real* __restrict__ y, const double* mean,
                                         const double* inverse_std, const real* weight, const real* bias,
                                         Index rows, int C, int rows_per_block, int relu,
                                         real* __restrict__ grad_z, double* partial) {
    __shared__ double memory[BLOCK_THREADS * LANES];
    Columns mine = columns_of_thread(rows, C, rows_per_block, blockIdx.x);
    Affine affine = affine_of(mine, mean, inverse_std, weight, bias);
    double center[LANES], sum[LANES] = {}, along[LANES] = {};
    for (int lane = 0; lane < LANES; lane++) center[lane] = lane < mine.count ? mean[mine.c + lane] : 0;
#pragma unroll 2
    for (Index row = mine.first_row; row < mine.end_row; row += blockDim.y) {
        Index at = row * C + mine.c;
        Pack here = load(x + at, mine.count);
        Pack g = gradient_before_relu(grad, y, at, here, affine, mine.count, relu);
        for (int lane = 0; lane < LANES; lane++) {
            sum[lane] += g.at[lane];
            along[lane] = fma((double)g.at[lane], (double)here.at[lane] - center[lane], along[lane]);
        }
        if (grad_z) store(grad_z + at, g, mine.count);
    }
    add_up_columns(sum, memory);
    write_partial(sum, mine, 0, 2, C, partial);
    add_up_columns(along, memory);
    write_partial(along, mine, 1, 2, C, partial);
}

// sums (2, C): of g and of g x_hat, in double; the same rounded: grad_bias and grad_weight (C,).
extern "C" __global__ void finish_gradients(const double* partial, int blocks, const double* inverse_std,
                                            int C, double* sums, real* grad_weight, real* grad_bias) {
    __shared__ double memory[FINISH_THREADS * 2];
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    double totals[2];
    add_up_partials(partial, blocks, c, C, totals, memory);
    if (threadIdx.y != 0 || c >= C) return;
    sums[c] = totals[0];
    sums[C + c] = totals[1] * inverse_std[c];
    grad_bias[c] = (real)sums[c];
    grad_weight[c] = (real)sums[C + c];
}

// The second pass: dL/dx = scale (g - even - (x - center) along); `sums` is the address 0 where the
// statistics were given.
extern "C" __global__ void gradient_of_x(const real* __restrict__ grad, const real* __restrict__ x,
                                         const real* __restrict__ y, const double* mean,
                                         const double* inverse_std, const real* weight, const real* bias,
                                         const double* sums, Index rows, int C, int rows_per_block, int relu,
                                         real* __restrict__ grad_x) {
    Columns mine = columns_of_thread(rows, C, rows_per_block, blockIdx.x);
    Affine affine = affine_of(mine, mean, inverse_std, weight, bias);
    Pack even = pack_of(0), along = pack_of(0);
    if (sums)
        for (int lane = 0; lane < LANES && lane < mine.count; lane++) {
            int c = mine.c + lane;
            double slope = sums[C + c] / rows * inverse_std[c];
            along.at[lane] = (real)slope;
            even.at[lane] = (real)(sums[c] / rows + ((double)affine.center.at[lane] - mean[c]) * slope);
        }
#pragma unroll 2
    for (Index row = mine.first_row; row < mine.end_row; row += blockDim.y) {
        Index at = row * C + mine.c;
        Pack here = load(x + at, mine.count);
        Pack g = gradient_before_relu(grad, y, at, here, affine, mine.count, relu);
        for (int lane = 0; lane < LANES; lane++) {
            if (sums)
                g.at[lane] -= fma(here.at[lane] - affine.center.at[lane], along.at[lane], even.at[lane]);
            g.at[lane] *= affine.scale.at[lane];
        }
        store(grad_x + at, g, mine.count);
    }
}
