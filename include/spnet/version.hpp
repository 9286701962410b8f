// The version of spnet, for the preprocessor; meson.build names the same one.
#pragma once

#define SPNET_VERSION_MAJOR 0
#define SPNET_VERSION_MINOR 1
#define SPNET_VERSION_PATCH 0
#define SPNET_VERSION_STRING "0.1.0"
