#include "grpc/grpc.h"

int main() { return grpc_version_string() == nullptr ? 1 : 0; }
