// A stand-in for the NVIDIA driver's library, libcuda.so, that has one device and runs its kernels on the host.
//
// Everything that a driver may put off is put off: work on a stream is done when something waits for it, or at a chance
// moment before. Memory of the device cannot be read by the host, holds nothing until it is written and is gone with
// its release. So a wait that is missing gives wrong bits or a failure here, and not only on a bad day. Kernels are
// read from the PTX (ptx.h).
//
// From the environment:
//   STAND_IN_SEED      of the chance moments and of the order of threads; 0: work is done as late as may be, 1: at once
//   STAND_IN_FAILS_AT  the call, counted from 1, from which on all fail, as after a fault of the device
//   STAND_IN_BYTES     of memory, else 128 MiB
//   STAND_IN_POOLS     0: the device has no memory pools, as old ones
#include <chrono>
#include <cstdio>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "ptx.h"

namespace {

using ptx::Word;

enum Result {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201,
  INVALID_PTX = 218,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  LAUNCH_FAILED = 719,
};

Word setting(const char *name, Word otherwise) {
  const char *text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// What this library's caller must never do, and a driver might let pass.
[[noreturn]] void forbid(const std::string &what) {
  std::fprintf(stderr, "stand-in driver: %s\n", what.c_str());
  std::abort();
}

struct Allocation {
  std::vector<char> bytes; // none until the stream has come to it
  size_t size;
};

struct Pinned {
  size_t size;
  int under_way; // copies that read or write it
};

struct Stream {
  std::deque<std::function<void()>> work;
  Word done = 0;
  Word issued() const { return done + work.size(); }
};

// A place in a stream, and when it was reached.
struct Mark {
  std::shared_ptr<Stream> stream;
  Word place = 0;
  std::chrono::steady_clock::time_point reached;
};

struct Event {
  std::shared_ptr<Mark> mark; // none before it was recorded
};

struct Driver : ptx::Memory {
  std::recursive_mutex lock;
  const Word seed = setting("STAND_IN_SEED", 2), fails_at = setting("STAND_IN_FAILS_AT", 0);
  const Word room = setting("STAND_IN_BYTES", 128 << 20);
  const bool has_pools = setting("STAND_IN_POOLS", 1) != 0;
  std::mt19937_64 random{seed};
  Word calls = 0;
  Result broken = SUCCESS;
  int retained = 0;
  Word used = 0;
  Word next_address = 0xd000000000000000u; // no address of the host
  std::map<Word, Allocation> allocations;
  std::map<char *, Pinned> pinned;
  std::map<Stream *, std::shared_ptr<Stream>> streams;
  std::map<Event *, std::unique_ptr<Event>> events;
  std::map<ptx::Module *, std::unique_ptr<ptx::Module>> modules;
  std::map<std::string, ptx::Module> read; // modules by their text

  char *at(Word address, size_t bytes) override {
    auto found = allocations.upper_bound(address);
    if (found == allocations.begin()) throw ptx::Fault("no memory of the device lies there");
    --found;
    const Word offset = address - found->first;
    if (offset > found->second.size || bytes > found->second.size - offset) throw ptx::Fault("outside of all allocations");
    if (found->second.bytes.empty()) throw ptx::Fault("memory is used before its allocation, in the order of streams");
    return found->second.bytes.data() + offset;
  }

  // A fault of the device: all that follows fails.
  void fault(const std::string &why) {
    std::fprintf(stderr, "stand-in driver: %s\n", why.c_str());
    broken = LAUNCH_FAILED;
  }

  void step(Stream &stream) {
    const std::function<void()> work = std::move(stream.work.front());
    stream.work.pop_front();
    ++stream.done;
    try {
      if (broken == SUCCESS) work();
    } catch (const ptx::Fault &why) {
      fault(why.what());
    }
  }

  void run(Stream &stream, Word place) {
    while (stream.done < place) step(stream);
  }

  void run_all() {
    for (auto &stream : streams) run(*stream.second, stream.second->issued());
  }

  // What happens between two calls.
  void pass_time() {
    if (seed == 0 || streams.empty()) return;
    if (seed == 1) return run_all();
    auto stream = streams.begin();
    std::advance(stream, random() % streams.size());
    for (Word steps = random() % 4; steps > 0 && !stream->second->work.empty(); --steps) step(*stream->second);
  }

  void enqueue(Stream *stream, std::function<void()> work) { streams.at(stream)->work.push_back(std::move(work)); }

  std::map<char *, Pinned>::iterator pinned_around(const char *host, size_t bytes) {
    auto found = pinned.upper_bound(const_cast<char *>(host));
    if (found == pinned.begin()) return pinned.end();
    --found;
    return host + bytes <= found->first + found->second.size ? found : pinned.end();
  }

  // Release is put off with the stream's other work.
  void release(Word address) {
    const auto found = allocations.find(address);
    if (found == allocations.end()) throw ptx::Fault("memory is released that is not allocated");
    used -= found->second.size;
    allocations.erase(found);
  }

  Word allocate(size_t bytes) {
    const Word address = next_address;
    next_address += (bytes + 511) / 256 * 256; // a gap between two, so that none reaches into the next
    used += bytes;
    allocations[address] = {{}, bytes};
    return address;
  }
};

Driver &driver() {
  static Driver it;
  return it;
}

thread_local bool has_context = false;

// One call: counted, one at a time, and failing once the device has.
template <class Body> Result call(Body body) {
  Driver &d = driver();
  const std::lock_guard<std::recursive_mutex> guard(d.lock);
  if (d.broken == SUCCESS && ++d.calls == d.fails_at) d.broken = LAUNCH_FAILED;
  if (d.broken != SUCCESS) return d.broken;
  d.pass_time();
  const Result result = body(d);
  return d.broken != SUCCESS ? d.broken : result;
}

template <class Body> Result call_in_context(Body body) {
  return call([&](Driver &d) { return has_context && d.retained > 0 ? body(d) : INVALID_CONTEXT; });
}

template <class Body> Result call_on(Stream *stream, Body body) {
  return call_in_context([&](Driver &d) { return d.streams.count(stream) != 0 ? body(d) : INVALID_HANDLE; });
}

// Copies between host and device: from pinned memory later, from other memory at once.
Result copy(Stream *stream, Word device, char *host, size_t bytes, bool to_host) {
  return call_on(stream, [&](Driver &d) {
    const auto held = d.pinned_around(host, bytes);
    if (held == d.pinned.end() && !to_host) {
      const std::vector<char> taken(host, host + bytes);
      d.enqueue(stream, [=, &d] { std::copy(taken.begin(), taken.end(), d.at(device, bytes)); });
      return SUCCESS;
    }
    Pinned *pinned = held == d.pinned.end() ? nullptr : &held->second;
    if (pinned != nullptr) ++pinned->under_way;
    d.enqueue(stream, [=, &d] {
      if (pinned != nullptr) --pinned->under_way;
      char *there = d.at(device, bytes);
      to_host ? std::memcpy(host, there, bytes) : std::memcpy(there, host, bytes);
    });
    if (pinned == nullptr) d.run(*stream, stream->issued());
    return SUCCESS;
  });
}

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) Result

API cuInit(unsigned) {
  return call([](Driver &) { return SUCCESS; });
}
API cuDeviceGetCount(int *count) {
  return call([=](Driver &) { return *count = 1, SUCCESS; });
}
API cuDeviceGet(int *device, int ordinal) {
  return call([=](Driver &) { return *device = ordinal, ordinal == 0 ? SUCCESS : INVALID_DEVICE; });
}
API cuDeviceGetName(char *name, int length, int) {
  return call([=](Driver &) { return std::snprintf(name, (size_t)length, "stand-in"), SUCCESS; });
}
API cuDeviceGetAttribute(int *value, int attribute, int) {
  const int MEMORY_POOLS_SUPPORTED = 115;
  return call([=](Driver &d) {
    if (attribute != MEMORY_POOLS_SUPPORTED) return INVALID_VALUE;
    return *value = d.has_pools, SUCCESS;
  });
}
API cuDevicePrimaryCtxRetain(void **context, int) {
  return call([=](Driver &d) { return ++d.retained, *context = &d, SUCCESS; });
}
API cuDevicePrimaryCtxRelease_v2(int) {
  return call([](Driver &d) {
    if (--d.retained > 0) return SUCCESS;
    const size_t left = d.allocations.size() + d.pinned.size() + d.streams.size() + d.events.size() + d.modules.size();
    if (left != 0) forbid(std::to_string(left) + " things are left in the context when it is released");
    return SUCCESS;
  });
}
API cuCtxGetCurrent(void **context) {
  return call([=](Driver &d) { return *context = has_context ? &d : nullptr, SUCCESS; });
}
API cuCtxSetCurrent(void *context) {
  return call([=](Driver &) { return has_context = context != nullptr, SUCCESS; });
}
API cuCtxSynchronize() {
  return call_in_context([](Driver &d) { return d.run_all(), SUCCESS; });
}
API cuMemGetInfo_v2(size_t *free, size_t *total) {
  return call_in_context([=](Driver &d) { return *free = d.room - d.used, *total = d.room, SUCCESS; });
}

API cuModuleLoadData(ptx::Module **module, const char *text) {
  return call_in_context([=](Driver &d) {
    try {
      if (d.read.count(text) == 0) d.read[text] = ptx::Reader(text).module;
      auto made = std::unique_ptr<ptx::Module>(new ptx::Module(d.read[text]));
      *module = made.get();
      d.modules[*module] = std::move(made);
      return SUCCESS;
    } catch (const ptx::Fault &why) {
      return std::fprintf(stderr, "stand-in driver: %s\n", why.what()), INVALID_PTX;
    }
  });
}
API cuModuleUnload(ptx::Module *module) {
  return call_in_context([=](Driver &d) {
    d.run_all(); // as a driver does
    return d.modules.erase(module) != 0 ? SUCCESS : INVALID_HANDLE;
  });
}
API cuModuleGetFunction(ptx::Kernel **kernel, ptx::Module *module, const char *name) {
  return call_in_context([=](Driver &) {
    const auto found = module->find(name);
    if (found == module->end()) return NOT_FOUND;
    return *kernel = &found->second, SUCCESS;
  });
}

API cuStreamCreate(Stream **stream, unsigned) {
  return call_in_context([=](Driver &d) {
    auto made = std::make_shared<Stream>();
    *stream = made.get();
    d.streams[*stream] = made;
    return SUCCESS;
  });
}
API cuStreamDestroy_v2(Stream *stream) {
  return call_on(stream, [=](Driver &d) {
    d.run(*stream, stream->issued());
    return d.streams.erase(stream), SUCCESS;
  });
}
API cuStreamSynchronize(Stream *stream) {
  return call_on(stream, [=](Driver &d) { return d.run(*stream, stream->issued()), SUCCESS; });
}
API cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
  return call_on(stream, [=](Driver &d) {
    if (d.events.count(event) == 0) return INVALID_HANDLE;
    const std::shared_ptr<Mark> mark = event->mark;
    if (mark) d.enqueue(stream, [=, &d] { d.run(*mark->stream, mark->place); });
    return SUCCESS;
  });
}

