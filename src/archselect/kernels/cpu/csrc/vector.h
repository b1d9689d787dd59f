/* Vectors of LANES channels, and what all loops here rest on.

   LANES divides the number of channels. Threads share out the images. `build.py` compiles this folder for a REAL (float
   or double), the WHOLE number of its size, and LANES; `native.py` calls it. Functions that are called return 0, or 1
   if there is no memory left. */

#ifndef ARCHSELECT_VECTOR_H
#define ARCHSELECT_VECTOR_H

#include "arguments.h"
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef real vec __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));
typedef WHOLE mask __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));

INLINE vec load(const real *from) { return *(const vec *)from; }
INLINE void store(real *to, vec value) { *(vec *)to = value; }
INLINE vec all(real value) { return value - (vec){0}; }
INLINE vec where(mask condition, vec value) { return (vec)(condition & (mask)value); }
INLINE vec positive(vec value) { return where(~(value <= 0), value); } /* keeps NaN, as PyTorch's ReLU does */
INLINE long smaller(long a, long b) { return a < b ? a : b; }
INLINE long larger(long a, long b) { return a > b ? a : b; }

#define CHAINS 4 /* sums that are made side by side, since each addition waits for the one before */
INLINE vec chained(const vec sums[CHAINS]) { return (sums[0] + sums[1]) + (sums[2] + sums[3]); }

INLINE long out_height(const Shape *s) { return (s->height + s->stride - 1) / s->stride; }
INLINE long out_width(const Shape *s) { return (s->width + s->stride - 1) / s->stride; }
INLINE long pixels_in(const Shape *s) { return s->height * s->width; }
INLINE long pixels_out(const Shape *s) { return out_height(s) * out_width(s); }

/* Return room for so many numbers, where no vector crosses a line of the cache; NULL if there is none. */
INLINE real *room(long count) { return aligned_alloc(64, (count * sizeof(real) + 63) / 64 * 64 + 64); }

#endif
