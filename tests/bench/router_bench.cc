// The router SDK against the policy service on a real port: the time of a local
// decision with 100 rules, decisions while policies swap, and what the server
// knows of routers that refuse, lag or are gone.
//   router_bench [--rules N] [--seconds S] [--json FILE]

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/sdk/grpc_connection.h"
#include "client/sdk/router_client.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "lib/base/clock.h"
#include "lib/ingest/ingestor.h"
#include "lib/policy/policy_board.h"
#include "lib/policy/policy_compiler.h"
#include "lib/slowloop/slow_loop.h"
#include "lib/store/memory_store.h"
#include "lib/trace/trace_log.h"
#include "lib/trace/trace_validator.h"
#include "server/policy_service.h"
#include "server/projects.h"
#include "server/stream_registry.h"
#include "server/worker_pool.h"

namespace faultline::bench {
namespace {

constexpr char kProject[] = "bench";
constexpr int kDeciders = 2;

// The policy service and what it needs, over a store in memory.
class PolicyServer {
 public:
  PolicyServer() : pool_(2, 64) {
    const base::Clock* clock = base::Clock::System();
    validator_ = std::make_unique<trace::TraceValidator>(
        *trace::TraceValidator::Create(v1::TraceLimits()));
    log_ = *trace::TraceLog::Create({}, &store_, clock);
    board_ = *policy::PolicyBoard::Create(&store_, clock);
    projects_ = *server::Projects::Create(
        [this, clock](absl::string_view project) {
          return slowloop::SlowLoop::Create(
              project, {}, {log_.get(), &store_, board_.get(), clock});
        },
        {}, log_.get(), clock);
    ingestor_ = *ingest::Ingestor::Create(
        {}, log_.get(), validator_.get(),
        [this](absl::string_view project) {
          return projects_->Settings(project);
        },
        clock);
    service_ =
        server::MakePolicyService(board_.get(), ingestor_.get(),
                                  projects_.get(), &streams_, &pool_, clock);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
  }

  ~PolicyServer() {
    streams_.DrainAll();
    server_->Shutdown();
    pool_.Stop();
  }

  // Makes `policy` the next version.
  void Publish(v1::Policy policy) {
    const auto current = board_->Current(kProject);
    policy.set_name(absl::StrCat("projects/", kProject, "/policies/",
                                 current->policy().version() + 1));
    policy.set_version(current->policy().version() + 1);
    policy.set_parent_digest(current->policy().digest());
    policy.clear_digest();
    policy.set_digest(policy::PolicyDigest(policy));
    store::WriteBatch batch;
    board_->Stage(kProject, policy, &batch);
    if (!store_.Write(batch, true).ok() ||
        !board_->Publish(kProject, policy).ok()) {
      std::fprintf(stderr, "cannot publish\n");
    }
  }

  uint64_t version() const {
    return board_->Current(kProject)->policy().version();
  }

  std::map<std::string, v1::Router> Routers() {
    const auto stub = v1::PolicyService::NewStub(channel());
    grpc::ClientContext call;
    v1::ListRoutersRequest request;
    request.set_parent(absl::StrCat("projects/", kProject));
    v1::ListRoutersResponse response;
    std::map<std::string, v1::Router> routers;
    if (!stub->ListRouters(&call, request, &response).ok()) return routers;
    for (const v1::Router& r : response.routers()) routers[r.router_id()] = r;
    return routers;
  }

  std::unique_ptr<sdk::RouterClient> Connect(const std::string& router,
                                             sdk::RouterClient::Mode mode) {
    sdk::RouterClient::Options options;
    options.project = kProject;
    options.router_id = router;
    options.mode = mode;
    options.poll_interval = absl::ZeroDuration();
    auto client = sdk::RouterClient::Create(
        options, sdk::MakeGrpcConnection(channel()), base::Clock::System());
    return *std::move(client);
  }

 private:
  std::shared_ptr<grpc::Channel> channel() const {
    return sdk::MakeInsecureChannel(absl::StrCat("127.0.0.1:", port_));
  }

