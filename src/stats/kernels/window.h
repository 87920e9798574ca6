// A window: a ring in the pool of values, the oldest value first.
#pragma once
#include "machine.h"

enum { MAX_WINDOW = 1024 };

struct Ring {
  Word base;      // where the ring begins in the pool
  Count capacity; // how many values it has room for
  Count head;     // where in the ring the oldest value is
  Count length;   // how many values there are, at most MAX_WINDOW
  Count unused;
};

FUNCTION bool is_finite(double value) { return (bits_of(value) & 0x7ff0000000000000ull) != 0x7ff0000000000000ull; }

// Brings the finite values of a ring into `values`, in order, and their number into `*finite`.
template <int THREADS>
FUNCTION void load(const double *pool, const Ring &ring, double *values, int *counts, int *finite) {
  const int length = (int)ring.length;
  PHASE(t, THREADS) {
    int count = 0;
    for (int i = t; i < length; i += THREADS) {
      Count place = ring.head + (Count)i;
      if (place >= ring.capacity) place -= ring.capacity;
      const double value = pool[ring.base + place];
      values[i] = value;
      count += is_finite(value);
    }
    counts[t] = count;
  }
  PHASE(t, THREADS) {
    if (t == 0) {
      int count = 0;
      for (int other = 0; other < THREADS; ++other) count += counts[other];
      // One thread closes the gaps: few windows have any.
      if (count < length) {
        for (int i = 0, kept = 0; i < length; ++i) {
          if (is_finite(values[i])) values[kept++] = values[i];
        }
      }
      *finite = count;
    }
  }
}

// Bits that compare as unsigned integers in the order of Rust's `f64::total_cmp`: -0 before 0.
FUNCTION Word key_of(double value) {
  const Word bits = bits_of(value);
  return bits >> 63 ? ~bits : bits | 0x8000000000000000ull;
}
FUNCTION double of_key(Word key) { return from_bits(key >> 63 ? key & 0x7fffffffffffffffull : ~key); }
