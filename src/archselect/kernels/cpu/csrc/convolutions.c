/* Convolutions of ReLU(x), separable or dense, and the statistics of their batch normalisation: an image is read once
   while it is in the cache, for several convolutions, forwards and backwards. */

#include "dense.h"
#include "depthwise.h"
#include "statistics.h"

#define CHUNK 64 /* pixels that go through all steps while they are in the nearest cache */

/* Of a shape with several convolutions. */
typedef struct {
    long height, width, pixels; /* of the outputs */
    long rows, chunk;           /* that go through all steps at once, and their numbers */
    long taps, weights;         /* numbers of the largest depthwise kernel, and of all weights of a convolution */
    Padded padded;
} Plan;

static Plan plan(const Shape *s, const ConvolutionArgs *convolutions, long count) {
    Plan p = {out_height(s), out_width(s), pixels_out(s), 0, 0, 0, 0, {0}};
    long margin = 0, square = s->channels * s->channels;
    p.rows = smaller(p.height, larger(1, CHUNK / p.width));
    p.chunk = p.rows * p.width * s->channels;
    for (long i = 0; i < count; i++) {
        const ConvolutionArgs *o = convolutions + i;
        long taps = o->kernel * o->kernel;
        margin = larger(margin, o->dilation * (o->kernel / 2));
        if (o->depthwise) p.taps = larger(p.taps, taps * s->channels);
        p.weights = larger(p.weights, o->depthwise ? taps * s->channels + square : taps * square);
    }
    p.weights += p.taps; /* the pointwise weights stand behind the largest kernel */
    p.padded = padded_image(s, margin);
    return p;
}

static void sort_weights(real *to, const ConvolutionArgs *o, const Plan *p, long channels) {
    if (!o->depthwise)
        by_line(to, o->mixing, channels, o->kernel);
    else {
        by_tap(to, o->depthwise, channels, o->kernel, 0);
        transpose(to + p->taps, o->mixing, channels, channels);
    }
}

/* Rows of z, by way of y if the convolution is separable. */
INLINE void convolution_rows(real *z, real *y, const ConvolutionArgs *o, const real *weights, const Plan *plan,
                             const Padded *x, long row, long rows, long stride) {
    if (!o->depthwise)
        convolve_dense(z, x, weights, o->kernel, row, rows, plan->width, stride, 0);
    else {
        convolve(y, x, weights, o->kernel, row, rows, plan->width, stride, o->dilation, 0);
        multiply(z, y, weights + plan->taps, rows * plan->width, x->channels);
    }
}

int convolutions_forward(const Shape *s, const Norm *norm, long count, const ConvolutionArgs *convolutions) {
    Plan p = plan(s, convolutions, count);
    long channels = s->channels, failed = 0;
    real *weights = room(count * p.weights), *moments = room(count * s->images * 3 * channels);
    if (!weights || !moments) {
        free(weights);
        free(moments);
        return 1;
    }
    for (long i = 0; i < count; i++) sort_weights(weights + i * p.weights, convolutions + i, &p, channels);
#pragma omp parallel num_threads(s->threads) reduction(+ : failed)
    {
        Padded x = p.padded;
        real *y = room(p.chunk);
        x.pixels = room(padded_length(&x));
        failed += !x.pixels || !y;
        if (x.pixels) memset(x.pixels, 0, padded_length(&x) * sizeof(real));
#pragma omp for schedule(static)
        for (long image = 0; image < s->images; image++)
            for (long i = 0; i < count && x.pixels && y; i++) {
                const ConvolutionArgs *o = convolutions + i;
                if (i == 0 || o->x != o[-1].x)
                    pad_relu(&x, o->x + image * pixels_in(s) * channels, o->x_mean, o->x_scale, o->x_shift, s->height,
                             s->width);
                real *sums = moments + (i * s->images + image) * 3 * channels;
                for (long row = 0; row < p.height; row += p.rows) {
                    long rows = smaller(p.rows, p.height - row);
                    real *z = o->z + (image * p.pixels + row * p.width) * channels;
                    convolution_rows(z, y, o, weights + i * p.weights, &p, &x, row, rows, s->stride);
                    if (norm->training) add_moments(sums, z, channels, rows * p.width, row == 0);
                }
            }
        free(x.pixels);
        free(y);
    }
    for (long i = 0; i < count; i++) {
        const ConvolutionArgs *o = convolutions + i;
        if (norm->training)
            batch_moments(o->mean, o->rstd, o->running_mean, o->running_variance,
                          moments + i * s->images * 3 * channels, norm, s->images, channels, p.pixels);
        else
            running_moments(o->mean, o->rstd, o->running_mean, o->running_variance, norm, channels);
    }
    free(weights);
    free(moments);
    return failed > 0;
}

