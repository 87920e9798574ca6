// Values into the rings of the pool, and from one ring to another.
#pragma once
#include "machine.h"

enum { COPY_THREADS = 128 };

// No place comes twice.
KERNEL append(double *pool, const double *values, const Word *places, Count count) {
  PHASE(t, COPY_THREADS) {
    const Count i = BLOCK * COPY_THREADS + (Count)t;
    if (i < count) pool[places[i]] = values[i];
  }
}

// No place that is written is also read.
KERNEL relocate(double *pool, const Word *from, const Word *to, Count count) {
  PHASE(t, COPY_THREADS) {
    const Count i = BLOCK * COPY_THREADS + (Count)t;
    if (i < count) pool[to[i]] = pool[from[i]];
  }
}
