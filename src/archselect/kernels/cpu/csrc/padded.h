/* An image with a margin of zeros, which convolutions read. */

#ifndef ARCHSELECT_PADDED_H
#define ARCHSELECT_PADDED_H

#include "vector.h"

typedef struct {
    real *pixels;
    long margin, height, width, channels;
} Padded;

INLINE Padded padded_image(const Shape *s, long margin) {
    /* With room for the zeros behind the last pixel of a gradient that is spread over each second pixel. */
    return (Padded){NULL, margin, s->height + 2 * margin + 1, s->width + 2 * margin + 1, s->channels};
}

INLINE long padded_length(const Padded *p) { return p->height * p->width * p->channels; }

/* Where the window of a kernel begins whose first output is at this row. */
INLINE real *window(const Padded *p, long row, long reach) {
    return p->pixels + ((row + p->margin - reach) * p->width + p->margin - reach) * p->channels;
}

/* Put ReLU((image - mean) * scale + shift) into the middle, with 0, 1 and 0 where they are NULL; the margin is zero
   already. */
static void pad_relu(const Padded *p, const real *image, const real *mean, const real *scale, const real *shift,
                     long height, long width) {
    long channels = p->channels;
    for (long row = 0; row < height; row++) {
        const real *from = image + row * width * channels;
        real *to = window(p, row, 0);
        for (long c = 0; c < channels; c += LANES) {
            vec minus = mean ? load(mean + c) : (vec){0}, by = scale ? load(scale + c) : all(1);
            vec plus = shift ? load(shift + c) : (vec){0};
            for (long at = c; at < width * channels; at += channels)
                store(to + at, positive((load(from + at) - minus) * by + plus));
        }
    }
}

/* Put rows of a gradient into the middle, `stride` pixels apart; what lies between them is zero already. */
static void pad_gradient(const Padded *p, const real *gradient, long row, long rows, long width, long stride) {
    size_t pixel = p->channels * sizeof(real);
    for (long r = 0; r < rows; r++) {
        real *to = window(p, (row + r) * stride, 0);
        const real *from = gradient + r * width * p->channels;
        if (stride == 1)
            memcpy(to, from, width * pixel);
        else
            for (long column = 0; column < width; column++)
                memcpy(to + column * stride * p->channels, from + column * p->channels, pixel);
    }
}

#endif
