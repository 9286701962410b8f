#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "packed_model.hpp"
#include "run_folder.hpp"
#include "spnet/nn/size.hpp"

namespace spnet::program {

namespace {

int print_info(const std::string& path) {
  const LoadedRun run = load_run(path, /*best=*/false);
  const RunConfig& c = run.config;
  std::int64_t parameters = 0, norms = 0;
  for (const auto& p : run.model->parameters()) {
    parameters += p.variable.size();
    if (p.kind == nn::ParameterKind::kNorm) norms += p.variable.size();
  }
  std::printf("model       %s, width %g, stem %s, %zu classes\n", c.model.c_str(), c.width, c.stem.c_str(), c.classes.size());
  std::printf("parameters  %lld, %lld of them in batch norms\n", static_cast<long long>(parameters),
              static_cast<long long>(norms));
  std::printf("data        %s, %lld pixels square\n", c.data.c_str(), static_cast<long long>(c.image_size));
  std::printf("quantizer   %s%s%s\n", c.quantizer.c_str(), c.activation_quantizer.empty() ? "" : ", activations ",
              c.activation_quantizer.c_str());
  std::printf("method      %s%s%s, %s batch norms\n", c.method.c_str(), c.stages.empty() ? "" : ", stages of epochs ",
              join(c.stages, {}, ",").c_str(), c.norm.c_str());
  std::printf("training    %lld epochs, batch %lld, %s, rate %g, schedule %s, distillation %s, seed %llu\n",
              static_cast<long long>(c.epochs), static_cast<long long>(c.batch), c.optimizer.c_str(), c.lr,
              c.schedule.c_str(), c.distillation.name.c_str(), static_cast<unsigned long long>(c.seed));
  std::printf("trained     %llu steps\n", static_cast<unsigned long long>(run.step));
  std::printf("switch      weight bytes\n");
  if (c.is_fixed()) std::printf("%-8s %15lld\n", "mixed", static_cast<long long>(nn::model_size_bytes(*run.model, {})));
  for (Precision p : c.is_fixed() ? std::vector<Precision>() : c.switches)
    std::printf("%-8s %15lld\n", to_string(p).c_str(), static_cast<long long>(nn::model_size_bytes(*run.model, p)));
  return 0;
}

}  // namespace

void add_info_command(CLI::App& app, std::function<int()>& chosen) {
  auto run = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("info", "What a run or a packed network is");
  command->add_option("run", *run, "folder of the run, or the packed file")->required();
  command->callback([=, &chosen] { chosen = [run] { return is_packed(*run) ? print_packed(*run) : print_info(*run); }; });
}

}  // namespace spnet::program
