#ifndef FAULTLINE_CLIENT_LAB_MODELS_H_
#define FAULTLINE_CLIENT_LAB_MODELS_H_

#include <cstdint>

#include "client/lab/arithmetic_agent.h"
#include "client/lab/corpus_agent.h"
#include "client/lab/corpus_world.h"
#include "client/lab/question_parser.h"
#include "client/lab/text_classifier.h"
#include "client/lab/world.h"

namespace faultline::lab {

// Every part that is trained, and the world that says how they are put
// together. Immutable once made, so thread-safe.
struct Models {
  // Trains on the parts' own questions. `drifted`: as they are from the tick on
  // at which World::kDrift changes them; otherwise without effect.
  static Models Train(uint64_t seed, World world, bool drifted);

  World world;
  TextClassifier bag_of_words;
  TextClassifier bigram;
  QuestionParser parser;
  ToolChooser short_sighted;
  ToolChooser number_aware;
  CorpusWorld corpus;
  CorpusAgent corpus_agent;
};

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_MODELS_H_
