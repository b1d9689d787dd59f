/* BN(pointwise convolution of ReLU(x)) of several images x as if their channels were concatenated: what stands before a
   cell, and the factorized reduction, whose halves read other pixels. */

#include "matrix.h"
#include "statistics.h"

#define CHUNK 64 /* pixels that go through all steps while they are in the nearest cache */

INLINE long longest_weight(const PartArgs *parts, long count) {
    long longest = 0;
    for (long i = 0; i < count; i++) longest = larger(longest, parts[i].ins * parts[i].outs);
    return longest;
}

INLINE long widest(const PartArgs *parts, long count) {
    long most = 0;
    for (long i = 0; i < count; i++) most = larger(most, parts[i].ins);
    return most;
}

/* Where a part reads the first pixel of a row of the output. */
INLINE long pixel_read(const Shape *s, const PartArgs *part, long image, long row) {
    return ((image * s->height + row * s->stride + part->first) * s->width + part->first) * part->ins;
}

/* to (width', ins) = ReLU of the pixels of a row that are read. */
INLINE void read_row(real *to, const real *x, long width, long ins, long stride) {
    for (long c = 0; c < ins; c += LANES)
        for (long column = 0; column < width; column++)
            store(to + column * ins + c, positive(load(x + column * stride * ins + c)));
}

static void scale_channels(real *x, const real *mean, const real *rstd, long pixels, long channels) {
    for (long c = 0; c < channels; c += LANES) {
        vec minus = load(mean + c), by = load(rstd + c);
        for (long at = c; at < pixels * channels; at += channels) store(x + at, (load(x + at) - minus) * by);
    }
}

/* Set out = (mixed - mean) * rstd. */
int mix_forward(const Shape *s, const Norm *norm, long count, const PartArgs *parts, const MixedArgs *mixed) {
    long channels = s->channels, width = out_width(s), pixels = pixels_out(s), failed = 0;
    long step = longest_weight(parts, count), chunk = smaller(out_height(s), larger(1, CHUNK / width));
    real *matrices = room(count * step), *moments = room(s->images * 3 * channels);
    if (!matrices || !moments) {
        free(matrices);
        free(moments);
        return 1;
    }
    for (long i = 0; i < count; i++)
        for (long out = 0; out < parts[i].outs; out++)
            for (long in = 0; in < parts[i].ins; in++)
                matrices[i * step + in * parts[i].outs + out] = parts[i].weight[out * parts[i].weight_step + in];
#pragma omp parallel num_threads(s->threads) reduction(+ : failed)
    {
        real *x = room(chunk * width * widest(parts, count));
        failed += !x;
#pragma omp for schedule(static)
        for (long image = 0; image < s->images; image++)
            for (long row = 0; row < out_height(s) && x; row += chunk) {
                long rows = smaller(chunk, out_height(s) - row);
                real *out = mixed->out + (image * pixels + row * width) * channels;
                for (long i = 0; i < count; i++) {
                    const PartArgs *part = parts + i;
                    for (long r = 0; r < rows; r++)
                        read_row(x + r * width * part->ins, part->x + pixel_read(s, part, image, row + r), width,
                                 part->ins, s->stride);
                    multiply_into(out + part->out, channels, x, part->ins, matrices + i * step, rows * width, part->ins,
                                  part->outs, (int)part->add);
                }
                if (norm->training) add_moments(moments + image * 3 * channels, out, channels, rows * width, row == 0);
            }
        free(x);
    }
    if (norm->training)
        batch_moments(mixed->mean, mixed->rstd, mixed->running_mean, mixed->running_variance, moments, norm, s->images,
                      channels, pixels);
    else
        running_moments(mixed->mean, mixed->rstd, mixed->running_mean, mixed->running_variance, norm, channels);
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (long image = 0; image < s->images; image++)
        scale_channels(mixed->out + image * pixels * channels, mixed->mean, mixed->rstd, pixels, channels);
    free(matrices);
    free(moments);
    return failed > 0;
}

/* Set slope and shift, so that the gradient before normalisation is rstd * gradient + slope * out + shift. */
static int through_normalisation(const Shape *s, const Norm *norm, const MixedArgs *mixed, real *slope, real *shift) {
    long channels = s->channels, pixels = pixels_out(s);
    real *sums = room(s->images * 2 * channels);
    if (!sums) return 1;
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (long image = 0; image < s->images; image++) {
        long start = image * pixels * channels;
        sum_products(sums + image * 2 * channels, mixed->gradient + start, mixed->out + start, NULL, channels, pixels);
    }
    for (long c = 0; c < channels; c++) {
        double sum = 0, product = 0, count = (double)s->images * pixels;
        for (long image = 0; image < s->images; image++) {
            sum += sums[2 * image * channels + c];
            product += sums[(2 * image + 1) * channels + c];
        }
        slope[c] = norm->training ? (real)(-mixed->rstd[c] * product / count) : 0;
        shift[c] = norm->training ? (real)(-mixed->rstd[c] * sum / count) : 0;
    }
    free(sums);
    return 0;
}

