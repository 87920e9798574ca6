// Mann and Kendall's test and Theil and Sen's slope: all pairs of a window.
#pragma once
#include "window.h"

enum {
  RANK_THREADS = 128,
  DIGIT = 10,       // bits of a key that a pass of the selection settles
  BINS = 1 << DIGIT,
  ROOM = BINS / 2,  // keys that fit where the bins were
  TARGETS = 4,      // the two in the middle, and the ends of the interval
};

struct Kendall {
  long long s, tied_pairs, variance_18;
};

struct KendallMemory {
  int s[RANK_THREADS], tied[RANK_THREADS];
  long long tied_variance[RANK_THREADS];
  Kendall found;
};

// Calls `row(i)` for all rows of the triangle of pairs. A long row goes with a short one, so that threads have like
// work.
template <class Row> FUNCTION void each_row(int t, int n, Row row) {
  for (int i = t; i < (n + 1) / 2; i += RANK_THREADS) {
    row(i);
    if (n - 1 - i != i) row(n - 1 - i);
  }
}

// The i-th value with e equal ones after it adds 6 e (e + 2): over a tie of t values that is t (t - 1) (2 t + 5).
FUNCTION void kendall(const double *values, int n, KendallMemory &m) {
  PHASE(t, RANK_THREADS) {
    int s = 0, tied = 0;
    long long tied_variance = 0;
    each_row(t, n, [&](int i) {
      const double from = values[i];
      int rising = 0, falling = 0;
      for (int j = i + 1; j < n; ++j) {
        rising += values[j] > from;
        falling += values[j] < from;
      }
      const long long equal = n - 1 - i - rising - falling;
      s += rising - falling;
      tied += (int)equal;
      tied_variance += 6 * equal * (equal + 2);
    });
    m.s[t] = s, m.tied[t] = tied, m.tied_variance[t] = tied_variance;
  }
  PHASE(t, RANK_THREADS) {
    if (t == 0) {
      const long long all = n;
      Kendall found = {0, 0, all * (all - 1) * (2 * all + 5)};
      for (int other = 0; other < RANK_THREADS; ++other) {
        found.s += m.s[other];
        found.tied_pairs += m.tied[other];
        found.variance_18 -= m.tied_variance[other];
      }
      m.found = found;
    }
  }
}

struct MannKendallMemory {
  double values[MAX_WINDOW];
  int finite;
  KendallMemory kendall;
};

// Words of a row: finite, s, tied pairs, 18 times the variance.
KERNEL mann_kendall(const double *pool, const Ring *rings, Word *rows, Count stride, Count offset) {
  BLOCK_MEMORY(MannKendallMemory, m);
  Word *row = rows + (Word)BLOCK * stride;
  load<RANK_THREADS>(pool, rings[BLOCK], m.values, &m.finite);
  const int n = m.finite;
  PHASE(t, RANK_THREADS) {
    if (t == 0) row[0] = (Word)n;
  }
  if (n < 2) return;

  kendall(m.values, n, m.kendall);
  PHASE(t, RANK_THREADS) {
    if (t == 0) {
      row[offset] = (Word)m.kendall.found.s;
      row[offset + 1] = (Word)m.kendall.found.tied_pairs;
      row[offset + 2] = (Word)m.kendall.found.variance_18;
    }
  }
}

// A wanted place among the sorted slopes, and what is known of the key there.
struct Target {
  Word prefix; // the bits settled so far, the others 0
  int place;   // among the slopes with these bits
  int size;    // how many slopes have these bits
  int owner;   // the first target with the same bits: it counts for all of them
};

struct TheilSenMemory {
  double values[MAX_WINDOW];
  int finite;
  KendallMemory kendall;
  union {
    int bins[TARGETS][BINS];
    Word keys[TARGETS][ROOM];
  } slopes;
  int shares[TARGETS][RANK_THREADS];
  int gathered[TARGETS];
  Target targets[TARGETS];
};

// Calls `take(key)` for the slopes of all pairs in the rows of a thread.
template <class Take> FUNCTION void each_slope(const double *values, int t, int n, Take take) {
  each_row(t, n, [&](int i) {
    const double from = values[i];
    for (int j = i + 1; j < n; ++j) take(key_of((values[j] - from) / (double)(j - i)));
  });
}

// Whether a key has the bits of a target, of which all down to `settled` are known; none are at 64.
FUNCTION bool matches(const Target &target, Word key, int settled) {
  return settled == 64 || key >> settled == target.prefix >> settled;
}

FUNCTION bool all_fit(const Target *targets) {
  bool fit = true;
  for (int k = 0; k < TARGETS; ++k) fit = fit && targets[k].size <= ROOM;
  return fit;
}

