/* What Python hands to the loops: each call takes the shape, the norm, and `count` structures of its kind. `native.py`
   declares them field by field, and checks their sizes against `struct_sizes` when it loads the library.

   Images are in channels_last: (image, row, column, channel). NULL: there is none, or it is not wanted. */

#ifndef ARCHSELECT_ARGUMENTS_H
#define ARCHSELECT_ARGUMENTS_H

typedef REAL real;

/* Of the images that are read; `stride` leads to those that are written. */
typedef struct {
    long threads, images, height, width, channels, stride;
} Shape;

/* How batch normalisations treat a batch. */
typedef struct {
    double momentum, eps;
    long training;
} Norm;

/* z = convolution of ReLU((x - x_mean) * x_scale + x_shift); where x_mean is NULL, of ReLU(x); where x_shift is, it is
   0. Convolutions that follow one another and have the same x share the work of reading it. */
typedef struct {
    const real *x, *x_mean, *x_scale, *x_shift; /* (images, height, width, channels); (channels) */
    long kernel, dilation;
    const real *depthwise, *mixing; /* (channels, k, k) and (channels, channels); or NULL, (channels, channels, k, k) */
    real *z, *mean, *rstd;          /* (images, height', width', channels); (channels) */
    real *running_mean, *running_variance;
    /* Of the backward pass: the gradient in z is a * gradient + b * z + c. */
    const real *gradient, *a, *b, *c;
    real *in_x;                /* the gradient in what the ReLU reads, summed over convolutions that share x */
    real *in_sum, *in_product; /* sums of in_x and of in_x * (x - x_mean) over images and pixels */
    real *in_depthwise, *in_mixing;
} ConvolutionArgs;

/* One summand, weight * (gamma * (x - mean) * rstd + beta); mean NULL: weight * x; gamma NULL: 1, beta NULL: 0. */
typedef struct {
    const real *x, *weight, *mean, *rstd; /* (images, pixels, channels); one number; (channels) */
    const real *gamma, *beta;             /* (channels) */
    /* Of the backward pass: the gradient in the sum. That in x is a * gradient + b * x + c; without a mean b and c are
       NULL, and a may be. */
    const real *gradient;
    real *a, *b, *c;
    real *in_weight;          /* one number */
    real *in_gamma, *in_beta; /* (channels) */
} TermArgs;

/* The coefficients a, b, c of a gradient through a normalisation, from the sums that `ConvolutionArgs` describes. */
typedef struct {
    const real *sum, *product, *mean, *rstd, *gamma; /* (channels) */
    real *a, *b, *c;
} NormArgs;

/* 3x3 pooling with padding 1. */
typedef struct {
    long maximum;            /* or the average, without the padding */
    const real *x;           /* (images, height, width, channels) */
    real *out, *mean, *rstd; /* (images, height', width', channels); (channels), NULL without normalisation */
    real *running_mean, *running_variance;
    /* Of the backward pass: the gradient in out is the sum of a * gradient, plus b * out + c (NULL: zero). */
    long count;
    const real *const *gradients, *const *a;
    const real *b, *c;
    real *in_x; /* added to */
} PoolArgs;

/* Adds weight ReLU(x) to some of the output's channels; of x it reads the pixels at first, first + stride, ... */
typedef struct {
    const real *x;      /* (images, height, width, ins) */
    const real *weight; /* (outs, ins), with `weight_step` numbers from a row to the next */
    long weight_step, ins, outs;
    long first;             /* row and column of the first pixel that is read */
    long out;               /* first channel of the output that is added to */
    long add;               /* whether another part has set these channels before */
    real *in_x, *in_weight; /* (outs, ins), with weight_step */
} PartArgs;

/* The normalised sum of all parts. */
typedef struct {
    real *out, *mean, *rstd; /* (images, height', width', channels); (channels) */
    real *running_mean, *running_variance;
    const real *gradient; /* in out */
} MixedArgs;

#endif
