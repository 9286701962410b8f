#include "run_folder.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "networks.hpp"
#include "search_plan.hpp"

namespace spnet::program {

namespace fs = std::filesystem;

namespace {

nlohmann::json parse_json(const std::string& text, const std::string& source) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw FileError(message(source, ": not valid JSON (", error.what(), ")"));
  }
}

// Whether a readable config.json holds these entries; images to pass over may be added by a later command.
bool says_the_same(const fs::path& path, nlohmann::json expected) {
  if (!fs::exists(path)) return false;
  nlohmann::json found = nlohmann::json::parse(files::read_text(path), nullptr, /*allow_exceptions=*/false);
  if (!found.is_object() || !expected.is_object()) return false;
  found.erase("skip_bad");
  expected.erase("skip_bad");
  return found == expected;
}

}  // namespace

RunFolder::RunFolder(fs::path path) : path_(std::move(path)) {}

void RunFolder::require_new() const {
  check<FileError>(!fs::exists(path_ / "config.json") && checkpoints().list().empty(), path_.string(),
                   ": there is a run already; go on with `--resume ", path_.string(), "`, or choose another folder");
}

void RunFolder::create(const RunConfig& config) const {
  require_new();
  std::error_code error;
  fs::create_directories(path_, error);
  check<FileError>(!error, path_.string(), ": cannot make the folder: ", error.message());
  files::write_file_atomically(path_ / "config.json", to_json(config).dump(2) + "\n");
}

RunFolder::Stored RunFolder::load(bool best) const {
  check<FileError>(fs::exists(path_), path_.string(), ": no such folder");
  const fs::path config = path_ / "config.json";
  Stored out;
  if (best) {
    check<FileError>(fs::exists(this->best()), this->best().string(),
                     ": no such file; the run has not been evaluated while it trained");
    out.checkpoint = {.file = io::TensorFile::load(this->best(), {.require_checksum = true}), .path = this->best(), .messages = {}};
  } else if (!checkpoints().list().empty()) {
    out.checkpoint = checkpoints().load();
    report(*out.checkpoint);
  } else {
    check<FileError>(fs::exists(config), path_.string(), ": not the folder of a run (it has no config.json and no checkpoint)");
    out.config = config_from_json(parse_json(files::read_text(config), config.string()), config.string());
    return out;
  }
  const std::string source = out.checkpoint->path.string();
  const nlohmann::json carried = parse_json(out.checkpoint->file.metadata("config"), source);
  out.config = config_from_json(carried, source);
  if (!says_the_same(config, carried))
    std::fprintf(stderr, "warning: %s is missing or differs from what %s carries: going by the latter\n",
                 config.string().c_str(), out.checkpoint->path.filename().string().c_str());
  return out;
}

void RunFolder::append_metrics(const nlohmann::json& line) const {
  const std::string path = (path_ / "metrics.jsonl").string();
  const std::string text = line.dump() + "\n";
  std::FILE* file = std::fopen(path.c_str(), "ab");
  check<FileError>(file != nullptr, path, ": cannot open: ", std::strerror(errno));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = std::fclose(file) == 0;
  check<FileError>(written && closed, path, ": cannot write: ", std::strerror(errno));
}

void RunFolder::rewind_metrics(std::int64_t epochs) const {
  const fs::path path = path_ / "metrics.jsonl";
  for (const fs::path& written : {path, best(), path_ / "config.json"}) files::remove_abandoned_temporaries(written);
  if (!fs::exists(path)) return;
  const std::string text = files::read_text(path);
  std::string kept;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    // A line cut short by a crash belongs to what is done again.
    if (json.is_object() && json.contains("epoch") && json["epoch"].is_number_integer() &&
        json["epoch"].get<std::int64_t>() <= epochs)
      kept += line + "\n";
  }
  if (kept != text) files::write_file_atomically(path, kept);
}

void report(const io::CheckpointFolder::Loaded& loaded) {
  for (const std::string& text : loaded.messages)
    std::fprintf(stderr, "warning: %s\n", text.c_str());
  if (!loaded.messages.empty())
    std::fprintf(stderr, "warning: falling back to %s\n", loaded.path.string().c_str());
}

bool reached_last_stage(const RunConfig& config, const nlohmann::json& progress) {
  if (config.method != "bit-mixer" || config.continues) return true;
  const std::int64_t epoch = progress.value("epoch", std::int64_t{0}), batch = progress.value("batch", std::int64_t{0});
  const std::int64_t before = config.stages[0] + config.stages[1];
  // Where there is no last stage, the end of the second counts.
  return epoch > before || (epoch == before && (batch > 0 || config.stages[2] == 0));
}

LoadedRun load_run(const fs::path& path, bool best) {
  RunFolder::Stored stored = RunFolder(path).load(best);
  check<FileError>(stored.checkpoint.has_value(), path.string(), ": no checkpoint here yet");
  const io::CheckpointFolder::Loaded& loaded = *stored.checkpoint;
  LoadedRun out;
  out.config = std::move(stored.config);
  out.model = make_network(out.config);
  load_network(out.config, loaded.file, loaded.path.string(), *out.model);
  try {
    if (out.config.method == "search") out.found = restore_found(out.config, loaded.file, *out.model);
  } catch (const FileError& error) {
    throw FileError(message(loaded.path.string(), ": does not fit its own configuration: ", error.what()));
  }
  out.model->eval();
  const auto progress = parse_json(loaded.file.metadata("progress"), loaded.path.string());
  out.step = progress.value("step", std::uint64_t{0});
  out.reached_last_stage = reached_last_stage(out.config, progress);
  return out;
}

}  // namespace spnet::program
