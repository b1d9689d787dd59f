/* Depthwise convolution of one image, and its gradients, on an image with a margin of zeros. */

#ifndef ARCHSELECT_DEPTHWISE_H
#define ARCHSELECT_DEPTHWISE_H

#include "padded.h"

#define WIDEST 7
#define TILE 8 /* outputs that share the pixels they read */

/* Turn weights (channels, k, k) into (k * k, channels); by 180 degrees if `turned`. */
static void by_tap(real *taps, const real *weight, long channels, long k, int turned) {
    for (long c = 0; c < channels; c++)
        for (long tap = 0; tap < k * k; tap++)
            taps[(turned ? k * k - 1 - tap : tap) * channels + c] = weight[c * k * k + tap];
}

/* Outputs `step` apart read pixels of each other: one that was loaded serves up to k of them. */
INLINE void convolve_tile(real *out, const real *x, const real *taps, long k, long channels, long step, long down,
                          int count, int add) {
    vec sums[TILE];
    for (int r = 0; r < count; r++) sums[r] = add ? load(out + r * step) : (vec){0};
    for (long ky = 0; ky < k; ky++) {
        vec weight[WIDEST];
        for (long kx = 0; kx < k; kx++) weight[kx] = load(taps + (ky * k + kx) * channels);
#pragma GCC unroll 16
        for (long i = 0; i < count + k - 1; i++) {
            vec pixel = load(x + ky * down + i * step);
#pragma GCC unroll 8
            for (long kx = 0; kx < k; kx++)
                if (i >= kx && i - kx < count) sums[i - kx] += pixel * weight[kx];
        }
    }
    for (int r = 0; r < count; r++) store(out + r * step, sums[r]);
}

INLINE void convolve_row(real *out, const real *x, const real *taps, long width, long k, long channels, long dilation,
                         long down, int add) {
    long step = dilation * channels;
    for (long phase = 0; phase < dilation; phase++) {
        long column = phase;
        for (; column + (TILE - 1) * dilation < width; column += TILE * dilation)
            convolve_tile(out + column * channels, x + column * channels, taps, k, channels, step, down, TILE, add);
        for (; column + (TILE / 2 - 1) * dilation < width; column += TILE / 2 * dilation)
            convolve_tile(out + column * channels, x + column * channels, taps, k, channels, step, down, TILE / 2, add);
        for (; column < width; column += dilation)
            convolve_tile(out + column * channels, x + column * channels, taps, k, channels, step, down, 1, add);
    }
}

/* For a stride each output reads pixels of its own. */
INLINE void convolve_strided(real *out, const real *x, const real *taps, long k, long channels, long step,
                             long dilation, long down, int count) {
    vec sums[TILE] = {{0}};
    for (long ky = 0; ky < k; ky++)
        for (long kx = 0; kx < k; kx++) {
            vec weight = load(taps + (ky * k + kx) * channels);
            for (int r = 0; r < count; r++)
                sums[r] += load(x + ky * down + kx * dilation * channels + r * step) * weight;
        }
    for (int r = 0; r < count; r++) store(out + r * channels, sums[r]);
}

INLINE void convolve_kernel(real *out, const Padded *p, const real *taps, long k, long row, long rows, long width,
                            long stride, long dilation, int add) {
    long channels = p->channels, line = p->width * channels, down = dilation * line;
    for (long r = 0; r < rows; r++) {
        const real *x = window(p, (row + r) * stride, dilation * (k / 2));
        real *to = out + r * width * channels;
        for (long c = 0; c < channels; c += LANES) {
            if (stride == 1) {
                convolve_row(to + c, x + c, taps + c, width, k, channels, dilation, down, add);
                continue;
            }
            long column = 0, step = stride * channels;
            for (; column + TILE <= width; column += TILE)
                convolve_strided(to + c + column * channels, x + c + column * step, taps + c, k, channels, step,
                                 dilation, down, TILE);
            for (; column < width; column++)
                convolve_strided(to + c + column * channels, x + c + column * step, taps + c, k, channels, step,
                                 dilation, down, 1);
        }
    }
}

/* out (rows, width, channels) = rows of the convolution, added to what is there if `add` (at stride 1 only). */
static void convolve(real *out, const Padded *p, const real *taps, long k, long row, long rows, long width, long stride,
                     long dilation, int add) {
    /* k as a constant lets the compiler unroll the taps. */
    if (k == 3)
        convolve_kernel(out, p, taps, 3, row, rows, width, stride, dilation, add);
    else if (k == 5)
        convolve_kernel(out, p, taps, 5, row, rows, width, stride, dilation, add);
    else
        convolve_kernel(out, p, taps, 7, row, rows, width, stride, dilation, add);
}

/* Add the gradient in `lines` rows of taps, which the same pixels of the gradient g (rows, width, channels) meet. */
INLINE void add_lines(real *sums, const real *g, const Padded *p, long k, int first, int lines, long row, long rows,
                      long width, long stride, long dilation) {
    long channels = p->channels, line = p->width * channels;
    vec total[WIDEST][WIDEST];
    for (int y = 0; y < lines; y++)
        for (long kx = 0; kx < k; kx++) total[y][kx] = load(sums + ((first + y) * k + kx) * channels);
    for (long r = 0; r < rows; r++) {
        const real *x = window(p, (row + r) * stride, dilation * (k / 2)) + first * dilation * line;
        for (long column = 0; column < width; column++) {
            vec gradient = load(g + (r * width + column) * channels);
            for (int y = 0; y < lines; y++)
                for (long kx = 0; kx < k; kx++)
                    total[y][kx] +=
                        gradient * load(x + y * dilation * line + (column * stride + kx * dilation) * channels);
        }
    }
    for (int y = 0; y < lines; y++)
        for (long kx = 0; kx < k; kx++) store(sums + ((first + y) * k + kx) * channels, total[y][kx]);
}

/* sums (k * k, channels) += gradient in the taps, given rows of that in the output. */
static void add_tap_gradient(real *sums, const real *g, const Padded *padded, long k, long row, long rows, long width,
                             long stride, long dilation) {
    for (long c = 0; c < padded->channels; c += LANES) {
        Padded p = *padded;
        p.pixels += c;
        if (k == 3)
            add_lines(sums + c, g + c, &p, 3, 0, 3, row, rows, width, stride, dilation);
        else if (k == 5) {
            add_lines(sums + c, g + c, &p, 5, 0, 2, row, rows, width, stride, dilation);
            add_lines(sums + c, g + c, &p, 5, 2, 3, row, rows, width, stride, dilation);
        } else
            for (int y = 0; y < 7; y++) add_lines(sums + c, g + c, &p, 7, y, 1, row, rows, width, stride, dilation);
    }
}

#endif
