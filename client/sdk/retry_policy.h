#ifndef FAULTLINE_CLIENT_SDK_RETRY_POLICY_H_
#define FAULTLINE_CLIENT_SDK_RETRY_POLICY_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"

namespace faultline::sdk {

// How long to wait between attempts: `initial_delay`, then `multiplier` times
// longer after each failure up to `max_delay`, each shortened by a random
// share of up to `jitter`, so that routers do not come back all at once.
struct RetryPolicy {
  absl::Duration initial_delay = absl::Milliseconds(100);
  absl::Duration max_delay = absl::Seconds(30);
  double multiplier = 2;  // at least 1
  double jitter = 0.5;    // in [0, 1]
};

// INVALID_ARGUMENT, naming the field and the limit.
absl::Status ValidateRetryPolicy(const RetryPolicy& policy);

// Whether the same request may succeed later: ABORTED, CANCELLED,
// DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL and UNKNOWN (so may a broken
// connection show), and RESOURCE_EXHAUSTED where the server
// says when. Every request of this SDK may be repeated safely.
bool IsRetryable(const absl::Status& status);

// The delays of one series of failures. Not thread-safe.
class Backoff {
 public:
  // Clients differ in their delays because they start at different times and
  // have different names.
  Backoff(const RetryPolicy& policy, const base::Clock& clock,
          absl::string_view client_name);

  // Delay after one more failure: never shorter than the `retry_delay` that
  // the server asked for. A status that is not retryable gives `max_delay`.
  absl::Duration Next(const absl::Status& failure);

  // Something worked: the next failure is the first of its series.
  void Reset() { delay_ = policy_.initial_delay; }

 private:
  const RetryPolicy policy_;
  base::Random random_;
  absl::Duration delay_;
};

}  // namespace faultline::sdk

#endif  // FAULTLINE_CLIENT_SDK_RETRY_POLICY_H_
