// Moments and trend: the sums of src/stats/linear.rs in the order of src/stats/sum.rs. A thread is a lane.
#pragma once
#include "window.h"

enum { LANES = 32 };

// Each sum has a place of its own, so that no barrier is needed between reading one and beginning the next.
struct LinearMemory {
  double values[MAX_WINDOW];
  double lanes[LANES];
  double min[LANES], max[LANES];
  int argmin[LANES], argmax[LANES];
  int counts[LANES];
  int finite;
  double all, squares, places, neighbours, first, first_squares, second, second_squares, batches, batch_squares;
};

// The sum of `term(i)`: lane l adds i = l, l + 32, … to 0, then lanes 16, 8, 4, 2 and 1 apart are added.
template <class Term> FUNCTION void sum(double *lanes, double *total, int n, Term term) {
  PHASE(t, LANES) {
    double lane = 0.0;
    for (int i = t; i < n; i += LANES) lane += term(i);
    lanes[t] = lane;
  }
  for (int width = LANES / 2; width > 1; width /= 2) {
    PHASE(t, LANES) {
      if (t < width) lanes[t] += lanes[t + width];
    }
  }
  PHASE(t, LANES) {
    if (t == 0) *total = lanes[0] + lanes[1];
  }
}

FUNCTION double ratio(double part, double rest) {
  if (!(part > 0.0)) return 0.0;
  return rest > 0.0 ? part / rest : from_bits(0x7ff0000000000000ull);
}

// Least and greatest, of equal ones the first: -0 and 0 are equal and differ in their bits.
FUNCTION void extremes(LinearMemory &m, int n) {
  PHASE(t, LANES) {
    int least = t, greatest = t;
    for (int i = t; i < n; i += LANES) {
      if (m.values[i] < m.values[least]) least = i;
      if (m.values[i] > m.values[greatest]) greatest = i;
    }
    m.argmin[t] = least, m.argmax[t] = greatest;
    if (t < n) m.min[t] = m.values[least], m.max[t] = m.values[greatest];
  }
  PHASE(t, LANES) {
    if (t == 0) {
      for (int lane = 1; lane < LANES && lane < n; ++lane) {
        if (m.min[lane] < m.min[0] || (m.min[lane] == m.min[0] && m.argmin[lane] < m.argmin[0])) {
          m.min[0] = m.min[lane], m.argmin[0] = m.argmin[lane];
        }
        if (m.max[lane] > m.max[0] || (m.max[lane] == m.max[0] && m.argmax[lane] < m.argmax[0])) {
          m.max[0] = m.max[lane], m.argmax[0] = m.argmax[lane];
        }
      }
    }
  }
}

// The means of whole batches go to the first value of each. Overwrites the window.
FUNCTION void batch_means(LinearMemory &m, int skipped, int batches, int length) {
  double *values = m.values + skipped;
  for (int width = length / 2; width >= 1; width /= 2) {
    PHASE(t, LANES) {
      for (int i = t; i < batches * width; i += LANES) {
        double *low = values + i / width * length + i % width;
        // Lanes begin at 0, which makes -0 a 0.
        if (width == length / 2) {
          *low = (0.0 + *low) + (0.0 + low[width]);
        } else {
          *low += low[width];
        }
        if (width == 1) *low /= (double)length;
      }
    }
  }
}

// Words of a row: finite, last, min, first argmin, max, mean, variance, slope, slope t², neighbour correlation, effective n,
// halves z², whether there is a batch variance, batch variance.
KERNEL linear(const double *pool, const Ring *rings, Word *rows, Count stride, Count offset) {
  BLOCK_MEMORY(LinearMemory, m);
  Word *row = rows + (Word)BLOCK * stride;
  load<LANES>(pool, rings[BLOCK], m.values, m.counts, &m.finite);
  const int n = m.finite;
  const double count = (double)n;
  Word *words = row + offset;
  PHASE(t, LANES) {
    if (t == 0) row[0] = (Word)n;
  }
  if (n == 0) return;

  const double *values = m.values;
  extremes(m, n);
  sum(m.lanes, &m.all, n, [=](int i) { return values[i]; });
  const double mean = m.all / count;
  sum(m.lanes, &m.squares, n, [=](int i) { return (values[i] - mean) * (values[i] - mean); });
  PHASE(t, LANES) {
    if (t == 0) {
      words[0] = bits_of(values[n - 1]);
      words[1] = bits_of(m.min[0]);
      words[2] = (Word)m.argmin[0];
      words[3] = bits_of(m.max[0]);
      words[4] = bits_of(mean);
      words[5] = bits_of(n < 2 ? 0.0 : m.squares / (count - 1.0));
    }
  }
  if (n < 3) return;

  const double middle = (count - 1.0) / 2.0;
  sum(m.lanes, &m.places, n, [=](int i) { return ((double)i - middle) * (values[i] - mean); });
  sum(m.lanes, &m.neighbours, n - 1, [=](int i) { return (values[i + 1] - mean) * (values[i] - mean); });
  const int half = n / 2, other_half = n - half;
  const double *later = values + half;
  sum(m.lanes, &m.first, half, [=](int i) { return values[i]; });
  sum(m.lanes, &m.second, other_half, [=](int i) { return later[i]; });
  const double m1 = m.first / (double)half, m2 = m.second / (double)other_half;
  sum(m.lanes, &m.first_squares, half, [=](int i) { return (values[i] - m1) * (values[i] - m1); });
  sum(m.lanes, &m.second_squares, other_half, [=](int i) { return (later[i] - m2) * (later[i] - m2); });
  PHASE(t, LANES) {
    if (t == 0) {
      const double stt = count * (count * count - 1.0) / 12.0;
      const double slope = m.places / stt;
      const double rest = m.squares - slope * m.places;
      const double r1 = m.squares == 0.0 ? 0.0 : m.neighbours / m.squares;
      const double v1 = half < 2 ? 0.0 : m.first_squares / (double)(half - 1);
      const double v2 = other_half < 2 ? 0.0 : m.second_squares / (double)(other_half - 1);
      words[6] = bits_of(slope);
      words[7] = bits_of(ratio(slope * slope * stt * (count - 2.0), rest));
      words[8] = bits_of(r1);
      words[9] = bits_of(count * (1.0 - r1) / (1.0 + r1));
      words[10] = bits_of(ratio((m1 - m2) * (m1 - m2), v1 / (double)half + v2 / (double)other_half));
      words[11] = n >= 16;
    }
  }
  if (n < 16) return;

  const int length = n < 256 ? 8 : n < 1024 ? 16 : 32;
  const int skipped = n % length, batches = n / length;
  batch_means(m, skipped, batches, length);
  const double *means = values + skipped;
  sum(m.lanes, &m.batches, batches, [=](int j) { return means[j * length]; });
  const double mean_of_means = m.batches / (double)batches;
  sum(m.lanes, &m.batch_squares, batches,
      [=](int j) { return (means[j * length] - mean_of_means) * (means[j * length] - mean_of_means); });
  PHASE(t, LANES) {
    if (t == 0) words[12] = bits_of((double)length * (m.batch_squares / (double)(batches - 1)));
  }
}
