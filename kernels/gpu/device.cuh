// What all kernels share: the number type, sixteen bytes at a time, and indices that cannot overflow.
//
// Each file is compiled once for each dtype, with -DREAL=float or -DREAL=double. A card moves memory in
// pieces of 32 bytes, and a warp asks for the most at once if each of its 32 threads asks for 16 bytes:
// hence Pack, four floats or two doubles, which are read and written by one instruction.

#pragma once

typedef REAL real;
typedef long long Index;

const int WARP = 32;
const unsigned ALL_LANES = 0xFFFFFFFFu;
const int LANES = 16 / sizeof(real);

template <typename T>
struct alignas(LANES * sizeof(T)) PackOf {
    T at[LANES];
};
typedef PackOf<real> Pack;

struct alignas(2 * sizeof(real)) Pair {
    real at[2];
};

template <typename T>
__device__ __forceinline__ bool starts_a_pack(const T* address) {
    return (unsigned long long)address % sizeof(PackOf<T>) == 0;
}

// Read a pack of which `count` numbers exist; the others are 0.
template <typename T>
__device__ __forceinline__ PackOf<T> load(const T* from, Index count) {
    if (count >= LANES && starts_a_pack(from)) return *(const PackOf<T>*)from;
    PackOf<T> pack;
    for (int lane = 0; lane < LANES; lane++) pack.at[lane] = lane < count ? from[lane] : T(0);
    return pack;
}

// Write the `count` numbers of a pack that exist.
template <typename T>
__device__ __forceinline__ void store(T* to, const PackOf<T>& pack, Index count) {
    if (count >= LANES && starts_a_pack(to)) {
        *(PackOf<T>*)to = pack;
        return;
    }
    for (int lane = 0; lane < LANES; lane++)
        if (lane < count) to[lane] = pack.at[lane];
}

__device__ __forceinline__ Pack pack_of(real number) {
    Pack pack;
    for (int lane = 0; lane < LANES; lane++) pack.at[lane] = number;
    return pack;
}

__device__ __forceinline__ int smaller(int a, int b) { return a < b ? a : b; }
__device__ __forceinline__ int larger(int a, int b) { return a > b ? a : b; }
__device__ __forceinline__ int round_up(int number, int by) { return (number + by - 1) / by; }
__device__ __forceinline__ real infinity() { return (real)__longlong_as_double(0x7FF0000000000000ll); }
__device__ __forceinline__ real not_a_number() { return (real)__longlong_as_double(0x7FF8000000000000ll); }
__device__ __forceinline__ bool is_nan(real number) { return number != number; }

// The first of this thread's indices, and how far apart they are, where all threads share one row of work.
__device__ __forceinline__ Index first_index() { return (Index)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ Index index_step() { return (Index)gridDim.x * blockDim.x; }
