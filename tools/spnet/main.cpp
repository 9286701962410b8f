// spnet: train, evaluate, pack and run networks that switch their precision.
// Exit codes: 0, 1 for a run that failed, 2 for wrong usage.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>

#include "commands.hpp"
#include "spnet/version.hpp"

int main(int argc, char** argv) {
  using namespace spnet::program;
  CLI::App app{"spnet: one network, one set of weights, every precision from 1 to 8 bits and float."};
  app.set_version_flag("--version", SPNET_VERSION_STRING);
  app.require_subcommand(1);
  std::function<int()> chosen;
  add_train_command(app, chosen);
  add_search_command(app, chosen);
  add_prune_command(app, chosen);
  add_profile_command(app, chosen);
  add_eval_command(app, chosen);
  add_pack_command(app, chosen);
  add_run_command(app, chosen);
  add_bench_command(app, chosen);
  add_info_command(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    const int code = chosen();
    // What was printed may not have arrived: a full disk, a closed pipe.
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
    std::fprintf(stderr, "spnet: cannot write to the standard output\n");
    return 1;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "spnet: %s\n", error.what());
    return 2;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "spnet: out of memory\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "spnet: %s\n", error.what());
  }
  return 1;
}
