// Division by a number that the compiler does not know, as a product and a shift.
//
// A card has no instruction that divides integers: a division takes about 20 instructions. What a kernel
// that does little else may take for a pack of numbers is not much more than 300, if memory is to be the
// limit. But the sizes by which kernels divide are known before the launch, and the host can prepare them.
// (Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI 1994.)

#pragma once

#include "device.cuh"

// As divisor.py fills it in. Elsewhere than in a division, it is the number itself.
struct Divisor {
    int value;
    unsigned multiplier, shift;

    __device__ __forceinline__ operator int() const { return value; }
};

// Divide a number, 0 to 2^31 - 1, and keep the remainder.
__device__ __forceinline__ int divide(int number, const Divisor& by, int& remainder) {
    int quotient = (__umulhi(number, by.multiplier) + number) >> by.shift;
    remainder = number - quotient * by.value;
    return quotient;
}

__device__ __forceinline__ int divide(int number, const Divisor& by) {
    int remainder;
    return divide(number, by, remainder);
}

// Divide an index; most of them are below 2^31.
__device__ __forceinline__ Index divide(Index number, const Divisor& by, int& remainder) {
    if (number <= 0x7FFFFFFF) return divide((int)number, by, remainder);
    Index quotient = number / by.value;
    remainder = int(number - quotient * by.value);
    return quotient;
}
