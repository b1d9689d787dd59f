/* Separable convolutions, ReLU - depthwise - pointwise, and the statistics of their batch normalisation: an image is
   read once while it is in the cache, for several convolutions, forwards and backwards. */

#include "depthwise.h"
#include "matrix.h"
#include "statistics.h"

#define CHUNK 64 /* pixels that go through all steps while they are in the nearest cache */

/* z = pointwise(depthwise(ReLU((x - x_mean) * x_rstd))); where x_mean is NULL, of ReLU(x). Convolutions that follow one
   another and have the same x share the work of reading it. */
typedef struct {
    const real *x, *x_mean, *x_rstd;  /* (images, height, width, channels); (channels) */
    long kernel, dilation;
    const real *depthwise, *pointwise; /* (channels, k, k); (channels, channels) */
    real *z, *mean, *rstd;             /* (images, height', width', channels); (channels) */
    real *running_mean, *running_variance;
    /* Of the backward pass: the gradient in z is a * gradient + b * z + c. NULL: not wanted. */
    const real *gradient, *a, *b, *c;
    real *in_x;                        /* the gradient in (x - x_mean) * x_rstd, summed over convolutions that share x */
    real *in_sum, *in_product;         /* sums of in_x and of in_x * (x - x_mean) over images and pixels */
    real *in_depthwise, *in_pointwise;
} Separable;

static long widest_margin(const Separable *convolutions, long count) {
    long margin = 0;
    for (long i = 0; i < count; i++)
        margin = larger(margin, convolutions[i].dilation * (convolutions[i].kernel / 2));
    return margin;
}

static long most_taps(const Separable *convolutions, long count) {
    long taps = 0;
    for (long i = 0; i < count; i++) taps = larger(taps, convolutions[i].kernel * convolutions[i].kernel);
    return taps;
}

INLINE long chunk_rows(const Shape *s) { return smaller(out_height(s), larger(1, CHUNK / out_width(s))); }

int separable_forward(const Shape *s, const Norm *norm, long count, const Separable *convolutions) {
    long channels = s->channels, width = out_width(s), height = out_height(s), pixels = pixels_out(s);
    long taps = most_taps(convolutions, count) * channels, each = taps + channels * channels, failed = 0;
    Padded shape = padded_image(s, widest_margin(convolutions, count));
    real *weights = room(count * each), *moments = room(count * s->images * 2 * channels);
    if (!weights || !moments) {
        free(weights);
        free(moments);
        return 1;
    }
    for (long i = 0; i < count; i++) {
        by_tap(weights + i * each, convolutions[i].depthwise, channels, convolutions[i].kernel, 0);
        transpose(weights + i * each + taps, convolutions[i].pointwise, channels, channels);
    }
#pragma omp parallel num_threads(s->threads) reduction(+ : failed)
    {
        Padded p = shape;
        real *y = room(chunk_rows(s) * width * channels);
        p.pixels = room(padded_length(&p));
        failed += !p.pixels || !y;
        if (p.pixels) memset(p.pixels, 0, padded_length(&p) * sizeof(real));
#pragma omp for schedule(static)
        for (long image = 0; image < s->images; image++)
            for (long i = 0; i < count && p.pixels && y; i++) {
                const Separable *o = convolutions + i;
                if (i == 0 || o->x != o[-1].x)
                    pad_relu(&p, o->x + image * pixels_in(s) * channels, o->x_mean, o->x_rstd, s->height, s->width);
                real *z = o->z + image * pixels * channels;
                for (long row = 0; row < height; row += chunk_rows(s)) {
                    long rows = smaller(chunk_rows(s), height - row);
                    convolve(y, &p, weights + i * each, o->kernel, row, rows, width, s->stride, o->dilation, 0);
                    multiply(z + row * width * channels, y, weights + i * each + taps, rows * width, channels);
                }
                if (norm->training) image_moments(moments + (i * s->images + image) * 2 * channels, z, channels, pixels);
            }
        free(p.pixels);
        free(y);
    }
    for (long i = 0; i < count; i++) {
        const Separable *o = convolutions + i;
        if (norm->training)
            batch_moments(o->mean, o->rstd, o->running_mean, o->running_variance,
                          moments + i * s->images * 2 * channels, norm, s->images, channels, pixels);
        else running_moments(o->mean, o->rstd, o->running_mean, o->running_variance, norm, channels);
    }
    free(weights);
    free(moments);
    return failed > 0;
}

/* out = a * gradient + b * z + c */
static void gradient_in_z(real *out, const Separable *o, long start, long pixels, long channels) {
    for (long channel = 0; channel < channels; channel += LANES) {
        vec a = load(o->a + channel), b = load(o->b + channel), c = load(o->c + channel);
        for (long at = channel; at < pixels * channels; at += channels)
            store(out + at, a * load(o->gradient + start + at) + b * load(o->z + start + at) + c);
    }
}

