#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "tests/integration/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace faultline::integration {
namespace {

using opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
using opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
using opentelemetry::proto::collector::trace::v1::TraceService;
using opentelemetry::proto::common::v1::KeyValue;
using opentelemetry::proto::trace::v1::ResourceSpans;
using opentelemetry::proto::trace::v1::Span;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kMethod[] =
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

void SetText(const std::string& key, const std::string& text,
             google::protobuf::RepeatedPtrField<KeyValue>* attributes) {
  KeyValue& attribute = *attributes->Add();
  attribute.set_key(key);
  attribute.mutable_value()->set_string_value(text);
}

// Id of the run with this number.
std::string RunId(char run) {
  return absl::BytesToHexString(std::string(15, '\0') + run);
}

// Adds a tool call, which is a run of its own, closed at once.
Span* AddRun(char run, ExportTraceServiceRequest* request) {
  if (request->resource_spans().empty()) {
    request->add_resource_spans()->add_scope_spans();
  }
  Span* span = request->mutable_resource_spans()
                   ->rbegin()
                   ->mutable_scope_spans(0)
                   ->add_spans();
  span->set_trace_id(std::string(15, '\0') + run);
  span->set_span_id(std::string(7, '\0') + '\x01');
  span->set_name("search");
  span->set_start_time_unix_nano(1'700'000'000'000'000'000);
  span->set_end_time_unix_nano(1'700'000'001'000'000'000);
  SetText("openinference.span.kind", "TOOL", span->mutable_attributes());
  SetText("faultline.run.closed", "true", span->mutable_attributes());
  return span;
}

// Runs added from here on are of another resource.
void AddResource(const std::string& service,
                 ExportTraceServiceRequest* request) {
  ResourceSpans& resource = *request->add_resource_spans();
  SetText("service.name", service,
          resource.mutable_resource()->mutable_attributes());
  resource.add_scope_spans();
}

class OtlpServiceTest : public ServiceTest {
 protected:
  explicit OtlpServiceTest(const ingest::Ingestor::Options& ingest = {})
      : ServiceTest(/*window=*/4096, ingest),
        stub_(TraceService::NewStub(channel())) {}

  // Exports to project p.
  grpc::Status Export(const ExportTraceServiceRequest& request) {
    grpc::ClientContext call;
    call.AddMetadata("x-project-name", "p");
    return stub_->Export(&call, request, &response_);
  }

  // Ids of the runs in the log of a project, sorted.
  std::vector<std::string> Runs(const std::string& project = "p") {
    ingestor_->WaitUntilAssembled();
    std::vector<std::string> ids;
    const uint64_t last = log_->LastSequence(project);
    if (last == 0) return ids;
    EXPECT_OK(log_->Scan(project, 1, last, [&](const v1::LogRecord& record) {
      if (record.has_trace()) ids.push_back(record.trace().trace_id());
      return true;
    }));
    std::sort(ids.begin(), ids.end());
    return ids;
  }

