// Runs PTX on the host: the instructions that NVRTC makes of our kernels, and no others. A module with any other does not load.
//
// The threads of a block run one after the other from barrier to barrier, and those of a warp from one exchange of registers to the
// next, in an order that differs each time. What the language leaves undefined ends the launch with a message: an access outside of
// what was allocated, a place in the block's memory that two threads use between two barriers and one of them writes, threads that
// wait at different barriers.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace ptx {

using Word = uint64_t;

// The module is not one of ours, or a kernel does what is undefined.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Op {
  ABS, ADD, AND, ATOM_ADD, BAR, BRA, CVT, DIV, JOIN, LD, MAD, MAX, MIN, MOV, MUL, NEG, NOT, OR, RCP, RET, SELP, SETP, SHFL, SHL, SHR,
  SPLIT, SQRT, ST, SUB, XOR,
};
enum class Space { PARAM, GLOBAL, SHARED };
enum class Part { LOW, HIGH, WIDE };
enum class Compare { EQ, NE, LT, LE, GT, GE, LTU, LEU, GTU, GEU, EQU, NEU };

// `p` predicate, `b` bits, `u` unsigned, `s` signed, `f` floating-point.
struct Type {
  char kind = 'b';
  int bits = 64;
};

struct Operand {
  enum { REGISTER, CONSTANT, THREAD, BLOCK } kind = CONSTANT;
  Word value = 0; // a register's number, or the bits
};

struct Instruction {
  Op op;
  Type type, from;             // `from`: of what CVT reads, and how wide the register is into which LD reads
  Space space = Space::GLOBAL; // of LD and ST
  Part part = Part::LOW;       // of MUL and MAD
  Compare compare = Compare::EQ;
  bool round = false; // CVT from a number to a whole one, toward even (`rni`); else toward 0
  bool down = false;  // SHFL from so many lanes on; else from that lane
  int guard = -1;     // the predicate that must hold, or must not
  bool guard_holds = true;
  std::vector<Operand> to, with;
  Operand address;
  int64_t offset = 0;
  size_t target = 0; // of BRA
  int line = 0;
};

struct Kernel {
  std::string name;
  std::vector<int> parameters; // bytes of each
  std::vector<Instruction> code;
  size_t registers = 0;
  size_t shared = 0; // bytes of the block's memory
};

using Module = std::map<std::string, Kernel>;

