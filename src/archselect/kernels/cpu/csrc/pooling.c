/* 3x3 pooling with padding 1, and the statistics of its batch normalisation. */

#include "statistics.h"

typedef struct {
    long top, bottom, left, right;
} Window;

INLINE Window window_at(const Shape *s, long row, long column) {
    long y = row * s->stride, x = column * s->stride;
    return (Window){larger(0, y - 1), smaller(s->height, y + 2), larger(0, x - 1), smaller(s->width, x + 2)};
}

INLINE real area(Window w) { return (real)((w.bottom - w.top) * (w.right - w.left)); }

INLINE vec maximum_in(const real *x, Window w, const Shape *s) {
    vec best = all((real)-INFINITY);
    for (long row = w.top; row < w.bottom; row++)
        for (long column = w.left; column < w.right; column++) {
            vec value = load(x + (row * s->width + column) * s->channels);
            mask better = (value > best) | (value != value);
            best = where(better, value) + where(~better, best);
        }
    return best;
}

INLINE vec sum_in(const real *x, Window w, const Shape *s) {
    vec sum = {0};
    for (long row = w.top; row < w.bottom; row++)
        for (long column = w.left; column < w.right; column++) sum += load(x + (row * s->width + column) * s->channels);
    return sum;
}

static int pool(const Shape *s, const Norm *norm, const PoolArgs *o) {
    long channels = s->channels, pixels = pixels_out(s);
    int statistics = o->mean && norm->training;
    real *moments = room(s->images * 3 * channels);
    if (!moments) return 1;
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (long image = 0; image < s->images; image++) {
        real *out = o->out + image * pixels * channels;
        const real *x = o->x + image * pixels_in(s) * channels;
        for (long row = 0; row < out_height(s); row++)
            for (long column = 0; column < out_width(s); column++) {
                Window w = window_at(s, row, column);
                real *to = out + (row * out_width(s) + column) * channels;
                for (long c = 0; c < channels; c += LANES) {
                    if (o->maximum)
                        store(to + c, maximum_in(x + c, w, s));
                    else
                        store(to + c, sum_in(x + c, w, s) / area(w));
                }
            }
        if (statistics) add_moments(moments + image * 3 * channels, out, channels, pixels, 1);
    }
    if (statistics)
        batch_moments(o->mean, o->rstd, o->running_mean, o->running_variance, moments, norm, s->images, channels,
                      pixels);
    else if (o->mean)
        running_moments(o->mean, o->rstd, o->running_mean, o->running_variance, norm, channels);
    free(moments);
    return 0;
}

int pool_forward(const Shape *s, const Norm *norm, long count, const PoolArgs *pools) {
    for (long i = 0; i < count; i++)
        if (pool(s, norm, pools + i)) return 1;
    return 0;
}

/* The first of equal maxima takes the gradient, as in PyTorch. */
INLINE void spread_to_maximum(real *in_x, const real *x, vec gradient, vec best, Window w, const Shape *s) {
    mask open = ~(mask){0};
    for (long row = w.top; row < w.bottom; row++)
        for (long column = w.left; column < w.right; column++) {
            long at = (row * s->width + column) * s->channels;
            mask hit = (load(x + at) == best) & open;
            open &= ~hit;
            store(in_x + at, load(in_x + at) + where(hit, gradient));
        }
}

INLINE void spread_evenly(real *in_x, vec gradient, Window w, const Shape *s) {
    vec share = gradient / area(w);
    for (long row = w.top; row < w.bottom; row++)
        for (long column = w.left; column < w.right; column++) {
            long at = (row * s->width + column) * s->channels;
            store(in_x + at, load(in_x + at) + share);
        }
}

static void add_gradient(const Shape *s, const PoolArgs *o) {
    long channels = s->channels, pixels = pixels_out(s);
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (long image = 0; image < s->images; image++) {
        const real *x = o->x + image * pixels_in(s) * channels;
        real *in_x = o->in_x + image * pixels_in(s) * channels;
        for (long row = 0; row < out_height(s); row++)
            for (long column = 0; column < out_width(s); column++) {
                Window w = window_at(s, row, column);
                long start = (image * pixels + row * out_width(s) + column) * channels;
                for (long c = 0; c < channels; c += LANES) {
                    vec out = load(o->out + start + c);
                    vec gradient = {0};
                    if (o->b) gradient = load(o->b + c) * out + load(o->c + c);
                    for (long i = 0; i < o->count; i++)
                        gradient += load(o->a[i] + c) * load(o->gradients[i] + start + c);
                    if (o->maximum)
                        spread_to_maximum(in_x + c, x + c, gradient, out, w, s);
                    else
                        spread_evenly(in_x + c, gradient, w, s);
                }
            }
    }
}

int pool_backward(const Shape *s, const Norm *norm, long count, const PoolArgs *pools) {
    for (long i = 0; i < count; i++) add_gradient(s, pools + i);
    return 0;
}
