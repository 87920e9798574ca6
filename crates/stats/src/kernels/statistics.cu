// All kernels, as one program. `make kernels` turns it into statistics.ptx.
//
// The same bits as crates/stats on the CPU: f64 and integers only, every sum in the order of sum.rs, no
// contraction (-fmad=false), IEEE division and square root, no atomics but on integers.
#include "linear.h"
#include "order.h"
#include "rank.h"
#include "rings.h"
