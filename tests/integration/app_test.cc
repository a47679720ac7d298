// The whole server in this process, on disk: start, restart, stop.
#include "server/app.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/behavior_service.grpc.pb.h"
#include "faultline/v1/cluster_service.grpc.pb.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "faultline/v1/policy_service.grpc.pb.h"
#include "gmock/gmock.h"
#include "server/server_options.h"
#include "tests/fakes/fake_clock.h"
#include "tests/integration/service_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace faultline::integration {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

// One request and the first response of a bidirectional call without stub.
class OneExchange
    : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  std::string Run(grpc::GenericStub* stub, const std::string& method,
                  const std::string& request) {
    request_ = ToBuffer(request);
    stub->PrepareBidiStreamingCall(&call_, method, {}, this);
    StartWrite(&request_);
    StartRead(&response_);
    StartCall();
    done_.WaitForNotification();
    return ToString(response_);
  }

 private:
  void OnReadDone(bool) override { StartWritesDone(); }
  void OnDone(const grpc::Status& status) override {
    EXPECT_TRUE(status.ok()) << status.error_message();
    done_.Notify();
  }

  grpc::ClientContext call_;
  grpc::ByteBuffer request_, response_;
  absl::Notification done_;
};

class AppTest : public ::testing::Test {
 protected:
  AppTest() {
    config_.set_data_dir(dir_.path() + "/data");
    config_.set_listen_address("127.0.0.1:0");
    config_.mutable_default_project()->mutable_tick_interval();
    EXPECT_OK(server::CompleteServerConfig(&config_));
  }

  void Create() {
    app_.reset();
    ASSERT_OK_AND_ASSIGN(app_, server::App::Create(config_, &clock_));
    channel_ = grpc::CreateChannel(app_->address(),
                                   grpc::InsecureChannelCredentials());
    ingest_ = v1::TraceIngestService::NewStub(channel_);
    admin_ = v1::AdminService::NewStub(channel_);
  }
  void Start() {
    Create();
    ASSERT_OK(app_->Start());
  }