API cuEventCreate(Event **event, unsigned) {
  return call_in_context([=](Driver &d) {
    auto made = std::unique_ptr<Event>(new Event());
    *event = made.get();
    d.events[*event] = std::move(made);
    return SUCCESS;
  });
}
API cuEventDestroy_v2(Event *event) {
  return call_in_context([=](Driver &d) { return d.events.erase(event) != 0 ? SUCCESS : INVALID_HANDLE; });
}
API cuEventRecord(Event *event, Stream *stream) {
  return call_on(stream, [=](Driver &d) {
    if (d.events.count(event) == 0) return INVALID_HANDLE;
    const auto mark = std::make_shared<Mark>();
    d.enqueue(stream, [=] { mark->reached = std::chrono::steady_clock::now(); });
    mark->stream = d.streams.at(stream);
    mark->place = stream->issued();
    event->mark = mark;
    return SUCCESS;
  });
}
API cuEventSynchronize(Event *event) {
  return call_in_context([=](Driver &d) {
    if (d.events.count(event) == 0) return INVALID_HANDLE;
    if (event->mark) d.run(*event->mark->stream, event->mark->place);
    return SUCCESS;
  });
}
API cuEventElapsedTime(float *milliseconds, Event *begun, Event *ended) {
  return call_in_context([=](Driver &d) {
    if (d.events.count(begun) == 0 || d.events.count(ended) == 0 || !begun->mark || !ended->mark) return INVALID_HANDLE;
    const std::chrono::duration<float, std::milli> taken = ended->mark->reached - begun->mark->reached;
    return *milliseconds = taken.count(), SUCCESS;
  });
}