/* Let the gradient through where the ReLU did, and sum it and its product with x - x_mean up. */
static void through_relu(real *in_x, const real *x, const Separable *o, real *sums, long pixels, long channels) {
    for (long c = 0; c < channels; c += LANES) {
        vec mean = o->x_mean ? load(o->x_mean + c) : (vec){0};
        vec sum[2] = {{0}}, product[2] = {{0}};
        for (long pixel = 0; pixel < pixels; pixel++) {
            long at = pixel * channels + c;
            vec centred = load(x + at) - mean, here = where(~(centred <= 0), load(in_x + at));
            store(in_x + at, here);
            sum[pixel % 2] += here;
            product[pixel % 2] += here * centred;
        }
        if (!sums) continue;
        store(sums + c, sum[0] + sum[1]);
        store(sums + channels + c, product[0] + product[1]);
    }
}

int separable_backward(const Shape *s, long count, const Separable *convolutions) {
    long channels = s->channels, width = out_width(s), height = out_height(s), pixels = pixels_out(s);
    long taps = most_taps(convolutions, count) * channels, each = taps + channels * channels, failed = 0;
    Padded shape = padded_image(s, widest_margin(convolutions, count));
    int in_weights = convolutions->in_depthwise != NULL, in_x = convolutions->in_x != NULL;
    long chunk = chunk_rows(s) * width * channels, length = padded_length(&shape);
    real *forward = room(count * 2 * taps), *turned = forward + count * taps;
    real *gradients = room(in_weights ? s->threads * count * each : 1);
    real *sums = room(count * s->images * 2 * channels);
    if (!forward || !gradients || !sums) {
        free(forward);
        free(gradients);
        free(sums);
        return 1;
    }
    if (in_weights) memset(gradients, 0, s->threads * count * each * sizeof(real));
    for (long i = 0; i < count; i++) {
        by_tap(forward + i * taps, convolutions[i].depthwise, channels, convolutions[i].kernel, 0);
        by_tap(turned + i * taps, convolutions[i].depthwise, channels, convolutions[i].kernel, 1);
    }
#pragma omp parallel num_threads(s->threads) reduction(+ : failed)
    {
        Padded x = shape, in_y = shape;
        real *scratch = room(2 * length + 3 * chunk), *y = scratch + 2 * length, *here_z = y + chunk, *here_y = here_z + chunk;
        x.pixels = scratch;
        in_y.pixels = scratch + length;
        failed += !scratch;
        if (scratch) memset(scratch, 0, 2 * length * sizeof(real));
#pragma omp for schedule(static, 1)
        for (long part = 0; part < s->threads; part++)
            for (long image = s->images * part / s->threads; image < s->images * (part + 1) / s->threads; image++)
                for (long i = 0; i < count && scratch; i++) {
                    const Separable *o = convolutions + i;
                    int first = i == 0 || o->x != o[-1].x, last = i == count - 1 || o->x != o[1].x;
                    long image_in = image * pixels_in(s) * channels;
                    real *mine = gradients + (part * count + i) * each;
                    if (in_weights && first) pad_relu(&x, o->x + image_in, o->x_mean, o->x_rstd, s->height, s->width);
                    for (long row = 0; row < height; row += chunk_rows(s)) {
                        long rows = smaller(chunk_rows(s), height - row), many = rows * width;
                        gradient_in_z(here_z, o, (image * pixels + row * width) * channels, many, channels);
                        multiply(here_y, here_z, o->pointwise, many, channels);
                        if (in_weights) {
                            convolve(y, &x, forward + i * taps, o->kernel, row, rows, width, s->stride, o->dilation, 0);
                            add_product(mine + taps, here_z, y, many, channels);
                            add_tap_gradient(mine, here_y, &x, o->kernel, row, rows, width, s->stride, o->dilation);
                        }
                        if (in_x) pad_gradient(&in_y, here_y, row, rows, width, s->stride);
                    }
                    if (!in_x) continue;
                    real *out = o->in_x + image_in;
                    convolve(out, &in_y, turned + i * taps, o->kernel, 0, s->height, s->width, 1, o->dilation, !first);
                    if (last)
                        through_relu(out, o->x + image_in, o, o->in_sum ? sums + (i * s->images + image) * 2 * channels : NULL,
                                     pixels_in(s), channels);
                }
        free(scratch);
    }
    for (long i = 0; i < count; i++) {
        const Separable *o = convolutions + i;
        if (in_weights) {
            real *total = gradients + i * each;
            for (long part = 1; part < s->threads; part++)
                for (long at = 0; at < each; at++) total[at] += gradients[(part * count + i) * each + at];
            transpose(o->in_depthwise, total, o->kernel * o->kernel, channels);
            memcpy(o->in_pointwise, total + taps, channels * channels * sizeof(real));
        }
        for (long c = 0; o->in_sum && c < channels; c++) {
            double sum = 0, product = 0;
            for (long image = 0; image < s->images; image++) {
                sum += sums[(i * s->images + image) * 2 * channels + c];
                product += sums[((i * s->images + image) * 2 + 1) * channels + c];
            }
            o->in_sum[c] = (real)sum;
            o->in_product[c] = (real)product;
        }
    }
    free(forward);
    free(gradients);
    free(sums);
    return failed > 0;
}
