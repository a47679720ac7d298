#ifndef FAULTLINE_LIB_EMBEDDING_CHANNELS_CHANNELS_H_
#define FAULTLINE_LIB_EMBEDDING_CHANNELS_CHANNELS_H_

#include "lib/embedding/feature_channel.h"

namespace faultline::embedding {

// Which tools and other actions the run used, and how often.
extern const FeatureChannel kToolChannel;
// In which order: pairs and triples of steps, loops, first and last step,
// changes of the acting agent.
extern const FeatureChannel kTransitionChannel;
// What failed, where, how often, and what the run did next.
extern const FeatureChannel kErrorChannel;
// What retrieval and memory gave the run.
extern const FeatureChannel kRetrievalChannel;
// Numbers that a router could see before the outcome.
extern const FeatureChannel kSignalChannel;
// What was asked: words, pairs of words, type, dataset, labels.
extern const FeatureChannel kTaskChannel;
// Who answered: agent, model, prompt version, tool set, settings.
extern const FeatureChannel kSystemChannel;
// What was chosen at each decision.
extern const FeatureChannel kRouteChannel;
// The memory before the first step, and how old the records were.
extern const FeatureChannel kMemoryChannel;
// The prompt strategy.
extern const FeatureChannel kPromptChannel;

}  // namespace faultline::embedding

#endif  // FAULTLINE_LIB_EMBEDDING_CHANNELS_CHANNELS_H_
