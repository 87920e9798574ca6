// What a kernel runs on: a CUDA device, or for tests the host.
//
// A kernel is a row of phases. Within a phase the threads of a block run in any order and see nothing of one another
// but what ATOMIC_ADD counts; between phases stands a barrier. On the device a phase is run by threads, on the host by
// a loop over them, in an order that the test chooses: a phase whose outcome depends on that order is a race. Every
// thread of a block reaches the same phases, so control flow around them only looks at what all threads see alike. A
// phase in which no thread writes what another reads needs no barrier behind it: ALONE. What threads keep for
// themselves from phase to phase is OWN, and OF a thread.
#pragma once

typedef unsigned long long Word; // 64 bits, as the host's u64
typedef unsigned int Count;

#ifdef __CUDACC__

#define KERNEL extern "C" __global__ void
#define FUNCTION __device__ __forceinline__
#define BLOCK_MEMORY(type, name) __shared__ type name
#define BLOCK blockIdx.x
#define PHASE(thread, threads) for (int thread = threadIdx.x, begun = 1; begun; begun = 0, __syncthreads())
#define ALONE(thread, threads) for (int thread = threadIdx.x, begun = 1; begun; begun = 0)
#define OWN(type, name, threads) type name
#define OF(name, thread) name
#define ATOMIC_ADD(place, amount) atomicAdd(place, amount)

FUNCTION Word bits_of(double value) { return (Word)__double_as_longlong(value); }
FUNCTION double from_bits(Word bits) { return __longlong_as_double((long long)bits); }

// The sum over the 32 threads of a block, for all of them: those 16 apart are added, then 8, 4, 2 and 1.
FUNCTION double sum_of_lanes(double own) {
  for (int apart = 16; apart > 0; apart /= 2) own += __shfl_down_sync(~0u, own, apart);
  return __shfl_sync(~0u, own, 0);
}

// The place that belongs to the least value of the 32 threads of a block, and of equal ones the first place.
FUNCTION int place_of_least(double value, int place) {
  for (int apart = 16; apart > 0; apart /= 2) {
    const double other = __shfl_down_sync(~0u, value, apart);
    const int other_place = __shfl_down_sync(~0u, place, apart);
    const bool is_less = other < value || (other == value && other_place < place);
    value = is_less ? other : value, place = is_less ? other_place : place;
  }
  return __shfl_sync(~0u, place, 0);
}

#else

#include <cmath>
#include <cstring>

static Count host_block;       // which block runs
static Count host_orders_seen; // turns the order of threads from phase to phase
static int host_order;         // 0: first to last, 1: last to first, 2: begins in the middle, elsewhere each phase

static int host_thread(int turn, int threads, Count phase) {
  switch (host_order) {
    case 0: return turn;
    case 1: return threads - 1 - turn;
    default: return (int)((Count)turn * 13u + phase * 7u) % threads; // 13 has no factor in common with a power of two
  }
}

template <class T> static T host_add(T *place, T amount) {
  T before = *place;
  *place += amount;
  return before;
}

// What a block finds in its memory before it has written there is not zero.
template <class T> static T &host_memory(T &memory) {
  std::memset(&memory, 0xa5, sizeof memory);
  return memory;
}

#define KERNEL static void
#define FUNCTION static inline
#define BLOCK_MEMORY(type, name) \
  static type name##_of_block;   \
  type &name = host_memory(name##_of_block)
#define BLOCK host_block
#define PHASE(thread, threads)                                                                              \
  for (int turn = 0, phase = (int)host_orders_seen++, thread = host_thread(0, threads, (Count)phase);       \
       turn < (threads); ++turn, thread = host_thread(turn, threads, (Count)phase))
#define ALONE(thread, threads) PHASE(thread, threads)
#define OWN(type, name, threads) type name[threads]
#define OF(name, thread) name[thread]
#define ATOMIC_ADD(place, amount) host_add(place, amount)

FUNCTION double sum_of_lanes(double *own) {
  for (int apart = 16; apart > 0; apart /= 2) {
    for (int t = 0; t < apart; ++t) own[t] += own[t + apart];
  }
  return own[0];
}
FUNCTION int place_of_least(const double *values, const int *places) {
  int least = 0;
  for (int t = 1; t < 32; ++t) {
    if (values[t] < values[least] || (values[t] == values[least] && places[t] < places[least])) least = t;
  }
  return places[least];
}

FUNCTION Word bits_of(double value) {
  Word bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
FUNCTION double from_bits(Word bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
using std::rint;
using std::sqrt;

#endif
