#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "faultline/v1/admin_service.grpc.pb.h"
#include "faultline/v1/behavior_service.grpc.pb.h"
#include "faultline/v1/ingest_service.grpc.pb.h"
#include "tests/integration/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace faultline::integration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

using Stream =
    std::unique_ptr<grpc::ClientReaderWriter<v1::StreamTracesRequest,
                                             v1::StreamTracesResponse>>;

v1::StreamTracesRequest Batch(const std::vector<v1::Trace>& traces,
                              const std::string& parent = "") {
  v1::StreamTracesRequest request;
  request.set_parent(parent);
  for (const v1::Trace& trace : traces) *request.add_traces() = trace;
  return request;
}

// Reads until `settled` traces are; the last response, with the rejections of
// all.
v1::StreamTracesResponse ReadUntil(Stream& stream, uint64_t settled) {
  v1::StreamTracesResponse response, all;
  while (all.settled() < settled && stream->Read(&response)) {
    EXPECT_GE(response.settled(), all.settled());
    response.mutable_rejections()->MergeFrom(all.rejections());
    all = response;
  }
  EXPECT_EQ(all.settled(), settled);
  return all;
}

ingest::Ingestor::Options MayLag(uint64_t records) {
  ingest::Ingestor::Options options;
  options.max_index_lag = records;
  return options;
}

class IngestServiceTest : public ServiceTest {
 protected:
  explicit IngestServiceTest(uint64_t window = 4096,
                             const ingest::Ingestor::Options& ingest = {})
      : ServiceTest(window, ingest),
        stub_(v1::TraceIngestService::NewStub(channel())) {}

  std::unique_ptr<v1::TraceIngestService::Stub> stub_;
};

class NarrowIngestServiceTest : public IngestServiceTest {
 protected:
  NarrowIngestServiceTest() : IngestServiceTest(/*window=*/64) {}
};

// The index may be two records behind.
class LaggingIngestServiceTest : public IngestServiceTest {
 protected:
  LaggingIngestServiceTest() : IngestServiceTest(/*window=*/4096, MayLag(2)) {}
};

TEST_F(IngestServiceTest, UnaryAnswersForEachTrace) {
  v1::IngestTracesRequest request;
  request.set_parent("projects/p");
  *request.add_traces() = MakeTrace("a");
  request.add_traces();
  *request.add_traces() = MakeTrace("a");
  grpc::ClientContext call;
  v1::IngestTracesResponse response;
  ASSERT_TRUE(stub_->IngestTraces(&call, request, &response).ok());
  EXPECT_EQ(response.stored(), 1);
  EXPECT_EQ(response.duplicates(), 1);
  EXPECT_EQ(response.durable_sequence(), 1);
  ASSERT_THAT(response.rejections(), SizeIs(1));
  EXPECT_EQ(response.rejections(0).index(), 1);
  EXPECT_EQ(response.rejections(0).error().field(), "trace_id");
}

