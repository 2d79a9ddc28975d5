// Where the windows of a convolution or a pooling lie, and which pixels they see; images are (N, H, W, C) in
// memory.

#pragma once

#include "device.cuh"

// As windows.py fills it in.
struct Windows {
    int C, H, W, OH, OW;           // sizes: x is (N, H, W, C), y is (N, OH, OW, C)
    int R, S;                      // of the window
    int step_h, step_w;            // stride
    int top, bottom, left, right;  // padding
    int apart_h, apart_w;          // dilation
};

// What a thread works on: a pack of channels, from channel c on, of pixel (n, i, j).
struct Place {
    Index n;
    int i, j, c;
};

__device__ Place place_of(Index pack, int height, int width, int C) {
    Place place;
    pack = divide(pack, round_up(C, LANES), place.c);
    pack = divide(pack, width, place.j);
    place.n = divide(pack, height, place.i);
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

__device__ Reached outputs_reaching(int at, int before, int extent, int step, int size) {
    int place = at + before;  // in the padded image
    int first = place < extent ? 0 : (place - extent) / step + 1;
    return {first, smaller(place / step, size - 1)};
}

// The tap through which output `out` sees input `at`, or -1 if it sees it between its taps.
__device__ int tap_between(int out, int at, int before, int step, int apart) {
    int distance = at + before - out * step;
    return distance % apart ? -1 : distance / apart;
}
