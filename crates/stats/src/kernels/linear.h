// Moments and trend: the sums of src/stats/linear.rs in the order of src/stats/sum.rs. A thread is a lane.
#pragma once
#include "window.h"

enum { LANES = 32 };

struct LinearMemory {
  double values[MAX_WINDOW];
  int finite;
};

// The sum of `term(i)` for i below n: lane l adds i = l, l + 32, … to 0, then the lanes are added.
template <class Term> FUNCTION double sum(int n, Term term) {
  OWN(double, lane, LANES);
  ALONE(t, LANES) {
    double terms = 0.0;
    for (int i = t; i < n; i += LANES) terms += term(i);
    OF(lane, t) = terms;
  }
  return sum_of_lanes(lane);
}

struct TwoSums {
  double first, second;
};

// Two such sums at once: of `first(i)` for i below n, and of `second(i)` for i below m, which is n or n + 1.
template <class First, class Second> FUNCTION TwoSums sums(int n, First first, int m, Second second) {
  OWN(double, lane_first, LANES);
  OWN(double, lane_second, LANES);
  ALONE(t, LANES) {
    double of_first = 0.0, of_second = 0.0;
    int i = t;
    for (; i < n; i += LANES) of_first += first(i), of_second += second(i);
    if (i < m) of_second += second(i);
    OF(lane_first, t) = of_first, OF(lane_second, t) = of_second;
  }
  return {sum_of_lanes(lane_first), sum_of_lanes(lane_second)};
}

FUNCTION double ratio(double part, double rest) {
  if (!(part > 0.0)) return 0.0;
  return rest > 0.0 ? part / rest : from_bits(0x7ff0000000000000ull);
}

// The sums of whole batches of 2^`log_length` values go to the first value of each. Overwrites the window.
FUNCTION void sum_batches(double *values, int batches, int log_length) {
  const int end = batches << log_length;
  for (int log_width = log_length - 1; log_width >= 0; --log_width) {
    const int width = 1 << log_width;
    // Lanes begin at 0, which makes -0 a 0; later there is none.
    const double begin = log_width == log_length - 1 ? 0.0 : -0.0;
    PHASE(t, LANES) {
      // A thread has the same place in each of its batches.
      const int first = (t >> log_width << log_length) + (t & (width - 1));
      for (int low = first; low < end; low += LANES << (log_length - log_width)) {
        values[low] = (begin + values[low]) + (begin + values[low + width]);
      }
    }
  }
}

