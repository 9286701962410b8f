#include "run_folder.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "networks.hpp"
#include "spnet/io/module_file.hpp"

namespace spnet::program {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMaxTextBytes = std::uint64_t{1} << 30;

std::string read_text(const fs::path& path) {
  const io::FileBytes bytes = io::read_file(path, kMaxTextBytes);
  return {reinterpret_cast<const char*>(bytes.data.get()), bytes.size};
}

nlohmann::json parse_json(const std::string& text, const std::string& source) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw FileError(message(source, ": not valid JSON (", error.what(), ")"));
  }
}

}  // namespace

RunFolder::RunFolder(fs::path path) : path_(std::move(path)) {}

void RunFolder::create(const RunConfig& config) const {
  check<FileError>(!fs::exists(path_ / "config.json") && checkpoints().list().empty(), path_.string(),
                   ": there is a run already; go on with `spnet train --resume ", path_.string(),
                   "`, or choose another folder");
  std::error_code error;
  fs::create_directories(path_, error);
  check<FileError>(!error, path_.string(), ": cannot make the folder: ", error.message());
  io::write_file_atomically(path_ / "config.json", to_json(config).dump(2) + "\n");
}

RunConfig RunFolder::load_config() const {
  const std::string source = (path_ / "config.json").string();
  check<FileError>(fs::exists(path_), path_.string(), ": no such folder");
  check<FileError>(fs::exists(path_ / "config.json"), path_.string(), ": not the folder of a run (it has no config.json)");
  return config_from_json(parse_json(read_text(source), source), source);
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

bool RunFolder::is_fresh() const {
  const fs::path metrics = path_ / "metrics.jsonl";
  return checkpoints().list().empty() && (!fs::exists(metrics) || fs::file_size(metrics) == 0);
}

void RunFolder::rewind_metrics(std::int64_t epochs) const {
  const fs::path path = path_ / "metrics.jsonl";
  if (!fs::exists(path)) return;
  const std::string text = read_text(path);
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
  if (kept != text) io::write_file_atomically(path, kept);
}

void report(const io::CheckpointFolder::Loaded& loaded) {
  for (const std::string& text : loaded.messages)
    std::fprintf(stderr, "warning: %s\n", text.c_str());
  if (!loaded.messages.empty())
    std::fprintf(stderr, "warning: falling back to %s\n", loaded.path.string().c_str());
}

LoadedRun load_run(const fs::path& path, bool best) {
  const RunFolder folder(path);
  LoadedRun out;
  out.config = folder.load_config();
  io::CheckpointFolder::Loaded loaded;
  if (best) {
    check<FileError>(fs::exists(folder.best()), folder.best().string(),
                     ": no such file; the run has not been evaluated while it trained");
    loaded.file = io::TensorFile::load(folder.best(), {.require_checksum = true});
    loaded.path = folder.best();
  } else {
    loaded = folder.checkpoints().load();
    report(loaded);
  }
  out.model = make_network(out.config);
  try {
    io::load_module(loaded.file, *out.model);
  } catch (const FileError& error) {
    throw FileError(message(loaded.path.string(), ": does not fit the network of ", folder.path().string(),
                            "/config.json: ", error.what()));
  }
  out.model->eval();
  const auto progress = parse_json(loaded.file.metadata("progress"), loaded.path.string());
  out.step = progress.value("step", std::uint64_t{0});
  return out;
}

}  // namespace spnet::program
