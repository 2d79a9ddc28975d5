// Steps of optimizers, 64 parameters in each launch; the equations stand in ../update.py and in
// minicnn/optim.
//
// Memory traffic, float, bytes for each parameter: SGD reads 8 and writes 4, with momentum 12 and 8; Adam 16
// and 12, with amsgrad 20 and 16; RMSprop 12 and 8, with each of mean and velocity 4 and 4 more. A card that
// moves 3 TB/s takes 0.24 ms for Adam on the 25 million parameters of ResNet-50.
//
// Learning rate and number of the step may lie in device memory: a step that was recorded as a graph then
// follows their changes. Launch: see table.cuh.

#include "table.cuh"

// The arrays of a line; what a rule remembers is in MEMORY, MEMORY + 1, ...
const int PARAM = 0, GRAD = 1, MEMORY = 2;

// The gradient with that of the penalty decay / 2 w^2; an infinite weight does not matter if decay is 0.
__device__ __forceinline__ real decayed(real g, real w, real decay) { return decay != 0 ? g + decay * w : g; }

// --- SGD ----------------------------------------------------------------------------------------------

struct SgdOptions {
    double lr, momentum, dampening, decay, nesterov;
};

extern "C" __global__ void sgd(const __grid_constant__ Table table, SgdOptions options, const double* lr_at) {
    Piece piece = piece_of_block(table);
    real *params = array_of(piece, PARAM), *grads = array_of(piece, GRAD);
    real* velocities = table.arrays > MEMORY ? array_of(piece, MEMORY) : nullptr;
    real lr = (real)(lr_at ? *lr_at : options.lr), momentum = (real)options.momentum;
    real share_of_grad = (real)(1 - options.dampening), decay = (real)options.decay;
    for (Index i = first_of_thread(piece); i < piece.end; i += THREAD_STEP) {
        Index count = piece.end - i;
        Pack w = load(params + i, count), g = load(grads + i, count);
        Pack v = velocities ? load(velocities + i, count) : pack_of(0);
        for (int lane = 0; lane < LANES; lane++) {
            real slope = decayed(g.at[lane], w.at[lane], decay);
            if (velocities) {
                v.at[lane] = momentum * v.at[lane] + share_of_grad * slope;
                slope = options.nesterov != 0 ? slope + momentum * v.at[lane] : v.at[lane];
            }
            w.at[lane] -= lr * slope;
        }
        store(params + i, w, count);
        if (velocities) store(velocities + i, v, count);
    }
}

// --- Adam ---------------------------------------------------------------------------------------------

struct AdamOptions {
    double step, lr, beta1, beta2, eps, decay, decoupled;
};

// What a step needs of its options, once for a block: powers in double take their time.
struct AdamFactors {
    real step_size, root_factor, shrink;
};

__device__ AdamFactors adam_factors(const AdamOptions& options, const Index* step_at, const double* lr_at) {
    double step = step_at ? (double)*step_at : options.step, lr = lr_at ? *lr_at : options.lr;
    AdamFactors factors;
    factors.step_size = (real)(lr / (1 - pow(options.beta1, step)));
    factors.root_factor = (real)(1 / sqrt(1 - pow(options.beta2, step)));
    factors.shrink = (real)(options.decoupled != 0 ? 1 - lr * options.decay : 1);
    return factors;
}

extern "C" __global__ void adam(const __grid_constant__ Table table, AdamOptions options,
                                const Index* step_at, const double* lr_at) {
    __shared__ AdamFactors factors;
    if (threadIdx.x == 0) factors = adam_factors(options, step_at, lr_at);
    __syncthreads();
    Piece piece = piece_of_block(table);
    real *params = array_of(piece, PARAM), *grads = array_of(piece, GRAD);
    real *means = array_of(piece, MEMORY), *squares = array_of(piece, MEMORY + 1);
    real* largest = table.arrays > MEMORY + 2 ? array_of(piece, MEMORY + 2) : nullptr;
    real beta1 = (real)options.beta1, rest1 = (real)(1 - options.beta1);
    real beta2 = (real)options.beta2, rest2 = (real)(1 - options.beta2), eps = (real)options.eps;
    real decay = options.decoupled != 0 ? real(0) : (real)options.decay;
    for (Index i = first_of_thread(piece); i < piece.end; i += THREAD_STEP) {
        Index count = piece.end - i;
        Pack w = load(params + i, count), g = load(grads + i, count);
        Pack m = load(means + i, count), v = load(squares + i, count);
        Pack most = largest ? load(largest + i, count) : v;
        for (int lane = 0; lane < LANES; lane++) {
            real slope = decayed(g.at[lane], w.at[lane], decay);
            m.at[lane] = beta1 * m.at[lane] + rest1 * slope;
            v.at[lane] = beta2 * v.at[lane] + rest2 * slope * slope;
            if (!largest || !(most.at[lane] >= v.at[lane])) most.at[lane] = v.at[lane];  // a NaN in v as well
            real change = m.at[lane] / (sqrt(most.at[lane]) * factors.root_factor + eps);
            w.at[lane] = factors.shrink * w.at[lane] - factors.step_size * change;
        }
        store(params + i, w, count);
        store(means + i, m, count);
        store(squares + i, v, count);
        if (largest) store(largest + i, most, count);
    }
}

// --- RMSprop ------------------------------------------------------------------------------------------

struct RmspropOptions {
    double lr, alpha, eps, decay, momentum, centered, moving;
};

extern "C" __global__ void rmsprop(const __grid_constant__ Table table, RmspropOptions options,
                                   const double* lr_at) {
    Piece piece = piece_of_block(table);
    bool centered = options.centered != 0, moving = options.moving != 0;
    real *params = array_of(piece, PARAM), *grads = array_of(piece, GRAD), *squares = array_of(piece, MEMORY);
    real* means = centered ? array_of(piece, MEMORY + 1) : nullptr;
    real* velocities = moving ? array_of(piece, MEMORY + 1 + centered) : nullptr;
    real lr = (real)(lr_at ? *lr_at : options.lr), decay = (real)options.decay,
         momentum = (real)options.momentum;
    real alpha = (real)options.alpha, rest = (real)(1 - options.alpha), eps = (real)options.eps;
    for (Index i = first_of_thread(piece); i < piece.end; i += THREAD_STEP) {
        Index count = piece.end - i;
        Pack w = load(params + i, count), g = load(grads + i, count), s = load(squares + i, count);
        Pack mean = centered ? load(means + i, count) : pack_of(0);
        Pack v = moving ? load(velocities + i, count) : pack_of(0);
        for (int lane = 0; lane < LANES; lane++) {
            real slope = decayed(g.at[lane], w.at[lane], decay);
            s.at[lane] = alpha * s.at[lane] + rest * slope * slope;
            real variance = s.at[lane];
            if (centered) {
                mean.at[lane] = alpha * mean.at[lane] + rest * slope;
                variance -= mean.at[lane] * mean.at[lane];
                if (variance < 0) variance = 0;  // by rounding
            }
            real change = slope / (sqrt(variance) + eps);
            if (moving) change = v.at[lane] = momentum * v.at[lane] + change;
            w.at[lane] -= lr * change;
        }
        store(params + i, w, count);
        store(squares + i, s, count);
        if (centered) store(means + i, mean, count);
        if (moving) store(velocities + i, v, count);
    }
}
