// The kernels of every instruction set, compiled once for all programs of this tree (SPNET_SHARED_KERNELS).
#include "spnet/kernels/available.hpp"
