// CUDA C++ on the host: enough of the language for a .cu file to be compiled by g++ and run block by block.
//
// Each CUDA thread is a fibre: a function with a stack of its own, which runs until it waits at a barrier.
// When all that can run have run, those whose barrier is complete go on, in a new random order. A kernel
// that reads what another thread writes, without a barrier between the two, then gives other numbers
// for other orders. The blocks of a grid run one after another. What a card leaves undefined is filled
// with 0xFF, which is NaN in both precisions: shared memory at the start of a block, and the target of
// an asynchronous copy from its start until somebody waits for it, which is when the numbers arrive.
#pragma once
#define CUDA_ON_HOST

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

struct uint3 {
    unsigned x, y, z;
};
typedef uint3 dim3;
static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__ __restrict
#define __align__(bytes) alignas(bytes)
#define __shared__ static __attribute__((section("shared_memory")))
#define DYNAMIC_SHARED(type, name) type* name = (type*)host::dynamic_shared
extern char __start_shared_memory[] __attribute__((weak));  // the linker's names for that section
extern char __stop_shared_memory[] __attribute__((weak));

using std::exp;
using std::fma;
using std::log;
using std::pow;
using std::sqrt;
using std::tanh;

namespace host {

const unsigned WARP = 32, MOST_THREADS = 1024;
const size_t STACK_BYTES = 1 << 16;
const unsigned char POISON = 0xFF;

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, FINISHED };

struct Copy {
    void* to;
    const void* from;
    int bytes;
    int group;
};

struct Fibre {
    ucontext_t beginning;  // of its stack and its function; from then on it is left and entered by jumps,
    jmp_buf place;  // which, other than swapcontext, ask nothing of the system, and are ten times as fast
    bool has_begun;
    State state;
    uint3 index;
    unsigned number, exchanges;
    int group;  // of asynchronous copies that are being queued
    std::vector<Copy> copies;
    char* stack;
};

struct Launch {  // as HostFunction of host_module.py fills it in
    unsigned grid[3], block[3], shared_bytes, seed;
};

struct Parcel {  // what a thread shows to the others of its warp
    uint32_t words[6];
};

static Fibre fibres[MOST_THREADS];
static Fibre* running;
static jmp_buf scheduler;
static char* dynamic_shared;
static unsigned random_state;
static Parcel parcels[2][MOST_THREADS];  // two sets, used in turn: nobody is two exchanges ahead
static void (*thread_body)(void*);
static void* thread_arguments;
static char message[256];

static unsigned random_below(unsigned limit) {
    random_state = random_state * 1664525u + 1013904223u;  // Numerical Recipes' generator
    return (random_state >> 8) % limit;
}

static void run_fibre() {
    thread_body(thread_arguments);
    running->state = FINISHED;
    _longjmp(scheduler, 1);
}

// Let a fibre run until it waits or ends.
static void enter(Fibre& fibre) {
    running = &fibre;
    threadIdx = fibre.index;
    if (_setjmp(scheduler)) return;
    if (fibre.has_begun) _longjmp(fibre.place, 1);
    fibre.has_begun = true;
    setcontext(&fibre.beginning);
}

static void wait_at(State barrier) {
    Fibre* self = running;
    self->state = barrier;
    if (!_setjmp(self->place)) _longjmp(scheduler, 1);
}

static void prepare(unsigned number) {
    Fibre& fibre = fibres[number];
    if (!fibre.stack) fibre.stack = (char*)malloc(STACK_BYTES);
    fibre.state = READY;
    fibre.number = number;
    fibre.index = {number % blockDim.x, number / blockDim.x % blockDim.y, number / blockDim.x / blockDim.y};
    fibre.exchanges = fibre.group = 0;
    fibre.copies.clear();
    fibre.has_begun = false;
    getcontext(&fibre.beginning);
    fibre.beginning.uc_stack.ss_sp = fibre.stack;
    fibre.beginning.uc_stack.ss_size = STACK_BYTES;
    fibre.beginning.uc_link = nullptr;
    makecontext(&fibre.beginning, run_fibre, 0);
}

static unsigned count(unsigned first, unsigned end, State state) {
    unsigned total = 0;
    for (unsigned i = first; i < end; i++) total += fibres[i].state == state;
    return total;
}

static bool release(unsigned first, unsigned end, State barrier) {
    if (count(first, end, barrier) != end - first) return false;
    for (unsigned i = first; i < end; i++) fibres[i].state = READY;
    return true;
}

// Run the threads of one block. Returns whether all came to their end.
static bool run_block(unsigned threads) {
    std::vector<unsigned> order(threads);
    for (unsigned i = 0; i < threads; i++) {
        prepare(i);
        order[i] = i;
    }
    for (;;) {
        for (unsigned i = threads - 1; i > 0; i--) std::swap(order[i], order[random_below(i + 1)]);
        bool ran = false;
        for (unsigned i : order) {
            if (fibres[i].state != READY) continue;
            ran = true;
            enter(fibres[i]);
        }
        if (ran) continue;
        bool released = release(0, threads, AT_BLOCK_BARRIER);
        for (unsigned first = 0; first < threads; first += WARP)
            released |= release(first, first + WARP, AT_WARP_BARRIER);
        if (released) continue;
        unsigned finished = count(0, threads, FINISHED);
        if (finished == threads) return true;
        snprintf(message, sizeof message,
                 "block (%u, %u, %u) cannot go on: %u threads wait at __syncthreads, %u at a barrier or "
                 "exchange of their warp, %u have ended",
                 blockIdx.x, blockIdx.y, blockIdx.z, count(0, threads, AT_BLOCK_BARRIER),
                 count(0, threads, AT_WARP_BARRIER), finished);
        return false;
    }
}