API cuMemHostAlloc(char **host, size_t bytes, unsigned) {
  return call_in_context([=](Driver &d) {
    *host = (char *)std::malloc(std::max<size_t>(bytes, 1));
    std::memset(*host, 0xa5, bytes);
    d.pinned[*host] = {bytes, 0};
    return SUCCESS;
  });
}
API cuMemFreeHost(char *host) {
  return call_in_context([=](Driver &d) {
    const auto found = d.pinned.find(host);
    if (found == d.pinned.end()) return INVALID_VALUE;
    if (found->second.under_way != 0) forbid("pinned memory is released while a copy of it is under way");
    d.pinned.erase(found);
    return std::free(host), SUCCESS;
  });
}
API cuMemAllocAsync(Word *address, size_t bytes, Stream *stream) {
  return call_on(stream, [=](Driver &d) {
    if (bytes == 0) return INVALID_VALUE;
    if (bytes > d.room - d.used) d.run_all(); // what is being released may make room
    if (bytes > d.room - d.used) return OUT_OF_MEMORY;
    const Word made = *address = d.allocate(bytes);
    d.enqueue(stream, [=, &d] { d.allocations.at(made).bytes.assign(bytes, (char)0xa5); });
    return SUCCESS;
  });
}
API cuMemFreeAsync(Word address, Stream *stream) {
  return call_on(stream, [=](Driver &d) { return d.enqueue(stream, [=, &d] { d.release(address); }), SUCCESS; });
}
API cuMemAlloc_v2(Word *address, size_t bytes) {
  return call_in_context([=](Driver &d) {
    if (bytes == 0) return INVALID_VALUE;
    if (bytes > d.room - d.used) return OUT_OF_MEMORY;
    *address = d.allocate(bytes);
    return d.allocations[*address].bytes.assign(bytes, (char)0xa5), SUCCESS;
  });
}
API cuMemFree_v2(Word address) {
  return call_in_context([=](Driver &d) {
    d.run_all(); // as a driver does
    try {
      return d.release(address), SUCCESS;
    } catch (const ptx::Fault &) {
      return INVALID_VALUE;
    }
  });
}
API cuMemsetD8Async(Word address, unsigned char value, size_t bytes, Stream *stream) {
  return call_on(stream, [=](Driver &d) {
    return d.enqueue(stream, [=, &d] { std::memset(d.at(address, bytes), value, bytes); }), SUCCESS;
  });
}
API cuMemcpyHtoDAsync_v2(Word device, char *host, size_t bytes, Stream *stream) { return copy(stream, device, host, bytes, false); }
API cuMemcpyDtoHAsync_v2(char *host, Word device, size_t bytes, Stream *stream) { return copy(stream, device, host, bytes, true); }
API cuMemcpyDtoDAsync_v2(Word to, Word from, size_t bytes, Stream *stream) {
  return call_on(stream, [=](Driver &d) {
    return d.enqueue(stream, [=, &d] { std::memcpy(d.at(to, bytes), d.at(from, bytes), bytes); }), SUCCESS;
  });
}

