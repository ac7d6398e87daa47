// SPDX-License-Identifier: MIT
#include "byte_source.hpp"

#include "text.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace evenkeel::examples {
namespace {

using namespace std::string_view_literals;

// How files of other formats begin; a `?` stands for any byte.
struct Format {
  std::string_view start;
  std::string_view is;
};
constexpr std::array kFormats{
    Format{"\xFD\x37zXZ\0"sv, "compressed with xz"},
    Format{"BZh?1AY&SY"sv, "compressed with bzip2"},
    Format{"\x28\xB5\x2F\xFD"sv, "compressed with zstd"},
    Format{"\x04\x22\x4D\x18"sv, "compressed with lz4"},
    Format{"\x1F\x9D"sv, "compressed with compress"},
    Format{"LZIP"sv, "compressed with lzip"},
    Format{"PK\x03\x04"sv, "a zip archive"},
    Format{"7z\xBC\xAF\x27\x1C"sv, "a 7z archive"},
    Format{"\xFF\xFE\0\0"sv, "UTF-32, by its byte order mark"},
    Format{"\0\0\xFE\xFF"sv, "UTF-32, by its byte order mark"},
    Format{"\xFF\xFE"sv, "UTF-16, by its byte order mark"},
    Format{"\xFE\xFF"sv, "UTF-16, by its byte order mark"},
};
constexpr auto kGzip = "\x1F\x8B"sv;

// Whether as many bytes as there are agree.
bool agree(std::string_view bytes, std::string_view start) {
  const auto size = std::min(bytes.size(), start.size());
  for (std::size_t i = 0; i < size; ++i) {
    if (start[i] != '?' && bytes[i] != start[i]) return false;
  }
  return true;
}

bool starts_with(std::string_view bytes, std::string_view start) {
  return bytes.size() >= start.size() && agree(bytes, start);
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

}  // namespace

// The members of a gzip file, one after another.
class ByteSource::Inflate {
 public:
  explicit Inflate(ByteSource& source) : source_(source), output_(1U << 17U) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) source_.fail("out of memory");
    take_input();
  }
  Inflate(const Inflate&) = delete;
  Inflate& operator=(const Inflate&) = delete;
  ~Inflate() { inflateEnd(&stream_); }

  std::string_view next() {
    while (true) {
      if (stream_.avail_in == 0) {
        if (!source_.fill()) {
          if (in_member_) source_.fail("unexpected end of file");
          return {};
        }
        take_input();
      }
      if (!in_member_ && !begin_member()) continue;
      stream_.next_out = reinterpret_cast<Bytef*>(output_.data());
      stream_.avail_out = static_cast<uInt>(output_.size());
      const int code = inflate(&stream_, Z_NO_FLUSH);
      if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
        source_.fail(stream_.msg != nullptr ? stream_.msg : "the gzip data is damaged");
      }
      in_member_ = code != Z_STREAM_END;
      const auto size = output_.size() - stream_.avail_out;
      if (size > 0) return {output_.data(), size};
    }
  }

 private:
  void take_input() {
    stream_.next_in = reinterpret_cast<Bytef*>(source_.input_.data());
    stream_.avail_in = static_cast<uInt>(source_.filled_);
  }

  // Behind a member there are others, or zeros up to the end.
  bool begin_member() {
    for (; stream_.avail_in > 0 && *stream_.next_in == 0; --stream_.avail_in) ++stream_.next_in;
    if (stream_.avail_in == 0) return false;
    if (*stream_.next_in != static_cast<unsigned char>(kGzip[0])) {
      source_.fail("the gzip data ends, but other bytes follow it");
    }
    inflateReset(&stream_);
    return in_member_ = true;
  }

  ByteSource& source_;
  std::vector<char> output_;
  z_stream stream_{};
  bool in_member_ = true;
};

ByteSource::ByteSource(const std::string& file)
    : name_(file.empty() ? "standard input" : file),
      descriptor_(file.empty() ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                               : ::open(file.c_str(), O_RDONLY | O_NOCTTY | O_CLOEXEC)),
      input_(1U << 17U) {
  if (descriptor_ < 0) throw TextError(name_ + ": cannot open: " + std::strerror(errno));
}

ByteSource::~ByteSource() {
  ::close(descriptor_);
}

std::string_view ByteSource::next(std::size_t lines_done) {
  lines_done_ = lines_done;
  if (!begun_) {
    look_at_the_start();
  } else if (!inflate_) {
    filled_ = 0;
    fill();
  }
  begun_ = true;
  return inflate_ ? inflate_->next() : std::string_view(input_.data(), filled_);
}

// A pipe may hand out the first bytes one by one.
void ByteSource::look_at_the_start() {
  const auto start = [&] { return std::string_view(input_.data(), filled_); };
  const auto undecided = [&](std::string_view format) {
    return start().size() < format.size() && agree(start(), format);
  };
  while (undecided(kGzip) || std::any_of(kFormats.begin(), kFormats.end(), [&](const auto& format) {
           return undecided(format.start);
         })) {
    if (!fill()) break;
  }
  for (const auto& format : kFormats) {
    if (!starts_with(start(), format.start)) continue;
    throw TextError(name_ + ": expected UTF-8 text, plain or compressed with gzip, but it is " +
                    std::string(format.is));
  }
  if (starts_with(start(), kGzip)) {
    inflate_ = std::make_unique<Inflate>(*this);
  } else if (filled_ > 0 && ends_with(name_, ".gz")) {
    throw TextError(name_ + ": expected gzip by its name, but the content is not");
  }
}

// More input, behind what the start of the file has brought; false at the end.
bool ByteSource::fill() {
  if (inflate_) filled_ = 0;
  ssize_t size = 0;
  do {
    size = ::read(descriptor_, input_.data() + filled_, input_.size() - filled_);
  } while (size < 0 && errno == EINTR);
  if (size < 0) fail(std::strerror(errno));
  filled_ += static_cast<std::size_t>(size);
  return size > 0;
}

bool ByteSource::waits() const {
  pollfd ready{descriptor_, POLLIN, 0};
  return ::poll(&ready, 1, /*milliseconds=*/0) == 0;
}

void ByteSource::fail(const std::string& reason) const {
  throw TextError(name_ + ": cannot read past " + std::to_string(lines_done_) +
                  (lines_done_ == 1 ? " line: " : " lines: ") + reason);
}

}  // namespace evenkeel::examples
