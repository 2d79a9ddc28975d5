// Instructions that CUDA C++ has no words for: copies that run beside the arithmetic, and tensor cores.
//
// See the PTX manual, "cp.async" and "mma.sync.aligned.m16n8k8" (NVIDIA, PTX ISA, sections 9.7.9 and 9.7.14).
// Where the kernels are compiled for the CPU, to test them, the same functions are defined there.

#pragma once

#ifndef CUDA_ON_HOST

#define DYNAMIC_SHARED(type, name)                           \
    extern __shared__ __align__(16) unsigned char memory_[]; \
    type* name = (type*)memory_

// Start to copy `bytes` (4, 8 or 16) from device to shared memory, or to write zeros if there is nothing to
// copy.
__device__ __forceinline__ void copy_async(void* to, const void* from, int bytes, bool exists) {
    unsigned target = (unsigned)__cvta_generic_to_shared(to);
    int count = exists ? bytes : 0;
    if (bytes == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(from), "r"(count));
    else if (bytes == 8)
        asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(target), "l"(from), "r"(count));
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(target), "l"(from), "r"(count));
}

// Close a group of copies; wait for all groups but the last OPEN. Each thread waits for its own copies only.
__device__ __forceinline__ void close_copies() { asm volatile("cp.async.commit_group;"); }
template <int OPEN>
__device__ __forceinline__ void await_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(OPEN) : "memory");
}

// TF32 has the range of float and 10 bits behind the point; to the nearest, ties away from 0.
__device__ __forceinline__ unsigned round_to_tf32(float number) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(number));
    return bits;
}

// sums (16, 8) += a (16, 8) b (8, 8), spread over the warp: with g = lane / 4 and t = lane % 4, a thread
// holds a[g (+ 8), t (+ 4)], b[t (+ 4), g] and sums[g (+ 8), 2 t (+ 1)].
__device__ __forceinline__ void multiply_tf32(float (&sums)[4], const unsigned (&a)[4],
                                              const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