TEST_F(IngestServiceTest, UnaryErrorsNameTheField) {
  v1::IngestTracesRequest request;
  v1::IngestTracesResponse response;
  {
    grpc::ClientContext call;
    request.set_parent("projects/p");
    const grpc::Status status = stub_->IngestTraces(&call, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    ASSERT_TRUE(TrailingDetail(call).has_value());
    EXPECT_EQ(TrailingDetail(call)->field(), "traces");
    EXPECT_THAT(status.error_details(), HasSubstr("ErrorDetail"));
  }
  {
    grpc::ClientContext call;
    request.set_parent("nonsense");
    *request.add_traces() = MakeTrace("a");
    const grpc::Status status = stub_->IngestTraces(&call, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    ASSERT_TRUE(TrailingDetail(call).has_value());
    EXPECT_EQ(TrailingDetail(call)->field(), "parent");
    EXPECT_EQ(TrailingDetail(call)->reason(),
              v1::ErrorDetail::REASON_MALFORMED);
  }
}

TEST_F(IngestServiceTest, LateOutcomesAndAnnotationsAreIdempotent) {
  Store({MakeTrace("a"), MakeTrace("b")});
  v1::RecordOutcomesRequest outcomes;
  outcomes.set_parent("projects/p");
  v1::OutcomeRecord& outcome = *outcomes.add_outcomes();
  outcome.set_trace_id("a");
  outcome.mutable_evaluation()->set_outcome(v1::OUTCOME_FAIL);
  outcome.mutable_evaluation()->set_evaluator("judge");
  outcomes.add_outcomes()->set_trace_id("b");
  v1::RecordOutcomesResponse judged;
  for (const uint64_t stored : {1, 0}) {
    grpc::ClientContext call;
    ASSERT_TRUE(stub_->RecordOutcomes(&call, outcomes, &judged).ok());
    EXPECT_EQ(judged.stored(), stored);
    EXPECT_EQ(judged.duplicates(), 1 - stored);
    ASSERT_THAT(judged.rejections(), SizeIs(1));
    EXPECT_EQ(judged.rejections(0).trace_id(), "b");
  }
  ingestor_->WaitUntilIndexed("p");
  EXPECT_EQ(ingestor_->GetCounters("p").failures, 1);

  v1::AnnotateTracesRequest annotations;
  annotations.set_parent("projects/p");
  v1::AnnotationRecord& annotation = *annotations.add_annotations();
  annotation.set_trace_id("a");
  annotation.mutable_annotation()->set_annotator("ann");
  annotation.mutable_annotation()->set_failure_mode("loop");
  v1::AnnotateTracesResponse annotated;
  for (const uint64_t stored : {1, 0}) {
    grpc::ClientContext call;
    ASSERT_TRUE(stub_->AnnotateTraces(&call, annotations, &annotated).ok());
    EXPECT_EQ(annotated.stored(), stored);
    EXPECT_EQ(annotated.duplicates(), 1 - stored);
  }
}

TEST_F(IngestServiceTest, AStreamSettlesEveryTraceInOrder) {
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  ASSERT_TRUE(stream->Write(Batch({}, "projects/p")));
  v1::StreamTracesResponse greeting;
  ASSERT_TRUE(stream->Read(&greeting));
  EXPECT_EQ(greeting.window(), 4096);
  EXPECT_EQ(greeting.settled(), 0);

  ASSERT_TRUE(stream->Write(Batch(MakeTraces("a", 100))));
  ASSERT_TRUE(stream->Write(Batch({MakeTrace("b"), v1::Trace()})));
  ASSERT_TRUE(stream->Write(Batch({MakeTrace("a7"), v1::Trace()})));
  ASSERT_TRUE(stream->WritesDone());
  const v1::StreamTracesResponse last = ReadUntil(stream, 104);
  EXPECT_EQ(last.duplicates(), 1);
  EXPECT_EQ(last.durable_sequence(), 101);
  std::set<uint64_t> refused;
  for (const v1::Rejection& r : last.rejections()) refused.insert(r.index());
  EXPECT_THAT(refused, ElementsAre(101, 103));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(log_->LastSequence("p"), 101);
}

TEST_F(IngestServiceTest, AStreamWithoutProjectEndsWithTheField) {
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  stream->Write(Batch(MakeTraces("a", 3)));
  v1::StreamTracesResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ASSERT_TRUE(TrailingDetail(call).has_value());
  EXPECT_EQ(TrailingDetail(call)->field(), "parent");
  EXPECT_EQ(TrailingDetail(call)->reason(), v1::ErrorDetail::REASON_REQUIRED);
}

TEST_F(IngestServiceTest, ATooLargeBatchEndsTheStreamAfterWhatCameBefore) {
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  stream->Write(Batch(MakeTraces("a", 10), "projects/p"));
  v1::StreamTracesRequest large;
  for (int i = 0; i < 4097; ++i) large.add_traces();
  stream->Write(large);
  ReadUntil(stream, 10);
  v1::StreamTracesResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ASSERT_TRUE(TrailingDetail(call).has_value());
  EXPECT_EQ(TrailingDetail(call)->field(), "traces");
}

TEST_F(NarrowIngestServiceTest, AStreamIsReadOnlyWhileTheWindowIsOpen) {
  store_.HoldWrites();
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  ASSERT_TRUE(stream->Write(Batch({}, "projects/p")));
  v1::StreamTracesResponse greeting;
  ASSERT_TRUE(stream->Read(&greeting));
  EXPECT_EQ(greeting.window(), 64);
  // Two batches fill the window; the third, refused whole, would be counted at
  // once if the server read it.
  ASSERT_TRUE(stream->Write(Batch(MakeTraces("a", 32))));
  ASSERT_TRUE(stream->Write(Batch(MakeTraces("b", 32))));
  ASSERT_TRUE(stream->Write(Batch({v1::Trace()})));
  store_.WaitForHeldWrite();
  // What the connection carries later arrives later: the third batch is there.
  auto admin = v1::AdminService::NewStub(channel());
  for (int i = 0; i < 50; ++i) {
    grpc::ClientContext status_call;
    v1::GetStatusResponse status;
    ASSERT_TRUE(admin->GetStatus(&status_call, {}, &status).ok());
  }
  EXPECT_EQ(ingestor_->GetCounters("p").rejected, 0);
  store_.ReleaseWrites();
  ReadUntil(stream, 65);
  EXPECT_EQ(ingestor_->GetCounters("p").rejected, 1);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(LaggingIngestServiceTest, AStreamIsHeldUntilTheIndexHasCaughtUp) {
  store_.HoldWrites();
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  ASSERT_TRUE(stream->Write(Batch(MakeTraces("a", 2), "projects/p")));
  ASSERT_TRUE(stream->Write(Batch(MakeTraces("b", 2))));
  ASSERT_TRUE(stream->Write(Batch(MakeTraces("c", 2))));
  stream->WritesDone();
  while (ingestor_->GetCounters("p").held == 0) {
  }
  store_.ReleaseWrites();
  ReadUntil(stream, 6);
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(log_->LastSequence("p"), 6);
  const ingest::Ingestor::Counters counters = ingestor_->GetCounters("p");
  EXPECT_TRUE(counters.refused.empty()) << "a held batch is not refused";
  grpc::ClientContext status_call;
  v1::GetStatusResponse status;
  ASSERT_TRUE(v1::AdminService::NewStub(channel())
                  ->GetStatus(&status_call, {}, &status)
                  .ok());
  ASSERT_EQ(status.projects_size(), 1);
  EXPECT_EQ(status.projects(0).held(), counters.held);
}

TEST_F(LaggingIngestServiceTest, ACallIsToBeSentAgainWhenTheIndexHasCaughtUp) {
  store_.HoldWrites();
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  ASSERT_TRUE(stream->Write(Batch(MakeTraces("a", 2), "projects/p")));
  store_.WaitForHeldWrite();
  v1::IngestTracesRequest request;
  request.set_parent("projects/p");
  *request.add_traces() = MakeTrace("b");
  v1::IngestTracesResponse response;
  {
    grpc::ClientContext unary;
    EXPECT_EQ(stub_->IngestTraces(&unary, request, &response).error_code(),
              grpc::StatusCode::UNAVAILABLE);
    ASSERT_TRUE(TrailingDetail(unary).has_value());
    EXPECT_GT(TrailingDetail(unary)->retry_delay().nanos(), 0);
  }
  store_.ReleaseWrites();
  ReadUntil(stream, 2);
  ingestor_->WaitUntilIndexed("p");
  {
    grpc::ClientContext unary;
    EXPECT_TRUE(stub_->IngestTraces(&unary, request, &response).ok());
  }
  EXPECT_EQ(response.stored(), 1);
}

TEST_F(NarrowIngestServiceTest, AClientThatReadsLateLosesNothing) {
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  ASSERT_TRUE(stream->Write(Batch({}, "projects/p")));
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(
        stream->Write(Batch(MakeTraces(absl::StrCat("t", i, "_"), 40))));
  }
  stream->WritesDone();
  ReadUntil(stream, 2000);
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(log_->LastSequence("p"), 2000);
}

TEST_F(IngestServiceTest, AFailedCommitEndsTheStreamUnsettled) {
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  ASSERT_TRUE(stream->Write(Batch(MakeTraces("a", 5), "projects/p")));
  ReadUntil(stream, 5);
  store_.FailWrites(0, 1, fakes::FaultStore::Fault::kBeforeApplying);
  ASSERT_TRUE(stream->Write(Batch(MakeTraces("b", 5))));
  v1::StreamTracesResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(log_->LastSequence("p"), 5);
}

TEST_F(IngestServiceTest, ACancelledStreamLeavesTheServerInOrder) {
  store_.HoldWrites();
  {
    grpc::ClientContext call;
    Stream stream = stub_->StreamTraces(&call);
    ASSERT_TRUE(stream->Write(Batch(MakeTraces("a", 5), "projects/p")));
    store_.WaitForHeldWrite();
    call.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  store_.ReleaseWrites();
  Store({MakeTrace("b")});
  EXPECT_EQ(log_->LastSequence("p"), 6);
}

TEST_F(IngestServiceTest, DrainingSettlesAndSaysWhenToComeBack) {
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  ASSERT_TRUE(stream->Write(Batch({}, "projects/p")));
  v1::StreamTracesResponse response;
  ASSERT_TRUE(stream->Read(&response));
  store_.HoldWrites();
  ASSERT_TRUE(stream->Write(Batch(MakeTraces("a", 5))));
  store_.WaitForHeldWrite();
  streams_.DrainAll();
  store_.ReleaseWrites();
  ReadUntil(stream, 5);
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  ASSERT_TRUE(TrailingDetail(call).has_value());
  EXPECT_GT(TrailingDetail(call)->retry_delay().seconds(), 0);

  grpc::ClientContext late_call;
  Stream late = stub_->StreamTraces(&late_call);
  EXPECT_EQ(late->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(IngestServiceTest, AProjectAppearsWithItsFirstTrace) {
  auto admin = v1::AdminService::NewStub(channel());
  const auto trigger = [&] {
    grpc::ClientContext call;
    v1::TriggerTickRequest request;
    request.set_parent("projects/p");
    v1::TriggerTickResponse response;
    return admin->TriggerTick(&call, request, &response);
  };
  EXPECT_EQ(trigger().error_code(), grpc::StatusCode::NOT_FOUND);
  Store({MakeTrace("a")});
  EXPECT_TRUE(trigger().ok());
}

v1::TracePiece MakePiece(const std::string& id, uint32_t index,
                         bool last = false) {
  v1::TracePiece piece;
  piece.set_trace_id(id);
  piece.set_index(index);
  piece.set_last(last);
  piece.mutable_part()->mutable_start_time()->set_seconds(1'800'000'000);
  v1::Step* step = piece.mutable_part()->add_steps();
  step->set_kind(v1::Step::KIND_TOOL);
  step->set_name(absl::StrCat("tool", index));
  return piece;
}

TEST_F(IngestServiceTest, ARunMayComeInPieces) {
  auto behavior = v1::BehaviorService::NewStub(channel());
  v1::GetTraceRequest get;
  get.set_name("projects/p/traces/long");
  v1::GetTraceResponse got;

  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  // Pieces count after the traces of their request.
  v1::StreamTracesRequest request =
      Batch({MakeTrace("a"), MakeTrace("b")}, "projects/p");
  *request.add_pieces() = MakePiece("long", 0);
  *request.add_pieces() = MakePiece("long", 0);
  v1::TracePiece bad = MakePiece("long", 7);
  bad.mutable_part()->mutable_steps(0)->clear_kind();
  *request.add_pieces() = bad;
  ASSERT_TRUE(stream->Write(request));
  v1::StreamTracesResponse response = ReadUntil(stream, 5);
  EXPECT_EQ(response.duplicates(), 1);
  ASSERT_THAT(response.rejections(), SizeIs(1));
  EXPECT_EQ(response.rejections(0).index(), 4);
  EXPECT_EQ(response.rejections(0).trace_id(), "long");
  EXPECT_EQ(response.rejections(0).error().field(), "part.steps[0].kind");
  {
    grpc::ClientContext open;
    const grpc::Status status = behavior->GetTrace(&open, get, &got);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_THAT(status.error_message(), HasSubstr("still open, with 1 pieces"));
  }

  request.Clear();
  *request.add_pieces() = MakePiece("long", 2, /*last=*/true);
  *request.add_pieces() = MakePiece("long", 1);
  ASSERT_TRUE(stream->Write(request));
  ReadUntil(stream, 7);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  ingestor_->WaitUntilAssembled();
  grpc::ClientContext closed;
  ASSERT_TRUE(behavior->GetTrace(&closed, get, &got).ok());
  EXPECT_EQ(got.trace().closing(), v1::CLOSING_EXPLICIT);
  EXPECT_EQ(got.sequence(), 3);
  EXPECT_EQ(got.replacements(), 0);
  ASSERT_THAT(got.trace().steps(), SizeIs(3));
  EXPECT_EQ(got.trace().steps(2).name(), "tool2");
}

TEST_F(IngestServiceTest, AnAmendedRunIsReadAsItIsNow) {
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  v1::StreamTracesRequest request = Batch({}, "projects/p");
  *request.add_pieces() = MakePiece("long", 1);
  ASSERT_TRUE(stream->Write(request));
  ReadUntil(stream, 1);
  clock_.Advance(absl::Seconds(600));
  ingestor_->WaitUntilAssembled();
  auto behavior = v1::BehaviorService::NewStub(channel());
  v1::GetTraceRequest get;
  get.set_name("projects/p/traces/long");
  v1::GetTraceResponse got;
  {
    grpc::ClientContext idle;
    ASSERT_TRUE(behavior->GetTrace(&idle, get, &got).ok());
    EXPECT_EQ(got.trace().closing(), v1::CLOSING_IDLE);
    EXPECT_EQ(got.trace().evaluation().outcome(), v1::OUTCOME_ERROR);
  }
  request.Clear();
  *request.add_pieces() = MakePiece("long", 0);
  ASSERT_TRUE(stream->Write(request));
  ReadUntil(stream, 2);
  clock_.Advance(absl::Seconds(5));
  ingestor_->WaitUntilAssembled();
  grpc::ClientContext amended;
  ASSERT_TRUE(behavior->GetTrace(&amended, get, &got).ok());
  EXPECT_EQ(got.replacements(), 1);
  ASSERT_THAT(got.trace().steps(), SizeIs(2));
  EXPECT_EQ(got.trace().steps(0).name(), "tool0");
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(NarrowIngestServiceTest, PiecesCountInTheWindow) {
  store_.HoldWrites();
  grpc::ClientContext call;
  Stream stream = stub_->StreamTraces(&call);
  ASSERT_TRUE(stream->Write(Batch({}, "projects/p")));
  v1::StreamTracesResponse greeting;
  ASSERT_TRUE(stream->Read(&greeting));
  EXPECT_EQ(greeting.window(), 64);
  for (uint32_t i = 0; i < 200; ++i) {
    v1::StreamTracesRequest request;
    *request.add_pieces() = MakePiece("long", i, i == 199);
    ASSERT_TRUE(stream->Write(request));
  }
  store_.ReleaseWrites();
  EXPECT_EQ(ReadUntil(stream, 200).settled(), 200);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  ingestor_->WaitUntilAssembled();
  EXPECT_EQ(log_->LastSequence("p"), 1);
}

}  // namespace
}  // namespace faultline::integration
