/* Dense convolution of one image with a margin of zeros, and its gradient in the weights. In channels_last the window
   of a kernel is k stretches of k * channels numbers, so that each row of taps is a product of matrices. */

#ifndef ARCHSELECT_DENSE_H
#define ARCHSELECT_DENSE_H

#include "matrix.h"
#include "padded.h"

/* Turn weights (out, in, k, k) into matrices (k, k * in, out), a row of taps each. */
static void by_line(real *lines, const real *weight, long channels, long k) {
    for (long out = 0; out < channels; out++)
        for (long in = 0; in < channels; in++)
            for (long tap = 0; tap < k * k; tap++)
                lines[(tap * channels + in) * channels + out] = weight[(out * channels + in) * k * k + tap];
}

/* The same for the gradient in the input: turned by 180 degrees, with in and out swapped. */
static void by_turned_line(real *lines, const real *weight, long channels, long k) {
    for (long out = 0; out < channels; out++)
        for (long in = 0; in < channels; in++)
            for (long tap = 0; tap < k * k; tap++)
                lines[((k * k - 1 - tap) * channels + out) * channels + in] =
                    weight[(out * channels + in) * k * k + tap];
}

INLINE void dense_tile(real *out, const real *x, const real *lines, long k, long channels, long step, long line,
                       int rows, int columns, int add) {
    vec sums[TALL][COLUMNS] = {{{0}}};
    if (add)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) sums[r][c] = load(out + r * channels + c * LANES);
    for (long ky = 0; ky < k; ky++)
        add_tile(sums, rows, columns, x + ky * line, step, 1, lines + ky * k * channels * channels, channels,
                 k * channels);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) store(out + r * channels + c * LANES, sums[r][c]);
}

INLINE void dense_pixels(real *out, const real *x, const real *lines, long k, long channels, long step, long line,
                         int count, int add) {
    long c = 0;
    for (; c + COLUMNS * LANES <= channels; c += COLUMNS * LANES)
        dense_tile(out + c, x, lines + c, k, channels, step, line, count, COLUMNS, add);
    for (; c < channels; c += LANES) dense_tile(out + c, x, lines + c, k, channels, step, line, count, 1, add);
}

INLINE void dense_rows(real *out, const Padded *p, const real *lines, long k, long row, long rows, long width,
                       long stride, long channels, int add) {
    long line = p->width * channels, step = stride * channels;
    for (long r = 0; r < rows; r++) {
        const real *x = window(p, (row + r) * stride, k / 2);
        real *to = out + r * width * channels;
        long column = 0;
        if (channels == LANES)
            for (; column + TALL <= width; column += TALL)
                dense_tile(to + column * channels, x + column * step, lines, k, channels, step, line, TALL, 1, add);
        for (; column + ROWS <= width; column += ROWS)
            dense_pixels(to + column * channels, x + column * step, lines, k, channels, step, line, ROWS, add);
        for (; column < width; column++)
            dense_pixels(to + column * channels, x + column * step, lines, k, channels, step, line, 1, add);
    }
}

/* out (rows, width, channels) = rows of the convolution, added to what is there if `add`. */
static void convolve_dense(real *out, const Padded *p, const real *lines, long k, long row, long rows, long width,
                           long stride, int add) {
    if (p->channels == 16)
        dense_rows(out, p, lines, k, row, rows, width, stride, 16, add);
    else if (p->channels == 32)
        dense_rows(out, p, lines, k, row, rows, width, stride, 32, add);
    else if (p->channels == 64)
        dense_rows(out, p, lines, k, row, rows, width, stride, 64, add);
    else
        dense_rows(out, p, lines, k, row, rows, width, stride, p->channels, add);
}

INLINE void add_dense_tile(real *sums, const real *g, const real *x, long g_step, long x_step, long sums_step,
                           long rows, long width, long g_line, long x_line, int count, int columns) {
    vec here[TALL][COLUMNS];
    for (int r = 0; r < count; r++)
        for (int c = 0; c < columns; c++) here[r][c] = load(sums + r * sums_step + c * LANES);
    for (long row = 0; row < rows; row++)
        add_tile(here, count, columns, g + row * g_line, 1, g_step, x + row * x_line, x_step, width);
    for (int r = 0; r < count; r++)
        for (int c = 0; c < columns; c++) store(sums + r * sums_step + c * LANES, here[r][c]);
}

/* Some of the columns of a line of taps, for all outputs. */
INLINE void add_dense_columns(real *sums, const real *g, const real *x, long k, long channels, long x_step, long rows,
                              long width, long x_line, int columns) {
    long wide = k * channels, whole = channels / ROWS * ROWS, line = width * channels;
    for (long out = 0; out < whole; out += ROWS)
        add_dense_tile(sums + out * wide, g + out, x, channels, x_step, wide, rows, width, line, x_line, ROWS, columns);
    for (long out = whole; out < channels; out++)
        add_dense_tile(sums + out * wide, g + out, x, channels, x_step, wide, rows, width, line, x_line, 1, columns);
}

INLINE void add_dense_rows(real *sums, const real *g, const Padded *p, long k, long row, long rows, long width,
                           long stride, long channels) {
    long line = p->width * channels, step = stride * channels, wide = k * channels;
    for (long ky = 0; ky < k; ky++) {
        const real *x = window(p, row * stride, k / 2) + ky * line;
        real *here = sums + ky * channels * wide;
        long c = 0;
        for (; c + COLUMNS * LANES <= wide; c += COLUMNS * LANES)
            add_dense_columns(here + c, g, x + c, k, channels, step, rows, width, stride * line, COLUMNS);
        for (; c < wide; c += LANES)
            add_dense_columns(here + c, g, x + c, k, channels, step, rows, width, stride * line, 1);
    }
}

/* sums (k, out, k * in) += gradient in the weights, given rows of that in the output. */
static void add_dense_gradient(real *sums, const real *g, const Padded *p, long k, long row, long rows, long width,
                               long stride) {
    if (p->channels == 16)
        add_dense_rows(sums, g, p, k, row, rows, width, stride, 16);
    else if (p->channels == 32)
        add_dense_rows(sums, g, p, k, row, rows, width, stride, 32);
    else if (p->channels == 64)
        add_dense_rows(sums, g, p, k, row, rows, width, stride, 64);
    else
        add_dense_rows(sums, g, p, k, row, rows, width, stride, p->channels);
}

/* Turn sums (k, out, k * in) into weights (out, in, k, k). */
static void from_lines(real *weight, const real *sums, long channels, long k) {
    for (long ky = 0; ky < k; ky++)
        for (long out = 0; out < channels; out++)
            for (long kx = 0; kx < k; kx++)
                for (long in = 0; in < channels; in++)
                    weight[((out * channels + in) * k + ky) * k + kx] =
                        sums[((ky * channels + out) * k + kx) * channels + in];
}

#endif
