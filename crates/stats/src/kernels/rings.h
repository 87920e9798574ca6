// Values into the rings of the pool.
#pragma once
#include "machine.h"

enum { COPY_THREADS = 128 };

// A place that comes twice has the same value.
KERNEL append(double *pool, const double *values, const Word *places, Count count) {
  PHASE(t, COPY_THREADS) {
    const Count i = BLOCK * COPY_THREADS + (Count)t;
    if (i < count) pool[places[i]] = values[i];
  }
}
