// Cross-entropy with class numbers, and its gradient; the equations stand in ../loss.py.
//
// Idea: one warp takes one row of scores. Its threads share the row, and find its highest score and the sum
// of the powers by exchanging registers. A row is read from memory once; when it is looked at again, it is in
// the fastest cache.
//
// Memory traffic, float, bytes for each score: 4 read and 4 written forward, the same backward. With 10
// classes, 22 of 32 threads have nothing to do; but such a batch is done in the time that a launch takes.
//
// A label that is no class is never used as an index. It makes the loss of its row NaN, and its row is
// reported: the host may look at the report when it reads the loss, and needs not wait for it before.
//
// Launch: blocks of eight warps, each of which takes several rows of very many.

#include "reduce.cuh"

const int BLOCK_WARPS = 8;
const int FINISH_THREADS = 256;

struct Settings {  // as loss.py fills it in
    Index rows, C, ignore_index;
};

__device__ Index first_row() { return (Index)blockIdx.x * BLOCK_WARPS + threadIdx.x / WARP; }
__device__ Index row_step() { return (Index)gridDim.x * BLOCK_WARPS; }

// sum_c s w_c / C: the part of the truth that smoothing spreads evenly, in every thread of the warp.
__device__ real evenly_spread(const real* weights, Index C, real even) {
    real sum = 0;
    if (even != 0)
        for (Index c = threadIdx.x % WARP; c < C; c += WARP) sum += even * weights[c];
    return sum_over_warp(sum);
}

// losses (rows,), probabilities (rows, C); for each block, the sum of the weights of its labels, and the
// first of its rows whose label is wrong, or -1.
extern "C" __global__ void cross_entropy(const real* scores, const Index* labels, const real* weights,
                                         Settings settings, real smoothing, real* losses, real* probabilities,
                                         double* weight_sums, Index* wrong_rows) {
    __shared__ double sums[BLOCK_WARPS];
    __shared__ Index wrong[BLOCK_WARPS];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    Index C = settings.C, first_wrong = -1;
    real even = smoothing / C, evenly = evenly_spread(weights, C, even);
    double weight_sum = 0;
    for (Index row = first_row(); row < settings.rows; row += row_step()) {
        const real* x = scores + row * C;
        real* p = probabilities + row * C;
        Index label = labels[row];
        bool counts = label != settings.ignore_index, is_class = label >= 0 && label < C;

        real highest = -infinity();
        for (Index c = lane; c < C; c += WARP) highest = x[c] > highest ? x[c] : highest;
        highest = highest_in_warp(highest);
        real total = 0;
        for (Index c = lane; c < C; c += WARP) {
            p[c] = exp(x[c] - highest);  // every power is at most 1
            total += p[c];
        }
        total = sum_over_warp(total);
        for (Index c = lane; c < C; c += WARP) p[c] /= total;

        real log_total = log(total), weighted = 0;  // the sum of s w_c / C times -ln p_c
        if (even != 0)
            for (Index c = lane; c < C; c += WARP)
                weighted += even * weights[c] * (log_total - (x[c] - highest));
        weighted = sum_over_warp(weighted);
        if (lane != 0) continue;
        real loss = 0;
        if (counts && !is_class) {
            loss = not_a_number();
            if (first_wrong < 0) first_wrong = row;
        } else if (counts) {
            real share = (1 - smoothing) * weights[label];
            weight_sum += weights[label];
            if (share + evenly != 0) loss = share * (log_total - (x[label] - highest)) + weighted;
        }
        losses[row] = loss;
    }
    if (lane == 0) {
        sums[warp] = weight_sum;
        wrong[warp] = first_wrong;
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int other = 1; other < BLOCK_WARPS; other++) {
        weight_sum += sums[other];
        if (wrong[other] >= 0 && (first_wrong < 0 || wrong[other] < first_wrong)) first_wrong = wrong[other];
    }
    weight_sums[blockIdx.x] = weight_sum;
    wrong_rows[blockIdx.x] = first_wrong;
}

// One block: the sum of all weights, and the first wrong row of all.
extern "C" __global__ void finish_tallies(const double* weight_sums, const Index* wrong_rows, int blocks,
                                          real* weight, Index* wrong_row) {
    __shared__ double sums[FINISH_THREADS / WARP];
    __shared__ Index wrong[FINISH_THREADS];
    double sum = 0;
    Index first = -1;
    for (int block = threadIdx.x; block < blocks; block += FINISH_THREADS) {
        sum += weight_sums[block];
        if (wrong_rows[block] >= 0 && (first < 0 || wrong_rows[block] < first)) first = wrong_rows[block];
    }
    wrong[threadIdx.x] = first;
    sum = sum_over_block(sum, sums);  // with a barrier inside
    if (threadIdx.x != 0) return;
    for (int other = 1; other < FINISH_THREADS; other++)
        if (wrong[other] >= 0 && (first < 0 || wrong[other] < first)) first = wrong[other];
    *weight = (real)sum;
    *wrong_row = first;
}

// grad is (rows,), or one number for all rows where grad_step is 0.
extern "C" __global__ void cross_entropy_grad(const real* grad, int grad_step, const real* probabilities,
                                              const Index* labels, const real* weights, Settings settings,
                                              real smoothing, real* grad_x) {
    int lane = threadIdx.x % WARP;
    Index C = settings.C;
    real even = smoothing / C, evenly = evenly_spread(weights, C, even);
    for (Index row = first_row(); row < settings.rows; row += row_step()) {
        const real* p = probabilities + row * C;
        Index label = labels[row];
        bool counts = label != settings.ignore_index, is_class = label >= 0 && label < C;
        real share = counts && is_class ? (1 - smoothing) * weights[label] : real(0);
        real truth = counts ? share + evenly : real(0), g = grad[row * grad_step];
        for (Index c = lane; c < C; c += WARP) {
            real slope = p[c] * truth - (even != 0 ? even * weights[c] : real(0));
            if (c == label) slope -= share;
            grad_x[row * C + c] = truth == 0 ? real(0) : slope * g;
        }
    }
}
