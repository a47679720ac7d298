#include "client/sdk/trace_client.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_server.h"
#include "tests/support/status_matchers.h"

namespace faultline::sdk {
namespace {

using ::faultline::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::SizeIs;
using FullAction = TraceClient::FullAction;

v1::Trace MakeTrace(int number) {
  v1::Trace trace;
  trace.set_trace_id(absl::StrCat("trace-", number));
  return trace;
}

class TraceClientTest : public ::testing::Test {
 protected:
  TraceClientTest() {
    options_.project = "shop";
    // AdvanceUntil would pass any other.
    options_.settle_timeout = absl::Hours(1000000);
  }

  void Open() {
    ASSERT_OK_AND_ASSIGN(client_,
                         TraceClient::Create(options_, server_, &clock_));
  }

  void SendMany(int first, int count) {
    for (int i = first; i < first + count; ++i) {
      ASSERT_OK(client_->Send(MakeTrace(i)));
    }
  }

  // Moves time on until `done`: the client may not wait yet when time moves.
  template <typename Done>
  void AdvanceUntil(const Done& done) {
    while (!done()) {
      clock_.Advance(absl::Seconds(1));
      std::this_thread::yield();
    }
  }

  // Waits, in steps of the test's clock, for what needs retries.
  void FlushThroughRetries() {
    absl::Notification flushed;
    std::thread flusher([&] {
      EXPECT_OK(client_->Flush(absl::InfiniteDuration()));
      flushed.Notify();
    });
    AdvanceUntil([&] { return flushed.HasBeenNotified(); });
    flusher.join();
  }