static const char* run_grid(const Launch& launch, void (*body)(void*), void* arguments) {
    gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
    blockDim = {launch.block[0], launch.block[1], launch.block[2]};
    random_state = launch.seed;
    thread_body = body;
    thread_arguments = arguments;
    bool fine = true;
    for (unsigned i = 0; fine && i < gridDim.x * gridDim.y * gridDim.z; i++) {
        blockIdx = {i % gridDim.x, i / gridDim.x % gridDim.y, i / gridDim.x / gridDim.y};
        if (__start_shared_memory)
            memset(__start_shared_memory, POISON, __stop_shared_memory - __start_shared_memory);
        dynamic_shared = (char*)aligned_alloc(16, (launch.shared_bytes + 15) / 16 * 16);
        memset(dynamic_shared, POISON, launch.shared_bytes);
        fine = run_block(blockDim.x * blockDim.y * blockDim.z);
        free(dynamic_shared);
    }
    return fine ? nullptr : message;
}

// --- calling a kernel by the addresses of its arguments, as the driver does ---

template <typename... A, size_t... I>
const char* call(void (*kernel)(A...), const Launch& launch, void** arguments, std::index_sequence<I...>) {
    auto body = [=] { kernel(*(A*)arguments[I]...); };
    return run_grid(launch, [](void* it) { (*(decltype(body)*)it)(); }, &body);
}

template <typename... A>
const char* call(void (*kernel)(A...), const Launch& launch, void** arguments) {
    return call(kernel, launch, arguments, std::index_sequence_for<A...>());
}

template <typename A>
void describe_one(char* text) {
    char kind = std::is_pointer<A>::value          ? 'p'
                : std::is_integral<A>::value       ? 'i'
                : std::is_floating_point<A>::value ? 'f'
                                                   : 's';
    sprintf(text + strlen(text), "%c%zu ", kind, sizeof(A));
}

template <typename... A>
const char* describe(void (*)(A...)) {  // "p8 i4 f4 s40 ": kind and bytes of each argument
    static char text[512];
    text[0] = 0;
    (describe_one<A>(text), ...);
    return text;
}

// --- threads of a warp ---

// Show a parcel to the warp; return where those of all its threads lie.
static const Parcel* exchange(const Parcel& mine) {
    Fibre* self = running;
    Parcel* all = parcels[self->exchanges++ % 2] + self->number / WARP * WARP;
    all[self->number % WARP] = mine;
    wait_at(AT_WARP_BARRIER);
    return all;
}

template <typename T>
T shuffle(T value, unsigned source) {
    static_assert(sizeof(T) <= sizeof(Parcel), "a number of at most 64 bits");
    Parcel mine;
    memcpy(mine.words, &value, sizeof value);
    memcpy(&value, exchange(mine)[source % WARP].words, sizeof value);
    return value;
}

inline unsigned lane() { return running->number % WARP; }

}  // namespace host

#define EXPORT(kernel)                                                                     \
    extern "C" const char* describe_##kernel() { return host::describe(kernel); }          \
    extern "C" const char* launch_##kernel(const host::Launch* launch, void** arguments) { \
        return host::call(kernel, *launch, arguments);                                     \
    }

inline void __syncthreads() { host::wait_at(host::AT_BLOCK_BARRIER); }
inline void __syncwarp(unsigned = ~0u) { host::wait_at(host::AT_WARP_BARRIER); }
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return host::shuffle(value, host::lane() ^ mask);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, int steps) {
    return host::shuffle(value, host::lane() + steps < host::WARP ? host::lane() + steps : host::lane());
}
template <typename T>
T __shfl_sync(unsigned, T value, int source) {
    return host::shuffle(value, source);
}
template <typename T>
T atomicAdd(T* place, T value) {
    T before = *place;
    *place += value;
    return before;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline double __longlong_as_double(long long bits) {
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

// --- the instructions of kernels/gpu/instructions.cuh ---

inline void copy_async(void* to, const void* from, int bytes, bool exists) {
    memset(to, host::POISON, bytes);
    host::running->copies.push_back({to, exists ? from : nullptr, bytes, host::running->group});
}
inline void close_copies() { host::running->group++; }
template <int OPEN>
void await_copies() {  // all groups but the last OPEN
    std::vector<host::Copy> later;
    for (const host::Copy& copy : host::running->copies) {
        if (copy.group >= host::running->group - OPEN)
            later.push_back(copy);
        else if (copy.from)
            memcpy(copy.to, copy.from, copy.bytes);
        else
            memset(copy.to, 0, copy.bytes);
    }
    host::running->copies = later;
}

inline uint32_t round_to_tf32(
    float number) {  // to the nearest with 10 bits behind the point, ties away from 0
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    bool is_finite = (bits & 0x7F800000u) != 0x7F800000u;
    return is_finite ? (bits + 0x1000u) & ~0x1FFFu : bits;
}

// sums (16, 8) += a (16, 8) b (8, 8), spread over the warp as the PTX manual says of mma.m16n8k8: thread t
// holds a[t / 4 (+ 8), t % 4 (+ 4)], b[t % 4 (+ 4), t / 4] and sums[t / 4 (+ 8), 2 (t % 4) (+ 1)].
inline void multiply_tf32(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    unsigned lane = host::lane();
    const host::Parcel* all = host::exchange({{a[0], a[1], a[2], a[3], b[0], b[1]}});
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = lane / 4, column = lane % 4 * 2 + i % 2;
        for (unsigned k = 0; k < 8; k++) {
            float left, right;
            memcpy(&left, &all[row * 4 + k % 4].words[i / 2 + k / 4 * 2], 4);
            memcpy(&right, &all[column * 4 + k % 4].words[4 + k / 4], 4);
            sums[i] += left * right;
        }
    }
}
