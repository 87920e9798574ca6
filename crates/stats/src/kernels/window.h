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

FUNCTION bool is_finite(double value) { return ((Count)(bits_of(value) >> 32) & 0x7ff00000u) != 0x7ff00000u; }

// Brings the finite values of a ring into `values`, in order, and their number into `*finite`.
template <int THREADS> FUNCTION void load(const double *pool, const Ring &ring, double *values, int *finite) {
  const int length = (int)ring.length, room = (int)(ring.capacity - ring.head), to_the_end = length < room ? length : room;
  const double *oldest = pool + ring.base + ring.head, *round = oldest - ring.capacity;
  PHASE(t, THREADS) {
    if (t == 0) *finite = length;
  }
  PHASE(t, THREADS) {
    int odd = 0, i = t;
    for (; i < to_the_end; i += THREADS) values[i] = oldest[i], odd += !is_finite(oldest[i]);
    for (; i < length; i += THREADS) values[i] = round[i], odd += !is_finite(round[i]);
    if (odd > 0) ATOMIC_ADD(finite, -odd);
  }
  if (*finite == length) return;
  PHASE(t, THREADS) {
    // One thread closes the gaps: few windows have any.
    if (t == 0) {
      for (int i = 0, kept = 0; i < length; ++i) {
        if (is_finite(values[i])) values[kept++] = values[i];
      }
    }
  }
}

// Bits that compare as unsigned integers in the order of Rust's `f64::total_cmp`: -0 before 0.
FUNCTION Word key_of(double value) {
  const Word bits = bits_of(value);
  return bits >> 63 ? ~bits : bits | 0x8000000000000000ull;
}
FUNCTION double of_key(Word key) { return from_bits(key >> 63 ? key & 0x7fffffffffffffffull : ~key); }