  TraceClient::Options options_;
  fakes::FakeClock clock_;
  std::shared_ptr<fakes::FakeServer> server_ =
      std::make_shared<fakes::FakeServer>();
  std::unique_ptr<TraceClient> client_;
};

TEST_F(TraceClientTest, SendsEverythingOnceAndInOrder) {
  Open();
  SendMany(0, 500);
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  const std::vector<std::string> stored = server_->stored();
  ASSERT_THAT(stored, SizeIs(500));
  for (int i = 0; i < 500; ++i) EXPECT_EQ(stored[i], absl::StrCat("trace-", i));
  EXPECT_THAT(server_->parents(), ElementsAre("projects/shop"));
  const TraceClient::Statistics statistics = client_->statistics();
  EXPECT_EQ(statistics.accepted, 500);
  EXPECT_EQ(statistics.sent, 500);
  EXPECT_EQ(statistics.settled, 500);
  EXPECT_EQ(statistics.resent, 0);
  EXPECT_EQ(statistics.buffered_traces, 0);
  EXPECT_EQ(statistics.buffered_bytes, 0);
}

TEST_F(TraceClientTest, DoesNotConnectWithoutATrace) {
  Open();
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_EQ(client_->statistics().streams, 0);
}

TEST_F(TraceClientTest, FullBatchesGoAtOnceTheRestAfterTheDelay) {
  options_.max_batch_traces = 10;
  Open();
  SendMany(0, 25);
  server_->WaitForReceived(20);
  EXPECT_THAT(server_->batch_sizes(), ElementsAre(10, 10));
  AdvanceUntil([&] { return server_->received() == 25; });
  EXPECT_THAT(server_->batch_sizes(), ElementsAre(10, 10, 5));
}

TEST_F(TraceClientTest, FlushDoesNotWaitForTheDelay) {
  options_.max_batch_delay = absl::Hours(1);
  Open();
  SendMany(0, 3);
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_THAT(server_->stored(), SizeIs(3));
}

TEST_F(TraceClientTest, BatchesAreBoundedInBytesToo) {
  options_.max_batch_bytes = 3 * MakeTrace(0).ByteSizeLong();
  Open();
  SendMany(0, 9);
  v1::Trace large = MakeTrace(10);
  large.mutable_task()->set_input(std::string(1000, 'x'));
  EXPECT_OK(client_->Send(large));
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_THAT(server_->batch_sizes(), ElementsAre(3, 3, 3, 1));
}

TEST_F(TraceClientTest, NeverHasMoreInFlightThanTheWindow) {
  server_->SetWindow(10);
  server_->HoldSettling();
  options_.max_batch_traces = 7;
  Open();
  SendMany(0, 30);
  server_->WaitForReceived(10);
  EXPECT_EQ(server_->received(), 10);
  server_->ReleaseSettling();
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_THAT(server_->stored(), SizeIs(30));
  EXPECT_LE(server_->max_unsettled(), 10);
}

TEST_F(TraceClientTest, RejectionsAreToldBeforeFlushReturnsAndNotRepeated) {
  std::vector<v1::Rejection> rejections;
  options_.on_rejected = [&](const v1::Rejection& rejection) {
    rejections.push_back(rejection);
  };
  server_->Reject({"trace-3", "trace-70"});
  Open();
  SendMany(0, 100);
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  ASSERT_THAT(rejections, SizeIs(2));
  EXPECT_EQ(rejections[0].trace_id(), "trace-3");
  EXPECT_EQ(rejections[0].error().reason(), v1::ErrorDetail::REASON_TOO_LONG);
  EXPECT_EQ(rejections[1].trace_id(), "trace-70");
  EXPECT_THAT(server_->stored(), SizeIs(98));
  EXPECT_EQ(client_->statistics().rejected, 2);
  EXPECT_EQ(client_->statistics().settled, 100);
}

TEST_F(TraceClientTest,
       ResendsWhatIsNotSettledAfterABreakWithoutLossOrDoubles) {
  server_->HoldSettling();
  options_.max_batch_traces = 10;
  Open();
  SendMany(0, 40);
  server_->WaitForReceived(40);
  server_->BreakStreams(absl::UnavailableError("gone"));
  server_->ReleaseSettling();
  SendMany(40, 10);
  FlushThroughRetries();
  EXPECT_THAT(server_->stored(), SizeIs(50));
  const TraceClient::Statistics statistics = client_->statistics();
  EXPECT_EQ(statistics.settled, 50);
  EXPECT_GE(statistics.resent, 40);
  EXPECT_EQ(statistics.duplicates, 40);
  EXPECT_GE(statistics.streams, 2);
  EXPECT_THAT(statistics.last_error,
              StatusIs(absl::StatusCode::kUnavailable, "gone"));
}

TEST_F(TraceClientTest, AfterABreakSmallBatchesWaitForTheirDelayAgain) {
  options_.max_batch_delay = absl::Hours(1000000);
  server_->HoldSettling();
  Open();
  SendMany(0, 64);
  server_->WaitForReceived(64);
  server_->BreakStreams(absl::UnavailableError("gone"));
  server_->ReleaseSettling();
  FlushThroughRetries();
  SendMany(64, 1);
  clock_.WaitForWaiters(1);
  EXPECT_EQ(server_->received(), 128);
  EXPECT_EQ(client_->statistics().buffered_traces, 1);
}

TEST_F(TraceClientTest, SurvivesBreaksAtEveryPoint) {
  options_.max_batch_traces = 4;
  Open();
  for (int round = 0; round < 12; ++round) {
    server_->BreakAfter(round, absl::InternalError("reset"));
    SendMany(round * 10, 10);
    FlushThroughRetries();
  }
  const std::vector<std::string> stored = server_->stored();
  EXPECT_THAT(stored, SizeIs(120));
  EXPECT_EQ(client_->statistics().settled, 120);
  EXPECT_EQ(client_->statistics().buffered_bytes, 0);
}

TEST_F(TraceClientTest, ATraceRejectedBeforeABreakIsNotSentAgain) {
  int rejections = 0;
  absl::Notification told;
  options_.on_rejected = [&](const v1::Rejection&) {
    if (++rejections == 1) told.Notify();
  };
  server_->HoldSettling();
  Open();
  SendMany(0, 2);
  EXPECT_THAT(client_->Flush(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("2")));
  server_->WaitForReceived(2);
  v1::StreamTracesResponse response;
  response.add_rejections()->set_index(1);
  response.mutable_rejections(0)->set_trace_id("trace-1");
  server_->RespondToTraces(response);
  told.WaitForNotification();
  server_->BreakStreams(absl::UnavailableError("gone"));
  server_->ReleaseSettling();
  FlushThroughRetries();
  EXPECT_EQ(rejections, 1);
  EXPECT_EQ(server_->received(), 3);
  EXPECT_EQ(client_->statistics().settled, 2);
  EXPECT_EQ(client_->statistics().buffered_bytes, 0);
}

TEST_F(TraceClientTest, GivesUpAStreamThatSettlesNothing) {
  server_->HoldSettling();
  options_.settle_timeout = absl::Seconds(30);
  Open();
  SendMany(0, 5);
  AdvanceUntil([&] { return client_->statistics().streams >= 2; });
  server_->ReleaseSettling();
  FlushThroughRetries();
  EXPECT_THAT(server_->stored(), SizeIs(5));
  EXPECT_THAT(client_->statistics().last_error,
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("settled nothing")));
}

TEST_F(TraceClientTest, DistrustsAServerThatSettlesMoreThanItGot) {
  server_->HoldSettling();
  Open();
  SendMany(0, 64);
  server_->WaitForReceived(64);
  v1::StreamTracesResponse response;
  response.set_settled(65);
  server_->RespondToTraces(response);
  AdvanceUntil([&] { return client_->statistics().streams >= 2; });
  server_->ReleaseSettling();
  FlushThroughRetries();
  EXPECT_EQ(client_->statistics().settled, 64);
  EXPECT_THAT(client_->statistics().last_error,
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("settled 65 of 64 traces")));
}

