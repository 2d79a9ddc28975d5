// Max and average pooling and their gradients. Images lie in memory as (N, H, W, C).
//
// Idea: one thread makes one Pack of channels of one pixel of the *result*, and reads whatever that
// depends on. Forward, these are the input pixels in the window; backward, the output pixels whose
// windows saw the pixel. So nothing is written twice, nothing is added by two threads, and the sums are
// taken in the same order each time.
//
// Memory traffic, float, for each element of x with a 2x2 window at stride 2: max pooling reads 4 bytes and
// writes 5/4 (a value and its winner for four elements); its gradient reads 5/4 and writes 4. Where windows
// overlap, as in 3x3 at stride 2, elements are read again, but from the cache, since neighbouring threads
// read them at about the same time. A card that moves 3 TB/s thus pools 570 billion elements a second.
//
// Launch: a row of threads over all packs of the result; neighbouring threads have neighbouring channels.
//
// WINNER is the type of the winners, an unsigned integer.

#include "windows.cuh"

// Along one axis: how many elements the mean of output `out` divides by.
__device__ int counted(int out, int size, int kernel, int step, int before, int after, bool count_padding) {
    int start = out * step - before;
    int end = smaller(start + kernel, count_padding ? size + after : size);
    return end - (count_padding ? start : larger(start, 0));
}

// --- max pooling --------------------------------------------------------------------------------------

// The largest number of each window, and its tap. NaN is larger than all numbers, the first of equals wins;
// with `relu`, a window without a positive number has the result 0 and the winner R * S, which is no tap.
extern "C" __global__ void max_pool(const real* x, Windows p, int relu, Index packs, real* y,
                                    WINNER* winner) {
    for (Index pack = first_index(); pack < packs; pack += index_step()) {
        Place at = place_of(pack, p);
        int top = at.i * p.step_h - p.top, left = at.j * p.step_w - p.left;
        Pack best = pack_of(-infinity());
        PackOf<WINNER> won = {};
        bool is_first = true;
        for (int r = 0; r < p.R; r++) {
            int h = top + r * p.apart_h;
            if (h < 0 || h >= p.H) continue;
            for (int s = 0; s < p.S; s++) {
                int w = left + s * p.apart_w;
                if (w < 0 || w >= p.W) continue;
                Pack seen = load(x + offset(at.n, h, w, at.c, p.H, p.W, p.C), p.C - at.c);
                for (int lane = 0; lane < LANES; lane++) {
                    bool better =
                        seen.at[lane] > best.at[lane] || (is_nan(seen.at[lane]) && !is_nan(best.at[lane]));
                    if (better || is_first) {
                        best.at[lane] = seen.at[lane];
                        won.at[lane] = (WINNER)(r * p.S + s);
                    }
                }
                is_first = false;
            }
        }
        if (relu)
            for (int lane = 0; lane < LANES; lane++)
                if (best.at[lane] <= 0) {
                    best.at[lane] = 0;
                    won.at[lane] = (WINNER)(p.R * p.S);
                }
        Index to = offset(at.n, at.i, at.j, at.c, p.OH, p.OW, p.C);
        store(y + to, best, p.C - at.c);
        store(winner + to, won, p.C - at.c);
    }
}

extern "C" __global__ void max_pool_grad(const real* grad, const WINNER* winner, Windows p, Index packs,
                                         real* grad_x) {
    int height = (p.R - 1) * p.apart_h + 1, width = (p.S - 1) * p.apart_w + 1;  // of the window with its gaps
    for (Index pack = first_index(); pack < packs; pack += index_step()) {
        Place at = place_of(pack, p);
        Reached rows = outputs_reaching(at.i, p.top, height, p.step_h, p.OH);
        Reached columns = outputs_reaching(at.j, p.left, width, p.step_w, p.OW);
        Pack sum = pack_of(0);
        for (int i = rows.first; i <= rows.last; i++) {
            int r = tap_between(i, at.i, p.top, p.step_h, p.apart_h);
            if (r < 0) continue;
            for (int j = columns.first; j <= columns.last; j++) {
                int s = tap_between(j, at.j, p.left, p.step_w, p.apart_w);
                if (s < 0) continue;
                Index from = offset(at.n, i, j, at.c, p.OH, p.OW, p.C);
                Pack g = load(grad + from, p.C - at.c);
                PackOf<WINNER> won = load(winner + from, p.C - at.c);
                for (int lane = 0; lane < LANES; lane++)
                    if (won.at[lane] == (WINNER)(r * p.S + s)) sum.at[lane] += g.at[lane];
            }
        }
        store(grad_x + offset(at.n, at.i, at.j, at.c, p.H, p.W, p.C), sum, p.C - at.c);
    }
}

// --- average pooling ----------------------------------------------------------------------------------

__device__ real count_of(Windows p, int i, int j, bool count_padding) {
    return (real)(counted(i, p.H, p.R, p.step_h, p.top, p.bottom, count_padding) *
                  (Index)counted(j, p.W, p.S, p.step_w, p.left, p.right, count_padding));
}

extern "C" __global__ void avg_pool(const real* x, Windows p, int count_padding, Index packs, real* y) {
    for (Index pack = first_index(); pack < packs; pack += index_step()) {
        Place at = place_of(pack, p);
        int top = at.i * p.step_h - p.top, left = at.j * p.step_w - p.left;
        Pack sum = pack_of(0);
        for (int h = larger(top, 0); h < smaller(top + p.R, p.H); h++)
            for (int w = larger(left, 0); w < smaller(left + p.S, p.W); w++) {
                Pack seen = load(x + offset(at.n, h, w, at.c, p.H, p.W, p.C), p.C - at.c);
                for (int lane = 0; lane < LANES; lane++) sum.at[lane] += seen.at[lane];
            }
        real count = count_of(p, at.i, at.j, count_padding);
        for (int lane = 0; lane < LANES; lane++) sum.at[lane] /= count;
        store(y + offset(at.n, at.i, at.j, at.c, p.OH, p.OW, p.C), sum, p.C - at.c);
    }
}

extern "C" __global__ void avg_pool_grad(const real* grad, Windows p, int count_padding, Index packs,
                                         real* grad_x) {
    for (Index pack = first_index(); pack < packs; pack += index_step()) {
        Place at = place_of(pack, p);
        Reached rows = outputs_reaching(at.i, p.top, p.R, p.step_h, p.OH);
        Reached columns = outputs_reaching(at.j, p.left, p.S, p.step_w, p.OW);
        Pack sum = pack_of(0);
        for (int i = rows.first; i <= rows.last; i++)
            for (int j = columns.first; j <= columns.last; j++) {
                Pack g = load(grad + offset(at.n, i, j, at.c, p.OH, p.OW, p.C), p.C - at.c);
                real count = count_of(p, i, j, count_padding);
                for (int lane = 0; lane < LANES; lane++) sum.at[lane] += g.at[lane] / count;
            }
        store(grad_x + offset(at.n, at.i, at.j, at.c, p.H, p.W, p.C), sum, p.C - at.c);
    }
}
