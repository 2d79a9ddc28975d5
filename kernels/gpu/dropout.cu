// Dropout with the random numbers of ../dropout.py: Philox 4x32-7, a function of a counter and a key.
//
// Idea: a counter makes four words of 32 bits, and each half of a word decides over one number, so that one
// thread decides over eight. In a block of 512 numbers, the first words of 64 counters come first, then the
// second words, and so on: neighbouring threads thus work on neighbouring pairs of numbers, four times.
//
// Memory traffic, float: 8 bytes an element, read and written; the random numbers are made in registers and
// stored nowhere. They take 7 x 10 integer instructions for eight numbers, less time than the memory takes.
//
// The key may lie in device memory: a step that was recorded as a graph then drops other elements each time.

#include "device.cuh"

const int ROUNDS = 7, COUNTERS = 64;

struct Words {
    unsigned at[4];
};

__device__ Words philox(unsigned long long counter, unsigned long long key) {
    unsigned a = (unsigned)counter, b = counter >> 32, c = 0, d = 0;
    unsigned key_a = (unsigned)key, key_b = key >> 32;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned high_a = __umulhi(a, 0xD2511F53u), low_a = a * 0xD2511F53u;
        unsigned high_c = __umulhi(c, 0xCD9E8D57u), low_c = c * 0xCD9E8D57u;
        a = high_c ^ b ^ key_a;
        b = low_c;
        c = high_a ^ d ^ key_b;
        d = low_a;
        key_a += 0x9E3779B9u;
        key_b += 0xBB67AE85u;
    }
    return {{a, b, c, d}};
}

// Numbers whose 16 bits are below `limit` are multiplied by 0 (so that NaN stays), the others by `factor`. With
// an array `key_at`, its number is the key.
extern "C" __global__ void dropout(const real* __restrict__ x, Index size, unsigned limit, real factor,
                                   unsigned long long key, const unsigned long long* key_at,
                                   real* __restrict__ y) {
    if (key_at) key = *key_at;
    Index counters = (size + 8 * COUNTERS - 1) / (8 * COUNTERS) * COUNTERS;
    for (Index counter = first_index(); counter < counters; counter += index_step()) {
        Words words = philox(counter, key);
        Index start = counter / COUNTERS * (8 * COUNTERS) + counter % COUNTERS * 2;
        for (int word = 0; word < 4; word++) {
            Index i = start + word * 2 * COUNTERS;
            bool keeps_first = (words.at[word] & 0xFFFF) >= limit,
                 keeps_second = words.at[word] >> 16 >= limit;
            if (i + 1 < size) {  // both arrays begin with a pair
                Pair pair = *(const Pair*)(x + i);
                pair.at[0] = pair.at[0] * (keeps_first ? factor : real(0));
                pair.at[1] = pair.at[1] * (keeps_second ? factor : real(0));
                *(Pair*)(y + i) = pair;
            } else if (i < size) {
                y[i] = x[i] * (keeps_first ? factor : real(0));
            }
        }
    }
}
