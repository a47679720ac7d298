#ifndef FAULTLINE_SERVER_REQUEST_KEEPER_H_
#define FAULTLINE_SERVER_REQUEST_KEEPER_H_

#include <google/protobuf/arena.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/message_allocator.h>

#include <memory>

namespace faultline::server {

// Gives the calls of one unary method requests that may outlive them: gRPC's
// own are gone as soon as a call is answered or cancelled, and to copy a large
// one costs more than to read it. A request lies in an arena of its own, so it
// is to be read, not to be moved from. Register it by SetMessageAllocatorFor_*;
// it must outlive the server. Thread-safe.
template <typename Request, typename Response>
class RequestKeeper final : public grpc::MessageAllocator<Request, Response> {
 public:
  grpc::MessageHolder<Request, Response>* AllocateMessages() override {
    return new Holder;  // Release deletes it
  }

  // The request of a call of the method; to be asked for before it is answered.
  static std::shared_ptr<const Request> Keep(
      grpc::CallbackServerContext* context) {
    return static_cast<Holder*>(context->GetRpcAllocatorState())->Share();
  }

 private:
  class Holder final : public grpc::MessageHolder<Request, Response> {
   public:
    Holder() : arena_(std::make_shared<google::protobuf::Arena>(Options())) {
      this->set_request(
          google::protobuf::Arena::CreateMessage<Request>(arena_.get()));
      this->set_response(&own_response_);
    }

    void Release() override { delete this; }

    std::shared_ptr<const Request> Share() {
      return std::shared_ptr<const Request>(arena_, this->request());
    }

   private:
    // Few and large blocks where a request is large.
    static google::protobuf::ArenaOptions Options() {
      google::protobuf::ArenaOptions options;
      options.start_block_size = 4 << 10;
      options.max_block_size = 256 << 10;
      return options;
    }

    const std::shared_ptr<google::protobuf::Arena> arena_;
    Response own_response_;
  };
};

}  // namespace faultline::server

#endif  // FAULTLINE_SERVER_REQUEST_KEEPER_H_
