// One launch for many arrays, through a table of their addresses; table.py writes it.
//
// A network has many parameters, most of them small, and to launch a kernel for each would take longer than its work.
// The table has a row for each parameter: the first of the blocks that work on it, its size, and the addresses
// of its arrays. A block looks up which parameter it belongs to, and takes PIECE numbers of it.

#pragma once

#include "device.cuh"

const int BLOCK_THREADS = 256;
const int PIECE = BLOCK_THREADS * LANES * 4;  // as in table.py
const int FIRST_BLOCK = 0, SIZE = 1, ARRAYS = 2;  // the columns of the table

// What a block works on: numbers start to end - 1 of the arrays of a row.
struct Piece {
    const Index* row;
    Index start, end;
};

__device__ Piece piece_of_block(const Index* table, int rows, int columns) {
    int low = 0, high = rows;  // the row is in low ... high - 1
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (table[(Index)middle * columns + FIRST_BLOCK] <= blockIdx.x) low = middle;
        else high = middle;
    }
    Piece piece;
    piece.row = table + (Index)low * columns;
    piece.start = (blockIdx.x - piece.row[FIRST_BLOCK]) * PIECE;
    piece.end = piece.start + PIECE < piece.row[SIZE] ? piece.start + PIECE : piece.row[SIZE];
    return piece;
}

__device__ real* array_of(const Piece& piece, int number) { return (real*)piece.row[ARRAYS + number]; }

// Where this thread begins in a piece, and how far it goes on each time: by packs.
__device__ Index first_of_thread(const Piece& piece) { return piece.start + (Index)threadIdx.x * LANES; }
const int THREAD_STEP = BLOCK_THREADS * LANES;