TEST_F(TraceClientTest, ALastingErrorIsReturnedAndTriedAgain) {
  server_->FailStreams(1, absl::InvalidArgumentError("no such project"));
  Open();
  SendMany(0, 1);
  EXPECT_THAT(client_->Flush(absl::InfiniteDuration()),
              StatusIs(absl::StatusCode::kInvalidArgument, "no such project"));
  AdvanceUntil([&] { return server_->received() == 1; });
  FlushThroughRetries();
  EXPECT_THAT(server_->stored(), SizeIs(1));
}

TEST_F(TraceClientTest, AFullBufferRejects) {
  server_->HoldSettling();
  options_.full_action = FullAction::kReject;
  options_.max_buffer_traces = 5;
  Open();
  SendMany(0, 5);
  EXPECT_THAT(client_->Send(MakeTrace(5)),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("at most 5 traces")));
  server_->ReleaseSettling();
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_OK(client_->Send(MakeTrace(6)));
  EXPECT_EQ(client_->statistics().refused, 1);
}

TEST_F(TraceClientTest, TheBufferIsBoundedInBytes) {
  server_->HoldSettling();
  options_.full_action = FullAction::kReject;
  options_.max_buffer_bytes = 2 * MakeTrace(0).ByteSizeLong();
  Open();
  SendMany(0, 2);
  EXPECT_THAT(
      client_->Send(MakeTrace(3)),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("bytes")));
  v1::Trace large = MakeTrace(4);
  large.mutable_task()->set_input(std::string(1000, 'x'));
  EXPECT_THAT(client_->Send(large), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("trace: has")));
}

TEST_F(TraceClientTest, AFullBufferBlocksUntilThereIsRoom) {
  server_->HoldSettling();
  options_.max_buffer_traces = 4;
  options_.max_batch_traces = 4;
  Open();
  SendMany(0, 4);
  server_->WaitForReceived(4);
  std::thread sender([&] { SendMany(4, 8); });
  EXPECT_EQ(client_->statistics().accepted, 4);
  server_->ReleaseSettling();
  sender.join();
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_THAT(server_->stored(), SizeIs(12));
}

TEST_F(TraceClientTest, ShutdownReleasesABlockedSender) {
  server_->HoldSettling();
  options_.max_buffer_traces = 4;
  Open();
  SendMany(0, 4);
  std::thread sender([&] {
    EXPECT_THAT(client_->Send(MakeTrace(4)),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("shut down")));
  });
  EXPECT_FALSE(client_->Shutdown(absl::ZeroDuration()).ok());
  sender.join();
  EXPECT_EQ(client_->statistics().dropped, 4);
}

TEST_F(TraceClientTest, AFullBufferDropsTheOldestThatIsNotOnItsWay) {
  server_->HoldSettling();
  server_->SetWindow(2);
  options_.full_action = FullAction::kDropOldest;
  options_.max_buffer_traces = 4;
  options_.max_batch_traces = 2;
  Open();
  SendMany(0, 2);
  server_->WaitForReceived(2);
  SendMany(2, 4);  // 2 and 3 make room for 4 and 5
  server_->ReleaseSettling();
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_THAT(server_->stored(),
              ElementsAre("trace-0", "trace-1", "trace-4", "trace-5"));
  EXPECT_EQ(client_->statistics().dropped, 2);
}

