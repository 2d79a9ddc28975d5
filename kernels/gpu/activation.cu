// Activations and their gradients, of each number by itself; the equations stand in ../activation.py.
//
// Memory traffic, float: 8 bytes for each number, 12 for a gradient. The arithmetic hides behind it. CuPy
// would take a pass for each operation of an equation. Launch: a row of threads, of which each takes a pack.

#include "device.cuh"

// y = f.of(a, b) for all numbers; b is the address 0 where f needs one number only.
template <typename F>
__device__ __forceinline__ void map(const real* __restrict__ a, const real* __restrict__ b, Index size,
                                    real* __restrict__ y, F f = F()) {
    for (Index i = first_index() * LANES; i < size; i += index_step() * LANES) {
        Pack first = load(a + i, size - i), second = b ? load(b + i, size - i) : pack_of(0);
        for (int lane = 0; lane < LANES; lane++) first.at[lane] = f.of(first.at[lane], second.at[lane]);
        store(y + i, first, size - i);
    }
}

__device__ __forceinline__ real logistic(real x) { return 1 / (1 + exp(-x)); }

struct Relu {  // NaN stays NaN
    static __device__ __forceinline__ real of(real x, real) { return x < 0 ? real(0) : x; }
};
struct ReluGrad {
    static __device__ __forceinline__ real of(real grad, real y) { return y <= 0 ? real(0) : grad; }
};
struct Hardtanh {
    real low, high;
    __device__ __forceinline__ real of(real x, real) const {
        real above = x < low ? low : x;
        return above > high ? high : above;
    }
};
struct HardtanhGrad {
    real low, high;
    __device__ __forceinline__ real of(real grad, real y) const { return y <= low || y >= high ? real(0) : grad; }
};
struct Sigmoid {
    static __device__ __forceinline__ real of(real x, real) { return logistic(x); }
};
struct SigmoidGrad {
    static __device__ __forceinline__ real of(real grad, real y) { return grad * y * (1 - y); }
};
struct Tanh {
    static __device__ __forceinline__ real of(real x, real) { return tanh(x); }
};
struct TanhGrad {
    static __device__ __forceinline__ real of(real grad, real y) { return grad * (1 - y * y); }
};
struct Silu {
    static __device__ __forceinline__ real of(real x, real) { return x * logistic(x); }
};
struct SiluGrad {
    static __device__ __forceinline__ real of(real grad, real x) {
        real s = logistic(x);
        return grad * s * (1 + x * (1 - s));
    }
};

extern "C" __global__ void relu_forward(const real* x, const real* none, Index size, real* y) {
    map<Relu>(x, none, size, y);
}
extern "C" __global__ void relu_backward(const real* grad, const real* y, Index size, real* grad_x) {
    map<ReluGrad>(grad, y, size, grad_x);
}
extern "C" __global__ void hardtanh_forward(const real* x, const real* none, Index size, real* y, real low,
                                            real high) {
    map(x, none, size, y, Hardtanh{low, high});
}
extern "C" __global__ void hardtanh_backward(const real* grad, const real* y, Index size, real* grad_x, real low,
                                             real high) {
    map(grad, y, size, grad_x, HardtanhGrad{low, high});
}
extern "C" __global__ void sigmoid_forward(const real* x, const real* none, Index size, real* y) {
    map<Sigmoid>(x, none, size, y);
}
extern "C" __global__ void sigmoid_backward(const real* grad, const real* y, Index size, real* grad_x) {
    map<SigmoidGrad>(grad, y, size, grad_x);
}
extern "C" __global__ void tanh_forward(const real* x, const real* none, Index size, real* y) {
    map<Tanh>(x, none, size, y);
}
extern "C" __global__ void tanh_backward(const real* grad, const real* y, Index size, real* grad_x) {
    map<TanhGrad>(grad, y, size, grad_x);
}
extern "C" __global__ void silu_forward(const real* x, const real* none, Index size, real* y) {
    map<Silu>(x, none, size, y);
}
extern "C" __global__ void silu_backward(const real* grad, const real* x, Index size, real* grad_x) {
    map<SiluGrad>(grad, x, size, grad_x);
}