  v1::IngestTracesResponse Ingest(const std::vector<v1::Trace>& traces) {
    v1::IngestTracesRequest request;
    request.set_parent("projects/p");
    for (const v1::Trace& trace : traces) *request.add_traces() = trace;
    grpc::ClientContext call;
    v1::IngestTracesResponse response;
    const grpc::Status status =
        ingest_->IngestTraces(&call, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  v1::GetStatusResponse Status() {
    grpc::ClientContext call;
    v1::GetStatusResponse response;
    EXPECT_TRUE(admin_->GetStatus(&call, {}, &response).ok());
    return response;
  }

  v1::Tick TriggerTick() {
    grpc::ClientContext call;
    v1::TriggerTickRequest request;
    request.set_parent("projects/p");
    v1::TriggerTickResponse response;
    const grpc::Status status = admin_->TriggerTick(&call, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.tick();
  }

  // grpc.health.v1.HealthCheckResponse: `status` is field 1, SERVING 1 and
  // NOT_SERVING 2.
  int Health() {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext call;
    const grpc::ByteBuffer request = ToBuffer("");
    grpc::ByteBuffer response;
    grpc::Status status;
    absl::Notification done;
    stub.UnaryCall(&call, "/grpc.health.v1.Health/Check", {}, &request,
                   &response, [&](grpc::Status s) {
                     status = std::move(s);
                     done.Notify();
                   });
    done.WaitForNotification();
    EXPECT_TRUE(status.ok()) << status.error_message();
    const std::string bytes = ToString(response);
    return bytes.size() == 2 && bytes[0] == 8 ? bytes[1] : 0;
  }

  // Sends a piece of run `long` and waits until it is durable.
  void SendPiece(uint32_t index, bool last,
                 v1::Outcome outcome = v1::OUTCOME_UNSPECIFIED) {
    grpc::ClientContext call;
    auto stream = ingest_->StreamTraces(&call);
    v1::StreamTracesRequest request;
    request.set_parent("projects/p");
    v1::TracePiece* piece = request.add_pieces();
    piece->set_trace_id("long");
    piece->set_index(index);
    piece->set_last(last);
    *piece->mutable_part() = MakeTrace("");
    piece->mutable_part()->mutable_evaluation()->set_outcome(outcome);
    EXPECT_TRUE(stream->Write(request));
    stream->WritesDone();
    v1::StreamTracesResponse response;
    while (stream->Read(&response))
      EXPECT_THAT(response.rejections(), SizeIs(0));
    EXPECT_TRUE(stream->Finish().ok());
    EXPECT_EQ(response.settled(), 1);
  }

  // Run `long` as it is stored, once late pieces have changed it so often.
  v1::Trace AwaitRun(uint32_t replacements) {
    const auto behavior = v1::BehaviorService::NewStub(channel_);
    v1::GetTraceRequest request;
    request.set_name("projects/p/traces/long");
    while (true) {
      grpc::ClientContext call;
      v1::GetTraceResponse response;
      const grpc::Status status = behavior->GetTrace(&call, request, &response);
      if (status.ok() && response.replacements() == replacements) {
        return response.trace();
      }
      std::this_thread::yield();
    }
  }

  testing::TempDir dir_;
  fakes::FakeClock clock_;
  v1::ServerConfig config_;
  std::unique_ptr<server::App> app_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::TraceIngestService::Stub> ingest_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

TEST_F(AppTest, AMessageIsNotInflatedFarBeyondItsLimit) {
  config_.set_max_message_bytes(64 << 10);
  Start();
  v1::IngestTracesRequest request;
  request.set_parent(std::string(1 << 20, 'x'));
  grpc::ClientContext call;
  call.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::IngestTracesResponse response;
  const grpc::Status status = ingest_->IngestTraces(&call, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  // gRPC's own inflater would have come to 1048580 bytes.
  EXPECT_THAT(status.error_message(), HasSubstr("(65537 vs. 65536)"));
  EXPECT_EQ(Ingest({MakeTrace("t")}).stored(), 1u);
}

TEST_F(AppTest, ARunInPiecesSurvivesARestart) {
  Start();
  SendPiece(0, /*last=*/false);
  SendPiece(2, /*last=*/true);
  Start();
  SendPiece(1, /*last=*/false, v1::OUTCOME_PASS);
  EXPECT_THAT(AwaitRun(0).steps(), SizeIs(3));
  // The project's first record was a run in pieces: ticks know it.
  EXPECT_EQ(TriggerTick().runs(), 1);
  Start();
  EXPECT_THAT(AwaitRun(0).steps(), SizeIs(3));
  const v1::GetStatusResponse status = Status();
  EXPECT_EQ(status.projects(0).traces(), 1);
  EXPECT_EQ(status.projects(0).assembly().amendable_runs(), 1);
  EXPECT_EQ(status.projects(0).assembly().open_runs(), 0);
}

TEST_F(AppTest, ATickSeesAnAmendedRunAsItIsNow) {
  Start();
  SendPiece(0, /*last=*/false);
  clock_.Advance(absl::Minutes(10));
  EXPECT_EQ(AwaitRun(0).closing(), v1::CLOSING_IDLE);
  EXPECT_EQ(TriggerTick().failures(), 1);
  SendPiece(1, /*last=*/true, v1::OUTCOME_PASS);
  EXPECT_EQ(AwaitRun(1).closing(), v1::CLOSING_EXPLICIT);
  const v1::Tick tick = TriggerTick();
  EXPECT_EQ(tick.failures(), 0);
  EXPECT_EQ(tick.runs(), 1);
  // The same from the log alone.
  Start();
  EXPECT_EQ(TriggerTick().failures(), 0);
}

TEST_F(AppTest, HealthTurnsServingAfterReplay) {
  Create();
  EXPECT_EQ(Health(), 2);
  ASSERT_OK(app_->Start());
  EXPECT_EQ(Health(), 1);
}

TEST_F(AppTest, ReflectionListsTheServices) {
  Start();
  grpc::GenericStub stub(channel_);
  // ServerReflectionRequest.list_services is field 7.
  const std::string services = OneExchange().Run(
      &stub, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
      "\x3a\x01*");
  for (const char* name :
       {"TraceIngestService", "PolicyService", "BehaviorService",
        "ClusterService", "InterventionService", "AdminService"}) {
    EXPECT_THAT(services, HasSubstr(absl::StrCat("faultline.v1.", name)));
  }
}

TEST_F(AppTest, ARestartKeepsEverything) {
  Start();
  Ingest({MakeTrace("a", "pay", v1::OUTCOME_FAIL), MakeTrace("b", "pay"),
          MakeTrace("c", "search")});
  v1::RecordOutcomesRequest outcomes;
  outcomes.set_parent("projects/p");
  v1::OutcomeRecord& outcome = *outcomes.add_outcomes();
  outcome.set_trace_id("b");
  outcome.mutable_evaluation()->set_outcome(v1::OUTCOME_FAIL);
  v1::UpdateConfigRequest update;
  update.set_parent("projects/p");
  update.mutable_config()->set_max_trials(3);
  {
    grpc::ClientContext call;
    v1::RecordOutcomesResponse response;
    ASSERT_TRUE(ingest_->RecordOutcomes(&call, outcomes, &response).ok());
    grpc::ClientContext update_call;
    v1::UpdateConfigResponse updated;
    ASSERT_TRUE(admin_->UpdateConfig(&update_call, update, &updated).ok());
  }
  const v1::Tick tick = TriggerTick();
  EXPECT_EQ(tick.runs(), 2);  // with a known outcome
  EXPECT_EQ(tick.failures(), 2);

  Start();
  const v1::GetStatusResponse status = Status();
  ASSERT_THAT(status.projects(), SizeIs(1));
  EXPECT_EQ(status.projects(0).traces(), 3);
  EXPECT_EQ(status.projects(0).failures(), 2);
  EXPECT_EQ(status.projects(0).indexed_sequence(), 5);
  EXPECT_EQ(status.projects(0).last_tick(), 1);
  EXPECT_EQ(status.projects(0).policy_version(), tick.policy_version());
  EXPECT_EQ(Ingest({MakeTrace("a"), MakeTrace("d")}).duplicates(), 1);

  grpc::ClientContext config_call;
  v1::GetConfigRequest config_request;
  config_request.set_parent("projects/p");
  v1::GetConfigResponse config;
  ASSERT_TRUE(admin_->GetConfig(&config_call, config_request, &config).ok());
  EXPECT_EQ(config.config().max_trials(), 3);

  grpc::ClientContext similar_call;
  v1::FindSimilarTracesRequest similar_request;
  similar_request.set_parent("projects/p");
  similar_request.set_trace_id("a");
  similar_request.set_page_size(1);
  v1::FindSimilarTracesResponse similar;
  ASSERT_TRUE(v1::BehaviorService::NewStub(channel_)
                  ->FindSimilarTraces(&similar_call, similar_request, &similar)
                  .ok());
  ASSERT_THAT(similar.neighbors(), SizeIs(1));
  EXPECT_EQ(similar.neighbors(0).trace_id(), "b");
  EXPECT_EQ(similar.neighbors(0).outcome(), v1::OUTCOME_FAIL);
}

TEST_F(AppTest, GetClusterShowsWhatItsStatusRestsOn) {
  Start();
  // Every third run loops over one tool and fails; one of eight others fails.
  std::vector<v1::Trace> traces;
  for (int i = 0; i < 900; ++i) {
    const bool loops = i % 3 == 0;
    v1::Trace trace =
        MakeTrace(absl::StrCat("run-", i), i % 2 == 0 ? "pay" : "search",
                  loops || i % 8 == 1 ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS);
    trace.mutable_system()->set_model(i % 5 < 2 ? "small" : "large");
    for (int step = 0; loops && step < 5; ++step) {
      v1::Step& tool = *trace.add_steps();
      tool.set_kind(v1::Step::KIND_TOOL);
      tool.set_name("retry");
      tool.set_status(v1::Step::STATUS_ERROR);
      tool.set_error_type("timeout");
    }
    traces.push_back(std::move(trace));
  }
  EXPECT_EQ(Ingest(traces).rejections_size(), 0);
  ASSERT_GE(TriggerTick().stable_clusters(), 1);

  const auto clusters = v1::ClusterService::NewStub(channel_);
  v1::ListClustersRequest list;
  list.set_parent("projects/p");
  list.add_statuses(v1::Cluster::STATUS_STABLE);
  v1::ListClustersResponse listed;
  grpc::ClientContext list_call;
  ASSERT_TRUE(clusters->ListClusters(&list_call, list, &listed).ok());
  ASSERT_GE(listed.clusters_size(), 1);
  v1::GetClusterRequest request;
  request.set_name(listed.clusters(0).name());
  v1::GetClusterResponse response;
  grpc::ClientContext call;
  ASSERT_TRUE(clusters->GetCluster(&call, request, &response).ok());
  const v1::Cluster& cluster = response.cluster();
  EXPECT_THAT(cluster.status_reason(), HasSubstr("held-out runs confirm it"));
  const v1::Validity& validity = cluster.validity();
  EXPECT_EQ(validity.evidence().confirmed_tick(), 1);
  EXPECT_EQ(validity.evidence().batches(), 1);
  EXPECT_EQ(validity.evidence().runs(), cluster.enrichment().held_out_runs());
  EXPECT_GT(validity.evidence().log_e_value(), 3);
  EXPECT_GT(validity.failure_information_bits(),
            validity.model_information_bits());
  ASSERT_GE(validity.slices_size(), 1);
  bool model = false;
  for (const v1::SliceCheck& slice : validity.slices()) {
    if (slice.variable() != "system.model") continue;
    model = true;
    EXPECT_GE(slice.values_tested(), 2);
    EXPECT_GE(slice.replication(), .6);
    EXPECT_LT(slice.agreement(), .25);
  }
  EXPECT_TRUE(model);
}

TEST_F(AppTest, TicksRunByTheClockWhileThereIsNews) {
  config_.mutable_default_project()->mutable_tick_interval()->set_seconds(60);
  Start();
  Ingest({MakeTrace("a")});
  // Three threads wait by the clock: the project's ticks, the keep-alives and
  // retention.
  clock_.WaitForWaiters(3);
  clock_.Advance(absl::Seconds(61));
  while (Status().projects(0).last_tick() == 0) std::this_thread::yield();
  clock_.WaitForWaiters(3);
  clock_.Advance(absl::Seconds(61));
  clock_.WaitForWaiters(3);
  EXPECT_EQ(Status().projects(0).last_tick(), 1);
}

TEST_F(AppTest, AStopEndsOpenStreamsInOrder) {
  Start();
  grpc::ClientContext ingest_call, watch_call;
  auto stream = ingest_->StreamTraces(&ingest_call);
  v1::StreamTracesRequest batch;
  batch.set_parent("projects/p");
  *batch.add_traces() = MakeTrace("a");
  ASSERT_TRUE(stream->Write(batch));
  v1::StreamTracesResponse settled;
  while (settled.settled() < 1) ASSERT_TRUE(stream->Read(&settled));
  auto policy = v1::PolicyService::NewStub(channel_);
  auto watch = policy->WatchPolicy(&watch_call);
  v1::WatchPolicyRequest subscription;
  subscription.set_parent("projects/p");
  subscription.set_router_id("r");
  ASSERT_TRUE(watch->Write(subscription));
  v1::WatchPolicyResponse current;
  ASSERT_TRUE(watch->Read(&current));

  app_->Stop();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  // By themselves, not cancelled at the deadline.
  EXPECT_TRUE(TrailingDetail(ingest_call).has_value());
  EXPECT_TRUE(TrailingDetail(watch_call).has_value());
  grpc::ClientContext late_call;
  v1::GetStatusResponse late;
  EXPECT_EQ(admin_->GetStatus(&late_call, {}, &late).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  app_->Stop();  // nothing more to stop

  Start();
  EXPECT_EQ(Status().projects(0).traces(), 1);
}

TEST_F(AppTest, AStopWithoutStartIsInOrder) {
  Create();
  app_->Stop();
}

TEST_F(AppTest, ATakenAddressIsAnError) {
  Start();
  v1::ServerConfig other = config_;
  other.set_data_dir(dir_.path() + "/other");
  other.set_listen_address(app_->address());
  EXPECT_THAT(server::App::Create(other, &clock_),
              testing::StatusIs(absl::StatusCode::kUnavailable,
                                HasSubstr("listen_address")));
}

TEST_F(AppTest, ADirectoryInUseIsAnError) {
  Start();
  EXPECT_FALSE(server::App::Create(config_, &clock_).ok());
}

TEST_F(AppTest, BadDefaultsOfProjectsNameTheField) {
  config_.mutable_default_project()->set_global_holdout(2);
  EXPECT_THAT(server::App::Create(config_, &clock_),
              testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("global_holdout")));
}

TEST_F(AppTest, ABackupOfARunningServerIsADataDirectory) {
  Start();
  Ingest({MakeTrace("a"), MakeTrace("b")});
  const std::string directory = dir_.path() + "/made/backup";
  v1::BackupRequest request;
  v1::BackupResponse response;
  const auto backup = [&](const std::string& to) {
    request.set_directory(to);
    grpc::ClientContext call;
    return admin_->Backup(&call, request, &response).error_code();
  };
  EXPECT_EQ(backup(directory), grpc::StatusCode::OK);
  EXPECT_GT(response.files(), 2);
  EXPECT_GT(response.bytes(), 100);
  EXPECT_TRUE(
      std::filesystem::exists(directory + "/faultline_backup.textproto"));
  EXPECT_EQ(Ingest({MakeTrace("c")}).stored(), 1);
  EXPECT_EQ(backup(directory), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(backup("backup"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(backup(config_.data_dir() + "/backup"),
            grpc::StatusCode::INVALID_ARGUMENT);

  config_.set_data_dir(directory);
  Start();
  EXPECT_EQ(Status().projects(0).traces(), 2);
  EXPECT_EQ(Ingest({MakeTrace("a"), MakeTrace("c")}).stored(), 1);
}

TEST_F(AppTest, WhatWasDeletedStaysDeletedAfterARestart) {
  Start();
  Ingest({MakeTrace("a"), MakeTrace("b")});
  v1::DeleteTracesRequest request;
  request.set_parent("projects/p");
  request.mutable_ids()->add_trace_ids("a");
  v1::DeleteTracesResponse response;
  {
    grpc::ClientContext call;
    ASSERT_TRUE(admin_->DeleteTraces(&call, request, &response).ok());
  }
  EXPECT_EQ(response.traces(), 1);
  Start();
  EXPECT_EQ(Status().projects(0).traces(), 1);
  grpc::ClientContext call;
  ASSERT_TRUE(admin_->DeleteTraces(&call, request, &response).ok());
  EXPECT_EQ(response.unknown_ids_size(), 1);
}

}  // namespace
}  // namespace faultline::integration