// Reads the text of a module.
class Reader {
 public:
  explicit Reader(const std::string &text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      ++line_;
      line = line.substr(0, line.find("//"));
      for (size_t end; (end = line.find(';')) != std::string::npos; line = line.substr(end + 1)) statement(line.substr(0, end));
      statement(line);
    }
    if (kernel_ != nullptr) refuse("the text ends within " + kernel_->name);
  }
  Module module;

 private:
  [[noreturn]] void refuse(const std::string &why) const { throw Fault("PTX, line " + std::to_string(line_) + ": " + why); }

  static std::vector<std::string> split(const std::string &text, const char *at) {
    std::vector<std::string> parts;
    for (size_t begin = text.find_first_not_of(at); begin != std::string::npos;) {
      const size_t end = text.find_first_of(at, begin);
      parts.push_back(text.substr(begin, end - begin));
      begin = text.find_first_not_of(at, end);
    }
    return parts;
  }

  void statement(const std::string &text) {
    const std::vector<std::string> words = split(text, " \t,");
    if (words.empty()) return;
    const std::string &first = words[0];
    if (first == ".visible" && words.size() == 3 && words[1] == ".entry") {
      const std::string name = words[2].substr(0, words[2].find('('));
      kernel_ = &module[name];
      kernel_->name = name;
      labels_.clear(), jumps_.clear(), registers_.clear(), symbols_.clear();
    } else if (kernel_ == nullptr) {
      // The module's own variables: none of ours is used.
    } else if (first == ".param") {
      symbols_[words[2]] = 8 * kernel_->parameters.size();
      kernel_->parameters.push_back(type(words[1].substr(1)).bits / 8);
    } else if (first == ".reg") {
      const size_t open = words[2].find('<');
      const std::string prefix = words[2].substr(0, open);
      const int count = std::stoi(words[2].substr(open + 1));
      for (int i = 0; i < count; ++i) registers_[prefix + std::to_string(i)] = kernel_->registers++;
    } else if (first == ".shared" && words.size() == 5) {
      const size_t open = words[4].find('[');
      kernel_->shared = (kernel_->shared + 15) / 16 * 16;
      symbols_[words[4].substr(0, open)] = kernel_->shared;
      kernel_->shared += std::stoul(words[4].substr(open + 1));
    } else if (first == "}") {
      for (const auto &jump : jumps_) {
        if (labels_.count(jump.second) == 0) refuse("no label " + jump.second);
        kernel_->code[jump.first].target = labels_[jump.second];
      }
      kernel_ = nullptr;
    } else if (first.back() == ':') {
      labels_[first.substr(0, first.size() - 1)] = kernel_->code.size();
    } else if (first != "{" && first != ")" && first != ".pragma") {
      instruction(words);
    }
  }

  static Type type(const std::string &text) {
    if (text == "pred") return {'p', 1};
    return {text[0], std::atoi(text.c_str() + 1)};
  }
  static bool is_type(const std::string &part) {
    return part == "pred" || (part.size() >= 2 && std::strchr("busf", part[0]) != nullptr &&
                              part.find_first_not_of("0123456789", 1) == std::string::npos);
  }

  void instruction(std::vector<std::string> words) {
    Instruction made{};
    made.line = line_;
    if (words[0][0] == '@') {
      made.guard_holds = words[0][1] != '!';
      made.guard = (int)number_of(words[0].substr(made.guard_holds ? 1 : 2));
      words.erase(words.begin());
    }
    std::vector<std::string> parts = split(words[0], ".");
    words.erase(words.begin());
    static const std::map<std::string, Op> ops = {
        {"abs", Op::ABS}, {"add", Op::ADD},   {"and", Op::AND},   {"atom", Op::ATOM_ADD}, {"bar", Op::BAR}, {"bra", Op::BRA},
        {"cvt", Op::CVT}, {"cvta", Op::MOV},  {"div", Op::DIV},   {"ld", Op::LD},         {"mad", Op::MAD}, {"max", Op::MAX},
        {"min", Op::MIN}, {"mov", Op::MOV},   {"mul", Op::MUL},   {"neg", Op::NEG},       {"not", Op::NOT}, {"or", Op::OR},
        {"rcp", Op::RCP}, {"ret", Op::RET},   {"selp", Op::SELP}, {"setp", Op::SETP},     {"shl", Op::SHL}, {"shr", Op::SHR},
        {"shfl", Op::SHFL}, {"sqrt", Op::SQRT}, {"st", Op::ST},   {"sub", Op::SUB},       {"xor", Op::XOR},
    };
    const auto op = ops.find(parts[0]);
    if (op == ops.end()) refuse("unknown instruction " + parts[0]);
    made.op = op->second;
    std::vector<Type> types;
    bool is_sum = false;
    for (size_t i = 1; i < parts.size(); ++i) {
      static const std::map<std::string, Compare> compares = {
          {"eq", Compare::EQ},   {"ne", Compare::NE},   {"lt", Compare::LT},   {"le", Compare::LE},
          {"gt", Compare::GT},   {"ge", Compare::GE},   {"ltu", Compare::LTU}, {"leu", Compare::LEU},
          {"gtu", Compare::GTU}, {"geu", Compare::GEU}, {"equ", Compare::EQU}, {"neu", Compare::NEU},
      };
      const std::string &part = parts[i];
      if (is_type(part)) types.push_back(type(part));
      else if (made.op == Op::SETP && compares.count(part) != 0) made.compare = compares.at(part);
      else if (part == "param") made.space = Space::PARAM;
      else if (part == "global" || part == "to") made.space = Space::GLOBAL;
      else if (part == "shared") made.space = Space::SHARED;
      else if (part == "wide") made.part = Part::WIDE;
      else if (part == "hi") made.part = Part::HIGH;
      else if (part == "rni") made.round = true;
      else if (part == "down") made.down = true;
      else if (part == "add") is_sum = true;
      // What is left as it is: the low half, the nearest number, no rounding, a vector, barriers of all, jumps of all threads, one lane.
      else if (part != "lo" && part != "rn" && part != "rzi" && part != "v2" && part != "v4" && part != "sync" && part != "uni" &&
               part != "idx")
        refuse("unknown ." + part);
    }
    if (made.op == Op::ATOM_ADD && !is_sum) refuse("an atomic that is no sum");
    if (!types.empty()) made.type = types[0];
    made.from = types.empty() ? made.type : types.back();
    if (made.type.kind == 'f' && made.type.bits != 64) refuse("a number that is no f64");
    if (made.op == Op::LD && made.type.kind == 's' && words[0].compare(0, 3, "%rd") == 0) made.from.bits = 64;

    if (made.op == Op::BRA) {
      jumps_[kernel_->code.size()] = words.at(0);
    } else if (made.op == Op::LD || made.op == Op::ST || made.op == Op::ATOM_ADD) {
      const auto at = std::find_if(words.begin(), words.end(), [](const std::string &word) { return word[0] == '['; });
      if (at == words.end()) refuse("no address");
      const std::string inner = at->substr(1, at->size() - 2);
      const size_t plus = inner.find('+');
      made.address = operand(inner.substr(0, plus), {'u', 64});
      made.offset = plus == std::string::npos ? 0 : std::stoll(inner.substr(plus + 1));
      for (auto word = words.begin(); word != words.end(); ++word) {
        if (word == at) continue;
        (made.op == Op::LD || (made.op == Op::ATOM_ADD && word < at) ? made.to : made.with).push_back(operand(bare(*word), made.type));
      }
    } else if (made.op == Op::MOV && words.size() == 3) {
      const bool splits = words[0].front() == '{';
      made.op = splits ? Op::SPLIT : Op::JOIN;
      if (made.type.bits != 64) refuse("halves of what has not 64 bits");
      for (size_t i = 0; i < 3; ++i) (i < (splits ? 2 : 1) ? made.to : made.with).push_back(operand(bare(words[i]), made.type));
    } else if (made.op == Op::SHFL) {
      if (words.size() != 5 || made.type.bits != 32) refuse("an exchange that is not of 32 bits between 32 lanes");
      words[0] = words[0].substr(0, words[0].find('|')); // whether the other lane is there: ours do not look
      made.to.push_back(operand(words[0], made.type));
      for (size_t i = 1; i < 5; ++i) made.with.push_back(operand(words[i], made.type));
    } else if (made.op != Op::BAR && made.op != Op::RET) {
      if (words.empty()) refuse("no operands");
      made.to.push_back(operand(words[0], made.type));
      for (size_t i = 1; i < words.size(); ++i) made.with.push_back(operand(words[i], made.from));
      static const std::map<Op, size_t> operands = {{Op::ABS, 1}, {Op::CVT, 1},  {Op::MOV, 1}, {Op::NEG, 1},
                                                    {Op::NOT, 1}, {Op::RCP, 1},  {Op::SQRT, 1}, {Op::MAD, 3}, {Op::SELP, 3}};
      if (made.with.size() != (operands.count(made.op) != 0 ? operands.at(made.op) : 2)) refuse("a wrong number of operands");
    }
    kernel_->code.push_back(made);
  }

  // Without the brackets of a vector.
  static std::string bare(const std::string &word) {
    const size_t begin = word.front() == '{';
    return word.substr(begin, word.size() - begin - (word.back() == '}'));
  }

  Word number_of(const std::string &name) const {
    const auto found = registers_.find(name);
    if (found == registers_.end()) refuse("no register " + name);
    return found->second;
  }

  Operand operand(const std::string &text, Type type) const {
    if (text == "%tid.x") return {Operand::THREAD, 0};
    if (text == "%ctaid.x") return {Operand::BLOCK, 0};
    if (text[0] == '%') return {Operand::REGISTER, number_of(text)};
    if (text.compare(0, 2, "0d") == 0) return {Operand::CONSTANT, std::stoull(text.substr(2), nullptr, 16)};
    if (std::isdigit(text[0]) != 0 || text[0] == '-') {
      const Word bits = text[0] == '-' ? (Word)std::stoll(text, nullptr, 0) : std::stoull(text, nullptr, 0);
      return {Operand::CONSTANT, type.bits >= 64 ? bits : bits & (((Word)1 << type.bits) - 1)};
    }
    const auto symbol = symbols_.find(text);
    if (symbol == symbols_.end()) refuse("no variable " + text);
    return {Operand::CONSTANT, symbol->second};
  }

  int line_ = 0;
  Kernel *kernel_ = nullptr;
  std::map<std::string, size_t> labels_, registers_, symbols_;
  std::map<size_t, std::string> jumps_;
};