TEST_F(TraceClientTest, WhereAllIsOnItsWayDroppingTheOldestRefusesTheNew) {
  server_->HoldSettling();
  options_.full_action = FullAction::kDropOldest;
  options_.max_buffer_traces = 2;
  options_.max_batch_traces = 2;
  Open();
  SendMany(0, 2);
  server_->WaitForReceived(2);
  EXPECT_THAT(
      client_->Send(MakeTrace(2)),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full")));
}

TEST_F(TraceClientTest, FlushAndShutdownKeepTheirDeadlines) {
  server_->HoldSettling();
  Open();
  SendMany(0, 7);
  absl::Notification flushed;
  std::thread flusher([&] {
    EXPECT_THAT(
        client_->Flush(absl::Seconds(5)),
        StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("7 traces")));
    flushed.Notify();
  });
  AdvanceUntil([&] { return flushed.HasBeenNotified(); });
  flusher.join();
  EXPECT_THAT(
      client_->Shutdown(absl::ZeroDuration()),
      StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("7 traces")));
  EXPECT_EQ(client_->statistics().dropped, 7);
}

TEST_F(TraceClientTest, ShutdownSendsTheRestAndLaterCallsDoNothing) {
  options_.max_batch_delay = absl::Hours(1);
  Open();
  SendMany(0, 3);
  EXPECT_OK(client_->Shutdown(absl::Minutes(1)));
  EXPECT_THAT(server_->stored(), SizeIs(3));
  EXPECT_THAT(
      client_->Send(MakeTrace(9)),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("shut down")));
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_OK(client_->Shutdown(absl::Minutes(1)));
  EXPECT_THAT(
      client_->RecordOutcomes({}, absl::Minutes(1)),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("shut down")));
  EXPECT_THAT(server_->stored(), SizeIs(3));
  EXPECT_EQ(client_->statistics().dropped, 0);
}

TEST_F(TraceClientTest, ShutdownEndsAWriteThatHangs) {
  options_.max_batch_traces = 2;
  Open();
  SendMany(0, 2);
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  server_->JamStreams();
  SendMany(2, 2);
  EXPECT_FALSE(client_->Shutdown(absl::ZeroDuration()).ok());
  EXPECT_EQ(client_->statistics().dropped, 2);
}

