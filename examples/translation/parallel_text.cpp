// SPDX-License-Identifier: MIT
#include "parallel_text.hpp"

#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

namespace evenkeel::translation {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

std::string count_of(std::size_t count, const char* noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

// Reads a file in blocks, compressed or not.
class BlockReader {
 public:
  explicit BlockReader(const std::string& file) : file_(file), buffer_(1 << 17) {
    errno = 0;
    handle_.reset(gzopen(file.c_str(), "rb"));
    if (!handle_) {
      throw TextError(file_ +
                      ": cannot open: " + (errno != 0 ? std::strerror(errno) : "out of memory"));
    }
  }

  // Returns the next block, which is empty at the end; lines_done is used only in error messages.
  std::string_view next(std::size_t lines_done) {
    const int size = gzread(handle_.get(), buffer_.data(), static_cast<unsigned>(buffer_.size()));
    int code = Z_OK;
    const char* message = gzerror(handle_.get(), &code);  // reports a truncated file
    if (size < 0 || code != Z_OK) {
      const std::string reason = code == Z_ERRNO ? std::strerror(errno) : message;
      throw TextError(file_ + ": cannot read past " + count_of(lines_done, "line") + ": " + reason);
    }
    if (size > 0 && ends_with(file_, ".gz") && gzdirect(handle_.get()) != 0) {
      throw TextError(file_ + ": expected gzip by its name, but the content is not");
    }
    return {buffer_.data(), static_cast<std::size_t>(size)};
  }

 private:
  struct Close {
    void operator()(gzFile handle) const { gzclose(handle); }
  };

  std::string file_;
  std::vector<char> buffer_;
  std::unique_ptr<gzFile_s, Close> handle_;
};

// Returns the offset of the first byte that is not well-formed UTF-8 (Unicode, table 3-7).
std::optional<std::size_t> find_broken_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    std::size_t length = 0;
    unsigned low = 0x80;  // bounds of the second byte
    unsigned high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
      length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      length = 3;
      low = lead == 0xE0 ? 0xA0 : 0x80;   // overlong
      high = lead == 0xED ? 0x9F : 0xBF;  // surrogates
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      length = 4;
      low = lead == 0xF0 ? 0x90 : 0x80;   // overlong
      high = lead == 0xF4 ? 0x8F : 0xBF;  // above U+10FFFF
    } else {
      return i;
    }
    for (std::size_t k = 1; k < length; ++k) {
      const unsigned byte = i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0U;
      if (byte < low || byte > high) {
        return i;
      }
      low = 0x80;
      high = 0xBF;
    }
    i += length;
  }
  return std::nullopt;
}

class LineCollector {
 public:
  explicit LineCollector(const std::string& file) : file_(file) {}

  void add(std::string line) {
    if (!line.empty() && line.back() == '\r') {
      line.pop_back();
    }
    if (const auto offset = find_broken_utf8(line)) {
      std::ostringstream message;
      message << file_ << ':' << lines_.size() + 1 << ": broken UTF-8 at byte offset " << *offset
              << " of the line: 0x" << std::hex << std::uppercase
              << static_cast<unsigned>(static_cast<unsigned char>(line[*offset]));
      throw TextError(message.str());
    }
    if (lines_.empty() && line.compare(0, kByteOrderMark.size(), kByteOrderMark) == 0) {
      line.erase(0, kByteOrderMark.size());
    }
    lines_.push_back(std::move(line));
  }

  std::size_t size() const { return lines_.size(); }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  const std::string& file_;
  std::vector<std::string> lines_;
};

bool is_blank(std::string_view line) {
  while (!line.empty()) {
    const auto space = leading_space(line);
    if (space == 0) {
      return false;
    }
    line.remove_prefix(space);
  }
  return true;
}

void append(std::vector<std::string>& to, std::vector<std::string>&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

std::vector<std::string> read_lines(const std::string& file) {
  BlockReader reader(file);
  LineCollector lines(file);
  std::string unfinished;
  while (true) {
    std::string_view block = reader.next(lines.size());
    if (block.empty()) {
      break;
    }
    for (auto end = block.find('\n'); end != std::string_view::npos; end = block.find('\n')) {
      unfinished.append(block.substr(0, end));
      lines.add(std::exchange(unfinished, {}));
      block.remove_prefix(end + 1);
    }
    unfinished.append(block);
  }
  if (lines.size() == 0 && (unfinished.empty() || unfinished == kByteOrderMark)) {
    throw TextError(file + ": the file is empty");
  }
  if (!unfinished.empty()) {
    lines.add(std::move(unfinished));
  }
  return lines.take();
}

ParallelText read_parallel(const std::vector<std::string>& source_files,
                           const std::vector<std::string>& target_files) {
  if (source_files.empty() || source_files.size() != target_files.size()) {
    throw TextError(
        "read_parallel: expected as many source as target files, at least one, but got " +
        std::to_string(source_files.size()) + " and " + std::to_string(target_files.size()));
  }
  ParallelText text;
  for (std::size_t i = 0; i < source_files.size(); ++i) {
    auto source = read_lines(source_files[i]);
    auto target = read_lines(target_files[i]);
    if (source.size() != target.size()) {
      throw TextError(source_files[i] + " has " + count_of(source.size(), "line") + ", but " +
                      target_files[i] + " has " + count_of(target.size(), "line"));
    }
    append(text.source, std::move(source));
    append(text.target, std::move(target));
  }
  return text;
}

int64_t drop_empty_pairs(ParallelText& text) {
  if (text.source.size() != text.target.size()) {
    throw std::invalid_argument("drop_empty_pairs: expected sides of equal size, but got " +
                                std::to_string(text.source.size()) + " and " +
                                std::to_string(text.target.size()));
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < text.source.size(); ++i) {
    if (is_blank(text.source[i]) || is_blank(text.target[i])) {
      continue;
    }
    if (kept != i) {
      text.source[kept] = std::move(text.source[i]);
      text.target[kept] = std::move(text.target[i]);
    }
    ++kept;
  }
  const auto dropped = static_cast<int64_t>(text.source.size() - kept);
  text.source.resize(kept);
  text.target.resize(kept);
  return dropped;
}

std::size_t leading_space(std::string_view text) {
  const auto byte = [text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = byte(0);
  if (first == 0x20 || (first >= 0x09 && first <= 0x0D) || (first >= 0x1C && first <= 0x1F)) {
    return 1;
  }
  if (first == 0xC2) {  // U+0085, U+00A0
    return byte(1) == 0x85 || byte(1) == 0xA0 ? 2 : 0;
  }
  if (first < 0xE1 || first > 0xE3) {
    return 0;
  }
  const unsigned code = (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  const bool space = code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
                     code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
  return space && text.size() >= 3 ? 3 : 0;
}

}  // namespace evenkeel::translation
