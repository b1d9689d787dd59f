/* Means and variances over images and pixels: of each image first, then of all, so that no digits are lost. */

#ifndef ARCHSELECT_STATISTICS_H
#define ARCHSELECT_STATISTICS_H

#include "vector.h"
#include <math.h>

INLINE void add_moment(vec *sum, vec *squares, vec difference) {
    *sum += difference;
    *squares += difference * difference;
}

/* Add pixels of an image to its sums (3, channels): a pivot near the mean, the first pixel, and the sums of x - pivot
   and of its square. `first`: there are none yet. */
INLINE void add_moments(real *sums, const real *x, long channels, long pixels, int first) {
    for (long c = 0; c < channels; c += LANES) {
        vec pivot = load(first ? x + c : sums + c), sum[CHAINS] = {{0}}, squares[CHAINS] = {{0}};
        long pixel = 0;
        for (; pixel + CHAINS <= pixels; pixel += CHAINS)
            for (int i = 0; i < CHAINS; i++)
                add_moment(sum + i, squares + i, load(x + (pixel + i) * channels + c) - pivot);
        for (; pixel < pixels; pixel++) add_moment(sum, squares, load(x + pixel * channels + c) - pivot);
        vec total = chained(sum), square = chained(squares);
        if (!first) {
            total += load(sums + channels + c);
            square += load(sums + 2 * channels + c);
        }
        store(sums + c, pivot);
        store(sums + channels + c, total);
        store(sums + 2 * channels + c, square);
    }
}

/* Set mean and rstd = (variance + eps) ** -0.5 from the sums (images, 3, channels) of images, and move the running
   statistics. */
INLINE void batch_moments(real *mean, real *rstd, real *running_mean, real *running_variance, const real *sums,
                          const Norm *norm, long images, long channels, long pixels) {
    double count = (double)images * pixels;
    real momentum = (real)norm->momentum;
    for (long c = 0; c < channels; c++) {
        const real *pivot = sums + c, *sum = pivot + channels, *squares = sum + channels;
        double total = 0, about_mean = 0;
        for (long at = 0; at < 3 * images * channels; at += 3 * channels) total += pivot[at] * (double)pixels + sum[at];
        double centre = total / count;
        for (long at = 0; at < 3 * images * channels; at += 3 * channels) {
            double off = pivot[at] - centre; /* x - centre = (x - pivot) + off */
            about_mean += squares[at] + 2 * off * sum[at] + off * off * pixels;
        }
        mean[c] = (real)centre;
        rstd[c] = (real)(1 / sqrt(about_mean / count + (real)norm->eps));
        running_mean[c] = momentum * (real)centre + (1 - momentum) * running_mean[c];
        running_variance[c] = momentum * (real)(about_mean / (count - 1)) + (1 - momentum) * running_variance[c];
    }
}

INLINE void running_moments(real *mean, real *rstd, const real *running_mean, const real *running_variance,
                            const Norm *norm, long channels) {
    for (long c = 0; c < channels; c++) {
        mean[c] = running_mean[c];
        rstd[c] = (real)(1 / sqrt((double)running_variance[c] + (real)norm->eps));
    }
}

INLINE void add_products(vec *sum, vec *product, vec gradient, vec centred) {
    *sum += gradient;
    *product += gradient * centred;
}

/* sums (2, channels): of a gradient in an image and of gradient * (x - mean); mean NULL: 0. */
INLINE void sum_products(real *sums, const real *gradient, const real *x, const real *mean, long channels,
                         long pixels) {
    for (long c = 0; c < channels; c += LANES) {
        vec centre = mean ? load(mean + c) : (vec){0}, sum[CHAINS] = {{0}}, product[CHAINS] = {{0}};
        long pixel = 0;
        for (; pixel + CHAINS <= pixels; pixel += CHAINS)
            for (int i = 0; i < CHAINS; i++) {
                long at = (pixel + i) * channels + c;
                add_products(sum + i, product + i, load(gradient + at), load(x + at) - centre);
            }
        for (; pixel < pixels; pixel++)
            add_products(sum, product, load(gradient + pixel * channels + c), load(x + pixel * channels + c) - centre);
        store(sums + c, chained(sum));
        store(sums + channels + c, chained(product));
    }
}

/* What a gradient g in weight * (x - mean) * rstd + shift is in x: a * g + b * x + c per channel.

   `sum` and `product` are those of g and g * (x - mean) over `count` pixels. Where mean and rstd are constants, b and c
   are zero. a is set, b and c are added to: operations on several edges share their x. */
INLINE void gradient_through_norm(real *a, real *b, real *c, real sum, real product, real weight, real mean, real rstd,
                                  double count, long training) {
    *a = weight * rstd;
    if (!training) return;
    double slope = -(double)weight * rstd * rstd * rstd * product / count;
    *b += (real)slope;
    *c += (real)(-(double)weight * rstd * sum / count - slope * mean);
}

#endif
