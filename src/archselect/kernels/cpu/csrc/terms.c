/* The value of a node: the sum of weight * BN(x) over the operations on its edges, each x read once. */

#include "statistics.h"

#define CHUNK 64 /* pixels whose sum stays in the nearest cache */

int sum_terms(const Shape *s, const Norm *norm, long count, const TermArgs *terms, real *out, long add) {
    long channels = s->channels, pixels = pixels_in(s);
    real *scales = room((count + 1) * channels), *shift = scales + count * channels;
    const real zeros[LANES] = {0};
    if (!scales) return 1;
    for (long c = 0; c < channels; c++) {
        shift[c] = 0;
        for (long i = 0; i < count; i++) {
            const TermArgs *t = terms + i;
            scales[i * channels + c] = *t->weight * (t->mean ? t->rstd[c] : 1) * (t->gamma ? t->gamma[c] : 1);
            if (t->mean) shift[c] -= t->mean[c] * scales[i * channels + c];
            if (t->beta) shift[c] += *t->weight * t->beta[c];
        }
    }
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (long image = 0; image < s->images; image++)
        for (long start = 0; start < pixels; start += CHUNK) {
            long at = (image * pixels + start) * channels, many = smaller(CHUNK, pixels - start);
            for (long c = 0; c < channels; c += LANES) {
                vec plus = load(shift + c);
                for (long p = at + c; p < at + many * channels; p += channels)
                    store(out + p, plus + load(add ? out + p : zeros));
            }
            for (long i = 0; i < count; i++)
                for (long c = 0; c < channels; c += LANES) {
                    vec scale = load(scales + i * channels + c);
                    for (long p = at + c; p < at + many * channels; p += channels)
                        store(out + p, load(out + p) + scale * load(terms[i].x + p));
                }
        }
    free(scales);
    return 0;
}

/* Set a, and add to b and c. */
int norm_gradients(const Shape *s, const Norm *norm, long count, const NormArgs *norms) {
    double pixels = (double)s->images * pixels_out(s);
    for (long i = 0; i < count; i++)
        for (long c = 0; c < s->channels; c++)
            gradient_through_norm(norms[i].a + c, norms[i].b + c, norms[i].c + c, norms[i].sum[c], norms[i].product[c],
                                  norms[i].gamma ? norms[i].gamma[c] : 1, norms[i].mean[c], norms[i].rstd[c], pixels,
                                  norm->training);
    return 0;
}

/* Set a and in_weight of each term, and add to its b and c. */
int term_gradients(const Shape *s, const Norm *norm, long count, const TermArgs *terms) {
    long channels = s->channels, pixels = pixels_in(s);
    double *totals = malloc(2 * channels * sizeof(double));
    real *sums = room(count * s->images * 2 * channels);
    if (!sums || !totals) {
        free(sums);
        free(totals);
        return 1;
    }
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (long image = 0; image < s->images; image++)
        for (long i = 0; i < count; i++) {
            long start = image * pixels * channels;
            sum_products(sums + (i * s->images + image) * 2 * channels, terms[i].gradient + start, terms[i].x + start,
                         terms[i].mean, channels, pixels);
        }
    for (long i = 0; i < count; i++) {
        const TermArgs *t = terms + i;
        for (long c = 0; c < 2 * channels; c++) {
            totals[c] = 0;
            for (long image = 0; image < s->images; image++)
                totals[c] += sums[(i * s->images + image) * 2 * channels + c];
        }
        double in_weight = 0;
        for (long c = 0; c < channels; c++) {
            double sum = totals[c], product = totals[channels + c] * (t->mean ? t->rstd[c] : 1);
            real gamma = t->gamma ? t->gamma[c] : 1;
            in_weight += gamma * product + (t->beta ? t->beta[c] * sum : 0);
            if (t->in_gamma) t->in_gamma[c] = (real)(*t->weight * product);
            if (t->in_beta) t->in_beta[c] = (real)(*t->weight * sum);
            if (t->mean)
                gradient_through_norm(t->a + c, t->b + c, t->c + c, (real)sum, (real)totals[channels + c],
                                      *t->weight * gamma, t->mean[c], t->rstd[c], (double)s->images * pixels,
                                      norm->training);
            else if (t->a)
                t->a[c] = *t->weight;
        }
        *t->in_weight = (real)in_weight;
    }
    free(sums);
    free(totals);
    return 0;
}