TEST_F(TraceClientTest, ManySendersLoseNothing) {
  server_->SetWindow(64);
  options_.max_buffer_traces = 50;
  options_.max_batch_traces = 16;
  options_.max_batch_delay = absl::ZeroDuration();
  Open();
  std::vector<std::thread> senders;
  senders.reserve(4);
  for (int i = 0; i < 4; ++i) {
    senders.emplace_back([this, i] { SendMany(i * 1000, 250); });
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_OK(client_->Flush(absl::InfiniteDuration()));
  EXPECT_THAT(server_->stored(), SizeIs(1000));
  EXPECT_THAT(server_->batch_sizes(), Each(AllOf(Ge(1), Le(16))));
}

TEST_F(TraceClientTest, OutcomesAreRepeatedWhileThatIsOfUse) {
  Open();
  server_->FailCalls(
      {absl::UnavailableError("down"), absl::UnavailableError("down")});
  absl::Notification done;
  std::thread caller([&] {
    const auto response = client_->RecordOutcomes(
        std::vector<v1::OutcomeRecord>(3), absl::InfiniteDuration());
    EXPECT_OK(response);
    EXPECT_EQ(response->stored(), 3);
    done.Notify();
  });
  AdvanceUntil([&] { return done.HasBeenNotified(); });
  caller.join();
  EXPECT_EQ(server_->outcome_calls(), 3);

  server_->FailCalls({absl::InvalidArgumentError("too many")});
  EXPECT_THAT(client_->RecordOutcomes({}, absl::Minutes(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, "too many"));
}

TEST_F(TraceClientTest, OutcomesReturnTheFailureWhereTimeIsUp) {
  Open();
  server_->FailCalls({absl::UnavailableError("down")});
  EXPECT_THAT(client_->RecordOutcomes({}, absl::Milliseconds(10)),
              StatusIs(absl::StatusCode::kUnavailable, "down"));
}

TEST_F(TraceClientTest, CreateNamesTheBadOption) {
  const auto create = [this] {
    return TraceClient::Create(options_, server_, &clock_).status();
  };
  options_.max_batch_traces = 4097;
  EXPECT_THAT(create(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("max_batch_traces")));
  options_ = TraceClient::Options();
  EXPECT_THAT(create(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("project")));
}

v1::Trace MakePart(const std::string& tool) {
  v1::Trace part;
  v1::Step* step = part.add_steps();
  step->set_kind(v1::Step::KIND_TOOL);
  step->set_name(tool);
  return part;
}

TEST_F(TraceClientTest, ARunIsSentWhileItGoesOn) {
  Open();
  RunWriter run(client_.get(), "long");
  ASSERT_OK(run.Write(MakePart("a")));
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_THAT(server_->stored(), ElementsAre("long/0"));
  ASSERT_OK(run.Write(MakePart("b")));
  ASSERT_OK(client_->Send(MakeTrace(1)));
  ASSERT_OK(run.Finish(MakePart("c")));
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_THAT(server_->stored(),
              ElementsAre("long/0", "long/1", "trace-1", "long/2 last"));
  EXPECT_EQ(client_->statistics().settled, 4);
  EXPECT_THAT(
      run.Write(MakePart("d")),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("long")));
}

TEST_F(TraceClientTest, ABatchHasTracesOrPieces) {
  options_.max_batch_delay = absl::Hours(1);
  Open();
  RunWriter run(client_.get(), "long");
  SendMany(0, 2);
  ASSERT_OK(run.Write(MakePart("a")));
  ASSERT_OK(run.Write(MakePart("b")));
  ASSERT_OK(run.Write(MakePart("c")));
  SendMany(2, 1);
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_EQ(server_->received(), 6);
  EXPECT_THAT(server_->stored(), ElementsAre("trace-0", "trace-1", "long/0",
                                             "long/1", "long/2", "trace-2"));
  for (const int size : server_->batch_sizes()) EXPECT_LE(size, 3);
}

TEST_F(TraceClientTest, PiecesSurviveABrokenStream) {
  server_->BreakAfter(3, absl::UnavailableError("restart"));
  Open();
  RunWriter run(client_.get(), "long");
  for (int i = 0; i < 5; ++i) ASSERT_OK(run.Write(MakePart("a")));
  ASSERT_OK(run.Finish());
  FlushThroughRetries();
  EXPECT_THAT(server_->stored(),
              ElementsAre("long/0", "long/1", "long/2", "long/3", "long/4",
                          "long/5 last"));
  EXPECT_EQ(client_->statistics().duplicates, 3);
}

TEST_F(TraceClientTest, ARefusedPieceIsNumberedAgain) {
  options_.full_action = FullAction::kReject;
  options_.max_buffer_traces = 1;
  server_->HoldSettling();
  Open();
  RunWriter run(client_.get(), "long");
  ASSERT_OK(run.Write(MakePart("a")));
  EXPECT_THAT(
      run.Finish(MakePart("b")),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full")));
  AdvanceUntil([&] { return server_->received() == 1; });
  server_->ReleaseSettling();
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  ASSERT_OK(run.Finish(MakePart("b")));
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_THAT(server_->stored(), ElementsAre("long/0", "long/1 last"));
}

TEST_F(TraceClientTest, ARejectedPieceIsTold) {
  server_->Reject({"long/1"});
  std::vector<std::string> rejected;
  options_.on_rejected = [&](const v1::Rejection& rejection) {
    rejected.push_back(
        absl::StrCat(rejection.index(), " ", rejection.trace_id()));
  };
  Open();
  RunWriter run(client_.get(), "long");
  for (int i = 0; i < 3; ++i) ASSERT_OK(run.Write(MakePart("a")));
  EXPECT_OK(client_->Flush(absl::Minutes(1)));
  EXPECT_THAT(rejected, ElementsAre("1 long"));
  EXPECT_EQ(client_->statistics().rejected, 1);
}

}  // namespace
}  // namespace faultline::sdk