/* out = a * gradient + b * z + c */
static void gradient_in_z(real *out, const ConvolutionArgs *o, long start, long pixels, long channels) {
    for (long channel = 0; channel < channels; channel += LANES) {
        vec a = load(o->a + channel), b = load(o->b + channel), c = load(o->c + channel);
        for (long at = channel; at < pixels * channels; at += channels)
            store(out + at, a * load(o->gradient + start + at) + b * load(o->z + start + at) + c);
    }
}

INLINE void through_relu_at(real *in_x, const real *x, vec mean, vec scale, vec shift, vec *sum, vec *product) {
    vec centred = load(x) - mean, here = where(~(centred * scale + shift <= 0), load(in_x));
    store(in_x, here);
    *sum += here;
    *product += here * centred;
}

/* Let the gradient through where the ReLU did; sums (2, channels), unless NULL: of it and of it times x - x_mean. */
static void through_relu(real *in_x, const real *x, const ConvolutionArgs *o, real *sums, long pixels, long channels) {
    for (long c = 0; c < channels; c += LANES) {
        vec mean = o->x_mean ? load(o->x_mean + c) : (vec){0}, scale = o->x_scale ? load(o->x_scale + c) : all(1);
        vec shift = o->x_shift ? load(o->x_shift + c) : (vec){0}, sum[CHAINS] = {{0}}, product[CHAINS] = {{0}};
        long pixel = 0;
        for (; pixel + CHAINS <= pixels; pixel += CHAINS)
            for (int i = 0; i < CHAINS; i++) {
                long at = (pixel + i) * channels + c;
                through_relu_at(in_x + at, x + at, mean, scale, shift, sum + i, product + i);
            }
        for (; pixel < pixels; pixel++)
            through_relu_at(in_x + pixel * channels + c, x + pixel * channels + c, mean, scale, shift, sum, product);
        if (!sums) continue;
        store(sums + c, chained(sum));
        store(sums + channels + c, chained(product));
    }
}

/* What a thread works on. */
typedef struct {
    Padded x, in_y; /* in_y: of what the kernel gave, that is z if the convolution is dense */
    real *y, *in_z, *here_in_y;
} Scratch;

/* Add the gradients in the weights, and write those in what the kernel gave into the padded image. */
INLINE void rows_backward(Scratch *scratch, real *in_weights, const ConvolutionArgs *o, const real *weights,
                          const Plan *p, long start, long row, long rows, long stride, int in_x) {
    long channels = scratch->x.channels, pixels = rows * p->width;
    const real *in_y = scratch->in_z;
    gradient_in_z(scratch->in_z, o, start, pixels, channels);
    if (o->depthwise) {
        multiply(scratch->here_in_y, scratch->in_z, o->mixing, pixels, channels);
        in_y = scratch->here_in_y;
    }
    if (in_weights && o->depthwise) {
        convolve(scratch->y, &scratch->x, weights, o->kernel, row, rows, p->width, stride, o->dilation, 0);
        add_product(in_weights + p->taps, scratch->in_z, scratch->y, pixels, channels);
        add_tap_gradient(in_weights, in_y, &scratch->x, o->kernel, row, rows, p->width, stride, o->dilation);
    } else if (in_weights)
        add_dense_gradient(in_weights, in_y, &scratch->x, o->kernel, row, rows, p->width, stride);
    if (in_x) pad_gradient(&scratch->in_y, in_y, row, rows, p->width, stride);
}

/* Sum over threads, and put the result where it belongs. */
static void collect_weights(const ConvolutionArgs *o, real *parts, long number, long step, const Plan *p,
                            long channels) {
    for (long part = 1; part < number; part++)
        for (long at = 0; at < p->weights; at++) parts[at] += parts[part * step + at];
    if (!o->depthwise)
        from_lines(o->in_mixing, parts, channels, o->kernel);
    else {
        transpose(o->in_depthwise, parts, o->kernel * o->kernel, channels);
        memcpy(o->in_mixing, parts + p->taps, channels * channels * sizeof(real));
    }
}

