// The kernels' own source, built for the host: reads one batch from the standard input, writes its rows to the standard
// output.
//
// In: 64-bit words: order of threads, values in the pool, rings, words a row, offsets of linear, order, mann_kendall
// and theil_sen (0: not wanted), values to append; then the pool, the rings, the values to append and their places.
// Out: the rows, then the pool. Statistics come after the appended values.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../crates/stats/src/kernels/statistics.cu"

template <class T> static std::vector<T> read(size_t count) {
  std::vector<T> items(count);
  if (count != 0 && std::fread(items.data(), sizeof(T), count, stdin) != count) {
    std::fputs("the input ends early\n", stderr);
    std::exit(1);
  }
  return items;
}

template <class Kernel> static void for_each_block(size_t blocks, Kernel kernel) {
  for (size_t block = 0; block < blocks; ++block) {
    host_block = (Count)block;
    kernel();
  }
}

static size_t copy_blocks(size_t count) { return (count + COPY_THREADS - 1) / COPY_THREADS; }

int main() {
  const std::vector<Word> head = read<Word>(9);
  host_order = (int)head[0];
  const size_t count = head[2], appended = head[8];
  const Count stride = (Count)head[3];
  std::vector<double> pool = read<double>(head[1]);
  const std::vector<Ring> rings = read<Ring>(count);
  const std::vector<double> values = read<double>(appended);
  const std::vector<Word> places = read<Word>(appended);
  for_each_block(copy_blocks(appended), [&] { append(pool.data(), values.data(), places.data(), (Count)appended); });

  std::vector<Word> rows(count * stride, 0xdeadbeefdeadbeefull);
  void (*const kernels[])(const double *, const Ring *, Word *, Count, Count) = {linear, order, mann_kendall, theil_sen};
  for (int k = 0; k < 4; ++k) {
    const Count offset = (Count)head[4 + k];
    if (offset == 0) continue;
    for_each_block(count, [&] { kernels[k](pool.data(), rings.data(), rows.data(), stride, offset); });
  }
  const bool written = std::fwrite(rows.data(), sizeof(Word), rows.size(), stdout) == rows.size() &&
                       std::fwrite(pool.data(), sizeof(double), pool.size(), stdout) == pool.size();
  return written ? 0 : 1;
}