  std::unique_ptr<TraceService::Stub> stub_;
  ExportTraceServiceResponse response_;
};

TEST_F(OtlpServiceTest, FullSuccessSaysNothing) {
  ExportTraceServiceRequest request;
  AddRun('\1', &request);
  ASSERT_TRUE(Export(request).ok());
  EXPECT_FALSE(response_.has_partial_success());
  EXPECT_THAT(Runs(), ElementsAre(RunId('\1')));
}

TEST_F(OtlpServiceTest, AnEmptyExportSucceeds) {
  ExportTraceServiceRequest request;
  EXPECT_TRUE(Export(request).ok());
  AddResource("shop", &request);
  request.add_resource_spans();
  EXPECT_TRUE(Export(request).ok());
  EXPECT_FALSE(response_.has_partial_success());
}

TEST_F(OtlpServiceTest, OneBadSpanIsRejectedAlone) {
  ExportTraceServiceRequest request;
  AddRun('\1', &request);
  AddRun('\2', &request)->clear_span_id();
  SetText("faultline.keep_probability", "often",
          AddRun('\3', &request)->mutable_attributes());
  SetText("faultline.keep_probability", "2",
          AddRun('\4', &request)->mutable_attributes());
  AddRun('\5', &request);
  ASSERT_TRUE(Export(request).ok());
  EXPECT_EQ(response_.partial_success().rejected_spans(), 3);
  const std::string& message = response_.partial_success().error_message();
  EXPECT_THAT(message, HasSubstr("span 1 of trace"));
  EXPECT_THAT(message, HasSubstr("span_id"));
  EXPECT_THAT(message, HasSubstr("attributes[faultline.keep_probability]"));
  EXPECT_THAT(message, HasSubstr("in (0, 1]"));
  EXPECT_THAT(Runs(), ElementsAre(RunId('\1'), RunId('\5')));
}

TEST_F(OtlpServiceTest, ManyBadSpansHaveAShortMessage) {
  ExportTraceServiceRequest request;
  for (int i = 0; i < 1000; ++i) {
    Span* span = AddRun('\1', &request);
    SetText("faultline.keep_probability", std::string(1000, '\xff'),
            span->mutable_attributes());
  }
  ASSERT_TRUE(Export(request).ok());
  EXPECT_EQ(response_.partial_success().rejected_spans(), 1000);
  EXPECT_LE(response_.partial_success().error_message().size(), 4096);
  EXPECT_THAT(response_.partial_success().error_message(),
              HasSubstr("and 992 more"));
}

TEST_F(OtlpServiceTest, StringIndexesAreAWarning) {
  ExportTraceServiceRequest request;
  AddRun('\1', &request)->add_attributes()->set_key_strindex(1);
  ASSERT_TRUE(Export(request).ok());
  EXPECT_EQ(response_.partial_success().rejected_spans(), 0);
  EXPECT_THAT(response_.partial_success().error_message(),
              HasSubstr("1 attributes refer to a string table"));
  EXPECT_THAT(Runs(), ElementsAre(RunId('\1')));
}

TEST_F(OtlpServiceTest, AKeyThatNamesNoFieldIsAWarning) {
  ExportTraceServiceRequest request;
  SetText("faultline.task.identity", "t",
          AddRun('\1', &request)->mutable_attributes());
  ASSERT_TRUE(Export(request).ok());
  EXPECT_EQ(response_.partial_success().rejected_spans(), 0);
  EXPECT_THAT(response_.partial_success().error_message(),
              HasSubstr("name no field"));
}

TEST_F(OtlpServiceTest, AnExportMayHoldSeveralProjects) {
  ExportTraceServiceRequest request;
  AddResource("Shop A", &request);
  AddRun('\1', &request);
  AddRun('\2', &request)->clear_span_id();
  AddResource("shop-b", &request);
  AddRun('\3', &request);
  grpc::ClientContext call;
  ASSERT_TRUE(stub_->Export(&call, request, &response_).ok());
  EXPECT_EQ(response_.partial_success().rejected_spans(), 1);
  EXPECT_THAT(Runs("shop-a"), ElementsAre(RunId('\1')));
  EXPECT_THAT(Runs("shop-b"), ElementsAre(RunId('\3')));
}

TEST_F(OtlpServiceTest, AnExportIsUnpacked) {
  ExportTraceServiceRequest request;
  SetText("input.value", std::string(60000, 'x'),
          AddRun('\1', &request)->mutable_attributes());
  grpc::ClientContext call;
  call.AddMetadata("x-project-name", "p");
  call.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  ASSERT_TRUE(stub_->Export(&call, request, &response_).ok());
  EXPECT_THAT(Runs(), ElementsAre(RunId('\1')));
}

TEST_F(OtlpServiceTest, AnExportOverTheLimitIsNotToBeRepeated) {
  // gRPC's default of 4 MiB, which this server has.
  ExportTraceServiceRequest request;
  SetText("input.value", std::string(5 << 20, 'x'),
          AddRun('\1', &request)->mutable_attributes());
  for (const auto algorithm : {GRPC_COMPRESS_NONE, GRPC_COMPRESS_GZIP}) {
    grpc::ClientContext call;
    call.set_compression_algorithm(algorithm);
    const grpc::Status status = stub_->Export(&call, request, &response_);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED)
        << algorithm << ": " << status.error_message();
    EXPECT_EQ(status.error_details(), "");
  }
}

TEST_F(OtlpServiceTest, WhatIsSentTwiceIsStoredOnce) {
  ExportTraceServiceRequest request;
  AddRun('\1', &request);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Export(request).ok());
    EXPECT_FALSE(response_.has_partial_success());
  }
  EXPECT_THAT(Runs(), ElementsAre(RunId('\1')));
}

TEST_F(OtlpServiceTest, AFaultOfTheStoreIsToBeRepeated) {
  ExportTraceServiceRequest request;
  AddRun('\1', &request);
  store_.FailWrites(0, 1, fakes::FaultStore::Fault::kBeforeApplying);
  const grpc::Status status = Export(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_details(), HasSubstr("google.rpc.RetryInfo"));
  ASSERT_TRUE(Export(request).ok());
  EXPECT_THAT(Runs(), ElementsAre(RunId('\1')));
}

class LaggingOtlpServiceTest : public OtlpServiceTest {
 protected:
  LaggingOtlpServiceTest() : OtlpServiceTest(MayLag(2)) {}

 private:
  static ingest::Ingestor::Options MayLag(uint64_t records) {
    ingest::Ingestor::Options options;
    options.max_index_lag = records;
    return options;
  }
};