// Counts the next bits of the slopes around each target, and settles them.
FUNCTION void settle(TheilSenMemory &m, int n, int settled, int next) {
  const Word mask = ((Word)1 << (settled - next)) - 1;
  PHASE(t, RANK_THREADS) {
    for (int k = 0; k < TARGETS; ++k) {
      for (int bin = t; bin < BINS; bin += RANK_THREADS) m.slopes.bins[k][bin] = 0;
    }
  }
  PHASE(t, RANK_THREADS) {
    each_slope(m.values, t, n, [&](Word key) {
      for (int k = 0; k < TARGETS; ++k) {
        if (m.targets[k].owner == k && matches(m.targets[k], key, settled)) {
          ATOMIC_ADD(&m.slopes.bins[k][(key >> next) & mask], 1);
        }
      }
    });
  }
  const int share = BINS / RANK_THREADS;
  PHASE(t, RANK_THREADS) {
    for (int k = 0; k < TARGETS; ++k) {
      int sum = 0;
      for (int bin = t * share; bin < (t + 1) * share; ++bin) sum += m.slopes.bins[k][bin];
      m.shares[k][t] = sum;
    }
  }
  PHASE(t, RANK_THREADS) {
    if (t < TARGETS) {
      Target target = m.targets[t];
      const int *bins = m.slopes.bins[target.owner], *shares = m.shares[target.owner];
      int bin = 0;
      while (target.place >= shares[bin / share]) {
        target.place -= shares[bin / share];
        bin += share;
      }
      while (target.place >= bins[bin]) target.place -= bins[bin++];
      target.prefix |= (Word)bin << next;
      target.size = bins[bin];
      m.targets[t] = target;
    }
  }
  PHASE(t, RANK_THREADS) {
    if (t == 0) {
      for (int k = TARGETS - 1; k >= 0; --k) {
        int owner = 0;
        while (m.targets[owner].prefix != m.targets[k].prefix) ++owner;
        m.targets[k].owner = owner;
      }
    }
  }
}

// Gathers the slopes that have the bits of a target, and puts the key at its place into its prefix.
FUNCTION void pick(TheilSenMemory &m, int n, int settled) {
  PHASE(t, RANK_THREADS) {
    if (t < TARGETS) m.gathered[t] = 0;
  }
  PHASE(t, RANK_THREADS) {
    each_slope(m.values, t, n, [&](Word key) {
      for (int k = 0; k < TARGETS; ++k) {
        if (m.targets[k].owner == k && matches(m.targets[k], key, settled)) {
          m.slopes.keys[k][ATOMIC_ADD(&m.gathered[k], 1)] = key;
        }
      }
    });
  }
  PHASE(t, RANK_THREADS) {
    for (int k = 0; k < TARGETS; ++k) {
      const Word *keys = m.slopes.keys[m.targets[k].owner];
      const int size = m.targets[k].size, place = m.targets[k].place;
      for (int mine = t; mine < size; mine += RANK_THREADS) {
        int before = 0;
        for (int other = 0; other < size; ++other) {
          before += keys[other] < keys[mine] || (keys[other] == keys[mine] && other < mine);
        }
        if (before == place) m.targets[k].prefix = keys[mine];
      }
    }
  }
}

// The nearest place, halves to even; at least 0.
FUNCTION int place_of(double exact) {
  const double rounded = rint(exact);
  return rounded > 0.0 ? (int)rounded : 0;
}

// Words of a row: finite, slope, low, high.
KERNEL theil_sen(const double *pool, const Ring *rings, Word *rows, Count stride, Count offset) {
  BLOCK_MEMORY(TheilSenMemory, m);
  Word *row = rows + (Word)BLOCK * stride;
  load<RANK_THREADS>(pool, rings[BLOCK], m.values, &m.finite);
  const int n = m.finite;
  PHASE(t, RANK_THREADS) {
    if (t == 0) row[0] = (Word)n;
  }
  if (n < 2) return;

  kendall(m.values, n, m.kendall);
  const int count = n * (n - 1) / 2;
  PHASE(t, RANK_THREADS) {
    if (t == 0) {
      const double reach = 1.959963984540054 * sqrt((double)m.kendall.found.variance_18 / 18.0);
      const int low = place_of(((double)count - reach) / 2.0), high = place_of(((double)count + reach) / 2.0);
      const int places[TARGETS] = {
          count % 2 == 0 ? count / 2 - 1 : count / 2,
          count / 2,
          low > 0 ? low - 1 : 0,
          high < count - 1 ? high : count - 1,
      };
      for (int k = 0; k < TARGETS; ++k) {
        const Target target = {0, places[k], count, 0};
        m.targets[k] = target;
      }
    }
  }
  int settled = 64;
  while (settled > 0 && !all_fit(m.targets)) {
    const int next = settled > DIGIT ? settled - DIGIT : 0;
    settle(m, n, settled, next);
    settled = next;
  }
  // With all bits settled the prefix is the key, however many slopes are tied there.
  if (settled > 0) pick(m, n, settled);
  PHASE(t, RANK_THREADS) {
    if (t == 0) {
      const double lower = of_key(m.targets[0].prefix), upper = of_key(m.targets[1].prefix);
      row[offset] = bits_of(count % 2 == 0 ? 0.5 * (lower + upper) : upper);
      row[offset + 1] = bits_of(of_key(m.targets[2].prefix));
      row[offset + 2] = bits_of(of_key(m.targets[3].prefix));
    }
  }
}
