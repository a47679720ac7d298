#include <array>

#include "lib/embedding/channels/channels.h"
#include "lib/embedding/feature_channel.h"

namespace faultline::embedding {

absl::Span<const FeatureChannel* const> FeatureChannels() {
  static constexpr std::array<const FeatureChannel*, kChannelCount> kChannels =
      {&kToolChannel,      &kTransitionChannel, &kErrorChannel,
       &kRetrievalChannel, &kSignalChannel,     &kTaskChannel,
       &kSystemChannel,    &kRouteChannel,      &kMemoryChannel,
       &kPromptChannel};
  return kChannels;
}

}  // namespace faultline::embedding