/* Put back a row of the gradient in ReLU(x), where x is positive. */
INLINE void write_row(real *in_x, const real *x, const real *gradient, long width, long ins, long stride) {
    for (long c = 0; c < ins; c += LANES)
        for (long column = 0; column < width; column++) {
            long at = column * stride * ins + c;
            store(in_x + at, where(~(load(x + at) <= 0), load(gradient + column * ins + c)));
        }
}

/* in_z = rstd * gradient + slope * out + shift */
static void gradient_before(real *in_z, const MixedArgs *mixed, const real *slope, const real *shift, long start,
                            long pixels, long channels) {
    for (long c = 0; c < channels; c += LANES) {
        vec by = load(mixed->rstd + c), times = load(slope + c), plus = load(shift + c);
        for (long at = c; at < pixels * channels; at += channels)
            store(in_z + at, by * load(mixed->gradient + start + at) + times * load(mixed->out + start + at) + plus);
    }
}

/* What a thread works on: rows of ReLU(x), of the gradient in it, and of that in the output before normalisation. */
typedef struct {
    real *x, *in_relu, *in_z;
} Scratch;

/* Add the gradient in a part's weight, and set that in its x, from rows of an image. */
INLINE void part_backward(const Shape *s, const PartArgs *part, const Scratch *scratch, const real *matrix,
                          real *in_weight, long image, long row, long rows) {
    long width = out_width(s), ins = part->ins;
    const real *in_z = scratch->in_z + part->out;
    if (part->in_weight) {
        for (long r = 0; r < rows; r++)
            read_row(scratch->x + r * width * ins, part->x + pixel_read(s, part, image, row + r), width, ins,
                     s->stride);
        add_product_from(in_weight, in_z, s->channels, scratch->x, rows * width, ins, part->outs);
    }
    if (!part->in_x) return;
    multiply_into(scratch->in_relu, ins, in_z, s->channels, matrix, rows * width, part->outs, ins, 0);
    for (long r = 0; r < rows; r++) {
        long at = pixel_read(s, part, image, row + r);
        write_row(part->in_x + at, part->x + at, scratch->in_relu + r * width * ins, width, ins, s->stride);
    }
}

/* Sum over threads, and put the result where it belongs. */
static void collect_weight(const PartArgs *part, const real *gradients, long number, long step) {
    for (long out = 0; out < part->outs; out++)
        for (long in = 0; in < part->ins; in++) {
            real sum = 0;
            for (long thread = 0; thread < number; thread++) sum += gradients[thread * step + out * part->ins + in];
            part->in_weight[out * part->weight_step + in] = sum;
        }
}

int mix_backward(const Shape *s, const Norm *norm, long count, const PartArgs *parts, const MixedArgs *mixed) {
    long channels = s->channels, width = out_width(s), pixels = pixels_out(s), failed = 0;
    long step = longest_weight(parts, count), chunk = smaller(out_height(s), larger(1, CHUNK / width));
    long most = chunk * width * widest(parts, count), gradients_length = s->threads * count * step;
    real *matrices = room(count * step), *slope = room(channels), *shift = room(channels);
    real *gradients = room(gradients_length);
    if (!matrices || !slope || !shift || !gradients || through_normalisation(s, norm, mixed, slope, shift)) {
        free(matrices);
        free(slope);
        free(shift);
        free(gradients);
        return 1;
    }
    memset(gradients, 0, gradients_length * sizeof(real));
    for (long i = 0; i < count; i++)
        for (long out = 0; out < parts[i].outs; out++)
            memcpy(matrices + i * step + out * parts[i].ins, parts[i].weight + out * parts[i].weight_step,
                   parts[i].ins * sizeof(real));
#pragma omp parallel num_threads(s->threads) reduction(+ : failed)
    {
        real *memory = room(2 * most + chunk * width * channels);
        Scratch scratch = {memory, memory + most, memory + 2 * most};
        failed += !memory;
#pragma omp for schedule(static, 1)
        for (long thread = 0; thread < s->threads; thread++)
            for (long image = s->images * thread / s->threads; image < s->images * (thread + 1) / s->threads; image++)
                for (long row = 0; row < out_height(s) && memory; row += chunk) {
                    long rows = smaller(chunk, out_height(s) - row), start = (image * pixels + row * width) * channels;
                    gradient_before(scratch.in_z, mixed, slope, shift, start, rows * width, channels);
                    for (long i = 0; i < count; i++)
                        part_backward(s, parts + i, &scratch, matrices + i * step,
                                      gradients + (thread * count + i) * step, image, row, rows);
                }
        free(memory);
    }
    for (long i = 0; i < count; i++)
        if (parts[i].in_weight) collect_weight(parts + i, gradients + i * step, s->threads, count * step);
    free(matrices);
    free(slope);
    free(shift);
    free(gradients);
    return failed > 0;
}
