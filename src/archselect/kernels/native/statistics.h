/* Means and variances over images and pixels: of each image first, then of all, so that no digits are lost. */

#ifndef ARCHSELECT_STATISTICS_H
#define ARCHSELECT_STATISTICS_H

#include "vector.h"
#include <math.h>

typedef struct {
    real momentum, eps;
    long training;
} Norm; /* a batch normalisation without affine parameters */

/* moments (2, channels): the sum of the pixels of an image, and that of their squares about the image's mean. */
INLINE void image_moments(real *moments, const real *x, long channels, long pixels) {
    for (long c = 0; c < channels; c += LANES) {
        vec sum[4] = {{0}}, squares[4] = {{0}};
        for (long pixel = 0; pixel < pixels; pixel++) sum[pixel % 4] += load(x + pixel * channels + c);
        vec total = sum[0] + sum[1] + sum[2] + sum[3], mean = total / (real)pixels;
        for (long pixel = 0; pixel < pixels; pixel++) {
            vec difference = load(x + pixel * channels + c) - mean;
            squares[pixel % 4] += difference * difference;
        }
        store(moments + c, total);
        store(moments + channels + c, squares[0] + squares[1] + squares[2] + squares[3]);
    }
}

/* Set mean and rstd = (variance + eps) ** -0.5 of all images from the moments (images, 2, channels) of each, and move
   the running statistics. */
INLINE void batch_moments(real *mean, real *rstd, real *running_mean, real *running_variance, const real *moments,
                          const Norm *norm, long images, long channels, long pixels) {
    double count = (double)images * pixels;
    for (long c = 0; c < channels; c++) {
        double total = 0, squares = 0;
        for (long image = 0; image < images; image++) {
            total += moments[2 * image * channels + c];
            squares += moments[(2 * image + 1) * channels + c];
        }
        double centre = total / count;
        for (long image = 0; image < images; image++) {
            double difference = moments[2 * image * channels + c] / pixels - centre;
            squares += difference * difference * pixels;
        }
        mean[c] = (real)centre;
        rstd[c] = (real)(1 / sqrt(squares / count + norm->eps));
        running_mean[c] += norm->momentum * ((real)centre - running_mean[c]);
        running_variance[c] += norm->momentum * ((real)(squares / (count - 1)) - running_variance[c]);
    }
}

INLINE void running_moments(real *mean, real *rstd, const real *running_mean, const real *running_variance,
                            const Norm *norm, long channels) {
    for (long c = 0; c < channels; c++) {
        mean[c] = running_mean[c];
        rstd[c] = (real)(1 / sqrt((double)running_variance[c] + norm->eps));
    }
}

/* What a gradient g in weight * (x - mean) * rstd is in x: a * g + b * x + c per channel.

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
