// Ctrl-C and SIGTERM as a wish to stop, which the work looks at when it is ready to.
#pragma once

namespace spnet::program {

/// From now on SIGINT and SIGTERM only set a flag; a second one ends the process at once.
void catch_stop_signals();
/// True once a signal has come.
bool stop_requested();

}  // namespace spnet::program