  store::MemoryStore store_;
  std::unique_ptr<trace::TraceValidator> validator_;
  std::unique_ptr<trace::TraceLog> log_;
  std::unique_ptr<policy::PolicyBoard> board_;
  std::unique_ptr<server::Projects> projects_;
  std::unique_ptr<ingest::Ingestor> ingestor_;
  server::StreamRegistry streams_;
  server::WorkerPool pool_;
  std::unique_ptr<grpc::Service> service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

void Compare(const std::string& field, const std::string& text,
             v1::Predicate* predicate) {
  v1::Comparison& comparison = *predicate->mutable_comparison();
  comparison.set_field(field);
  comparison.set_op(v1::Comparison::OPERATOR_EQUAL);
  comparison.set_text(text);
}

// Rules as the planner makes them: of the task's type and two more facts, of
// every kind; `stamp` is in all of them, so that a mixture of two policies
// shows.
v1::Policy MakePolicy(int rules, const std::string& stamp) {
  v1::Policy policy;
  policy.mutable_ttl()->set_seconds(600);
  for (int i = 0; i < rules; ++i) {
    v1::Rule& rule = *policy.add_rules();
    rule.set_intervention_id(absl::StrFormat("iv%03d", i));
    rule.set_treatment_probability(.5);
    rule.set_salt(stamp);
    rule.set_priority(rules - i);
    auto& all = *rule.mutable_match()->mutable_all();
    Compare("task.type", absl::StrCat("type-", i % 10), all.add_predicates());
    Compare("task.dataset", absl::StrCat("set-", i % 3), all.add_predicates());
    v1::Comparison& word = *all.add_predicates()->mutable_comparison();
    word.set_field("task.input");
    word.set_op(v1::Comparison::OPERATOR_HAS_WORD);
    word.set_text(i % 2 == 0 ? "refund" : "invoice");
    v1::Action& action = *rule.mutable_action();
    switch (i % 4) {
      case 0: {
        rule.set_kind(v1::INTERVENTION_KIND_ROUTING_POLICY);
        auto* candidate = action.mutable_routing_policy()->add_candidates();
        candidate->set_name("large");
        candidate->set_weight(1);
        break;
      }
      case 1:
        rule.set_kind(v1::INTERVENTION_KIND_PROMPT_STRATEGY);
        action.mutable_prompt_strategy()->set_strategy("stepwise");
        break;
      case 2:
        rule.set_kind(v1::INTERVENTION_KIND_TOOL_CONSTRAINT);
        action.mutable_tool_constraint()->set_tool(absl::StrCat("tool-", i));
        action.mutable_tool_constraint()->mutable_call_limit()->set_max_calls(
            3);
        break;
      default:
        rule.set_kind(v1::INTERVENTION_KIND_MEMORY_SCHEMA);
        action.mutable_memory_schema()->mutable_max_age()->set_seconds(60);
        break;
    }
  }
  return policy;
}

// What a router knows of a run before it chooses.
std::vector<v1::Trace> MakeContexts() {
  std::vector<v1::Trace> contexts;
  for (int i = 0; i < 64; ++i) {
    v1::Trace& trace = contexts.emplace_back();
    trace.set_trace_id(absl::StrCat("run-", i));
    trace.mutable_task()->set_type(absl::StrCat("type-", i % 10));
    trace.mutable_task()->set_dataset(absl::StrCat("set-", i % 3));
    trace.mutable_task()->set_input(
        "my refund for the invoice of last week has not come, what now?");
    trace.mutable_system()->set_agent("worker");
    trace.mutable_system()->set_model("small");
  }
  return contexts;
}

// Median, over batches, of microseconds a decision.
double DecisionMicros(const sdk::RouterClient& router, absl::Duration length) {
  const base::Clock& clock = *base::Clock::System();
  const std::vector<v1::Trace> contexts = MakeContexts();
  std::vector<double> micros;
  const absl::Duration end = clock.SteadyNow() + length;
  size_t matched = 0;
  while (clock.SteadyNow() < end) {
    constexpr int kBatch = 1000;
    const absl::Duration begin = clock.SteadyNow();
    for (int i = 0; i < kBatch; ++i) {
      const v1::Trace& context = contexts[i % contexts.size()];
      matched += router.Decide(context, context.trace_id()).matches.size();
    }
    micros.push_back(absl::ToDoubleMicroseconds(clock.SteadyNow() - begin) /
                     kBatch);
  }
  if (matched == 0) return 1e9;  // nothing was decided
  std::nth_element(micros.begin(), micros.begin() + micros.size() / 2,
                   micros.end());
  return micros[micros.size() / 2];
}

struct SwapFigures {
  uint64_t decisions = 0;
  uint64_t lost = 0;  // without a policy, or of a mixture of two
  uint64_t swaps = 0;
};

// Publishes versions as fast as they are taken while others decide.
SwapFigures DecideWhileSwapping(PolicyServer* server, int rules,
                                absl::Duration length) {
  const base::Clock& clock = *base::Clock::System();
  auto router = server->Connect("swapping", sdk::RouterClient::Mode::kWatch);
  SwapFigures figures;
  if (!router->WaitForVersion(server->version(), absl::Seconds(10)).ok()) {
    figures.lost = 1;
    return figures;
  }
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> decisions = 0;
  std::atomic<uint64_t> lost = 0;
  std::vector<std::thread> deciders;
  for (int d = 0; d < kDeciders; ++d) {
    deciders.emplace_back([&] {
      const std::vector<v1::Trace> contexts = MakeContexts();
      uint64_t count = 0, missing = 0, last = 0;
      while (!stop) {
        const v1::Trace& context = contexts[count++ % contexts.size()];
        const sdk::Decision decision =
            router->Decide(context, context.trace_id());
        bool whole =
            !decision.stale && !decision.matches.empty() &&
            decision.policy_version >= last &&
            decision.exposure.policy_version() == decision.policy_version;
        for (const policy::RuleMatch& match : decision.matches) {
          whole = whole &&
                  match.rule->salt() == decision.matches.front().rule->salt();
        }
        last = decision.policy_version;
        missing += whole ? 0 : 1;
      }
      decisions += count;
      lost += missing;
    });
  }
  const absl::Duration end = clock.SteadyNow() + length;
  while (clock.SteadyNow() < end) {
    server->Publish(
        MakePolicy(rules, absl::StrCat("salt-", server->version() + 1)));
    if (!router->WaitForVersion(server->version(), absl::Seconds(10)).ok()) {
      ++lost;
      break;
    }
  }
  stop = true;
  for (std::thread& decider : deciders) decider.join();
  figures.decisions = decisions;
  figures.lost = lost;
  figures.swaps = router->statistics().swaps;
  return figures;
}

// How many of the routers that ListRouters must tell about it does not. Waits
// for what is on its way, at most 10 s.
int HiddenRouters(PolicyServer* server, int rules) {
  auto good = server->Connect("good", sdk::RouterClient::Mode::kWatch);
  auto gone = server->Connect("gone", sdk::RouterClient::Mode::kPoll);
  auto refusing = server->Connect("refusing", sdk::RouterClient::Mode::kWatch);
  auto polling = server->Connect("polling", sdk::RouterClient::Mode::kPoll);
  (void)gone->Poll();
  (void)gone->Poll();  // tells what it applies
  const uint64_t old_version = server->version();
  gone.reset();
  // A rule of a build to come, among others that everybody knows.
  v1::Policy policy = MakePolicy(rules, "last");
  v1::Rule& unknown = *policy.add_rules();
  unknown.set_intervention_id("iv-new");
  unknown.set_treatment_probability(.5);
  unknown.mutable_match()->mutable_all();
  server->Publish(policy);
  server->Publish(policy);
  (void)polling->Poll();
  (void)polling->Poll();  // tells why it refused
  const auto hidden = [&] {
    const std::map<std::string, v1::Router> routers = server->Routers();
    const auto refuses = [&](const char* id) {
      const auto found = routers.find(id);
      return found != routers.end() &&
             found->second.nack_reason().find("iv-new") != std::string::npos;
    };
    const auto found = routers.find("gone");
    const bool stale = found != routers.end() && !found->second.watching() &&
                       found->second.applied_version() == old_version &&
                       found->second.version_skew() == 2 &&
                       found->second.last_seen_time().seconds() > 0;
    return (refuses("good") ? 0 : 1) + (refuses("refusing") ? 0 : 1) +
           (refuses("polling") ? 0 : 1) + (stale ? 0 : 1);
  };
  const base::Clock& clock = *base::Clock::System();
  const absl::Duration end = clock.SteadyNow() + absl::Seconds(10);
  while (hidden() > 0 && clock.SteadyNow() < end) std::this_thread::yield();
  return hidden();
}

int Main(int argc, char** argv) {
  CLI::App cli("Measures the router SDK");
  int rules = 100;
  double seconds = 5;
  std::string json;
  cli.add_option("--rules", rules, "Rules of the policy")
      ->check(CLI::Range(1, 128));
  cli.add_option("--seconds", seconds, "Length of each measurement");
  cli.add_option("--json", json, "Writes the figures here");
  CLI11_PARSE(cli, argc, argv);

  PolicyServer server;
  // Beside it, what a decision with a single rule takes.
  server.Publish(MakePolicy(1, "one"));
  const auto router = server.Connect("timed", sdk::RouterClient::Mode::kWatch);
  if (!router->WaitForVersion(1, absl::Seconds(10)).ok()) return 1;
  const double one_rule = DecisionMicros(*router, absl::Seconds(seconds) / 4);
  server.Publish(MakePolicy(rules, "all"));
  if (!router->WaitForVersion(2, absl::Seconds(10)).ok()) return 1;
  const double micros = DecisionMicros(*router, absl::Seconds(seconds));
  std::printf("decision: %.2f us with %d rules, %.2f us with one\n", micros,
              rules, one_rule);
  const SwapFigures swap =
      DecideWhileSwapping(&server, rules, absl::Seconds(seconds));
  std::printf("swaps: %d policies while %d decisions were made, %d lost\n",
              static_cast<int>(swap.swaps), static_cast<int>(swap.decisions),
              static_cast<int>(swap.lost));
  const int hidden = HiddenRouters(&server, std::min(rules, 100));
  std::printf("routers: %d of 4 that refuse or are gone are not told of\n",
              hidden);
  if (!json.empty()) {
    std::ofstream(json) << absl::StrFormat(
        "{\"decision_us\": %.3f, \"one_rule_us\": %.3f, \"swaps\": %d, "
        "\"decisions\": %d, \"lost\": %d, \"hidden\": %d}\n",
        micros, one_rule, swap.swaps, swap.decisions, swap.lost, hidden);
  }
  return 0;
}

}  // namespace
}  // namespace faultline::bench

int main(int argc, char** argv) { return faultline::bench::Main(argc, argv); }