TEST_F(LaggingOtlpServiceTest, AnExportIsToBeRepeatedWhenTheIndexHasCaughtUp) {
  store_.HoldWrites();
  absl::Notification stored;
  ASSERT_OK(ingestor_->IngestTraces(
      "p", MakeTraces("a", 2),
      [&](const absl::StatusOr<ingest::Ingestor::Result>&) {
        stored.Notify();
      }));
  ExportTraceServiceRequest request;
  AddRun('r', &request);
  EXPECT_EQ(Export(request).error_code(), grpc::StatusCode::UNAVAILABLE);
  store_.ReleaseWrites();
  stored.WaitForNotification();
  ingestor_->WaitUntilIndexed("p");
  EXPECT_TRUE(Export(request).ok());
  EXPECT_THAT(Runs(), SizeIs(3));
}

TEST_F(OtlpServiceTest, IsAnsweredWhenAllOfItIsDurable) {
  ExportTraceServiceRequest request;
  AddResource("a", &request);
  AddRun('\1', &request);
  AddResource("b", &request);
  AddRun('\2', &request);
  store_.HoldWrites();
  grpc::ClientContext call;
  absl::Notification answered;
  grpc::Status status;
  stub_->async()->Export(&call, &request, &response_, [&](grpc::Status s) {
    status = std::move(s);
    answered.Notify();
  });
  store_.WaitForHeldWrite();
  EXPECT_FALSE(answered.HasBeenNotified());
  store_.ReleaseWrites();
  answered.WaitForNotification();
  EXPECT_TRUE(status.ok());
}

TEST_F(OtlpServiceTest, ExportsMayBeConcurrent) {
  constexpr int kExports = 16;
  std::vector<std::thread> threads;
  threads.reserve(kExports);
  for (int i = 0; i < kExports; ++i) {
    threads.emplace_back([this, i] {
      ExportTraceServiceRequest request;
      AddRun(static_cast<char>(i + 1), &request);
      AddRun(static_cast<char>(i + 2), &request);
      grpc::ClientContext call;
      call.AddMetadata("x-project-name", "p");
      ExportTraceServiceResponse response;
      EXPECT_TRUE(stub_->Export(&call, request, &response).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(Runs(), SizeIs(kExports + 1));
}

TEST_F(OtlpServiceTest, FieldsOfALaterReleaseAndBadTextsAreTolerated) {
  ExportTraceServiceRequest request;
  Span* span = AddRun('\1', &request);
  span->set_name("caf\xe9");
  span->GetReflection()->MutableUnknownFields(span)->AddLengthDelimited(
      1000, "of a later release");
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(1001, 5);
  ASSERT_TRUE(Export(request).ok());
  EXPECT_FALSE(response_.has_partial_success());
  EXPECT_THAT(Runs(), ElementsAre(RunId('\1')));
}

TEST_F(OtlpServiceTest, BytesThatAreNoExportAreAnError) {
  grpc::GenericStub stub(channel());
  const grpc::Slice slice("\xff\xff\xff");
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  grpc::ClientContext call;
  absl::Notification answered;
  grpc::Status status;
  stub.UnaryCall(&call, kMethod, {}, &request, &response, [&](grpc::Status s) {
    status = std::move(s);
    answered.Notify();
  });
  answered.WaitForNotification();
  EXPECT_FALSE(status.ok());
}

TEST_F(OtlpServiceTest, ACarrierJudgesARunThatIsThere) {
  ExportTraceServiceRequest request;
  AddRun('\1', &request);
  ASSERT_TRUE(Export(request).ok());
  ASSERT_THAT(Runs(), SizeIs(1));

  ExportTraceServiceRequest later;
  Span* carrier = AddRun('\2', &later);
  carrier->clear_attributes();
  SetText("openinference.span.kind", "EVALUATOR",
          carrier->mutable_attributes());
  SetText("trace.annotations.0.annotation.name", "correctness",
          carrier->mutable_attributes());
  SetText("trace.annotations.0.annotation.label", "incorrect",
          carrier->mutable_attributes());
  SetText("trace.annotations.0.annotation.explanation", "off by one",
          carrier->mutable_attributes());
  carrier->add_links()->set_trace_id(std::string(15, '\0') + '\1');
  ASSERT_TRUE(Export(later).ok());
  EXPECT_FALSE(response_.has_partial_success());
  EXPECT_THAT(Runs(), ElementsAre(RunId('\1')));

  std::vector<std::string> judged;
  ASSERT_OK(log_->Scan(
      "p", 1, log_->LastSequence("p"), [&](const v1::LogRecord& record) {
        if (record.has_outcome()) {
          judged.push_back(record.outcome().trace_id());
          EXPECT_EQ(record.outcome().evaluation().outcome(), v1::OUTCOME_FAIL);
        } else if (record.has_annotation()) {
          judged.push_back(record.annotation().trace_id());
        }
        return true;
      }));
  EXPECT_THAT(judged, ElementsAre(RunId('\1'), RunId('\1')));
}

}  // namespace
}  // namespace faultline::integration
