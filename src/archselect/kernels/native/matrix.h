/* Products of matrices of pixels by channels. */

#ifndef ARCHSELECT_MATRIX_H
#define ARCHSELECT_MATRIX_H

#include "vector.h"

#ifdef __AVX512F__
#define ROWS 8 /* of a tile: ROWS x COLUMNS vectors of sums stay in registers */
#else
#define ROWS 4
#endif
#define COLUMNS 2
#define TALL (2 * ROWS) /* of a tile of one column */

/* sums[r][c] += a[r * a_row + i * a_step] * b[i * b_step + c], over i. */
INLINE void add_tile(vec sums[TALL][COLUMNS], int rows, int columns, const real *a, long a_row, long a_step,
                     const real *b, long b_step, long count) {
    for (long i = 0; i < count; i++) {
        vec right[COLUMNS];
        for (int c = 0; c < columns; c++) right[c] = load(b + i * b_step + c * LANES);
        for (int r = 0; r < rows; r++) {
            vec left = all(a[r * a_row + i * a_step]);
            for (int c = 0; c < columns; c++) sums[r][c] += left * right[c];
        }
    }
}

INLINE void multiply_tile(real *out, const real *x, const real *matrix, long channels, int rows, int columns) {
    vec sums[TALL][COLUMNS] = {{{0}}};
    add_tile(sums, rows, columns, x, channels, 1, matrix, channels, channels);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) store(out + r * channels + c * LANES, sums[r][c]);
}

INLINE void multiply_rows(real *out, const real *x, const real *matrix, long channels, int rows) {
    long c = 0;
    for (; c + COLUMNS * LANES <= channels; c += COLUMNS * LANES)
        multiply_tile(out + c, x, matrix + c, channels, rows, COLUMNS);
    for (; c < channels; c += LANES) multiply_tile(out + c, x, matrix + c, channels, rows, 1);
}

INLINE void multiply_all(real *out, const real *x, const real *matrix, long pixels, long channels) {
    long pixel = 0;
    if (channels == LANES)
        for (; pixel + TALL <= pixels; pixel += TALL)
            multiply_tile(out + pixel * channels, x + pixel * channels, matrix, channels, TALL, 1);
    for (; pixel + ROWS <= pixels; pixel += ROWS)
        multiply_rows(out + pixel * channels, x + pixel * channels, matrix, channels, ROWS);
    for (; pixel < pixels; pixel++) multiply_rows(out + pixel * channels, x + pixel * channels, matrix, channels, 1);
}

/* out (pixels, channels) = x (pixels, channels) times matrix (channels, channels). */
static void multiply(real *out, const real *x, const real *matrix, long pixels, long channels) {
    /* A constant width lets the compiler fold addresses into instructions. */
    if (channels == 16) multiply_all(out, x, matrix, pixels, 16);
    else if (channels == 32) multiply_all(out, x, matrix, pixels, 32);
    else if (channels == 64) multiply_all(out, x, matrix, pixels, 64);
    else multiply_all(out, x, matrix, pixels, channels);
}

INLINE void add_product_tile(real *sums, const real *y, const real *x, long channels, long pixels, int rows,
                             int columns) {
    vec here[TALL][COLUMNS];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) here[r][c] = load(sums + r * channels + c * LANES);
    add_tile(here, rows, columns, y, 1, channels, x, channels, pixels);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) store(sums + r * channels + c * LANES, here[r][c]);
}

INLINE void add_product_column(real *sums, const real *y, const real *x, long pixels, long channels, int columns) {
    long whole = channels / ROWS * ROWS;
    for (long row = 0; row < whole; row += ROWS)
        add_product_tile(sums + row * channels, y + row, x, channels, pixels, ROWS, columns);
    for (long row = whole; row < channels; row++)
        add_product_tile(sums + row * channels, y + row, x, channels, pixels, 1, columns);
}

INLINE void add_product_all(real *sums, const real *y, const real *x, long pixels, long channels) {
    long c = 0;
    for (; c + COLUMNS * LANES <= channels; c += COLUMNS * LANES)
        add_product_column(sums + c, y, x + c, pixels, channels, COLUMNS);
    for (; c < channels; c += LANES) add_product_column(sums + c, y, x + c, pixels, channels, 1);
}

/* sums (channels, channels) += y^T x, over the pixels. */
static void add_product(real *sums, const real *y, const real *x, long pixels, long channels) {
    if (channels == 16) add_product_all(sums, y, x, pixels, 16);
    else if (channels == 32) add_product_all(sums, y, x, pixels, 32);
    else if (channels == 64) add_product_all(sums, y, x, pixels, 64);
    else add_product_all(sums, y, x, pixels, channels);
}

static void transpose(real *out, const real *matrix, long rows, long columns) {
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < columns; column++) out[column * rows + row] = matrix[row * columns + column];
}

#endif
