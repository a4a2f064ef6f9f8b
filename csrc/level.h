// Which dispatch levels there are on this machine.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.h"

namespace sgl {

// The levels that were compiled in, best first. The last is "portable", which runs everywhere.
std::vector<const KernelTable*> compiled_levels();

// Those of them whose instructions this processor has and the operating system lets programs use, best first.
std::vector<const KernelTable*> usable_levels();

// The usable level of this name. Throws std::invalid_argument, saying which there are, if it is none of them.
const KernelTable& level(const std::string& name);

}  // namespace sgl