// Words of a row: finite, last, min, first argmin, max, mean, variance, slope, slope t², neighbour correlation,
// effective n, halves z², whether there is a batch variance, batch variance.
KERNEL linear(const double *pool, const Ring *rings, Word *rows, Count stride, Count offset) {
  BLOCK_MEMORY(LinearMemory, m);
  Word *row = rows + (Word)BLOCK * stride;
  load<LANES>(pool, rings[BLOCK], m.values, &m.finite);
  const int n = m.finite;
  const double count = (double)n;
  const double *values = m.values;
  Word *words = row + offset;
  ALONE(t, LANES) {
    if (t == 0) row[0] = (Word)n;
  }
  if (n == 0) return;

  // Of equal extremes the first: -0 and 0 are equal and differ in their bits.
  OWN(double, all, LANES);
  OWN(double, least, LANES);
  OWN(double, most, LANES); // turned round, to be a least one too
  OWN(int, argmin, LANES);
  OWN(int, argmax, LANES);
  ALONE(t, LANES) {
    const double beyond = from_bits(0x7ff0000000000000ull);
    double sum = 0.0, min = beyond, max = -beyond;
    int min_place = n, max_place = n;
    for (int i = t; i < n; i += LANES) {
      const double value = values[i];
      sum += value;
      if (value < min) min = value, min_place = i;
      if (value > max) max = value, max_place = i;
    }
    OF(all, t) = sum, OF(least, t) = min, OF(argmin, t) = min_place, OF(most, t) = -max, OF(argmax, t) = max_place;
  }
  const double mean = sum_of_lanes(all) / count;
  const int first_argmin = place_of_least(least, argmin), first_argmax = place_of_least(most, argmax);

  const double middle = (count - 1.0) / 2.0;
  OWN(double, lane_squares, LANES);
  OWN(double, lane_places, LANES);
  OWN(double, lane_neighbours, LANES);
  ALONE(t, LANES) {
    double squares = 0.0, places = 0.0, neighbours = 0.0, place = (double)t - middle;
    int i = t;
    for (; i < n - 1; i += LANES) {
      const double off = values[i] - mean;
      squares += off * off;
      places += place * off;
      neighbours += (values[i + 1] - mean) * off;
      place += (double)LANES; // exact: halves of whole numbers
    }
    if (i == n - 1) { // the last has no neighbour
      const double off = values[i] - mean;
      squares += off * off;
      places += place * off;
    }
    OF(lane_squares, t) = squares, OF(lane_places, t) = places, OF(lane_neighbours, t) = neighbours;
  }
  const double squares = sum_of_lanes(lane_squares);
  ALONE(t, LANES) {
    if (t == 0) {
      words[0] = bits_of(values[n - 1]);
      words[1] = bits_of(values[first_argmin]);
      words[2] = (Word)first_argmin;
      words[3] = bits_of(values[first_argmax]);
      words[4] = bits_of(mean);
      words[5] = bits_of(n < 2 ? 0.0 : squares / (count - 1.0));
    }
  }
  if (n < 3) return;

  const double places = sum_of_lanes(lane_places), neighbours = sum_of_lanes(lane_neighbours);
  const int half = n / 2, other_half = n - half;
  const double *later = values + half;
  const TwoSums halves = sums(half, [=](int i) { return values[i]; }, other_half, [=](int i) { return later[i]; });
  const double m1 = halves.first / (double)half, m2 = halves.second / (double)other_half;
  const TwoSums half_squares = sums(
      half, [=](int i) { return (values[i] - m1) * (values[i] - m1); },
      other_half, [=](int i) { return (later[i] - m2) * (later[i] - m2); });
  // Behind the barrier the window may be overwritten.
  PHASE(t, LANES) {
    if (t == 0) {
      const double stt = count * (count * count - 1.0) / 12.0;
      const double slope = places / stt;
      const double rest = squares - slope * places;
      const double r1 = squares == 0.0 ? 0.0 : neighbours / squares;
      const double v1 = half < 2 ? 0.0 : half_squares.first / (double)(half - 1);
      const double v2 = other_half < 2 ? 0.0 : half_squares.second / (double)(other_half - 1);
      words[6] = bits_of(slope);
      words[7] = bits_of(ratio(slope * slope * stt * (count - 2.0), rest));
      words[8] = bits_of(r1);
      words[9] = bits_of(count * (1.0 - r1) / (1.0 + r1));
      words[10] = bits_of(ratio((m1 - m2) * (m1 - m2), v1 / (double)half + v2 / (double)other_half));
      words[11] = n >= 16;
    }
  }
  if (n < 16) return;

  const int log_length = n < 256 ? 3 : n < 1024 ? 4 : 5, batches = n >> log_length;
  double *whole = m.values + (n - (batches << log_length));
  sum_batches(whole, batches, log_length);
  const double length = (double)(1 << log_length), share = 1.0 / length; // both exact
  const double mean_of_means = sum(batches, [=](int j) { return whole[j << log_length] * share; }) / (double)batches;
  const double batch_squares = sum(batches, [=](int j) {
    const double off = whole[j << log_length] * share - mean_of_means;
    return off * off;
  });
  ALONE(t, LANES) {
    if (t == 0) words[12] = bits_of(length * (batch_squares / (double)(batches - 1)));
  }
}
