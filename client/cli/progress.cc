#include "client/cli/progress.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/text.h"

namespace faultline::cli {
namespace {

constexpr size_t kNarrowest = 10;  // bar, in characters
constexpr size_t kWidest = 40;

std::string Bar(double share, size_t width) {
  const auto full = static_cast<size_t>(share * static_cast<double>(width));
  return absl::StrCat("[", std::string(full, '#'),
                      std::string(width - full, '.'), "]");
}

}  // namespace

Progress::Progress(std::string what, Terminal terminal,
                   const base::Clock* clock, std::ostream* out)
    : what_(std::move(what)),
      terminal_(terminal),
      clock_(clock),
      out_(out),
      start_(clock->SteadyNow()),
      next_draw_(start_ + Interval()) {}

absl::Duration Progress::Interval() const {
  return terminal_.interactive ? absl::Milliseconds(100) : absl::Seconds(1);
}

void Progress::Update(double share, uint64_t items) {
  const absl::Duration now = clock_->SteadyNow();
  if (now < next_draw_) return;
  next_draw_ = now + Interval();
  Draw(share, items);
}

void Progress::Finish(double share, uint64_t items) {
  Draw(share, items);
  if (terminal_.interactive) *out_ << "\n" << std::flush;
}

void Progress::Draw(double share, uint64_t items) {
  share = std::clamp(share, 0.0, 1.0);
  const double seconds = absl::ToDoubleSeconds(elapsed());
  const double rate = seconds > 0 ? static_cast<double>(items) / seconds : 0;
  std::string text = absl::StrFormat("%5.1f s  %3.0f %%  %d %s  %.0f/s",
                                     seconds, 100 * share, items, what_, rate);
  if (share > 0 && share < 1) {
    absl::StrAppend(&text, "  ",
                    Span(absl::Seconds(seconds * (1 - share) / share)),
                    " left");
  }
  if (!terminal_.interactive) {
    *out_ << text << "\n" << std::flush;
    return;
  }
  const size_t room =
      terminal_.width > text.size() + 4 ? terminal_.width - text.size() - 4 : 0;
  const size_t width = std::min(room, kWidest);
  // Erase to the end of the line: the text may be shorter than before.
  *out_ << "\r" << (width < kNarrowest ? "" : Bar(share, width) + " ") << text
        << "\x1b[K" << std::flush;
}

}  // namespace faultline::cli
