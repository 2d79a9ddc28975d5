// Where the windows of a convolution or a pooling lie, and which pixels they see; images are (N, H, W, C) in
// memory.

#pragma once

#include "divisor.cuh"

// As windows.py fills it in.
struct Windows {
    int C, H, W, OH, OW;           // sizes: x is (N, H, W, C), y is (N, OH, OW, C)
    int R, S;                      // of the window
    Divisor step_h, step_w;        // stride
    int top, bottom, left, right;  // padding
    Divisor apart_h, apart_w;      // dilation
    Divisor packs, columns, rows;  // what each thread works on is one of so many, of the result
};

// What a thread works on: a pack of channels, from channel c on, of pixel (n, i, j) of the result. Where a
// thread takes several neighbouring pixels of a row, j counts those pieces.
struct Place {
    Index n;
    int i, j, c;
};

__device__ __forceinline__ Place place_of(Index pack, const Windows& p) {
    Place place;
    pack = divide(pack, p.packs, place.c);
    pack = divide(pack, p.columns, place.j);
    place.n = divide(pack, p.rows, place.i);
    place.c *= LANES;
    return place;
}

// Where the numbers of a place begin in an array (N, height, width, C).
__device__ Index offset(Index n, int i, int j, int c, int height, int width, int C) {
    return ((n * height + i) * width + j) * C + c;
}

// Along one axis: the outputs whose windows reach input `at`, from the first to the last.
struct Reached {
    int first, last;
};

__device__ __forceinline__ Reached outputs_reaching(int at, int before, int extent, const Divisor& step,
                                                    int size) {
    int place = at + before;  // in the padded image
    int first = place < extent ? 0 : divide(place - extent, step) + 1;
    return {first, smaller(divide(place, step), size - 1)};
}

// The tap through which output `out` sees input `at`, or -1 if it sees it between its taps.
__device__ __forceinline__ int tap_between(int out, int at, int before, const Divisor& step,
                                           const Divisor& apart) {
    int between, tap = divide(at + before - out * step, apart, between);
    return between ? -1 : tap;
}
