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

/* A matrix, or a part of one: `step` numbers from a row to the next. */
INLINE void multiply_tile(real *out, long out_step, const real *x, long x_step, const real *matrix, long matrix_step,
                          long ins, int rows, int columns, int add) {
    vec sums[TALL][COLUMNS] = {{{0}}};
    if (add)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) sums[r][c] = load(out + r * out_step + c * LANES);
    add_tile(sums, rows, columns, x, x_step, 1, matrix, matrix_step, ins);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) store(out + r * out_step + c * LANES, sums[r][c]);
}

INLINE void multiply_rows(real *out, long out_step, const real *x, long x_step, const real *matrix, long ins, long outs,
                          int rows, int add) {
    long c = 0;
    for (; c + COLUMNS * LANES <= outs; c += COLUMNS * LANES)
        multiply_tile(out + c, out_step, x, x_step, matrix + c, outs, ins, rows, COLUMNS, add);
    for (; c < outs; c += LANES) multiply_tile(out + c, out_step, x, x_step, matrix + c, outs, ins, rows, 1, add);
}

/* out (pixels, outs) = x (pixels, ins) times matrix (ins, outs), added to what is there if `add`. */
INLINE void multiply_into(real *out, long out_step, const real *x, long x_step, const real *matrix, long pixels,
                          long ins, long outs, int add) {
    long pixel = 0;
    if (outs == LANES)
        for (; pixel + TALL <= pixels; pixel += TALL)
            multiply_tile(out + pixel * out_step, out_step, x + pixel * x_step, x_step, matrix, outs, ins, TALL, 1,
                          add);
    for (; pixel + ROWS <= pixels; pixel += ROWS)
        multiply_rows(out + pixel * out_step, out_step, x + pixel * x_step, x_step, matrix, ins, outs, ROWS, add);
    for (; pixel < pixels; pixel++)
        multiply_rows(out + pixel * out_step, out_step, x + pixel * x_step, x_step, matrix, ins, outs, 1, add);
}

/* The same for a square matrix; a constant width lets the compiler fold addresses into instructions. */
static void multiply(real *out, const real *x, const real *matrix, long pixels, long channels) {
    if (channels == 16)
        multiply_into(out, 16, x, 16, matrix, pixels, 16, 16, 0);
    else if (channels == 32)
        multiply_into(out, 32, x, 32, matrix, pixels, 32, 32, 0);
    else if (channels == 64)
        multiply_into(out, 64, x, 64, matrix, pixels, 64, 64, 0);
    else
        multiply_into(out, channels, x, channels, matrix, pixels, channels, channels, 0);
}

INLINE void add_product_tile(real *sums, const real *y, long y_step, const real *x, long ins, long pixels, int rows,
                             int columns) {
    vec here[TALL][COLUMNS];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) here[r][c] = load(sums + r * ins + c * LANES);
    add_tile(here, rows, columns, y, 1, y_step, x, ins, pixels);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) store(sums + r * ins + c * LANES, here[r][c]);
}

INLINE void add_product_columns(real *sums, const real *y, long y_step, const real *x, long pixels, long ins, long outs,
                                int columns) {
    long whole = outs / ROWS * ROWS;
    for (long row = 0; row < whole; row += ROWS)
        add_product_tile(sums + row * ins, y + row, y_step, x, ins, pixels, ROWS, columns);
    for (long row = whole; row < outs; row++)
        add_product_tile(sums + row * ins, y + row, y_step, x, ins, pixels, 1, columns);
}

/* sums (outs, ins) += y^T x, over the pixels of y (pixels, outs) and x (pixels, ins). */
INLINE void add_product_from(real *sums, const real *y, long y_step, const real *x, long pixels, long ins, long outs) {
    long c = 0;
    for (; c + COLUMNS * LANES <= ins; c += COLUMNS * LANES)
        add_product_columns(sums + c, y, y_step, x + c, pixels, ins, outs, COLUMNS);
    for (; c < ins; c += LANES) add_product_columns(sums + c, y, y_step, x + c, pixels, ins, outs, 1);
}

static void add_product(real *sums, const real *y, const real *x, long pixels, long channels) {
    if (channels == 16)
        add_product_from(sums, y, 16, x, pixels, 16, 16);
    else if (channels == 32)
        add_product_from(sums, y, 32, x, pixels, 32, 32);
    else if (channels == 64)
        add_product_from(sums, y, 64, x, pixels, 64, 64);
    else
        add_product_from(sums, y, channels, x, pixels, channels, channels);
}

static void transpose(real *out, const real *matrix, long rows, long columns) {
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < columns; column++) out[column * rows + row] = matrix[row * columns + column];
}

#endif
