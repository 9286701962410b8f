// The decoders that the program hands to the data sets: libjpeg-turbo, libpng and zlib.
#pragma once

#include "spnet/data/codecs.hpp"

namespace spnet::program {

/// JPEG and PNG, told apart by their first bytes, and gzip. What the libraries only warn of (data that are cut off or
/// damaged) is an error here.
data::Codecs image_codecs();

}  // namespace spnet::program
