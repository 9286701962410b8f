// The options that all commands which train share.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "run_config.hpp"
#include "spnet/core/error.hpp"
#include "train_session.hpp"

namespace spnet::program {

/// What the command line says of a run, and how this session goes about it.
struct TrainingArguments {
  RunConfig config;
  std::vector<std::string> scale_rates;
  std::string resume, init;
  int threads = 0;
  SessionOptions session;
};

/// Reads a list of numbers, as "40,40,80", into `out`; throws ValueError, naming the option, on another form.
template <class T>
void parse_numbers(const char* option, const std::vector<std::string>& texts, std::vector<T>& out) {
  for (const std::string& text : texts) {
    T value{};
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    check<ValueError>(error == std::errc() && stop == text.data() + text.size(), option, ": '", text,
                      "' given, expected a number");
    out.push_back(value);
  }
}

/// Reads "NAME:0.25" into the name and the number; throws ValueError, saying what the form is, on another.
std::pair<std::string, double> parse_named_number(const std::string& text, const char* option, const char* form);

/// Those that say which network it is: model, width, stem, image size, quantizers. `arguments` must live as long as
/// `command`.
std::vector<CLI::Option*> add_network_options(CLI::App& command, RunConfig& config);

/// And how it is trained, on what, and for how long: --resume and what may go with it as well, which excludes all that
/// define a new run: these and `defining`.
void add_training_options(CLI::App& command, TrainingArguments& arguments, std::vector<CLI::Option*> defining);

/// Completes a new run's configuration from the arguments, as far as that is possible without its data. Throws
/// ValueError, naming the option.
void complete(TrainingArguments& arguments);

}  // namespace spnet::program