inline Word bits_of(double value) {
  Word bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline double number_of(Word bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline Word low(Word bits, int count) { return count >= 64 ? bits : bits & (((Word)1 << count) - 1); }
inline int64_t with_sign(Word bits, int count) { return count >= 64 ? (int64_t)bits : (int64_t)(bits << (64 - count)) >> (64 - count); }

// Where the device's memory lies on the host: `bytes` from `address`, or a Fault.
struct Memory {
  virtual char *at(Word address, size_t bytes) = 0;

 protected:
  ~Memory() = default;
};

// One launch of a kernel.
class Launch {
 public:
  Launch(const Kernel &kernel, std::vector<Word> arguments, Memory &memory, uint64_t seed)
      : kernel_(kernel), arguments_(std::move(arguments)), memory_(memory), random_(seed) {}

  void run(unsigned blocks, int threads) {
    for (block_ = 0; block_ < blocks; ++block_) {
      registers_.assign(threads * kernel_.registers, 0xa5a5a5a5a5a5a5a5u);
      shared_.assign(kernel_.shared, (char)0xa5);
      cells_.assign(kernel_.shared / CELL + 1, Cell());
      std::vector<size_t> places(threads, 0);
      std::vector<int> warps;
      for (int first = 0; first < threads; first += WARP) warps.push_back(first);
      for (phase_ = 1; places[0] != ENDED; ++phase_) {
        std::shuffle(warps.begin(), warps.end(), random_);
        for (int first : warps) run_warp(first, std::min(threads, first + WARP), places);
        same(places.begin(), places.end());
      }
    }
  }

 private:
  static constexpr size_t ENDED = SIZE_MAX;
  static constexpr int WARP = 32;
  static constexpr size_t CELL = 4;

  // Who used four bytes of the block's memory last, and in which phase.
  struct Cell {
    int writer = -1, reader = -1, written = 0, read = 0;
    bool is_shared_read = false, is_counter = false;
  };

  [[noreturn]] void fail(const Instruction &at, const std::string &why) const {
    throw Fault(kernel_.name + ", line " + std::to_string(at.line) + ": " + why);
  }

  void same(std::vector<size_t>::const_iterator begin, std::vector<size_t>::const_iterator end) const {
    if (std::adjacent_find(begin, end, std::not_equal_to<size_t>()) != end) {
      throw Fault(kernel_.name + ": threads wait at different barriers");
    }
  }

  // Runs the threads of a warp to a barrier of the block.
  void run_warp(int first, int end, std::vector<size_t> &places) {
    std::vector<int> order;
    for (int t = first; t < end; ++t) order.push_back(t);
    for (;;) {
      std::shuffle(order.begin(), order.end(), random_);
      for (int t : order) places[t] = run_to_barrier(t, places[t]);
      same(places.begin() + first, places.begin() + end);
      if (places[first] == ENDED || kernel_.code[places[first] - 1].op != Op::SHFL) return;
      exchange(kernel_.code[places[first] - 1], first, end);
    }
  }

  void exchange(const Instruction &at, int first, int end) {
    if (end - first != WARP) fail(at, "an exchange in a warp that is not whole");
    std::vector<Word> given;
    for (int t = first; t < end; ++t) given.push_back(value(at.with[0], t));
    for (int t = first; t < end; ++t) {
      const Word by = value(at.with[1], t), lane = at.down ? (Word)(t - first) + by : by;
      if (value(at.with[2], t) != 31 || value(at.with[3], t) != 0xffffffffu) fail(at, "an exchange that is not between all lanes");
      registers_[(size_t)t * kernel_.registers + at.to[0].value] = given[lane < WARP ? lane : (Word)(t - first)];
    }
  }

  void touch(const Instruction &at, int thread, Word address, size_t bytes) {
    if (address > shared_.size() || bytes > shared_.size() - address) fail(at, "outside of the block's memory");
    const bool writes = at.op != Op::LD, counts = at.op == Op::ATOM_ADD;
    for (Word i = address / CELL; i <= (address + bytes - 1) / CELL; ++i) {
      Cell &cell = cells_[i];
      const bool written_by_another = cell.written == phase_ && cell.writer != thread && !(counts && cell.is_counter);
      const bool read_by_another = cell.read == phase_ && (cell.is_shared_read || cell.reader != thread);
      if (written_by_another || (writes && read_by_another)) {
        fail(at, "a race between two threads at byte " + std::to_string(address) + " of the block's memory");
      }
      if (writes) {
        cell.writer = thread, cell.written = phase_, cell.is_counter = counts;
      } else {
        cell.is_shared_read = cell.read == phase_ && (cell.is_shared_read || cell.reader != thread);
        cell.reader = thread, cell.read = phase_;
      }
    }
  }

  char *place(const Instruction &at, int thread, Word address, size_t bytes) {
    if (address % (at.type.bits / 8) != 0) fail(at, "an address that is not aligned");
    if (at.space == Space::PARAM) return (char *)arguments_.data() + address;
    if (at.space == Space::GLOBAL) return memory_.at(address, bytes);
    touch(at, thread, address, bytes);
    return shared_.data() + address;
  }

  Word value(const Operand &operand, int thread) const {
    switch (operand.kind) {
      case Operand::REGISTER: return registers_[(size_t)thread * kernel_.registers + operand.value];
      case Operand::THREAD: return (Word)thread;
      case Operand::BLOCK: return block_;
      default: return operand.value;
    }
  }

  // Runs a thread to where it waits for others. Returns where it goes on.
  size_t run_to_barrier(int thread, size_t place_in_code) {
    Word *registers = registers_.data() + (size_t)thread * kernel_.registers;
    const auto value = [&](const Operand &operand) { return this->value(operand, thread); };
    for (size_t next = place_in_code;;) {
      if (next >= kernel_.code.size()) throw Fault(kernel_.name + ": a thread runs past the end");
      const Instruction &at = kernel_.code[next++];
      if (at.guard >= 0 && (registers[at.guard] != 0) != at.guard_holds) continue;
      switch (at.op) {
        case Op::RET: return ENDED;
        case Op::BAR:
        case Op::SHFL: return next;
        case Op::BRA: next = at.target; break;
        case Op::LD:
        case Op::ST:
        case Op::ATOM_ADD: {
          const size_t each = at.type.bits / 8, count = at.op == Op::LD ? at.to.size() : at.with.size();
          char *there = place(at, thread, value(at.address) + (Word)at.offset, each * count);
          for (size_t i = 0; i < count; ++i, there += each) {
            Word held = 0;
            std::memcpy(&held, there, each);
            if (at.op != Op::ST) registers[at.to[i].value] = at.type.kind == 's' ? low((Word)with_sign(held, at.type.bits), at.from.bits) : held;
            if (at.op == Op::LD) continue;
            const Word written = value(at.with[i]) + (at.op == Op::ATOM_ADD ? held : 0);
            std::memcpy(there, &written, each);
          }
          break;
        }
        case Op::SPLIT:
          registers[at.to[1].value] = value(at.with[0]) >> 32;
          registers[at.to[0].value] = low(value(at.with[0]), 32);
          break;
        default: {
          const Word a = value(at.with[0]), b = at.with.size() > 1 ? value(at.with[1]) : 0;
          const Word c = at.with.size() > 2 ? value(at.with[2]) : 0;
          registers[at.to[0].value] = at.type.kind == 'f' && at.op != Op::MOV && at.op != Op::SELP && at.op != Op::CVT
                                          ? number(at, number_of(a), number_of(b))
                                          : whole(at, a, b, c);
        }
      }
    }
  }

  template <class T> static bool holds(Compare compare, T a, T b) {
    switch (compare) {
      case Compare::EQ: return a == b;
      case Compare::NE: return a < b || a > b; // neither is true of a NaN
      case Compare::LT: return a < b;
      case Compare::LE: return a <= b;
      case Compare::GT: return a > b;
      case Compare::GE: return a >= b;
      case Compare::LTU: return !(a >= b);
      case Compare::LEU: return !(a > b);
      case Compare::GTU: return !(a <= b);
      case Compare::GEU: return !(a < b);
      case Compare::EQU: return !(a < b || a > b);
      default: return !(a == b);
    }
  }

  Word number(const Instruction &at, double a, double b) const {
    switch (at.op) {
      case Op::ADD: return bits_of(a + b);
      case Op::SUB: return bits_of(a - b);
      case Op::MUL: return bits_of(a * b);
      case Op::DIV: return bits_of(a / b);
      case Op::RCP: return bits_of(1.0 / a);
      case Op::SQRT: return bits_of(std::sqrt(a));
      case Op::ABS: return bits_of(std::fabs(a));
      case Op::NEG: return bits_of(-a);
      case Op::SETP: return holds(at.compare, a, b);
      default: fail(at, "not of numbers");
    }
  }

  Word whole(const Instruction &at, Word a, Word b, Word c) const {
    const int bits = at.type.bits;
    const bool is_signed = at.type.kind == 's';
    const int64_t sa = with_sign(a, bits), sb = with_sign(b, bits);
    switch (at.op) {
      case Op::MOV: return low(a, bits);
      case Op::JOIN: return a | b << 32;
      case Op::ADD: return low(a + b, bits);
      case Op::SUB: return low(a - b, bits);
      case Op::AND: return a & b;
      case Op::OR: return a | b;
      case Op::XOR: return a ^ b;
      case Op::NOT: return low(~a, bits);
      case Op::NEG: return low(0 - a, bits);
      case Op::SELP: return c != 0 ? a : b;
      case Op::SHL: return b >= (Word)bits ? 0 : low(a << b, bits);
      case Op::SHR:
        if (is_signed) return low((Word)(sa >> std::min<Word>(b, bits - 1)), bits);
        return b >= (Word)bits ? 0 : a >> b;
      case Op::MIN: return is_signed ? low((Word)std::min(sa, sb), bits) : std::min(a, b);
      case Op::MAX: return is_signed ? low((Word)std::max(sa, sb), bits) : std::max(a, b);
      case Op::DIV:
        if (b == 0) fail(at, "a division by 0");
        return is_signed ? low((Word)(sa / sb), bits) : a / b;
      case Op::MUL:
      case Op::MAD: {
        if (at.part == Part::LOW) return low(a * b + c, bits);
        if (bits > 32) fail(at, "a product of more than 64 bits");
        const Word product = is_signed ? (Word)(sa * sb) : a * b;
        return at.part == Part::WIDE ? low(product + c, 2 * bits) : low((product >> bits) + c, bits);
      }
      case Op::SETP: return is_signed ? holds(at.compare, sa, sb) : holds(at.compare, a, b);
      case Op::CVT: return converted(at, a);
      default: fail(at, "not of whole numbers");
    }
  }

  Word converted(const Instruction &at, Word a) const {
    if (at.from.kind == 'f') {
      const double value = at.round ? std::nearbyint(number_of(a)) : std::trunc(number_of(a));
      if (at.type.kind == 'f') return bits_of(value);
      if (!(std::fabs(value) < 9.2e18)) fail(at, "a number that is too large");
      return low((Word)(int64_t)value, at.type.bits);
    }
    const Word value = at.from.kind == 's' ? (Word)with_sign(a, at.from.bits) : low(a, at.from.bits);
    if (at.type.kind != 'f') return low(value, at.type.bits);
    return bits_of(at.from.kind == 's' ? (double)(int64_t)value : (double)value);
  }

  const Kernel &kernel_;
  std::vector<Word> arguments_;
  Memory &memory_;
  std::mt19937_64 random_;
  unsigned block_ = 0;
  int phase_ = 0;
  std::vector<Word> registers_;
  std::vector<char> shared_;
  std::vector<Cell> cells_;
};

}  // namespace ptx
