#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "client/lab/bm25.h"
#include "client/lab/corpus_agent.h"
#include "client/lab/corpus_world.h"
#include "client/lab/text_classifier.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace faultline::lab {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<size_t> Found(const Bm25& index, const std::string& query,
                          size_t k) {
  std::vector<size_t> passages;
  for (const Bm25::Hit& hit : index.Search(Words(query), k)) {
    passages.push_back(hit.passage);
  }
  return passages;
}

TEST(Bm25Test, RanksByRareWordsAndByLength) {
  const Bm25 index({Words("the home of ada is lisbon"),
                    Words("the home of ben is old"),
                    Words("the home of ben as far as anybody can tell is oslo"),
                    Words("the job of ben is baker")});
  EXPECT_THAT(Found(index, "home of Ada", 1), ElementsAre(0));
  // The shorter one first, whatever it says.
  EXPECT_THAT(Found(index, "home of ben", 2), ElementsAre(1, 2));
  EXPECT_THAT(Found(index, "where does he dwell", 5), IsEmpty());
  EXPECT_GT(index.Weight("ada"), index.Weight("the"));
  EXPECT_EQ(index.Search({"ada", "ada"}, 1)[0].score,
            index.Search({"ada"}, 1)[0].score);
}

TEST(Bm25Test, ScoresAsTheFormulaSays) {
  const Bm25 index({{"a", "b"}, {"c", "d"}});
  // ln(1 + 1.5 / 1.5) * 2.2 / (1 + 1.2): of mean length, once.
  EXPECT_NEAR(index.Search({"a"}, 1)[0].score, std::log(2.), 1e-12);
}

const CorpusWorld& World() {
  static const auto& world = *new CorpusWorld(7);
  return world;
}
const CorpusAgent& Agent() {
  static const auto& agent = *new CorpusAgent(World());
  return agent;
}

std::map<std::string, std::vector<Problem>> ProblemsByKind() {
  base::Random random(3);
  std::map<std::string, std::vector<Problem>> problems;
  for (int i = 0; i < 1500; ++i) {
    Problem problem = World().MakeProblem(&random);
    problems[problem.kind].push_back(std::move(problem));
  }
  return problems;
}

double FailureRate(const std::vector<Problem>& problems,
                   const CorpusAgent::Search& search) {
  double failures = 0;
  for (const Problem& problem : problems) {
    const auto found = Agent().Retrieve(problem.question, search);
    failures +=
        Agent().Read(problem.question, found.passages).answer != problem.answer
            ? 1
            : 0;
  }
  return failures / static_cast<double>(problems.size());
}

TEST(CorpusWorldTest, HasEveryKindAndStatesWhatItShould) {
  const auto problems = ProblemsByKind();
  EXPECT_EQ(problems.size(), 7u);
  const std::set<std::string> passages(World().passages().begin(),
                                       World().passages().end());
  for (const auto& [kind, list] : problems) {
    for (const Problem& problem : list) {
      EXPECT_EQ(problem.answer == kNotStated, kind == "unsupported");
      if (kind == "lookup") {
        // `What is the X of Y?`: the corpus has `The X of Y is ANSWER.`
        bool stated = false;
        for (const std::string& passage : passages) {
          const std::vector<std::string> asked = Words(problem.question);
          const std::vector<std::string> said = Words(passage);
          stated |= said.size() == 6 && said[1] == asked[3] &&
                    said[3] == asked[5] && said.back() == problem.answer;
        }
        EXPECT_TRUE(stated) << problem.question;
      }
    }
  }
}

TEST(CorpusWorldTest, TeachesNothingOfWhatIsAsked) {
  std::set<std::string> taught;
  for (const Problem& problem : World().taught()) {
    taught.insert(problem.question);
  }
  for (const auto& [kind, list] : ProblemsByKind()) {
    for (const Problem& problem : list) {
      EXPECT_EQ(taught.count(problem.question), 0u) << problem.question;
    }
  }
}

TEST(CorpusAgentTest, MissesWhatRetrieversMiss) {
  auto problems = ProblemsByKind();
  const CorpusAgent::Search plain = {1};
  const CorpusAgent::Search wide = {8};
  const CorpusAgent::Search tuned = {8, true};
  EXPECT_LT(FailureRate(problems["lookup"], plain), .05);
  // Other words than the corpus has.
  EXPECT_GT(FailureRate(problems["synonym"], plain), .4);
  EXPECT_LT(FailureRate(problems["synonym"], tuned), .3);
  // Too few passages.
  EXPECT_GT(FailureRate(problems["crowded"], plain), .9);
  EXPECT_LT(FailureRate(problems["crowded"], wide), .6);
  // Words that say nothing.
  EXPECT_GT(FailureRate(problems["chatty"], wide), .9);
  EXPECT_LT(FailureRate(problems["chatty"], tuned), .3);
}

TEST(CorpusAgentTest, RemembersTheOldEditionAndIsOftenWrong) {
  auto problems = ProblemsByKind();
  int known = 0;
  int wrong = 0;
  for (const Problem& problem : problems["recalled"]) {
    const auto recalled = Agent().Recall(problem.question);
    known += recalled.has_value() ? 1 : 0;
    wrong += recalled.has_value() && *recalled != problem.answer ? 1 : 0;
  }
  EXPECT_GT(known, .9 * static_cast<double>(problems["recalled"].size()));
  EXPECT_GT(wrong, .3 * known);
  EXPECT_LT(wrong, .8 * known);
  for (const Problem& problem : problems["lookup"]) {
    EXPECT_FALSE(Agent().Recall(problem.question).has_value());
  }
}

TEST(CorpusAgentTest, SeesWhetherAPassageSupportsAnAnswer) {
  auto problems = ProblemsByKind();
  const auto supported = [](const Problem& problem) {
    const auto found = Agent().Retrieve(problem.question, {8, true});
    const auto reading = Agent().Read(problem.question, found.passages);
    return reading.passage.has_value() &&
           Agent().Supports(*reading.passage, problem.question);
  };
  const auto& stated = problems["lookup"];
  const auto& missing = problems["unsupported"];
  EXPECT_EQ(std::count_if(stated.begin(), stated.end(), supported),
            static_cast<int64_t>(stated.size()));
  EXPECT_EQ(std::count_if(missing.begin(), missing.end(), supported), 0);
  // It would have answered all the same.
  EXPECT_GT(FailureRate(missing, {1}), .9);
}

TEST(CorpusAgentTest, TakesAQuestionApart) {
  const auto parts = Decompose("What is the home of the founder of Tarvin?");
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(parts->first, "What is the founder of Tarvin?");
  EXPECT_EQ(parts->second, "What is the home of $0?");
  EXPECT_FALSE(Decompose("What is the home of Tarvin?").has_value());
}

}  // namespace
}  // namespace faultline::lab