static void collect_sums(const ConvolutionArgs *o, const real *sums, long images, long channels) {
    for (long c = 0; c < channels; c++) {
        double sum = 0, product = 0;
        for (long image = 0; image < images; image++) {
            sum += sums[2 * image * channels + c];
            product += sums[(2 * image + 1) * channels + c];
        }
        o->in_sum[c] = (real)sum;
        o->in_product[c] = (real)product;
    }
}

int convolutions_backward(const Shape *s, const Norm *norm, long count, const ConvolutionArgs *convolutions) {
    Plan p = plan(s, convolutions, count);
    long channels = s->channels, length = padded_length(&p.padded), failed = 0;
    int in_weights = convolutions->in_mixing != NULL, in_x = convolutions->in_x != NULL;
    real *weights = room(count * 2 * p.weights), *turned = weights + count * p.weights;
    real *gradients = room(in_weights ? s->threads * count * p.weights : 1);
    real *sums = room(count * s->images * 2 * channels);
    if (!weights || !gradients || !sums) {
        free(weights);
        free(gradients);
        free(sums);
        return 1;
    }
    if (in_weights) memset(gradients, 0, s->threads * count * p.weights * sizeof(real));
    for (long i = 0; i < count; i++) {
        const ConvolutionArgs *o = convolutions + i;
        sort_weights(weights + i * p.weights, o, &p, channels);
        if (o->depthwise)
            by_tap(turned + i * p.weights, o->depthwise, channels, o->kernel, 1);
        else
            by_turned_line(turned + i * p.weights, o->mixing, channels, o->kernel);
    }
#pragma omp parallel num_threads(s->threads) reduction(+ : failed)
    {
        real *memory = room(2 * length + 3 * p.chunk);
        Scratch scratch = {p.padded, p.padded, memory + 2 * length, memory + 2 * length + p.chunk,
                           memory + 2 * length + 2 * p.chunk};
        scratch.x.pixels = memory;
        scratch.in_y.pixels = memory + length;
        failed += !memory;
        if (memory) memset(memory, 0, 2 * length * sizeof(real));
#pragma omp for schedule(static, 1)
        for (long part = 0; part < s->threads; part++)
            for (long image = s->images * part / s->threads; image < s->images * (part + 1) / s->threads; image++)
                for (long i = 0; i < count && memory; i++) {
                    const ConvolutionArgs *o = convolutions + i;
                    int first = i == 0 || o->x != o[-1].x, last = i == count - 1 || o->x != o[1].x;
                    long image_in = image * pixels_in(s) * channels;
                    real *mine = in_weights ? gradients + (part * count + i) * p.weights : NULL;
                    if (in_weights && first)
                        pad_relu(&scratch.x, o->x + image_in, o->x_mean, o->x_scale, o->x_shift, s->height, s->width);
                    for (long row = 0; row < p.height; row += p.rows)
                        rows_backward(&scratch, mine, o, weights + i * p.weights, &p,
                                      (image * p.pixels + row * p.width) * channels, row,
                                      smaller(p.rows, p.height - row), s->stride, in_x);
                    if (!in_x) continue;
                    real *out = o->in_x + image_in, *back = turned + i * p.weights;
                    if (o->depthwise)
                        convolve(out, &scratch.in_y, back, o->kernel, 0, s->height, s->width, 1, o->dilation, !first);
                    else
                        convolve_dense(out, &scratch.in_y, back, o->kernel, 0, s->height, s->width, 1, !first);
                    real *its_sums = o->in_sum ? sums + (i * s->images + image) * 2 * channels : NULL;
                    if (last) through_relu(out, o->x + image_in, o, its_sums, pixels_in(s), channels);
                }
        free(memory);
    }
    for (long i = 0; i < count; i++) {
        const ConvolutionArgs *o = convolutions + i;
        if (in_weights) collect_weights(o, gradients + i * p.weights, s->threads, count * p.weights, &p, channels);
        if (o->in_sum) collect_sums(o, sums + i * s->images * 2 * channels, s->images, channels);
    }
    free(weights);
    free(gradients);
    free(sums);
    return failed > 0;
}
