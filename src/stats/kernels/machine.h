// What a kernel runs on: a CUDA device, or for tests the host.
//
// A kernel is a row of phases. Within a phase the threads of a block run in any order and see nothing of one another but what
// ATOMIC_ADD counts; between phases stands a barrier. On the device a phase is run by threads, on the host by a loop over them, in
// an order that the test chooses: a phase whose outcome depends on that order is a race. Every thread of a block reaches the same
// phases, so control flow around them only looks at what all threads see alike.
#pragma once

typedef unsigned long long Word; // 64 bits, as the host's u64
typedef unsigned int Count;

#ifdef __CUDACC__

#define KERNEL extern "C" __global__ void
#define FUNCTION __device__ __forceinline__
#define BLOCK_MEMORY(type, name) __shared__ type name
#define BLOCK blockIdx.x
#define PHASE(thread, threads) for (int thread = threadIdx.x, begun = 1; begun; begun = 0, __syncthreads())
#define ATOMIC_ADD(place, amount) atomicAdd(place, amount)

FUNCTION Word bits_of(double value) { return (Word)__double_as_longlong(value); }
FUNCTION double from_bits(Word bits) { return __longlong_as_double((long long)bits); }

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
#define ATOMIC_ADD(place, amount) host_add(place, amount)

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