API cuLaunchKernel(const ptx::Kernel *kernel, unsigned blocks, unsigned blocks_y, unsigned blocks_z, unsigned threads, unsigned threads_y,
                   unsigned threads_z, unsigned shared, Stream *stream, void **parameters, void **) {
  return call_on(stream, [=](Driver &d) {
    const bool is_a_row = blocks_y == 1 && blocks_z == 1 && threads_y == 1 && threads_z == 1 && shared == 0;
    if (!is_a_row || blocks == 0 || threads == 0 || threads > 1024) return INVALID_VALUE;
    std::vector<Word> arguments(kernel->parameters.size());
    for (size_t i = 0; i < arguments.size(); ++i) std::memcpy(&arguments[i], parameters[i], (size_t)kernel->parameters[i]);
    const Word seed = d.random();
    d.enqueue(stream, [=, &d] { ptx::Launch(*kernel, arguments, d, seed).run(blocks, (int)threads); });
    return SUCCESS;
  });
}

API cuGetErrorName(Result, const char **name) { return *name = "CUDA_ERROR", SUCCESS; }
API cuGetErrorString(Result error, const char **text) {
  static const std::map<Result, const char *> texts = {
      {OUT_OF_MEMORY, "out of memory"}, {LAUNCH_FAILED, "unspecified launch failure"}, {INVALID_CONTEXT, "invalid device context"},
      {INVALID_PTX, "a PTX JIT compilation failed"}, {INVALID_HANDLE, "invalid resource handle"},
  };
  const auto found = texts.find(error);
  return *text = found == texts.end() ? "another error" : found->second, SUCCESS;
}
