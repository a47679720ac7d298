#ifndef FAULTLINE_CLIENT_LAB_CORPUS_WORLD_H_
#define FAULTLINE_CLIENT_LAB_CORPUS_WORLD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/lab/problem.h"
#include "lib/base/random.h"

namespace faultline::lab {

// A small corpus about people and companies that do not exist, and questions
// about it. Immutable once made, so thread-safe.
class CorpusWorld {
 public:
  explicit CorpusWorld(uint64_t seed);

  // One sentence each.
  const std::vector<std::string>& passages() const { return passages_; }
  // What an earlier edition said of the well-known, of which most has changed.
  const std::vector<std::string>& old_edition() const { return old_edition_; }
  // Questions with answers to learn from, about people and companies that
  // nobody asks for.
  const std::vector<Problem>& taught() const { return taught_; }

  // A question whose answer is a word, or `not stated`. Kinds, by what makes it
  // hard:
  //   lookup       nothing
  //   synonym      the corpus has other words for it
  //   crowded      passages that say nothing look as good as the one that does
  //   chatty       a long opening, whose words other passages have
  //   two_hop      what is asked for hangs on an answer that is not given
  //   unsupported  the corpus does not say
  //   recalled     about the well-known
  // Id and seed stay empty.
  Problem MakeProblem(base::Random* random) const;

 private:
  struct Fact {
    std::string value;  // empty: not stated
    bool crowded = false;
  };
  struct Entity {
    std::string name;
    bool company = false;
    std::vector<Fact> facts;  // by relation of its sort
  };

  std::string DrawName(base::Random* random);
  void AddEntities(size_t people, size_t companies, base::Random* random,
                   std::vector<Entity>* entities);
  void AddPassages(const Entity& entity, base::Random* random);
  Problem Ask(const std::vector<Entity>& entities, const std::string& kind,
              base::Random* random) const;

  std::vector<std::string> names_;  // taken
  std::vector<Entity> taught_entities_;
  std::vector<Entity> entities_;
  std::vector<Entity> well_known_;
  std::vector<std::string> passages_;
  std::vector<std::string> old_edition_;
  std::vector<Problem> taught_;
};

// The answer to what the corpus does not say.
inline constexpr char kNotStated[] = "not stated";

}  // namespace faultline::lab

#endif  // FAULTLINE_CLIENT_LAB_CORPUS_WORLD_H_
