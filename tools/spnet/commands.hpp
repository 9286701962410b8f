// The commands of the spnet program.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>

namespace spnet::program {

/// The command line asks for what cannot be: exit code 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Before long work whose result goes into the file that `--out` names: throws UsageError where its folder is not
/// there, or a folder has its name.
inline void require_folder_of(const std::string& out) {
  const std::filesystem::path folder = std::filesystem::path(out).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder))
    throw UsageError("--out '" + out + "' given: there is no such folder");
  if (std::filesystem::is_directory(out)) throw UsageError("--out '" + out + "' given: this is a folder");
}

/// Each adds its subcommand to `app`; parsing sets `chosen` to what is to be done, which returns the exit code.
void add_train_command(CLI::App& app, std::function<int()>& chosen);
void add_search_command(CLI::App& app, std::function<int()>& chosen);
void add_prune_command(CLI::App& app, std::function<int()>& chosen);
void add_profile_command(CLI::App& app, std::function<int()>& chosen);
void add_eval_command(CLI::App& app, std::function<int()>& chosen);
void add_pack_command(CLI::App& app, std::function<int()>& chosen);
void add_run_command(CLI::App& app, std::function<int()>& chosen);
void add_bench_command(CLI::App& app, std::function<int()>& chosen);
void add_info_command(CLI::App& app, std::function<int()>& chosen);

}  // namespace spnet::program
