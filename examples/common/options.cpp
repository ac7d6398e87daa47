// SPDX-License-Identifier: MIT
#include "options.hpp"

#include "files.hpp"
#include "numbers.hpp"

#include <evenkeel/core/nearest.hpp>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <sstream>

namespace evenkeel::examples {

namespace {

int64_t integer(const std::string& name, const std::string& word, int64_t least, int64_t most) {
  const auto number = parse_integer(word);
  if (number && *number >= least && *number <= most) return *number;
  throw CLI::ValidationError(name,
                             "expected an integer from " + std::to_string(least) + " to " +
                                 std::to_string(most) + ", but got " + word);
}

std::string joined(const std::vector<int64_t>& numbers) {
  std::string text;
  for (const auto number : numbers) text += (text.empty() ? "" : ",") + std::to_string(number);
  return text;
}

// ", the nearest is --lr", where one is near enough to be meant.
std::string proposal(const std::string& word, const std::vector<std::string>& candidates) {
  const auto best = nearest(word, candidates);
  return edit_distance(word, best) * 5 > std::max(word.size(), best.size()) * 2
             ? ""
             : ", the nearest is " + best;
}

std::vector<std::string> options_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const auto* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// The error text for what no option takes.
std::string unexpected(const CLI::App& command, const std::vector<std::string>& words) {
  for (const auto& word : words) {
    if (word.rfind("--", 0) != 0) continue;
    const auto name = word.substr(0, word.find('='));
    return command.get_name() + ": there is no option " + name +
           proposal(name, options_of(command)) + "; see --help";
  }
  return command.get_name() + ": expected options, but got " + words.front() + "; see --help";
}

// Throws CLI::ParseError.
void parse(CLI::App& app, int argc, char** argv) {
  std::vector<std::string> commands;
  for (const auto* command : app.get_subcommands(nullptr)) commands.push_back(command->get_name());
  // options of the program itself have no value
  if (argc > 1 && argv[1][0] == '-') {
    const auto known = options_of(app);
    const std::string word = argv[1];
    if (word.rfind("--", 0) == 0 && std::find(known.begin(), known.end(), word) == known.end()) {
      throw CLI::ValidationError(
          word,
          "there is no such option" + proposal(word, known) + "; see --help");
    }
  }
  if (argc > 1 && argv[1][0] != '-' &&
      std::find(commands.begin(), commands.end(), argv[1]) == commands.end()) {
    throw CLI::ValidationError(
        argv[1],
        "there is no such subcommand" + proposal(argv[1], commands) + "; see --help");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ExtrasError&) {
    const auto chosen = app.get_subcommands();
    const auto& command = chosen.empty() ? app : *chosen.front();
    auto words = command.remaining();
    if (words.empty()) words = app.remaining();
    if (words.empty()) throw;
    throw CLI::ValidationError(unexpected(command, words), CLI::ExitCodes::ExtrasError);
  }
}

}  // namespace

CLI::Option* add_integer(CLI::App& command,
                         const std::string& name,
                         int64_t& field,
                         const std::string& help,
                         int64_t least,
                         int64_t most) {
  const auto take = [&field, name, least, most](const std::string& word) {
    field = integer(name, word, least, most);
  };
  return command.add_option_function<std::string>(name, take, help)
      ->type_name("INT")
      ->default_str(std::to_string(field));
}

CLI::Option* add_real(CLI::App& command,
                      const std::string& name,
                      double& field,
                      const std::string& help) {
  const auto take = [&field, name](const std::string& word) {
    const auto number = parse_real(word);
    if (!number) throw CLI::ValidationError(name, "expected a finite number, but got " + word);
    field = *number;
  };
  return command.add_option_function<std::string>(name, take, help)
      ->type_name("FLOAT")
      ->default_str(CLI::detail::to_string(field));
}

CLI::Option* add_integers(CLI::App& command,
                          const std::string& name,
                          std::vector<int64_t>& field,
                          const std::string& help,
                          int64_t least,
                          int64_t most) {
  const auto take = [&field, name, least, most](const std::vector<std::string>& words) {
    field.clear();
    for (const auto& word : words) {
      for (const auto& part : CLI::detail::split(word + ",", ',')) {
        field.push_back(integer(name, part, least, most));
      }
    }
  };
  return command.add_option_function<std::vector<std::string>>(name, take, help)
      ->type_name("INT,...")
      ->default_str(joined(field));
}

std::optional<int> parse_command_line(CLI::App& app, int argc, char** argv) {
  try {
    parse(app, argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    const int status = app.exit(error, out, err);
    std::fputs(err.str().c_str(), stderr);
    if (!out.str().empty()) write_file("", out.str());
    return status;
  }
  return std::nullopt;
}

}  // namespace evenkeel::examples
