// Order statistics: bitonic sorts in the block's memory.
#pragma once
#include "window.h"

enum { ORDER_THREADS = 128 };

struct OrderMemory {
  double values[MAX_WINDOW];
  Word keys[MAX_WINDOW];
  int finite;
  double median;
};

// Sorts the first `n` keys; those up to the power of two above are used as padding.
FUNCTION void sort(Word *keys, int n) {
  int whole = 1;
  while (whole < n) whole *= 2;
  PHASE(t, ORDER_THREADS) {
    for (int i = n + t; i < whole; i += ORDER_THREADS) keys[i] = ~0ull;
  }
  for (int size = 2; size <= whole; size *= 2) {
    for (int apart = size / 2; apart >= 1; apart /= 2) {
      PHASE(t, ORDER_THREADS) {
        for (int pair = t; pair < whole / 2; pair += ORDER_THREADS) {
          const int low = 2 * pair - (pair & (apart - 1)), high = low + apart;
          const Word a = keys[low], b = keys[high];
          const bool rises = (low & size) == 0;
          if ((a > b) == rises) keys[low] = b, keys[high] = a;
        }
      }
    }
  }
}

FUNCTION double middle_of(const Word *sorted, int n) {
  const int half = n / 2;
  return n % 2 == 0 ? 0.5 * (of_key(sorted[half - 1]) + of_key(sorted[half])) : of_key(sorted[half]);
}

// Words of a row: finite, median, MAD, q10, q25, q75, q90.
KERNEL order(const double *pool, const Ring *rings, Word *rows, Count stride, Count offset) {
  BLOCK_MEMORY(OrderMemory, m);
  Word *row = rows + (Word)BLOCK * stride;
  load<ORDER_THREADS>(pool, rings[BLOCK], m.values, &m.finite);
  const int n = m.finite;
  Word *words = row + offset;
  PHASE(t, ORDER_THREADS) {
    if (t == 0) row[0] = (Word)n;
    for (int i = t; i < n; i += ORDER_THREADS) m.keys[i] = key_of(m.values[i]);
  }
  if (n == 0) return;

  sort(m.keys, n);
  PHASE(t, ORDER_THREADS) {
    if (t == 0) {
      const int last = n - 1;
      m.median = middle_of(m.keys, n);
      words[0] = bits_of(m.median);
      words[2] = bits_of(of_key(m.keys[last / 10]));
      words[3] = bits_of(of_key(m.keys[last / 4]));
      words[4] = bits_of(of_key(m.keys[(3 * last + 3) / 4]));
      words[5] = bits_of(of_key(m.keys[(9 * last + 9) / 10]));
    }
  }
  PHASE(t, ORDER_THREADS) {
    for (int i = t; i < n; i += ORDER_THREADS) {
      const Word distance = bits_of(m.values[i] - m.median) & 0x7fffffffffffffffull;
      m.keys[i] = key_of(from_bits(distance));
    }
  }
  sort(m.keys, n);
  PHASE(t, ORDER_THREADS) {
    if (t == 0) words[1] = bits_of(middle_of(m.keys, n));
  }
}
