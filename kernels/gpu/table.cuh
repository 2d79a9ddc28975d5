// One launch for many arrays, through a table of their addresses; table.py writes it.
//
// A network has many parameters, most of them small, and to launch a kernel for each would take longer than
// its work. The table has a line for each parameter: the first of the blocks that work on it, its size, and
// the addresses of its arrays. A block looks up which parameter it belongs to, and takes PIECE numbers of it.
//
// The table is an argument of the kernel, whose arguments may have 4 KiB in all: nothing has to be copied to
// the device first, and a launch that is recorded as part of a graph keeps its table.

#pragma once

#include "device.cuh"

const int BLOCK_THREADS = 256;
const int PIECE = BLOCK_THREADS * LANES * 4;      // as in table.py,
const int MOST_LINES = 64, MOST_ARRAYS = 5;       // and so are these
const int FIRST_BLOCK = 0, SIZE = 1, ARRAYS = 2;  // what stands in a line

struct Table {
    Index lines, arrays;  // how many there are
    Index at[MOST_LINES][ARRAYS + MOST_ARRAYS];
};

// What a block works on: numbers start to end - 1 of the arrays of a line.
struct Piece {
    const Index* line;
    Index start, end;
};

__device__ __forceinline__ Piece piece_of_block(const Table& table) {
    int low = 0, high = (int)table.lines;  // the line is in low ... high - 1
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (table.at[middle][FIRST_BLOCK] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    const Index* line = table.at[low];
    Index start = (blockIdx.x - line[FIRST_BLOCK]) * PIECE, end = start + PIECE;
    return {line, start, end < line[SIZE] ? end : line[SIZE]};
}

__device__ __forceinline__ real* array_of(const Piece& piece, int number) {
    return (real*)piece.line[ARRAYS + number];
}

// Where this thread begins in a piece, and how far it goes on each time: by packs.
__device__ __forceinline__ Index first_of_thread(const Piece& piece) {
    return piece.start + (Index)threadIdx.x * LANES;
}
const int THREAD_STEP = BLOCK_THREADS * LANES;
