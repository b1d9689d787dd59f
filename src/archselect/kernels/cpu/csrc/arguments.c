/* The sizes that `native.py` compares with those of its own structures, in the order of the header. */

#include "arguments.h"

const long struct_sizes[] = {sizeof(Shape),    sizeof(Norm),     sizeof(ConvolutionArgs), sizeof(TermArgs),
                             sizeof(NormArgs), sizeof(PoolArgs), sizeof(PartArgs),        sizeof(MixedArgs)};
