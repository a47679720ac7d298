// What operators do with stored runs, and what quotas do to runtimes.
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "tests/integration/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace faultline::integration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class StorageTest : public ServiceTest {
 protected:
  StorageTest()
      : admin_(v1::AdminService::NewStub(channel())),
        ingest_(v1::TraceIngestService::NewStub(channel())) {}

  v1::DeleteTracesResponse Delete(v1::DeleteTracesRequest request) {
    request.set_parent("projects/p");
    grpc::ClientContext call;
    v1::DeleteTracesResponse response;
    const grpc::Status status = admin_->DeleteTraces(&call, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  v1::GetStatusResponse::Project Status() {
    v1::GetStatusRequest request;
    request.set_parent("projects/p");
    grpc::ClientContext call;
    v1::GetStatusResponse response;
    EXPECT_TRUE(admin_->GetStatus(&call, request, &response).ok());
    return response.projects_size() == 1 ? response.projects(0)
                                         : v1::GetStatusResponse::Project();
  }

  void SetQuota(const v1::QuotaConfig& quota) {
    v1::ProjectConfig config;
    *config.mutable_quota() = quota;
    ASSERT_OK(projects_->UpdateConfig("p", config, {"quota"}, ""));
  }

  bool IsStored(const std::string& trace_id) {
    return log_->FindTrace("p", trace_id).ok();
  }

  const std::unique_ptr<v1::AdminService::Stub> admin_;
  const std::unique_ptr<v1::TraceIngestService::Stub> ingest_;
};

TEST_F(StorageTest, RunsAreDeletedByIdAndTheClustersThatShowedThemNamed) {
  Store({MakeTrace("a"), MakeTrace("b"), MakeTrace("c")});
  v1::TickState state;
  v1::Cluster& cluster = *state.add_clusters();
  cluster.set_cluster_id("c1");
  cluster.set_medoid("b");
  cluster.add_exemplars("a");
  state.add_clusters()->set_cluster_id("c2");
  Loop()->SetState(state);

  v1::DeleteTracesRequest request;
  for (const char* id : {"a", "b", "b", "z"}) {
    request.mutable_ids()->add_trace_ids(id);
  }
  request.set_dry_run(true);
  v1::DeleteTracesResponse response = Delete(request);
  EXPECT_EQ(response.traces(), 2);
  EXPECT_EQ(response.vectors(), 2);
  EXPECT_TRUE(IsStored("a"));

  request.set_dry_run(false);
  response = Delete(request);
  EXPECT_EQ(response.traces(), 2);
  EXPECT_EQ(response.vectors(), 2);
  EXPECT_GT(response.bytes(), 0);
  EXPECT_THAT(response.clusters(), ElementsAre("projects/p/clusters/c1"));
  EXPECT_THAT(response.unknown_ids(), ElementsAre("z"));
  EXPECT_FALSE(IsStored("a"));
  EXPECT_TRUE(IsStored("c"));
  EXPECT_EQ(ingestor_->GetCounters("p").indexed, 1);
  EXPECT_EQ(Status().deleted(), 2);
  EXPECT_THAT(Delete(request).unknown_ids(), SizeIs(3));
}

TEST_F(StorageTest, RunsAreDeletedBySession) {
  std::vector<v1::Trace> traces = MakeTraces("t", 3);
  traces[1].set_session_id("s1");
  Store(traces);
  v1::DeleteTracesRequest request;
  request.set_session_id("s1");
  EXPECT_EQ(Delete(request).traces(), 1);
  EXPECT_FALSE(IsStored(traces[1].trace_id()));
  EXPECT_TRUE(IsStored(traces[0].trace_id()));
}

TEST_F(StorageTest, RunsAreDeletedByConditionsThatAllHold) {
  std::vector<v1::Trace> traces;
  for (int i = 0; i < 8; ++i) {
    v1::Trace trace = MakeTrace(absl::StrCat("t", i), "search",
                                i & 1 ? v1::OUTCOME_FAIL : v1::OUTCOME_PASS);
    trace.mutable_task()->set_type(i & 2 ? "qa" : "math");
    trace.mutable_start_time()->set_seconds(1'800'000'000 + i);
    trace.clear_end_time();
    traces.push_back(trace);
  }
  Store(traces);
  v1::DeleteTracesRequest request;
  v1::TraceFilter& filter = *request.mutable_filter();
  v1::Comparison& comparison =
      *filter.mutable_predicate()->mutable_comparison();
  comparison.set_field("task.type");
  comparison.set_op(v1::Comparison::OPERATOR_EQUAL);
  comparison.set_text("qa");
  filter.set_outcome(v1::OUTCOME_FAIL);
  request.set_dry_run(true);
  EXPECT_EQ(Delete(request).traces(), 2);  // 3, 7
  filter.mutable_begin_time()->set_seconds(1'800'000'003);
  filter.mutable_end_time()->set_seconds(1'800'000'007);
  request.set_dry_run(false);
  EXPECT_EQ(Delete(request).traces(), 1);
  EXPECT_FALSE(IsStored("t3"));
  EXPECT_TRUE(IsStored("t7"));

  v1::DeleteTracesRequest all;
  all.mutable_filter()->mutable_predicate()->mutable_all();
  EXPECT_EQ(Delete(all).traces(), 7);
  EXPECT_EQ(Status().stored_bytes(), 0);
}

TEST_F(StorageTest, WhatSelectsNothingIsAnError) {
  Store({MakeTrace("a")});
  const auto error = [&](v1::DeleteTracesRequest request) {
    request.set_parent("projects/p");
    grpc::ClientContext call;
    v1::DeleteTracesResponse response;
    const grpc::Status status = admin_->DeleteTraces(&call, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    const auto detail = TrailingDetail(call);
    return detail.has_value() ? detail->field() : "";
  };
  EXPECT_EQ(error({}), "selection");
  v1::DeleteTracesRequest request;
  request.mutable_filter();
  EXPECT_EQ(error(request), "filter");
  request.mutable_ids();
  EXPECT_EQ(error(request), "ids.trace_ids");
  request.set_session_id("");
  EXPECT_EQ(error(request), "session_id");
}

TEST_F(StorageTest, RetentionRemovesTrimsAndCounts) {
  Store({MakeTrace("old", "search", v1::OUTCOME_PASS),
         MakeTrace("old-failure", "search", v1::OUTCOME_FAIL)});
  clock_.Advance(absl::Hours(2));
  Store({MakeTrace("new", "search", v1::OUTCOME_PASS)});
  v1::ProjectConfig config;
  config.mutable_retention()->mutable_max_age()->set_seconds(3600);
  ASSERT_OK(projects_->UpdateConfig("p", config, {"retention"}, ""));
  ingestor_->WaitUntilIndexed("p");
  retention_->RunOnce();
  EXPECT_FALSE(IsStored("old"));
  EXPECT_TRUE(IsStored("new"));
  EXPECT_EQ(Status().expired().at("DELETION_REASON_AGE"), 1);
  clock_.Advance(absl::Hours(3));
  retention_->RunOnce();
  EXPECT_EQ(Status().expired().at("DELETION_REASON_AGE"), 3);
  EXPECT_EQ(Status().stored_bytes(), 0);
}

TEST_F(StorageTest, RejectionsArePagedLatestFirst) {
  v1::IngestTracesRequest request;
  request.set_parent("projects/p");
  for (const char* id : {"a", "b", "c"}) {
    *request.add_traces() = MakeTrace(id);
    request.mutable_traces()->rbegin()->clear_start_time();
  }
  *request.add_traces() = MakeTrace("good");
  grpc::ClientContext call;
  v1::IngestTracesResponse ingested;
  ASSERT_TRUE(ingest_->IngestTraces(&call, request, &ingested).ok());

  v1::ListRejectionsRequest list;
  list.set_parent("projects/p");
  list.set_page_size(2);
  std::vector<std::string> ids;
  v1::ListRejectionsResponse page;
  do {
    grpc::ClientContext list_call;
    list.set_page_token(page.next_page_token());
    ASSERT_TRUE(admin_->ListRejections(&list_call, list, &page).ok());
    for (const v1::RejectedRecord& rejection : page.rejections()) {
      ids.push_back(rejection.trace_id());
      EXPECT_EQ(rejection.source(), v1::RECORD_SOURCE_TRACE);
      EXPECT_EQ(rejection.error().field(), "start_time");
    }
  } while (!page.next_page_token().empty());
  EXPECT_THAT(ids, ElementsAre("c", "b", "a"));
  EXPECT_EQ(Status().rejected(), 3);
  EXPECT_EQ(Status().refused().at("REASON_REQUIRED"), 3);
}

TEST_F(StorageTest, AUnaryCallOverTheQuotaIsToldWhenToComeBack) {
  v1::QuotaConfig quota;
  quota.set_records_per_second(1);
  SetQuota(quota);
  v1::IngestTracesRequest request;
  request.set_parent("projects/p");
  for (const v1::Trace& trace : MakeTraces("t", 10)) {
    *request.add_traces() = trace;
  }
  v1::IngestTracesResponse response;
  {
    grpc::ClientContext call;
    ASSERT_TRUE(ingest_->IngestTraces(&call, request, &response).ok());
  }
  grpc::ClientContext call;
  const grpc::Status status = ingest_->IngestTraces(&call, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_details(), HasSubstr("RetryInfo"));
  const auto detail = TrailingDetail(call);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->reason(), v1::ErrorDetail::REASON_QUOTA);
  EXPECT_EQ(detail->retry_delay().seconds(), 10);
  EXPECT_EQ(Status().refused().at("REASON_QUOTA"), 10);
}

TEST_F(StorageTest, AStreamOverTheRateIsSlowedAndLosesNothing) {
  v1::QuotaConfig quota;
  quota.set_records_per_second(100);
  SetQuota(quota);
  grpc::ClientContext call;
  const auto stream = ingest_->StreamTraces(&call);
  v1::StreamTracesRequest request;
  request.set_parent("projects/p");
  for (const char* batch : {"a", "b", "c"}) {
    request.clear_traces();
    const int size = *batch == 'a' ? 1000 : 10;
    for (const v1::Trace& trace : MakeTraces(batch, size)) {
      *request.add_traces() = trace;
    }
    ASSERT_TRUE(stream->Write(request));
  }
  stream->WritesDone();
  // The clock stands still: the second batch is held, and tried again.
  v1::StreamTracesResponse response;
  while (response.settled() < 1000) ASSERT_TRUE(stream->Read(&response));
  while (ingestor_->GetCounters("p").refused.empty()) {
  }
  EXPECT_FALSE(IsStored("b0"));
  clock_.Advance(absl::Seconds(1));
  while (response.settled() < 1020) ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(IsStored("c9"));
}

TEST_F(StorageTest, AStreamOverTheStorageQuotaEndsWithADelay) {
  Store(MakeTraces("stored", 100));
  v1::QuotaConfig quota;
  quota.set_stored_bytes(1000);
  SetQuota(quota);
  grpc::ClientContext call;
  const auto stream = ingest_->StreamTraces(&call);
  v1::StreamTracesRequest request;
  request.set_parent("projects/p");
  *request.add_traces() = MakeTrace("a");
  ASSERT_TRUE(stream->Write(request));
  v1::StreamTracesResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(response.settled(), 0);
  EXPECT_EQ(stream->Finish().error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  const auto detail = TrailingDetail(call);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->retry_delay().seconds(), 60);
}

TEST_F(StorageTest, AHeldStreamEndsWithTheServer) {
  v1::QuotaConfig quota;
  quota.set_records_per_second(1);
  SetQuota(quota);
  grpc::ClientContext call;
  const auto stream = ingest_->StreamTraces(&call);
  v1::StreamTracesRequest request;
  request.set_parent("projects/p");
  for (const v1::Trace& trace : MakeTraces("a", 10)) {
    *request.add_traces() = trace;
  }
  ASSERT_TRUE(stream->Write(request));
  request.clear_traces();
  *request.add_traces() = MakeTrace("held");
  ASSERT_TRUE(stream->Write(request));
  while (ingestor_->GetCounters("p").refused.empty()) {
  }
  streams_.DrainAll();
  v1::StreamTracesResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(response.settled(), 10);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(IsStored("held"));
}

}  // namespace
}  // namespace faultline::integration
